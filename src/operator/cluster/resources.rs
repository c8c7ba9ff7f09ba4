//! Watches the custom resources, and rings when one changes in a way that matters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::resource::Resource;
use super::watch::Watch;

/// A watch that goes on where it broke off says nothing until something happens: trouble that did not come again within the
/// longest wait between attempts, and the time that one may take, is over.
const STALE: Duration = Duration::from_mins(2);

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
    trouble: Option<(String, Instant)>,
}

impl Resources {
    /// All of them, once they were listed.
    pub(super) fn all(&self) -> Option<Vec<Resource>> {
        let known = self.locked();
        known.is_complete.then(|| known.resources.values().cloned().collect())
    }

    /// Why they cannot be watched, if they cannot.
    pub(super) fn trouble(&self) -> Option<String> {
        let known = self.locked();
        known.trouble.as_ref().filter(|(_, at)| at.elapsed() < STALE).map(|(words, _)| words.clone())
    }

    /// Watches until it is dropped.
    pub(super) async fn follow(self, api: Api<DynamicObject>, bell: Arc<Notify>) {
        let mut watch = Watch::new(api, Config::default());
        loop {
            if self.learn(watch.next().await) {
                bell.notify_one();
            }
        }
    }

    /// True if anything changed that serving depends on.
    fn learn(&self, event: Result<Event<DynamicObject>, String>) -> bool {
        let mut known = self.locked();
        let event = match event {
            Ok(event) => event,
            Err(words) => {
                if known.trouble.as_ref().is_none_or(|(before, _)| *before != words) {
                    tracing::warn!(error = words, "the RunnerScaleSets cannot be watched");
                }
                known.trouble = Some((words, Instant::now()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_that_does_not_come_again_is_over() {
        let resources = Resources::default();
        resources.learn(Err("the connection was reset".to_owned()));
        assert_eq!(resources.trouble().as_deref(), Some("the connection was reset"));
        tokio::time::advance(Duration::from_secs(100)).await;
        resources.learn(Err("the connection was refused".to_owned()));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(resources.trouble().as_deref(), Some("the connection was refused"));
        tokio::time::advance(STALE).await;
        assert_eq!(resources.trouble(), None);
    }
}
