//! What an engine says it has.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// News of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "the large one is nearly all there is; a box would cost each reader")]
pub enum Observation {
    /// Everything there is; what is not in here does not exist.
    Snapshot(Vec<ObservedRunner>),
    /// A runner that is new or has changed.
    Changed(ObservedRunner),
    /// The runner of this name is gone, with its pod.
    Gone(String),
    /// The engine cannot be asked, and the words say why. What was known may have changed meanwhile.
    Unreachable(String),
}

/// A runner as an engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRunner {
    /// Name of the runner and its pod.
    pub name: String,
    /// What its labels say.
    pub owner: Owner,
    /// When its pod was made.
    pub created_at: Timestamp,
    /// What became of it.
    pub phase: RunnerPhase,
}

/// What the labels and annotations of a pod say (`templates/deskrun.yaml`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Id of the controller that made it.
    pub controller: String,
    /// The resource.
    pub resource: String,
    /// The scale set, as `runs-on` names it.
    pub scale_set: String,
    /// Hash of the config URL.
    pub config_url: String,
    /// Its registration at GitHub; 0 if unknown.
    pub runner_id: i64,
    /// The slot it holds in each of its pools.
    pub slot: u32,
    /// The pools.
    pub slot_pools: Vec<String>,
    /// Hash of the manifest it was made from.
    pub manifest: String,
    /// The job it was noted to have, where the engine keeps such a note.
    pub job: Option<String>,
}

/// Where a runner is in its life, judged by its `runner` container (`runner-pods.md` 8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerPhase {
    /// Made, not running yet; `waiting` says in words for what, where the engine knows.
    Starting {
        /// `ErrImagePull: …`
        waiting: Option<String>,
    },
    /// The runner's container runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// The runner's container has ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// Whether the kernel killed it for its memory.
        out_of_memory: bool,
    },
    /// It never ran and never will: an init container failed, the pod was refused or evicted.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// The engine cannot tell: its node is away.
    Unknown,
}

/// Labels of a runner's pod.
pub mod label {
    /// The controller's id.
    pub const CONTROLLER: &str = "deskrun.dev/controller";
    /// Hash of the config URL.
    pub const CONFIG_URL: &str = "deskrun.dev/config-url";
    /// The scale set.
    pub const SCALE_SET: &str = "deskrun.dev/scale-set";
    /// The resource.
    pub const RESOURCE: &str = "app.kubernetes.io/instance";
    /// The runner's name; an object without it is no runner.
    pub const RUNNER: &str = "deskrun.dev/runner";
    /// Its id at GitHub.
    pub const RUNNER_ID: &str = "deskrun.dev/runner-id";
    /// Its slot.
    pub const SLOT: &str = "deskrun.dev/slot";
    pub use crate::manifest::MANIFEST_LABEL as MANIFEST;
    /// Annotation: a JSON list of the slot's pools.
    pub const SLOT_POOLS: &str = "deskrun.dev/slot-pools";
    /// Annotation: the job, for people.
    pub const JOB: &str = "deskrun.dev/job";
}

impl Owner {
    /// Reads labels and annotations; `None` if they are no runner's. What cannot be read counts as not said.
    pub fn read(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
        labels.get(label::RUNNER)?;
        Some(Self {
            controller: text(label::CONTROLLER),
            resource: text(label::RESOURCE),
            scale_set: text(label::SCALE_SET),
            config_url: text(label::CONFIG_URL),
            runner_id: text(label::RUNNER_ID).parse().unwrap_or_default(),
            slot: text(label::SLOT).parse().unwrap_or_default(),
            slot_pools: annotations
                .get(label::SLOT_POOLS)
                .and_then(|pools| serde_json::from_str(pools).ok())
                .unwrap_or_default(),
            manifest: text(label::MANIFEST),
            job: annotations.get(label::JOB).cloned(),
        })
    }
}

impl RunnerPhase {
    /// Whether nothing of the runner's process can live any more.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }
}
