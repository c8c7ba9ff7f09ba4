//! Brings merged objects into the order in which runtimes mount and people read.

use super::finish::HOOK_TEMPLATE;
use crate::layers::{Node, NodeKind, Objects};

/// Orders mounts and fields of all objects; nothing else changes.
pub(super) fn order(objects: &mut Objects) {
    for object in objects.iter_mut() {
        fields(&mut object.node, &["apiVersion", "kind", "metadata"], &[]);
        if let Some(metadata) = object.node.get_mut("metadata") {
            fields(metadata, &["name", "namespace", "labels", "annotations"], &[]);
        }
        let pod = match object.key.kind.as_str() {
            HOOK_TEMPLATE => object.node.get_mut("template"),
            _ => Some(&mut object.node),
        };
        if let Some(pod) = pod {
            fields(pod, &["apiVersion", "kind", "metadata"], &[]);
            if let Some(spec) = pod.get_mut("spec") {
                pod_spec(spec);
            }
        }
    }
}

fn pod_spec(spec: &mut Node) {
    fields(spec, &["restartPolicy", "serviceAccountName"], &["initContainers", "containers", "volumes"]);
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            fields(container, &["name", "image", "command", "args"], &["env", "volumeMounts"]);
            if let Some(list) = container.get_mut("volumeMounts").and_then(Node::items_mut) {
                parents_first(list);
            }
        }
    }
}

/// Puts `first` in front and `last` at the end; what is not listed keeps its order in between.
fn fields(node: &mut Node, first: &[&str], last: &[&str]) {
    let rank = |key: &str| match (first.iter().position(|f| *f == key), last.iter().position(|l| *l == key)) {
        (Some(at), _) => at,
        (None, None) => first.len(),
        (None, Some(at)) => first.len() + 1 + at,
    };
    if let NodeKind::Mapping(entries) = &mut node.kind {
        entries.sort_by_key(|(key, _)| rank(key));
    }
}

/// Puts parents before what is mounted below them; the order is kept otherwise.
fn parents_first(mounts: &mut Vec<Node>) {
    let mut ordered: Vec<Node> = Vec::with_capacity(mounts.len());
    for mount in mounts.drain(..) {
        let parent = format!("{}/", target(&mount));
        let at = ordered.iter().position(|other| target(other).starts_with(&parent)).unwrap_or(ordered.len());
        ordered.insert(at, mount);
    }
    *mounts = ordered;
}

fn target(mount: &Node) -> &str {
    mount.get("mountPath").and_then(Node::as_str).unwrap_or_default()
}
