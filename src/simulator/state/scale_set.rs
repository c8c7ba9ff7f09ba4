//! Runner scale sets: made, found, changed, deleted. Their sessions and logs are next door.

use jiff::Timestamp;

use super::State;
use super::error::Refusal;
use super::job::Status;
use super::log::Log;
use super::session::Session;

/// A label with its id.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) kind: String,
}

/// A runner scale set.
#[derive(Clone, Debug)]
pub(crate) struct ScaleSet {
    pub(crate) id: i64,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) group: i64,
    pub(crate) labels: Vec<Label>,
    pub(crate) disable_update: bool,
    pub(crate) created: Timestamp,
    /// When a client last opened, refreshed or polled; after 7 days without, the set is removed.
    pub(super) contact: Timestamp,
    pub(crate) session: Option<Session>,
    pub(super) log: Log,
    /// What the last poll said it can take.
    pub(super) capacity: Option<u64>,
}

/// What a client asks a new scale set to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewScaleSet {
    pub(crate) name: String,
    pub(crate) group: Option<i64>,
    /// Names and types.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) disable_update: bool,
}

/// What a client wants changed; what is none stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScaleSetChange {
    pub(crate) name: Option<String>,
    pub(crate) group: Option<i64>,
    pub(crate) disable_update: Option<bool>,
}

impl ScaleSet {
    /// Whether every label of a job is one of ours.
    pub(super) fn has_labels(&self, labels: &[String]) -> bool {
        labels.iter().all(|wanted| self.labels.iter().any(|label| label.name.eq_ignore_ascii_case(wanted)))
    }
}

impl State {
    /// Makes a scale set.
    pub(crate) fn create_scale_set(&mut self, tenant: &str, new: NewScaleSet) -> Result<i64, Refusal> {
        let group = self.group(tenant, new.group.unwrap_or(super::tenant::DEFAULT_GROUP))?.id;
        if new.name.is_empty() {
            return Err(Refusal::BadRequest("The name of a runner scale set must not be empty.".to_owned()));
        }
        self.refuse_taken_name(tenant, group, &new.name, None)?;
        let id = self.next_id();
        let labels =
            new.labels.into_iter().map(|(name, kind)| Label { id: self.next_label_id(), name, kind }).collect();
        let set = ScaleSet {
            id,
            tenant: tenant.to_owned(),
            name: new.name,
            group,
            labels,
            disable_update: new.disable_update,
            created: self.now,
            contact: self.now,
            session: None,
            log: Log::default(),
            capacity: None,
        };
        self.scale_sets.insert(id, set);
        self.changed();
        Ok(id)
    }

    /// A scale set of a tenant.
    pub(crate) fn scale_set(&self, tenant: &str, id: i64) -> Result<&ScaleSet, Refusal> {
        self.scale_sets.get(&id).filter(|set| set.tenant == tenant).ok_or(Refusal::ScaleSetNotFound(id))
    }

    /// The scale sets of a tenant, by group and by name where given.
    pub(crate) fn find_scale_sets(&self, tenant: &str, group: Option<i64>, name: Option<&str>) -> Vec<&ScaleSet> {
        self.scale_sets
            .values()
            .filter(|set| set.tenant == tenant && group.is_none_or(|group| set.group == group))
            .filter(|set| name.is_none_or(|name| set.name.eq_ignore_ascii_case(name)))
            .collect()
    }

    /// Renames or moves a scale set.
    pub(crate) fn update_scale_set(&mut self, tenant: &str, id: i64, change: ScaleSetChange) -> Result<(), Refusal> {
        let set = self.scale_set(tenant, id)?;
        let group = self.group(tenant, change.group.unwrap_or(set.group))?.id;
        let name = change.name.unwrap_or_else(|| set.name.clone());
        self.refuse_taken_name(tenant, group, &name, Some(id))?;
        if let Some(set) = self.scale_sets.get_mut(&id) {
            set.name = name;
            set.group = group;
            set.disable_update = change.disable_update.unwrap_or(set.disable_update);
        }
        self.changed();
        Ok(())
    }

    /// Deletes a scale set with its log and its runners; its waiting jobs return to the queue.
    pub(crate) fn delete_scale_set(&mut self, tenant: &str, id: i64) -> Result<(), Refusal> {
        self.scale_set(tenant, id)?;
        if self.runners.values().any(|runner| runner.scale_set == id && runner.job().is_some()) {
            return Err(Refusal::ScaleSetBusy(id));
        }
        self.remove_scale_set(id);
        Ok(())
    }

    /// Removes a scale set without asking.
    pub(super) fn remove_scale_set(&mut self, id: i64) {
        for job in &mut self.jobs {
            job.offers.remove(&id);
            if job.scale_set == Some(id) && job.status.is_open() {
                job.status = Status::Queued { not_before: None };
                job.scale_set = None;
            } else if job.status == Status::Available && job.offers.is_empty() {
                job.status = Status::Queued { not_before: None };
            }
        }
        let runners: Vec<i64> = self.runners.values().filter(|r| r.scale_set == id).map(|r| r.id).collect();
        for runner in runners {
            self.remove_runner(runner);
        }
        self.void_queue_tokens(id);
        self.scale_sets.remove(&id);
        self.changed();
    }

    fn refuse_taken_name(&self, tenant: &str, group: i64, name: &str, own: Option<i64>) -> Result<(), Refusal> {
        let taken = self.find_scale_sets(tenant, Some(group), Some(name)).iter().any(|set| Some(set.id) != own);
        if taken { Err(Refusal::ScaleSetExists(name.to_owned())) } else { Ok(()) }
    }
}
