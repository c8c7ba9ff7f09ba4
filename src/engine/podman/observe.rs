//! Watching a Podman host.
//!
//! Events are only a bell: they come late, twice or not at all, and do not say what there is. At each ring, pods and
//! containers with a runner's label are listed and compared with what was told. So one change costs two calls, however
//! many runners there are; a runner that was killed by signal 9 costs one inspect, once. All changes during a listing
//! cost one more. Without events the lists are read at every pulse.
//!
//! What Podman does not notice itself it is asked at a slower pulse: a container whose `conmon` was killed runs forever in
//! all its lists (`podman ps --sync` does not see it either), so each runner's processes are looked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::{Observation, ObservedRunner, RunnerPhase, label};
use super::Inner;
use super::judge::{self, Findings};
use super::service::CallError;
use crate::causes;

/// Between two listings, so that a burst of events costs few of them.
const REST: Duration = Duration::from_millis(100);
/// Lists are read this often without a ring: an event may be lost.
const PULSE: Duration = Duration::from_secs(10);
/// The first pulse comes sooner: Podman may begin to collect events a moment after it answers.
const FIRST_PULSE: Duration = Duration::from_secs(1);
/// Processes are looked for this often: it is one call per running runner.
const LOOK: Duration = Duration::from_secs(30);
/// Between attempts to reach a host that is away.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Observations that wait for a slow reader.
const WAITING: usize = 64;

type Runners = BTreeMap<String, ObservedRunner>;

/// The stream's end is the end of the task behind it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn observe(engine: Arc<Inner>) -> BoxStream<'static, Observation> {
    // The task begins with the first poll: whoever makes a stream need not be in a runtime.
    let begin = async move {
        let (sender, receiver) = mpsc::channel(WAITING);
        let task = Task(tokio::spawn(watch(engine, sender)));
        stream::unfold((receiver, task), |(mut receiver, task)| async move {
            receiver.recv().await.map(|observation| (observation, (receiver, task)))
        })
    };
    stream::once(begin).flatten().boxed()
}

async fn watch(engine: Arc<Inner>, sender: mpsc::Sender<Observation>) {
    let mut pause = BACK_OFF.0;
    loop {
        let mut watcher = Watcher { engine: &engine, sender: &sender, told: None, findings: Findings::default() };
        let Err(error) = watcher.run().await else { return };
        if watcher.told.is_some() {
            pause = BACK_OFF.0;
        }
        let words = causes::in_one_line(&error);
        tracing::debug!(engine = engine.name, error = words, "the Podman host cannot be asked");
        if sender.send(Observation::Unreachable(format!("{}: {words}", engine.name))).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the stream of events broke")]
    Events(#[from] hyper::Error),
    #[error("the stream of events ended")]
    Ended,
}

/// One connection's worth of watching.
struct Watcher<'a> {
    engine: &'a Inner,
    sender: &'a mpsc::Sender<Observation>,
    told: Option<Runners>,
    findings: Findings,
}

impl Watcher<'_> {
    /// Ends well only if no one listens any more.
    async fn run(&mut self) -> Result<(), Broken> {
        let mut bell = self.engine.service.events().await?.map(http::Response::into_body);
        let mut pulse = Instant::now() + FIRST_PULSE;
        let mut look = Instant::now() + LOOK;
        loop {
            let now = Instant::now();
            let looks = now >= look;
            if looks {
                look = now + LOOK;
            }
            if self.list(looks).await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
            tokio::select! {
                rung = ring(&mut bell) => rung?,
                () = tokio::time::sleep_until(pulse) => pulse = Instant::now() + PULSE,
                () = self.sender.closed() => return Ok(()),
            }
            // What has come meanwhile is answered by the same listing.
            while let Some(rung) = futures::FutureExt::now_or_never(ring(&mut bell)) {
                rung?;
            }
        }
    }

    /// Lists and tells the difference; `None` if no one listens.
    async fn list(&mut self, looks: bool) -> Result<Option<()>, CallError> {
        let service = &self.engine.service;
        // A container that is listed has its pod in the later list, unless that is gone again.
        let containers = service.containers(label::RUNNER).await?;
        let pods = service.pods(label::RUNNER).await?;
        let known = |id: &str| containers.iter().any(|container| container.id == id);
        self.findings.out_of_memory.retain(|id, _| known(id));
        self.findings.without_process.retain(|id| known(id));
        for id in judge::killed(&containers) {
            if !self.findings.out_of_memory.contains_key(id) {
                let inspected = service.inspect(id).await?;
                let out_of_memory = inspected.is_some_and(|inspected| inspected.state.out_of_memory);
                self.findings.out_of_memory.insert(id.to_owned(), out_of_memory);
            }
        }
        if looks {
            for id in judge::running(&containers) {
                if !self.findings.without_process.iter().any(|known| known == id) && self.is_empty(id).await? {
                    self.findings.without_process.push(id.to_owned());
                }
            }
        }
        let runners = judge::runners(&pods, &containers, &self.findings);
        let runners: Runners = runners.into_iter().map(|runner| (runner.name.clone(), runner)).collect();
        let told = self.told.take();
        let runners = told.iter().fold(runners, |runners, told| never_back(told, runners));
        let news = match told {
            None => vec![Observation::Snapshot(runners.values().cloned().collect())],
            Some(told) => difference(&told, &runners),
        };
        self.told = Some(runners);
        for observation in news {
            if self.sender.send(observation).await.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Whether a container that Podman believes to run has no process. One that ends just now is seen ending: the
    /// question is asked again a moment later, and of its list as well.
    async fn is_empty(&self, id: &str) -> Result<bool, CallError> {
        let service = &self.engine.service;
        for attempt in 0..2 {
            if attempt > 0 {
                tokio::time::sleep(REST).await;
            }
            match service.has_processes(id).await {
                Ok(true) | Err(CallError::Said { .. }) => return Ok(false),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        let containers = service.containers(label::RUNNER).await?;
        Ok(judge::running(&containers).any(|running| running == id))
    }
}

/// A pod that is being removed loses its containers before it goes, and would look like one that starts.
fn never_back(told: &Runners, mut now: Runners) -> Runners {
    for (name, runner) in &mut now {
        let before = told.get(name).filter(|before| before.created_at == runner.created_at);
        if let Some(before) = before.filter(|before| !matches!(before.phase, RunnerPhase::Starting { .. }))
            && matches!(runner.phase, RunnerPhase::Starting { .. })
        {
            runner.phase = before.phase.clone();
        }
    }
    now
}

fn difference(told: &Runners, now: &Runners) -> Vec<Observation> {
    let gone = told.keys().filter(|name| !now.contains_key(*name)).cloned().map(Observation::Gone);
    let changed = now.iter().filter(|(name, runner)| told.get(*name) != Some(runner));
    gone.chain(changed.map(|(_, runner)| Observation::Changed(runner.clone()))).collect()
}

/// The next event, whatever it says. Without events this never comes.
async fn ring(bell: &mut Option<Incoming>) -> Result<(), Broken> {
    match bell {
        None => std::future::pending().await,
        Some(body) => match body.frame().await {
            Some(frame) => Ok(frame.map(drop)?),
            None => Err(Broken::Ended),
        },
    }
}
