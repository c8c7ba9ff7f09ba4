//! A checker over finished manifests: what must hold for every pod, however it was made.
//!
//! It shares no code with the renderer: it looks at JSON only, and at Kubernetes' own types.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Everything that is wrong with the objects of one runner.
pub fn check(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for object in objects {
        faults.extend(check_types(object));
        faults.extend(check_no_secret(object));
        faults.extend(check_metadata(object));
        faults.extend(check_plain(object));
    }
    let names: BTreeSet<(&str, &str)> = objects.iter().map(|object| (text(object, "/kind"), name(object))).collect();
    let pods: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Pod").collect();
    if pods.is_empty() {
        faults.push("there is no pod".to_owned());
    }
    for pod in pods {
        faults.extend(check_pod(pod));
        faults.extend(check_references(pod, &names));
        faults.extend(check_slots(pod));
    }
    for object in objects {
        if let Some(content) = object.pointer("/data/content").and_then(Value::as_str) {
            faults.extend(check_hook_template(content));
            let filled = objects.iter().any(|object| object.to_string().contains("/hook-template/content >"));
            if content.contains("@DESKRUN_") && !filled {
                faults.push("nothing fills in the hook template's placeholders".to_owned());
            }
        }
    }
    faults
}

/// Nothing of the machinery is left: no holes, no marks, no directives; and every object says what it is.
fn check_plain(object: &Value) -> Vec<String> {
    fn directives(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.keys().filter(|key| key.starts_with('$')).map(|key| format!("`{key}` is left")));
                map.values().for_each(|value| directives(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| directives(item, found)),
            _ => {}
        }
    }
    let mut faults = Vec::new();
    directives(object, &mut faults);
    if object.to_string().chars().any(|character| ('\u{E000}'..='\u{E1FF}').contains(&character)) {
        faults.push(format!("{} contains private-use characters", name(object)));
    }
    for field in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(object, field).is_empty() {
            faults.push(format!("an object has no {field}: {object}"));
        }
    }
    faults
}

fn check_pod(pod: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let spec = &pod["spec"];
    let pod_name = name(pod);
    if pod_name.len() > 54 || !is_label(pod_name) {
        faults.push(format!("`{pod_name}` cannot name a runner"));
    }
    if spec["restartPolicy"] != "Never" {
        faults.push("restartPolicy is not Never".to_owned());
    }
    if spec.pointer("/containers/0/name").and_then(Value::as_str) != Some("runner") {
        faults.push("the first container is not the runner".to_owned());
    }
    let volumes: Vec<&str> = list(spec, "volumes").iter().map(|volume| text(volume, "/name")).collect();
    if volumes.iter().collect::<BTreeSet<_>>().len() != volumes.len() {
        faults.push(format!("two volumes of one name: {volumes:?}"));
    }
    for volume in list(spec, "volumes") {
        let sources = volume.as_object().map_or(0, |volume| volume.len() - 1);
        if sources != 1 || !is_label(text(volume, "/name")) {
            faults.push(format!("volume with {sources} sources: {volume}"));
        }
    }
    for field in ["initContainers", "containers"] {
        for container in list(spec, field) {
            faults.extend(check_mounts(container, &volumes));
        }
    }
    let jit = list(&spec["containers"][0], "env").iter().find(|item| item["name"] == "ACTIONS_RUNNER_INPUT_JITCONFIG");
    match jit {
        Some(item) if item.get("value").is_none() && item.pointer("/valueFrom/secretKeyRef").is_some() => {
            if text(item, "/valueFrom/secretKeyRef/name") != pod_name {
                faults.push("the JIT config's secret is not called like the runner".to_owned());
            }
        }
        _ => faults.push("the JIT config is not a reference to a secret".to_owned()),
    }
    faults
}

/// Targets where a mount of the runner container would break it (an independent copy of the table of reserved targets).
const RESERVED: &[&str] = &[
    "/",
    "/nix",
    "/nix/var",
    "/nix/var/nix",
    "/nix/var/nix/db",
    "/home/runner",
    "/home/runner/externals",
    "/home/runner/bin",
    "/home/runner/k8s",
    "/home/runner/k8s-novolume",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/etc",
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/tmp",
    "/__e",
    "/__w",
    "/github",
];

