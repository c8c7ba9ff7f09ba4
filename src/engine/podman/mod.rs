//! The engine that is a Podman host: [`PodmanEngine`] speaks libpod's REST API, over SSH or a local socket.
//!
//! A manifest is played (`play/kube`) as `render` translated it. Nothing is kept here that the host does not have as
//! well: pods, volumes and secrets carry labels, so a new process finds what a former one made.
//!
//! `service` has the routes and `connection` the bytes; `judge` decides what lists mean; each of the engine's calls has a
//! file of its own.

mod address;
mod connection;
mod documents;
mod ensure;
mod failure;
mod judge;
mod logs;
mod observe;
mod probe;
mod remove;
mod service;
mod ssh;
mod sweep;
mod version;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;

pub use address::{AddressError, PodmanAddress};
pub use probe::{PathKind, PodmanHostFacts, Trial};

use self::failure::failure;
use self::service::{CallError, Service};
use self::version::Version;
use super::making::{Making, SharedThings};
use super::{Engine, EngineError, Observation};
use crate::manifest::{RunnerManifest, Unhonoured};
use crate::secret::Secret;

/// A Podman host. Cloning it gives another handle to the same connections.
#[derive(Clone, Debug)]
pub struct PodmanEngine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// In words, for errors.
    name: String,
    service: Service,
    making: Arc<Making>,
    shared: SharedThings,
}

impl PodmanEngine {
    /// An engine at this address. Nothing is connected before the first call.
    pub fn new(address: &PodmanAddress) -> Self {
        let inner = Inner {
            name: address.to_string(),
            service: Service::new(address),
            making: Arc::default(),
            shared: SharedThings::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Display for PodmanEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.inner.name)
    }
}

impl Engine for PodmanEngine {
    fn ensure<'a>(
        &'a self,
        manifest: &'a RunnerManifest,
        jit_config: &'a Secret,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.inner.clone().ensure(manifest, jit_config))
    }

    fn observe(&self) -> BoxStream<'static, Observation> {
        observe::observe(self.inner.clone())
    }

    fn remove<'a>(&'a self, runner: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.inner.remove(runner, grace))
    }

    fn logs<'a>(&'a self, runner: &'a str, lines: usize) -> BoxFuture<'a, Result<String, EngineError>> {
        Box::pin(self.inner.logs(runner, lines))
    }

    fn sweep<'a>(&'a self, controller: &'a str) -> BoxFuture<'a, Result<usize, EngineError>> {
        Box::pin(self.inner.sweep(controller))
    }

    /// What the translation lets through and Podman does not do, by the version of the last answer.
    fn unhonoured(&self, manifest: &RunnerManifest) -> Vec<Unhonoured> {
        let mut unhonoured = Vec::new();
        for field in ["initContainers", "containers"] {
            let containers = manifest.pod["spec"][field].as_array();
            for container in containers.into_iter().flatten() {
                let path = format!("spec.{field}[{}]", container["name"].as_str().unwrap_or_default());
                unhonoured.extend(limits(container, &path));
            }
        }
        if let Some(version) = self.inner.service.version().filter(|version| *version == Version { major: 4, minor: 3 })
            && manifest.pod["spec"].get("hostPID").is_some_and(|value| value == true)
        {
            let reason = format!("Podman {version} does not read it: the pod has processes of its own");
            unhonoured.push(Unhonoured { path: "spec.hostPID".to_owned(), reason });
        }
        unhonoured
    }
}

/// Of resources, Podman knows limits of CPU and memory.
fn limits(container: &Value, path: &str) -> Vec<Unhonoured> {
    let limits = container["resources"]["limits"].as_object();
    limits
        .into_iter()
        .flat_map(|limits| limits.keys())
        .filter(|name| !matches!(name.as_str(), "cpu" | "memory"))
        .map(|name| Unhonoured {
            path: format!("{path}.resources.limits.{name}"),
            reason: "only `cpu` and `memory` are limited".to_owned(),
        })
        .collect()
}

impl Inner {
    fn failure(&self, call: &'static str) -> impl Fn(CallError) -> EngineError {
        let name = self.name.clone();
        move |error| failure(call, &name, error)
    }
}
