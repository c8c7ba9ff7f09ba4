//! Removing a runner with all that is its own: pod, pods and secrets that its workflows made, its secret last. While that is
//! there a sweep finds the rest.
//!
//! That a pod is gone is seen by the watch. Its end is the node's to tell: one that is away keeps the pod, and the runner is
//! not gone as long.

use std::time::Duration;

use tokio::time::Instant;

use super::super::making::Turn;
use super::super::{EngineError, RunnerPhase, label};
use super::documents::Companion;
use super::failure::{ENGINE, failure};
use super::known::End;
use super::pods::{HOOK_OF, HookPod};
use super::service::{CallError, Kind, Metadata};
use super::{Inner, documents};

const CALL: &str = "remove a runner";
/// How long everything but the grace may take.
const BESIDE_GRACE: Duration = Duration::from_secs(30);
/// For so long the first listing is awaited.
const FIRST_SIGHT: Duration = Duration::from_secs(20);
/// A pod whose end the watch has not shown for so long is asked for, as is one that it may never show.
const DOUBT: Duration = Duration::from_secs(10);
/// No grace at all would take the pod out of the API server's books while its containers may live: a slot would have two
/// holders. The node is asked to hurry instead.
const LEAST_GRACE: Duration = Duration::from_secs(1);
/// A workflow's container is told to end with its job; what is left of it is of no use to anyone.
const HOOK_GRACE: Duration = Duration::from_secs(3);

/// What there is of a runner.
#[derive(Debug, Default)]
struct Remains {
    namespace: String,
    controller: String,
    pod_uid: Option<String>,
    /// Whether a secret of the runner's name is its own.
    has_secret: bool,
    secret_uid: Option<String>,
    companions: Vec<Companion>,
    /// Whether its workflows may have left secrets.
    left_secrets: bool,
}

impl Inner {
    pub(super) async fn remove(&self, runner: &str, grace: Duration) -> Result<(), EngineError> {
        let limit = grace + BESIDE_GRACE;
        let removal = async {
            // If it is just being made: until that has ended.
            let turn = self.making.turn(runner).await;
            self.remove_all(runner, grace, &turn).await
        };
        tokio::time::timeout(limit, removal).await.unwrap_or_else(|_| Err(self.stays(runner, limit)))
    }

    async fn remove_all(&self, runner: &str, grace: Duration, _: &Turn) -> Result<(), EngineError> {
        let Some(remains) = self.remains(runner).await? else { return Ok(()) };
        let namespace = remains.namespace.clone();
        let failure = |error| failure(CALL, &namespace, error);
        if let Some(uid) = &remains.pod_uid {
            self.remove_pod(&namespace, runner, uid, grace).await.map_err(failure)?;
        }
        self.remove_rest(runner, remains).await.map_err(failure)?;
        self.made().remove(runner);
        Ok(())
    }

    /// What this process made, what the watch shows, or, of a runner that neither knows, what the server has.
    async fn remains(&self, runner: &str) -> Result<Option<Remains>, EngineError> {
        self.watch();
        let made = self.made().get(runner).cloned();
        if made.is_none() {
            self.sight(CALL).await?;
        }
        let is_meant = |namespace: &str| made.as_ref().is_none_or(|made| made.namespace == namespace);
        if let Some(pod) = self.known.runner(runner).filter(|pod| is_meant(&pod.namespace)) {
            let ended_well = matches!(pod.observed.phase, RunnerPhase::Exited { code: 0, .. });
            let has_hook_pods = !self.known.hook_pods_of(&pod.namespace, runner).is_empty();
            return Ok(Some(Remains {
                namespace: pod.namespace,
                controller: pod.observed.owner.controller,
                pod_uid: Some(pod.uid),
                has_secret: true,
                secret_uid: made.and_then(|made| made.secret_uid),
                companions: pod.companions,
                left_secrets: pod.uses_hooks && (has_hook_pods || !ended_well),
            }));
        }
        if let Some(made) = made.filter(|made| made.pod_uid.is_some()) {
            return Ok(Some(Remains {
                namespace: made.namespace,
                controller: made.controller,
                pod_uid: made.pod_uid,
                has_secret: true,
                secret_uid: made.secret_uid,
                companions: made.companions,
                left_secrets: true,
            }));
        }
        self.asked(runner)
            .await
            .map_err(|error| failure(CALL, self.service.scope().namespace().unwrap_or_default(), error))
    }

