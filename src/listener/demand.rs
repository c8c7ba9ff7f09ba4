//! What a listener publishes.

use jiff::Timestamp;

use crate::github::{JobMessage, Statistics};

/// What GitHub wants of a scale set now. Scale by `statistics.assigned_jobs`, never by counting messages: deliveries
/// repeat and arrive in part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// The service's own numbers; `None` before the first session.
    pub statistics: Option<Statistics>,
    /// When they were learnt.
    pub observed_at: Option<Timestamp>,
    /// Jobs that wait for a runner, as far as messages told.
    pub waiting: usize,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Option<Timestamp>,
    /// What the listener is doing.
    pub phase: Phase,
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
