//! What the watch has shown: runners, and pods that their workflows made. It tells changes, and only those: a label or an
//! annotation that someone puts on a pod is none.
//!
//! No I/O. Events of the watch come in, observations go out to whoever listens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use tokio::sync::{mpsc, watch};

use super::super::{Observation, ObservedRunner, RunnerPhase};
use super::pods::{HookPod, Read, RunnerPod, read};
use super::watched::WatchedPod;

/// What there is, and who wants to hear of it.
#[derive(Debug)]
pub(super) struct Known {
    state: Mutex<State>,
    /// Rings at every change.
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// By name. Names are made up by controllers and are not given twice.
    runners: BTreeMap<String, RunnerPod>,
    hook_pods: BTreeMap<String, HookPod>,
    /// Why runners wait, by uid, where only events said it.
    reasons: BTreeMap<String, String>,
    sight: Sight,
    /// What a listing that is under way has shown.
    listing: Option<(BTreeMap<String, RunnerPod>, BTreeMap<String, HookPod>)>,
    listings: u64,
    /// Pods whose end is awaited, by uid, with how many listings had begun before.
    awaited: BTreeMap<String, Awaited>,
    listeners: Vec<mpsc::UnboundedSender<Observation>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Sight {
    /// Nothing was listed yet.
    #[default]
    None,
    Clear,
    Lost(String),
}

#[derive(Debug)]
struct Awaited {
    listings: u64,
    /// Tells those who wait for this one, and no one else: a burst of removals must not wake each other.
    end: watch::Sender<End>,
}

/// What the watch has to say of a pod whose end is awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    NotYet,
    Gone,
    /// A listing does not have it that had begun before it was awaited: it was gone already when the server answered, and then
    /// nothing will ever tell, or it is younger than the answer.
    Doubtful,
}

/// Waits for the end of a pod. It begins before the deletion does, so that no end is missed.
#[derive(Debug)]
pub(super) struct Expectation<'a> {
    known: &'a Known,
    uid: String,
    end: watch::Receiver<End>,
    told: End,
}

impl Default for Known {
    fn default() -> Self {
        Self { state: Mutex::default(), bell: watch::Sender::new(0) }
    }
}

