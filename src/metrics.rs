//! Prometheus metrics: ARC's concepts under our prefix, with labels that are bounded by the configuration.
//!
//! Counters and histograms are kept here; gauges are computed from the controllers' status when they are asked for, so
//! that they cannot disagree with it. Jobs, repositories and runners are never labels.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::controller::{RunnerPhase, ScaleSetStatus, ServingPhase};

/// Upper bounds of histograms of waits, in seconds: from one round trip to the time a large image takes.
const WAITS: [f64; 14] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
/// Upper bounds of job lengths, in seconds.
const LENGTHS: [f64; 12] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0, 21600.0];

/// Labels of a scale set. Names alone may be the same at two places of GitHub; resources are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScaleSetLabels {
    /// Its name, as `runs-on` says it.
    pub scale_set: String,
    /// The resource it belongs to; in a cluster with its namespace.
    pub resource: String,
}

/// A scale set and one of a few words of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    #[prometheus(flatten)]
    scale_set: ScaleSetLabels,
    kind: String,
}

/// A call of GitHub's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: String,
}

/// A slot pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

type Histograms<Label> = Family<Label, Histogram, fn() -> Histogram>;

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    started_jobs: Family<ScaleSetLabels, Counter>,
    completed_jobs: Family<KindLabels, Counter>,
    created_runners: Family<ScaleSetLabels, Counter>,
    removed_runners: Family<KindLabels, Counter>,
    failed_runners: Family<ScaleSetLabels, Counter>,
    github_calls: Family<CallLabel, Counter>,
    queue_seconds: Histograms<ScaleSetLabels>,
    execution_seconds: Histograms<ScaleSetLabels>,
    phase_seconds: Histograms<KindLabels>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started_jobs: Family::default(),
            completed_jobs: Family::default(),
            created_runners: Family::default(),
            removed_runners: Family::default(),
            failed_runners: Family::default(),
            github_calls: Family::default(),
            queue_seconds: Family::new_with_constructor(|| Histogram::new(WAITS)),
            execution_seconds: Family::new_with_constructor(|| Histogram::new(LENGTHS)),
            phase_seconds: Family::new_with_constructor(|| Histogram::new(WAITS)),
        }
    }
}

/// The phases between a job's arrival and its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the decision to the JIT config.
    Register,
    /// From the JIT config to the engine having taken over.
    HandOver,
    /// From there to a running container.
    Start,
    /// From a running container to the job.
    Online,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::HandOver => "hand-over",
            Self::Start => "start",
            Self::Online => "online",
        }
    }
}

impl Metrics {
    /// A job has got its runner; `queued` is how long it waited since it was queued.
    pub fn job_started(&self, scale_set: &ScaleSetLabels, queued: Option<f64>) {
        self.started_jobs.get_or_create(scale_set).inc();
        if let Some(seconds) = queued {
            self.queue_seconds.get_or_create(scale_set).observe(seconds);
        }
    }

    /// A job has ended with a result of GitHub's.
    pub fn job_completed(&self, scale_set: &ScaleSetLabels, result: &str, length: Option<f64>) {
        // GitHub's results are an open set; ours is not.
        let known = ["succeeded", "failed", "canceled", "skipped"];
        let result = known.into_iter().find(|known| *known == result.to_ascii_lowercase()).unwrap_or("other");
        self.completed_jobs.get_or_create(&kind(scale_set, result)).inc();
        if let Some(seconds) = length {
            self.execution_seconds.get_or_create(scale_set).observe(seconds);
        }
    }

    /// A runner was decided on.
    pub fn runner_created(&self, scale_set: &ScaleSetLabels) {
        self.created_runners.get_or_create(scale_set).inc();
    }

    /// A runner is removed, for a reason of ours.
    pub fn runner_removed(&self, scale_set: &ScaleSetLabels, reason: &'static str) {
        self.removed_runners.get_or_create(&kind(scale_set, reason)).inc();
    }

