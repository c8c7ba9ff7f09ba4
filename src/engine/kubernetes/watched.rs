//! A pod as the watch reads it: without what the server notes of who wrote which field. That is a third of each event, the
//! dearest to read, and nobody asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

/// A pod without `managedFields`, and with only those parts of its metadata that something here is decided by.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct WatchedPod(pub(super) Pod);

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

impl From<Wire> for WatchedPod {
    fn from(Wire { metadata, spec, status }: Wire) -> Self {
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
            annotations: metadata.annotations,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            ..ObjectMeta::default()
        };
        Self(Pod { metadata, spec, status })
    }
}

impl Resource for WatchedPod {
    type DynamicType = ();
    type Scope = <Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pods::{self, Read};
    use super::*;

    #[test]
    fn a_watched_pod_says_the_same_as_the_whole_one() {
        let whole = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "r1", "namespace": "ci", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-11-21T15:31:25Z", "deletionTimestamp": "2026-11-21T15:32:25Z",
                "labels": {"deskrun.dev/runner": "r1", "deskrun.dev/scale-set": "ws"},
                "annotations": {"deskrun.dev/companions": "[{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"name\": \"c\"}]"},
                "managedFields": [{"manager": "deskrun", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "runner", "env": [{"name": "ACTIONS_RUNNER_CONTAINER_HOOKS"}]}]},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
        });
        let watched: WatchedPod = serde_json::from_value(whole.clone()).unwrap();
        let pod: Pod = serde_json::from_value(whole).unwrap();
        let (Some(Read::Runner(watched_as)), Some(Read::Runner(whole_as))) = (pods::read(&watched.0), pods::read(&pod))
        else {
            panic!("a runner is not known as one")
        };
        assert_eq!(watched_as, whole_as);
        assert_eq!(watched.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(watched.meta().managed_fields, None);
    }
}