impl Known {
    /// What is known, and from now on each change; the first is a snapshot, or why there is none.
    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<Observation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        let first = match &state.sight {
            Sight::None => None,
            Sight::Clear => Some(state.snapshot()),
            Sight::Lost(words) => Some(Observation::Unreachable(words.clone())),
        };
        // The receiver is in our hands.
        if let Some(first) = first {
            drop(sender.send(first));
        }
        state.listeners.push(sender);
        receiver
    }

    /// Learns what the watch shows.
    pub(super) fn learn(&self, event: Event<WatchedPod>) {
        let mut state = self.state();
        match event {
            Event::Init => {
                state.listings += 1;
                state.listing = Some(Default::default());
            }
            Event::InitApply(WatchedPod(pod)) => {
                let (runners, hook_pods) = state.listing.get_or_insert_default();
                match read(&pod) {
                    Some(Read::Runner(runner)) => drop(runners.insert(runner.observed.name.clone(), *runner)),
                    Some(Read::Hook(pod)) => drop(hook_pods.insert(pod.uid.clone(), pod)),
                    None => {}
                }
            }
            Event::InitDone => state.has_listed(),
            Event::Apply(WatchedPod(pod)) => match read(&pod) {
                Some(Read::Runner(runner)) => state.changed(*runner),
                Some(Read::Hook(pod)) => drop(state.hook_pods.insert(pod.uid.clone(), pod)),
                None => {}
            },
            Event::Delete(WatchedPod(pod)) => state.gone(&pod),
        }
        drop(state);
        self.ring();
    }

    /// The API server cannot be asked any more, and the words say why.
    pub(super) fn lose_sight(&self, words: &str) {
        let mut state = self.state();
        state.sight = Sight::Lost(words.to_owned());
        state.tell(&Observation::Unreachable(words.to_owned()));
        drop(state);
        self.ring();
    }

    /// Notes why a runner waits, where its pod does not say it.
    pub(super) fn explain(&self, uid: &str, words: &str) {
        let mut state = self.state();
        let before = state.reasons.insert(uid.to_owned(), words.to_owned());
        let of_it = |runner: &&RunnerPod| runner.uid == uid;
        let Some(runner) = state.runners.values().find(of_it).cloned() else { return };
        if before.as_deref() != Some(words) {
            let explained = state.explained_as(&runner);
            if explained != runner.observed {
                state.tell(&Observation::Changed(explained));
            }
        }
    }

    /// Uids of runners that start and do not say what they wait for.
    pub(super) fn unexplained(&self) -> BTreeSet<String> {
        let waits = |runner: &&RunnerPod| matches!(runner.observed.phase, RunnerPhase::Starting { waiting: None });
        self.state().runners.values().filter(waits).map(|runner| runner.uid.clone()).collect()
    }

    pub(super) fn of_uid(&self, uid: &str) -> Option<RunnerPod> {
        self.state().runners.values().find(|runner| runner.uid == uid).cloned()
    }

    pub(super) fn runner(&self, name: &str) -> Option<RunnerPod> {
        self.state().runners.get(name).cloned()
    }

    pub(super) fn runners(&self) -> Vec<RunnerPod> {
        self.state().runners.values().cloned().collect()
    }

    /// Pods that workflows of this runner made.
    pub(super) fn hook_pods_of(&self, namespace: &str, runner: &str) -> Vec<HookPod> {
        let state = self.state();
        state.hook_pods.values().filter(|pod| pod.runner == runner && pod.namespace == namespace).cloned().collect()
    }

    /// Pods that workflows of runners made which are not there any more.
    pub(super) fn stray_hook_pods(&self, controller: &str) -> Vec<HookPod> {
        let state = self.state();
        let strays = state.hook_pods.values().filter(|pod| pod.controller == controller);
        strays.filter(|pod| !state.runners.contains_key(&pod.runner)).cloned().collect()
    }

    /// Whether what is known is all there is; `Err` says why nothing is.
    pub(super) fn is_clear(&self) -> Result<bool, String> {
        match &self.state().sight {
            Sight::None => Ok(false),
            Sight::Clear => Ok(true),
            Sight::Lost(words) => Err(words.clone()),
        }
    }

    /// Rings at every change from now on.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    pub(super) fn expect_end(&self, uid: &str) -> Expectation<'_> {
        let mut state = self.state();
        let listings = state.listings;
        let new = || Awaited { listings, end: watch::Sender::default() };
        let end = state.awaited.entry(uid.to_owned()).or_insert_with(new).end.subscribe();
        drop(state);
        Expectation { known: self, uid: uid.to_owned(), end, told: End::NotYet }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Expectation<'_> {
    /// Waits until the watch has shown that the pod is gone, or that it may never show it, which is said once.
    pub(super) async fn is_met(&mut self) -> End {
        let told = self.told;
        // The sender goes only after us.
        self.told = self.end.wait_for(|end| *end != told).await.map_or(told, |end| *end);
        self.told
    }
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        let mut state = self.known.state();
        if state.awaited.get(&self.uid).is_some_and(|awaited| awaited.end.receiver_count() <= 1) {
            state.awaited.remove(&self.uid);
        }
    }
}

impl State {
    fn has_listed(&mut self) {
        let (runners, hook_pods) = self.listing.take().unwrap_or_default();
        let alive: BTreeSet<&String> = runners.values().map(|runner| &runner.uid).chain(hook_pods.keys()).collect();
        for (_, awaited) in self.awaited.iter().filter(|(uid, _)| !alive.contains(uid)) {
            if self.listings > awaited.listings {
                awaited.end.send_replace(End::Gone);
            } else if *awaited.end.borrow() == End::NotYet {
                awaited.end.send_replace(End::Doubtful);
            }
        }
        self.reasons.retain(|uid, _| alive.contains(uid));
        (self.runners, self.hook_pods) = (runners, hook_pods);
        self.sight = Sight::Clear;
        let snapshot = self.snapshot();
        self.tell(&snapshot);
    }

