//! Translates merged objects into what `podman kube play` honours, and says what it does not.
//!
//! The facts are `runner-pods.md` 10 (Podman 4.3.1). What Podman would ignore is removed and reported, so that what is
//! shown is what runs. What it would refuse or misread is an error with a way out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::RenderError;
use super::expansion::{Unknown, Variables};
use super::hole::Hole;
use super::short_hash::short_hash;
use crate::layers::{LayerStack, LayerText, Node, NodeKind, Objects, Origin};
use crate::manifest::Unhonoured;
use crate::scale_set::ScaleSet;

/// Translates in place; the result is what Podman will not do.
pub(super) fn translate(
    objects: &mut Objects,
    scale_set: &ScaleSet,
    stack: &LayerStack,
) -> Result<Vec<Unhonoured>, RenderError> {
    let users = stack.layers.iter().filter(|layer| layer.users).map(|layer| layer.name.clone()).collect();
    let mut report = Report { unhonoured: Vec::new(), users };
    report_hooks(scale_set, stack, &mut report);
    drop_objects(objects, &mut report);
    let names = rename_config_maps(objects);
    let Some(pod) = objects.pod_mut() else { return Ok(report.unhonoured) };
    pod.get_mut("metadata").map(|metadata| metadata.remove("namespace"));
    let Some(spec) = pod.get_mut("spec") else { return Ok(report.unhonoured) };
    sidecars_beside(spec, &mut report);
    drop_ignored(spec, &mut report);
    volumes(spec, &names, &mut report)?;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            let path = format!("spec.{field}[{}]", text(container, "name"));
            self::container(container, &path, &names, &mut report)?;
        }
    }
    Ok(report.unhonoured)
}

struct Report {
    unhonoured: Vec<Unhonoured>,
    /// Names of the user's layers: what ours set for Kubernetes alone needs no word.
    users: Vec<String>,
}

impl Report {
    fn add(&mut self, path: &str, reason: &str) {
        self.unhonoured.push(Unhonoured { path: path.to_owned(), reason: reason.to_owned() });
    }

    fn is_users(&self, node: &Node) -> bool {
        self.users.iter().any(|name| *name == *node.origin.layer)
    }
}

fn report_hooks(scale_set: &ScaleSet, stack: &LayerStack, report: &mut Report) {
    if scale_set.container_hooks {
        report.add(
            "spec.containers[runner].env[ACTIONS_RUNNER_CONTAINER_HOOKS]",
            "container hooks need a cluster: `container:` jobs use the Docker of the runner instead",
        );
    }
    let hook_template = |text: &LayerText| matches!(text, LayerText::Template(text) if text.contains("PodTemplate"));
    let from_layers = stack.layers.iter().any(|layer| layer.users && hook_template(&layer.text));
    if scale_set.hook_template.is_some() || from_layers {
        report.add("hookTemplate", "there are no pods to apply it to");
    }
}

/// Only what belongs to a pod is played.
fn drop_objects(objects: &mut Objects, report: &mut Report) {
    objects.retain(|object| {
        let played = matches!(object.key.kind.as_str(), "Pod" | "ConfigMap" | "PersistentVolumeClaim");
        if !played && object.key.kind != "PodTemplate" {
            report.add(&object.key.to_string(), "there are no accounts and no roles");
        }
        played
    });
}

/// Podman copies a ConfigMap into a volume of its name once and never looks again, so the name carries the content.
fn rename_config_maps(objects: &mut Objects) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for object in objects.iter_mut() {
        let content: Vec<Value> =
            ["data", "binaryData"].iter().filter_map(|field| object.node.get(field)).map(Node::to_json).collect();
        let Some(metadata) = object.node.get_mut("metadata") else { continue };
        metadata.remove("namespace");
        let (Some(name), "ConfigMap") = (object.key.name.clone(), object.key.kind.as_str()) else { continue };
        let new = format!("{name}-{}", short_hash(&json!(content).to_string(), 4));
        if let Some(node) = metadata.get_mut("name") {
            set(node, &json!(new));
        }
        names.insert(name, new);
    }
    names
}

/// Podman waits for every init container to end, a sidecar as well: it becomes an ordinary container.
fn sidecars_beside(spec: &mut Node, report: &mut Report) {
    let Some(mut init) = spec.remove("initContainers") else { return };
    let all = init.items_mut().map(std::mem::take).unwrap_or_default();
    let (sidecars, others): (Vec<Node>, Vec<Node>) =
        all.into_iter().partition(|container| text(container, "restartPolicy") == "Always");
    for mut sidecar in sidecars {
        let path = format!("spec.initContainers[{}]", text(&sidecar, "name"));
        sidecar.remove("restartPolicy");
        report.add(&path, "a sidecar starts beside the runner, not before it; it ends when the pod is removed");
        if sidecar.remove("startupProbe").is_some() {
            let reason = "there are no start-up probes; the runner itself polls Docker before it starts";
            report.add(&format!("{path}.startupProbe"), reason);
        }
        if let Some(containers) = spec.get_mut("containers").and_then(Node::items_mut) {
            containers.push(sidecar);
        }
    }
    if !others.is_empty() {
        spec.push("initContainers", Node { kind: NodeKind::Sequence(others), ..init });
    }
}

