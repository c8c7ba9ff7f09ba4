//! Objects that runners share: configuration, accounts, roles. They are applied when their content is new to this process, and
//! not for every runner.
//!
//! With an owner (a `RunnerScaleSet`) they go when that goes. Without one they go with the last runner that uses them, which
//! costs their writes again for the next: that is the price of leaving nothing behind.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::label;
use super::super::making::{Making, SharedThings};
use super::documents::Companion;
use super::service::{CallError, Service};
use crate::manifest::RunnerManifest;

/// After so long they are applied again with the next runner: whoever took one away or changed it harms no more than that.
const FRESH: Duration = Duration::from_mins(10);

/// What this process applied.
#[derive(Debug, Default)]
pub(super) struct Companions {
    applied: Mutex<BTreeMap<String, Applied>>,
    applying: Arc<Making>,
    /// What a runner in the making needs is not removed meanwhile.
    pub(super) shared: SharedThings,
}

#[derive(Clone, Copy, Debug)]
struct Applied {
    content: u64,
    at: Instant,
}

impl Companions {
    /// Applies what is not applied yet. Several runners of a burst wait for one application.
    pub(super) async fn apply(
        &self,
        service: &Service,
        namespace: &str,
        manifest: &RunnerManifest,
    ) -> Result<(), CallError> {
        for object in manifest.companions.iter() {
            let key = key(namespace, &Companion::of(object));
            let mut hasher = DefaultHasher::new();
            object.to_string().hash(&mut hasher);
            let content = hasher.finish();
            if self.is_applied(&key, content) {
                continue;
            }
            let _turn = self.applying.turn(&key).await;
            if !self.is_applied(&key, content) {
                service.apply(namespace, object, false).await?;
                self.applied().insert(key, Applied { content, at: Instant::now() });
            }
        }
        Ok(())
    }

    /// Something is not as it was: what this namespace has is applied again with the next runner.
    pub(super) fn doubt(&self, namespace: &str) {
        let prefix = format!("{namespace} ");
        self.applied().retain(|key, _| !key.starts_with(&prefix));
    }

    /// Deletes objects of a controller that no runner uses and none in the making needs; how many.
    pub(super) async fn remove_unused(
        &self,
        service: &Service,
        namespace: &str,
        controller: &str,
        unused: impl IntoIterator<Item = Companion>,
        is_used: impl Fn(&Companion) -> bool,
    ) -> Result<usize, CallError> {
        let mut removed = 0;
        for companion in unused {
            let key = key(namespace, &companion);
            let Some(_removal) = self.shared.removal(&key) else { continue };
            // Asked with the right in hand: a runner that was made until now is known.
            if !is_used(&companion) {
                self.applied().remove(&key);
                let Companion { api_version, kind, name } = &companion;
                let of_ours = (label::CONTROLLER, controller);
                removed += usize::from(service.delete_shared(namespace, api_version, kind, name, of_ours).await?);
            }
        }
        Ok(removed)
    }

    fn is_applied(&self, key: &str, content: u64) -> bool {
        let is_same = |applied: &Applied| applied.content == content && applied.at.elapsed() < FRESH;
        self.applied().get(key).is_some_and(is_same)
    }

    fn applied(&self) -> MutexGuard<'_, BTreeMap<String, Applied>> {
        // Nothing that holds the lock panics half-way through a change.
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a companion is called among all of a cluster.
pub(super) fn key(namespace: &str, companion: &Companion) -> String {
    format!("{namespace} {} {} {}", companion.api_version, companion.kind, companion.name)
}
