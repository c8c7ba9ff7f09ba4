//! A `RunnerScaleSet` as the API server has it, reduced to what serving it needs. Nothing is asked or written here.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::crd::{API_VERSION, RunnerScaleSetStatus};
use crate::manifest::OwnerReference;

/// Keeps a resource until its scale sets are gone at GitHub.
pub(super) const FINALIZER: &str = "deskrun.dev/scale-set";
/// The kind.
pub(super) const KIND: &str = "RunnerScaleSet";

/// One custom resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Counts changes of the spec.
    pub(super) generation: i64,
    pub(super) created_at: Option<Timestamp>,
    /// Since when it is to be deleted.
    pub(super) deleted_at: Option<Timestamp>,
    /// Whether it waits for us before it goes.
    pub(super) has_finalizer: bool,
    /// The document as a user would write it: no status, no server's fields.
    pub(super) text: String,
    pub(super) status: RunnerScaleSetStatus,
}

/// The API of the kind.
pub(super) fn api_resource() -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, KIND), "runnerscalesets")
}

impl Resource {
    pub(super) fn read(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let spec = object.data.get("spec").cloned().unwrap_or(Value::Null);
        let document = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        // A status that an older version wrote in another form counts as none: it is written anew.
        let status = object.data.get("status").cloned().and_then(|status| serde_json::from_value(status).ok());
        Self {
            text: document.to_string(),
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created_at: metadata.creation_timestamp.as_ref().map(|time| time.0),
            deleted_at: metadata.deletion_timestamp.as_ref().map(|time| time.0),
            has_finalizer: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            status: status.unwrap_or_default(),
            namespace,
            name,
        }
    }

    /// What it is called in one cluster.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What its objects say they belong to.
    pub(super) fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: API_VERSION,
            kind: KIND,
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: true,
        }
    }

    /// What Events are about.
    pub(super) fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// Whether anything differs that serving it depends on; its status does not count.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let served = |resource: &Self| (resource.uid.clone(), resource.deleted_at.is_some(), resource.has_finalizer);
        served(self) != served(other) || self.text != other.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_others_write_to_a_resource_changes_nothing() {
        let plain = json!({
            "metadata": {"name": "ws", "namespace": "ci", "uid": "1", "generation": 3, "finalizers": [FINALIZER]},
            "spec": {"containerMode": "dind"},
        });
        let mut touched = plain.clone();
        touched["metadata"]["labels"] = json!({"team": "build"});
        touched["metadata"]["annotations"] = json!({"note": "hello"});
        touched["metadata"]["resourceVersion"] = json!("7");
        touched["status"] = json!({"runners": 4});
        let (plain, touched) = (Resource::read(&object(plain)), Resource::read(&object(touched)));
        assert!(!plain.differs(&touched));
        assert_eq!(touched.status.runners, 4);
        assert!(plain.has_finalizer);
        assert!(
            plain.text.contains(r#""containerMode":"dind""#) && !plain.text.contains("generation"),
            "{}",
            plain.text
        );
    }

    #[test]
    fn a_changed_spec_and_a_deletion_are_noticed() {
        let plain = json!({"metadata": {"name": "ws", "namespace": "ci", "uid": "1"}, "spec": {"maxRunners": 1}});
        let (mut changed, mut deleted) = (plain.clone(), plain.clone());
        changed["spec"]["maxRunners"] = json!(2);
        deleted["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
        let plain = Resource::read(&object(plain));
        assert!(plain.differs(&Resource::read(&object(changed))));
        assert!(plain.differs(&Resource::read(&object(deleted))));
    }
}
