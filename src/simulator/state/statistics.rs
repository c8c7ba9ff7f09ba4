//! The seven totals of a scale set, computed whenever they are sent.

use serde_json::{Value, json};

use super::State;
use super::job::Status;
use super::runner::Presence;

/// The totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) available: u64,
    pub(crate) acquired: u64,
    /// Waiting and running: what clients scale on.
    pub(crate) assigned: u64,
    pub(crate) running: u64,
    pub(crate) registered: u64,
    pub(crate) busy: u64,
    pub(crate) idle: u64,
}

impl Statistics {
    /// As GitHub writes them.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "totalAvailableJobs": self.available,
            "totalAcquiredJobs": self.acquired,
            "totalAssignedJobs": self.assigned,
            "totalRunningJobs": self.running,
            "totalRegisteredRunners": self.registered,
            "totalBusyRunners": self.busy,
            "totalIdleRunners": self.idle,
        })
    }
}

impl State {
    /// The totals of a scale set at this moment.
    pub(crate) fn statistics(&self, set: i64) -> Statistics {
        let mut totals = Statistics::default();
        for job in &self.jobs {
            if job.status == Status::Available {
                totals.available += u64::from(job.offers.contains(&set));
            } else if job.scale_set == Some(set) {
                match job.status {
                    Status::Acquired { .. } => totals.acquired += 1,
                    Status::Assigned { .. } => totals.assigned += 1,
                    Status::Running => {
                        totals.assigned += 1;
                        totals.running += 1;
                    }
                    _ => {}
                }
            }
        }
        for runner in self.runners.values().filter(|runner| runner.scale_set == set) {
            totals.registered += 1;
            match runner.presence {
                Presence::Busy(_) => totals.busy += 1,
                Presence::Idle => totals.idle += 1,
                Presence::Offline | Presence::Lingering(_) => {}
            }
        }
        totals
    }

    /// Jobs that count against the capacity of a poll.
    pub(super) fn owned(&self, set: i64) -> u64 {
        let totals = self.statistics(set);
        totals.available + totals.acquired + totals.assigned
    }
}
