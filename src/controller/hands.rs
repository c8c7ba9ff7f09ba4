//! What a controller does to the world: each function is one flow, runs as a task and tells what came of it.
//!
//! Nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::events::{Event, NotFound};
use super::rehearsal::Answer;
use crate::causes::in_one_line;
use crate::engine::{Engine, EngineError};
use crate::github::{ActionsService, Environment, Exception, GitHubError, JitConfig, NewScaleSet, ScaleSet};
use crate::manifest::RunnerManifest;

/// Calls for JIT configs that are under way at a time: 256 jobs can come with one push (`scale-set-protocol.md` 7.1), and
/// GitHub is not to be flooded.
pub(super) const CALLS_AT_A_TIME: usize = 32;
/// Waits between attempts to give up a registration that GitHub keeps: it fails the job of a dead runner after about ten
/// minutes, and useless attempts are expensive for it (3.6).
const FORGET_WAITS: [u64; 6] = [5, 30, 60, 120, 300, 600];
/// Lines of a failed runner's log that are worth repeating.
const LOG_LINES: usize = 10;

/// What flows need.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) service: ActionsService,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) environment: Environment,
    pub(super) calls: Arc<Semaphore>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

/// A runner to be made, with all choices taken.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) runner: String,
    pub(super) scale_set: i64,
    /// A JIT config in stock, made for this name.
    pub(super) prepared: Option<Box<JitConfig>>,
    /// Fills the manifest once the registration's id is known.
    pub(super) manifest: Manifest,
}

/// A manifest that waits for the registration's id.
pub(super) struct Manifest(pub(super) Box<dyn Fn(i64) -> RunnerManifest + Send>);

/// A runner to be removed, with all choices taken.
#[derive(Debug)]
pub(super) struct Retirement {
    pub(super) runner: String,
    pub(super) registration: Option<i64>,
    /// Whether GitHub must give it up first.
    pub(super) github_first: bool,
    pub(super) grace: Duration,
    /// Whether its log may explain something.
    pub(super) show_log: bool,
}

