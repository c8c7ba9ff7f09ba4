//! Removing what a controller that was killed left behind. Live runners are not touched, nor what has no label of this
//! controller.

use std::collections::BTreeSet;

use super::super::{EngineError, label};
use super::Inner;
use super::service::CallError;
use super::wire::Container;

const CALL: &str = "remove what was left behind";
/// A pod that is being started has a running container, at the latest after so long.
const ABANDONED: jiff::SignedDuration = jiff::SignedDuration::from_secs(20);

impl Inner {
    pub(super) async fn sweep(&self, controller: &str) -> Result<usize, EngineError> {
        self.sweep_all(controller).await.map_err(self.failure(CALL))
    }

    async fn sweep_all(&self, controller: &str) -> Result<usize, CallError> {
        let mut removed = 0;
        let ours = format!("{}={controller}", label::CONTROLLER);
        // What may be left over is listed first, then what is being made, then what lives: a runner that comes about
        // meanwhile is in one of the later lists.
        let secrets = self.service.secrets().await?;
        let volumes = self.service.volumes(&ours).await?;
        let made: BTreeSet<&str> = secrets
            .iter()
            .map(|secret| secret.spec.name.as_str())
            .chain(volumes.iter().filter_map(|volume| volume.labels.get(label::RUNNER)).map(String::as_str))
            .filter(|runner| self.making.has(runner))
            .collect();
        let pods = self.service.pods(&ours).await?;
        let containers = self.service.containers(&ours).await?;

        for pod in pods.iter().filter(|pod| !pod.labels.contains_key(label::RUNNER)) {
            removed += usize::from(self.remove_pod(&pod.id).await?);
        }
        for pod in pods.iter().filter(|pod| pod.labels.contains_key(label::RUNNER) && !self.making.has(&pod.name)) {
            // Made and never started, or not to its end: who made it was killed in between, and it would wait for ever.
            let unstarted = |container: &Container| matches!(container.state.as_str(), "created" | "configured");
            let is_infra = |container: &&Container| container.names.iter().any(|name| name.ends_with("-infra"));
            let of_it = || containers.iter().filter(|container| container.pod == pod.id);
            let workers = || of_it().filter(|container| !is_infra(container));
            let removed_it = if of_it().all(unstarted) {
                self.service.remove_unstarted_pod(&pod.name).await?
            } else {
                let is_old = jiff::Timestamp::now().duration_since(pod.created) > ABANDONED;
                let waits = workers().any(unstarted) && !workers().any(|container| container.state == "running");
                is_old && waits && self.remove_pod(&pod.id).await?
            };
            if removed_it {
                self.remove_own(&pod.name).await?;
                removed += 1;
            }
        }
        for container in containers.iter().filter(|container| container.pod.is_empty()) {
            removed += usize::from(self.service.remove_container(&container.id).await?);
        }
        for secret in secrets.iter().map(|secret| &secret.spec) {
            // The container of a live runner does not need it any more.
            if secret.controller() == Some(controller) && !made.contains(secret.name.as_str()) {
                removed += usize::from(self.service.remove_secret(&secret.name).await?);
            }
        }
        for volume in &volumes {
            let Some(runner) = volume.labels.get(label::RUNNER) else { continue };
            if !made.contains(runner.as_str()) && !pods.iter().any(|pod| pod.name == *runner) {
                removed += usize::from(self.service.remove_volume(&volume.name).await?);
            }
        }
        Ok(removed + self.remove_unused_shared(controller).await?)
    }
}
