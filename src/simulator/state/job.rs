//! Jobs: queued, canceled, finished, and what is said about them in messages.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::date;
use super::{Generation, State};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Waits for a scale set; not before a time after a reassignment.
    Queued {
        /// When it may be assigned again.
        not_before: Option<Timestamp>,
    },
    /// Waits, and will never be assigned again: three reassignments did not help.
    Stuck,
    /// Offered, not acquired (pipelines).
    Available,
    /// Acquired, becomes assigned at a time (pipelines).
    Acquired {
        /// When.
        until: Timestamp,
    },
    /// Belongs to a scale set and waits for a runner.
    Assigned {
        /// Since when.
        since: Timestamp,
    },
    /// A runner has it.
    Running,
    /// Ended.
    Completed(Conclusion),
    /// Taken from the scale set without a word.
    Dropped,
}

impl Status {
    /// Whether the job has an owner or could get one, and no runner yet.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Available | Self::Acquired { .. } | Self::Assigned { .. })
    }

    /// Whether nothing happens to the job any more.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Completed(_) | Self::Dropped)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued { .. } | Self::Stuck => "queued",
            Self::Available => "available",
            Self::Acquired { .. } => "acquired",
            Self::Assigned { .. } => "assigned",
            Self::Running => "running",
            Self::Completed(_) => "completed",
            Self::Dropped => "dropped",
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    Success,
    Failure,
    Cancelled,
}

impl Conclusion {
    /// From the words of the queue, or of the REST API.
    pub(crate) fn of(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "success" | "succeeded" => Some(Self::Success),
            "failure" | "failed" => Some(Self::Failure),
            "cancelled" | "canceled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// The word in `JobCompleted`.
    pub(crate) fn result(self) -> &'static str {
        match self {
            Self::Success => "succeeded",
            Self::Failure => "failed",
            Self::Cancelled => "canceled",
        }
    }

    /// The word in the ledger, which is the REST API's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Jobs to queue, as the control API takes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobRequest {
    /// `owner/name`; without one, any scale set with the labels may get the job.
    pub repository: Option<String>,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// How many, 1 if not given.
    pub count: Option<u32>,
    /// What the runner executes with a shell.
    pub script: Option<String>,
    /// Seconds that the job takes at least.
    pub duration_seconds: Option<f64>,
    /// `success` (if not given) or `failure`: how the job is meant to end.
    pub conclusion: Option<String>,
    /// Shown as the job's name.
    pub display_name: Option<String>,
    /// Whether the repository is public.
    pub public: bool,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) request_id: i64,
    pub(super) run_id: i64,
    pub(super) repository: Option<(String, String)>,
    pub(super) public: bool,
    pub(crate) display_name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) script: String,
    pub(crate) status: Status,
    pub(crate) scale_set: Option<i64>,
    /// The sets it was offered to (pipelines).
    pub(super) offers: BTreeSet<i64>,
    pub(super) offered: Option<Timestamp>,
    pub(super) reassignments: u32,
    /// The runner's id and name, kept after both are gone.
    pub(crate) runner: Option<(i64, String)>,
    pub(crate) queued: Timestamp,
    pub(crate) assigned: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
}

/// A day in the queue ends a job.
pub(super) const LONGEST_WAIT: u32 = 24 * 3600;

impl State {
    /// Queues jobs; returns their ids.
    pub(crate) fn queue_jobs(&mut self, request: &JobRequest) -> Vec<String> {
        let repository = request.repository.as_deref().and_then(|text| text.split_once('/'));
        let ids: Vec<String> = (0..request.count.unwrap_or(1))
            .map(|_| {
                let id = self.uuid();
                let (request_id, run_id) = self.next_request();
                self.jobs.push(Job {
                    id: id.clone(),
                    request_id,
                    run_id,
                    repository: repository.map(|(owner, name)| (owner.to_owned(), name.to_owned())),
                    public: request.public,
                    display_name: request.display_name.clone().unwrap_or_else(|| "build".to_owned()),
                    labels: request.labels.clone(),
                    script: script(request),
                    status: Status::Queued { not_before: None },
                    scale_set: None,
                    offers: BTreeSet::new(),
                    offered: None,
                    reassignments: 0,
                    runner: None,
                    queued: self.now,
                    assigned: None,
                    started: None,
                    completed: None,
                });
                id
            })
            .collect();
        self.changed();
        ids
    }

