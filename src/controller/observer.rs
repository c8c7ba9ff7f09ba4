//! Watches the engine once for all scale sets: tells the slots of everything, and each controller of its own runners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::slots::Slots;
use crate::causes::in_one_line;
use crate::engine::{Engine, Observation, ObservedRunner};

/// Between attempts to remove a runner of no one.
const AGAIN: Duration = Duration::from_mins(1);

/// Distributes what an engine shows. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Observer {
    shared: Arc<Mutex<Known>>,
    slots: Slots,
    controller: String,
}

/// Whose runners someone wants to hear of: config URL's hash and scale set.
pub type Subscription = (String, String);

#[derive(Debug, Default)]
struct Known {
    runners: BTreeMap<String, ObservedRunner>,
    /// Whether there was a snapshot.
    reachable: bool,
    trouble: Option<String>,
    subscribers: BTreeMap<Subscription, mpsc::UnboundedSender<Observation>>,
    /// Whether everyone who wants to hear of runners has said so.
    is_complete: bool,
    /// Runners of no one that are being removed.
    leaving: BTreeSet<String>,
    /// Runners that are not seen any more, since that was looked at: something may be left of those that are no one's.
    vanished: Vec<ObservedRunner>,
    /// Which runners may have become no one's since that was looked at.
    doubtful: Doubtful,
}

/// A burst brings thousands of changes, each of one runner: looking at all of them for each would cost more than making
/// them.
#[derive(Debug, Default)]
enum Doubtful {
    #[default]
    All,
    These(BTreeSet<String>),
}

impl Observer {
    /// Knows nothing yet. Only runners of the controller of this id are passed on.
    pub fn new(slots: Slots, controller: String) -> Self {
        Self { shared: Arc::default(), slots, controller }
    }

    /// Watches until it is dropped. Runners of scale sets that are not served any more are removed when they have ended: no
    /// controller is there to do it, and they would hold their slots for ever.
    pub async fn run(self, engine: Arc<dyn Engine>) {
        let mut observations = engine.observe();
        let mut removals = JoinSet::new();
        loop {
            tokio::select! {
                // In one order, so that a run can be replayed.
                biased;
                observation = observations.next() => {
                    let Some(observation) = observation else { return };
                    self.slots.observe(&observation);
                    self.known().learn(observation, &self.controller);
                }
                // One that failed is to be tried again.
                Some(_) = removals.join_next() => {}
            }
            for runner in self.take_abandoned() {
                removals.spawn(self.clone().remove(Arc::clone(&engine), runner));
            }
        }
    }

    /// From now on a runner that no one asked for is no one's.
    pub fn all_are_subscribed(&self) {
        let mut known = self.known();
        known.is_complete = true;
        known.doubtful = Doubtful::All;
    }

    /// Runners that have ended, or of which nothing is seen any more, and that belong to no one; each once.
    fn take_abandoned(&self) -> Vec<String> {
        let mut known = self.known();
        if !known.is_complete {
            return Vec::new();
        }
        let doubtful = std::mem::replace(&mut known.doubtful, Doubtful::These(BTreeSet::new()));
        let looked_at: Vec<&ObservedRunner> = match &doubtful {
            Doubtful::All => known.runners.values().collect(),
            Doubtful::These(names) => names.iter().filter_map(|name| known.runners.get(name)).collect(),
        };
        let abandoned =
            |runner: &&ObservedRunner| runner.phase.has_ended() && known.is_unclaimed(runner, &self.controller);
        let ended = looked_at.into_iter().filter(abandoned);
        let vanished = known.vanished.iter().filter(|runner| known.is_unclaimed(runner, &self.controller));
        let abandoned: Vec<String> = ended.chain(vanished).map(|runner| runner.name.clone()).collect();
        known.vanished.clear();
        abandoned.into_iter().filter(|runner| known.leaving.insert(runner.clone())).collect()
    }

