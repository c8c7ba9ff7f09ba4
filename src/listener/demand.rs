//! What a listener publishes.

use jiff::Timestamp;

use crate::github::{JobMessage, Statistics};

/// What GitHub wants of a scale set now. Scale by `statistics.assigned_jobs`, never by counting messages: deliveries
/// repeat and arrive in part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// The service's own numbers; `None` before the first session.
    pub statistics: Option<Statistics>,
    /// Jobs that are acquired and not yet among the assigned ones: the scale set owns them as well.
    pub acquired: i64,
    /// The newest delivery these numbers know of. News of later ones must wait for their numbers, else a job that has
    /// ended would still be counted while its runner is not.
    pub delivery: i64,
    /// When they were learnt.
    pub observed_at: Option<Timestamp>,
    /// When the service last had no more to say, or gave its numbers: what happened before is known.
    pub heard_at: Option<Timestamp>,
    /// Jobs that wait for a runner, as far as messages told.
    pub waiting: usize,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Option<Timestamp>,
    /// What the listener is doing.
    pub phase: Phase,
}

impl Demand {
    /// How many jobs the scale set owns, waiting and running: the number to scale by. `None` as long as it is not known.
    pub fn owned_jobs(&self) -> Option<u32> {
        let assigned = self.statistics?.assigned_jobs;
        Some(u32::try_from((assigned.max(0)).saturating_add(self.acquired.max(0))).unwrap_or(u32::MAX))
    }
}

/// What a listener is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet.
    #[default]
    Starting,
    /// Polling.
    Listening,
    /// Waits, and the words say for what.
    Waiting(String),
    /// Waits, for the service says that there is no such scale set; the words say more. Seen in outages as well.
    Missing(String),
    /// Ended, its session closed.
    Closed,
}

/// A message about a job that was not heard before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobNews {
    /// Id of the delivery it came with.
    pub delivery: i64,
    /// The message.
    pub message: JobMessage,
}