    /// A runner counts as failed.
    pub fn runner_failed(&self, scale_set: &ScaleSetLabels) {
        self.failed_runners.get_or_create(scale_set).inc();
    }

    /// A phase of a runner's way to its first step took so long.
    pub fn phase(&self, scale_set: &ScaleSetLabels, phase: Phase, seconds: f64) {
        self.phase_seconds.get_or_create(&kind(scale_set, phase.name())).observe(seconds);
    }

    /// GitHub was called.
    pub fn github_called(&self, call: &'static str) {
        self.github_calls.get_or_create(&CallLabel { call: call.to_owned() }).inc();
    }

    /// Everything in Prometheus' text form.
    pub fn text(&self, statuses: &[ScaleSetStatus], slots: &BTreeMap<String, BTreeMap<u32, String>>) -> String {
        let mut registry = Registry::with_prefix("deskrun");
        self.register(&mut registry);
        gauges(&mut registry, statuses, slots);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("started_jobs", "Jobs that got a runner", self.started_jobs.clone());
        registry.register("completed_jobs", "Jobs that ended, by result", self.completed_jobs.clone());
        registry.register("created_runners", "Runners that were decided on", self.created_runners.clone());
        registry.register("removed_runners", "Runners that were removed, by reason", self.removed_runners.clone());
        registry.register("failed_runners", "Runners that ended without a job", self.failed_runners.clone());
        let help = "Requests to GitHub by call; per job: divide by deskrun_completed_jobs_total";
        registry.register("github_requests", help, self.github_calls.clone());
        let help = "From queueing a job to the runner that got it";
        registry.register_with_unit("job_queue", help, Unit::Seconds, self.queue_seconds.clone());
        let help = "From a job's start to its end";
        registry.register_with_unit("job_execution", help, Unit::Seconds, self.execution_seconds.clone());
        let help = "Phases from the decision for a runner to its job";
        registry.register_with_unit("runner_phase", help, Unit::Seconds, self.phase_seconds.clone());
    }
}

fn gauges(registry: &mut Registry, statuses: &[ScaleSetStatus], slots: &BTreeMap<String, BTreeMap<u32, String>>) {
    type Value = fn(&ScaleSetStatus) -> i64;
    // What an ended one says last is its successor's to say.
    let statuses: Vec<&ScaleSetStatus> =
        statuses.iter().filter(|status| status.phase != ServingPhase::Stopped).collect();
    let in_phase = |status: &ScaleSetStatus, phase: RunnerPhase| {
        count(status.runners.iter().filter(|runner| runner.phase == phase).count())
    };
    let plain: [(&str, &str, Value); 7] = [
        ("assigned_jobs", "Jobs the scale set owns, waiting and running", |s| s.jobs.map_or(0, i64::from)),
        ("running_jobs", "Jobs that run, by GitHub's numbers", |s| i64::from(s.running_jobs)),
        ("min_runners", "Idle runners kept ready", |s| i64::from(s.min_runners)),
        ("max_runners", "The most runners", |s| i64::from(s.max_runners)),
        ("desired_runners", "Runners there shall be", |s| i64::from(s.wanted)),
        ("runner_failures_in_a_row", "Failures of runners since one worked", |s| i64::from(s.failures)),
        ("listening", "Whether the message session is open", |s| i64::from(s.phase == ServingPhase::Listening)),
    ];
    for (name, help, value) in plain {
        gauge(registry, name, help, &statuses, value);
    }
    for (name, help, phase) in [
        ("idle_runners", "Runners that wait for a job", RunnerPhase::Idle),
        ("busy_runners", "Runners that have a job", RunnerPhase::Busy),
    ] {
        let family = Family::<ScaleSetLabels, Gauge>::default();
        for status in &statuses {
            family.get_or_create(&labels(status)).inc_by(in_phase(status, phase));
        }
        registry.register(name, help, family);
    }
    let family = Family::<KindLabels, Gauge>::default();
    for status in &statuses {
        for phase in RunnerPhase::ALL {
            let runners = in_phase(status, phase);
            // With one on its way out that it follows, a scale set has two controllers.
            family.get_or_create(&kind(&labels(status), phase.name())).inc_by(runners);
        }
    }
    registry.register("runners", "Runners by phase", family);
    let family = Family::<PoolLabel, Gauge>::default();
    for (pool, holders) in slots {
        family.get_or_create(&PoolLabel { pool: pool.clone() }).set(count(holders.len()));
    }
    registry.register("slots_held", "Slots that are held, by pool", family);
}

