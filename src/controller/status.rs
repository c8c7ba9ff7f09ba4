//! What a controller says of itself, for people and for metrics. Field names are part of the status socket's version 1.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One scale set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleSetStatus {
    /// Its name, as `runs-on` has it.
    pub name: String,
    /// The resource it belongs to.
    pub resource: String,
    /// Where it is registered.
    pub config_url: String,
    /// What its controller is doing.
    pub phase: ServingPhase,
    /// Its id at GitHub, once it is registered.
    #[serde(default)]
    pub scale_set_id: Option<i64>,
    /// Whether GitHub has other labels for it than it should have.
    #[serde(default)]
    pub labels_pending: bool,
    /// Why that is not simply listening, and why something waits; in words, the most important first.
    pub reasons: Vec<String>,
    /// Idle runners kept ready.
    pub min_runners: u32,
    /// The most runners.
    pub max_runners: u32,
    /// How many runners there shall be now.
    pub wanted: u32,
    /// Jobs that the scale set owns, waiting and running; `None` while that is not known.
    pub jobs: Option<u32>,
    /// Jobs that run, by GitHub's numbers.
    pub running_jobs: u32,
    /// When the job that waits longest was queued.
    pub oldest_queued_at: Option<Timestamp>,
    /// Failures of runners in a row.
    pub failures: u32,
    /// Why the engine would refuse every runner of this manifest, if it would.
    #[serde(default)]
    pub refused: Option<String>,
    /// Whether a JIT config is in stock.
    pub prepared: bool,
    /// Pools of directories its runners need a slot of.
    pub slot_pools: Vec<String>,
    /// Its runners.
    pub runners: Vec<RunnerStatus>,
    /// Whether it has been taken out for good, and nothing is left of it.
    #[serde(default)]
    pub taken_out: bool,
}

/// What a scale set's controller is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServingPhase {
    /// Finding or making the scale set at GitHub, or opening the session.
    #[default]
    Starting,
    /// Polling.
    Listening,
    /// Waits; the reasons say for what.
    Waiting,
    /// Lets busy runners end and takes idle ones out.
    Draining,
    /// Has ended.
    Stopped,
}

/// One runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub phase: RunnerPhase,
    /// The slot it holds.
    pub slot: u32,
    /// Its job: repository and name.
    pub job: Option<String>,
    /// When it was decided on.
    pub created_at: Timestamp,
    /// What it waits for, or why it is removed.
    pub reason: Option<String>,
    /// Hash of the manifest it was made from; empty if it is outdated whatever that is.
    #[serde(default)]
    pub manifest: Option<String>,
}

/// Where a runner is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerPhase {
    /// Gets its JIT config, or is handed to the engine.
    Creating,
    /// Its container starts.
    Starting,
    /// Waits for a job.
    Idle,
    /// Has one.
    Busy,
    /// Its job has ended, its container has not.
    Finishing,
    /// Is being removed.
    Removing,
    /// Has ended.
    Ended,
    /// The engine cannot tell.
    Unknown,
}

impl RunnerPhase {
    /// In words, as labels and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Finishing => "finishing",
            Self::Removing => "removing",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }

    /// All of them, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Starting,
        Self::Idle,
        Self::Busy,
        Self::Finishing,
        Self::Removing,
        Self::Ended,
        Self::Unknown,
    ];
}

impl ServingPhase {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Listening => "listening",
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}
