//! Making a runner: what it shares, its secret, its pod.
//!
//! The secret comes first, as the pod cannot start without it; a secret whose pod never came is found by a sweep. A pod is
//! never applied: it would come back after its deletion, with a used JIT config.
//!
//! Making goes on in a task of its own when the caller stops waiting: what is on its way to the server may arrive after the
//! removal that follows, so that waits for the end of this.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::super::{EngineError, label};
use super::documents;
use super::failure::{self, ENGINE, failure};
use super::service::{CallError, Kind};
use super::{Inner, Made, Tasks, companions};
use crate::manifest::RunnerManifest;
use crate::secret::Secret;

const CALL: &str = "make a runner";

/// Why a runner was not made.
enum Trouble {
    Call(CallError),
    Taken(Kind),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Inner {
    pub(super) async fn ensure(
        self: Arc<Self>,
        tasks: &Tasks,
        manifest: &RunnerManifest,
        jit_config: &Secret,
    ) -> Result<(), EngineError> {
        let turn = self.making.turn(&manifest.name).await;
        let (manifest, jit_config) = (manifest.clone(), jit_config.clone());
        let (tell, told) = oneshot::channel();
        tasks.spawn(async move {
            let namespace = self.namespace(&manifest).to_owned();
            let made = self.make(&namespace, &manifest, &jit_config).await;
            drop(turn);
            // Whoever wanted it may have stopped waiting.
            let _ = tell.send(made.map_err(|trouble| in_words(trouble, &namespace, &manifest.name, &jit_config)));
        });
        let crashed =
            |source| EngineError::Unreachable { call: CALL, engine: ENGINE.to_owned(), source: Box::new(source) };
        told.await.map_err(crashed)?
    }

    async fn make(&self, namespace: &str, manifest: &RunnerManifest, jit_config: &Secret) -> Result<(), Trouble> {
        let unowned = documents::unowned(manifest);
        let mut keys: Vec<String> = unowned.iter().map(|companion| companions::key(namespace, companion)).collect();
        keys.sort();
        let kept = self.companions.shared.keep(keys).await;
        let made = self.make_all(namespace, manifest, jit_config).await;
        drop(kept);
        if let Err(Trouble::Call(error)) = &made
            && failure::misses_companion(error)
        {
            self.companions.doubt(namespace);
        }
        made
    }

    async fn make_all(&self, namespace: &str, manifest: &RunnerManifest, jit_config: &Secret) -> Result<(), Trouble> {
        let companions = documents::unowned(manifest);
        let controller = documents::controller(manifest).to_owned();
        // Known before anything is there: a removal finds all of it, however far this comes.
        let made = Made { namespace: namespace.to_owned(), controller, companions, ..Made::default() };
        self.made().entry(manifest.name.clone()).or_insert(made);
        self.companions.apply(&self.service, namespace, manifest).await?;
        let secret = documents::secret(manifest, jit_config);
        let secret_uid = self.create(Kind::Secret, namespace, manifest, &secret).await?;
        self.note(&manifest.name, |made| made.secret_uid = secret_uid);
        let pod_uid = self.create(Kind::Pod, namespace, manifest, &documents::pod(manifest)).await?;
        self.note(&manifest.name, |made| made.pod_uid = pod_uid);
        Ok(())
    }

    fn note(&self, runner: &str, change: impl FnOnce(&mut Made)) {
        self.made().get_mut(runner).map(change);
    }

    /// Makes an object, or finds that there is one already; its uid.
    async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        manifest: &RunnerManifest,
        object: &Value,
    ) -> Result<Option<String>, Trouble> {
        let error = match self.service.create(kind, namespace, object, false).await {
            Ok(metadata) => return Ok(metadata.uid),
            Err(error) => error,
        };
        if !error.status().is_some_and(kube::core::Status::is_already_exists) {
            return Err(error.into());
        }
        let name = if kind == Kind::Pod { &manifest.name } else { &manifest.jit_config.name };
        // Gone again in between: it was made, and its runner has been.
        let Some(there) = self.service.metadata(kind, namespace, name).await? else { return Ok(None) };
        let is_ours = there.labels.as_ref().and_then(|labels| labels.get(label::RUNNER)) == Some(&manifest.name);
        if is_ours { Ok(there.uid) } else { Err(Trouble::Taken(kind)) }
    }
}

fn in_words(trouble: Trouble, namespace: &str, name: &str, jit_config: &Secret) -> EngineError {
    match trouble {
        Trouble::Call(error) => redacted(failure(CALL, namespace, error), jit_config),
        Trouble::Taken(kind) => {
            let kind = if kind == Kind::Pod { "pod" } else { "secret" };
            let message = format!("the namespace `{namespace}` has a {kind} {name} that is not DeskRun's");
            EngineError::Refused { call: CALL, message, hint: Some(format!("remove or rename that {kind}").into()) }
        }
    }
}

/// An admission's words about a secret could repeat it.
fn redacted(error: EngineError, jit_config: &Secret) -> EngineError {
    use base64::Engine as _;
    if jit_config.is_empty() {
        return error;
    }
    let stored = base64::engine::general_purpose::STANDARD.encode(jit_config.expose());
    let hide = |text: String| {
        text.replace(&stored, &jit_config.to_string()).replace(jit_config.expose(), &jit_config.to_string())
    };
    match error {
        EngineError::Refused { call, message, hint } => EngineError::Refused { call, message: hide(message), hint },
        EngineError::Failed { call, message } => EngineError::Failed { call, message: hide(message) },
        EngineError::NoRoom { call, message } => EngineError::NoRoom { call, message: hide(message) },
        unreachable @ EngineError::Unreachable { .. } => unreachable,
    }
}
