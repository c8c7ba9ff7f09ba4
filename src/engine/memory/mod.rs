//! An engine whose runners are tasks of this process: for tests, and for trying a set-up out without containers.
//!
//! It keeps what it has in memory, outlives the controller that uses it, and does wrong what it is told to: every call
//! asks [`Faults`] first. What a runner's process does is the caller's ([`Process`]).

mod faults;
mod life;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

pub use faults::{Call, Fault, Faults, Outcome};
pub use life::{Log, Process, Signal, Start};
use state::State;

use super::{Engine, EngineError, Observation, RunnerPhase};
use crate::manifest::{RunnerManifest, Unhonoured};
use crate::secret::Secret;

/// An engine in memory. Clones are the same one.
#[derive(Clone)]
pub struct MemoryEngine {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    process: Arc<dyn Process>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl MemoryEngine {
    /// An engine without runners; `now` is its clock.
    pub fn new(process: Arc<dyn Process>, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let (state, faults) = (Mutex::new(State::default()), Mutex::new(Faults::none()));
        Self { inner: Arc::new(Inner { state, faults, process, now: Box::new(now) }) }
    }

    /// From now on, what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        *self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Whether the engine answers at all.
    pub fn set_reachable(&self, reachable: bool) {
        self.state().set_reachable(reachable);
    }

    /// Takes a runner's pod away, as a node that is lost does. Its secret stays.
    pub fn lose(&self, runner: &str) {
        self.state().remove_pod(runner);
    }

    /// Shows a runner as one that cannot be seen, as a node does that is cut off. Its process goes on.
    pub fn lose_sight(&self, runner: &str) {
        self.state().set_phase(runner, RunnerPhase::Unknown);
    }

    /// Leaves behind what a controller that is killed while it makes a runner would: its secret, and no pod.
    pub fn abandon(&self, manifest: &RunnerManifest) {
        self.state().keep_secret(manifest);
    }

    /// Everything there is: `pod/NAME`, `secret/NAME`.
    pub fn objects(&self) -> Vec<String> {
        self.state().objects()
    }

    /// Names of the runners whose process is alive.
    pub fn alive(&self) -> Vec<String> {
        self.state().alive()
    }

    /// How many pods were ever made.
    pub fn created(&self) -> usize {
        self.state().created()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a failed test's; the state itself is never half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.inner.now)()
    }

    fn fault(&self, call: Call, runner: &str) -> Fault {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner).of(call, runner)
    }

    /// Surrounds an effect with what goes wrong.
    async fn faulty<T>(
        &self,
        call: Call,
        runner: &str,
        effect: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let fault = self.fault(call, runner);
        wait(fault.before).await;
        if let Outcome::FailsBefore(error) = fault.outcome {
            return Err(error);
        }
        if !self.state().is_reachable() {
            return Err(unreachable(call));
        }
        let result = effect.await;
        wait(fault.after).await;
        if let Outcome::FailsAfter(error) = fault.outcome { Err(error) } else { result }
    }
}

impl Engine for MemoryEngine {
    fn ensure<'a>(
        &'a self,
        manifest: &'a RunnerManifest,
        jit_config: &'a Secret,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let _making = Making::begin(self, &manifest.name);
            let secret = self.faulty(Call::StoreSecret, &manifest.name, async {
                self.state().keep_secret(manifest);
                Ok(())
            });
            secret.await?;
            self.faulty(Call::CreatePod, &manifest.name, async {
                if self.state().create_pod(manifest, self.now()) {
                    life::begin(self.clone(), manifest.clone(), jit_config.clone());
                }
                Ok(())
            })
            .await
        })
    }

    fn observe(&self) -> BoxStream<'static, Observation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().subscribe(sender);
        let engine = self.clone();
        Box::pin(futures::stream::unfold(receiver, move |mut receiver| {
            let engine = engine.clone();
            async move {
                let observation = receiver.recv().await?;
                wait(engine.fault(Call::Observe, "").before).await;
                Some((observation, receiver))
            }
        }))
    }

    fn remove<'a>(&'a self, runner: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let end = self.faulty(Call::RemovePod, runner, async {
                life::end(self, runner, grace).await;
                self.state().remove_pod(runner);
                Ok(())
            });
            end.await?;
            self.faulty(Call::RemoveSecret, runner, async {
                self.state().forget_secret(runner);
                Ok(())
            })
            .await
        })
    }

    fn logs<'a>(&'a self, runner: &'a str, lines: usize) -> BoxFuture<'a, Result<String, EngineError>> {
        Box::pin(async move {
            let missing = || EngineError::Failed {
                call: "read the runner's log",
                message: format!("there is no runner `{runner}`"),
            };
            self.state().log(runner, lines).ok_or_else(missing)
        })
    }

    fn sweep<'a>(&'a self, controller: &'a str) -> BoxFuture<'a, Result<usize, EngineError>> {
        Box::pin(async move { self.faulty(Call::Sweep, "", async { Ok(self.state().sweep(controller)) }).await })
    }

    fn unhonoured(&self, _: &RunnerManifest) -> Vec<Unhonoured> {
        let reason = "there are no containers: a stand-in runs in the controller's own process".to_owned();
        vec![Unhonoured { path: "spec".to_owned(), reason }]
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryEngine")
    }
}

/// A runner that is being made: what there is of it is no leftover, until the call ends or is dropped.
struct Making<'a> {
    engine: &'a MemoryEngine,
    runner: &'a str,
}

impl<'a> Making<'a> {
    fn begin(engine: &'a MemoryEngine, runner: &'a str) -> Self {
        engine.state().making(runner, true);
        Self { engine, runner }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.engine.state().making(self.runner, false);
    }
}

/// The watch by which a process learns that it shall end.
type Signals = watch::Receiver<Option<Signal>>;

fn unreachable(call: Call) -> EngineError {
    let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    EngineError::Unreachable { call: call.words(), engine: "the engine in memory".to_owned(), source: source.into() }
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
