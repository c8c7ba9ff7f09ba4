//! What a controller is told about one scale set: how many runners, and what one looks like.

use std::time::Duration;

use crate::engine::label;
use crate::metrics::ScaleSetLabels;
use crate::render::PreparedRunner;
use crate::scale_set::{Instance, ScaleSet};
use crate::scaling::{Limits, Timers};

/// One scale set at GitHub, ready to be served.
#[derive(Clone, Debug)]
pub struct Specification {
    /// Its name, which is what `runs-on` says.
    pub name: String,
    /// The resource it belongs to.
    pub resource: String,
    /// Where it is registered.
    pub config_url: String,
    /// Runner group at GitHub.
    pub runner_group: String,
    /// Labels beside the name.
    pub labels: Vec<String>,
    /// How many runners, and how long things may take.
    pub limits: Limits,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Pools of directories of which a runner needs a slot.
    pub slot_pools: Vec<String>,
    /// The manifest, open for the single runner.
    pub prepared: PreparedRunner,
    /// What an audit record says of every runner.
    pub audit: AuditFacts,
}

/// What an audit record says of every runner of a scale set (`design.md` 3.23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFacts {
    /// Image of the runner container.
    pub image: String,
    /// Whether a container of the pod is privileged.
    pub privileged: bool,
}

impl PartialEq for Specification {
    /// Manifests are compared by their hash.
    fn eq(&self, other: &Self) -> bool {
        let Self { name, resource, config_url, runner_group, labels, limits, grace, slot_pools, prepared, audit } =
            self;
        (name, resource, config_url, runner_group, labels)
            == (&other.name, &other.resource, &other.config_url, &other.runner_group, &other.labels)
            && (limits, grace, slot_pools, audit) == (&other.limits, &other.grace, &other.slot_pools, &other.audit)
            && prepared.hash() == other.prepared.hash()
    }
}

impl Specification {
    /// What a scale set is known by: where it is registered, and its name there.
    pub fn key(&self) -> String {
        format!("{} {}", self.config_url_label(), self.name)
    }

    /// The label by which its runners say where they are registered.
    pub fn config_url_label(&self) -> &str {
        self.prepared.label(label::CONFIG_URL)
    }

    /// The labels under which it is counted.
    pub fn metric_labels(&self) -> ScaleSetLabels {
        ScaleSetLabels { scale_set: self.name.clone(), resource: self.resource.clone() }
    }

    /// Puts together what is known of an instance.
    pub fn new(scale_set: &ScaleSet, instance: &Instance, prepared: PreparedRunner) -> Self {
        let timers = Timers {
            start: scale_set.timeouts.start,
            online: scale_set.timeouts.online,
            idle: scale_set.timeouts.idle,
            completed: scale_set.timeouts.completed,
        };
        let privileged = prepared.is_privileged();
        Self {
            name: instance.name.clone(),
            resource: scale_set.name.clone(),
            config_url: scale_set.config_url.clone().unwrap_or_default(),
            runner_group: scale_set.runner_group.clone(),
            labels: scale_set.labels.clone(),
            limits: Limits { min: scale_set.min_runners, max: scale_set.max_runners, timers, draining: false },
            grace: scale_set.timeouts.grace,
            slot_pools: instance.slot_pools(scale_set),
            prepared: prepared.without_origins(),
            audit: AuditFacts { image: scale_set.image.clone(), privileged },
        }
    }
}
