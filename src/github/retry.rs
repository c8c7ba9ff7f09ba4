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
    fn what_github_asks_for_is_honoured() {
        assert!(wait(1, &refused(429, Some(7)), 0.0).unwrap() >= Duration::from_secs(7));
    }
}
