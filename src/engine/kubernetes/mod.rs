//! The engine that is a Kubernetes cluster: [`KubernetesEngine`] speaks to its API server.
//!
//! Runner pods and their Secrets are made by POST under their final names, so that a repeated call can never bring a runner
//! back with a used JIT config; what runners share is applied. One watch shows what there is, of which nothing is read
//! again. Nothing is kept here that the cluster does not have as well: labels and annotations say whose an object is.
//!
//! `service` has the routes, `judge` decides what a pod means, `known` what the watch has shown; each of the engine's calls
//! has a file of its own.
//!
//! A job costs five writes: Secret, pod, the job's annotation, and both deletions. Calls that the server asks to repeat
//! (429, 503, a quota that is just being counted) are repeated for a few seconds; whatever lasts longer is an error with its
//! reason, and the controller's backoff decides. So clients should not repeat by themselves for minutes.

mod companions;
mod documents;
mod ensure;
mod failure;
mod judge;
mod known;
mod logs;
mod note;
mod pods;
mod reasons;
mod rehearse;
mod remove;
mod service;
mod sweep;
mod watched;
mod watching;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use tokio::task::JoinSet;

use self::companions::Companions;
use self::documents::Companion;
use self::known::Known;
use self::service::Service;
use self::watching::Watching;
use super::making::Making;
use super::{Engine, EngineError, Observation};
use crate::manifest::{RunnerManifest, Unhonoured};
use crate::secret::Secret;

/// Where an engine looks for runners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In one namespace, in which an account needs no rights beyond it.
    Namespace(String),
    /// In the whole cluster.
    AllNamespaces,
}

/// A cluster. Cloning it gives another handle to the same one; what is being made ends with the last of them.
#[derive(Clone, Debug)]
pub struct KubernetesEngine {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

/// Runners in the making. Whoever stops waiting for one does not end that; whoever drops the engine does, as the end of the
/// process would: a successor must not meet runners that come about after it has looked.
#[derive(Debug, Default)]
struct Tasks(Mutex<JoinSet<()>>);

#[derive(Debug)]
struct Inner {
    service: Arc<Service>,
    known: Arc<Known>,
    companions: Arc<Companions>,
    watching: Watching,
    making: Arc<Making>,
    made: Mutex<BTreeMap<String, Made>>,
    sweeps_companions: bool,
}

/// A runner of which this process made something, or tried: the watch may not have shown it yet.
#[derive(Clone, Debug, Default)]
struct Made {
    namespace: String,
    controller: String,
    secret_uid: Option<String>,
    pod_uid: Option<String>,
    companions: Vec<Companion>,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Nothing that holds the lock panics half-way through a change.
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Scope {
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Namespace(namespace) => Some(namespace),
            Self::AllNamespaces => None,
        }
    }
}

impl KubernetesEngine {
    /// An engine in the cluster of this client. Nothing is asked before the first call.
    pub fn new(client: kube::Client, scope: Scope) -> Self {
        Self::with(client, scope, false)
    }

    /// The same where no custom resource owns what runners share: sweeping looks for that as well.
    pub fn standalone(client: kube::Client, scope: Scope) -> Self {
        Self::with(client, scope, true)
    }

    fn with(client: kube::Client, scope: Scope, sweeps_companions: bool) -> Self {
        let inner = Inner {
            service: Arc::new(Service::new(client, scope)),
            known: Arc::default(),
            companions: Arc::default(),
            watching: Watching::default(),
            making: Arc::default(),
            made: Mutex::default(),
            sweeps_companions,
        };
        Self { inner: Arc::new(inner), tasks: Arc::default() }
    }

    /// Tries whether the cluster would take this manifest, and changes nothing: rights, pod security, quotas and admission
    /// answer as they would answer a runner.
    pub async fn rehearse(&self, manifest: &RunnerManifest) -> Result<(), EngineError> {
        self.inner.rehearse(manifest).await
    }
}

impl Engine for KubernetesEngine {
    fn ensure<'a>(
        &'a self,
        manifest: &'a RunnerManifest,
        jit_config: &'a Secret,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(Arc::clone(&self.inner).ensure(&self.tasks, manifest, jit_config))
    }

    fn observe(&self) -> BoxStream<'static, Observation> {
        let inner = Arc::clone(&self.inner);
        // The watch begins with the first poll: whoever makes a stream need not be in a runtime.
        let begin = async move {
            let receiver = inner.known.listen();
            inner.watch();
            stream::unfold((receiver, inner), |(mut receiver, inner)| async move {
                receiver.recv().await.map(|observation| (observation, (receiver, inner)))
            })
        };
        stream::once(begin).flatten().boxed()
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

    /// A dry run of the pod: pod security, rights and admission. What runners share is left out, it is tried by
    /// [`KubernetesEngine::rehearse`].
    fn admits<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.inner.admits(manifest))
    }

    fn note_job<'a>(&'a self, runner: &'a str, job: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.inner.note_job(runner, job))
    }

    /// Nothing: the manifest is in the cluster's own words, and what a server does not know in it, strict validation
    /// refuses.
    fn unhonoured(&self, _: &RunnerManifest) -> Vec<Unhonoured> {
        Vec::new()
    }
}

impl Inner {
    fn watch(&self) {
        self.watching.begin(&self.service, &self.known, &self.companions);
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        // Nothing that holds the lock panics half-way through a change.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace of a manifest: its own, or the engine's.
    fn namespace<'a>(&'a self, manifest: &'a RunnerManifest) -> &'a str {
        documents::namespace(manifest).or(self.service.scope().namespace()).unwrap_or("default")
    }

    /// Whether a runner, other than one that goes, uses a companion that no custom resource owns.
    fn uses(&self, namespace: &str, companion: &Companion, going: Option<&str>) -> bool {
        let goes = |name: &str| going == Some(name);
        let made = self
            .made()
            .iter()
            .any(|(name, made)| !goes(name) && made.namespace == namespace && made.companions.contains(companion));
        made || self.known.runners().iter().any(|runner| {
            !goes(&runner.observed.name) && runner.namespace == namespace && runner.companions.contains(companion)
        })
    }
}
