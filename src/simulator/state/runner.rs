//! Runner registrations: made by the JIT call before any process runs, gone after one job.

use jiff::Timestamp;

use super::error::Refusal;
use super::job::{Conclusion, Job};
use super::{State, after};

/// Where a registered runner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// No process is connected.
    Offline,
    /// Waits for a job.
    Idle,
    /// Has the job at this position.
    Busy(usize),
    /// Its job has ended; the registration stays a little.
    Lingering(Timestamp),
}

/// A registration.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) scale_set: i64,
    pub(crate) work_folder: String,
    pub(super) secret: String,
    pub(crate) presence: Presence,
    pub(crate) created: Timestamp,
    /// When its process last said something.
    pub(super) seen: Timestamp,
    /// Calls being held: a held call is a sign of life.
    pub(super) held: u32,
}

impl Runner {
    pub(crate) fn job(&self) -> Option<usize> {
        if let Presence::Busy(job) = self.presence { Some(job) } else { None }
    }
}

/// Runners that GitHub allows per group.
const MOST_RUNNERS: usize = 10_000;
/// The longest name of a runner.
const LONGEST_NAME: usize = 64;

/// What a stand-in runner hears when it asks for work.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A job it has not been told about, or the one it was told about before a lost answer.
    Job(Box<Job>),
    /// Nothing yet.
    Nothing,
}