impl Hands {
    /// One runner, from the decision to the engine: one round trip to GitHub, or none with a config in stock.
    pub(super) async fn create(self, creation: Creation) {
        let Creation { runner, scale_set, prepared, manifest } = creation;
        let jit_config = match prepared {
            Some(prepared) => *prepared,
            None => match self.register(scale_set, &runner).await {
                Ok(jit_config) => jit_config,
                Err(error) => return self.tell(Event::NotRegistered { runner, words: error.in_words() }),
            },
        };
        let id = jit_config.runner.id;
        self.tell(Event::Registered { runner: runner.clone(), id });
        match self.engine.ensure(&(manifest.0)(id), &jit_config.encoded).await {
            Ok(()) => self.tell(Event::HandedOver { runner }),
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                let words = format!("{}{hint}", in_one_line(&error));
                self.tell(Event::NotHandedOver { runner, words, is_final: error.is_final() });
            }
        }
    }

    /// A JIT config to have in stock.
    pub(super) async fn prepare(self, scale_set: i64, name: String) {
        let prepared = self.register(scale_set, &name).await;
        self.tell(Event::Prepared(prepared.map(Box::new).map_err(|error| in_one_line(&error))));
    }

    async fn register(&self, scale_set: i64, name: &str) -> Result<JitConfig, GitHubError> {
        // The semaphore is never closed.
        let _permit = self.calls.acquire().await;
        self.service.register_runner(scale_set, name).await
    }

    /// One runner, out of GitHub where it must be, then out of the engine.
    pub(super) async fn retire(self, retirement: Retirement) {
        let Retirement { runner, registration, github_first, grace, show_log } = retirement;
        if github_first {
            match self.deregister(&runner, registration).await {
                Ok(()) => self.tell(Event::Deregistered { runner: runner.clone() }),
                Err(error) if *error.exception() == Exception::JobStillRunning => {
                    return self.tell(Event::Busy { runner });
                }
                Err(error) => return self.tell(Event::RemovalFailed { runner, words: in_one_line(&error) }),
            }
        }
        if show_log {
            self.show_log(&runner).await;
        }
        match self.engine.remove(&runner, grace).await {
            Ok(()) => self.tell(Event::Removed { runner }),
            Err(error) => self.tell(Event::RemovalFailed { runner, words: in_one_line(&error) }),
        }
    }

    /// Gives up a registration; one whose id was never heard is looked for by its name.
    async fn deregister(&self, runner: &str, registration: Option<i64>) -> Result<(), GitHubError> {
        let id = match registration {
            Some(id) => Some(id),
            None => self.service.find_runner(runner).await?.map(|found| found.id),
        };
        match id {
            Some(id) => self.service.remove_runner(id).await,
            None => Ok(()),
        }
    }

    /// Notes at a runner which job it has. Only people miss a note that fails.
    pub(super) async fn note_job(self, runner: String, job: String) {
        if let Err(error) = self.engine.note_job(&runner, &job).await {
            tracing::info!(runner, error = in_one_line(&error), "its job is not noted at its runner");
        }
    }

    /// Asks the engine whether it would take a runner like this one. Anything but a refusal is told only where there was one.
    pub(super) async fn rehearse(self, hash: String, example: RunnerManifest, was_refused: bool) {
        let answer = match self.engine.admits(&example).await {
            Ok(()) => Answer::Admitted,
            Err(error) if error.is_final() => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                Answer::Refused(format!("{}{hint}", in_one_line(&error)))
            }
            Err(_) => Answer::None,
        };
        if matches!(answer, Answer::Refused(_)) || was_refused {
            self.tell(Event::Rehearsed { manifest: hash, answer });
        }
    }

    async fn show_log(&self, runner: &str) {
        let log: Result<String, EngineError> = self.engine.logs(runner, LOG_LINES).await;
        if let Some(log) = log.ok().filter(|log| !log.is_empty()) {
            tracing::warn!(runner, log, "the last lines of a runner that failed");
        }
    }

    /// A registration without a runner: tried until it is gone, for a while; what is left then, the next start sweeps.
    pub(super) async fn forget(self, runner: String, registration: Option<i64>) {
        for wait in FORGET_WAITS {
            match self.deregister(&runner, registration).await {
                Ok(()) => break,
                Err(error) => tracing::info!(runner, error = in_one_line(&error), "a registration is still there"),
            }
            let jitter = 0.75 + self.environment.fraction() / 2.0;
            tokio::time::sleep(Duration::from_secs(wait).mul_f64(jitter)).await;
        }
        self.tell(Event::Forgotten);
    }

    /// Asks GitHub about a runner.
    pub(super) async fn ask(self, runner: String, registration: Option<i64>) {
        // The semaphore is never closed.
        let _permit = self.calls.acquire().await;
        let answer = match registration {
            Some(id) => self.service.runner(id).await,
            None => self.service.find_runner(&runner).await,
        };
        self.tell(Event::Answer { runner, answer: answer.map_err(|error| in_one_line(&error)) });
    }

    /// Asks GitHub for all registrations.
    pub(super) async fn list(self) {
        self.tell(Event::Registrations(self.service.runners().await.map_err(|error| in_one_line(&error))));
    }

    /// Finds the scale set at GitHub, or makes it. `known` is the id it had last.
    pub(super) async fn find_scale_set(self, known: Option<i64>, group: String, new: NewScaleSet) {
        match self.find_or_create(known, &group, new).await {
            Ok((scale_set, is_in_group)) => {
                let id = scale_set.id;
                self.tell(Event::ScaleSetFound(scale_set));
                if !is_in_group {
                    self.move_scale_set(id, group).await;
                }
            }
            Err(not_found) => self.tell(Event::ScaleSetMissing(not_found)),
        }
    }

    /// Finds a scale set by nothing but the id it had last: whoever else has its name now shall keep it.
    pub(super) async fn find_remembered(self, known: Option<i64>, group: String, name: String) {
        let found = match self.of_id(known, &name).await {
            // In an outage GitHub says 404 as well: only one that answers otherwise is believed.
            Ok(None) => self.look_up(None, &group, &name).await.map(|_| None),
            other => other,
        };
        match found {
            Ok(Some(scale_set)) => self.tell(Event::ScaleSetFound(scale_set)),
            Ok(None) => self.tell(Event::ScaleSetGone),
            Err(error) => self.tell(Event::ScaleSetMissing(error.into())),
        }
    }

    /// The scale set, and whether it is in the group that is wanted: another one may have been wanted while no one served
    /// it, and looked for in the new one alone it would be made there a second time.
    async fn find_or_create(
        &self,
        known: Option<i64>,
        group: &str,
        new: NewScaleSet,
    ) -> Result<(ScaleSet, bool), NotFound> {
        let group_id = self.service.runner_group(group).await?;
        let runner_group_id = group_id
            .ok_or_else(|| format!("there is no runner group `{group}`: make it at GitHub, or change `runnerGroup`"))
            .map_err(|words| NotFound { words, not_before: None })?;
        let new = NewScaleSet { runner_group_id, ..new };
        if let Some(found) = self.of_id(known, &new.name).await? {
            // An answer without a group says nothing of it.
            let is_in_group = [0, runner_group_id].contains(&found.runner_group_id);
            return Ok((found, is_in_group));
        }
        let scale_set = match self.service.find_scale_set(runner_group_id, &new.name).await? {
            Some(found) => found,
            None => self.service.create_scale_set(&new).await?,
        };
        Ok((scale_set, true))
    }

    /// The scale set of an id, if it has this name: an id that was written down may be anyone's by now.
    async fn of_id(&self, id: Option<i64>, name: &str) -> Result<Option<ScaleSet>, GitHubError> {
        match id {
            Some(id) => Ok(self.service.scale_set(id).await?.filter(|found| found.name.eq_ignore_ascii_case(name))),
            None => Ok(None),
        }
    }

    /// Moves the scale set to another runner group; tried for a while. The next start tries it again.
    pub(super) async fn move_scale_set(self, id: i64, group: String) {
        for wait in FORGET_WAITS {
            let moved = match self.service.runner_group(&group).await {
                Ok(Some(group)) => self.service.update_scale_set(id, None, Some(group)).await.map(drop),
                Ok(None) => {
                    return tracing::error!(group, "there is no such runner group; the scale set stays in its own");
                }
                Err(error) => Err(error),
            };
            match moved {
                Ok(()) => return tracing::info!(group, "the scale set is in another runner group"),
                Err(error) => tracing::warn!(group, error = in_one_line(&error), "the scale set is not moved yet"),
            }
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }

    /// Takes the scale set out of GitHub; one that was not looked for yet is found by the id it had last, or by its name.
    /// Tried for a while.
    pub(super) async fn delete_scale_set(
        &self,
        id: Option<i64>,
        known: Option<i64>,
        group: &str,
        name: &str,
    ) -> Result<(), String> {
        let mut last = String::new();
        for wait in FORGET_WAITS {
            match self.delete_once(id, known, group, name).await {
                Ok(()) => return Ok(()),
                Err(words) => last = words,
            }
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
        Err(last)
    }

    async fn delete_once(&self, id: Option<i64>, known: Option<i64>, group: &str, name: &str) -> Result<(), String> {
        let in_words = |error: GitHubError| in_one_line(&error);
        let id = match id {
            Some(id) => Some(id),
            None => self.look_up(known, group, name).await.map_err(in_words)?.map(|found| found.id),
        };
        let Some(id) = id else { return Ok(()) };
        if self.service.delete_scale_set(id).await.map_err(in_words)? {
            return Ok(());
        }
        // An outage says so as well. One of another id that has the name by now is not ours.
        match self.look_up(None, group, name).await.map_err(in_words)? {
            Some(found) if found.id == id => Err("GitHub says that it is gone, and shows it".to_owned()),
            _ => Ok(()),
        }
    }

    async fn look_up(&self, known: Option<i64>, group: &str, name: &str) -> Result<Option<ScaleSet>, GitHubError> {
        if let Some(found) = self.of_id(known, name).await? {
            return Ok(Some(found));
        }
        match self.service.runner_group(group).await? {
            Some(group) => self.service.find_scale_set(group, name).await,
            // A scale set cannot be in a group that is not there.
            None => Ok(None),
        }
    }

    fn tell(&self, event: Event) {
        // A controller that has ended does not want to know.
        let _ = self.events.send(event);
    }
}

impl From<GitHubError> for NotFound {
    fn from(error: GitHubError) -> Self {
        Self { words: error.in_words(), not_before: error.not_before() }
    }
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Manifest")
    }
}
