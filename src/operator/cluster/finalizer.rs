//! The finalizer: set before a scale set is registered at GitHub, taken away when it is gone there.
//!
//! It is written by server-side apply under a field manager of its own, so that other finalizers and whoever applies the
//! resource are not touched. The uid keeps an apply from making a resource that is gone already.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::resource::{FINALIZER, KIND, Resource};
use crate::crd::API_VERSION;

const MANAGER: &str = "deskrun-finalizer";

pub(super) async fn set(api: &Api<DynamicObject>, resource: &Resource) -> Result<(), kube::Error> {
    apply(api, resource, json!([FINALIZER])).await
}

/// A resource that is gone needs nothing any more.
pub(super) async fn take_away(api: &Api<DynamicObject>, resource: &Resource) -> Result<(), kube::Error> {
    match apply(api, resource, json!([])).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other,
    }
}

async fn apply(api: &Api<DynamicObject>, resource: &Resource, finalizers: Value) -> Result<(), kube::Error> {
    let Resource { name, uid, .. } = resource;
    let metadata = json!({"name": name, "uid": uid, "finalizers": finalizers});
    let patch = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata});
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}
