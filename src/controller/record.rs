//! What a controller knows of one runner, and how it learns.
//!
//! A record begins with the decision to create a runner, or with a pod that the engine shows, and ends when nothing of the
//! runner is left and GitHub does not count its job any more.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::engine::{ObservedRunner, RunnerPhase};
use crate::github::{JobMessage, Runner};
use crate::scaling::{self, Reason, Registration, Remains, Stage};

/// One that ended sooner without a job did not come up; idle runners are removed by the service after minutes
/// (`runner-pods.md` 8.4, 8.5).
const TOO_SOON: SignedDuration = SignedDuration::from_secs(60);
/// The exit code of a runner whose version GitHub refuses (`runner-pods.md` 8.1).
const VERSION_REFUSED: i32 = 7;
/// Waits after removals that failed: doubled each time, up to this.
const MOST_WAIT: Duration = Duration::from_mins(2);

/// One runner.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are learnt one by one, in any order")]
pub(super) struct Record {
    pub(super) name: String,
    /// Its registration; `None` as long as it is not known.
    pub(super) registration_id: Option<i64>,
    pub(super) slot: u32,
    /// Hash of the manifest it was made from.
    pub(super) manifest: String,
    pub(super) milestones: Milestones,
    pub(super) job: Job,
    /// What the engine shows.
    phase: Option<RunnerPhase>,
    doubtful: bool,
    removal: Option<Removal>,
    ended: Option<Ended>,
    pub(super) registration: Registration,
    not_before: Option<Timestamp>,
    /// Removals that failed.
    attempts: u32,
    /// Made by a former process: what happened before is not known.
    pub(super) adopted: bool,
    /// Why it counts as failed, in words.
    failure: Option<String>,
    /// What a former process noted of its job.
    noted_job: Option<String>,
    /// Whether GitHub has told this process of it.
    is_heard_of: bool,
    /// Its pod went while it was being removed.
    vanished: bool,
    /// What its end says was learnt.
    pub(super) is_judged: bool,
}

/// When a runner got how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Milestones {
    pub(super) created: Timestamp,
    pub(super) registered: Option<Timestamp>,
    pub(super) handed_over: Option<Timestamp>,
    pub(super) running: Option<Timestamp>,
    pub(super) job_started: Option<Timestamp>,
}

/// A runner's one job.
#[derive(Clone, Debug)]
pub(super) enum Job {
    None,
    /// GitHub says that it is busy; with what, where a message told.
    Running(Option<Box<JobMessage>>),
    Completed {
        at: Timestamp,
        message: Option<Box<JobMessage>>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Removal {
    reason: Reason,
    deregistered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Timestamp,
    code: Option<i32>,
    remains: Remains,
}

/// What a runner's end says about those to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// It failed.
    Failed(String),
    /// None of this spec can work.
    Hopeless(String),
}

impl Record {
    /// A runner that was just decided on.
    pub(super) fn new(name: String, slot: u32, manifest: String, now: Timestamp) -> Self {
        let milestones =
            Milestones { created: now, registered: None, handed_over: None, running: None, job_started: None };
        Self {
            name,
            registration_id: None,
            slot,
            manifest,
            milestones,
            job: Job::None,
            phase: None,
            doubtful: false,
            removal: None,
            ended: None,
            registration: Registration::NotAsked,
            not_before: None,
            attempts: 0,
            adopted: false,
            failure: None,
            noted_job: None,
            is_heard_of: false,
            vanished: false,
            is_judged: false,
        }
    }

    /// A runner that a former process made.
    pub(super) fn adopt(runner: &ObservedRunner, now: Timestamp) -> Self {
        let owner = &runner.owner;
        let mut record = Self::new(runner.name.clone(), owner.slot, owner.manifest.clone(), now);
        record.adopted = true;
        record.noted_job.clone_from(&owner.job);
        record.registration_id = Some(owner.runner_id).filter(|id| *id > 0);
        // The engine's clock may be another one.
        let created = runner.created_at.min(now);
        record.milestones.created = created;
        record.milestones.handed_over = Some(created);
        if let RunnerPhase::Running { since } = runner.phase {
            record.milestones.running = Some(since.min(now));
        }
        record.observe(&runner.phase, now);
        record
    }

