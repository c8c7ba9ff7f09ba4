//! Noting which job a runner has, at its pod.

use super::super::{EngineError, label};
use super::Inner;
use super::failure::failure;

const CALL: &str = "note a runner's job";

impl Inner {
    pub(super) async fn note_job(&self, runner: &str, job: &str) -> Result<(), EngineError> {
        let known = self.known.runner(runner).map(|pod| pod.namespace);
        let made = || self.made().get(runner).map(|made| made.namespace.clone());
        let Some(namespace) = known.or_else(made) else { return Ok(()) };
        // A runner that has gone meanwhile needs no note.
        let noted = self.service.annotate(&namespace, runner, label::JOB, job).await;
        noted.map(drop).map_err(|error| failure(CALL, &namespace, error))
    }
}