    /// Asks the server for a runner that nobody here knows.
    async fn asked(&self, runner: &str) -> Result<Option<Remains>, CallError> {
        let made = self.made().get(runner).cloned();
        let namespace = made.as_ref().map(|made| made.namespace.as_str()).or(self.service.scope().namespace());
        let namespace = if let Some(namespace) = namespace {
            namespace.to_owned()
        } else {
            let secrets = self.service.list(Kind::Secret, None, &documents::of_runner(runner)).await?;
            let Some(namespace) = secrets.into_iter().find_map(|secret| secret.namespace) else { return Ok(None) };
            namespace
        };
        let own = |metadata: &Metadata| {
            metadata.labels.as_ref().and_then(|labels| labels.get(label::RUNNER)).is_some_and(|of| of == runner)
        };
        let pod = self.service.metadata(Kind::Pod, &namespace, runner).await?.filter(own);
        let secret = self.service.metadata(Kind::Secret, &namespace, runner).await?.filter(own);
        let found = pod.as_ref().or(secret.as_ref());
        let noted = found.map(|found| documents::noted_companions(found.annotations.as_ref()));
        let labels = found.and_then(|found| found.labels.as_ref());
        let controller = labels.and_then(|labels| labels.get(label::CONTROLLER)).cloned();
        let controller = controller.or(made.as_ref().map(|made| made.controller.clone()));
        Ok(Some(Remains {
            namespace,
            controller: controller.unwrap_or_default(),
            pod_uid: pod.and_then(|pod| pod.uid),
            has_secret: secret.is_some(),
            secret_uid: secret.and_then(|secret| secret.uid),
            companions: made.map(|made| made.companions).or(noted).unwrap_or_default(),
            left_secrets: true,
        }))
    }

    /// Waits until the watch has shown what there is.
    pub(super) async fn sight(&self, call: &'static str) -> Result<(), EngineError> {
        self.watch();
        let lost = |words: String| EngineError::Unreachable { call, engine: ENGINE.to_owned(), source: words.into() };
        let mut bell = self.known.bell();
        let end = Instant::now() + FIRST_SIGHT;
        loop {
            bell.borrow_and_update();
            if self.known.is_clear().map_err(lost)? {
                return Ok(());
            }
            if !matches!(tokio::time::timeout_at(end, bell.changed()).await, Ok(Ok(()))) {
                return Err(lost("its pods are not listed yet".to_owned()));
            }
        }
    }

    /// Deletes a pod and waits until it is gone.
    pub(super) async fn remove_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        grace: Duration,
    ) -> Result<(), CallError> {
        let mut expectation = self.known.expect_end(uid);
        let grace = grace.max(LEAST_GRACE);
        if !self.service.delete(Kind::Pod, namespace, name, Some(uid), Some(grace)).await? {
            return Ok(());
        }
        let mut patience = grace + DOUBT;
        while tokio::time::timeout(patience, expectation.is_met()).await != Ok(End::Gone) {
            let there = self.service.metadata(Kind::Pod, namespace, name).await?;
            if there.is_none_or(|there| there.uid.as_deref() != Some(uid)) {
                break;
            }
            patience = DOUBT;
        }
        Ok(())
    }

    /// Removes what a runner leaves when its pod is gone.
    async fn remove_rest(&self, runner: &str, remains: Remains) -> Result<(), CallError> {
        let Remains { namespace, controller, has_secret, secret_uid, companions, left_secrets, .. } = remains;
        self.remove_hook_objects(&namespace, runner, left_secrets).await?;
        if has_secret {
            self.service.delete(Kind::Secret, &namespace, runner, secret_uid.as_deref(), None).await?;
        }
        let is_used = |companion: &Companion| self.uses(&namespace, companion, Some(runner));
        self.companions.remove_unused(&self.service, &namespace, &controller, companions, is_used).await.map(drop)
    }

    /// Removes pods, and where there may be any secrets, that workflows of this runner made; how many.
    pub(super) async fn remove_hook_objects(
        &self,
        namespace: &str,
        runner: &str,
        left_secrets: bool,
    ) -> Result<usize, CallError> {
        let pods = self.known.hook_pods_of(namespace, runner);
        let mut removed = pods.len();
        let removals =
            pods.iter().map(|HookPod { namespace, name, uid, .. }| self.remove_pod(namespace, name, uid, HOOK_GRACE));
        for ended in futures::future::join_all(removals).await {
            ended?;
        }
        if left_secrets {
            for secret in self.service.list(Kind::Secret, Some(namespace), &format!("{HOOK_OF}={runner}")).await? {
                let name = secret.name.unwrap_or_default();
                let deleted = self.service.delete(Kind::Secret, namespace, &name, secret.uid.as_deref(), None).await?;
                removed += usize::from(deleted);
            }
        }
        Ok(removed)
    }

    /// Why a runner is still there.
    fn stays(&self, runner: &str, limit: Duration) -> EngineError {
        let node = self.known.runner(runner).and_then(|pod| pod.node);
        let why = node.map(|node| format!(": its node `{node}` has not told its end")).unwrap_or_default();
        let message = format!("{runner} is not gone after {} s{why}; the next removal goes on", limit.as_secs());
        EngineError::Failed { call: CALL, message }
    }
}
