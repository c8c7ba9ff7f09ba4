//! Notes when what happens: around the transport, the engine and the runner's process, so that the controller is the one
//! that runs in production.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deskrun::engine::memory::{MemoryEngine, Process, Start};
use deskrun::engine::{Engine, EngineError, Observation};
use deskrun::github::{CallName, Request, Transport};
use deskrun::manifest::{RunnerManifest, Unhonoured};
use deskrun::secret::Secret;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::StatusCode;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// What was noted. Clones are the same notes.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Noted>>);

#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Calls of GitHub's side that were answered, in the order of the answers.
    pub calls: Vec<Call>,
    /// When a runner was handed to the engine.
    pub hand_overs: Vec<Instant>,
    /// When a runner's process ended, by runner.
    pub ends: BTreeMap<String, Instant>,
    /// When the engine was first asked to remove a runner, by runner.
    pub removals: BTreeMap<String, Instant>,
}

/// A call of GitHub's side.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub name: &'static str,
    pub sent: Instant,
    pub answered: Instant,
    pub status: StatusCode,
}

impl Call {
    pub fn is_poll(&self) -> bool {
        self.name == "poll the message queue"
    }
}

impl Notes {
    pub fn look(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything since the last time, to begin anew.
    pub fn take(&self) -> Noted {
        std::mem::take(&mut self.look())
    }

    /// A transport that notes every call when its answer is handed to the client.
    pub fn transport(&self, transport: Transport) -> Transport {
        let notes = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
            let (notes, transport) = (notes.clone(), transport.clone());
            async move {
                let name = request.extensions().get().map_or("", |CallName(name)| *name);
                let sent = Instant::now();
                let response = transport.oneshot(request).await?;
                let call = Call { name, sent, answered: Instant::now(), status: response.status() };
                notes.look().calls.push(call);
                Ok(response)
            }
        }))
    }
}

/// An engine that notes what it is asked for.
#[derive(Debug)]
pub struct RecordingEngine {
    pub engine: MemoryEngine,
    pub notes: Notes,
}

impl Engine for RecordingEngine {
    fn ensure<'a>(
        &'a self,
        manifest: &'a RunnerManifest,
        jit_config: &'a Secret,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        self.notes.look().hand_overs.push(Instant::now());
        self.engine.ensure(manifest, jit_config)
    }

    fn observe(&self) -> BoxStream<'static, Observation> {
        self.engine.observe()
    }

    fn remove<'a>(&'a self, runner: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>> {
        self.notes.look().removals.entry(runner.to_owned()).or_insert_with(Instant::now);
        self.engine.remove(runner, grace)
    }

    fn logs<'a>(&'a self, runner: &'a str, lines: usize) -> BoxFuture<'a, Result<String, EngineError>> {
        self.engine.logs(runner, lines)
    }

    fn sweep<'a>(&'a self, controller: &'a str) -> BoxFuture<'a, Result<usize, EngineError>> {
        self.engine.sweep(controller)
    }

    fn unhonoured(&self, manifest: &RunnerManifest) -> Vec<Unhonoured> {
        self.engine.unhonoured(manifest)
    }
}

/// A runner's process whose end is noted.
#[derive(Debug)]
pub struct RecordingProcess<P> {
    pub process: P,
    pub notes: Notes,
}

impl<P: Process> Process for RecordingProcess<P> {
    fn run(&self, start: Start) -> BoxFuture<'static, i32> {
        let (runner, notes) = (start.runner.clone(), self.notes.clone());
        let process = self.process.run(start);
        Box::pin(async move {
            let code = process.await;
            notes.look().ends.insert(runner, Instant::now());
            code
        })
    }
}
