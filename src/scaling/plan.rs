//! The plan: what to create, what to remove and why, whom to ask about, and when to look again.

use std::time::Duration;

use jiff::Timestamp;

use super::failures::Creation;
use super::runner::{Job, Registration, Remains, Runner, Stage, after};
use super::{Demand, Limits};

/// What to do now. Nothing in it leaves the doer a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many runners to create.
    pub create: u32,
    /// Which runners to remove.
    pub remove: Vec<Removal>,
    /// About which runners to ask GitHub.
    pub ask: Vec<String>,
    /// Why fewer are created than wanted.
    pub waiting: Option<Waiting>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// How many runners there shall be.
    pub wanted: u32,
    /// How many more there are.
    pub surplus: u32,
}

/// A runner to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its name.
    pub runner: String,
    /// Why.
    pub reason: Reason,
}

/// Why a runner is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its container has ended.
    Ended,
    /// Its job has ended long ago, and its container has not.
    Hung,
    /// Its container did not start in time.
    NotStarted,
    /// Handing it over failed.
    NotHandedOver,
    /// It did not go online in time.
    NotOnline,
    /// Its registration is gone, and its process polls for ever.
    Ghost,
    /// It is idle, and not wanted any more.
    Surplus,
    /// It is idle, and of an older spec.
    Outdated,
}

impl Reason {
    /// Whether GitHub must give the runner up before its process may be ended: else it could get a job in that instant
    /// (`scale-set-protocol.md` 5.5).
    pub fn asks_github_first(self) -> bool {
        match self {
            Self::NotStarted | Self::NotHandedOver | Self::NotOnline | Self::Surplus | Self::Outdated | Self::Hung => {
                true
            }
            Self::Ended | Self::Ghost => false,
        }
    }

    /// In words, as labels and logs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Hung => "hung-after-job",
            Self::NotStarted => "not-started",
            Self::NotHandedOver => "not-handed-over",
            Self::NotOnline => "not-online",
            Self::Ghost => "ghost",
            Self::Surplus => "surplus",
            Self::Outdated => "outdated",
        }
    }
}

/// Why fewer runners are created than wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The most runners that may be alive are.
    Maximum,
    /// Runners failed; the next is tried then.
    Backoff(Timestamp),
    /// Runners failed; whether the one under way comes up is awaited.
    Trial,
    /// None is created until the spec changes.
    Stopped(String),
    /// The engine cannot be reached.
    Engine(String),
}

/// Decides. `surplus_since` is since when there have been more runners than wanted without a break.
pub fn plan(
    demand: Demand,
    runners: &[Runner],
    limits: &Limits,
    creation: &Creation,
    surplus_since: Option<Timestamp>,
    now: Timestamp,
) -> Plan {
    let wanted = wanted(demand, limits);
    let covering = count(runners.iter().filter(|runner| runner.covers_a_job(demand.heard_at, now)));
    let mut plan = Plan { wanted: wanted.unwrap_or(covering), ..Plan::default() };
    plan.surplus = covering.saturating_sub(plan.wanted);
    for runner in runners {
        look_after(runner, limits, now, &mut plan);
    }
    remove_surplus(runners, limits, surplus_since, now, &mut plan);
    let is_on_trial = runners.iter().any(|runner| is_on_trial(runner, demand.heard_at, now));
    create(runners, plan.wanted.saturating_sub(covering), limits, (creation, is_on_trial), now, &mut plan);
    plan
}

/// `min(minRunners + jobs, maxRunners)`: the minimum is a number of spare runners, not a floor (4.4).
fn wanted(demand: Demand, limits: &Limits) -> Option<u32> {
    if limits.draining {
        return Some(0);
    }
    demand.jobs.map(|jobs| jobs.saturating_add(limits.min).min(limits.max))
}

