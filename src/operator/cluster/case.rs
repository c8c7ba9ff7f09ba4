//! What a leader keeps of one resource, from its first sight until it is gone.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::memory::Ids;
use super::publish;
use super::resource::Resource;
use super::wanted::{Fault, Prepared};
use crate::controller::Specification;
use crate::github::ActionsService;
use crate::operator::Desired;

/// What is kept of a resource.
pub(super) struct Case {
    pub(super) resource: Resource,
    /// The last spec that could be served.
    pub(super) good: Option<Arc<Prepared>>,
    pub(super) fault: Option<Fault>,
    pub(super) ids: Ids,
    pub(super) served: watch::Sender<Option<publish::Served>>,
    pub(super) publishing: JoinHandle<()>,
    pub(super) setting_finalizer: bool,
    pub(super) was_served: bool,
    pub(super) removal: Removal,
    /// When taking it out was begun.
    pub(super) removing_since: Option<Instant>,
}

/// How far the removal of a deleted resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// Not begun, or to be begun again.
    No,
    UnderWay,
    /// Something was left; tried again then.
    Pausing(Instant),
    /// The resource may go.
    Done,
}

impl Case {
    /// Whether a former leader registered a scale set of this name for it.
    pub(super) fn is_registered(&self, scale_set: &str) -> bool {
        self.resource.status.instances.iter().any(|instance| instance.name == scale_set)
    }

    pub(super) fn may_be_registered(&self) -> bool {
        !self.resource.status.instances.is_empty()
    }

    /// Scale sets that a former leader registered and that the spec does not name any more: it changed while no one led.
    pub(super) fn dropped(&self, prepared: &Prepared, service: &ActionsService) -> Vec<Desired> {
        let Some(named) = prepared.specifications.first() else { return Vec::new() };
        let is_named = |name: &str| prepared.specifications.iter().any(|specification| specification.name == name);
        let there = self.resource.status.instances.iter().filter(|instance| instance.scale_set_id.is_some());
        let dropped = there.filter(|instance| !is_named(&instance.name)).map(|instance| Desired {
            // All instances of a resource are alike but for their names, and no runner is made of this one.
            specification: Specification { name: instance.name.clone(), ..named.clone() },
            service: service.clone(),
            memory: self.ids.memory(&instance.name),
        });
        dropped.collect()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.publishing.abort();
    }
}
