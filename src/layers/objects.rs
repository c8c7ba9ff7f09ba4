//! The objects that layers contribute to, found again by kind and name.

use super::merge::{MergeError, Unmatched, merge};
use super::node::{Node, NodeKind};

/// Which object a document of a layer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKey {
    /// Kind; a document without one is the runner's `Pod`.
    pub kind: String,
    /// `metadata.name`; the pod has none, for its name is the runner's.
    pub name: Option<String>,
}

/// An object and the layers' merged result for it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which one it is.
    pub key: ObjectKey,
    /// What it is.
    pub node: Node,
}

/// All objects, in the order in which layers first named them.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    objects: Vec<Object>,
    /// Parts of layers that changed nothing.
    pub unmatched: Vec<Unmatched>,
}

const POD: &str = "Pod";

impl Objects {
    /// Lays one document of a layer over the object it names.
    pub fn merge(&mut self, mut document: Node) -> Result<(), MergeError> {
        let key = key(&document);
        let position = self.position(&key);
        let deletes = document.get("$patch").and_then(Node::as_str) == Some("delete");
        match position {
            Some(index) if deletes => {
                self.objects.remove(index);
                Ok(())
            }
            Some(index) => {
                // The first layer that named the object has said what it is; a later one only finds it.
                document.remove("apiVersion");
                document.remove("kind");
                document.remove("$patch");
                let label = self.objects[index].key.to_string();
                merge(&mut self.objects[index].node, document, "", &mut self.unmatched)
                    .map_err(|error| MergeError { path: format!("{label} {}", error.path), ..error })
            }
            None if deletes => {
                let message = "there is no such object to delete".to_owned();
                self.unmatched.push(Unmatched { path: key.to_string(), origin: document.origin, message });
                Ok(())
            }
            None => {
                let empty = Node { kind: NodeKind::Mapping(Vec::new()), ..document.clone() };
                let mut node = empty;
                merge(&mut node, document, "", &mut self.unmatched)?;
                self.objects.push(Object { key, node });
                Ok(())
            }
        }
    }

    /// The runner's pod.
    pub fn pod(&self) -> Option<&Node> {
        self.objects.iter().find(|object| object.key.kind == POD).map(|object| &object.node)
    }

    /// The runner's pod, to be changed.
    pub fn pod_mut(&mut self) -> Option<&mut Node> {
        self.objects.iter_mut().find(|object| object.key.kind == POD).map(|object| &mut object.node)
    }

    /// All objects, the pod among them.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter()
    }

    /// All objects, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.objects.iter_mut()
    }

    /// Keeps the objects for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&Object) -> bool) {
        self.objects.retain(keep);
    }

    /// The object a document belongs to: same kind and name; without a name the only one of its kind.
    fn position(&self, key: &ObjectKey) -> Option<usize> {
        let mut of_kind = self.objects.iter().enumerate().filter(|(_, object)| object.key.kind == key.kind);
        if key.name.is_some() || key.kind == POD {
            return of_kind.find(|(_, object)| object.key.name == key.name).map(|(index, _)| index);
        }
        of_kind.next().map(|(index, _)| index).filter(|_| of_kind.next().is_none())
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{}/{name}", self.kind),
            None => formatter.write_str(&self.kind),
        }
    }
}

fn key(document: &Node) -> ObjectKey {
    let kind = document.get("kind").and_then(Node::as_str).unwrap_or(POD).to_owned();
    let name = document.at(&["metadata", "name"]).and_then(Node::as_str).map(str::to_owned);
    ObjectKey { name: name.filter(|_| kind != POD), kind }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::{Lines, Origin};
    use crate::yaml;

    struct Same;

    impl Lines for Same {
        fn find(&self, line: u32) -> (Arc<str>, u32) {
            (Arc::from("f.yaml"), line)
        }
    }

    fn objects(texts: &[&str]) -> Objects {
        let mut objects = Objects::default();
        for text in texts {
            for tree in yaml::read(text).unwrap() {
                objects.merge(Node::from_tree(&tree, &Arc::from("layer"), &Same)).unwrap();
            }
        }
        objects
    }

    #[test]
    fn documents_find_their_object_by_kind_and_name() {
        let merged = objects(&[
            "{apiVersion: v1, kind: Pod, spec: {a: 1}}\n---\n{kind: ConfigMap, metadata: {name: x}, data: {a: b}}",
            "{spec: {b: 2}}\n---\n{kind: ConfigMap, data: {c: d}}\n---\n{kind: ConfigMap, metadata: {name: z}}",
        ]);
        let json: Vec<_> = merged.iter().map(|object| object.node.to_json().to_string()).collect();
        assert_eq!(
            json,
            [
                r#"{"apiVersion":"v1","kind":"Pod","spec":{"a":1,"b":2}}"#,
                r#"{"kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"b","c":"d"}}"#,
                r#"{"kind":"ConfigMap","metadata":{"name":"z"}}"#,
            ]
        );
    }

    #[test]
    fn a_whole_object_can_be_deleted_and_a_missing_one_is_reported() {
        let delete = "{kind: ConfigMap, metadata: {name: x}, $patch: delete}";
        let merged = objects(&["{kind: ConfigMap, metadata: {name: x}}", delete, delete]);
        assert_eq!(merged.iter().count(), 0);
        assert_eq!(merged.unmatched[0].path, "ConfigMap/x");
    }

    #[test]
    fn what_a_leaf_replaced_is_remembered() {
        let merged = objects(&["{spec: {a: 1}}", "{spec: {a: 2}}"]);
        let leaf = merged.pod().unwrap().at(&["spec", "a"]).unwrap().clone();
        assert_eq!(leaf.replaced[0].value, 1);
        assert_eq!(leaf.origin, Origin { layer: Arc::from("layer"), file: Arc::from("f.yaml"), line: 1 });
    }
}
