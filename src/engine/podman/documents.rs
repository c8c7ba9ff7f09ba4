//! What is sent to Podman for a manifest: the documents to play, the volumes made before, the secret's content.
//!
//! The manifest itself was translated by `render`; here only labels are added, by which things are found again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::label;
use super::wire::Labels;
use crate::manifest::RunnerManifest;
use crate::secret::Secret;
use crate::yaml;

/// Label of a pod: a JSON list of its init containers. A list does not tell them from others.
pub(super) const INIT_CONTAINERS: &str = "deskrun.dev/init-containers";

/// The stream for `play/kube`. Podman's lists show labels and not annotations, and it refuses annotations of more than 63
/// characters, which a path or two exceed: so the slot's pools become a label. Unlike a cluster, Podman allows any text
/// there.
pub(super) fn stream(manifest: &RunnerManifest) -> String {
    let mut pod = (*manifest.pod).clone();
    let annotations = pod["metadata"]["annotations"].as_object_mut();
    let pools = annotations.and_then(|annotations| annotations.remove(label::SLOT_POOLS));
    let init: Vec<Value> = list(&pod["spec"]["initContainers"]).map(|container| container["name"].clone()).collect();
    let labels = &mut pod["metadata"]["labels"];
    if let Some(pools) = pools {
        labels[label::SLOT_POOLS] = pools;
    }
    if !init.is_empty() {
        labels[INIT_CONTAINERS] = json!(json!(init).to_string());
    }
    yaml::write_stream(manifest.companions.iter().chain([&pod]))
}

/// The volumes that playing would make, with labels that say whose they are. Podman itself gives them none.
pub(super) fn volumes(manifest: &RunnerManifest) -> BTreeMap<String, Labels> {
    let shared = owner_labels(manifest);
    let mut own = shared.clone();
    own.insert(label::RUNNER.to_owned(), manifest.name.clone());
    list(&manifest.pod["spec"]["volumes"])
        .filter_map(|volume| {
            let (name, labels) = if volume.get("emptyDir").is_some() {
                (&volume["name"], &own)
            } else {
                (volume.get("configMap")?.get("name")?, &shared)
            };
            Some((name.as_str()?.to_owned(), labels.clone()))
        })
        .collect()
}

/// The labels of the pod that say which controller and resource it belongs to.
pub(super) fn owner_labels(manifest: &RunnerManifest) -> Labels {
    [label::CONTROLLER, label::RESOURCE, label::SCALE_SET]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), manifest.pod["metadata"]["labels"][name].as_str()?.to_owned())))
        .collect()
}

/// The id of the controller that the pod belongs to.
pub(super) fn controller(manifest: &RunnerManifest) -> &str {
    manifest.pod["metadata"]["labels"][label::CONTROLLER].as_str().unwrap_or_default()
}

/// The form in which Podman finds a key in a secret (`runner-pods.md` 10).
pub(super) fn secret(manifest: &RunnerManifest, jit_config: &Secret) -> Secret {
    Secret::new(&json!({manifest.jit_config.key: STANDARD.encode(jit_config.expose())}).to_string())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
