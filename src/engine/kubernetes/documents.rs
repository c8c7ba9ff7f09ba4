//! What is sent for a manifest beside its companions: the JIT config's Secret, and the pod with a note of what it shares.
//!
//! The manifest itself is sent as `render` made it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::label;
use crate::manifest::RunnerManifest;
use crate::secret::Secret;

/// Annotation of a pod and a secret that belong to no custom resource: a JSON list of the objects that the runner shares with
/// others. With the last of them they go; where there is an owner, the cluster's garbage collector does that.
const COMPANIONS: &str = "deskrun.dev/companions";
/// A variable by which a runner is known to use GitHub's container hooks.
const HOOKS: &str = "ACTIONS_RUNNER_CONTAINER_HOOKS";

/// An object that runners share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Companion {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl Companion {
    /// What an object is called.
    pub(super) fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            name: text(&object["metadata"]["name"]),
        }
    }
}

/// The namespace that a manifest names.
pub(super) fn namespace(manifest: &RunnerManifest) -> Option<&str> {
    manifest.pod["metadata"]["namespace"].as_str()
}

/// The id of the controller that the pod belongs to.
pub(super) fn controller(manifest: &RunnerManifest) -> &str {
    manifest.pod["metadata"]["labels"][label::CONTROLLER].as_str().unwrap_or_default()
}

/// Companions that no custom resource owns.
pub(super) fn unowned(manifest: &RunnerManifest) -> Vec<Companion> {
    if is_owned(&manifest.pod) {
        return Vec::new();
    }
    manifest.companions.iter().filter(|companion| !is_owned(companion)).map(Companion::of).collect()
}

fn is_owned(object: &Value) -> bool {
    object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty())
}

/// The Secret of a runner. It belongs to whom the pod belongs to: to the pod itself it cannot, as it comes first.
pub(super) fn secret(manifest: &RunnerManifest, jit_config: &Secret) -> Value {
    let pod = &manifest.pod["metadata"];
    let mut metadata = json!({"name": manifest.jit_config.name, "labels": pod["labels"]});
    for field in ["namespace", "ownerReferences"] {
        if let Some(value) = pod.get(field) {
            metadata[field] = value.clone();
        }
    }
    note_companions(&mut metadata, manifest);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        // Nobody changes it, and kubelets need not watch it.
        "immutable": true,
        "data": {manifest.jit_config.key: STANDARD.encode(jit_config.expose())},
    })
}

/// The pod.
pub(super) fn pod(manifest: &RunnerManifest) -> Cow<'_, Value> {
    if unowned(manifest).is_empty() {
        return Cow::Borrowed(&manifest.pod);
    }
    let mut pod = (*manifest.pod).clone();
    note_companions(&mut pod["metadata"], manifest);
    Cow::Owned(pod)
}

fn note_companions(metadata: &mut Value, manifest: &RunnerManifest) {
    let shared = unowned(manifest);
    if shared.is_empty() {
        return;
    }
    if metadata["annotations"].is_null() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][COMPANIONS] = json!(json!(shared).to_string());
}

/// What an object with these annotations is noted to share with others.
pub(super) fn noted_companions(annotations: Option<&BTreeMap<String, String>>) -> Vec<Companion> {
    let noted = annotations.and_then(|annotations| annotations.get(COMPANIONS));
    noted.and_then(|noted| serde_json::from_str(noted).ok()).unwrap_or_default()
}

/// A pod that is only tried: its accounts may not be there yet, and without one of that name no pod is admitted.
pub(super) fn rehearsed_pod(manifest: &RunnerManifest) -> Value {
    let mut pod = (*manifest.pod).clone();
    let made = |object: &&Value| object["kind"] == "ServiceAccount";
    let accounts = manifest.companions.iter().filter(made).map(|account| &account["metadata"]["name"]);
    if accounts.into_iter().any(|account| *account == pod["spec"]["serviceAccountName"])
        && let Some(spec) = pod["spec"].as_object_mut()
    {
        spec.remove("serviceAccountName");
    }
    pod
}

/// Whether workflows of this pod can make pods and secrets of their own.
pub(super) fn uses_hooks(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.flat_map(|container| container.env.iter().flatten()).any(|variable| variable.name == HOOKS)
}

/// Labels of what is a runner's own.
pub(super) fn of_runner(runner: &str) -> String {
    format!("{}={runner}", label::RUNNER)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::{JIT_CONFIG_KEY, SecretKey};

    fn manifest(owners: &Value) -> RunnerManifest {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "hooks"}});
        RunnerManifest {
            name: "r1".to_owned(),
            slot: 0,
            pod: Arc::new(json!({
                "metadata": {
                    "name": "r1", "namespace": "ci", "labels": {label::RUNNER: "r1"}, "ownerReferences": owners,
                },
                "spec": {"serviceAccountName": "hooks"},
            })),
            companions: [account].into(),
            jit_config: SecretKey { name: "r1".to_owned(), key: JIT_CONFIG_KEY },
        }
    }

    #[test]
    fn a_runners_secret_has_the_labels_and_the_owner_of_its_pod_and_is_never_changed() {
        let owners = json!([{"apiVersion": "deskrun.dev/v1alpha1", "kind": "RunnerScaleSet", "name": "a", "uid": "u"}]);
        let secret = secret(&manifest(&owners), &Secret::new("config"));
        assert_eq!(secret["metadata"]["ownerReferences"], owners);
        assert_eq!(secret["metadata"]["labels"], json!({label::RUNNER: "r1"}));
        assert_eq!((&secret["metadata"]["namespace"], &secret["immutable"]), (&json!("ci"), &json!(true)));
        assert_eq!(secret["data"], json!({"jitConfig": "Y29uZmln"}));
    }

    #[test]
    fn a_pod_and_a_secret_without_an_owner_remember_what_they_share() {
        let alone = manifest(&json!([]));
        for object in [pod(&alone).into_owned(), secret(&alone, &Secret::new("config"))] {
            let annotations = serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap();
            assert_eq!(noted_companions(Some(&annotations)), [Companion::of(&alone.companions[0])]);
        }
        let owned = manifest(&json!([{"uid": "u"}]));
        assert_eq!(*pod(&owned), *owned.pod);
    }

    #[test]
    fn a_pod_that_is_tried_needs_no_account_that_is_made_with_it() {
        assert_eq!(rehearsed_pod(&manifest(&json!([])))["spec"], json!({}));
    }
}
