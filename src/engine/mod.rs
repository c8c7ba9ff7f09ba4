//! What runs manifests: [`Engine`] and its implementations.
//!
//! An engine makes what a manifest describes, says what it has, and removes it again. It decides nothing: how many
//! runners there are, which are removed and when is the controller's business. It stores the JIT config where the
//! manifest's pod looks for it and shows it to no one.

mod error;
pub mod kubernetes;
mod making;
pub mod memory;
mod observation;
pub mod podman;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use error::EngineError;
pub use observation::{Observation, ObservedRunner, Owner, RunnerPhase, label};

use crate::manifest::{RunnerManifest, Unhonoured};
use crate::secret::Secret;

/// Something that runs runners. One conformance suite holds all implementations to these words.
///
/// Every call may be repeated: the effect is that of one. A call that is dropped before it ends may have had its
/// effect, or part of it; [`Engine::observe`] tells, and [`Engine::remove`] takes out whatever there is.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Makes a runner: its secret, what it shares with others where that is missing, its pod. Returns when the engine
    /// has taken it over, not when it runs. A runner of this name that exists already is left as it is.
    ///
    /// On an error anything may be there or not: [`Engine::remove`] cleans up.
    fn ensure<'a>(
        &'a self,
        manifest: &'a RunnerManifest,
        jit_config: &'a Secret,
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// What there is, now and from now on: first a snapshot of all `DeskRun` runners (of other controllers as well: they
    /// hold slots), then changes. The stream does not end; while the engine cannot be asked it says
    /// [`Observation::Unreachable`], and a new snapshot follows.
    fn observe(&self) -> BoxStream<'static, Observation>;

    /// Removes a runner with everything that is its own: SIGTERM, after `grace` SIGKILL, then pod, secret, volumes. What
    /// runners share goes with the last of them. Returns when all of it is gone; a runner that is not there is no error.
    fn remove<'a>(&'a self, runner: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>>;

    /// The last `lines` lines that the runner's container wrote; without it, those of the init container that failed.
    fn logs<'a>(&'a self, runner: &'a str, lines: usize) -> BoxFuture<'a, Result<String, EngineError>>;

    /// Removes what the controller of this id left behind when it was killed: secrets and volumes without a runner, pods
    /// that were made and never started. What this process is making is left alone. Returns how many things were removed.
    fn sweep<'a>(&'a self, controller: &'a str) -> BoxFuture<'a, Result<usize, EngineError>>;

    /// Asks whether a runner like this would be taken, and makes nothing. Only [`EngineError::Refused`] is an answer of weight:
    /// it would be refused as this is. An engine that cannot be asked says nothing against it.
    fn admits<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, Result<(), EngineError>> {
        let _ = manifest;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Notes at the runner which job it has, for people who look at what the engine shows. An engine that has no place for it
    /// does nothing; nothing depends on it.
    fn note_job<'a>(&'a self, runner: &'a str, job: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        let _ = (runner, job);
        Box::pin(std::future::ready(Ok(())))
    }

    /// What of a manifest this engine will not do, beyond what the translation of the manifest already says.
    fn unhonoured(&self, manifest: &RunnerManifest) -> Vec<Unhonoured>;
}
