//! Ids of message sessions and scale sets, kept in the status of their resource (`design.md` 3.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::crd::RunnerScaleSetStatus;
use crate::listener::{Memory, is_session_id};

/// The ids of a resource's scale sets and of their sessions. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Ids(Arc<watch::Sender<Kept>>);

/// Ids, by the name of the scale set.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) scale_sets: BTreeMap<String, i64>,
}

#[derive(Debug)]
struct OfScaleSet {
    ids: Ids,
    name: String,
}

impl Ids {
    /// What a former leader wrote down.
    pub(super) fn recalled(status: &RunnerScaleSetStatus) -> Self {
        let sessions = status.instances.iter().filter_map(|instance| {
            // Whoever may write a status must not thereby write a part of a URL.
            Some((instance.name.clone(), instance.session_id.clone().filter(|id| is_session_id(id))?))
        });
        let scale_sets =
            status.instances.iter().filter_map(|instance| Some((instance.name.clone(), instance.scale_set_id?)));
        Self(Arc::new(watch::Sender::new(Kept { sessions: sessions.collect(), scale_sets: scale_sets.collect() })))
    }

    pub(super) fn memory(&self, scale_set: &str) -> Arc<dyn Memory> {
        Arc::new(OfScaleSet { ids: self.clone(), name: scale_set.to_owned() })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Kept> {
        self.0.subscribe()
    }

    /// Ids of scale sets that are there, by name.
    pub(super) fn scale_sets(&self) -> BTreeMap<String, i64> {
        self.0.borrow().scale_sets.clone()
    }
}

impl Memory for OfScaleSet {
    fn session(&self) -> Option<String> {
        self.ids.0.borrow().sessions.get(&self.name).cloned()
    }

    fn keep_session(&self, id: Option<&str>) {
        self.ids.0.send_if_modified(|kept| set(&mut kept.sessions, &self.name, id.map(str::to_owned).as_ref()));
    }

    fn scale_set(&self) -> Option<i64> {
        self.ids.0.borrow().scale_sets.get(&self.name).copied()
    }

    fn keep_scale_set(&self, id: Option<i64>) {
        self.ids.0.send_if_modified(|kept| set(&mut kept.scale_sets, &self.name, id.as_ref()));
    }
}

/// Sets an entry or removes it; whether that changed anything.
fn set<T: Clone + PartialEq>(ids: &mut BTreeMap<String, T>, name: &str, id: Option<&T>) -> bool {
    let before = match id {
        Some(id) => ids.insert(name.to_owned(), id.clone()),
        None => ids.remove(name),
    };
    before.as_ref() != id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::InstanceStatus;

    #[test]
    fn ids_are_recalled_from_the_status_and_a_strange_one_is_not() {
        let instance = |name: &str, id: &str| InstanceStatus {
            name: name.to_owned(),
            scale_set_id: Some(7),
            session_id: Some(id.to_owned()),
            ..InstanceStatus::default()
        };
        let instances = vec![instance("ws-1", "6f1c-2d"), instance("ws-2", "../x?y")];
        let ids = Ids::recalled(&RunnerScaleSetStatus { instances, ..RunnerScaleSetStatus::default() });
        assert_eq!(ids.memory("ws-1").session().as_deref(), Some("6f1c-2d"));
        assert_eq!((ids.memory("ws-2").session(), ids.memory("ws-2").scale_set()), (None, Some(7)));
        let changes = ids.subscribe();
        ids.memory("ws-1").keep_session(Some("6f1c-2d"));
        assert!(!changes.has_changed().unwrap());
        ids.memory("ws-1").keep_session(None);
        assert!(changes.has_changed().unwrap());
    }
}
