//! A client and a listener against the simulator, in one process, with one clock: tokio's, held still.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deskrun::github::{
    ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, Identity, NewScaleSet, ScaleSet, Transport,
    counted,
};
use deskrun::listener::{Demand, JobNews, Listener, Memory, Outlets, Phase, Volatile};
use deskrun::secret::Secret;
use deskrun::simulator::{Action, Generation, JobRequest, Options, Rule, Simulator, Trigger};
use rand::SeedableRng;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use crate::support::simulated::transport;

/// The label and name of the scale set of all tests.
pub const NAME: &str = "metal";

/// GitHub's side, and our client of it.
pub struct World {
    pub simulator: Simulator,
    pub service: ActionsService,
    pub environment: Environment,
}

impl World {
    pub fn new(generation: Generation, seed: u64) -> Self {
        Self::with(Options { generation, seed, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        Self::bounded(options, usize::MAX)
    }

    /// A client that panics after so many calls: a hot loop in standing time would never end.
    pub fn bounded(options: Options, calls: usize) -> Self {
        let seed = options.seed;
        let simulator = Simulator::new(options).expect("the options are right");
        let environment = environment(&simulator, seed);
        let token = Credentials::Token(Secret::new("ghp_example"));
        let count = Arc::new(AtomicUsize::new(0));
        let transport = counted(transport(&simulator), move |call| {
            assert!(count.fetch_add(1, Ordering::Relaxed) < calls, "a hot loop: cannot {call}");
        });
        let service = service_over(transport, &environment, token, "http://127.0.0.1/acme");
        Self { simulator, service, environment }
    }

    pub async fn scale_set(&self) -> ScaleSet {
        let new = NewScaleSet { name: NAME.to_owned(), runner_group_id: 1, labels: Vec::new() };
        self.service.create_scale_set(&new).await.expect("the scale set is made")
    }

    pub fn queue(&self, count: u32) -> Vec<String> {
        let request = JobRequest { labels: vec![NAME.to_owned()], count: Some(count), ..JobRequest::default() };
        self.simulator.queue(&request)
    }

    /// How often a route was called.
    pub fn calls(&self, route: &str) -> usize {
        let calls = self.simulator.calls();
        calls.as_array().into_iter().flatten().filter(|call| call["route"] == route).count()
    }

    pub fn all_calls(&self) -> usize {
        self.simulator.calls().as_array().map_or(0, Vec::len)
    }

    /// How many jobs the scale set owns, by GitHub's own books.
    pub fn owned(&self) -> i64 {
        let ledger = self.simulator.ledger();
        let jobs = ledger["jobs"].as_array().cloned().unwrap_or_default();
        let owned = |job: &&Value| matches!(job["status"].as_str(), Some("assigned" | "running"));
        i64::try_from(jobs.iter().filter(owned).count()).expect("few jobs")
    }

    pub fn sessions(&self) -> usize {
        self.simulator.ledger()["sessions"].as_array().map_or(0, Vec::len)
    }

    pub fn fault(&self, route: &str, on: Trigger, action: Action) {
        self.simulator.add_faults(vec![Rule { route: route.to_owned(), on, action }]);
    }

    pub fn listen(&self, scale_set: i64, owner: &str) -> Ears {
        self.listen_with(scale_set, owner, Arc::new(Volatile::default()))
    }

    pub fn listen_with(&self, scale_set: i64, owner: &str, memory: Arc<dyn Memory>) -> Ears {
        let (capacity, capacity_in) = watch::channel(1000);
        let (demand_out, demand) = watch::channel(Demand::default());
        let (news_out, news) = mpsc::unbounded_channel();
        let (stop, stop_in) = watch::channel(false);
        let outlets = Outlets { capacity: capacity_in, demand: demand_out, news: news_out, stop: stop_in };
        let listener =
            Listener::new(self.service.clone(), self.environment.clone(), scale_set, owner.to_owned(), memory, outlets);
        Ears { capacity, demand, news, stop, task: tokio::spawn(listener.run()) }
    }
}

/// A running listener.
pub struct Ears {
    pub capacity: watch::Sender<u32>,
    pub demand: watch::Receiver<Demand>,
    pub news: mpsc::UnboundedReceiver<JobNews>,
    stop: watch::Sender<bool>,
    pub task: JoinHandle<()>,
}

impl Ears {
    /// Waits (in simulated time) until the demand is as wanted; panics with both sides if it never is.
    pub async fn until(&mut self, world: &World, what: &str, wanted: impl Fn(&Demand) -> bool) -> Demand {
        /// Longer than every backoff, conflict and hold together.
        const PATIENCE: Duration = Duration::from_mins(15);
        let found = tokio::time::timeout(PATIENCE, self.demand.wait_for(|demand| wanted(demand))).await;
        match found {
            Ok(Ok(demand)) => demand.clone(),
            other => {
                drop(other);
                panic!("{what} never came: {:?}\n{:#}", self.demand.borrow().clone(), world.simulator.ledger())
            }
        }
    }

    pub async fn until_assigned(&mut self, world: &World, jobs: i64) -> Demand {
        let wanted =
            move |demand: &Demand| demand.statistics.is_some_and(|statistics| statistics.assigned_jobs == jobs);
        self.until(world, &format!("{jobs} assigned jobs"), wanted).await
    }

    pub async fn until_listening(&mut self, world: &World) -> Demand {
        self.until(world, "listening", |demand| demand.phase == Phase::Listening).await
    }

    /// Tells the listener to stop and waits for it.
    pub async fn close(self) {
        self.stop.send_replace(true);
        self.task.await.expect("the listener did not panic");
    }
}

pub fn environment(simulator: &Simulator, seed: u64) -> Environment {
    let clock = simulator.clone();
    Environment::new(move || clock.now(), rand::rngs::StdRng::seed_from_u64(seed))
}

pub fn service(
    simulator: &Simulator,
    environment: &Environment,
    credentials: Credentials,
    url: &str,
) -> ActionsService {
    service_over(transport(simulator), environment, credentials, url)
}

fn service_over(
    transport: Transport,
    environment: &Environment,
    credentials: Credentials,
    url: &str,
) -> ActionsService {
    let url = ConfigUrl::parse(url, ConfigUrlOptions::default()).expect("a config URL");
    let identity = Identity { subsystem: "listener", scale_set_id: 0 };
    ActionsService::new(url, credentials, transport, environment.clone(), &identity)
}
