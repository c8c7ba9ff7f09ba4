//! Random schedules: latency, loss, duplication, late news, failures of the engine, cancelled jobs, and a controller that is
//! killed before and after every call that has an effect. At the end of each the invariants of `design.md` 7 hold.
//!
//! A run is replayed with `DESKRUN_SEED=N DESKRUN_RUNS=1`, with its log with `DESKRUN_LOG=info`; more runs with
//! `DESKRUN_RUNS`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deskrun::engine::EngineError;
use deskrun::engine::memory::{Call, Fault, Faults, Outcome};
use deskrun::github::{CallName, Request, Transport};
use deskrun::operator::Operator;
use deskrun::simulator::{Action, Generation, Levers, Options, Trigger};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::runtime::{Builder, RngSeed};
use tokio::sync::Notify;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::support::simulated::Manner;
use crate::world::{Wish, World};

/// Calls of GitHub's that change something, by the client's words for them.
const GITHUB: [&str; 7] = [
    "create the scale set",
    "open a message session",
    "close the message session",
    "acquire jobs",
    "acknowledge a message",
    "get a runner's JIT config",
    "remove a runner",
];
/// Routes of the controller; what a runner's own line suffers is not the controller's to mend.
const ROUTES: [&str; 14] = [
    "registration-token",
    "runner-registration",
    "scale-set-list",
    "scale-set-create",
    "jit-config",
    "runner-list",
    "runner-get",
    "runner-delete",
    "session-create",
    "session-refresh",
    "session-delete",
    "poll",
    "acknowledge",
    "acquire",
];
/// Calls of the engine that change something.
const ENGINE: [Call; 5] = [Call::StoreSecret, Call::CreatePod, Call::RemovePod, Call::RemoveSecret, Call::Sweep];

