//! Trying a manifest without making anything.

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

    async fn try_all(&self, namespace: &str, manifest: &RunnerManifest) -> Result<(), CallError> {
        for companion in manifest.companions.iter() {
            self.service.apply(namespace, companion, true).await?;
        }
        let secret = documents::secret(manifest, &Secret::new("tried"));
        for (kind, object) in [(Kind::Secret, secret), (Kind::Pod, documents::rehearsed_pod(manifest))] {
            match self.service.create(kind, namespace, &object, true).await {
                // A runner of this name is there already: so it can be made.
                Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => {}
                tried => drop(tried?),
            }
        }
        Ok(())
    }
}
