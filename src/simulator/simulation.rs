//! The one simulator that requests share: the state behind a lock, the clock, and the bell for those who wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;

use super::clock::Clock;
use super::options::{Levers, Options};
use super::router::{self, AppKey};
use super::state::{JobRequest, Rule, State};
use super::{ClockMode, ControlError};

/// A simulated GitHub. Clones are the same one.
///
/// ```
/// use deskrun::simulator::{JobRequest, Options, Simulator};
///
/// let github = Simulator::new(Options::default()).expect("the options are right");
/// let ids = github.queue(&JobRequest { labels: vec!["metal".to_owned()], ..JobRequest::default() });
/// assert_eq!(github.ledger()["jobs"][0]["id"], ids[0].as_str());
/// ```
#[derive(Clone)]
pub struct Simulator {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    clock: Mutex<Clock>,
    bell: watch::Sender<u64>,
    app_key: Option<AppKey>,
    options: Options,
}

impl Simulator {
    /// A GitHub where nothing has happened yet.
    pub fn new(options: Options) -> Result<Self, ControlError> {
        let clock = Clock::new(options.clock);
        let mut state = State::new(&options, clock.now());
        state.add_faults(options.faults.clone());
        let app_key = options.app_key.as_deref().map(AppKey::read).transpose()?;
        let bell = watch::Sender::new(0);
        Ok(Self {
            inner: Arc::new(Inner { state: Mutex::new(state), clock: Mutex::new(clock), bell, app_key, options }),
        })
    }

    /// What serves it: GitHub's routes, the stand-in runner's and the control API's.
    pub fn router(&self) -> Router {
        router::router(self.clone())
    }

    /// Everything that exists, as `deskrun simulator state` prints it.
    pub fn ledger(&self) -> Value {
        self.with(|state| state.ledger())
    }

    /// Every call in order: method, route, path, status (0 where the connection was dropped).
    pub fn calls(&self) -> Value {
        self.with(|state| state.call_log())
    }

    /// Queues jobs; returns their ids.
    pub fn queue(&self, request: &JobRequest) -> Vec<String> {
        self.with(|state| state.queue_jobs(request))
    }

    /// Cancels a job; false if there is none of that id.
    pub fn cancel(&self, id: &str) -> bool {
        self.with(|state| state.find_job(id).map(|job| state.cancel_job(job))).is_some()
    }

    /// Takes an assigned job away without a message; false if there is none of that id that is assigned.
    pub fn drop_job(&self, id: &str) -> bool {
        self.with(|state| state.find_job(id).is_some_and(|job| state.drop_job(job)))
    }

    /// Adds fault rules that count from now.
    pub fn add_faults(&self, rules: Vec<Rule>) {
        self.with(|state| state.add_faults(rules));
    }

    /// Forgets all fault rules.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Changes what nobody knows about GitHub.
    pub fn set_levers(&self, change: impl FnOnce(&mut Levers)) {
        self.with(|state| change(&mut state.levers));
    }

    /// Puts the clock forward; what falls due happens now.
    pub fn advance(&self, by: Duration) {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).advance(by);
        self.with(|_| ());
        self.ring();
    }

    /// Ends all sessions and tokens, as a restart of the service does.
    pub fn restart(&self) {
        self.with(State::restart);
    }

    /// Ends the life of all tokens of a kind: `installation`, `registration`, `admin`, `queue`.
    pub fn expire_tokens(&self, kind: &str) {
        self.with(|state| state.expire_tokens(kind));
    }

    /// The simulated time.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).now()
    }

    /// Runs a step on the state, brought up to now; rings if it changed anything.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: time must not run backwards between two steps.
        let now = self.now();
        let before = state.revision();
        state.advance(now);
        let result = step(&mut state);
        let changed = state.revision() != before;
        drop(state);
        if changed {
            self.ring();
        }
        result
    }

    /// Tries a step until it has a result or the simulated `hold` has passed; tries again at each change.
    pub(super) async fn hold<T, E>(
        &self,
        hold: SignedDuration,
        mut step: impl FnMut(&mut State) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let end = self.now().checked_add(hold).unwrap_or(Timestamp::MAX);
        let mut bell = self.inner.bell.subscribe();
        loop {
            bell.mark_unchanged();
            let (found, due) = self.with(|state| (step(state), state.next_due()));
            let found = found?;
            if found.is_some() || self.now() >= end {
                return Ok(found);
            }
            self.wait(&mut bell, due.map_or(end, |due| due.min(end))).await;
        }
    }

    async fn wait(&self, bell: &mut watch::Receiver<u64>, until: Timestamp) {
        let left = self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).until(until);
        // The sender lives as long as we do, so the bell cannot close.
        match left {
            Some(left) => drop(tokio::time::timeout(left, bell.changed()).await),
            None => drop(bell.changed().await),
        }
    }

    fn ring(&self) {
        self.inner.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(super) fn app_key(&self) -> Option<&AppKey> {
        self.inner.app_key.as_ref()
    }

    /// Whether the clock only moves when told.
    pub(super) fn is_explicit(&self) -> bool {
        matches!(self.inner.options.clock, ClockMode::Explicit(_))
    }
}