/// A place where the controller can be killed: a call, and whether it has had its effect.
type Point = (&'static str, bool);

fn points() -> Vec<Point> {
    let calls = GITHUB.into_iter().chain(ENGINE.into_iter().map(Call::words));
    calls.flat_map(|call| [(call, false), (call, true)]).collect()
}

/// Kills the controller where it is told to.
#[derive(Clone, Debug, Default)]
struct Executioner {
    orders: Arc<Mutex<BTreeMap<Point, u32>>>,
    struck: Arc<Notify>,
    reached: Arc<Mutex<BTreeSet<Point>>>,
}

impl Executioner {
    fn strike_at(&self, point: Point, after: u32) {
        self.orders.lock().expect("no panic").insert(point, after);
    }

    fn stand_down(&self) {
        self.orders.lock().expect("no panic").clear();
    }

    /// Whether the controller dies here.
    fn strikes(&self, point: Point) -> bool {
        let mut orders = self.orders.lock().expect("no panic");
        match orders.get_mut(&point) {
            Some(0) => {
                orders.remove(&point);
                self.reached.lock().expect("no panic").insert(point);
                self.struck.notify_one();
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn between(&self, transport: Transport) -> Transport {
        let executioner = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
            let (executioner, transport) = (executioner.clone(), transport.clone());
            async move {
                let name = request.extensions().get::<CallName>().map_or("", |name| name.0);
                if executioner.strikes((name, false)) {
                    std::future::pending::<()>().await;
                }
                let answer = transport.oneshot(request).await;
                if executioner.strikes((name, true)) {
                    std::future::pending::<()>().await;
                }
                answer
            }
        }))
    }

    fn fault(&self, call: Call) -> Option<Fault> {
        /// As good as for ever: whoever waits is killed.
        const NEVER: Duration = Duration::from_secs(1_000_000);
        if self.strikes((call.words(), false)) {
            return Some(Fault { before: NEVER, ..Fault::default() });
        }
        self.strikes((call.words(), true)).then(|| Fault { after: NEVER, ..Fault::default() })
    }
}

/// What a run is made of, beside its faults.
struct Run {
    seed: u64,
    rng: StdRng,
    world: World,
    executioner: Executioner,
    operator: Option<Operator>,
    jobs: BTreeMap<String, &'static str>,
    cancelled: BTreeSet<String>,
    kills: u32,
    /// Whether answers to polls come so late that a runner's end is known long before its job's.
    late_news: bool,
    engine_failures: Arc<Mutex<u32>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let generation = if seed.is_multiple_of(2) { Generation::Broker } else { Generation::Pipelines };
        let levers = Levers {
            batch_messages: rng.random_bool(0.5),
            linger_seconds: if rng.random_bool(0.2) { 10 } else { 0 },
            ..Levers::default()
        };
        let latency_milliseconds = [0, 20, 150, 700][rng.random_range(0..4)];
        let options = Options { generation, seed, levers, latency_milliseconds, ..Options::default() };
        let manner = Manner {
            online_after: Duration::from_millis(rng.random_range(0..3000)),
            exit_after: Duration::from_millis([0, 0, 100, 300, 3000][rng.random_range(0..5)]),
            tells_late: Duration::from_millis([0, 0, 0, 100, 300][rng.random_range(0..5)]),
            ..Manner::default()
        };
        let wish = Wish { min: [0, 0, 1, 2][rng.random_range(0..4)], max: rng.random_range(2..6), more: "" };
        let executioner = Executioner::default();
        let world = World::through(&wish, manner, options, |transport| executioner.between(transport));
        let run = Self {
            seed,
            rng,
            world,
            executioner,
            operator: None,
            jobs: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            kills: 0,
            late_news: false,
            engine_failures: Arc::default(),
        };
        run.spoil_engine();
        run
    }

    /// Late news, slow calls, and now and then a call that fails with or without its effect.
    fn spoil_engine(&self) {
        let (executioner, failures) = (self.executioner.clone(), Arc::clone(&self.engine_failures));
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0xE);
        let (slow, chance) = (rng.random_range(0..1500), [0.0, 0.0, 0.05, 0.2][rng.random_range(0..4)]);
        self.world.engine.set_faults(Faults::new(move |call, _| {
            if let Some(fault) = executioner.fault(call) {
                return fault;
            }
            let mut wait = || Duration::from_millis(rng.random_range(0..=slow));
            let (before, after) = (wait(), wait());
            if matches!(call, Call::Observe | Call::Start) || !rng.random_bool(chance) {
                return Fault { before, after, outcome: Outcome::Succeeds };
            }
            *failures.lock().expect("no panic") += 1;
            let error = EngineError::Failed { call: call.words(), message: "as ordered".to_owned() };
            let outcome = if rng.random_bool(0.5) { Outcome::FailsBefore(error) } else { Outcome::FailsAfter(error) };
            Fault { before, after, outcome }
        }));
    }

    /// One more thing that happens.
    fn happen(&mut self, point: Point) {
        match self.rng.random_range(0..8) {
            0..=2 => {
                let (script, conclusion) =
                    [("sleep 2", "success"), ("sleep 30", "success"), ("sleep 1; exit 1", "failure")]
                        [self.rng.random_range(0..3)];
                let count = self.rng.random_range(1..4);
                self.jobs.extend(self.world.queue(count, script).into_iter().map(|id| (id, conclusion)));
            }
            3 if !self.jobs.is_empty() => {
                let nth = self.rng.random_range(0..self.jobs.len());
                let job = self.jobs.keys().nth(nth).cloned().unwrap_or_default();
                self.world.simulator.cancel(&job);
                self.cancelled.insert(job);
            }
            4 | 5 => {
                let after = self.rng.random_range(0..3);
                self.executioner.strike_at(point, after);
            }
            6 => self.world.simulator.expire_tokens(["admin", "queue"][self.rng.random_range(0..2)]),
            _ => {
                let chance = self.rng.random_range(0.05..0.4);
                let action = github_fault(&mut self.rng);
                let route = ROUTES[self.rng.random_range(0..ROUTES.len())];
                self.late_news |= route == "poll" && matches!(action, Action::Delay(seconds) if seconds > 8.0);
                self.world.fault(route, Trigger::Probability(chance), action);
            }
        }
    }

    /// Lets time pass; a controller that is killed meanwhile is started again after a moment.
    async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            if self.operator.is_none() {
                self.operator = Some(self.world.start());
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = self.executioner.struck.notified() => {
                    self.operator = None;
                    self.kills += 1;
                    tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..5000))).await;
                }
            }
        }
    }

    /// Plays it to its end; where the controller was killed, and every call that was made.
    async fn play(mut self) -> (BTreeSet<Point>, Value) {
        let all = points();
        let mut point = usize::try_from(self.seed / 2).unwrap_or_default();
        self.executioner.strike_at(all[point % all.len()], 0);
        for _ in 0..self.rng.random_range(4..12) {
            point += 7;
            self.happen(all[point % all.len()]);
            let seconds = self.rng.random_range(0..40);
            self.pass(Duration::from_secs(seconds)).await;
        }
        self.jobs.extend(self.world.queue(1, "sleep 2").into_iter().map(|id| (id, "success")));
        self.pass(Duration::from_secs(20)).await;
        self.world.simulator.clear_faults();
        self.executioner.stand_down();
        // A backoff or a lost session may have to run out first.
        self.pass(Duration::from_mins(3)).await;
        self.world.engine.set_faults(Faults::none());
        self.pass(Duration::from_secs(1)).await;
        let mut operator = self.operator.take().expect("it runs");
        self.world.until_jobs_end(&operator).await;
        tokio::time::sleep(Duration::from_mins(11)).await;
        let kept = usize::try_from(World::status(&operator).min_runners).unwrap_or_default();
        let seed = self.seed;
        assert_eq!(self.world.engine.alive().len(), kept, "seed {seed}: surplus runners stay");
        let left = operator.end(deskrun::controller::Order::Drain).await;
        assert_eq!(left, [], "seed {seed}");
        self.check(&operator);
        self.check_surplus(kept);
        let reached = self.executioner.reached.lock().expect("no panic").clone();
        (reached, self.world.simulator.calls())
    }

    /// The invariants of `design.md` 7.
    fn check(&self, operator: &Operator) {
        let seed = self.seed;
        self.world.assert_nothing_left();
        assert!(operator.report().slots.is_empty(), "seed {seed}: a slot is held");
        let ran = self.world.runner.ran.lock().expect("no panic").clone();
        for job in self.world.jobs() {
            let id = job["id"].as_str().unwrap_or_default();
            let (asked, times) = (self.jobs[id], ran.iter().filter(|ran| *ran == id).count());
            let conclusion = job["conclusion"].as_str().unwrap_or("none");
            if self.cancelled.contains(id) {
                assert!(times <= 1, "seed {seed}: the cancelled job {id} ran {times} times");
            } else {
                assert_eq!((conclusion, times), (asked, 1), "seed {seed}: job {id}");
            }
        }
    }

    /// A pod without a job was a spare one, or something was done to it.
    fn check_surplus(&self, min: usize) {
        let ran = self.world.runner.ran.lock().expect("no panic").len();
        let failures = usize::try_from(*self.engine_failures.lock().expect("no panic")).unwrap_or_default();
        let kills = usize::try_from(self.kills).unwrap_or_default();
        // Each controller that is killed has up to `min` spare runners that its successor may find gone.
        let late = if self.late_news { self.jobs.len() } else { 0 };
        let allowed = failures + self.cancelled.len() + min * (1 + kills) + late;
        let jobless = self.world.engine.created().saturating_sub(ran);
        assert!(jobless <= allowed, "seed {}: {jobless} runners without a job, {allowed} explained", self.seed);
    }
}

