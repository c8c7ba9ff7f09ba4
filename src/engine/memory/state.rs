//! What the engine has, and who wants to hear of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::Signal;
use crate::engine::{Observation, ObservedRunner, Owner, RunnerPhase};
use crate::manifest::RunnerManifest;

#[derive(Debug, Default)]
pub(super) struct State {
    pods: BTreeMap<String, Pod>,
    /// Secrets by name, with the id of the controller that stored them.
    secrets: BTreeMap<String, String>,
    /// Runners that are being made.
    making: BTreeSet<String>,
    observers: Vec<mpsc::UnboundedSender<Observation>>,
    unreachable: bool,
    created: usize,
}

#[derive(Debug)]
struct Pod {
    observed: ObservedRunner,
    phase: watch::Sender<RunnerPhase>,
    signals: Option<watch::Sender<Option<Signal>>>,
    kill: Option<watch::Sender<bool>>,
    log: Vec<String>,
}

impl State {
    pub(super) fn subscribe(&mut self, observer: mpsc::UnboundedSender<Observation>) {
        let first =
            if self.unreachable { Observation::Unreachable("it is switched off".to_owned()) } else { self.all() };
        if observer.send(first).is_ok() {
            self.observers.push(observer);
        }
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        self.unreachable = !reachable;
        let news = if reachable { self.all() } else { Observation::Unreachable("it is switched off".to_owned()) };
        self.tell_anyway(&news);
    }

    pub(super) fn is_reachable(&self) -> bool {
        !self.unreachable
    }

    pub(super) fn making(&mut self, runner: &str, begins: bool) {
        if begins {
            self.making.insert(runner.to_owned());
        } else {
            self.making.remove(runner);
        }
    }

    pub(super) fn keep_secret(&mut self, manifest: &RunnerManifest) {
        let controller = owner(&manifest.pod).map(|owner| owner.controller).unwrap_or_default();
        self.secrets.insert(manifest.name.clone(), controller);
    }

    pub(super) fn forget_secret(&mut self, runner: &str) {
        self.secrets.remove(runner);
    }

    /// Makes a pod; false if there is one of that name.
    pub(super) fn create_pod(&mut self, manifest: &RunnerManifest, now: Timestamp) -> bool {
        if self.pods.contains_key(&manifest.name) {
            return false;
        }
        let observed = ObservedRunner {
            name: manifest.name.clone(),
            owner: owner(&manifest.pod).unwrap_or_default(),
            created_at: now,
            phase: RunnerPhase::Starting { waiting: None },
        };
        let phase = watch::Sender::new(observed.phase.clone());
        self.tell(&Observation::Changed(observed.clone()));
        self.pods.insert(manifest.name.clone(), Pod { observed, phase, signals: None, kill: None, log: Vec::new() });
        self.created += 1;
        true
    }

    pub(super) fn process_begins(
        &mut self,
        runner: &str,
        signals: watch::Sender<Option<Signal>>,
        kill: watch::Sender<bool>,
    ) {
        if let Some(pod) = self.pods.get_mut(runner) {
            (pod.signals, pod.kill) = (Some(signals), Some(kill));
        }
    }

    pub(super) fn set_phase(&mut self, runner: &str, phase: RunnerPhase) {
        let Some(pod) = self.pods.get_mut(runner) else { return };
        pod.observed.phase = phase.clone();
        pod.phase.send_replace(phase);
        let news = Observation::Changed(pod.observed.clone());
        self.tell(&news);
    }

    /// Sends SIGTERM; the result shows when the process has ended.
    pub(super) fn terminate(&mut self, runner: &str) -> Option<watch::Receiver<RunnerPhase>> {
        let pod = self.pods.get(runner)?;
        if let Some(signals) = &pod.signals {
            signals.send_replace(Some(Signal::Terminate));
        }
        Some(pod.phase.subscribe())
    }

    pub(super) fn kill(&mut self, runner: &str) {
        if let Some(kill) = self.pods.get(runner).and_then(|pod| pod.kill.as_ref()) {
            kill.send_replace(true);
        }
    }

    /// Takes a pod away, with its process.
    pub(super) fn remove_pod(&mut self, runner: &str) {
        self.kill(runner);
        if self.pods.remove(runner).is_some() {
            self.tell(&Observation::Gone(runner.to_owned()));
        }
    }

    pub(super) fn sweep(&mut self, controller: &str) -> usize {
        let before = self.secrets.len();
        let (pods, making) = (&self.pods, &self.making);
        let in_use = |runner: &String| pods.contains_key(runner) || making.contains(runner);
        self.secrets.retain(|runner, owner| owner != controller || in_use(runner));
        before - self.secrets.len()
    }

    pub(super) fn objects(&self) -> Vec<String> {
        let pods = self.pods.keys().map(|name| format!("pod/{name}"));
        pods.chain(self.secrets.keys().map(|name| format!("secret/{name}"))).collect()
    }

    pub(super) fn alive(&self) -> Vec<String> {
        let alive = self.pods.values().filter(|pod| matches!(pod.observed.phase, RunnerPhase::Running { .. }));
        alive.map(|pod| pod.observed.name.clone()).collect()
    }

    pub(super) fn created(&self) -> usize {
        self.created
    }

    pub(super) fn write(&mut self, runner: &str, line: &str) {
        if let Some(pod) = self.pods.get_mut(runner) {
            pod.log.push(line.to_owned());
        }
    }

    /// The last lines of a runner's log; `None` if there is no such runner.
    pub(super) fn log(&self, runner: &str, lines: usize) -> Option<String> {
        let log = &self.pods.get(runner)?.log;
        Some(log[log.len().saturating_sub(lines)..].iter().map(|line| format!("{line}\n")).collect())
    }

    fn all(&self) -> Observation {
        Observation::Snapshot(self.pods.values().map(|pod| pod.observed.clone()).collect())
    }

    fn tell(&mut self, news: &Observation) {
        if !self.unreachable {
            self.tell_anyway(news);
        }
    }

    fn tell_anyway(&mut self, news: &Observation) {
        self.observers.retain(|observer| observer.send(news.clone()).is_ok());
    }
}

fn owner(pod: &Value) -> Option<Owner> {
    let texts = |field: &str| -> BTreeMap<String, String> {
        let map = pod.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        map.into_iter().flatten().filter_map(text).collect()
    };
    Owner::read(&texts("labels"), &texts("annotations"))
}
