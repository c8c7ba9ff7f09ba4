//! What a runner wrote.

use super::super::EngineError;
use super::Inner;
use super::failure::failure;
use super::judge;

const CALL: &str = "read the log of a runner";

impl Inner {
    pub(super) async fn logs(&self, runner: &str, lines: usize) -> Result<String, EngineError> {
        self.watch();
        let none = || EngineError::Failed { call: CALL, message: format!("there is no runner {runner}") };
        let scope = self.service.scope().namespace().map(str::to_owned);
        let known = self.known.runner(runner);
        let made = self.made().get(runner).map(|made| made.namespace.clone());
        let namespace = known.as_ref().map(|pod| pod.namespace.clone()).or(made).or(scope).ok_or_else(none)?;
        let failure = |error| failure(CALL, &namespace, error);
        let speaks = if let Some(pod) = known {
            pod.speaks
        } else {
            let pod = self.service.pod(&namespace, runner).await.map_err(failure)?.ok_or_else(none)?;
            judge::runner(&pod).ok_or_else(none)?;
            judge::speaks(&pod).map(str::to_owned)
        };
        match speaks {
            Some(container) => self.service.log(&namespace, runner, &container, lines).await.map_err(failure),
            None => Ok(String::new()),
        }
    }
}
