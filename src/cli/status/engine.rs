//! What an engine has, where no controller can say what it means.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::output::{NOTHING, Table, age, one_line};
use crate::engine::{ObservedRunner, RunnerPhase};
use crate::operator::STATUS_VERSION;

pub(super) fn table(runners: &[ObservedRunner], now: Timestamp) -> String {
    let mut table = Table::new(&["RUNNER", "SCALE SET", "PHASE", "SLOT", "AGE", "JOB", "POOLS", "REASON"]);
    for runner in runners {
        let (phase, reason) = words(&runner.phase);
        let pools = &runner.owner.slot_pools;
        table.row([
            runner.name.clone(),
            runner.owner.scale_set.clone(),
            phase.to_owned(),
            runner.owner.slot.to_string(),
            age(runner.created_at, now),
            runner.owner.job.as_deref().map_or_else(|| NOTHING.to_owned(), one_line),
            if pools.is_empty() { NOTHING.to_owned() } else { pools.join(",") },
            reason.map_or_else(|| NOTHING.to_owned(), |reason| one_line(&reason)),
        ]);
    }
    table.text()
}

pub(super) fn json(runners: &[ObservedRunner]) -> Value {
    let runner = |runner: &ObservedRunner| {
        let (phase, reason) = words(&runner.phase);
        json!({
            "name": runner.name,
            "scaleSet": runner.owner.scale_set,
            "resource": runner.owner.resource,
            "controller": runner.owner.controller,
            "phase": phase,
            "slot": runner.owner.slot,
            "slotPools": runner.owner.slot_pools,
            "createdAt": runner.created_at,
            "job": runner.owner.job,
            "reason": reason,
        })
    };
    let runners: Vec<Value> = runners.iter().map(runner).collect();
    json!({"version": STATUS_VERSION, "source": "engine", "runners": runners})
}

fn words(phase: &RunnerPhase) -> (&'static str, Option<String>) {
    match phase {
        RunnerPhase::Starting { waiting } => ("starting", waiting.clone()),
        RunnerPhase::Running { .. } => ("running", None),
        RunnerPhase::Exited { code, out_of_memory: true, .. } => {
            ("ended", Some(format!("exit code {code}, out of memory")))
        }
        RunnerPhase::Exited { code, .. } => ("ended", Some(format!("exit code {code}"))),
        RunnerPhase::Failed { reason } => ("failed", Some(reason.clone())),
        RunnerPhase::Unknown => ("unknown", None),
    }
}
