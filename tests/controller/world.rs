//! GitHub's side, an engine in memory, and a controller between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deskrun::controller::{Order, ScaleSetStatus, Shared, Slots, Specification};
use deskrun::engine::memory::MemoryEngine;
use deskrun::github::{ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, Identity, Transport};
use deskrun::listener::{Memory, Volatile};
use deskrun::manifest::EngineKind;
use deskrun::metrics::Metrics;
use deskrun::operator::{Desired, Operator};
use deskrun::secret::Secret;
use deskrun::simulator::{Action, JobRequest, Options, Rule, Simulator, Trigger};
use rand::SeedableRng;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::pipeline;
use crate::support::simulated::{Manner, TaskRunner, transport};

pub const NAME: &str = "metal";
/// The id of the controller, as `pipeline::prepared` writes it into labels.
pub const CONTROLLER: &str = "test";
/// Longer than all timers and backoffs together.
const PATIENCE: Duration = Duration::from_mins(90);

pub struct World {
    pub simulator: Simulator,
    pub engine: MemoryEngine,
    pub runner: TaskRunner,
    pub shared: Shared,
    pub service: ActionsService,
    pub memory: Arc<dyn Memory>,
    pub specification: Specification,
}

/// What a scale set of the tests is like.
pub struct Wish {
    pub min: u32,
    pub max: u32,
    /// More lines of the spec.
    pub more: &'static str,
}

impl Default for Wish {
    fn default() -> Self {
        Self { min: 0, max: 10, more: "" }
    }
}

/// The specification of a wish. It is made once in the process: hundreds of runs wish for the same few, and making one costs
/// as much as a third of a run.
pub fn specification(wish: &Wish) -> Specification {
    static MADE: Mutex<BTreeMap<(u32, u32, &str), Specification>> = Mutex::new(BTreeMap::new());
    let Wish { min, max, more } = *wish;
    let mut made = MADE.lock().expect("no panic");
    made.entry((min, max, more)).or_insert_with(|| new_specification(min, max, more)).clone()
}

fn new_specification(min: u32, max: u32, more: &str) -> Specification {
    let text = format!(
        "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: {NAME}}}\nspec:\n  githubConfigUrl: https://github.com/acme\n  containerMode: cached-privileged-kubernetes\n  minRunners: {min}\n  maxRunners: {max}\n{more}"
    );
    let scale_set = pipeline::scale_set(&text).expect("a spec");
    let prepared = pipeline::prepared(&scale_set, EngineKind::Podman, &[]).expect("a manifest");
    Specification::new(&scale_set, &scale_set.instances()[0], prepared)
}

impl World {
    pub fn new(wish: &Wish, manner: Manner) -> Self {
        Self::with(wish, manner, Options::default())
    }

    pub fn with(wish: &Wish, manner: Manner, options: Options) -> Self {
        Self::through(wish, manner, options, |transport| transport)
    }

    /// With something between the client and GitHub's side.
    pub fn through(wish: &Wish, manner: Manner, options: Options, wrap: impl FnOnce(Transport) -> Transport) -> Self {
        let seed = options.seed;
        let simulator = Simulator::new(options).expect("the options are right");
        let clock = simulator.clone();
        let runner = TaskRunner::new(&simulator, manner);
        let engine = MemoryEngine::new(Arc::new(runner.clone()), move || clock.now());
        let clock = simulator.clone();
        let environment = Environment::new(move || clock.now(), rand::rngs::StdRng::seed_from_u64(seed));
        let service = service(wrap(transport(&simulator)), &environment);
        let shared = Shared {
            engine: Arc::new(engine.clone()),
            environment: environment.clone(),
            slots: Slots::default(),
            metrics: Metrics::default(),
            calls: Shared::calls(),
            owner: "deskrun".to_owned(),
            keeps_stock: true,
        };
        let memory = Arc::new(Volatile::default());
        Self { simulator, engine, runner, shared, service, memory, specification: specification(wish) }
    }

    pub fn desired(&self) -> Desired {
        Desired {
            specification: self.specification.clone(),
            service: self.service.clone(),
            memory: Arc::clone(&self.memory),
        }
    }

