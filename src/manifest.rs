//! What `render` hands to an engine: the pod of one runner and its companions.
//!
//! The JIT config is not in here. The pod names a secret; the engine stores it (`design.md` 3.9).

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// The engines that run manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// A Kubernetes API server.
    #[default]
    Kubernetes,
    /// A Podman host.
    Podman,
}

/// Everything an engine needs to run one runner, beside its JIT config.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerManifest {
    /// Name of the runner, its pod and its secret.
    pub name: String,
    /// The slot this runner holds in each of its pools.
    pub slot: u32,
    /// The pod.
    pub pod: Arc<Value>,
    /// Objects that all runners of the scale set share: configuration, accounts, roles.
    pub companions: Arc<[Value]>,
    /// Where the pod looks for its JIT config.
    pub jit_config: SecretKey,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: &'static str,
}

/// The custom resource that objects in a cluster belong to: what is left when it is deleted goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// Group and version.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Name.
    pub name: String,
    /// What tells it from an earlier one of that name.
    pub uid: String,
    /// Says that its controller looks after the object, so that a drained node gives it up.
    pub controller: bool,
}

/// The key of the JIT config in a runner's secret.
pub const JIT_CONFIG_KEY: &str = "jitConfig";

/// Something a user asked for that an engine will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhonoured {
    /// The field of the object.
    pub path: String,
    /// What the engine does instead, and what the user can do.
    pub reason: String,
}

/// Label of a pod: the hash of the manifest it was made from, without what depends on the single runner.
pub const MANIFEST_LABEL: &str = "deskrun.dev/manifest";