/// What a runner needs for its own sake, whatever the demand.
fn look_after(runner: &Runner, limits: &Limits, now: Timestamp, plan: &mut Plan) {
    let timers = &limits.timers;
    match (runner.stage, runner.job) {
        (Stage::Ended { remains: Remains::Pod, .. }, _) => plan.remove_at(runner, Reason::Ended, now, now),
        (Stage::Ended { at, code, .. }, _) => plan.wake(runner.covers_until(at, code), now),
        (Stage::Running { .. } | Stage::Starting | Stage::Doubtful | Stage::Unknown, Job::Completed { at }) => {
            plan.remove_at(runner, Reason::Hung, after(at, timers.completed), now);
        }
        // Only we give one up that has not come up yet.
        (Stage::Starting, Job::None) if runner.registration.is_gone() => {
            plan.remove_at(runner, Reason::Ghost, now, now);
        }
        (Stage::Starting, Job::None) => {
            plan.remove_at(runner, Reason::NotStarted, after(runner.created_at, timers.start), now);
        }
        (Stage::Doubtful, Job::None) => plan.remove_at(runner, Reason::NotHandedOver, now, now),
        (Stage::Running { since }, Job::None) => {
            if runner.outdated {
                plan.remove_at(runner, Reason::Outdated, now, now);
            }
            look_after_idle(runner, since, limits, now, plan);
        }
        (Stage::Unknown, Job::None) => look_after_unseen(runner, limits, now, plan),
        (Stage::Running { .. } | Stage::Starting | Stage::Doubtful | Stage::Unknown, Job::Running) => {
            look_after_busy(runner, now, plan);
        }
        // One on its way in or out is not touched.
        (Stage::Creating | Stage::Removing { .. }, _) => {}
    }
}

/// A busy runner is never touched. GitHub is asked now and then whether it still is: the message that says otherwise may have
/// been lost, and no further job would ever come to it.
fn look_after_busy(runner: &Runner, now: Timestamp, plan: &mut Plan) {
    /// One call for so much of a job: what a lost message costs is a place, and not a job.
    const AGAIN: Duration = Duration::from_mins(10);
    let asked_at = match runner.registration {
        Registration::Asking | Registration::Gone { .. } | Registration::GivenUp => return,
        Registration::NotAsked => runner.created_at,
        Registration::Online { at } | Registration::Offline { at } => at,
    };
    plan.ask_at(runner, after(asked_at, AGAIN), now);
}

/// GitHub is asked when a runner should be online, and now and then from there on: registrations vanish (5.9).
fn look_after_idle(runner: &Runner, since: Timestamp, limits: &Limits, now: Timestamp, plan: &mut Plan) {
    let online_by = after(since, limits.timers.online);
    match runner.registration {
        // The end of a short job may have been heard of by GitHub alone: it gets the time to wind down.
        Registration::Gone { at } => plan.remove_at(runner, Reason::Ghost, after(at, limits.timers.completed), now),
        Registration::GivenUp => plan.remove_at(runner, Reason::Ghost, now, now),
        Registration::Offline { at } if at >= online_by => plan.remove_at(runner, Reason::NotOnline, now, now),
        Registration::NotAsked => plan.ask_at(runner, online_by, now),
        Registration::Offline { at } => plan.ask_at(runner, online_by.max(after(at, Duration::from_secs(1))), now),
        Registration::Online { at } => plan.ask_at(runner, after(at, limits.timers.idle).max(online_by), now),
        Registration::Asking => {}
    }
}

/// Whether a runner that the engine cannot see is still there for a job, GitHub can tell: one that is not connected is given
/// up there, so that another one takes its place. What is left of it stays the engine's to remove, when it is seen again.
fn look_after_unseen(runner: &Runner, limits: &Limits, now: Timestamp, plan: &mut Plan) {
    /// GitHub notices within about a minute that a process is not connected any more (`scale-set-protocol.md` 5).
    const AGAIN: Duration = Duration::from_mins(1);
    match runner.registration {
        Registration::NotAsked => plan.ask_at(runner, now, now),
        Registration::Online { at } => plan.ask_at(runner, after(at, AGAIN), now),
        Registration::Offline { .. } => plan.remove_at(runner, Reason::NotOnline, now, now),
        // Who drains wants nothing to stay, and may be told that its node is back.
        Registration::Gone { .. } | Registration::GivenUp if limits.draining => {
            plan.remove_at(runner, Reason::Ghost, now, now);
        }
        Registration::Asking | Registration::Gone { .. } | Registration::GivenUp => {}
    }
}