    /// A controller that serves.
    pub fn start(&self) -> Operator {
        self.start_with(Arc::clone(&self.memory))
    }

    /// One that remembers something else.
    pub fn start_with(&self, memory: Arc<dyn Memory>) -> Operator {
        let shared = Shared { slots: Slots::default(), calls: Shared::calls(), ..self.shared.clone() };
        let mut operator = Operator::start(shared, CONTROLLER.to_owned());
        operator.apply(vec![Desired { memory, ..self.desired() }], Order::Drain);
        operator
    }

    pub fn queue(&self, count: u32, script: &str) -> Vec<String> {
        let request = JobRequest {
            labels: vec![NAME.to_owned()],
            count: Some(count),
            script: Some(script.to_owned()),
            ..JobRequest::default()
        };
        self.simulator.queue(&request)
    }

    pub fn fault(&self, route: &str, on: Trigger, action: Action) {
        self.simulator.add_faults(vec![Rule { route: route.to_owned(), on, action }]);
    }

    /// Makes a runner group at GitHub; its id.
    pub async fn make_runner_group(&self, name: &str) -> i64 {
        let body = serde_json::json!({"scope": "/acme", "name": name}).to_string();
        let request = http::Request::post("http://127.0.0.1/control/groups").body(body.into()).expect("a request");
        let answer = transport(&self.simulator).oneshot(request).await.expect("an answer");
        let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
        answer["id"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// Waits, in simulated time, until something is so; looks whenever anything may have changed.
    pub async fn until(&self, what: &str, operator: &Operator, so: impl Fn(&Self) -> bool) {
        /// How finely simulated time is looked at, at first and after a minute.
        const STEPS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(2)];
        let started = tokio::time::Instant::now();
        let end = started + PATIENCE;
        while !so(self) {
            if tokio::time::Instant::now() > end {
                let report = serde_json::to_string_pretty(&operator.report()).expect("JSON");
                panic!("{what} never came:\n{report}\n{:#}\n{:?}", self.simulator.ledger(), self.engine.objects());
            }
            let long = started.elapsed() > Duration::from_mins(1);
            tokio::time::sleep(STEPS[usize::from(long)]).await;
        }
    }

    pub async fn until_jobs_end(&self, operator: &Operator) {
        let all = |world: &Self| world.jobs().iter().all(|job| job["status"] == "completed");
        self.until("the end of all jobs", operator, all).await;
    }

    /// Ends the controller in good order; nothing may be left anywhere.
    pub async fn end(&self, operator: &mut Operator) {
        let left = operator.end(Order::Drain).await;
        assert_eq!(left, [], "{:#}", self.simulator.ledger());
        self.assert_nothing_left();
    }

    pub fn assert_nothing_left(&self) {
        let ledger = self.simulator.ledger();
        assert_eq!(self.engine.objects(), Vec::<String>::new(), "pods and secrets");
        assert_eq!(ledger["runners"].as_array().map(Vec::len), Some(0), "registrations: {:#}", ledger["runners"]);
        assert_eq!(ledger["sessions"].as_array().map(Vec::len), Some(0), "sessions");
    }

    pub fn jobs(&self) -> Vec<Value> {
        self.simulator.ledger()["jobs"].as_array().cloned().unwrap_or_default()
    }

    pub fn conclusions(&self) -> Vec<String> {
        self.jobs().iter().map(|job| job["conclusion"].as_str().unwrap_or("none").to_owned()).collect()
    }

    pub fn status(operator: &Operator) -> ScaleSetStatus {
        operator.report().scale_sets.into_iter().next().unwrap_or_default()
    }
}

pub fn service(transport: Transport, environment: &Environment) -> ActionsService {
    let url = ConfigUrl::parse("http://127.0.0.1/acme", ConfigUrlOptions::default()).expect("a config URL");
    let token = Credentials::Token(Secret::new("ghp_example"));
    let identity = Identity { subsystem: "controller", scale_set_id: 0 };
    ActionsService::new(url, token, transport, environment.clone(), &identity)
}
