//! The life of one runner: its container starts, its process runs, its container has ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;

use super::{Call, MemoryEngine, Outcome, Signals, wait};
use crate::engine::{EngineError, RunnerPhase};
use crate::manifest::RunnerManifest;
use crate::secret::Secret;

/// What runs in place of a runner's container.
pub trait Process: fmt::Debug + Send + Sync {
    /// Runs to its end; the result is the exit code.
    fn run(&self, start: Start) -> BoxFuture<'static, i32>;
}

/// What a process is started with.
#[derive(Debug)]
pub struct Start {
    /// The runner's name.
    pub runner: String,
    /// The environment that the manifest gives it, without the JIT config.
    pub environment: BTreeMap<String, String>,
    /// The JIT config.
    pub jit_config: Secret,
    /// Becomes `Some` when it shall end.
    pub signals: watch::Receiver<Option<Signal>>,
    /// What it says.
    pub log: Log,
}

/// Where a process writes its lines.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// A log whose lines are given to a function.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Writes a line.
    pub fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Log")
    }
}

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
}

/// The exit code of a process that was killed.
const KILLED: i32 = 137;

/// Starts a runner's container in the background.
pub(super) fn begin(engine: MemoryEngine, manifest: RunnerManifest, jit_config: Secret) {
    let (signals, told) = watch::channel(None);
    let (kill, killed) = watch::channel(false);
    let name = manifest.name.clone();
    engine.state().process_begins(&name, signals, kill);
    tokio::spawn(async move {
        let phase = live(&engine, &manifest, jit_config, told, killed).await;
        engine.state().set_phase(&name, phase);
    });
}

async fn live(
    engine: &MemoryEngine,
    manifest: &RunnerManifest,
    jit_config: Secret,
    told: Signals,
    mut killed: watch::Receiver<bool>,
) -> RunnerPhase {
    let fault = engine.fault(Call::Start, &manifest.name);
    let exited = |code| RunnerPhase::Exited { code, at: engine.now(), out_of_memory: false };
    let life = async {
        wait(fault.before).await;
        if let Outcome::FailsBefore(error) = fault.outcome {
            if let EngineError::Failed { message, .. } = &error {
                engine.state().write(&manifest.name, message);
            }
            return RunnerPhase::Failed { reason: error.to_string() };
        }
        engine.state().set_phase(&manifest.name, RunnerPhase::Running { since: engine.now() });
        let (writes, runner) = (engine.clone(), manifest.name.clone());
        let start = Start {
            runner: manifest.name.clone(),
            environment: environment(&manifest.pod),
            jit_config,
            signals: told,
            log: Log::new(move |line| writes.state().write(&runner, line)),
        };
        exited(engine.inner.process.run(start).await)
    };
    tokio::select! {
        phase = life => phase,
        // The engine being gone means the same.
        _ = killed.wait_for(|killed| *killed) => exited(KILLED),
    }
}

/// Tells a runner's process to end, and kills it after the grace. Returns when it has ended.
pub(super) async fn end(engine: &MemoryEngine, runner: &str, grace: Duration) {
    let Some(mut phase) = engine.state().terminate(runner) else { return };
    let ended = phase.wait_for(RunnerPhase::has_ended);
    if tokio::time::timeout(grace, ended).await.is_err() {
        engine.state().kill(runner);
        let _ = phase.wait_for(RunnerPhase::has_ended).await;
    }
}

/// The values that stand in the manifest itself.
fn environment(pod: &Value) -> BTreeMap<String, String> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    let runner = containers.into_iter().flatten().find(|container| container["name"] == "runner");
    let entries = runner.and_then(|runner| runner["env"].as_array());
    let pair = |entry: &Value| Some((entry["name"].as_str()?.to_owned(), entry["value"].as_str()?.to_owned()));
    entries.into_iter().flatten().filter_map(pair).collect()
}
