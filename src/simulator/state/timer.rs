//! What happens because time passes: every transition is an event with its moment, applied in order.

use jiff::Timestamp;

use super::job::{Conclusion, Job, LONGEST_WAIT, Status};
use super::runner::{Presence, Runner};
use super::scale_set::ScaleSet;
use super::{State, after};

/// Offline ephemeral runners are purged after a day.
const LONGEST_OFFLINE: u32 = 24 * 3600;
/// Scale sets that no one asks for are removed after a week.
const LONGEST_DORMANT: u32 = 7 * 24 * 3600;

/// Something due at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Requeue(usize),
    WithdrawOffer(usize),
    Assign(usize),
    GiveUp(usize),
    CancelOld(usize),
    EndLinger(i64),
    LoseRunner(i64),
    PurgeRunner(i64),
    EndSession(i64),
    RemoveDormant(i64),
}

impl State {
    /// Lets time pass until `now`: everything that was due happens, in order, at its own moment.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some((at, event)) = self.next_event().filter(|(at, _)| *at <= now) {
            self.now = self.now.max(at);
            self.apply(event);
        }
        self.now = self.now.max(now);
    }

    /// When something happens by itself next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.next_event().map(|(at, _)| at)
    }

    fn next_event(&self) -> Option<(Timestamp, Event)> {
        let jobs = self.jobs.iter().enumerate().flat_map(|(at, job)| self.job_events(at, job));
        let runners = self.runners.values().filter_map(|runner| self.runner_event(runner));
        let sets = self.scale_sets.values().filter_map(|set| self.scale_set_event(set));
        jobs.chain(runners).chain(sets).min()
    }

    fn job_events(&self, at: usize, job: &Job) -> impl Iterator<Item = (Timestamp, Event)> {
        let step = match job.status {
            Status::Queued { not_before } => not_before.map(|moment| (moment, Event::Requeue(at))),
            Status::Available => {
                let offered = job.offered.unwrap_or(self.now);
                Some((after(offered, self.levers.offer_timeout_seconds), Event::WithdrawOffer(at)))
            }
            Status::Acquired { until } => Some((until, Event::Assign(at))),
            Status::Assigned { since } => Some((after(since, self.levers.assign_timeout_seconds), Event::GiveUp(at))),
            Status::Stuck | Status::Running | Status::Completed(_) | Status::Dropped => None,
        };
        let waits = matches!(job.status, Status::Queued { .. } | Status::Stuck | Status::Available);
        let old = waits.then(|| (after(job.queued, LONGEST_WAIT), Event::CancelOld(at)));
        step.into_iter().chain(old)
    }

    fn runner_event(&self, runner: &Runner) -> Option<(Timestamp, Event)> {
        match runner.presence {
            Presence::Offline => Some((after(runner.seen, LONGEST_OFFLINE), Event::PurgeRunner(runner.id))),
            Presence::Lingering(until) => Some((until, Event::EndLinger(runner.id))),
            Presence::Idle | Presence::Busy(_) if runner.held > 0 => None,
            Presence::Idle | Presence::Busy(_) => {
                Some((after(runner.seen, self.levers.lost_runner_seconds), Event::LoseRunner(runner.id)))
            }
        }
    }

    fn scale_set_event(&self, set: &ScaleSet) -> Option<(Timestamp, Event)> {
        match &set.session {
            Some(session) if session.held > 0 => None,
            Some(session) => {
                Some((after(session.activity, self.levers.session_ttl_seconds), Event::EndSession(set.id)))
            }
            None => Some((after(set.contact, LONGEST_DORMANT), Event::RemoveDormant(set.id))),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Requeue(job) => {
                self.jobs[job].status = Status::Queued { not_before: None };
                self.changed();
            }
            Event::WithdrawOffer(job) => self.withdraw_offer(job),
            Event::Assign(job) => match self.jobs[job].scale_set {
                Some(set) => self.assign(job, set),
                None => self.withdraw_offer(job),
            },
            Event::GiveUp(job) => self.give_up(job),
            Event::CancelOld(job) => self.complete(job, Conclusion::Cancelled),
            Event::EndLinger(runner) | Event::PurgeRunner(runner) => self.remove_runner(runner),
            Event::LoseRunner(runner) => self.lose_runner(runner),
            Event::EndSession(set) => self.drop_session(set),
            Event::RemoveDormant(set) => self.remove_scale_set(set),
        }
    }
}
