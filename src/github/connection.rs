//! The admin connection: keeps the token of [`Admission`] fresh, and bounds how often GitHub is asked for it
//! (`scale-set-protocol.md` 2.6).
//!
//! Renewals are made once for all who wait, lazily before a call, and ahead of time by whoever has time
//! ([`Connection::keep_fresh`]). What GitHub refused is asked for again after a while only, whoever calls meanwhile:
//! there is one chain of attempts per connection. New credentials are tried at once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::admission::{Admission, Applicant};
use super::config_url::ConfigUrl;
use super::credentials::Credentials;
use super::error::{GitHubError, NoWayIn};
use super::exchange::Exchange;
use super::retry;
use crate::causes::in_one_line;
use crate::secret::Secret;

/// A token is not used any more this long before it ends.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// Whoever has time renews a token this long before it ends, but not in the first half of its life.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// A token that ends at once is renewed by calls, and no more often than this by whoever has time.
const SOONEST: SignedDuration = SignedDuration::from_secs(10);

/// Where the service is, and what lets us in.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    /// Base URL, with or without a path and a final slash.
    pub(super) url: String,
    pub(super) token: Secret,
    ends: Timestamp,
    /// Counts renewals, so that two calls that fail together renew once.
    pub(super) generation: u64,
    /// Whose it is.
    edition: u64,
}

/// Keeps an [`Admin`] fresh. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    exchange: Exchange,
    config_url: ConfigUrl,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    given: watch::Sender<Given>,
    current: Mutex<Current>,
    /// Held during a renewal: whoever needs it waits for the same one. What is good meanwhile is used meanwhile.
    renewing: tokio::sync::Mutex<()>,
    /// When whoever has time shall renew; `None` before there was a token.
    due: watch::Sender<Option<Timestamp>>,
}

/// Credentials, and the how many-th they are.
#[derive(Clone, Debug)]
pub(super) struct Given {
    credentials: Credentials,
    edition: u64,
}

#[derive(Debug, Default)]
struct Current {
    admin: Option<Admin>,
    generations: u64,
    refusal: Option<Refusal>,
}

/// Why there is no way in.
#[derive(Clone, Debug)]
struct Refusal {
    reason: Arc<NoWayIn>,
    /// How often in a row.
    times: u32,
    edition: u64,
}

