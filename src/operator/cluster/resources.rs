//! Watches the custom resources, and rings when one changes in a way that matters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::Notify;

use super::resource::Resource;
use crate::causes;

/// The resources as they are. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    resources: BTreeMap<String, Resource>,
    /// Being listed anew.
    listed: BTreeMap<String, Resource>,
    is_complete: bool,
    trouble: Option<String>,
}

impl Resources {
    /// All of them, once they were listed.
    pub(super) fn all(&self) -> Option<Vec<Resource>> {
        let known = self.locked();
        known.is_complete.then(|| known.resources.values().cloned().collect())
    }

    /// Why they cannot be watched, if they cannot.
    pub(super) fn trouble(&self) -> Option<String> {
        self.locked().trouble.clone()
    }

    /// Watches until it is dropped.
    pub(super) async fn follow(self, api: Api<DynamicObject>, bell: Arc<Notify>) {
        let events = watcher(api, watcher::Config::default()).default_backoff();
        tokio::pin!(events);
        while let Some(event) = events.next().await {
            if self.learn(event) {
                bell.notify_one();
            }
        }
    }

    /// True if anything changed that serving depends on.
    fn learn(&self, event: Result<Event<DynamicObject>, watcher::Error>) -> bool {
        let mut known = self.locked();
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let words = causes::in_one_line(&error);
                if known.trouble.as_ref() != Some(&words) {
                    tracing::warn!(error = words, "the RunnerScaleSets cannot be watched");
                }
                known.trouble = Some(words);
                return false;
            }
        };
        known.trouble = None;
        match event {
            Event::Init => {
                known.listed.clear();
                false
            }
            Event::InitApply(object) => {
                let resource = Resource::read(&object);
                known.listed.insert(resource.key(), resource);
                false
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut known.listed);
                let same = known.is_complete
                    && listed.len() == known.resources.len()
                    && listed.values().zip(known.resources.values()).all(|(new, old)| !new.differs(old));
                known.resources = listed;
                known.is_complete = true;
                !same
            }
            Event::Apply(object) => {
                let resource = Resource::read(&object);
                let before = known.resources.get(&resource.key());
                let differs = before.is_none_or(|before| resource.differs(before));
                known.resources.insert(resource.key(), resource);
                differs
            }
            Event::Delete(object) => known.resources.remove(&Resource::read(&object).key()).is_some(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
