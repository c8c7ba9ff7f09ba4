//! Decides how many runners to create and which to remove: [`plan`], a pure function of the demand, the runners, the
//! limits and the time; and [`FailureHistory`], which slows creation down when runners fail.
//!
//! Nothing is done here: no clock is read, no call is made. Times and limits are `runner-pods.md` 8.4, verdicts 8.5, the
//! wanted number `scale-set-protocol.md` 4.4.

mod failures;
mod plan;
mod runner;

pub use failures::{Creation, FailureHistory};
pub use plan::{Plan, Reason, Removal, Waiting, plan};
pub use runner::{Job, Registration, Remains, Runner, Stage};

use std::time::Duration;

use jiff::Timestamp;

/// What a scale set may have and how long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Idle runners kept ready beyond the jobs.
    pub min: u32,
    /// The most runners that may be alive.
    pub max: u32,
    /// Timers of a runner's life.
    pub timers: Timers,
    /// Whether everything idle shall go, at once.
    pub draining: bool,
}

/// Timers of a runner's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From creation to a running container.
    pub start: Duration,
    /// From a running container to a runner that is online.
    pub online: Duration,
    /// Idle beyond the wanted number; also how often an idle runner is asked about.
    pub idle: Duration,
    /// From the job's end to the container's.
    pub completed: Duration,
}

/// What GitHub wants now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Jobs that the scale set owns, waiting and running. `None` as long as it is not known: then nothing is created, and
    /// nothing removed that might be wanted.
    pub jobs: Option<u32>,
    /// When GitHub last had no more to say, or gave its numbers.
    pub heard_at: Option<Timestamp>,
}
