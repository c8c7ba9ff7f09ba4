//! Translates merged objects into what `podman kube play` honours, and says what it does not.
//!
//! The facts are `runner-pods.md` 10 (Podman 4.3.1). Everything Podman would ignore is removed and reported, so that
//! what is shown is what runs. What it would refuse or misread is an error with a way out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::RenderError;
use super::finish::list;
use super::hole::Hole;
use super::short_hash::short_hash;
use crate::layers::{Node, NodeKind, Objects, Origin};
use crate::manifest::Unhonoured;
use crate::scale_set::ScaleSet;

/// Translates in place; the result is what Podman will not do.
pub(super) fn translate(objects: &mut Objects, scale_set: &ScaleSet) -> Result<Vec<Unhonoured>, RenderError> {
    let mut report = Report(Vec::new());
    if scale_set.container_hooks {
        report.add(
            "spec.containers[runner].env[ACTIONS_RUNNER_CONTAINER_HOOKS]",
            "container hooks need a cluster: `container:` jobs use the Docker of the runner instead",
        );
    }
    let names = config_map_names(objects);
    rename_config_maps(objects, &names);
    let Some(pod) = objects.pod_mut() else { return Ok(report.0) };
    pod.get_mut("metadata").map(|metadata| metadata.remove("namespace"));
    let Some(spec) = pod.get_mut("spec") else { return Ok(report.0) };
    sidecars_beside(spec, &mut report);
    drop_ignored(spec, &mut report);
    volumes(spec, &names, &mut report)?;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            let path = format!("spec.{field}[{}]", text(container, "name"));
            self::container(container, &path, &mut report)?;
        }
    }
    Ok(report.0)
}

struct Report(Vec<Unhonoured>);

impl Report {
    fn add(&mut self, path: &str, reason: &str) {
        self.0.push(Unhonoured { path: path.to_owned(), reason: reason.to_owned() });
    }
}

/// Podman copies a ConfigMap into a volume of its name once and never looks again, so the name carries the content.
fn config_map_names(objects: &Objects) -> BTreeMap<String, String> {
    let config_maps = objects.iter().filter(|object| object.key.kind == "ConfigMap");
    config_maps
        .map(|object| {
            let name = object.key.name.clone().unwrap_or_default();
            let data = object.node.get("data").map(Node::to_json).unwrap_or_default().to_string();
            (name.clone(), format!("{name}-{}", short_hash(&data, 4)))
        })
        .collect()
}

fn rename_config_maps(objects: &mut Objects, names: &BTreeMap<String, String>) {
    for object in objects.iter_mut() {
        let Some(metadata) = object.node.get_mut("metadata") else { continue };
        metadata.remove("namespace");
        let Some(new) = object.key.name.as_ref().and_then(|name| names.get(name)) else { continue };
        if let Some(name) = metadata.get_mut("name") {
            set(name, &json!(new));
        }
    }
}

/// Podman waits for every init container to end, a sidecar as well: it becomes an ordinary container.
fn sidecars_beside(spec: &mut Node, report: &mut Report) {
    let Some(mut init) = spec.remove("initContainers") else { return };
    let origin = init.origin.clone();
    let (sidecars, others): (Vec<Node>, Vec<Node>) = init
        .items_mut()
        .map(std::mem::take)
        .unwrap_or_default()
        .into_iter()
        .partition(|container| text(container, "restartPolicy") == "Always");
    for mut sidecar in sidecars {
        let path = format!("spec.initContainers[{}]", text(&sidecar, "name"));
        sidecar.remove("restartPolicy");
        report.add(&path, "a sidecar starts beside the runner, not before it; it ends when the pod is removed");
        if sidecar.remove("startupProbe").is_some() {
            report.add(
                &format!("{path}.startupProbe"),
                "there are no start-up probes; the runner itself polls Docker before it starts",
            );
        }
        if let Some(containers) = spec.get_mut("containers").and_then(Node::items_mut) {
            containers.push(sidecar);
        }
    }
    if let (NodeKind::Mapping(entries), false) = (&mut spec.kind, others.is_empty()) {
        entries.push(("initContainers".to_owned(), list(others, &origin)));
    }
}