impl Connection {
    pub(super) fn new(exchange: Exchange, config_url: ConfigUrl, credentials: Credentials) -> Self {
        let given = watch::Sender::new(Given { credentials, edition: 0 });
        let due = watch::Sender::new(None);
        let line = Line { given, current: Mutex::default(), renewing: tokio::sync::Mutex::default(), due };
        Self { exchange, config_url, line: Arc::new(line) }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.line, &other.line)
    }

    /// Takes other credentials for the next call, also for one that tries the old ones right now; false if they are
    /// the same.
    pub(super) fn renew_credentials(&self, credentials: Credentials) -> bool {
        let are_new = self.line.given.send_if_modified(|given| {
            let differ = given.credentials != credentials;
            if differ {
                *given = Given { credentials, edition: given.edition + 1 };
            }
            differ
        });
        if are_new && self.is_in_use() {
            self.use_soon();
        }
        are_new
    }

    /// Whether there was a call.
    pub(super) fn is_in_use(&self) -> bool {
        self.line.due.borrow().is_some()
    }

    /// Lets whoever keeps the token fresh get one at once.
    pub(super) fn use_soon(&self) {
        self.line.due.send_replace(Some(self.exchange.environment.now()));
    }

    /// Changes when there are other credentials.
    pub(super) fn given(&self) -> watch::Receiver<Given> {
        self.line.given.subscribe()
    }

    /// A connection that is good for the next call. `stale` is the generation that was just refused.
    pub(super) async fn admin(&self, stale: Option<u64>) -> Result<Admin, GitHubError> {
        if let Some(known) = self.known(stale) {
            return known;
        }
        let _turn = self.line.renewing.lock().await;
        match self.known(stale) {
            Some(known) => known,
            None => self.renew().await,
        }
    }

    /// What is known without asking: a token that is good, or that there is no way in for now.
    fn known(&self, stale: Option<u64>) -> Option<Result<Admin, GitHubError>> {
        let (now, edition) = (self.exchange.environment.now(), self.line.given.borrow().edition);
        let current = self.current();
        if let Some(admin) = current.admin.as_ref().filter(|admin| admin.is_good(now, edition, stale)) {
            return Some(Ok(admin.clone()));
        }
        let refusal = current.refusal.as_ref().filter(|refusal| refusal.edition == edition);
        let reason = &refusal.filter(|refusal| now < refusal.reason.until)?.reason;
        Some(Err(GitHubError::NoWayIn(Arc::clone(reason))))
    }

    /// Renews the token before it ends, as long as it is polled: then no call has to wait for that. Of many who do this
    /// at a time one renews. Begins when there was a first call.
    pub(super) async fn keep_fresh(&self) -> Infallible {
        let mut due = self.line.due.subscribe();
        loop {
            let wait = due.borrow_and_update().map(|at| self.until(at));
            tokio::select! {
                // The sender is our own.
                _ = due.changed() => continue,
                () = sleep_or_never(wait) => {}
            }
            let _turn = self.line.renewing.lock().await;
            let is_due = self.line.due.borrow().is_some_and(|at| self.until(at).is_zero());
            if is_due && let Err(error) = self.renew().await {
                tracing::warn!(error = in_one_line(&error), "the token for the Actions service is not renewed yet");
            }
        }
    }

    /// Gets a token, with credentials that may change meanwhile. It is the caller's turn.
    async fn renew(&self) -> Result<Admin, GitHubError> {
        let mut given = self.line.given.subscribe();
        loop {
            let Given { credentials, edition } = given.borrow_and_update().clone();
            let applicant =
                Applicant { exchange: &self.exchange, config_url: &self.config_url, credentials: &credentials };
            let admitted = tokio::select! {
                admitted = applicant.connect() => admitted,
                Ok(()) = given.changed() => continue,
            };
            return match admitted {
                Ok(admission) => Ok(self.admitted(admission, edition)),
                Err(error) => Err(self.refused(error, edition)),
            };
        }
    }

    fn admitted(&self, admission: Admission, edition: u64) -> Admin {
        let Admission { url, token, ends } = admission;
        let mut current = self.current();
        current.generations += 1;
        let admin = Admin { url, token, ends, generation: current.generations, edition };
        (current.admin, current.refusal) = (Some(admin.clone()), None);
        self.line.due.send_replace(Some(renewal_at(self.exchange.environment.now(), ends)));
        admin
    }

    /// What was good before stays: it may still be.
    fn refused(&self, error: GitHubError, edition: u64) -> GitHubError {
        let mut current = self.current();
        let before = current.refusal.as_ref().filter(|refusal| refusal.edition == edition);
        let times = before.map_or(0, |refusal| refusal.times) + 1;
        let environment = &self.exchange.environment;
        let wait = retry::before_asking_again(times, &error, environment.fraction());
        let until = SignedDuration::try_from(wait).ok().and_then(|wait| environment.now().checked_add(wait).ok());
        let reason = Arc::new(NoWayIn { error, until: until.unwrap_or(Timestamp::MAX) });
        if self.is_in_use() {
            self.line.due.send_replace(Some(reason.until));
        }
        current.refusal = Some(Refusal { reason: Arc::clone(&reason), times, edition });
        GitHubError::NoWayIn(reason)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Nothing that holds the lock panics half-way through a change.
        self.line.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.exchange.environment.now())).unwrap_or(Duration::ZERO)
    }
}

impl Admin {
    fn is_good(&self, now: Timestamp, edition: u64, stale: Option<u64>) -> bool {
        let lasts = now.checked_add(MARGIN).is_ok_and(|soon| soon <= self.ends);
        lasts && self.edition == edition && stale != Some(self.generation)
    }
}

/// When to renew a token that was got now.
fn renewal_at(now: Timestamp, ends: Timestamp) -> Timestamp {
    let half = ends.duration_since(now) / 2;
    let wait = (ends.duration_since(now) - AHEAD).max(half).max(SOONEST);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

async fn sleep_or_never(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_five_minutes_before_its_end_and_a_short_one_in_the_middle_of_its_life() {
        let now = Timestamp::UNIX_EPOCH;
        for (life, wait) in [(3600, 3300), (1020, 720), (360, 180), (60, 30), (5, 10), (-60, 10)] {
            let ends = now + SignedDuration::from_secs(life);
            assert_eq!(renewal_at(now, ends).duration_since(now).as_secs(), wait, "a life of {life} s");
        }
    }
}
