//! The finalizer: set before a scale set is registered at GitHub, taken away when it is gone there.
//!
//! It is written by server-side apply under a field manager of its own, so that other finalizers and whoever applies the
//! resource are not touched. The uid keeps an apply from making a resource that is gone already.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::resource::{FINALIZER, KIND, Resource};
use crate::crd::API_VERSION;

const MANAGER: &str = "deskrun-finalizer";

/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);

/// Why it is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FinalizerError {
    #[error("the API server refused")]
    Api(#[source] kube::Error),
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    Late(#[source] Elapsed),
}

pub(super) async fn set(api: &Api<DynamicObject>, resource: &Resource) -> Result<(), FinalizerError> {
    let applied = timeout(CALL, apply(api, resource, json!([FINALIZER]))).await.map_err(FinalizerError::Late)?;
    applied.map(drop).map_err(FinalizerError::Api)
}

/// A resource that is gone needs nothing any more.
pub(super) async fn take_away(api: &Api<DynamicObject>, resource: &Resource) -> Result<(), FinalizerError> {
    let taken = async {
        let left = match apply(api, resource, json!([])).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(()),
            other => other?,
        };
        match left.metadata.finalizers.as_deref() {
            Some(finalizers) if finalizers.iter().any(|one| one == FINALIZER) => {
                take_over(api, &left, finalizers).await
            }
            _ => Ok(()),
        }
    };
    timeout(CALL, taken).await.map_err(FinalizerError::Late)?.map_err(FinalizerError::Api)
}

/// Takes away one that someone else wrote, as a restored backup does: an apply removes only what it owns.
async fn take_over(api: &Api<DynamicObject>, object: &DynamicObject, all: &[String]) -> Result<(), kube::Error> {
    let others: Vec<&String> = all.iter().filter(|one| *one != FINALIZER).collect();
    let version = &object.metadata.resource_version;
    let patch = json!({"metadata": {"finalizers": others, "resourceVersion": version}});
    let name = object.metadata.name.as_deref().unwrap_or_default();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn apply(api: &Api<DynamicObject>, resource: &Resource, finalizers: Value) -> Result<DynamicObject, kube::Error> {
    let Resource { name, uid, .. } = resource;
    let metadata = json!({"name": name, "uid": uid, "finalizers": finalizers});
    let patch = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata});
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await
}
