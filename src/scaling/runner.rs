//! A runner, as far as decisions need it.

use std::time::Duration;

use jiff::Timestamp;

/// A container that ended well without a job that we know of: messages about a short job may still be under way, and
/// until they are here the job is in GitHub's total.
pub(super) const SETTLE: Duration = Duration::from_secs(10);
/// The same after an exit code that no finished job leaves.
pub(super) const SETTLE_FAILED: Duration = Duration::from_secs(2);
/// A runner that died with its job: GitHub fails the job after about ten minutes and counts it until then
/// (`scale-set-protocol.md` 7.1).
pub(super) const LOST_JOB: Duration = Duration::from_mins(15);

/// One runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Name.
    pub name: String,
    /// When it was decided on.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub stage: Stage,
    /// Its job.
    pub job: Job,
    /// What GitHub last said of its registration.
    pub registration: Registration,
    /// Made from a spec that is not the current one.
    pub outdated: bool,
    /// No removal is tried before: one has failed, or GitHub refused it.
    pub not_before: Option<Timestamp>,
}

/// Where a runner is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being registered, or handed to the engine: there is nothing that could be removed without a race.
    Creating,
    /// Handed over; its container does not run yet.
    Starting,
    /// Handing it over failed in a way that leaves open whether the engine has it.
    Doubtful,
    /// Its container runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// The engine cannot tell.
    Unknown,
    /// It is being removed.
    Removing {
        /// Whether GitHub cannot give it a job any more.
        deregistered: bool,
    },
    /// Its container has ended, or is not there any more.
    Ended {
        /// When.
        at: Timestamp,
        /// Its exit code, where it had one.
        code: Option<i32>,
        /// What is left to do about it.
        remains: Remains,
    },
}

/// What is left of a runner that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Its pod.
    Pod,
    /// Its pod, and someone is at it.
    PodGoing,
    /// Nothing.
    Nothing,
}

/// A runner's one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// None that we know of.
    None,
    /// It has one.
    Running,
    /// It had one.
    Completed {
        /// When we heard of its end.
        at: Timestamp,
    },
}

/// What GitHub last said of a runner's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// GitHub was not asked.
    NotAsked,
    /// There, and its process is connected.
    Online {
        /// When that was said.
        at: Timestamp,
    },
    /// There, and no process is connected.
    Offline {
        /// When that was said.
        at: Timestamp,
    },
    /// It does not exist any more.
    Gone {
        /// When that was said.
        at: Timestamp,
    },
    /// It does not exist any more: we had GitHub remove it.
    GivenUp,
    /// GitHub is being asked.
    Asking,
}

impl Registration {
    /// Whether it is known not to exist any more, for whatever reason.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Gone { .. } | Self::GivenUp)
    }
}

impl Runner {
    /// Whether it takes care of one of the jobs that GitHub counts, or of one to come. `heard_at` is when GitHub last had no
    /// more to say.
    pub(super) fn covers_a_job(&self, heard_at: Option<Timestamp>, now: Timestamp) -> bool {
        match (self.job, self.stage) {
            (Job::Completed { .. }, _) => false,
            // Given up by us, or a ghost: it polls for ever and gets nothing.
            (Job::None, _) if self.registration.is_gone() => false,
            (_, Stage::Ended { at, code, .. }) => {
                // A service that is slow or away has not told the end of the job either.
                let unheard = code == Some(0) && heard_at.is_none_or(|heard_at| heard_at < at);
                now < self.covers_until(at, code) || unheard
            }
            (Job::None, Stage::Removing { deregistered }) => !deregistered,
            _ => true,
        }
    }

    /// Until when a container that ended stands for a job in GitHub's total.
    pub(super) fn covers_until(&self, ended: Timestamp, code: Option<i32>) -> Timestamp {
        let settles = match (self.job, code) {
            (Job::Completed { .. }, _) => Duration::ZERO,
            (_, Some(0)) => SETTLE,
            (Job::Running, _) => LOST_JOB,
            (Job::None, _) => SETTLE_FAILED,
        };
        after(ended, settles)
    }

    /// Whether a process of it may be alive.
    pub(super) fn may_be_alive(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    /// Whether its container has ended and all news of it are here: what its end means can be told.
    pub fn has_settled(&self, heard_at: Option<Timestamp>, now: Timestamp) -> bool {
        matches!(self.stage, Stage::Ended { .. }) && !self.covers_a_job(heard_at, now)
    }

    /// Whether nothing is left to do or to wait for: the record can go.
    pub fn is_over(&self, heard_at: Option<Timestamp>, now: Timestamp) -> bool {
        matches!(self.stage, Stage::Ended { remains: Remains::Nothing, .. }) && !self.covers_a_job(heard_at, now)
    }
}

/// A moment later; the end of time where there is none.
pub(super) fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
