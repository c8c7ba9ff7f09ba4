//! `make bench`: how long jobs wait for our side, how often GitHub is called for one, and what idle scale sets cost. One
//! line per figure, `name value unit bound verdict`; exit 1 when a bound is missed. Lines with `#` explain the figure
//! before them.
//!
//! GitHub's side is the simulator in this process, a round trip of 150 ms away, so what is beyond whole round trips is
//! ours: the listener, the controller, the manifest. A runner counts as handed over when `Engine::ensure` is called.

#[path = "../tests/support/pipeline.rs"]
#[allow(dead_code, reason = "shared with the suites")]
mod pipeline;
#[path = "controller/process.rs"]
mod process;
#[path = "controller/recording.rs"]
mod recording;
#[path = "../tests/support/simulated.rs"]
mod simulated;
#[path = "controller/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use deskrun::simulator::Generation;

use recording::{Call, Noted};
use world::{Wish, World};

/// The flagship: its own pools of slots, so that the ledger of leases is part of every figure.
const FLAGSHIP: &str = "  containerMode: cached-privileged-kubernetes
  cachePaths:
    - {source: /nix/store, target: /nix/store-host}
    - {source: /nvme/docker-cache, target: /var/lib/docker}
    - {source: /nvme/cargo-cache, target: /home/runner/.cargo}
    - {source: '', target: /tmp/builds}
";
/// Single jobs are measured so often, one after the other; the figure is the median.
const SINGLE_JOBS: u32 = 7;

