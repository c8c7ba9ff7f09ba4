//! The objects beside the pod, as they are applied.

use serde_json::{Value, json};

use super::finish::HOOK_TEMPLATE;
use super::hole::{Segment, segments};
use crate::layers::{Node, Objects};
use crate::yaml;

/// All companions; the hook template becomes a ConfigMap.
pub(super) fn companions(objects: &Objects) -> Vec<Value> {
    let companions = objects.iter().filter(|object| object.key.kind != "Pod");
    companions
        .map(
            |object| if object.key.kind == HOOK_TEMPLATE { hook_template(&object.node) } else { object.node.to_json() },
        )
        .collect()
}

/// The ConfigMap with the hook template: its holes become what the init container looks for.
fn hook_template(node: &Node) -> Value {
    let content = with_placeholders(&node.get("template").map(Node::to_json).unwrap_or_default());
    let metadata = node.get("metadata").map(Node::to_json).unwrap_or_default();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"content": yaml::write(&content)}})
}

fn with_placeholders(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let filled = segments(text).into_iter().map(|segment| match segment {
                Segment::Text(text) => text,
                Segment::Hole(hole) => hole.placeholder().unwrap_or_default().to_owned(),
            });
            Value::String(filled.collect())
        }
        Value::Array(items) => items.iter().map(with_placeholders).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), with_placeholders(value))).collect())
        }
        other => other.clone(),
    }
}
