//! The simulated time: passing by itself, or only when told. Knows nothing of what happens in it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::options::ClockMode;

/// A clock that can be put forward in either mode.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Timestamp,
    // Tokio's instant, so that paused time in a test pauses this clock too.
    started: Option<Instant>,
}

impl Clock {
    pub(super) fn new(mode: ClockMode) -> Self {
        match mode {
            ClockMode::Automatic => Self { origin: Timestamp::now(), started: Some(Instant::now()) },
            ClockMode::Explicit(origin) => Self { origin, started: None },
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        let passed = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        after(self.origin, SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX))
    }

    /// Puts the clock forward; it never goes back.
    pub(super) fn advance(&mut self, by: Duration) {
        self.origin = after(self.origin, SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }

    /// How long to sleep until `at` comes by itself; none where it only comes when told.
    pub(super) fn until(&self, at: Timestamp) -> Option<Duration> {
        self.started?;
        Some(Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO))
    }
}

/// `at` plus `by`, at most the end of time.
fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
