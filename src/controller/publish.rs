//! Says how things are: records and plan in, [`ScaleSetStatus`] out.

use jiff::Timestamp;

use super::record::{Job, Record};
use super::serve::ScaleSetController;
use super::status::{RunnerPhase, RunnerStatus, ScaleSetStatus, ServingPhase};
use crate::github::JobMessage;
use crate::listener::{Demand, Phase};
use crate::scaling::{Creation, Stage, Waiting};

/// So many holders of slots are named where one is missing.
const HOLDERS: usize = 5;

impl ScaleSetController {
    pub(super) fn publish(&self, now: Timestamp) {
        let status = self.describe(now);
        self.status.send_if_modified(|published| {
            let changed = *published != status;
            if changed {
                *published = status;
            }
            changed
        });
    }

    pub(super) fn publish_end(&self, taken_out: bool) {
        self.status.send_modify(|status| (status.phase, status.taken_out) = (ServingPhase::Stopped, taken_out));
    }

    fn describe(&self, now: Timestamp) -> ScaleSetStatus {
        let demand = self.github.demand();
        let statistics = demand.statistics;
        let specification = &self.specification;
        ScaleSetStatus {
            name: specification.name.clone(),
            resource: specification.resource.clone(),
            config_url: specification.config_url.clone(),
            phase: self.phase(&demand),
            scale_set_id: self.github.scale_set.as_ref().map(|scale_set| scale_set.id),
            labels_pending: self.labels_differ(),
            reasons: self.reasons(&demand, now),
            min_runners: specification.limits.min,
            max_runners: specification.limits.max,
            wanted: self.last_plan.wanted,
            jobs: demand.owned_jobs(),
            running_jobs: statistics.map_or(0, |statistics| u32::try_from(statistics.running_jobs).unwrap_or_default()),
            oldest_queued_at: demand.oldest_queued_at,
            failures: self.failures.count(),
            refused: self.rehearsal.refusal().cloned(),
            prepared: self.stock.is_ready(),
            slot_pools: specification.slot_pools.clone(),
            runners: self.records.values().map(describe).collect(),
            taken_out: false,
        }
    }

    fn phase(&self, demand: &Demand) -> ServingPhase {
        match demand.phase {
            _ if self.is_draining() => ServingPhase::Draining,
            Phase::Listening => ServingPhase::Listening,
            Phase::Waiting(_) | Phase::Missing(_) => ServingPhase::Waiting,
            Phase::Starting | Phase::Closed if self.github.trouble.is_some() => ServingPhase::Waiting,
            Phase::Starting | Phase::Closed => ServingPhase::Starting,
        }
    }

    /// Why things are not as they should be, or not yet.
    fn reasons(&self, demand: &Demand, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        reasons.extend(self.github.trouble.clone());
        if let Phase::Waiting(words) | Phase::Missing(words) = &demand.phase {
            reasons.push(words.clone());
        }
        match &self.last_plan.waiting {
            None if self.failures.count() > 0 => {
                let (failures, words) = (self.failures.count(), self.failures.words());
                reasons.push(format!("the last runners failed ({failures} in a row): {words}"));
            }
            None | Some(Waiting::Stopped(_)) => {}
            Some(Waiting::Maximum) => {
                let max = self.specification.limits.max;
                reasons.push(format!("as many runners as there may be are alive (maxRunners: {max})"));
            }
            Some(Waiting::Backoff(until)) => {
                // A time, not a span: what is said stays the same until something happens.
                let until = until.strftime("%H:%M:%S");
                let (failures, words) = (self.failures.count(), self.failures.words());
                reasons.push(format!(
                    "the next runner is tried at {until} UTC, after {failures} failures in a row: {words}"
                ));
            }
            Some(Waiting::Trial) => {
                let words = self.failures.words();
                reasons.push(format!("one runner at a time is tried until one works: {words}"));
            }
            Some(Waiting::Engine(words)) => reasons.push(words.clone()),
        }
        // Without anything to make as well: what is there cannot be seen.
        reasons.extend(self.engine_trouble.clone().filter(|words| !reasons.contains(words)));
        // Worth knowing without a job that waits for it as well.
        if let Creation::Stopped(words) = self.failures.creation(now) {
            reasons.push(words);
        }
        reasons.extend(self.rehearsal.refusal().cloned());
        if let Some(no_slot) = &self.no_slot {
            let named = no_slot.holders.iter().take(HOLDERS).cloned().collect::<Vec<_>>().join(", ");
            let more = no_slot.holders.len().saturating_sub(HOLDERS);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            reasons.push(format!("no slot of {} is free: held by {named}{more}", no_slot.pool));
        }
        if self.labels_differ() {
            reasons.push(
                "LabelsPending: GitHub keeps the labels a scale set was made with; delete it there once it is idle"
                    .to_owned(),
            );
        }
        reasons
    }

    /// Whether the scale set at GitHub was made with other labels than the specification has (3.4).
    fn labels_differ(&self) -> bool {
        let Some(scale_set) = &self.github.scale_set else { return false };
        let wanted = std::iter::once(&self.specification.name).chain(&self.specification.labels);
        let mut wanted: Vec<String> = wanted.map(|label| label.to_lowercase()).collect();
        let mut there: Vec<String> = scale_set.labels.iter().map(|label| label.name.to_lowercase()).collect();
        wanted.sort();
        wanted.dedup();
        there.sort();
        there.dedup();
        !there.is_empty() && wanted != there
    }
}

fn describe(record: &Record) -> RunnerStatus {
    RunnerStatus {
        name: record.name.clone(),
        phase: phase(record),
        slot: record.slot,
        job: record.job.message().map(job_words).or_else(|| record.noted_job().cloned()),
        created_at: record.milestones.created,
        reason: record.removal_reason().map(|reason| reason.name().to_owned()).or(record.waiting().map(str::to_owned)),
        manifest: Some(record.manifest.clone()),
    }
}

fn phase(record: &Record) -> RunnerPhase {
    match (record.stage(), &record.job) {
        (Stage::Ended { .. }, _) => RunnerPhase::Ended,
        // Also while GitHub is asked to give it up.
        (_, Job::None) if record.noted_job().is_some() => RunnerPhase::Busy,
        (Stage::Removing { .. }, _) => RunnerPhase::Removing,
        (_, Job::Running(_)) => RunnerPhase::Busy,
        (_, Job::Completed { .. }) => RunnerPhase::Finishing,
        (Stage::Creating, Job::None) => RunnerPhase::Creating,
        (Stage::Starting | Stage::Doubtful, Job::None) => RunnerPhase::Starting,
        (Stage::Running { .. }, Job::None) => RunnerPhase::Idle,
        (Stage::Unknown, Job::None) => RunnerPhase::Unknown,
    }
}

pub(super) fn job_words(message: &JobMessage) -> String {
    format!("{} {}", message.repository, message.display_name)
}