fn gauge(
    registry: &mut Registry,
    name: &str,
    help: &str,
    statuses: &[&ScaleSetStatus],
    value: impl Fn(&ScaleSetStatus) -> i64,
) {
    let family = Family::<ScaleSetLabels, Gauge>::default();
    let mut seen = BTreeSet::new();
    for status in statuses {
        // The one that serves comes before those on their way out.
        if seen.insert((&status.name, &status.resource)) {
            family.get_or_create(&labels(status)).set(value(status));
        }
    }
    registry.register(name, help, family);
}

fn labels(status: &ScaleSetStatus) -> ScaleSetLabels {
    ScaleSetLabels { scale_set: status.name.clone(), resource: status.resource.clone() }
}

fn kind(scale_set: &ScaleSetLabels, kind: &str) -> KindLabels {
    KindLabels { scale_set: scale_set.clone(), kind: kind.to_owned() }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::RunnerStatus;

    #[test]
    fn counters_and_gauges_stand_in_one_text_without_a_label_per_job() {
        let metrics = Metrics::default();
        let here = ScaleSetLabels { scale_set: "ws".to_owned(), resource: "ci/ws".to_owned() };
        metrics.job_started(&here, Some(0.3));
        metrics.job_completed(&here, "Succeeded", Some(12.0));
        metrics.job_completed(&here, "a result from the future", None);
        metrics.phase(&here, Phase::Register, 0.15);
        let status = |resource: &str, jobs| ScaleSetStatus {
            name: "ws".to_owned(),
            resource: resource.to_owned(),
            jobs: Some(jobs),
            max_runners: 4,
            ..ScaleSetStatus::default()
        };
        let busy = |status: ScaleSetStatus, phase| ScaleSetStatus {
            runners: vec![RunnerStatus {
                name: "ws-a".to_owned(),
                phase: RunnerPhase::Busy,
                slot: 0,
                job: None,
                created_at: jiff::Timestamp::UNIX_EPOCH,
                reason: None,
                manifest: None,
            }],
            phase,
            ..status
        };
        // The same name elsewhere, and one on its way out, with its own runner; and one that has ended and left its runner.
        let statuses = [
            busy(status("ci/ws", 3), ServingPhase::Listening),
            status("other/ws", 5),
            busy(status("ci/ws", 0), ServingPhase::Draining),
            busy(status("ci/ws", 0), ServingPhase::Stopped),
        ];
        let text =
            metrics.text(&statuses, &BTreeMap::from([("/nvme/d".to_owned(), BTreeMap::from([(0, "a".to_owned())]))]));
        for line in [
            "deskrun_started_jobs_total{scale_set=\"ws\",resource=\"ci/ws\"} 1",
            "deskrun_completed_jobs_total{scale_set=\"ws\",resource=\"ci/ws\",kind=\"succeeded\"} 1",
            "deskrun_completed_jobs_total{scale_set=\"ws\",resource=\"ci/ws\",kind=\"other\"} 1",
            "deskrun_job_queue_seconds_count{scale_set=\"ws\",resource=\"ci/ws\"} 1",
            "deskrun_assigned_jobs{scale_set=\"ws\",resource=\"ci/ws\"} 3",
            "deskrun_assigned_jobs{scale_set=\"ws\",resource=\"other/ws\"} 5",
            "deskrun_busy_runners{scale_set=\"ws\",resource=\"ci/ws\"} 2",
            "deskrun_runners{scale_set=\"ws\",resource=\"ci/ws\",kind=\"busy\"} 2",
            "deskrun_slots_held{pool=\"/nvme/d\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