fn drop_ignored(spec: &mut Node, report: &mut Report) {
    const IGNORED: &[(&str, &str)] = &[
        ("nodeSelector", "there is one host"),
        ("tolerations", "there is one host"),
        ("affinity", "there is one host"),
        ("topologySpreadConstraints", "there is one host"),
        ("schedulerName", "there is one host"),
        ("priorityClassName", "there are no priorities"),
        ("runtimeClassName", "the runtime is that of the host's Podman"),
        ("imagePullSecrets", "log in to the registry on the host: `podman login`"),
        ("activeDeadlineSeconds", "pods have no deadline"),
        ("readinessGates", "nothing waits for readiness"),
    ];
    const OURS: &[&str] = &["serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"];
    for (field, reason) in IGNORED {
        if spec.remove(field).is_some() {
            report.add(&format!("spec.{field}"), reason);
        }
    }
    for field in OURS {
        if spec.remove(field).is_some_and(|node| report.is_users(&node)) {
            report.add(&format!("spec.{field}"), "there are no service accounts and no services");
        }
    }
    let fs_group = spec.get_mut("securityContext").and_then(|context| context.remove("fsGroup"));
    if fs_group.is_some_and(|node| report.is_users(&node)) {
        report.add("spec.securityContext.fsGroup", "volumes keep their owner");
    }
    if spec.get("securityContext").is_some_and(|context| context.entries().is_empty()) {
        spec.remove("securityContext");
    }
}

fn volumes(spec: &mut Node, names: &BTreeMap<String, String>, report: &mut Report) -> Result<(), RenderError> {
    let mut renamed = BTreeMap::new();
    for volume in spec.get_mut("volumes").and_then(Node::items_mut).into_iter().flatten() {
        let name = text(volume, "name").to_owned();
        let path = format!("spec.volumes[{name}]");
        let kind = volume.entries().iter().map(|(key, _)| key.clone()).find(|key| key != "name").unwrap_or_default();
        match kind.as_str() {
            "emptyDir" => renamed.extend(empty_dir(volume, &name, &path, report)),
            "configMap" => config_map(volume, &path, names, report)?,
            "secret" => secret(volume, &path, report),
            "hostPath" | "persistentVolumeClaim" => {}
            other => {
                let message = format!("it has no volumes of kind `{other}`");
                let hint = "mount it on the host and give the directory as `source`; or write `source: \"\"`";
                return podman(&path, message, hint);
            }
        }
    }
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            for mount in container.get_mut("volumeMounts").and_then(Node::items_mut).into_iter().flatten() {
                let Some(name) = mount.get_mut("name") else { continue };
                if let Some(new) = name.as_str().and_then(|name| renamed.get(name)) {
                    set(name, &json!(new));
                }
            }
        }
    }
    Ok(())
}

/// An emptyDir becomes a volume called like it: without the runner in its name, the next pod would see its files.
fn empty_dir(volume: &mut Node, name: &str, path: &str, report: &mut Report) -> Option<(String, String)> {
    /// Longest name of a volume.
    const MAX: usize = 63;
    /// Longer names are cut, so that enough of the runner's name fits behind them.
    const KEPT: usize = 30;
    let short =
        if name.len() > KEPT { format!("{}-{}", &name[..KEPT - 9], short_hash(name, 4)) } else { name.to_owned() };
    let tail = u8::try_from(MAX - short.len() - 1).unwrap_or(u8::MAX);
    let new = format!("{short}-{}", Hole::NameTail(tail).token());
    set(volume.get_mut("name")?, &json!(new));
    let options = volume.get_mut("emptyDir")?;
    for (option, reason) in
        [("medium", "the volume is on the host's disk"), ("sizeLimit", "the volume grows as far as the disk does")]
    {
        if options.remove(option).is_some() {
            report.add(&format!("{path}.emptyDir.{option}"), reason);
        }
    }
    Some((name.to_owned(), new))
}

