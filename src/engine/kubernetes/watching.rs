//! The one watch of a scope: it feeds what is known, and says when the API server cannot be asked.
//!
//! It selects by a label that runners and the pods of their workflows carry, so nothing else of the cluster is seen. It begins
//! with the first call that needs it and ends with the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Error, Event};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::{RunnerPhase, label};
use super::companions::Companions;
use super::failure::{ENGINE, is_missing_companion};
use super::judge;
use super::known::Known;
use super::reasons;
use super::service::Service;
use crate::causes::in_one_line;

/// Between attempts to list again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A watch that broke off goes on where it was; a second time within so long, something is wrong.
const CALM: Duration = Duration::from_secs(30);
/// Without any change for so long everything is listed anew: whoever answers no request would not be noticed otherwise.
const QUIET: Duration = Duration::from_mins(15);
/// How long a listing may be silent.
const LISTING: Duration = Duration::from_mins(1);

/// The watch, once it has begun.
#[derive(Debug, Default)]
pub(super) struct Watching {
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Watching {
    /// Begins to watch, if that has not begun yet. Needs a runtime.
    pub(super) fn begin(&self, service: &Arc<Service>, known: &Arc<Known>, companions: &Arc<Companions>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let (service, known, companions) = (Arc::clone(service), Arc::clone(known), Arc::clone(companions));
            *task = Some(tokio::spawn(async move {
                tokio::join!(watch(&service, &known, &companions), reasons::explain(&service, &known, &companions));
            }));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        task.take().inspect(JoinHandle::abort);
    }
}

async fn watch(service: &Service, known: &Known, companions: &Companions) {
    let mut pause = BACK_OFF.0;
    loop {
        let begun = Instant::now();
        if let Some(words) = follow(service, known, companions).await {
            tracing::debug!(error = words, "the API server cannot be watched");
            known.lose_sight(&format!("{ENGINE}: {words}"));
            pause = if begun.elapsed() > CALM { BACK_OFF.0 } else { (pause * 2).min(BACK_OFF.1) };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Lists and watches until something is wrong, and says what; `None`: only that it was quiet for long.
async fn follow(service: &Service, known: &Known, companions: &Companions) -> Option<String> {
    let stream = service.watch_pods(label::CONTROLLER);
    let mut stream = std::pin::pin!(stream);
    let mut broke_off: Option<Instant> = None;
    let mut lists = true;
    loop {
        let patience = if lists { LISTING } else { QUIET };
        let Ok(next) = tokio::time::timeout(patience, stream.next()).await else {
            return lists.then(|| "there is no answer".to_owned());
        };
        match next? {
            Ok(event) => {
                match &event {
                    Event::Init => lists = true,
                    Event::InitDone => lists = false,
                    Event::Apply(pod) => doubt_what_it_misses(&pod.0, companions),
                    Event::InitApply(_) | Event::Delete(_) => {}
                }
                known.learn(event);
            }
            // Too much happened since; it lists anew by itself.
            Err(Error::WatchError(status)) if status.code == 410 => {}
            Err(Error::WatchFailed(_)) if broke_off.is_none_or(|at| at.elapsed() > CALM) => {
                broke_off = Some(Instant::now());
            }
            Err(Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410 => return None,
            Err(error) => return Some(words(&error)),
        }
    }
}

/// A pod that waits for something that runners share: someone took it away.
fn doubt_what_it_misses(pod: &Pod, companions: &Companions) {
    let phase = judge::runner(pod).map(|runner| runner.phase);
    if let Some(RunnerPhase::Starting { waiting: Some(words) }) = phase
        && is_missing_companion(&words)
    {
        companions.doubt(pod.metadata.namespace.as_deref().unwrap_or_default());
    }
}

/// Why watching failed: the server's own words where it had any.
fn words(error: &Error) -> String {
    let said = match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            status
        }
        Error::WatchError(status) => status,
        other => return in_one_line(other),
    };
    said.message.clone()
}
