//! Tells for every leaf of a manifest which layer, file and line set it, and what it replaced.

use serde::Serialize;
use serde_json::Value;

use super::finish::HOOK_TEMPLATE;
use super::hole::{Filling, Holed, RunnerIdentity};
use super::prepare::PreparedRunner;
use crate::layers::{Node, NodeKind, Origin, Replaced};

/// One leaf of a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The object, such as `Pod/ws-x9d4m`.
    pub object: String,
    /// The leaf in it.
    pub path: String,
    /// Its value.
    pub value: Value,
    /// Who set it.
    #[serde(flatten)]
    pub origin: Place,
    /// What it replaced, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Previous>,
}

/// A layer's file and line.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Name of the layer.
    pub layer: String,
    /// Its file.
    pub file: String,
    /// The line; 0 where there is none.
    pub line: u32,
}

/// A value that was replaced.
#[derive(Clone, Debug, Serialize)]
pub struct Previous {
    /// The value.
    pub value: Value,
    /// Who had set it.
    #[serde(flatten)]
    pub origin: Place,
}

/// Explains every leaf of one runner's manifest and its companions.
pub fn explain(prepared: &PreparedRunner, runner: &RunnerIdentity) -> Vec<Explained> {
    let filling = Filling::of(runner);
    let mut explained = Vec::new();
    for object in prepared.objects.iter() {
        let (label, node, path) = match object.key.kind.as_str() {
            "Pod" => (format!("Pod/{}", runner.name), Some(&object.node), ""),
            // The hook template is applied as text in a ConfigMap.
            HOOK_TEMPLATE => {
                let name = object.key.name.as_deref().unwrap_or_default();
                (format!("ConfigMap/{name}"), object.node.get("template"), "data.content: ")
            }
            kind => {
                let name = object.node.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or_default();
                (format!("{kind}/{name}"), Some(&object.node), "")
            }
        };
        if let Some(node) = node {
            let mut walk = Walk { object: label, filling: &filling, explained: &mut explained };
            walk.node(node, path, &[]);
        }
    }
    explained
}

struct Walk<'a> {
    object: String,
    filling: &'a Filling<'a>,
    explained: &'a mut Vec<Explained>,
}

impl Walk<'_> {
    /// `above` is what a list or mapping around the leaf replaced as a whole.
    fn node(&mut self, node: &Node, path: &str, above: &[Replaced]) {
        let replaced: Vec<Replaced> = above.iter().chain(&node.replaced).cloned().collect();
        match &node.kind {
            NodeKind::Mapping(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    let separator = if path.is_empty() || path.ends_with(' ') { "" } else { "." };
                    self.node(value, &format!("{path}{separator}{key}"), &replaced);
                }
            }
            NodeKind::Sequence(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    let label = item_label(item).map_or_else(|| index.to_string(), |label| self.text(label));
                    self.node(item, &format!("{path}[{label}]"), &replaced);
                }
            }
            _ => self.leaf(node, path, replaced),
        }
    }

    fn leaf(&mut self, node: &Node, path: &str, replaced: Vec<Replaced>) {
        let explained = Explained {
            object: self.object.clone(),
            path: path.to_owned(),
            value: self.value(&node.to_json()),
            origin: place(&node.origin),
            replaced: replaced
                .into_iter()
                .map(|old| Previous { value: self.value(&old.value), origin: place(&old.origin) })
                .collect(),
        };
        self.explained.push(explained);
    }

    fn value(&self, value: &Value) -> Value {
        Holed::new(value).fill(self.filling)
    }

    fn text(&self, text: &str) -> String {
        self.value(&Value::from(text)).as_str().unwrap_or_default().to_owned()
    }
}

/// What a person would call an item of a list.
fn item_label(item: &Node) -> Option<&str> {
    let names = ["mountPath", "name", "key"];
    names.iter().find_map(|name| item.get(name)?.as_str())
}

fn place(origin: &Origin) -> Place {
    Place { layer: origin.layer.to_string(), file: origin.file.to_string(), line: origin.line }
}