    /// The job that a former process noted, where no message has told more. As long as GitHub has told nothing of the runner,
    /// it has that job.
    pub(super) fn noted_job(&self) -> Option<&String> {
        let has_it = match self.job {
            Job::None => !self.is_heard_of && self.ended.is_none(),
            Job::Running(None) => true,
            Job::Running(Some(_)) | Job::Completed { .. } => false,
        };
        self.noted_job.as_ref().filter(|_| has_it)
    }

    /// Learns what GitHub says of it; `None`: it has no such registration.
    pub(super) fn hear(&mut self, found: Option<&Runner>, now: Timestamp) {
        self.is_heard_of = true;
        self.hear_whether_busy(found, now);
        if self.registration == Registration::GivenUp {
            // Asked before, and answered late.
            return;
        }
        self.registration = match found {
            None => Registration::Gone { at: now },
            Some(runner) if runner.busy == Some(true) => Registration::Online { at: now },
            Some(runner) if runner.status == "offline" => Registration::Offline { at: now },
            Some(_) => Registration::Online { at: now },
        };
    }

    /// A message may have been lost with the process that read it, or none was sent. Whoever has done its one job is let go by
    /// GitHub (`scale-set-protocol.md` 5.8); whoever lost it before is asked for another (5.9).
    fn hear_whether_busy(&mut self, found: Option<&Runner>, now: Timestamp) {
        /// A job that has only just started may not be in GitHub's answer yet.
        const JUST: SignedDuration = SignedDuration::from_mins(1);
        let just_started = self.milestones.job_started.is_some_and(|at| now.duration_since(at) < JUST);
        match (&mut self.job, found.map(|runner| runner.busy)) {
            (Job::None, Some(Some(true))) => self.job = Job::Running(None),
            (Job::Running(message), None) => self.job = Job::Completed { at: now, message: message.take() },
            (Job::Running(_), Some(Some(false))) if !just_started => self.job = Job::None,
            _ => {}
        }
    }

    pub(super) fn registered(&mut self, id: i64, now: Timestamp) {
        self.registration_id = Some(id);
        self.milestones.registered = Some(now);
    }

    /// GitHub did not give a JIT config: there is nothing the engine could have.
    pub(super) fn not_registered(&mut self, words: String, now: Timestamp) {
        self.failure = Some(words);
        self.ended = Some(Ended { at: now, code: None, remains: Remains::Nothing });
    }

    pub(super) fn handed_over(&mut self, now: Timestamp) {
        self.milestones.handed_over = Some(now);
    }

    /// The engine did not say that it has it; it may have it all the same.
    pub(super) fn not_handed_over(&mut self, words: String) {
        self.failure = Some(words);
        self.doubtful = true;
    }

    /// Learns what the engine shows.
    pub(super) fn observe(&mut self, phase: &RunnerPhase, now: Timestamp) {
        if let RunnerPhase::Running { .. } = phase {
            self.milestones.running.get_or_insert(now);
        }
        if self.phase.is_none() && self.milestones.handed_over.is_some() && self.doubtful {
            // It was only late to be shown.
            (self.doubtful, self.failure) = (false, None);
        }
        if phase.has_ended() && self.ended.is_none() {
            let code = if let RunnerPhase::Exited { code, .. } = phase { Some(*code) } else { None };
            let remains = if self.removal.is_some() { Remains::PodGoing } else { Remains::Pod };
            self.ended = Some(Ended { at: now, code, remains });
            // The wait was for one that lives.
            self.not_before = None;
            // What ends while it is being removed ends for that reason.
            if let (RunnerPhase::Failed { reason }, None) = (phase, &self.removal) {
                self.failure.get_or_insert_with(|| reason.clone());
            }
        }
        self.phase = Some(phase.clone());
        self.vanished = false;
    }

