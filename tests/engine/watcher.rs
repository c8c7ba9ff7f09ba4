//! Follows what an engine observes, and waits for a state of it.

use std::collections::BTreeMap;
use std::time::Duration;

use deskrun::engine::{Engine, Observation, ObservedRunner, RunnerPhase};
use futures::StreamExt;
use futures::stream::BoxStream;

const PATIENCE: Duration = Duration::from_secs(45);

pub struct Watcher {
    stream: BoxStream<'static, Observation>,
    pub runners: BTreeMap<String, ObservedRunner>,
}

impl Watcher {
    /// Subscribes; the first observation has to be a snapshot.
    pub async fn new(engine: &dyn Engine) -> Self {
        let mut watcher = Self { stream: engine.observe(), runners: BTreeMap::new() };
        let first = watcher.next().await;
        assert!(matches!(first, Observation::Snapshot(_)), "{first:?}");
        watcher
    }

    pub async fn next(&mut self) -> Observation {
        let next = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing is observed any more; there is {:#?}", self.runners));
        let observation = next.expect("the stream does not end");
        match observation.clone() {
            Observation::Snapshot(runners) => {
                self.runners = runners.into_iter().map(|runner| (runner.name.clone(), runner)).collect();
            }
            Observation::Changed(runner) => drop(self.runners.insert(runner.name.clone(), runner)),
            Observation::Gone(name) => drop(self.runners.remove(&name)),
            Observation::Unreachable(_) => {}
        }
        observation
    }

    /// Waits until the runner's phase passes; the runner.
    pub async fn until(&mut self, name: &str, passes: impl Fn(&RunnerPhase) -> bool) -> ObservedRunner {
        loop {
            if let Some(runner) = self.runners.get(name).filter(|runner| passes(&runner.phase)) {
                return runner.clone();
            }
            self.next().await;
        }
    }

    pub async fn until_running(&mut self, name: &str) -> ObservedRunner {
        let begun = |phase: &RunnerPhase| phase.has_ended() || matches!(phase, RunnerPhase::Running { .. });
        let runner = self.until(name, begun).await;
        assert!(!runner.phase.has_ended(), "{runner:?}");
        runner
    }

    pub async fn until_gone(&mut self, name: &str) {
        while self.runners.contains_key(name) {
            self.next().await;
        }
    }
}
