//! Lays values from the command line over a document, before it is checked.

use super::read::problem;
use crate::problem::{FieldPath, Problem, Segment};
use crate::yaml::{Entry, Kind, Position, Tree};

/// Sets one field of a document, making the mappings on the way. Paths are those of the spec, or begin with `spec.` or
/// `metadata.`; a bare spec has no metadata.
pub(super) fn lay_over(
    file: &str,
    document: &mut Tree,
    bare: bool,
    path: &FieldPath,
    value: &Tree,
) -> Result<(), Problem> {
    let refuse = |message: &str, hint: &str| {
        Err(problem(file, "set-path", path, Position::default(), message.to_owned(), Some(hint.to_owned())))
    };
    let first = path.segments().first().map(|segment| match segment {
        Segment::Key(key) => key.as_str(),
        Segment::Index(_) => "",
    });
    let path = match (first, bare) {
        (Some("metadata"), true) => return refuse("a bare spec has no metadata", "give its name with `--name`"),
        (Some("spec"), true) => return refuse("a bare spec is itself the spec", "leave out `spec.`"),
        (Some("metadata" | "spec"), false) | (_, true) => path.clone(),
        (_, false) => FieldPath::root().key("spec").join(path),
    };
    let mut node = document;
    for (depth, segment) in path.segments().iter().enumerate() {
        let length = node.items().len();
        let next = match segment {
            Segment::Key(key) => entry_mut(node, key),
            Segment::Index(index) => item_mut(node, *index),
        };
        let Some(next) = next else {
            let parent = path.parent(depth);
            return match segment {
                Segment::Key(_) => refuse(
                    &format!("`{parent}` is not a mapping"),
                    "keys are paths of the spec, such as `maxRunners` or `cachePaths[0].source`",
                ),
                Segment::Index(_) => {
                    refuse(&format!("`{parent}` has {length} items"), &format!("the next one is `{parent}[{length}]`"))
                }
            };
        };
        node = next;
    }
    *node = value.clone();
    Ok(())
}

fn nothing() -> Tree {
    Tree { at: Position::default(), kind: Kind::Scalar(serde_json::Value::Null) }
}

fn entry_mut<'a>(node: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    if matches!(node.kind, Kind::Scalar(serde_json::Value::Null)) {
        node.kind = Kind::Mapping(Vec::new());
    }
    let Kind::Mapping(entries) = &mut node.kind else { return None };
    let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        entries.push(Entry { key: key.to_owned(), key_at: Position::default(), value: nothing() });
        entries.len() - 1
    });
    Some(&mut entries[index].value)
}

/// An existing item, or the one after the last.
fn item_mut(node: &mut Tree, index: usize) -> Option<&mut Tree> {
    if matches!(node.kind, Kind::Scalar(serde_json::Value::Null)) {
        node.kind = Kind::Sequence(Vec::new());
    }
    let Kind::Sequence(items) = &mut node.kind else { return None };
    if index == items.len() {
        items.push(nothing());
    }
    items.get_mut(index)
}