fn github_fault(rng: &mut StdRng) -> Action {
    let status = |code| Action::Status { code, retry_after: None, body: None, after_effect: false };
    match rng.random_range(0..8) {
        0 => Action::DropBefore,
        1 => Action::DropAfter,
        2 => Action::Truncate,
        3 => Action::Duplicate,
        4 => Action::Delay(rng.random_range(0.0..20.0)),
        5 => Action::KeepMessage,
        6 => Action::Status { code: 500, retry_after: None, body: None, after_effect: true },
        _ => status([500, 502, 503, 429][rng.random_range(0..4)]),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Plays one run in a runtime whose every choice follows the seed.
fn play(seed: u64) -> (BTreeSet<Point>, Value) {
    let choices = RngSeed::from_bytes(&seed.to_le_bytes());
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).rng_seed(choices).build();
    runtime.expect("a runtime").block_on(async { Run::new(seed).play().await })
}

/// Runs the seeds of a half: the even ones play today's service, the odd ones the older one.
fn play_half(half: u64) {
    let (first, runs) = (number("DESKRUN_SEED", 0), number("DESKRUN_RUNS", 1000));
    if let Ok(filter) = std::env::var("DESKRUN_LOG") {
        deskrun::telemetry::start(deskrun::telemetry::LogForm::Text, &filter);
    }
    let mut reached = BTreeSet::new();
    for seed in (first..first + runs).filter(|seed| seed % 2 == half) {
        reached.extend(play(seed).0);
    }
    // A few seeds do not come everywhere.
    if runs >= 1000 {
        let missing: Vec<Point> = points().into_iter().filter(|point| !reached.contains(point)).collect();
        let expected = missing.iter().all(|(call, _)| half == 0 && *call == "acquire jobs");
        assert!(expected, "the controller was never killed at {missing:?}");
    }
    println!("killed at {} of {} places: {reached:?}", reached.len(), points().len());
}

#[test]
fn after_any_run_with_todays_service_every_job_ran_once_and_nothing_is_left() {
    play_half(0);
}

#[test]
fn after_any_run_with_the_older_service_every_job_ran_once_and_nothing_is_left() {
    play_half(1);
}

#[test]
fn a_seed_replays_call_by_call() {
    for seed in 2..12 {
        let (first, again) = (play(seed).1, play(seed).1);
        let routes = |calls: &Value| {
            let calls = calls.as_array().cloned().unwrap_or_default();
            calls.iter().map(|call| format!("{} {}", call["route"], call["status"])).collect::<Vec<_>>()
        };
        assert!(routes(&first).len() > 30, "seed {seed}");
        assert_eq!(routes(&first), routes(&again), "seed {seed}");
    }
}
