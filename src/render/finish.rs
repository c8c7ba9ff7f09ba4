//! Refuses merged objects that no engine would take, and names the layer that is to blame.

use std::collections::BTreeSet;

use super::error::RenderError;
use super::hole::{Hole, holes};
use super::prepare::Request;
use crate::layers::{Node, Object, Objects, Origin};
use crate::problem::nearest;

/// In layers the hook template is an object of this kind; what is applied is a ConfigMap with the key `content`.
pub(super) const HOOK_TEMPLATE: &str = "PodTemplate";

/// The layer that no one may override.
pub(super) const LAST_LAYER: &str = "deskrun";

/// The kinds a layer may contribute, with their API version. Secrets are not among them: a manifest never carries one.
const KINDS: &[(&str, &str)] = &[
    ("Pod", "v1"),
    (HOOK_TEMPLATE, "v1"),
    ("ConfigMap", "v1"),
    ("ServiceAccount", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("Role", "rbac.authorization.k8s.io/v1"),
    ("RoleBinding", "rbac.authorization.k8s.io/v1"),
];

/// Checks all objects, and gives those their API version that a layer named by kind alone.
pub(super) fn check(objects: &mut Objects, request: &Request<'_>) -> Result<(), RenderError> {
    for Object { key, node } in objects.iter_mut() {
        let Some((_, api_version)) = KINDS.iter().find(|(kind, _)| *kind == key.kind) else {
            let message = format!("a layer cannot contribute a `{}`", key.kind);
            let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            return incomplete(&key.to_string(), &node.origin, message, format!("allowed are {}", known.join(", ")));
        };
        let origin = node.origin.clone();
        for (field, value) in [("apiVersion", *api_version), ("kind", key.kind.as_str())] {
            if node.get(field).is_none() {
                // No line says so: it follows from the kind.
                let follows = Origin { file: "(follows from `kind`)".into(), line: 0, ..origin.clone() };
                node.push(field, Node::from_json(&value.into(), &follows));
            }
        }
        if key.kind != "Pod" && key.name.is_none() {
            let message = format!("which `{}` is meant?", key.kind);
            return incomplete(&key.to_string(), &origin, message, "give its `metadata.name`".to_owned());
        }
    }
    for Object { key, node } in objects.iter() {
        check_holes(&key.kind, &key.to_string(), node, request)?;
        match key.kind.as_str() {
            "Pod" => {
                check_pod(node.get("spec"), "spec", &[])?;
                check_image(node, request)?;
                check_prepared(node, request)?;
            }
            // The hook knows its own containers, whose image is the workflow's, and its own volumes.
            HOOK_TEMPLATE => {
                let spec = node.at(&["template", "spec"]);
                check_pod(spec, "hook template: spec", &["externals", "work", "github"])?;
                check_pin(spec, request)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Holes are filled in the pod; in the hook template an init container fills some of them, if there is one.
fn check_holes(kind: &str, object: &str, node: &Node, request: &Request<'_>) -> Result<(), RenderError> {
    if let Some(origin) = hole_in_key(node) {
        let hint = "it can only be part of a value".to_owned();
        return incomplete(object, origin, "`runner.…` stands in a key".to_owned(), hint);
    }
    let per_runner = request.stack.preparation.hook_template_per_runner;
    let refused: &dyn Fn(Hole) -> Option<(&'static str, &'static str)> = match kind {
        "Pod" => &|hole| {
            let hint = "use a `fieldRef` to `spec.nodeName`";
            (hole == Hole::Node).then_some(("`runner.node` is known in the hook template only", hint))
        },
        HOOK_TEMPLATE => &|hole| match (hole.placeholder(), per_runner) {
            (None, _) => Some(("`runner.id` is not known in the hook template", "use `runner.name`")),
            (Some(_), false) => Some((
                "`runner.…` is not known here: all runners of this scale set share one hook template",
                "write it in a layer of its own, as `{{ runner.name }}`",
            )),
            (Some(_), true) => None,
        },
        _ => &|_| {
            let hint = "use `scale_set.…` in it, or put the value into the pod";
            Some(("it belongs to all runners of the scale set and cannot name one", hint))
        },
    };
    match node.leaves().find_map(|leaf| Some((leaf, holes(leaf.as_str()?).into_iter().find_map(refused)?))) {
        Some((leaf, (message, hint))) => incomplete(object, &leaf.origin, message.to_owned(), hint.to_owned()),
        None => Ok(()),
    }
}

/// Where a key with a hole was written.
fn hole_in_key(node: &Node) -> Option<&Origin> {
    let here = node.entries().iter().find(|(key, _)| !holes(key).is_empty()).map(|(_, value)| &value.origin);
    here.or_else(|| node.entries().iter().find_map(|(_, value)| hole_in_key(value)))
        .or_else(|| node.items().iter().find_map(hole_in_key))
}

fn check_pod(spec: Option<&Node>, path: &str, known_volumes: &[&str]) -> Result<(), RenderError> {
    let Some(spec) = spec else { return Ok(()) };
    let list = |field: &str| spec.get(field).map(Node::items).unwrap_or_default();
    let mut volumes: BTreeSet<&str> = known_volumes.iter().copied().collect();
    for volume in list("volumes") {
        let name = name(volume);
        volumes.insert(name);
        check_volume(volume, &format!("{path}.volumes[{name}]"), list("volumes"))?;
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
            if let Some(policy) = container.get("restartPolicy").filter(|_| field == "containers") {
                let message = "a used JIT config must not be used again by a restarted container".to_owned();
                return incomplete(&path, &policy.origin, message, "remove `restartPolicy`".to_owned());
            }
            check_mounts(container, &path, &volumes)?;
        }
    }
    Ok(())
}

fn check_volume(volume: &Node, path: &str, all: &[Node]) -> Result<(), RenderError> {
    let (message, hint) = match volume.entries().len() {
        2 => return Ok(()),
        0 | 1 => {
            let known: Vec<&str> = all.iter().map(name).filter(|other| *other != name(volume)).collect();
            let hint = did_you_mean(name(volume), &known, "give it a source, such as `emptyDir: {}`");
            ("the volume has no source", hint)
        }
        _ => ("the volume has more than one source", "keep one of them".to_owned()),
    };
    incomplete(path, &volume.origin, message.to_owned(), hint)
}

fn check_mounts(container: &Node, path: &str, volumes: &BTreeSet<&str>) -> Result<(), RenderError> {
    let mut seen = BTreeSet::new();
    for mount in container.get("volumeMounts").map(Node::items).unwrap_or_default() {
        let target = mount.get("mountPath").and_then(Node::as_str).unwrap_or_default();
        let path = format!("{path}.volumeMounts[{target}]");
        let volume = name(mount);
        let fault = |message: String, hint: String| incomplete(&path, &mount.origin, message, hint);
        if volume.is_empty() {
            let message = "there is no such mount to change, and no volume to make one".to_owned();
            return fault(message, "a new mount needs the `name` of a volume".to_owned());
        }
        if !volumes.contains(volume) {
            let known: Vec<&str> = volumes.iter().copied().collect();
            return fault(
                format!("there is no volume `{volume}`"),
                did_you_mean(volume, &known, "add it to `volumes`"),
            );
        }
        let plain: Vec<&str> = target.split('/').filter(|component| !component.is_empty()).collect();
        let plain = format!("/{}", plain.join("/"));
        if plain != target {
            return fault(
                "a mount path is absolute, without doubled and final slashes".to_owned(),
                format!("write `{plain}`"),
            );
        }
        if !seen.insert(target) {
            return fault("something is mounted here already".to_owned(), "choose another path".to_owned());
        }
    }
    Ok(())
}

/// Without its init container a runner finds caches it cannot write, and a hook template that no one filled in.
fn check_prepared(pod: &Node, request: &Request<'_>) -> Result<(), RenderError> {
    const PREPARE: &str = "prepare-caches";
    let init = pod.at(&["spec", "initContainers"]).map(Node::items).unwrap_or_default();
    if request.stack.preparation.is_empty() || init.iter().any(|container| name(container) == PREPARE) {
        return Ok(());
    }
    let message = format!("the init container `{PREPARE}` is gone, which prepares the caches and the hook template");
    let hint = "change it instead of deleting it".to_owned();
    incomplete("spec.initContainers", &pod.origin, message, hint)
}

/// The image is also that of the init containers, and of a part of job pods: another version would mix their parts.
fn check_image(pod: &Node, request: &Request<'_>) -> Result<(), RenderError> {
    let containers = pod.at(&["spec", "containers"]).map(Node::items).unwrap_or_default();
    let image = containers.first().and_then(|runner| runner.get("image"));
    match image {
        Some(image) if image.as_str() != Some(&request.scale_set.image) => {
            let message = "the image of the runner is also that of its init containers and of job pods".to_owned();
            let hint = "set `image` of the spec instead".to_owned();
            incomplete("spec.containers[runner].image", &image.origin, message, hint)
        }
        _ => Ok(()),
    }
}

/// A job's pod that shares directories with its runner must land on the same node, whatever else is asked for.
fn check_pin(spec: Option<&Node>, request: &Request<'_>) -> Result<(), RenderError> {
    if !request.stack.preparation.pin {
        return Ok(());
    }
    let path = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let terms = spec.and_then(|spec| spec.at(&path));
    let pinned = |term: &Node| term.leaves().any(|leaf| holes(leaf.as_str().unwrap_or_default()).contains(&Hole::Node));
    if terms.is_some_and(|terms| !terms.items().is_empty() && terms.items().iter().all(pinned)) {
        return Ok(());
    }
    let origin = terms.or(spec).map_or_else(
        || Origin { layer: "hookTemplate".into(), file: request.scale_set.file.as_str().into(), line: 0 },
        |node| node.origin.clone(),
    );
    let message =
        "the job's pod would no longer be kept on the node of its runner, whose directories it uses".to_owned();
    let hint = "use `nodeSelector`, or `preferredDuringSchedulingIgnoredDuringExecution`".to_owned();
    incomplete("hook template: spec.affinity", &origin, message, hint)
}

/// Controllers and engines look at the first container for the runner's end. Checked before the last layer, which
/// would otherwise bring a `runner` of its own.
pub(super) fn check_runner_first(objects: &Objects, users: &Origin) -> Result<(), RenderError> {
    let Some(pod) = objects.pod() else {
        let hint = "change it, or choose another mode".to_owned();
        return incomplete("Pod", users, "a layer deleted the runner's pod".to_owned(), hint);
    };
    let containers = pod.at(&["spec", "containers"]);
    if let Some("runner") = containers.and_then(|containers| containers.items().first()).map(name) {
        Ok(())
    } else {
        let origin = containers.map_or(&pod.origin, |containers| &containers.origin);
        let message = "the first container must be `runner`".to_owned();
        incomplete("spec.containers", origin, message, "add containers without replacing the list".to_owned())
    }
}

fn name(node: &Node) -> &str {
    node.get("name").and_then(Node::as_str).unwrap_or_default()
}

fn did_you_mean(name: &str, known: &[&str], otherwise: &str) -> String {
    nearest(name, known.iter().copied()).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

fn incomplete<T>(path: &str, origin: &Origin, message: String, hint: String) -> Result<T, RenderError> {
    Err(RenderError::Incomplete { path: path.to_owned(), origin: origin.clone(), message, hint })
}