/// Idle runners beyond the wanted number go, the oldest first; those that are not up yet before those that are.
fn remove_surplus(runners: &[Runner], limits: &Limits, since: Option<Timestamp>, now: Timestamp, plan: &mut Plan) {
    if plan.surplus == 0 {
        return;
    }
    let due = match since {
        _ if limits.draining => now,
        Some(since) => after(since, limits.timers.idle),
        None => after(now, limits.timers.idle),
    };
    // One that is given up already is no surplus.
    let is_idle = |runner: &&Runner| {
        runner.job == Job::None
            && !runner.registration.is_gone()
            && matches!(runner.stage, Stage::Starting | Stage::Running { .. } | Stage::Unknown)
    };
    let mut idle: Vec<&Runner> = runners.iter().filter(is_idle).collect();
    idle.sort_by_key(|runner| (matches!(runner.stage, Stage::Running { .. }), runner.created_at));
    for runner in idle.into_iter().take(usize::try_from(plan.surplus).unwrap_or(usize::MAX)) {
        plan.remove_at(runner, Reason::Surplus, due, now);
    }
}

/// `creation` says whether runners may be created, and whether one is on trial.
fn create(
    runners: &[Runner],
    needed: u32,
    limits: &Limits,
    (creation, is_on_trial): (&Creation, bool),
    now: Timestamp,
    plan: &mut Plan,
) {
    if needed == 0 {
        return;
    }
    let alive = count(runners.iter().filter(|runner| runner.may_be_alive()));
    let room = limits.max.saturating_sub(alive);
    plan.create = needed.min(room);
    if needed > room {
        plan.waiting = Some(Waiting::Maximum);
    }
    match creation {
        Creation::Free => {}
        Creation::OneAtATime => {
            if plan.create > u32::from(!is_on_trial) {
                plan.create = u32::from(!is_on_trial);
                plan.waiting = Some(Waiting::Trial);
            }
        }
        Creation::NotBefore(until) => {
            plan.create = 0;
            plan.waiting = Some(Waiting::Backoff(*until));
            plan.wake(*until, now);
        }
        Creation::Unreachable(words) => {
            plan.create = 0;
            plan.waiting = Some(Waiting::Engine(words.clone()));
        }
        Creation::Stopped(words) => {
            plan.create = 0;
            plan.waiting = Some(Waiting::Stopped(words.clone()));
        }
    }
}

/// Whether it is not known yet if a runner works: it is on its way, or it has ended and the news of a job may come.
fn is_on_trial(runner: &Runner, heard_at: Option<Timestamp>, now: Timestamp) -> bool {
    let on_its_way = match runner.stage {
        Stage::Creating | Stage::Starting | Stage::Doubtful => !runner.registration.is_gone(),
        Stage::Ended { .. } => !runner.has_settled(heard_at, now),
        Stage::Running { .. } | Stage::Unknown | Stage::Removing { .. } => false,
    };
    on_its_way && runner.job == Job::None
}

fn count<'a>(runners: impl Iterator<Item = &'a Runner>) -> u32 {
    u32::try_from(runners.count()).unwrap_or(u32::MAX)
}

impl Plan {
    /// A removal that is due at a time; each runner is removed for one reason only.
    fn remove_at(&mut self, runner: &Runner, reason: Reason, due: Timestamp, now: Timestamp) {
        let due = runner.not_before.map_or(due, |not_before| due.max(not_before));
        if due > now {
            self.wake(due, now);
        } else if !self.remove.iter().any(|removal| removal.runner == runner.name) {
            self.remove.push(Removal { runner: runner.name.clone(), reason });
        }
    }

    fn ask_at(&mut self, runner: &Runner, due: Timestamp, now: Timestamp) {
        if due > now {
            self.wake(due, now);
        } else {
            self.ask.push(runner.name.clone());
        }
    }

    fn wake(&mut self, at: Timestamp, now: Timestamp) {
        if at > now {
            self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
