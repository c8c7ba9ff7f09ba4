//! What a failure means for a listener: whether the session is gone, how long to wait, and in which words (`scale-set-protocol.md`
//! 3.2, 3.8, 4.8).

use std::time::Duration;

use jiff::Timestamp;

use super::backoff;
use super::demand::Phase;
use crate::github::{Exception, GitHubError};

/// What a failure says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: the network, the service or the credentials are in the way.
    Unrelated,
    /// It may be gone: only renewing it can tell.
    Doubtful,
    /// The service knows no such scale set. It says so in outages as well.
    Missing,
    /// It is gone.
    Gone,
}

impl Verdict {
    /// Of a failed poll or renewal: their route exists, so a bare 404 is about the session; and so is a token that is refused
    /// although it was just renewed.
    pub(super) fn of_poll(error: &GitHubError) -> Self {
        // Of the way in, not of the session: a token that may not see the repository gets a 404 as well.
        let is_shut = error.not_before().is_some();
        match Self::of(error) {
            Self::Unrelated if matches!(error.status(), Some(401 | 404)) && !is_shut => Self::Doubtful,
            other => other,
        }
    }

    /// Of any other call: a back end that has no such route says 404 as well, and only the exception's name counts.
    pub(super) fn of(error: &GitHubError) -> Self {
        match error.exception() {
            Exception::SessionGone => Self::Gone,
            Exception::ScaleSetNotFound => Self::Missing,
            _ => Self::Unrelated,
        }
    }
}

/// Whether a call that failed like this fails again in all likelihood.
pub(super) fn is_final(error: &GitHubError) -> bool {
    let may_be_the_session = Verdict::of(error) != Verdict::Unrelated || error.status() == Some(401);
    error.status().is_some() && error.not_before().is_none() && !error.is_retryable() && !may_be_the_session
}

/// Whether a failure is likely to be a single one: of the network, or of one machine of the service's.
pub(super) fn may_pass(error: &GitHubError) -> bool {
    Verdict::of(error) == Verdict::Unrelated && error.is_retryable() && error.not_before().is_none()
}

/// How long to wait after so many failures in a row; `fraction` is the jitter, 0 to 1.
pub(super) fn wait(error: &GitHubError, failures: u32, now: Timestamp, fraction: f64) -> Duration {
    /// GitHub is asked anew by whoever comes first.
    const LEAST: Duration = Duration::from_millis(100);
    if let Some(until) = error.not_before() {
        return Duration::try_from(until.duration_since(now)).unwrap_or_default().max(LEAST);
    }
    let is_refused = matches!(error.status(), Some(401 | 403)) && !error.is_retryable();
    if is_refused { backoff::refused(failures, fraction) } else { backoff::after(failures, fraction) }
}

/// What a listener does that waits after an error.
pub(super) fn phase(error: &GitHubError) -> Phase {
    let words = format!("waiting for GitHub: {}", error.in_words());
    if Verdict::of(error) == Verdict::Missing { Phase::Missing(words) } else { Phase::Waiting(words) }
}

/// The same for one that waits for another session to end.
pub(super) fn conflict(error: &GitHubError, waited: Duration) -> Phase {
    let words = error.in_words();
    Phase::Waiting(if waited < backoff::PATIENCE {
        format!("waiting for a previous message session of this scale set to end: {words}")
    } else {
        format!("another controller seems to serve this scale set: {words} (stop it, or rename one of the two)")
    })
}
