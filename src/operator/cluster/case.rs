//! What a leader keeps of one resource, from its first sight until it is gone.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::render::config_url_hash;
use crate::scaling::Limits;

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
    /// When a scale set that its spec does not name any more is tried to be taken out again, by name.
    pub(super) take_out_again: BTreeMap<String, Instant>,
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

/// What resources name, and have at GitHub.
pub(super) struct Claims {
    /// Places and names.
    pub(super) named: BTreeSet<(String, String)>,
    /// By uid: the place, if it is known, and ids.
    pub(super) ids: Vec<(String, Option<String>, BTreeSet<i64>)>,
}

impl Claims {
    /// Whether a scale set that a resource had is another one's: that names it, or has its id, also while that cannot be served.
    pub(super) fn is_anothers(&self, uid: &str, case: &Case, name: &str, id: i64) -> bool {
        let place = case.place();
        let is_here = |other: &Option<String>| other.is_none() || place.is_none() || *other == place;
        let name = name.to_lowercase();
        self.named.iter().any(|(other, named)| *named == name && is_here(&Some(other.clone())))
            || self.ids.iter().any(|(other, at, ids)| other != uid && is_here(at) && ids.contains(&id))
    }
}

impl Case {
    /// Where it registers, as labels have it; `None` if no spec of it was good so far.
    pub(super) fn place(&self) -> Option<String> {
        self.good.as_ref().map(|good| config_url_hash(&good.service.config_url))
    }

    /// Whether a former leader registered a scale set of this name for it.
    pub(super) fn is_registered(&self, scale_set: &str) -> bool {
        self.resource.status.instances.iter().any(|instance| instance.name == scale_set)
    }

    pub(super) fn may_be_registered(&self) -> bool {
        !self.resource.status.instances.is_empty()
    }

    /// Scale sets of this resource that are at GitHub and that its spec does not name any more: it changed while no one
    /// led, or taking them out failed.
    pub(super) fn dropped(&self) -> Vec<(String, i64)> {
        let Some(prepared) = &self.good else { return Vec::new() };
        let is_named = |name: &str| prepared.specifications.iter().any(|specification| specification.name == name);
        self.ids.scale_sets().into_iter().filter(|(name, _)| !is_named(name)).collect()
    }

    /// What it takes to take one of them out.
    pub(super) fn to_take_out(&self, name: &str, service: &ActionsService) -> Option<Desired> {
        let named = self.good.as_ref()?.specifications.first()?;
        // All instances of a resource are alike but for their names, and no runner is made of this one.
        let limits = Limits { min: 0, max: 0, ..named.limits };
        let specification = Specification { name: name.to_owned(), limits, ..named.clone() };
        Some(Desired { specification, service: service.clone(), memory: self.ids.memory(name) })
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.publishing.abort();
    }
}