    fn changed(&mut self, runner: RunnerPod) {
        let name = &runner.observed.name;
        let before = self.runners.get(name);
        if before.is_some_and(|before| before.namespace != runner.namespace) {
            // Someone else's, elsewhere: the first of a name is the one.
            return;
        }
        let is_news = before.is_none_or(|before| before.observed != runner.observed);
        if !matches!(runner.observed.phase, RunnerPhase::Starting { .. }) {
            self.reasons.remove(&runner.uid);
        }
        let explained = self.explained_as(&runner);
        self.runners.insert(name.clone(), runner);
        if is_news {
            self.tell(&Observation::Changed(explained));
        }
    }

    fn gone(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(awaited) = self.awaited.get(&uid) {
            awaited.end.send_replace(End::Gone);
        }
        self.reasons.remove(&uid);
        self.hook_pods.remove(&uid);
        let of_it = |runner: &RunnerPod| runner.uid == uid;
        let name = pod.metadata.name.clone().unwrap_or_default();
        if self.runners.get(&name).is_some_and(of_it) {
            self.runners.remove(&name);
            self.tell(&Observation::Gone(name));
        }
    }

    fn snapshot(&self) -> Observation {
        Observation::Snapshot(self.runners.values().map(|runner| self.explained_as(runner)).collect())
    }

    fn explained_as(&self, runner: &RunnerPod) -> ObservedRunner {
        let mut observed = runner.observed.clone();
        if let RunnerPhase::Starting { waiting: waiting @ None } = &mut observed.phase {
            *waiting = self.reasons.get(&runner.uid).cloned();
        }
        observed
    }

    /// Tells everyone who still listens.
    fn tell(&mut self, observation: &Observation) {
        self.listeners.retain(|listener| listener.send(observation.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::super::super::label;
    use super::*;

    fn pod(uid: &str) -> WatchedPod {
        let metadata = json!({"name": uid, "namespace": "runners", "uid": uid, "labels": {label::RUNNER: uid}});
        WatchedPod(serde_json::from_value(json!({"metadata": metadata})).unwrap())
    }

    fn list(known: &Known, uids: &[&str]) {
        for uid in uids {
            known.learn(Event::InitApply(pod(uid)));
        }
        known.learn(Event::InitDone);
    }

    /// The API server was away while the listing waited for its answer, and the pod went in that time: no event tells of it.
    #[test]
    fn a_pod_that_a_slow_listing_does_not_have_is_doubted_and_not_waited_for() {
        let known = Known::default();
        known.learn(Event::Init);
        let mut expectation = known.expect_end("a");
        assert_eq!(expectation.is_met().now_or_never(), None);
        list(&known, &[]);
        assert_eq!(expectation.is_met().now_or_never(), Some(End::Doubtful));
        assert_eq!(expectation.is_met().now_or_never(), None, "it was said once");
        known.learn(Event::Delete(pod("a")));
        assert_eq!(expectation.is_met().now_or_never(), Some(End::Gone));
    }

    #[test]
    fn a_listing_that_begins_later_is_sure() {
        let known = Known::default();
        let (mut gone, mut alive) = (known.expect_end("a"), known.expect_end("b"));
        known.learn(Event::Init);
        list(&known, &["b"]);
        assert_eq!(gone.is_met().now_or_never(), Some(End::Gone));
        assert_eq!(alive.is_met().now_or_never(), None);
        // Whoever asks while the first still waits hears of it as well.
        assert_eq!(known.expect_end("a").is_met().now_or_never(), Some(End::Gone));
    }
}