fn config_map(
    volume: &mut Node,
    path: &str,
    names: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<(), RenderError> {
    let Some(config_map) = volume.get_mut("configMap") else { return Ok(()) };
    if config_map.remove("defaultMode").is_some() {
        report.add(&format!("{path}.configMap.defaultMode"), "files keep the mode 0644");
    }
    rename_reference(config_map, &format!("{path}.configMap"), names)
}

/// Gives a reference to a ConfigMap its new name.
fn rename_reference(reference: &mut Node, path: &str, names: &BTreeMap<String, String>) -> Result<(), RenderError> {
    let Some(name) = reference.get_mut("name") else { return Ok(()) };
    let known = name.as_str().and_then(|name| names.get(name)).cloned();
    if let Some(new) = known {
        set(name, &json!(new));
        Ok(())
    } else {
        let message = format!("there is no cluster that has a ConfigMap `{}`", name.as_str().unwrap_or_default());
        podman(path, message, "give its content in the spec (`inline`), or add the ConfigMap in a layer")
    }
}

/// Without an explicit `optional` Podman 4.3 crashes.
fn secret(volume: &mut Node, path: &str, report: &mut Report) {
    report.add(&format!("{path}.secret"), "files hold the values in base64, not decoded");
    let Some(secret) = volume.get_mut("secret") else { return };
    if secret.get("optional").is_none() {
        secret.push("optional", Node::from_json(&json!(false), &translation("secret volumes say `optional`")));
    }
}

fn container(
    container: &mut Node,
    path: &str,
    names: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<(), RenderError> {
    if let Some(security) = container.get_mut("securityContext")
        && security.remove("runAsNonRoot").is_some_and(|value| value.scalar() == Some(&json!(true)))
    {
        report.add(&format!("{path}.securityContext.runAsNonRoot"), "the image's user is not checked");
    }
    for field in ["lifecycle", "readinessProbe", "startupProbe"] {
        if container.remove(field).is_some() {
            report.add(&format!("{path}.{field}"), "it is not run");
        }
    }
    environment(container, path, names)?;
    for mount in container.get("volumeMounts").map(Node::items).unwrap_or_default() {
        if mount.get("subPath").or(mount.get("subPathExpr")).is_some() {
            let path = format!("{path}.volumeMounts[{}].subPath", text(mount, "mountPath"));
            return podman(&path, "it would mount the whole volume instead".to_owned(), "mount a volume of its own");
        }
    }
    Ok(())
}

/// Fills in references between variables, and refuses sources that Podman does not know: they would stop the pod.
fn environment(container: &mut Node, path: &str, names: &BTreeMap<String, String>) -> Result<(), RenderError> {
    let unknown = |path: &str, Unknown(name): Unknown| {
        let message = format!("it does not fill in `$({name})`, and the value is not known here");
        let hint = "give the value itself; for a proxy with credentials, run one on the host that needs none";
        podman(path, message, hint)
    };
    for source in container.get_mut("envFrom").and_then(Node::items_mut).into_iter().flatten() {
        if let Some(reference) = source.get_mut("configMapRef") {
            rename_reference(reference, &format!("{path}.envFrom"), names)?;
        }
    }
    let mut variables = Variables::default();
    for item in container.get_mut("env").and_then(Node::items_mut).into_iter().flatten() {
        let path = format!("{path}.env[{}]", text(item, "name"));
        if let Some(source) = item.get_mut("valueFrom") {
            variable_source(source, &path, names)?;
        }
        match variables.define(item) {
            Err(name) => return unknown(&path, name),
            Ok(Some(value)) => {
                if let Some(node) = item.get_mut("value") {
                    set(node, &json!(value));
                }
            }
            Ok(None) => {}
        }
    }
    for field in ["command", "args"] {
        for item in container.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            match item.as_str().map(|text| variables.expand(text)) {
                Some(Err(name)) => return unknown(&format!("{path}.{field}"), name),
                Some(Ok(expanded)) => set(item, &json!(expanded)),
                None => {}
            }
        }
    }
    Ok(())
}

fn variable_source(source: &mut Node, path: &str, names: &BTreeMap<String, String>) -> Result<(), RenderError> {
    let field = source.at(&["fieldRef", "fieldPath"]).and_then(Node::as_str);
    let known = |field: &str| {
        matches!(field, "metadata.name" | "metadata.uid")
            || field.starts_with("metadata.labels[")
            || field.starts_with("metadata.annotations[")
    };
    if field.is_some_and(|field| !known(field)) || source.get("resourceFieldRef").is_some() {
        let hint = "remove the variable; names, labels and annotations of the pod are known";
        return podman(path, "it cannot fill in this field".to_owned(), hint);
    }
    match source.get_mut("configMapKeyRef") {
        Some(reference) => rename_reference(reference, path, names),
        None => Ok(()),
    }
}

fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    node.get(key).and_then(Node::as_str).unwrap_or_default()
}

/// Replaces a scalar; `--explain` shows the old value and where it came from.
fn set(node: &mut Node, value: &Value) {
    if node.scalar() == Some(value) {
        return;
    }
    let new = Node::from_json(value, &translation("names and values for Podman"));
    let old = std::mem::replace(node, new);
    node.replaced = old.into_replaced();
}

fn translation(what: &str) -> Origin {
    Origin { layer: Arc::from("podman"), file: Arc::from(format!("(translation: {what})")), line: 0 }
}

fn podman<T>(path: &str, message: String, hint: &str) -> Result<T, RenderError> {
    Err(RenderError::Podman { path: path.to_owned(), message, hint: hint.to_owned() })
}
