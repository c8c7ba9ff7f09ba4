//! Which runners this process is making. Making one goes on when no one waits for it any more: what an engine has begun
//! it ends, so only who waited for that knows what there is to remove.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// One turn per runner.
#[derive(Debug, Default)]
pub(super) struct Making {
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to make or remove the runner of this name.
#[derive(Debug)]
pub(super) struct Turn {
    making: Arc<Making>,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Making {
    /// Waits until no one else makes or removes this runner.
    pub(super) async fn turn(self: &Arc<Self>, name: &str) -> Turn {
        let mutex = lock(&self.turns).entry(name.to_owned()).or_default().clone();
        // Made before waiting: whoever stops waiting takes its entry out again.
        let mut turn = Turn { making: self.clone(), name: name.to_owned(), guard: None };
        turn.guard = Some(mutex.lock_owned().await);
        turn
    }

    /// Whether the runner of this name is being made or removed.
    pub(super) fn has(&self, name: &str) -> bool {
        lock(&self.turns).contains_key(name)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = lock(&self.making.turns);
        // One is the map's own: no one holds or awaits it.
        if turns.get(&self.name).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(&self.name);
        }
    }
}

/// Things that several runners use. One that a runner in the making needs has no user yet: it is not removed meanwhile,
/// and one that is being removed is not needed until it is gone.
#[derive(Debug, Default)]
pub(super) struct SharedThings {
    locks: Mutex<BTreeMap<String, Arc<RwLock<()>>>>,
}

impl SharedThings {
    /// Keeps these until the guards are dropped. `names` are in an order that all callers share.
    pub(super) async fn keep(&self, names: impl IntoIterator<Item = String>) -> Vec<OwnedRwLockReadGuard<()>> {
        let mut kept = Vec::new();
        for name in names {
            let lock = self.lock_of(&name);
            kept.push(lock.read_owned().await);
        }
        kept
    }

    /// The right to remove one of them, if no runner in the making needs it.
    pub(super) fn removal(&self, name: &str) -> Option<OwnedRwLockWriteGuard<()>> {
        self.lock_of(name).try_write_owned().ok()
    }

    fn lock_of(&self, name: &str) -> Arc<RwLock<()>> {
        let mut locks = lock(&self.locks);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(name.to_owned()).or_default().clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds the lock panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
