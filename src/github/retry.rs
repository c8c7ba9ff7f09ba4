//! When a failed call is made again (`scale-set-protocol.md` 6.1): five attempts, waits of 1, 2, 4 and 8 s with jitter,
//! or what GitHub asks for.

use std::time::Duration;

use super::error::GitHubError;

/// Attempts of one call, the first among them.
pub(super) const ATTEMPTS: u32 = 5;

/// How long to wait before attempt `attempt + 1`; `None`: give up. `fraction` is the jitter, 0 to 1.
pub(super) fn wait(attempt: u32, error: &GitHubError, fraction: f64) -> Option<Duration> {
    if attempt >= ATTEMPTS || !error.is_retryable() {
        return None;
    }
    let base = Duration::from_secs(1 << (attempt - 1));
    // Between half and one and a half times, so that many clients do not come back together.
    let jittered = base.mul_f64(0.5 + fraction);
    match error {
        GitHubError::Refused { retry_after: Some(asked), .. } => {
            Some((*asked).max(Duration::from_millis(100)) + jittered / 4)
        }
        _ => Some(jittered),
    }
}

/// How long nobody asks GitHub to be let in after it refused so many times in a row. What passes is soon over; what people
/// must mend is not, and they need not wait: new credentials are tried at once. `fraction` is the jitter, 0 to 1.
pub(super) fn before_asking_again(times: u32, error: &GitHubError, fraction: f64) -> Duration {
    let (first, most) = if error.is_retryable() { (1, 30) } else { (5, 300) };
    let doubled = 1_u64.checked_shl(times.saturating_sub(1)).map_or(most, |factor| factor.saturating_mul(first));
    Duration::from_secs(doubled.min(most)).mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::{Exception, RequestIds, TransportError, TransportFault};

    fn refused(status: u16, retry_after: Option<u64>) -> GitHubError {
        GitHubError::Refused {
            call: "try",
            status,
            exception: Exception::None,
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
            ids: RequestIds::default(),
        }
    }

    #[test]
    fn the_waits_double_and_end_after_five_attempts() {
        let waits: Vec<Option<u64>> =
            (1..=5).map(|attempt| wait(attempt, &refused(500, None), 0.5).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), None]);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let transport = |fault| GitHubError::Transport { call: "try", source: TransportError::new(fault, "x") };
        for (error, again) in [
            (refused(429, None), true),
            (refused(503, None), true),
            (refused(501, None), false),
            (refused(404, None), false),
            (refused(403, None), false),
            (refused(403, Some(1)), true),
            (transport(TransportFault::Unreachable), true),
            (transport(TransportFault::Interrupted), true),
            (transport(TransportFault::Certificate), false),
        ] {
            assert_eq!(wait(1, &error, 0.0).is_some(), again, "{error}");
        }
    }

    #[test]
    fn refused_credentials_are_shown_again_ever_more_rarely() {
        let waits = |error: &GitHubError| -> Vec<u64> {
            (1..=8).map(|times| before_asking_again(times, error, 1.0).as_secs()).collect()
        };
        assert_eq!(waits(&refused(401, None)), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(waits(&refused(503, None)), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(before_asking_again(u32::MAX, &refused(401, None), 1.0).as_secs(), 300);
    }

    #[test]
    fn what_github_asks_for_is_honoured() {
        assert!(wait(1, &refused(429, Some(7)), 0.0).unwrap() >= Duration::from_secs(7));
    }
}
