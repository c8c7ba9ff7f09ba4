//! Ids of message sessions and scale sets, kept in the status of their resource (`design.md` 3.3).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::crd::RunnerScaleSetStatus;
use crate::listener::{Memory, is_session_id};

/// The ids of a resource's scale sets and of their sessions. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// By scale set.
    sessions: Arc<watch::Sender<BTreeMap<String, String>>>,
    /// By name. They come into the status with what the controllers say.
    scale_sets: Arc<Mutex<BTreeMap<String, i64>>>,
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
        Self {
            sessions: Arc::new(watch::Sender::new(sessions.collect())),
            scale_sets: Arc::new(Mutex::new(scale_sets.collect())),
        }
    }

    pub(super) fn memory(&self, scale_set: &str) -> Arc<dyn Memory> {
        Arc::new(OfScaleSet { ids: self.clone(), name: scale_set.to_owned() })
    }

    /// The sessions' ids, by scale set.
    pub(super) fn sessions(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.sessions.subscribe()
    }
}

impl Memory for OfScaleSet {
    fn session(&self) -> Option<String> {
        self.ids.sessions.borrow().get(&self.name).cloned()
    }

    fn keep_session(&self, id: Option<&str>) {
        self.ids.sessions.send_if_modified(|ids| {
            let before = match id {
                Some(id) => ids.insert(self.name.clone(), id.to_owned()),
                None => ids.remove(&self.name),
            };
            before.as_deref() != id
        });
    }

    fn scale_set(&self) -> Option<i64> {
        self.ids.scale_sets.lock().unwrap_or_else(PoisonError::into_inner).get(&self.name).copied()
    }

    fn keep_scale_set(&self, id: Option<i64>) {
        let mut ids = self.ids.scale_sets.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => drop(ids.insert(self.name.clone(), id)),
            None => drop(ids.remove(&self.name)),
        }
    }
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
        let changes = ids.sessions();
        ids.memory("ws-1").keep_session(Some("6f1c-2d"));
        assert!(!changes.has_changed().unwrap());
        ids.memory("ws-1").keep_session(None);
        assert!(changes.has_changed().unwrap());
    }
}