    /// The engine does not show it any more.
    pub(super) fn vanish(&mut self, now: Timestamp) {
        if self.phase.is_none() {
            // The engine said that it has it, and a listing that was slow may be older than that: GitHub is asked first.
            if self.ended.is_none() && self.removal.is_none() && !self.is_given_up() {
                self.doubtful = true;
                self.failure.get_or_insert_with(|| "its pod was not seen".to_owned());
            }
            return;
        }
        if self.ended.is_none() && self.removal.is_none() {
            // What becomes of one that was given up says nothing.
            if !self.is_given_up() {
                self.failure.get_or_insert_with(|| "its pod vanished".to_owned());
            }
            self.is_left_without_a_pod(now);
        }
        self.vanished = true;
    }

    fn is_left_without_a_pod(&mut self, now: Timestamp) {
        // What the engine keeps beside the pod may be there still.
        self.ended = Some(Ended { at: now, code: None, remains: Remains::Pod });
    }

    /// No one is at it any more: whatever ended meanwhile is to be removed again.
    fn removal_is_over(&mut self, now: Timestamp) {
        self.removal = None;
        match &mut self.ended {
            Some(ended) if ended.remains == Remains::PodGoing => ended.remains = Remains::Pod,
            None if self.vanished => self.is_left_without_a_pod(now),
            _ => {}
        }
    }

    /// Whether the engine must show it by now if it has it: a list that was made before the hand-over may come after it.
    pub(super) fn must_show(&self, now: Timestamp) -> bool {
        const LATE: SignedDuration = SignedDuration::from_secs(30);
        self.phase.is_some() || self.milestones.handed_over.is_some_and(|at| now.duration_since(at) > LATE)
    }

    pub(super) fn removal_begins(&mut self, reason: Reason) {
        match &mut self.ended {
            Some(ended) => ended.remains = Remains::PodGoing,
            None => self.removal = Some(Removal { reason, deregistered: !reason.asks_github_first() }),
        }
        // That its node is lost says nothing of those to come, nor does what we took out and have to try again.
        let is_told = !matches!(self.phase, Some(RunnerPhase::Unknown)) && self.registration != Registration::GivenUp;
        if is_told && matches!(reason, Reason::NotStarted | Reason::NotOnline | Reason::Ghost) {
            let phase = self.waiting().map(|words| format!(": {words}")).unwrap_or_default();
            self.failure.get_or_insert_with(|| format!("{}{phase}", reason.name()));
        }
    }

    /// GitHub has given it up: it cannot get a job any more.
    pub(super) fn deregistered(&mut self) {
        self.is_heard_of = true;
        self.registration = Registration::GivenUp;
        if let Some(removal) = &mut self.removal {
            removal.deregistered = true;
        }
    }

    /// GitHub keeps it, for it has a job. The end of a job that was heard of stays heard: GitHub is slow to forget, and is
    /// asked again.
    pub(super) fn is_busy(&mut self, now: Timestamp) {
        /// GitHub lets a runner go seconds after its job, now and then later (`scale-set-protocol.md` 5).
        const AGAIN: Duration = Duration::from_secs(30);
        match self.job {
            Job::None => self.job = Job::Running(None),
            Job::Running(_) => {}
            Job::Completed { .. } => self.not_before = now.checked_add(AGAIN).ok(),
        }
        self.doubtful = false;
        // Its process is there, whatever the engine said.
        self.milestones.handed_over.get_or_insert(now);
        self.removal_is_over(now);
    }

    /// The job that a message said it had is someone else's, or no one's any more: only GitHub knows what it does.
    pub(super) fn loses_job(&mut self) {
        self.job = Job::None;
        self.registration = Registration::NotAsked;
    }

    /// The engine has nothing of it any more.
    pub(super) fn removed(&mut self, now: Timestamp) {
        let (at, code) = self.ended.map_or((now, None), |ended| (ended.at, ended.code));
        self.ended = Some(Ended { at, code, remains: Remains::Nothing });
    }

