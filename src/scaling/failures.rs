//! Backoff and a budget for runners that do not come up, so that a broken image costs patience and not a hot loop.

use std::time::Duration;

use jiff::Timestamp;

use super::runner::after;

/// Waits after so many failures in a row (`runner-pods.md` 8.5, ARC's), …
const WAITS: [u64; 6] = [0, 5, 10, 20, 40, 80];
/// … and after all of those: the budget is used up, and a single runner is tried now and then.
const EXHAUSTED: Duration = Duration::from_mins(5);
/// From so many failures on one runner at a time is tried: whether things are well again shows with one.
const ONE_AT_A_TIME: u32 = 2;

/// The failures of a scale set's runners since one last succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureHistory {
    failures: u32,
    last: Option<Timestamp>,
    words: String,
    stopped: Option<String>,
    /// When things were last well or made anew.
    since: Option<Timestamp>,
}

/// Whether runners may be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// As many as are wanted.
    Free,
    /// One, if none is on its way: whether it comes up shows how things are.
    OneAtATime,
    /// None before this time.
    NotBefore(Timestamp),
    /// None until the spec changes; the words say why.
    Stopped(String),
    /// None until the engine answers again; the words say what is wrong.
    Unreachable(String),
}

impl FailureHistory {
    /// Notes a runner that failed. Those that were created before an earlier failure was known say nothing new: a burst
    /// that fails for one reason is one failure. Those of a time before things were well say nothing at all.
    pub fn failed(&mut self, created_at: Timestamp, now: Timestamp, words: &str) {
        if self.since.is_some_and(|since| created_at < since) {
            return;
        }
        words.clone_into(&mut self.words);
        if self.last.is_none_or(|last| created_at >= last) {
            self.failures += 1;
            self.last = Some(now);
        }
    }

    /// Notes a failure that repetition will not mend: only now and then is it tried again.
    pub fn refused(&mut self, now: Timestamp, words: &str) {
        words.clone_into(&mut self.words);
        self.failures = self.failures.max(u32::try_from(WAITS.len()).unwrap_or(u32::MAX));
        self.last = Some(now);
    }

    /// Notes that no runner of this spec can work.
    pub fn stop(&mut self, words: &str) {
        self.stopped = Some(words.to_owned());
    }

    /// Notes a runner that works, or a new spec.
    pub fn clear(&mut self, now: Timestamp) {
        *self = Self { since: Some(now), ..Self::default() };
    }

    /// Something was mended that may have been the reason: the next try need not wait. What no repetition mends stays.
    pub fn try_again(&mut self, now: Timestamp) {
        if self.stopped.is_none() {
            self.clear(now);
        }
    }

    /// Whether runners may be created now.
    pub fn creation(&self, now: Timestamp) -> Creation {
        if let Some(words) = &self.stopped {
            return Creation::Stopped(words.clone());
        }
        let Some(last) = self.last else { return Creation::Free };
        let until = after(last, self.wait());
        match (now < until, self.failures < ONE_AT_A_TIME) {
            (true, _) => Creation::NotBefore(until),
            (false, true) => Creation::Free,
            (false, false) => Creation::OneAtATime,
        }
    }

    /// Whether the budget is used up.
    pub fn is_exhausted(&self) -> bool {
        usize::try_from(self.failures).is_ok_and(|failures| failures >= WAITS.len())
    }

    /// Failures in a row.
    pub fn count(&self) -> u32 {
        self.failures
    }

    /// What the last one was, in words.
    pub fn words(&self) -> &str {
        &self.words
    }

    fn wait(&self) -> Duration {
        let index = usize::try_from(self.failures.saturating_sub(1)).unwrap_or(usize::MAX);
        // The sixth failure in a row has used the budget up.
        WAITS.get(index).filter(|_| !self.is_exhausted()).map_or(EXHAUSTED, |seconds| Duration::from_secs(*seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn waits_grow_with_failures_in_a_row_and_end_with_a_success() {
        let mut history = FailureHistory::default();
        let mut now = 1000;
        let mut waits = Vec::new();
        for _ in 0..8 {
            history.failed(at(now), at(now), "exit 1");
            let until = match history.creation(at(now)) {
                Creation::NotBefore(until) => until.as_second(),
                _ => now,
            };
            waits.push(until - now);
            now = until;
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 300, 300, 300]);
        assert!(history.is_exhausted());
        assert_eq!(history.creation(at(now)), Creation::OneAtATime);
        history.clear(at(now));
        assert_eq!(history.creation(at(now)), Creation::Free);
        history.failed(at(now - 1), at(now + 60), "an old runner whose removal took its time");
        assert_eq!((history.count(), history.words()), (0, ""));
    }

    #[test]
    fn a_burst_that_fails_for_one_reason_is_one_failure() {
        let mut history = FailureHistory::default();
        for second in 0..100 {
            history.failed(at(1000), at(1001 + second), "no image");
        }
        assert_eq!(history.count(), 1);
    }

    #[test]
    fn an_image_that_github_refuses_stops_creation_until_the_spec_changes() {
        let mut history = FailureHistory::default();
        history.stop("the image is too old");
        history.try_again(at(1000));
        assert_eq!(history.creation(at(i64::from(u32::MAX))), Creation::Stopped("the image is too old".to_owned()));
    }
}
