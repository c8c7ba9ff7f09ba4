//! The engine in memory on the bench: its processes are tasks that do what a manifest's variable says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use deskrun::engine::memory::{Call, Fault, Faults, MemoryEngine, Outcome, Process, Start};
use deskrun::engine::{Engine, EngineError};
use deskrun::manifest::RunnerManifest;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::bench::{Bench, Breakable, Runner};
use crate::podman_bench;

const BEHAVIOUR: &str = "BEHAVIOUR";

/// What a process was told by a test: the code with which it ends.
type Ends = Arc<Mutex<BTreeMap<String, watch::Sender<Option<u8>>>>>;

#[derive(Debug)]
pub struct MemoryBench {
    engine: MemoryEngine,
    ends: Ends,
}

#[derive(Debug, Default)]
struct Scripted {
    ends: Ends,
}

fn end_of(ends: &Ends, runner: &str) -> watch::Sender<Option<u8>> {
    ends.lock().expect("no panic").entry(runner.to_owned()).or_insert_with(|| watch::Sender::new(None)).clone()
}

impl Process for Scripted {
    fn run(&self, mut start: Start) -> BoxFuture<'static, i32> {
        let mut told = end_of(&self.ends, &start.runner).subscribe();
        async move {
            let behaviour = start.environment.get(BEHAVIOUR).cloned().unwrap_or_default();
            if behaviour == "Speaks" {
                (1..=3).for_each(|number| start.log.line(&format!("line {number}")));
                return 0;
            }
            tokio::select! {
                code = async { told.wait_for(Option::is_some).await.ok().and_then(|code| *code) } => {
                    i32::from(code.unwrap_or_default())
                }
                () = async { drop(start.signals.wait_for(Option::is_some).await) }, if behaviour != "IgnoresTerm" => 143,
            }
        }
        .boxed()
    }
}

impl Default for MemoryBench {
    fn default() -> Self {
        let ends = Ends::default();
        let engine = MemoryEngine::new(Arc::new(Scripted { ends: Arc::clone(&ends) }), Timestamp::now);
        engine.set_faults(Faults::new(|call, runner| {
            let fails = call == Call::Start && runner.starts_with("unprepared");
            let message = "prepared nothing".to_owned();
            let error = EngineError::Failed { call: "run the init container `prepare`, which ended with 3", message };
            let outcome = if fails { Outcome::FailsBefore(error) } else { Outcome::Succeeds };
            Fault { outcome, ..Fault::default() }
        }));
        Self { engine, ends }
    }
}

impl Bench for MemoryBench {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        let mut manifest = podman_bench::manifest(runner);
        let behaviour = json!({"name": BEHAVIOUR, "value": format!("{:?}", runner.behaviour)});
        Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["env"]
            .as_array_mut()
            .expect("a list")
            .push(behaviour);
        manifest
    }

    fn end<'a>(&'a self, runner: &'a str, code: u8) -> BoxFuture<'a, ()> {
        async move {
            end_of(&self.ends, runner).send_replace(Some(code));
        }
        .boxed()
    }

    fn leftovers<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Vec<String>> {
        async move { self.engine.objects().into_iter().filter(|object| object.contains(text)).collect() }.boxed()
    }

    fn abandon<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, ()> {
        async move { self.engine.abandon(manifest) }.boxed()
    }

    fn breakable(&self) -> BoxFuture<'_, Box<dyn Breakable>> {
        async { Box::new(Self::default()) as Box<dyn Breakable> }.boxed()
    }
}

impl Breakable for MemoryBench {
    fn engine(&self) -> Arc<dyn Engine> {
        Bench::engine(self)
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        Bench::manifest(self, runner)
    }

    fn break_down(&mut self) -> BoxFuture<'_, ()> {
        async { self.engine.set_reachable(false) }.boxed()
    }

    fn mend(&mut self) -> BoxFuture<'_, ()> {
        async { self.engine.set_reachable(true) }.boxed()
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}