impl State {
    /// Registers a runner, offline; its name is taken from now on.
    pub(crate) fn register_runner(
        &mut self,
        tenant: &str,
        set: i64,
        name: &str,
        work_folder: &str,
    ) -> Result<i64, Refusal> {
        self.scale_set(tenant, set)?;
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(Refusal::BadRequest(format!("A runner name has 1 to {LONGEST_NAME} characters.")));
        }
        if !self.find_runners(tenant, Some(name)).is_empty() {
            return Err(Refusal::RunnerExists(name.to_owned()));
        }
        if self.runners.values().filter(|runner| runner.tenant == tenant).count() >= MOST_RUNNERS {
            return Err(Refusal::BadRequest(format!("A runner group holds at most {MOST_RUNNERS} runners.")));
        }
        self.last_runner += 1;
        let runner = Runner {
            id: self.last_runner,
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            scale_set: set,
            work_folder: if work_folder.is_empty() { "_work".to_owned() } else { work_folder.to_owned() },
            secret: self.random_text(40),
            presence: Presence::Offline,
            created: self.now,
            seen: self.now,
            held: 0,
        };
        self.runners.insert(runner.id, runner);
        self.changed();
        Ok(self.last_runner)
    }

    /// A registration of a tenant.
    pub(crate) fn runner(&self, tenant: &str, id: i64) -> Result<&Runner, Refusal> {
        self.runners.get(&id).filter(|runner| runner.tenant == tenant).ok_or(Refusal::RunnerNotFound(id))
    }

    /// The registrations of a tenant, all or that of one name.
    pub(crate) fn find_runners(&self, tenant: &str, name: Option<&str>) -> Vec<&Runner> {
        self.runners
            .values()
            .filter(|runner| runner.tenant == tenant)
            .filter(|runner| name.is_none_or(|name| runner.name.eq_ignore_ascii_case(name)))
            .collect()
    }

    /// Deletes a registration: one that is not there is no error, one with a job is refused.
    pub(crate) fn delete_runner(&mut self, tenant: &str, id: i64) -> Result<(), Refusal> {
        let Ok(runner) = self.runner(tenant, id) else { return Ok(()) };
        match runner.presence {
            Presence::Busy(_) | Presence::Lingering(_) => {
                Err(Refusal::JobStillRunning { id, status: self.levers.busy_delete_status })
            }
            Presence::Offline | Presence::Idle => {
                self.remove_runner(id);
                Ok(())
            }
        }
    }

    /// Removes a registration without asking.
    pub(super) fn remove_runner(&mut self, id: i64) {
        self.runners.remove(&id);
        self.gone_runners.insert(id);
        self.changed();
    }

    /// After its one job: the registration goes, at once or a little later.
    pub(super) fn retire_runner(&mut self, id: i64) {
        let until = after(self.now, self.levers.linger_seconds);
        if self.levers.linger_seconds == 0 {
            self.remove_runner(id);
        } else if let Some(runner) = self.runners.get_mut(&id) {
            runner.presence = Presence::Lingering(until);
        }
    }

    /// A silent runner is offline, and its job has failed.
    pub(super) fn lose_runner(&mut self, id: i64) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        let job = runner.job();
        runner.presence = Presence::Offline;
        runner.seen = self.now;
        if let Some(job) = job {
            self.complete(job, Conclusion::Failure);
        }
        self.changed();
    }

    /// Whether a secret is this runner's; a deleted registration says so.
    pub(crate) fn know_runner(&self, id: i64, secret: &str) -> Result<(), Refusal> {
        match self.runners.get(&id) {
            Some(runner) if runner.secret == secret => Ok(()),
            Some(_) => Err(Refusal::Unauthorized),
            None if self.gone_runners.contains(&id) => Err(Refusal::RunnerGone(id)),
            None => Err(Refusal::NotFound),
        }
    }

    /// The stand-in's process has come up.
    pub(crate) fn connect_runner(&mut self, id: i64) -> Result<(), Refusal> {
        let now = self.now;
        let runner = self.runners.get_mut(&id).ok_or(Refusal::RunnerGone(id))?;
        match runner.presence {
            Presence::Offline => runner.presence = Presence::Idle,
            Presence::Lingering(_) => return Err(Refusal::RunnerGone(id)),
            Presence::Idle | Presence::Busy(_) => return Err(Refusal::RunnerOnline(id)),
        }
        runner.seen = now;
        let set = runner.scale_set;
        self.hand_out(set);
        self.changed();
        Ok(())
    }

    /// What a connected runner is to do; `known` is the job that it already works on.
    pub(crate) fn next_work(&mut self, id: i64, known: Option<&str>) -> Result<Work, Refusal> {
        let now = self.now;
        let runner = self.runners.get_mut(&id).ok_or(Refusal::RunnerGone(id))?;
        runner.seen = now;
        match runner.presence {
            Presence::Lingering(_) => Err(Refusal::RunnerGone(id)),
            Presence::Offline => Err(Refusal::BadRequest(format!("runner {id} is not connected"))),
            Presence::Busy(job) if known != Some(self.jobs[job].id.as_str()) => {
                Ok(Work::Job(Box::new(self.jobs[job].clone())))
            }
            Presence::Idle | Presence::Busy(_) => Ok(Work::Nothing),
        }
    }

    /// A sign of life.
    pub(crate) fn hear_runner(&mut self, id: i64) -> Result<(), Refusal> {
        let runner = self.runners.get_mut(&id).ok_or(Refusal::RunnerGone(id))?;
        runner.seen = self.now;
        if matches!(runner.presence, Presence::Lingering(_)) { Err(Refusal::RunnerGone(id)) } else { Ok(()) }
    }

    /// The runner's job has ended.
    pub(crate) fn finish_job(&mut self, id: i64, conclusion: Conclusion) -> Result<(), Refusal> {
        self.hear_runner(id)?;
        let job = self.runners.get(&id).and_then(Runner::job);
        let job = job.ok_or_else(|| Refusal::BadRequest(format!("runner {id} has no job")))?;
        self.complete(job, conclusion);
        Ok(())
    }

    /// A call of a runner begins (`true`) or ends to be held.
    pub(crate) fn hold_runner(&mut self, id: i64, begins: bool) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.held = if begins { runner.held + 1 } else { runner.held.saturating_sub(1) };
            runner.seen = self.now;
        }
    }
}
