//! A value whose every part knows the layer, file and line that set it, and what it replaced.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::yaml::{Kind, Tree};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the layer.
    pub layer: Arc<str>,
    /// File of the layer, as a person would open it.
    pub file: Arc<str>,
    /// Line in that file, counted from 1; 0 where there is none.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: layer `{}`", self.file, self.layer),
            line => write!(formatter, "{}:{line}: layer `{}`", self.file, self.layer),
        }
    }
}

/// A value that a later layer replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Replaced {
    /// The old value.
    pub value: Value,
    /// Where it had been set.
    pub origin: Origin,
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it was set.
    pub origin: Origin,
    /// What it replaced, the oldest first.
    pub replaced: Vec<Replaced>,
}

/// The three shapes of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in order.
    Mapping(Vec<(String, Node)>),
}

/// Finds the file and line of a line of rendered text.
pub trait Lines {
    /// File and line where line `line` of the rendered text was written.
    fn find(&self, line: u32) -> (Arc<str>, u32);
}

impl Node {
    /// The tree of a rendered layer, its lines traced back by `lines`.
    pub fn from_tree(tree: &Tree, layer: &Arc<str>, lines: &dyn Lines) -> Self {
        Self::at_line(tree, tree.at.line, layer, lines)
    }

    fn at_line(tree: &Tree, line: u32, layer: &Arc<str>, lines: &dyn Lines) -> Self {
        let (file, line) = lines.find(line);
        let kind = match &tree.kind {
            Kind::Scalar(value) => NodeKind::Scalar(value.clone()),
            Kind::Sequence(items) => {
                NodeKind::Sequence(items.iter().map(|item| Self::from_tree(item, layer, lines)).collect())
            }
            // A person looks for the key: that is the line of a value, also of one that begins on the next line.
            Kind::Mapping(entries) => NodeKind::Mapping(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), Self::at_line(&entry.value, entry.key_at.line, layer, lines)))
                    .collect(),
            ),
        };
        Self { kind, origin: Origin { layer: layer.clone(), file, line }, replaced: Vec::new() }
    }

    /// A node made from a JSON value, all of one origin.
    pub fn from_json(value: &Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Array(items) => NodeKind::Sequence(items.iter().map(|item| Self::from_json(item, origin)).collect()),
            Value::Object(map) => NodeKind::Mapping(
                map.iter().map(|(key, value)| (key.clone(), Self::from_json(value, origin))).collect(),
            ),
            scalar => NodeKind::Scalar(scalar.clone()),
        };
        Self { kind, origin: origin.clone(), replaced: Vec::new() }
    }

    /// The value without origins.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar(value) => value.clone(),
            NodeKind::Sequence(items) => items.iter().map(Node::to_json).collect(),
            NodeKind::Mapping(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// The value under `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value under `key` of a mapping, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.kind {
            NodeKind::Mapping(entries) => entries.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Adds a key to a mapping.
    pub fn push(&mut self, key: &str, value: Node) {
        if let NodeKind::Mapping(entries) = &mut self.kind {
            entries.push((key.to_owned(), value));
        }
    }

    /// Removes and returns the value under `key` of a mapping.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let NodeKind::Mapping(entries) = &mut self.kind else { return None };
        let index = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(index).1)
    }

    /// The node at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[(String, Node)] {
        match &self.kind {
            NodeKind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// All scalars in it, in order.
    pub fn leaves(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match &self.kind {
            NodeKind::Scalar(_) => Box::new(std::iter::once(self)),
            NodeKind::Sequence(items) => Box::new(items.iter().flat_map(Node::leaves)),
            NodeKind::Mapping(entries) => Box::new(entries.iter().flat_map(|(_, value)| value.leaves())),
        }
    }

    /// The items of a list to be changed; `None` for anything else.
    pub fn items_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.kind {
            NodeKind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a scalar.
    pub fn scalar(&self) -> Option<&Value> {
        match &self.kind {
            NodeKind::Scalar(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a string scalar.
    pub fn as_str(&self) -> Option<&str> {
        self.scalar().and_then(Value::as_str)
    }

    /// Whether it is the scalar null.
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(&Value::Null)
    }

    /// What is said of this node when it is replaced.
    pub fn into_replaced(self) -> Vec<Replaced> {
        let value = self.to_json();
        let mut replaced = self.replaced;
        replaced.push(Replaced { value, origin: self.origin });
        replaced
    }
}
