//! Removing what a controller that was killed left behind: secrets whose runner is not there, with all that its workflows
//! made. Live runners are not touched, nor what has no label of this controller.

use super::super::{EngineError, label};
use super::Inner;
use super::documents::Companion;
use super::failure::failure;
use super::pods::HookPod;
use super::service::{CallError, Kind};

const CALL: &str = "remove what was left behind";
/// The kinds of objects that our own layers share among runners.
const SHARED: [(&str, &str); 4] = [
    ("v1", "ConfigMap"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "ServiceAccount"),
];

impl Inner {
    pub(super) async fn sweep(&self, controller: &str) -> Result<usize, EngineError> {
        self.sight(CALL).await?;
        let namespace = self.service.scope().namespace().unwrap_or("of all namespaces");
        self.sweep_all(controller).await.map_err(|error| failure(CALL, namespace, error))
    }

    async fn sweep_all(&self, controller: &str) -> Result<usize, CallError> {
        let mut removed = 0;
        let ours = format!("{}={controller}", label::CONTROLLER);
        let secrets = self.service.list(Kind::Secret, None, &format!("{ours},{}", label::RUNNER)).await?;
        for secret in secrets {
            let runner = secret.labels.as_ref().and_then(|labels| labels.get(label::RUNNER)).cloned();
            let (Some(runner), Some(name), Some(namespace)) = (runner, secret.name, secret.namespace) else { continue };
            if self.is_alive(&runner) {
                continue;
            }
            // What the watch has not shown yet would be lost by a mistake here, and there are few of these.
            let _turn = self.making.turn(&runner).await;
            if self.is_alive(&runner) || self.service.metadata(Kind::Pod, &namespace, &runner).await?.is_some() {
                continue;
            }
            removed += self.remove_hook_objects(&namespace, &runner, true).await?;
            let deleted = self.service.delete(Kind::Secret, &namespace, &name, secret.uid.as_deref(), None).await?;
            removed += usize::from(deleted);
        }
        for HookPod { namespace, runner, .. } in self.known.stray_hook_pods(controller) {
            if !self.is_alive(&runner) {
                // With what else its runner's workflows left: no secret of the runner's own tells of it any more.
                removed += self.remove_hook_objects(&namespace, &runner, true).await?;
            }
        }
        if self.sweeps_companions {
            removed += self.sweep_companions(controller, &ours).await?;
        }
        Ok(removed)
    }

    /// Whether a runner is there, or is just being made or removed.
    fn is_alive(&self, runner: &str) -> bool {
        self.known.runner(runner).is_some() || self.made().contains_key(runner)
    }

    async fn sweep_companions(&self, controller: &str, ours: &str) -> Result<usize, CallError> {
        let mut removed = 0;
        for (api_version, kind) in SHARED {
            for object in self.service.list_shared(api_version, kind, ours).await? {
                let is_owned = object.owner_references.is_some_and(|owners| !owners.is_empty());
                let (Some(name), Some(namespace), false) = (object.name, object.namespace, is_owned) else { continue };
                let companion = Companion { api_version: api_version.to_owned(), kind: kind.to_owned(), name };
                let is_used = |companion: &Companion| self.uses(&namespace, companion, None);
                removed +=
                    self.companions.remove_unused(&self.service, &namespace, controller, [companion], is_used).await?;
            }
        }
        Ok(removed)
    }
}
