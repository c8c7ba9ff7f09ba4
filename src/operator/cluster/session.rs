//! Ids of message sessions, kept in the status of their resource (`design.md` 3.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::crd::RunnerScaleSetStatus;
use crate::listener::SessionMemory;

/// The ids of a resource's sessions, by scale set. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Arc<watch::Sender<BTreeMap<String, String>>>);

#[derive(Debug)]
struct Memory {
    sessions: Sessions,
    scale_set: String,
}

impl Sessions {
    /// What a former leader wrote down.
    pub(super) fn recalled(status: &RunnerScaleSetStatus) -> Self {
        let ids = status.instances.iter().filter_map(|instance| {
            // Whoever may write a status must not thereby write a part of a URL.
            let is_id =
                |id: &String| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            Some((instance.name.clone(), instance.session_id.clone().filter(is_id)?))
        });
        Self(Arc::new(watch::Sender::new(ids.collect())))
    }

    pub(super) fn memory(&self, scale_set: &str) -> Arc<dyn SessionMemory> {
        Arc::new(Memory { sessions: self.clone(), scale_set: scale_set.to_owned() })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.0.subscribe()
    }
}

impl SessionMemory for Memory {
    fn recall(&self) -> Option<String> {
        self.sessions.0.borrow().get(&self.scale_set).cloned()
    }

    fn keep(&self, id: Option<&str>) {
        self.sessions.0.send_if_modified(|ids| {
            let before = match id {
                Some(id) => ids.insert(self.scale_set.clone(), id.to_owned()),
                None => ids.remove(&self.scale_set),
            };
            before.as_deref() != id
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::InstanceStatus;

    #[test]
    fn an_id_is_recalled_from_the_status_and_a_strange_one_is_not() {
        let instance = |name: &str, id: &str| InstanceStatus {
            name: name.to_owned(),
            session_id: Some(id.to_owned()),
            ..InstanceStatus::default()
        };
        let instances = vec![instance("ws-1", "6f1c-2d"), instance("ws-2", "../x?y")];
        let sessions = Sessions::recalled(&RunnerScaleSetStatus { instances, ..RunnerScaleSetStatus::default() });
        assert_eq!(sessions.memory("ws-1").recall().as_deref(), Some("6f1c-2d"));
        assert_eq!(sessions.memory("ws-2").recall(), None);
        let changes = sessions.subscribe();
        sessions.memory("ws-1").keep(Some("6f1c-2d"));
        assert!(!changes.has_changed().unwrap());
        sessions.memory("ws-1").keep(None);
        assert!(changes.has_changed().unwrap());
    }
}