    pub(super) fn removal_failed(&mut self, now: Timestamp) {
        self.attempts += 1;
        let wait = Duration::from_secs(1 << self.attempts.min(7)).min(MOST_WAIT);
        self.not_before = now.checked_add(wait).ok();
        self.removal_is_over(now);
    }

    /// As decisions see it.
    pub(super) fn view(&self, current_manifest: &str) -> scaling::Runner {
        scaling::Runner {
            name: self.name.clone(),
            created_at: self.milestones.created,
            stage: self.stage(),
            job: match &self.job {
                Job::None => scaling::Job::None,
                Job::Running(_) => scaling::Job::Running,
                Job::Completed { at, .. } => scaling::Job::Completed { at: *at },
            },
            registration: self.registration,
            outdated: self.manifest != current_manifest,
            not_before: self.not_before,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        if let Some(Ended { at, code, remains }) = self.ended {
            return Stage::Ended { at, code, remains };
        }
        if let Some(Removal { deregistered, .. }) = self.removal {
            return Stage::Removing { deregistered };
        }
        match (&self.phase, self.milestones.handed_over) {
            (Some(RunnerPhase::Running { .. }), _) => {
                Stage::Running { since: self.milestones.running.unwrap_or(self.milestones.created) }
            }
            (Some(RunnerPhase::Unknown), _) => Stage::Unknown,
            _ if self.doubtful => Stage::Doubtful,
            (_, None) => Stage::Creating,
            (_, Some(_)) => Stage::Starting,
        }
    }

    /// What it waits for, in the engine's words.
    pub(super) fn waiting(&self) -> Option<&str> {
        match &self.phase {
            Some(RunnerPhase::Starting { waiting }) => waiting.as_deref(),
            Some(RunnerPhase::Failed { reason }) => Some(reason),
            _ => None,
        }
    }

    /// Why it is being removed.
    pub(super) fn removal_reason(&self) -> Option<Reason> {
        self.removal.map(|removal| removal.reason)
    }

    /// Whether its registration may still be there: GitHub removes that of a runner which has done its job.
    pub(super) fn may_be_registered(&self) -> bool {
        !matches!(self.job, Job::Completed { .. }) && !self.is_given_up()
    }

    /// Whether GitHub has said that it has no such registration any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.registration.is_gone()
    }

    /// The scale set it was made for is gone: it will get no job, unless it has one.
    pub(super) fn outlives_scale_set(&mut self) {
        self.manifest.clear();
    }

    /// What its end says (`runner-pods.md` 8.5).
    pub(super) fn verdict(&self) -> Verdict {
        if !matches!(self.job, Job::None) {
            return Verdict::Fine;
        }
        if let Some(words) = &self.failure {
            return Verdict::Failed(words.clone());
        }
        let Some(Ended { at, code, .. }) = self.ended else { return Verdict::Fine };
        let given_up = self.is_given_up();
        let lived = at.duration_since(self.milestones.running.unwrap_or(self.milestones.created));
        match code {
            Some(VERSION_REFUSED) => {
                Verdict::Hopeless("GitHub refuses the runner's version (exit code 7): use a newer image".to_owned())
            }
            // Told to end by us, or by whoever looks after the host.
            _ if given_up => Verdict::Fine,
            Some(0) if self.adopted || lived >= TOO_SOON => Verdict::Fine,
            Some(0) => Verdict::Failed("its container ended with exit code 0 and without a job".to_owned()),
            Some(code) => Verdict::Failed(format!("its container ended with exit code {code} and without a job")),
            None => Verdict::Failed("its container vanished".to_owned()),
        }
    }

    /// Whether its log is worth a look before it goes. After exit code 0 the news of its job may be under way.
    pub(super) fn ended_badly(&self) -> bool {
        self.verdict() != Verdict::Fine && !matches!(self.ended, Some(Ended { code: Some(0), .. }))
    }
}

impl Job {
    /// What a message told about it.
    pub(super) fn message(&self) -> Option<&JobMessage> {
        match self {
            Self::None => None,
            Self::Running(message) | Self::Completed { message, .. } => message.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