    /// The position of a job.
    pub(crate) fn find_job(&self, id: &str) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == id)
    }

    /// Cancels a job, wherever it is.
    pub(crate) fn cancel_job(&mut self, job: usize) {
        if !self.jobs[job].status.has_ended() {
            self.complete(job, Conclusion::Cancelled);
        }
    }

    /// Takes an assigned job away and says nothing.
    pub(crate) fn drop_job(&mut self, job: usize) -> bool {
        let droppable = matches!(self.jobs[job].status, Status::Assigned { .. });
        if droppable {
            self.jobs[job].status = Status::Dropped;
            self.changed();
        }
        droppable
    }

    /// Ends a job: frees its runner, and tells the scale set if it ever had the job.
    pub(super) fn complete(&mut self, job: usize, conclusion: Conclusion) {
        let before = self.jobs[job].status;
        self.jobs[job].status = Status::Completed(conclusion);
        self.jobs[job].completed = Some(self.now);
        if matches!(before, Status::Assigned { .. } | Status::Acquired { .. } | Status::Running) {
            self.say_completed(job, conclusion);
        }
        let runner = self.jobs[job].runner.as_ref().map(|runner| runner.0);
        if let Some(runner) = runner.filter(|_| before == Status::Running) {
            self.retire_runner(runner);
        }
        self.changed();
    }

    /// Sends `JobCompleted` with the runner's id, or 0 and no name.
    pub(super) fn say_completed(&mut self, job: usize, conclusion: Conclusion) {
        let (id, name) = self.jobs[job].runner.clone().unwrap_or_default();
        let extra = json!({ "result": conclusion.result(), "runnerId": id, "runnerName": name });
        self.say(job, "JobCompleted", extra);
    }

    /// Sends a job message to the set that has the job.
    pub(super) fn say(&mut self, job: usize, kind: &str, extra: Value) {
        if let Some(set) = self.jobs[job].scale_set {
            self.say_to(set, job, kind, extra);
        }
    }

    /// Sends a job message to a set.
    pub(super) fn say_to(&mut self, set: i64, job: usize, kind: &str, extra: Value) {
        let mut entry = Map::new();
        entry.insert("messageType".to_owned(), kind.into());
        for fields in [extra, self.job_fields(job, set)] {
            if let Value::Object(fields) = fields {
                entry.extend(fields);
            }
        }
        self.send(set, Value::Object(entry));
    }

    /// What every job message holds.
    pub(crate) fn job_fields(&self, job: usize, set: i64) -> Value {
        let job = &self.jobs[job];
        let (owner, name) = job.repository.clone().unwrap_or_else(|| self.repository_in(set));
        json!({
            "runnerRequestId": if self.generation == Generation::Broker { 0 } else { job.request_id },
            "jobId": job.id,
            "repositoryName": name,
            "ownerName": owner,
            "jobWorkflowRef": format!("{owner}/{name}/.github/workflows/ci.yml@refs/heads/main"),
            "jobDisplayName": job.display_name,
            "workflowRunId": job.run_id,
            "eventName": "push",
            "requestLabels": job.labels,
            "queueTime": date(Some(job.queued)),
            "scaleSetAssignTime": date(job.assigned),
            "runnerAssignTime": date(job.started),
            "finishTime": date(job.completed),
        })
    }

    fn repository_in(&self, set: i64) -> (String, String) {
        let tenant = self.scale_sets.get(&set).and_then(|set| self.tenants.get(&set.tenant));
        tenant.map(|tenant| tenant.scope.some_repository()).unwrap_or_default()
    }
}

/// The job's script: waits, runs what was asked for, and fails if it is meant to and nothing else decides.
fn script(request: &JobRequest) -> String {
    let wait = request.duration_seconds.map(|seconds| format!("sleep {seconds}\n"));
    let end = match (&request.script, request.conclusion.as_deref().and_then(Conclusion::of)) {
        (Some(script), _) => script.clone(),
        (None, Some(Conclusion::Failure)) => "exit 1\n".to_owned(),
        (None, _) => "exit 0\n".to_owned(),
    };
    wait.unwrap_or_default() + &end
}
