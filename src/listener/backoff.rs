//! How long a listener waits after failures, and in which words it says so.

use std::time::Duration;

/// The longest wait after failures.
const MOST: Duration = Duration::from_secs(30);
/// The longest wait after a refusal that only people can mend.
const MOST_REFUSED: Duration = Duration::from_mins(5);
/// From then on another controller is the likelier explanation than a session of our own that has to run out: those
/// are gone after 92 s at most (`scale-set-protocol.md` 4.7).
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

/// The wait after so many failures in a row; `fraction` is the jitter, 0 to 1.
pub(super) fn after(failures: u32, fraction: f64) -> Duration {
    doubled(failures, MOST, fraction)
}

/// The wait after a refusal for want of permission.
pub(super) fn refused(failures: u32, fraction: f64) -> Duration {
    doubled(failures, MOST_REFUSED, fraction)
}

fn doubled(failures: u32, most: Duration, fraction: f64) -> Duration {
    let base = Duration::from_secs(1 << failures.saturating_sub(1).min(16)).min(most);
    base.mul_f64(0.5 + fraction / 2.0)
}

/// The wait before a session is asked for again while another one lives.
pub(super) fn conflict(waited: Duration, fraction: f64) -> Duration {
    let base = if waited < PATIENCE { 10 } else { 30 };
    Duration::from_secs(base).mul_f64(1.0 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_capped() {
        let waits: Vec<u64> = (1..9).map(|failures| after(failures, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(after(1, 0.0) >= Duration::from_millis(500), "never a hot loop");
    }

    #[test]
    fn a_conflict_is_met_with_patience_and_then_more_slowly() {
        assert_eq!(conflict(Duration::ZERO, 0.0), Duration::from_secs(10));
        assert_eq!(conflict(Duration::ZERO, 1.0), Duration::from_secs(15));
        assert_eq!(conflict(PATIENCE, 0.0), Duration::from_secs(30));
    }
}
