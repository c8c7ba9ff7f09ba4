//! Which scale set gets a job, and which of its runners takes it.

use rand::RngExt;
use serde_json::json;

use super::error::Refusal;
use super::job::Status;
use super::runner::Presence;
use super::tenant::Scope;
use super::{Conclusion, Generation, RunnerOrder, State, after};

/// GitHub tries again so often.
const MOST_REASSIGNMENTS: u32 = 3;

impl State {
    /// Gives the set the oldest jobs that match, while it owns fewer than a poll said it can take. No poll, no jobs.
    pub(super) fn fill(&mut self, set: i64, capacity: Option<u64>) {
        while capacity.is_none_or(|capacity| self.owned(set) < capacity) {
            let Some(job) = (0..self.jobs.len()).find(|&job| self.may_get(set, job)) else { break };
            match self.generation {
                Generation::Broker => self.assign(job, set),
                Generation::Pipelines => self.offer(job, set),
            }
        }
    }

    fn may_get(&self, set: i64, job: usize) -> bool {
        let (Some(set), job) = (self.scale_sets.get(&set), &self.jobs[job]) else { return false };
        let waits = match job.status {
            Status::Queued { not_before } => not_before.is_none(),
            Status::Available => !job.offers.contains(&set.id),
            _ => false,
        };
        if !waits || !set.has_labels(&job.labels) {
            return false;
        }
        let Some(tenant) = self.tenants.get(&set.tenant) else { return false };
        let in_scope = job.repository.as_ref().is_none_or(|(owner, name)| tenant.scope.holds(owner, name));
        // Groups do not apply to the scale sets of a repository.
        let group = tenant.groups.iter().find(|group| group.id == set.group);
        let public_ok = matches!(tenant.scope, Scope::Repository(..)) || group.is_none_or(|group| group.allows_public);
        in_scope && (!job.public || public_ok)
    }

    fn offer(&mut self, job: usize, set: i64) {
        self.jobs[job].status = Status::Available;
        self.jobs[job].offers.insert(set);
        self.jobs[job].offered = Some(self.now);
        self.say_to(set, job, "JobAvailable", json!({ "acquireJobUrl": "" }));
    }

    /// Makes a job the set's, and tells it.
    pub(super) fn assign(&mut self, job: usize, set: i64) {
        let now = self.now;
        let taken = &mut self.jobs[job];
        taken.status = Status::Assigned { since: now };
        taken.scale_set = Some(set);
        taken.assigned = Some(now);
        taken.offers.clear();
        self.say(job, "JobAssigned", json!({}));
        self.hand_out(set);
    }

    /// The ids among those asked for that this set now has; others are simply absent.
    pub(crate) fn acquire(&mut self, set: i64, requests: &[i64]) -> Vec<i64> {
        let until = after(self.now, self.levers.acquire_delay_seconds);
        let mut got = Vec::new();
        for &request in requests {
            let Some(job) = self.jobs.iter().position(|job| job.request_id == request) else { continue };
            let ours = self.jobs[job].scale_set == Some(set);
            if self.jobs[job].status == Status::Available && self.jobs[job].offers.contains(&set) {
                self.jobs[job].status = Status::Acquired { until };
                self.jobs[job].scale_set = Some(set);
                self.jobs[job].offers.clear();
                got.push(request);
            } else if ours && matches!(self.jobs[job].status, Status::Acquired { .. } | Status::Assigned { .. }) {
                // Repeated after a lost answer.
                got.push(request);
            }
        }
        self.changed();
        self.advance(self.now);
        got
    }

    /// The jobs offered to a set and not acquired, as positions.
    pub(crate) fn acquirable(&self, tenant: &str, set: i64) -> Result<Vec<usize>, Refusal> {
        self.scale_set(tenant, set)?;
        let offered =
            |job: &usize| self.jobs[*job].status == Status::Available && self.jobs[*job].offers.contains(&set);
        Ok((0..self.jobs.len()).filter(offered).collect())
    }

    /// Gives waiting jobs, oldest first, to idle runners of the set: to any of them.
    pub(super) fn hand_out(&mut self, set: i64) {
        for job in 0..self.jobs.len() {
            let waits =
                matches!(self.jobs[job].status, Status::Assigned { .. }) && self.jobs[job].scale_set == Some(set);
            if !waits {
                continue;
            }
            let Some(runner) = self.idle_runner(set) else { break };
            self.start(job, runner);
        }
    }

    fn idle_runner(&mut self, set: i64) -> Option<i64> {
        let idle = self.runners.values().filter(|runner| runner.scale_set == set && runner.presence == Presence::Idle);
        let idle: Vec<i64> = idle.map(|runner| runner.id).collect();
        match self.levers.runner_order {
            RunnerOrder::Oldest => idle.first().copied(),
            RunnerOrder::Newest => idle.last().copied(),
            RunnerOrder::Random if idle.is_empty() => None,
            RunnerOrder::Random => Some(idle[self.rng.random_range(0..idle.len())]),
        }
    }

    fn start(&mut self, job: usize, id: i64) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.presence = Presence::Busy(job);
        runner.seen = self.now;
        let name = runner.name.clone();
        self.jobs[job].status = Status::Running;
        self.jobs[job].started = Some(self.now);
        self.jobs[job].runner = Some((id, name.clone()));
        self.say(job, "JobStarted", json!({ "runnerId": id, "runnerName": name }));
    }

    /// Withdraws an assignment that no runner took: up to three times back to the queue, with growing delay.
    pub(super) fn give_up(&mut self, job: usize) {
        if self.jobs[job].reassignments >= MOST_REASSIGNMENTS && self.levers.fail_after_reassignments {
            return self.complete(job, Conclusion::Failure);
        }
        self.say_completed(job, Conclusion::Cancelled);
        let again = &mut self.jobs[job];
        again.reassignments += 1;
        again.scale_set = None;
        again.assigned = None;
        let delay = self.levers.reassign_delay_seconds.saturating_mul(again.reassignments);
        again.status = if again.reassignments > MOST_REASSIGNMENTS {
            Status::Stuck
        } else {
            Status::Queued { not_before: Some(after(self.now, delay)) }
        };
        self.changed();
    }

    /// Takes an offer back that no one acquired; the next poll gets it again.
    pub(super) fn withdraw_offer(&mut self, job: usize) {
        self.jobs[job].status = Status::Queued { not_before: None };
        self.jobs[job].offers.clear();
        self.changed();
    }
}