#[tokio::main]
async fn main() -> ExitCode {
    let one = Wish { generation: Generation::Broker, keeps_stock: false, max: 10 };
    let prepared = Wish { keeps_stock: true, ..one };
    let acquired = Wish { generation: Generation::Pipelines, ..one };
    let mut good = single("one_job", one, Bounds { milliseconds: 160.0, round_trips: 1 }).await;
    good &= single("one_job_with_prepared_config", prepared, Bounds { milliseconds: 20.0, round_trips: 0 }).await;
    good &= single("one_job_acquire_flow", acquired, Bounds { milliseconds: 320.0, round_trips: 2 }).await;
    good &= burst(100, 1.5, Some(2.5)).await;
    good &= burst(400, 5.0, None).await;
    good &= idle().await;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Bounds {
    milliseconds: f64,
    round_trips: usize,
}

/// One job at a time, with nothing else under way.
async fn single(name: &str, wish: Wish, bounds: Bounds) -> bool {
    let world = World::start(wish).await;
    let calls_before = world.calls();
    let mut ways = Vec::new();
    for _ in 0..SINGLE_JOBS {
        world.notes.take();
        world.queue(1, "sleep 0.2");
        world.rest().await;
        ways.push(Way::of(&world.notes.take()));
    }
    let calls = f64::from(u32::try_from(world.calls() - calls_before).expect("few calls")) / f64::from(SINGLE_JOBS);
    ways.sort_by_key(Way::length);
    let (median, worst) = (&ways[ways.len() / 2], &ways[ways.len() - 1]);
    let round_trips = ways.iter().map(Way::round_trips).max().unwrap_or_default();
    let to_hand_over = format!("{name}_message_to_hand_over");
    // From the poll's answer in the listener's hands to the engine: what we add to a job's wait.
    let good = [
        figure(&to_hand_over, milliseconds(median.length()), "ms", bounds.milliseconds),
        // Calls that waited for each other in that time, in the worst of the jobs: each is a round trip of waiting.
        figure(&format!("{name}_round_trips_on_the_way"), count(round_trips), "calls", count(bounds.round_trips)),
        // From the start of a job to the end of everything about it; polls are one per hold, jobs or not.
        figure(&format!("{name}_github_calls"), calls, "calls", 6.0),
    ];
    println!("# {to_hand_over}: {} at worst; the calls of the median, from the message:", words(worst.length()));
    for call in &median.calls {
        println!("#   {:<24} {} to {}", call.name, words(call.sent - median.from), words(call.answered - median.from));
    }
    println!("#   {:<24} {}", "hand-over", words(median.length()));
    good.into_iter().all(|good| good)
}

/// The way of a job from the message to the engine.
struct Way {
    from: Instant,
    to: Instant,
    /// Calls that were begun meanwhile, but for the next poll.
    calls: Vec<Call>,
}

impl Way {
    fn of(noted: &Noted) -> Self {
        let to = *noted.hand_overs.first().expect("a hand-over");
        let deliveries = noted.calls.iter().filter(|call| call.is_poll() && call.status == http::StatusCode::OK);
        let from = deliveries.map(|call| call.answered).min().expect("a delivery");
        let meanwhile = |call: &&Call| !call.is_poll() && call.sent >= from && call.sent < to;
        let mut calls: Vec<Call> = noted.calls.iter().filter(meanwhile).copied().collect();
        calls.sort_by_key(|call| call.sent);
        Self { from, to, calls }
    }

    fn length(&self) -> Duration {
        self.to - self.from
    }

    /// The longest chain of calls of which each was begun when the one before had ended.
    fn round_trips(&self) -> usize {
        let mut ended: Vec<&Call> = self.calls.iter().filter(|call| call.answered <= self.to).collect();
        ended.sort_by_key(|call| call.answered);
        let (mut chain, mut free) = (0, self.from);
        for call in ended {
            if call.sent >= free {
                (chain, free) = (chain + 1, call.answered);
            }
        }
        chain
    }
}

/// Many jobs at once, with a slot for each.
async fn burst(jobs: u32, seconds: f64, calls_each: Option<f64>) -> bool {
    let world = World::start(Wish { generation: Generation::Broker, keeps_stock: true, max: jobs }).await;
    let calls_before = world.calls();
    world.notes.take();
    let queued = Instant::now();
    world.queue(jobs, "sleep 1");
    world.rest().await;
    let noted = world.notes.take();
    assert_eq!(world.created(), noted.hand_overs.len(), "each hand-over is a runner");
    let last = noted.hand_overs.iter().max().expect("hand-overs").duration_since(queued);
    let calls = f64::from(u32::try_from(world.calls() - calls_before).expect("a number of calls")) / f64::from(jobs);
    let mut removals: Vec<Duration> = noted
        .ends
        .iter()
        .map(|(runner, end)| noted.removals.get(runner).expect("a removal").saturating_duration_since(*end))
        .collect();
    removals.sort();
    let tail = removals[removals.len() * 95 / 100];
    let surplus = noted.hand_overs.len().abs_diff(usize::try_from(jobs).unwrap_or_default());
    let mut good = vec![
        // From the jobs' queueing at GitHub to the last of their runners in the engine's hands.
        figure(&format!("burst_{jobs}_queued_to_last_hand_over"), last.as_secs_f64(), "s", seconds),
        // Runners that no job asked for, or jobs whose runner was another's.
        figure(&format!("burst_{jobs}_surplus_runners"), count(surplus), "runners", 0.0),
        // From the end of a runner's process to the request to remove it: how long its slot stays taken for nothing.
        figure(&format!("burst_{jobs}_exit_to_removal_p95"), tail.as_secs_f64(), "s", 0.3),
    ];
    if let Some(bound) = calls_each {
        good.push(figure(&format!("burst_{jobs}_github_calls_per_job"), calls, "calls", bound));
    } else {
        println!("# burst_{jobs}: {calls:.2} calls of GitHub per job");
    }
    good.into_iter().all(|good| good)
}

/// What `deskrun run` costs while nothing happens.
async fn idle() -> bool {
    let cost = tokio::task::spawn_blocking(process::measure).await.expect("no panic");
    let of = |what: &str| format!("idle_{}_scale_sets_{what}", process::SCALE_SETS);
    let good = [
        figure(&of("all_listening"), cost.up.as_secs_f64(), "s", 5.0),
        figure(&of("resident_memory"), cost.resident_megabytes, "MB", 40.0),
        figure(&of("cpu"), cost.cpu_percent, "percent_of_a_core", 1.0),
    ];
    good.into_iter().all(|good| good)
}

fn figure(name: &str, value: f64, unit: &str, bound: f64) -> bool {
    let holds = value <= bound;
    println!("{name} {value:.2} {unit} <={bound} {}", if holds { "holds" } else { "MISSED" });
    holds
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn words(duration: Duration) -> String {
    format!("{:.1} ms", milliseconds(duration))
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