    async fn remove(self, engine: Arc<dyn Engine>, runner: String) {
        tracing::info!(runner, "a runner that has ended is removed; its scale set is not served any more");
        while let Err(error) = engine.remove(&runner, Duration::ZERO).await {
            tracing::warn!(runner, error = in_one_line(&error), "it stays for now");
            tokio::time::sleep(AGAIN).await;
        }
        self.slots.release(&runner);
        self.known().leaving.remove(&runner);
    }

    /// The runners of a scale set from now on, beginning with a snapshot as soon as the engine has given one.
    pub fn subscribe(&self, subscription: Subscription) -> mpsc::UnboundedReceiver<Observation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut known = self.known();
        let first = match &known.trouble {
            Some(words) => Some(Observation::Unreachable(words.clone())),
            None if known.reachable => Some(known.of(&subscription, &self.controller)),
            None => None,
        };
        // The receiver is in our hands.
        if let Some(first) = first {
            drop(sender.send(first));
        }
        known.subscribers.insert(subscription, sender);
        receiver
    }

    /// Whether the engine has ever shown what there is.
    pub fn has_seen(&self) -> bool {
        self.known().reachable
    }

    /// Runners of this controller that no one asked for: their scale sets are not served any more.
    pub fn unclaimed(&self) -> Vec<ObservedRunner> {
        let known = self.known();
        known.runners.values().filter(|runner| known.is_unclaimed(runner, &self.controller)).cloned().collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing that holds the lock panics half-way through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(runner: &ObservedRunner) -> Subscription {
    (runner.owner.config_url.clone(), runner.owner.scale_set.clone())
}

impl Known {
    fn learn(&mut self, observation: Observation, controller: &str) {
        match observation {
            Observation::Snapshot(runners) => {
                let now = runners.into_iter().map(|runner| (runner.name.clone(), runner)).collect();
                let before = std::mem::replace(&mut self.runners, now);
                let vanished = before.into_values().filter(|runner| !self.runners.contains_key(&runner.name));
                self.vanished.extend(vanished.filter(|runner| !self.leaving.contains(&runner.name)));
                self.doubtful = Doubtful::All;
                (self.reachable, self.trouble) = (true, None);
                for (subscription, sender) in &self.subscribers {
                    let _ = sender.send(self.of(subscription, controller));
                }
            }
            Observation::Changed(runner) => {
                if runner.owner.controller == controller {
                    self.tell(&key(&runner), Observation::Changed(runner.clone()));
                }
                self.doubt(runner.name.clone());
                self.runners.insert(runner.name.clone(), runner);
            }
            Observation::Gone(name) => {
                if let Some(runner) = self.runners.remove(&name) {
                    self.tell(&key(&runner), Observation::Gone(name));
                    if !self.leaving.contains(&runner.name) {
                        self.vanished.push(runner);
                    }
                }
            }
            Observation::Unreachable(words) => {
                self.trouble = Some(words.clone());
                for sender in self.subscribers.values() {
                    let _ = sender.send(Observation::Unreachable(words.clone()));
                }
            }
        }
        // Whoever does not listen any more serves no more.
        let before = self.subscribers.len();
        self.subscribers.retain(|_, sender| !sender.is_closed());
        if self.subscribers.len() < before {
            self.doubtful = Doubtful::All;
        }
    }

    fn doubt(&mut self, runner: String) {
        if let Doubtful::These(runners) = &mut self.doubtful {
            runners.insert(runner);
        }
    }

    fn is_unclaimed(&self, runner: &ObservedRunner, controller: &str) -> bool {
        let claimed = || self.subscribers.get(&key(runner)).is_some_and(|subscriber| !subscriber.is_closed());
        runner.owner.controller == controller && !claimed()
    }

    fn tell(&self, subscription: &Subscription, observation: Observation) {
        if let Some(sender) = self.subscribers.get(subscription) {
            let _ = sender.send(observation);
        }
    }

    fn of(&self, subscription: &Subscription, controller: &str) -> Observation {
        let own = |runner: &&ObservedRunner| runner.owner.controller == controller && key(runner) == *subscription;
        Observation::Snapshot(self.runners.values().filter(own).cloned().collect())
    }
}
