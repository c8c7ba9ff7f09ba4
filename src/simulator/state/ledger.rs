//! What tests and people look at: everything that exists and every call that was made. No secret is in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::State;
use super::job::{Job, Status};
use super::json::date;
use super::runner::{Presence, Runner};
use super::scale_set::ScaleSet;

/// A call that was answered, or whose answer was dropped.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: String,
    route: String,
    path: String,
    status: u16,
    /// When it was answered.
    at: Timestamp,
}

impl State {
    /// Notes a call; `status` is 0 where the connection was dropped.
    pub(crate) fn note_call(&mut self, method: &str, route: &str, path: &str, status: u16) {
        let (method, route, path) = (method.to_owned(), route.to_owned(), path.to_owned());
        self.calls.push(Call { method, route, path, status, at: self.now });
    }

    /// The ledger.
    pub(crate) fn ledger(&self) -> Value {
        let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
        self.calls.iter().for_each(|call| *calls.entry(&call.route).or_default() += 1);
        json!({
            "now": date(Some(self.now)),
            "jobs": self.jobs.iter().map(job_json).collect::<Vec<_>>(),
            "scaleSets": self.scale_sets.values().map(|set| self.set_entry(set)).collect::<Vec<_>>(),
            "runners": self.runners.values().map(|runner| self.runner_entry(runner)).collect::<Vec<_>>(),
            "sessions": self.scale_sets.values().filter_map(session_entry).collect::<Vec<_>>(),
            "calls": calls,
        })
    }

    /// The calls in their order.
    pub(crate) fn call_log(&self) -> Value {
        let entry = |call: &Call| {
            let Call { method, route, path, status, at } = call;
            json!({ "method": method, "route": route, "path": path, "status": status, "at": date(Some(*at)) })
        };
        self.calls.iter().map(entry).collect()
    }

    /// The named jobs, or all, and whether nothing will happen to them any more.
    pub(crate) fn jobs_json(&self, ids: &[String]) -> (bool, Value) {
        let named = || self.jobs.iter().filter(|job| ids.is_empty() || ids.contains(&job.id));
        (named().all(|job| job.status.has_ended()), named().map(job_json).collect())
    }

    fn set_entry(&self, set: &ScaleSet) -> Value {
        json!({
            "id": set.id,
            "name": set.name,
            "scope": set.tenant,
            "runnerGroupId": set.group,
            "labels": set.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(),
            "capacity": set.capacity,
            "undeletedMessages": set.log.len(),
            "statistics": self.statistics(set.id).to_json(),
        })
    }

    fn runner_entry(&self, runner: &Runner) -> Value {
        let status = match runner.presence {
            Presence::Offline => "offline",
            Presence::Idle => "idle",
            Presence::Busy(_) => "busy",
            Presence::Lingering(_) => "lingering",
        };
        json!({
            "id": runner.id,
            "name": runner.name,
            "scope": runner.tenant,
            "scaleSet": runner.scale_set,
            "status": status,
            "job": runner.job().map(|job| self.jobs[job].id.as_str()),
        })
    }
}

fn session_entry(set: &ScaleSet) -> Option<Value> {
    let session = set.session.as_ref()?;
    Some(json!({ "id": session.id, "owner": session.owner, "scaleSet": set.id }))
}

fn job_json(job: &Job) -> Value {
    let conclusion = if let Status::Completed(conclusion) = job.status { Some(conclusion.name()) } else { None };
    let moment = |at: Option<jiff::Timestamp>| at.map(|at| date(Some(at)));
    json!({
        "id": job.id,
        "labels": job.labels,
        "status": job.status.name(),
        "conclusion": conclusion,
        "runner": job.runner.as_ref().map(|runner| runner.1.as_str()),
        "requestId": job.request_id,
        "queuedAt": moment(Some(job.queued)),
        "assignedAt": moment(job.assigned),
        "startedAt": moment(job.started),
        "completedAt": moment(job.completed),
    })
}