fn drop_ignored(spec: &mut Node, report: &mut Report) {
    const IGNORED: &[(&str, &str)] = &[
        ("nodeSelector", "there is one host"),
        ("tolerations", "there is one host"),
        ("affinity", "there is one host"),
        ("topologySpreadConstraints", "there is one host"),
        ("priorityClassName", "there are no priorities"),
        ("runtimeClassName", "the runtime is that of the host's Podman"),
        ("imagePullSecrets", "log in to the registry on the host: `podman login`"),
        ("schedulerName", "there is one host"),
        ("serviceAccountName", "there are no service accounts"),
    ];
    for (field, reason) in IGNORED {
        if spec.remove(field).is_some() {
            report.add(&format!("spec.{field}"), reason);
        }
    }
    if spec.get_mut("securityContext").and_then(|context| context.remove("fsGroup")).is_some() {
        report.add("spec.securityContext.fsGroup", "volumes keep their owner");
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
                return Err(RenderError::Podman {
                    path,
                    message: format!("it has no volumes of kind `{other}`"),
                    hint: "mount it on the host and give the directory as `source`; or write `source: \"\"`".to_owned(),
                });
            }
        }
    }
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            for mount in container.get_mut("volumeMounts").and_then(Node::items_mut).into_iter().flatten() {
                if let Some(name) = mount.get_mut("name")
                    && let Some(new) = name.as_str().and_then(|name| renamed.get(name)).cloned()
                {
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
    let tail = u8::try_from(MAX.saturating_sub(name.len() + 1)).unwrap_or(0);
    let new = format!("{name}-{}", Hole::NameTail(tail).token());
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
    let name = text(config_map, "name").to_owned();
    let Some(new) = names.get(&name) else {
        return Err(RenderError::Podman {
            path: format!("{path}.configMap"),
            message: format!("there is no cluster that has a ConfigMap `{name}`"),
            hint: "give its content in the spec (`inline`), or add the ConfigMap in a layer".to_owned(),
        });
    };
    if let Some(name) = config_map.get_mut("name") {
        set(name, &json!(new));
    }
    Ok(())
}

/// Without an explicit `optional` Podman 4.3 crashes.
fn secret(volume: &mut Node, path: &str, report: &mut Report) {
    report.add(&format!("{path}.secret"), "files hold the values in base64, not decoded");
    let Some(secret) = volume.get_mut("secret") else { return };
    if secret.get("optional").is_none() {
        let node = Node::from_json(&json!(false), &translation("secret volumes say `optional`"));
        if let NodeKind::Mapping(entries) = &mut secret.kind {
            entries.push(("optional".to_owned(), node));
        }
    }
}

fn container(container: &mut Node, path: &str, report: &mut Report) -> Result<(), RenderError> {
    if let Some(security) = container.get_mut("securityContext")
        && security.remove("runAsNonRoot").is_some_and(|value| value.scalar() == Some(&json!(true)))
    {
        report.add(&format!("{path}.securityContext.runAsNonRoot"), "the image's user is not checked");
    }
    environment(container, path, report)?;
    let values: BTreeMap<String, String> = container
        .get("env")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| Some((text(item, "name").to_owned(), item.get("value")?.as_str()?.to_owned())))
        .collect();
    for field in ["command", "args"] {
        for item in container.get_mut(field).and_then(Node::items_mut).into_iter().flatten() {
            expand(item, &values, &format!("{path}.{field}"))?;
        }
    }
    for item in container.get_mut("env").and_then(Node::items_mut).into_iter().flatten() {
        let path = format!("{path}.env[{}]", text(item, "name"));
        if let Some(value) = item.get_mut("value") {
            expand(value, &values, &path)?;
        }
    }
    for mount in container.get_mut("volumeMounts").and_then(Node::items_mut).into_iter().flatten() {
        if mount.get("subPath").is_some() {
            return Err(RenderError::Podman {
                path: format!("{path}.volumeMounts[{}].subPath", text(mount, "mountPath")),
                message: "it would mount the whole volume instead".to_owned(),
                hint: "mount a volume of its own".to_owned(),
            });
        }
    }
    Ok(())
}

/// Variables from fields that Podman does not know would stop the pod.
fn environment(container: &mut Node, path: &str, report: &mut Report) -> Result<(), RenderError> {
    let Some(env) = container.get_mut("env").and_then(Node::items_mut) else { return Ok(()) };
    for item in env.iter() {
        let Some(source) = item.get("valueFrom") else { continue };
        let field = source.at(&["fieldRef", "fieldPath"]).and_then(Node::as_str);
        let known = |field: &str| {
            matches!(field, "metadata.name" | "metadata.uid")
                || field.starts_with("metadata.labels[")
                || field.starts_with("metadata.annotations[")
        };
        let path = format!("{path}.env[{}]", text(item, "name"));
        if field.is_some_and(|field| !known(field)) || source.get("resourceFieldRef").is_some() {
            return Err(RenderError::Podman {
                path,
                message: "it cannot fill in this field".to_owned(),
                hint: "remove the variable; names, labels and annotations of the pod are known".to_owned(),
            });
        }
        if source.get("configMapKeyRef").is_some() {
            report.add(&path, "the ConfigMap must come from a layer");
        }
    }
    Ok(())
}

/// Fills in `$(NAME)`, which Kubernetes does and Podman does not.
fn expand(node: &mut Node, values: &BTreeMap<String, String>, path: &str) -> Result<(), RenderError> {
    let Some(mut filled) = node.as_str().filter(|text| text.contains("$(")).map(str::to_owned) else { return Ok(()) };
    for (name, value) in values {
        filled = filled.replace(&format!("$({name})"), value);
    }
    if let Some((_, rest)) = filled.split_once("$(") {
        let name = rest.split(')').next().unwrap_or_default();
        return Err(RenderError::Podman {
            path: path.to_owned(),
            message: format!("it does not fill in `$({name})`, and the value is not known here"),
            hint: "give the value itself; for a proxy with credentials, run one on the host that needs none".to_owned(),
        });
    }
    set(node, &json!(filled));
    Ok(())
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