fn check_mounts(container: &Value, volumes: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let who = text(container, "/name");
    let mut seen: Vec<&str> = Vec::new();
    let mut read_only = BTreeMap::new();
    for mount in list(container, "volumeMounts") {
        let target = text(mount, "/mountPath");
        if !volumes.contains(&text(mount, "/name")) {
            faults.push(format!("{who}: the mount at {target} has no volume"));
        }
        if seen.contains(&target) {
            faults.push(format!("{who}: two mounts at {target}"));
        }
        if !target.starts_with('/') || target.ends_with('/') || target.contains("//") || target.contains(':') {
            faults.push(format!("{who}: the target {target} is not in its plain form"));
        }
        if who == "runner" && RESERVED.contains(&target) {
            faults.push(format!("{who}: the target {target} is reserved"));
        }
        if let Some(child) = seen.iter().find(|earlier| earlier.starts_with(&format!("{target}/"))) {
            faults.push(format!("{who}: {child} is mounted before its parent {target}"));
        }
        read_only.insert(target, mount["readOnly"] == true);
        if let Some(parent) = read_only.iter().find(|(p, ro)| **ro && target.starts_with(&format!("{p}/"))) {
            faults.push(format!("{who}: {target} lies below the read-only {}", parent.0));
        }
        seen.push(target);
    }
    faults
}

/// What the pod refers to is among the objects, or belongs to the user (image pull secrets and the like).
fn check_references(pod: &Value, names: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let mut faults = Vec::new();
    let account = text(&pod["spec"], "/serviceAccountName");
    if !account.is_empty() && !names.contains(&("ServiceAccount", account)) {
        faults.push(format!("there is no ServiceAccount {account}"));
    }
    for volume in list(&pod["spec"], "volumes") {
        let config_map = text(volume, "/configMap/name");
        if !config_map.is_empty() && !config_map.starts_with("user-") && !names.contains(&("ConfigMap", config_map)) {
            faults.push(format!("there is no ConfigMap {config_map}"));
        }
    }
    let containers = ["initContainers", "containers"].into_iter().flat_map(|field| list(&pod["spec"], field));
    let of_env = |container: &Value| {
        let keys = list(container, "env").iter().filter_map(|item| item.pointer("/valueFrom/configMapKeyRef/name"));
        let all = list(container, "envFrom").iter().filter_map(|item| item.pointer("/configMapRef/name"));
        keys.chain(all).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    for config_map in containers.flat_map(of_env) {
        if !config_map.starts_with("user-") && !names.contains(&("ConfigMap", config_map.as_str())) {
            faults.push(format!("there is no ConfigMap {config_map} for a variable"));
        }
    }
    faults
}

/// Every directory that only one runner may hold ends in the runner's slot, and is announced.
fn check_slots(pod: &Value) -> Vec<String> {
    let slot = pod["metadata"]["labels"]["deskrun.dev/slot"].as_str().unwrap_or_default();
    let suffix = if slot == "0" { String::new() } else { format!("-{slot}") };
    let pools = pod["metadata"]["annotations"]["deskrun.dev/slot-pools"].as_str().unwrap_or("[]");
    let pools: Vec<String> = serde_json::from_str(pools).unwrap_or_default();
    let sources: Vec<&str> =
        list(&pod["spec"], "volumes").iter().filter_map(|volume| volume.pointer("/hostPath/path")?.as_str()).collect();
    let directory = |pool: &str| {
        if pool.contains("{slot}") { pool.replace("{slot}", slot) } else { format!("{pool}{suffix}") }
    };
    let mut faults: Vec<String> = pools
        .iter()
        .filter(|pool| pool.starts_with('/') && !sources.contains(&directory(pool).as_str()))
        .map(|pool| format!("the directory {} of slot {slot} is not mounted", directory(pool)))
        .collect();
    let docker = list(&pod["spec"], "volumes").iter().find(|volume| volume["name"] == "docker-cache");
    let docker = docker.and_then(|volume| volume.pointer("/hostPath/path")?.as_str());
    if docker.is_some_and(|path| !pools.iter().any(|pool| directory(pool) == path)) {
        faults.push(format!("the Docker data root {docker:?} has no slot"));
    }
    faults
}

fn check_hook_template(content: &str) -> Vec<String> {
    let Ok(template) = deskrun::yaml::read(content) else { return vec!["the hook template is not YAML".to_owned()] };
    let template = template[0].to_json();
    let mut faults = strict::<PodTemplateSpec>(&template);
    let spec = &template["spec"];
    for key in ["initContainers", "restartPolicy", "nodeName"] {
        if spec.get(key).is_some() {
            faults.push(format!("the hook template replaces `{key}`"));
        }
    }
    let volumes: Vec<&str> = list(spec, "volumes").iter().map(|volume| text(volume, "/name")).collect();
    for reserved in ["externals", "work", "github"] {
        if volumes.contains(&reserved) {
            faults.push(format!("the hook template makes the hook's own volume `{reserved}`"));
        }
    }
    for container in list(spec, "containers") {
        faults.extend(check_mounts(container, &volumes));
        for mount in list(container, "volumeMounts") {
            let target = text(mount, "/mountPath");
            if target == "/nix/store" || ["/__e", "/__w", "/github"].iter().any(|own| target.starts_with(own)) {
                faults.push(format!("the hook template mounts at {target}"));
            }
        }
    }
    faults
}

fn check_metadata(object: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or("(not a string)");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if value.len() > 63 || !value.chars().all(allowed) {
            faults.push(format!("the label {key}={value} is not allowed"));
        }
    }
    if object["kind"] != "Pod" && object["metadata"]["labels"]["app.kubernetes.io/managed-by"] != "deskrun" {
        faults.push(format!("{} does not say who manages it", name(object)));
    }
    if name(object).len() > 253 {
        faults.push(format!("the name {} is too long", name(object)));
    }
    faults
}

