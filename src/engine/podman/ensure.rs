//! Making a runner.
//!
//! The order is: volumes with labels, secret, play without start, secret gone, start. Podman resolves the secret into
//! the container when it is made, so it lies there for the time of one call.
//!
//! Playing goes on in a task of its own when the caller stops waiting: Podman would go on as well, and a removal has to
//! know when it has ended.

use std::sync::Arc;

use super::super::{EngineError, label};
use super::Inner;
use super::documents;
use super::failure::failure;
use super::service::CallError;
use crate::manifest::RunnerManifest;
use crate::secret::Secret;

const CALL: &str = "make a runner";

impl Inner {
    pub(super) async fn ensure(
        self: Arc<Self>,
        manifest: &RunnerManifest,
        jit_config: &Secret,
    ) -> Result<(), EngineError> {
        let turn = self.making.turn(&manifest.name).await;
        match self.service.pod_labels(&manifest.name).await.map_err(self.failure(CALL))? {
            Some(labels) if labels.contains_key(label::RUNNER) => return Ok(()),
            Some(_) => {
                let message = format!("the host has a pod {} that is not DeskRun's", manifest.name);
                return Err(EngineError::Refused {
                    call: CALL,
                    message,
                    hint: Some("remove or rename that pod".into()),
                });
            }
            None => {}
        }
        let (manifest, jit_config) = (manifest.clone(), jit_config.clone());
        let engine = self.name.clone();
        let task = tokio::spawn(async move {
            let volumes = documents::volumes(&manifest);
            let kept = self.shared.keep(volumes.into_keys()).await;
            let made = self.make(&manifest, &jit_config).await;
            drop(kept);
            if made.is_err() {
                // Volumes that it alone would have used. What cannot be removed now goes with another runner.
                let _ = self.remove_unused_shared(documents::controller(&manifest)).await;
            }
            drop(turn);
            made.map_err(|error| failure(CALL, &self.name, redacted(error, &jit_config)))
        });
        let crashed = |source| EngineError::Unreachable { call: CALL, engine, source: Box::new(source) };
        task.await.map_err(crashed)?
    }

    async fn make(&self, manifest: &RunnerManifest, jit_config: &Secret) -> Result<(), CallError> {
        let name = manifest.name.as_str();
        let played = self.play(manifest, jit_config).await;
        let started = match played {
            Ok(()) => self.service.start_pod(name).await,
            Err(error) => Err(error),
        };
        match started {
            // It was taken over; that it failed is seen in what is observed.
            Err(error) if error.says("init container") && error.says("exited with code") => Ok(()),
            // Whether it was made is not known. The next removal looks.
            Err(error @ (CallError::Connect(_) | CallError::Answer(_))) => Err(error),
            Err(error) => {
                // Half a pod would look like one that starts, to a second try as well. Its remains are no second error.
                let _ = self.service.remove_pod(name).await;
                let _ = self.remove_own(name).await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn play(&self, manifest: &RunnerManifest, jit_config: &Secret) -> Result<(), CallError> {
        for (name, labels) in documents::volumes(manifest) {
            self.service.create_volume(&name, &labels).await?;
        }
        let secret = &manifest.jit_config.name;
        let (content, labels) = (documents::secret(manifest, jit_config), documents::owner_labels(manifest));
        match self.service.create_secret(secret, &content, &labels).await {
            Err(error) if error.says("secret name in use") => {
                // A process that was killed here left it.
                self.remove_secret(secret).await?;
                self.service.create_secret(secret, &content, &labels).await?;
            }
            created => created?,
        }
        let played = self.service.play(documents::stream(manifest)).await;
        let removed = self.service.remove_secret(secret).await;
        played.and(removed.map(drop))
    }
}

/// Podman's words about a container could repeat its environment.
fn redacted(error: CallError, jit_config: &Secret) -> CallError {
    match error {
        CallError::Said { status, message } if !jit_config.is_empty() => {
            CallError::Said { status, message: message.replace(jit_config.expose(), &jit_config.to_string()) }
        }
        other => other,
    }
}
