//! What is done to the merged objects once all layers are laid: checks, the order of mounts, the hook template.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::error::RenderError;
use super::hole::{Segment, segments};
use super::prepare::names_a_runner;
use crate::layers::{Node, NodeKind, Object, Objects, Origin};
use crate::problem::nearest;
use crate::yaml;

/// In layers the hook template is an object of this kind; what is applied is a ConfigMap with the key `content`.
pub(super) const HOOK_TEMPLATE: &str = "PodTemplate";

/// The layer that no one may override.
pub(super) const LAST_LAYER: &str = "deskrun";

/// The kinds a layer may contribute. Secrets are not among them: a manifest never carries one.
const KINDS: &[&str] =
    &["Pod", HOOK_TEMPLATE, "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim"];

/// Refuses a result that no API server would take, with the layer that is to blame.
pub(super) fn check(objects: &Objects) -> Result<(), RenderError> {
    for Object { key, node } in objects.iter() {
        if !KINDS.contains(&key.kind.as_str()) {
            let message = format!("a layer cannot contribute a `{}`", key.kind);
            return incomplete(&key.to_string(), &node.origin, message, format!("allowed are {}", KINDS.join(", ")));
        }
        match key.kind.as_str() {
            "Pod" => check_pod(node.get("spec"), "spec", &[])?,
            // The hook knows its own containers, whose image is the workflow's, and its own volumes.
            HOOK_TEMPLATE => {
                check_pod(node.at(&["template", "spec"]), "hook template: spec", &["externals", "work", "github"])?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_pod(spec: Option<&Node>, path: &str, known_volumes: &[&str]) -> Result<(), RenderError> {
    let Some(spec) = spec else { return Ok(()) };
    let list = |field: &str| spec.get(field).map(Node::items).unwrap_or_default();
    let mut volumes: BTreeSet<&str> = known_volumes.iter().copied().collect();
    for volume in list("volumes") {
        let name = name(volume);
        volumes.insert(name);
        if volume.entries().len() < 2 {
            let known: Vec<&str> = list("volumes").iter().map(self::name).filter(|other| *other != name).collect();
            let hint = did_you_mean(name, &known, "give it a source, such as `emptyDir: {}`");
            let message = "the volume has no source".to_owned();
            return incomplete(&format!("{path}.volumes[{name}]"), &volume.origin, message, hint);
        }
    }
    for field in ["initContainers", "containers"] {
        let names: Vec<&str> = list(field).iter().map(name).collect();
        for container in list(field) {
            let path = format!("{path}.{field}[{}]", name(container));
            if container.get("image").is_none() && !name(container).starts_with('$') {
                let others: Vec<&str> = names.iter().copied().filter(|other| *other != name(container)).collect();
                let hint = did_you_mean(name(container), &others, "a new container needs an `image`");
                let message = "there is no such container to change, and no image to make one".to_owned();
                return incomplete(&path, &container.origin, message, hint);
            }
            check_mounts(container, &path, &volumes)?;
        }
    }
    Ok(())
}

fn check_mounts(container: &Node, path: &str, volumes: &BTreeSet<&str>) -> Result<(), RenderError> {
    for mount in container.get("volumeMounts").map(Node::items).unwrap_or_default() {
        let target = mount.get("mountPath").and_then(Node::as_str).unwrap_or_default();
        let path = format!("{path}.volumeMounts[{target}]");
        let volume = name(mount);
        if volume.is_empty() {
            let message = "there is no such mount to change, and no volume to make one".to_owned();
            return incomplete(&path, &mount.origin, message, "a new mount needs the `name` of a volume".to_owned());
        }
        if !volumes.contains(volume) {
            let known: Vec<&str> = volumes.iter().copied().collect();
            let hint = did_you_mean(volume, &known, "add it to `volumes`");
            return incomplete(&path, &mount.origin, format!("there is no volume `{volume}`"), hint);
        }
    }
    Ok(())
}

/// Controllers and engines look at the first container for the runner's end. Checked before the last layer, which
/// would otherwise bring a `runner` of its own.
pub(super) fn check_runner_first(objects: &Objects) -> Result<(), RenderError> {
    let Some(pod) = objects.pod() else { return Ok(()) };
    let containers = pod.at(&["spec", "containers"]);
    if let Some("runner") = containers.and_then(|containers| containers.items().first()).map(name) {
        Ok(())
    } else {
        let origin = containers.map_or(&pod.origin, |containers| &containers.origin);
        let message = "the first container must be `runner`".to_owned();
        incomplete("spec.containers", origin, message, "add containers without replacing the list".to_owned())
    }
}

/// Puts parents before what is mounted below them; the order is kept otherwise.
pub(super) fn order_mounts(objects: &mut Objects) {
    for object in objects.iter_mut() {
        let spec = match object.key.kind.as_str() {
            HOOK_TEMPLATE => object.node.get_mut("template").and_then(|template| template.get_mut("spec")),
            _ => object.node.get_mut("spec"),
        };
        if let Some(spec) = spec {
            order_mounts_of(spec);
        }
    }
}

fn order_mounts_of(spec: &mut Node) {
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            let Some(mounts) = container.get_mut("volumeMounts").and_then(Node::items_mut) else { continue };
            let mut ordered: Vec<Node> = Vec::with_capacity(mounts.len());
            for mount in mounts.drain(..) {
                let parent = format!("{}/", target(&mount));
                let at = ordered.iter().position(|other| target(other).starts_with(&parent)).unwrap_or(ordered.len());
                ordered.insert(at, mount);
            }
            *mounts = ordered;
        }
    }
}

/// Brings the fields into the order in which people read manifests; what is not listed keeps its order in between.
pub(super) fn order_fields(objects: &mut Objects) {
    const METADATA: &[&str] = &["name", "namespace", "labels", "annotations"];
    for object in objects.iter_mut() {
        let template = object.key.kind == HOOK_TEMPLATE;
        order(&mut object.node, &["apiVersion", "kind", "metadata"], &[]);
        let spec = match object.node.get_mut("template") {
            Some(inner) if template => {
                order(inner, &["metadata"], &[]);
                inner.get_mut("spec")
            }
            _ => object.node.get_mut("spec"),
        };
        if let Some(spec) = spec {
            order(spec, &["restartPolicy", "serviceAccountName"], &["initContainers", "containers", "volumes"]);
            for field in ["initContainers", "containers"] {
                for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
                    order(container, &["name", "image", "command", "args"], &["env", "volumeMounts"]);
                }
            }
        }
        if let Some(metadata) = object.node.get_mut("metadata") {
            order(metadata, METADATA, &[]);
        }
    }
}

fn order(node: &mut Node, first: &[&str], last: &[&str]) {
    let rank = |key: &str| match (first.iter().position(|f| *f == key), last.iter().position(|l| *l == key)) {
        (Some(at), _) => at,
        (None, None) => first.len(),
        (None, Some(at)) => first.len() + 1 + at,
    };
    if let NodeKind::Mapping(entries) = &mut node.kind {
        entries.sort_by_key(|(key, _)| rank(key));
    }
}

/// The objects beside the pod, as they are applied.
pub(super) fn companions(objects: &Objects) -> Result<Vec<Value>, RenderError> {
    let mut companions = Vec::new();
    for Object { key, node } in objects.iter().filter(|object| object.key.kind != "Pod") {
        let value = if key.kind == HOOK_TEMPLATE { hook_template(node) } else { node.to_json() };
        if names_a_runner(&value) {
            let message = "it belongs to all runners of the scale set and cannot name one".to_owned();
            let hint = "use `scale_set.…` in it, or put the value into the pod".to_owned();
            return incomplete(&key.to_string(), &node.origin, message, hint);
        }
        companions.push(value);
    }
    Ok(companions)
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
                Segment::Hole(hole) => hole.placeholder().to_owned(),
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

fn name(node: &Node) -> &str {
    node.get("name").and_then(Node::as_str).unwrap_or_default()
}

fn target(mount: &Node) -> &str {
    mount.get("mountPath").and_then(Node::as_str).unwrap_or_default()
}

fn did_you_mean(name: &str, known: &[&str], otherwise: &str) -> String {
    nearest(name, known.iter().copied()).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

fn incomplete<T>(path: &str, origin: &Origin, message: String, hint: String) -> Result<T, RenderError> {
    Err(RenderError::Incomplete { path: path.to_owned(), origin: origin.clone(), message, hint })
}

/// A list node made of items, with the origin of the first.
pub(super) fn list(items: Vec<Node>, origin: &Origin) -> Node {
    Node { kind: NodeKind::Sequence(items), origin: origin.clone(), replaced: Vec::new() }
}
