//! GitHub's side 150 ms away, an engine in memory, and a controller between them; in one process, in real time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deskrun::controller::{Order, ScaleSetStatus, ServingPhase, Shared, Slots, Specification};
use deskrun::engine::memory::MemoryEngine;
use deskrun::github::{ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, Identity};
use deskrun::listener::Volatile;
use deskrun::manifest::EngineKind;
use deskrun::metrics::Metrics;
use deskrun::operator::{Desired, Operator};
use deskrun::secret::Secret;
use deskrun::simulator::{Generation, JobRequest, Levers, Options, Simulator};
use serde_json::Value;

use super::FLAGSHIP;
use super::pipeline;
use super::recording::{Notes, RecordingEngine, RecordingProcess};
use super::simulated::{Manner, TaskRunner, transport};

/// One round trip to GitHub.
pub const ROUND_TRIP: Duration = Duration::from_millis(150);
const NAME: &str = "metal";
/// The id of the controller, as `pipeline::prepared` writes it into labels.
const CONTROLLER: &str = "test";
/// Longer than anything here takes; what never comes is a bug, not a figure.
const PATIENCE: Duration = Duration::from_mins(1);
/// After this without a call nothing is under way but a poll that is held.
const QUIET: Duration = Duration::from_millis(600);

/// What a world is like.
#[derive(Clone, Copy)]
pub struct Wish {
    pub generation: Generation,
    pub keeps_stock: bool,
    /// `maxRunners`, and with it the number of slots.
    pub max: u32,
}

pub struct World {
    pub notes: Notes,
    simulator: Simulator,
    engine: MemoryEngine,
    operator: Operator,
    keeps_stock: bool,
}

impl World {
    /// A controller that polls, with a JIT config in stock if it keeps one, and nothing else under way.
    pub async fn start(wish: Wish) -> Self {
        let simulator = Simulator::new(Options {
            generation: wish.generation,
            latency_milliseconds: u32::try_from(ROUND_TRIP.as_millis()).expect("a short time"),
            levers: Levers { batch_messages: true, ..Levers::default() },
            ..Options::default()
        });
        let simulator = simulator.expect("the options are right");
        let notes = Notes::default();
        let (environment, clock) = (Environment::system(), Environment::system());
        let process =
            RecordingProcess { process: TaskRunner::new(&simulator, Manner::default()), notes: notes.clone() };
        let engine = MemoryEngine::new(Arc::new(process), move || clock.now());
        let url = ConfigUrl::parse("http://127.0.0.1/acme", ConfigUrlOptions::default()).expect("a config URL");
        let service = ActionsService::new(
            url,
            Credentials::Token(Secret::new("ghp_example")),
            notes.transport(transport(&simulator)),
            environment.clone(),
            &Identity { subsystem: "controller", scale_set_id: 0 },
        );
        let shared = Shared {
            engine: Arc::new(RecordingEngine { engine: engine.clone(), notes: notes.clone() }),
            environment,
            slots: Slots::default(),
            metrics: Metrics::default(),
            calls: Shared::calls(),
            owner: "bench".to_owned(),
            keeps_stock: wish.keeps_stock,
        };
        let mut operator = Operator::start(shared, CONTROLLER.to_owned());
        let desired =
            Desired { specification: specification(wish.max), service, memory: Arc::new(Volatile::default()) };
        operator.apply(vec![desired], Order::Drain);
        let world = Self { notes, simulator, engine, operator, keeps_stock: wish.keeps_stock };
        world.rest().await;
        world
    }

    pub fn queue(&self, count: u32, script: &str) {
        let request = JobRequest {
            labels: vec![NAME.to_owned()],
            count: Some(count),
            script: Some(script.to_owned()),
            ..JobRequest::default()
        };
        self.simulator.queue(&request);
    }

    /// Waits until all jobs have ended well, nothing is left of their runners, all messages are handled, and nothing is
    /// under way but a poll.
    pub async fn rest(&self) {
        let end = Instant::now() + PATIENCE;
        let mut quiet_since = Instant::now();
        let mut calls = 0;
        while quiet_since.elapsed() < QUIET {
            assert!(Instant::now() < end, "it never came to rest: {:#}", self.simulator.ledger());
            tokio::time::sleep(Duration::from_millis(50)).await;
            // GitHub's ledger is long in a burst, and it is asked only when we have nothing to do any more: looking must
            // not slow down what is looked at.
            let now = if self.is_idle() && self.is_github_idle() { self.calls() } else { 0 };
            if now == 0 || now != calls {
                (calls, quiet_since) = (now, Instant::now());
            }
        }
    }

    fn is_idle(&self) -> bool {
        let status = self.status();
        let nothing = status.runners.is_empty() && self.engine.objects().is_empty();
        nothing && status.phase == ServingPhase::Listening && status.prepared == self.keeps_stock
    }

    fn is_github_idle(&self) -> bool {
        let ledger = self.simulator.ledger();
        let all =
            |list: &str, holds: fn(&Value) -> bool| ledger[list].as_array().is_some_and(|all| all.iter().all(holds));
        all("jobs", |job| job["conclusion"] == "success") && all("scaleSets", |set| set["undeletedMessages"] == 0)
    }

    /// How many calls GitHub's side has answered, without polls and without those of the runners' processes.
    pub fn calls(&self) -> u64 {
        let ledger = self.simulator.ledger();
        let calls = ledger["calls"].as_object().expect("calls by route");
        let counts = calls.iter().filter(|(route, _)| *route != "poll" && !route.starts_with("sim-"));
        counts.filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// How many runners were ever made.
    pub fn created(&self) -> usize {
        self.engine.created()
    }

    fn status(&self) -> ScaleSetStatus {
        self.operator.report().scale_sets.into_iter().next().unwrap_or_default()
    }
}

fn specification(max: u32) -> Specification {
    let text = format!(
        "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: {NAME}}}\nspec:\n  \
         githubConfigUrl: https://github.com/acme\n  maxRunners: {max}\n{FLAGSHIP}"
    );
    let scale_set = pipeline::scale_set(&text).expect("a spec");
    let prepared = pipeline::prepared(&scale_set, EngineKind::Podman, &[]).expect("a manifest");
    Specification::new(&scale_set, &scale_set.instances()[0], prepared)
}
