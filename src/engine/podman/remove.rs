//! Removing a runner with all that is its own.

use std::time::Duration;

use super::super::{EngineError, label};
use super::Inner;
use super::service::CallError;

const CALL: &str = "remove a runner";
/// How long everything but the stop may take.
const BESIDE_GRACE: Duration = Duration::from_mins(1);
/// A container whose monitor was killed is given up only after a failed attempt, and then goes at the next.
const ATTEMPTS: u32 = 3;

impl Inner {
    pub(super) async fn remove(&self, runner: &str, grace: Duration) -> Result<(), EngineError> {
        let limit = grace + BESIDE_GRACE;
        let removal = async {
            // If it is just being made: until Podman has ended that.
            let _turn = self.making.turn(runner).await;
            self.remove_all(runner, grace).await.map_err(self.failure(CALL))
        };
        tokio::time::timeout(limit, removal).await.unwrap_or_else(|_| {
            let message = format!("{runner} is not gone after {} s; the next removal goes on", limit.as_secs());
            Err(EngineError::Failed { call: CALL, message })
        })
    }

    async fn remove_all(&self, runner: &str, grace: Duration) -> Result<(), CallError> {
        // Whose it was is not known any more when it is gone.
        let labels = self.service.pod_labels(runner).await?;
        if labels.as_ref().is_some_and(|labels| !labels.contains_key(label::RUNNER)) {
            // A pod of someone else that is called so.
            return Ok(());
        }
        if let Some(labels) = &labels {
            self.stop(runner, grace).await?;
            self.remove_pod(runner).await?;
            self.remove_own(runner).await?;
            if let Some(controller) = labels.get(label::CONTROLLER) {
                self.remove_unused_shared(controller).await?;
            }
            return Ok(());
        }
        self.remove_own(runner).await
    }

    /// SIGTERM, and SIGKILL after the grace. Not by Podman's own `stop`: that holds the container's lock for the whole grace,
    /// and every list waits for it, so that nothing else could be seen or made meanwhile.
    async fn stop(&self, runner: &str, grace: Duration) -> Result<(), CallError> {
        let running = self.service.running_in_pod(runner).await?;
        for container in &running {
            self.service.signal(&container.id, "TERM").await?;
        }
        let waits = running.iter().map(|container| self.service.wait_for_end(&container.id, grace));
        if futures::future::join_all(waits).await.contains(&false) {
            for container in self.service.running_in_pod(runner).await? {
                self.service.signal(&container.id, "KILL").await?;
            }
        }
        Ok(())
    }

    pub(super) async fn remove_pod(&self, name: &str) -> Result<bool, CallError> {
        for _ in 1..ATTEMPTS {
            match self.service.remove_pod(name).await {
                Err(CallError::Said { .. }) => {}
                other => return other,
            }
        }
        self.service.remove_pod(name).await
    }

    /// Removes secret and volumes of a runner whose pod is gone.
    pub(super) async fn remove_own(&self, runner: &str) -> Result<(), CallError> {
        self.remove_secret(runner).await?;
        for volume in self.service.volumes(&format!("{}={runner}", label::RUNNER)).await? {
            // The filter is Podman's, the decision to delete is ours.
            if volume.labels.get(label::RUNNER).is_some_and(|of| of == runner) {
                self.service.remove_volume(&volume.name).await?;
            }
        }
        Ok(())
    }

    /// Removes a secret of this name if it is one of ours.
    pub(super) async fn remove_secret(&self, name: &str) -> Result<(), CallError> {
        let secret = self.service.secret(name).await?;
        if secret.is_some_and(|secret| secret.spec.controller().is_some()) {
            self.service.remove_secret(name).await?;
        }
        Ok(())
    }

    /// Removes volumes of `ConfigMap`s that no container uses and no runner in the making needs; how many.
    pub(super) async fn remove_unused_shared(&self, controller: &str) -> Result<usize, CallError> {
        let mut removed = 0;
        for volume in self.service.volumes(&format!("{}={controller}", label::CONTROLLER)).await? {
            let shared = !volume.labels.contains_key(label::RUNNER)
                && volume.labels.get(label::CONTROLLER).is_some_and(|of| of == controller);
            if !shared {
                continue;
            }
            if let Some(_removal) = self.shared.removal(&volume.name) {
                removed += usize::from(self.service.remove_volume(&volume.name).await?);
            }
        }
        Ok(removed)
    }
}
