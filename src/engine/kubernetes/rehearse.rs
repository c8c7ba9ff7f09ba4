//! Trying a manifest without making anything.

use serde_json::Value;

use super::super::EngineError;
use super::Inner;
use super::documents;
use super::failure::failure;
use super::service::{CallError, Kind};
use crate::manifest::RunnerManifest;
use crate::secret::Secret;

const CALL: &str = "make runners here";

impl Inner {
    pub(super) async fn rehearse(&self, manifest: &RunnerManifest) -> Result<(), EngineError> {
        let namespace = self.namespace(manifest).to_owned();
        self.try_all(&namespace, manifest).await.map_err(|error| failure(CALL, &namespace, error))
    }

    /// The pod alone.
    pub(super) async fn admits(&self, manifest: &RunnerManifest) -> Result<(), EngineError> {
        let namespace = self.namespace(manifest).to_owned();
        let tried = self.try_one(&namespace, Kind::Pod, &documents::rehearsed_pod(manifest)).await;
        tried.map_err(|error| failure(CALL, &namespace, error))
    }

    async fn try_all(&self, namespace: &str, manifest: &RunnerManifest) -> Result<(), CallError> {
        for companion in manifest.companions.iter() {
            self.service.apply(namespace, companion, true).await?;
        }
        let secret = documents::secret(manifest, &Secret::new("tried"));
        self.try_one(namespace, Kind::Secret, &secret).await?;
        self.try_one(namespace, Kind::Pod, &documents::rehearsed_pod(manifest)).await
    }

    async fn try_one(&self, namespace: &str, kind: Kind, object: &Value) -> Result<(), CallError> {
        match self.service.create(kind, namespace, object, true).await {
            // A runner of this name is there already: so it can be made.
            Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => Ok(()),
            tried => tried.map(drop),
        }
    }
}