/// Nothing that looks like a credential stands in a manifest.
fn check_no_secret(object: &Value) -> Vec<String> {
    let text = object.to_string();
    let mut faults: Vec<String> = ["ghp_", "github_pat_", "ghs_", "PRIVATE KEY", "hunter2"]
        .iter()
        .filter(|mark| text.contains(*mark))
        .map(|mark| format!("`{mark}` stands in {}", name(object)))
        .collect();
    if object["kind"] == "Secret" {
        faults.push("a manifest carries a Secret".to_owned());
    }
    faults
}

/// The object as its Kubernetes type, with unknown fields refused.
fn check_types(object: &Value) -> Vec<String> {
    match text(object, "/kind") {
        "Pod" => strict::<Pod>(object),
        "ConfigMap" => strict::<ConfigMap>(object),
        "PersistentVolumeClaim" => strict::<PersistentVolumeClaim>(object),
        "ServiceAccount" => strict::<ServiceAccount>(object),
        "Role" => strict::<Role>(object),
        "RoleBinding" => strict::<RoleBinding>(object),
        other => vec![format!("unexpected kind `{other}`")],
    }
}

/// A field that the type does not know is lost on the way through it.
fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(value.clone()) {
        Err(error) => vec![format!("not of its type: {error}")],
        Ok(typed) => {
            let back = serde_json::to_value(&typed).expect("Kubernetes types can be written");
            let mut lost = Vec::new();
            missing(value, &back, "", &mut lost);
            lost
        }
    }
}

fn missing(value: &Value, back: &Value, path: &str, lost: &mut Vec<String>) {
    match (value, back) {
        (Value::Object(map), Value::Object(back)) => {
            for (key, value) in map {
                match back.get(key) {
                    Some(back) => missing(value, back, &format!("{path}.{key}"), lost),
                    // An empty list or mapping is the same as none.
                    None if value.as_array().is_some_and(Vec::is_empty) => {}
                    None if value.as_object().is_some_and(serde_json::Map::is_empty) => {}
                    None => lost.push(format!("unknown field {path}.{key}")),
                }
            }
        }
        (Value::Array(items), Value::Array(back)) => {
            for (index, (item, back)) in items.iter().zip(back).enumerate() {
                missing(item, back, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}
