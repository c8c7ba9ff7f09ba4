//! `make bench`: what the operator costs a real API server, and how near a burst comes to a bare loop. One line per
//! figure, `name value unit bound verdict`; exit 1 when a bound is missed. Lines with `#` explain the figure before them.
//!
//! The operator is a process of its own; GitHub's side is the simulator in this one, without latency. No kubelet plays the
//! pods: what is measured is how they come about.

#[path = "cluster/bare.rs"]
mod bare;
#[path = "../tests/support/cluster/mod.rs"]
mod cluster;
#[path = "../tests/support/pipeline.rs"]
#[allow(dead_code, reason = "shared with the suites")]
mod pipeline;
#[path = "cluster/place.rs"]
mod place;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use place::{Place, figure_at_least, figure_at_most};

const SCALE_SETS: u32 = 200;
const JOBS: u32 = 1000;
const ROUNDS: usize = 5;
/// How long an idle operator is looked at.
const IDLE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    let good = [idle().await, burst().await];
    if good.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two hundred scale sets that nothing happens to.
async fn idle() -> bool {
    let place = Place::on(Place::control_plane().await).await;
    place.scale_sets(SCALE_SETS / 10, 10, 4).await;
    let started = Instant::now();
    let operator = place.operator();
    place.until("all listen", |place| place.sessions() == SCALE_SETS as usize).await;
    let up = started.elapsed();
    // The last statuses are on their way.
    place.until_quiet().await;
    let (writes, cpu, since) = (place.writes(), operator.cpu_seconds(), Instant::now());
    tokio::time::sleep(IDLE).await;
    let idle_writes = place.writes() - writes;
    let cpu = (operator.cpu_seconds() - cpu) / since.elapsed().as_secs_f64() * 100.0;
    let good = [
        figure_at_most("operator_200_all_listening", up.as_secs_f64(), "s", 20.0),
        figure_at_most("operator_200_idle_api_writes", f64::from(idle_writes), "writes", 0.0),
        figure_at_most("operator_200_resident_memory", operator.resident_megabytes(), "MB", 100.0),
        figure_at_most("operator_200_idle_cpu", cpu, "%", 2.0),
    ];
    println!("# beside the renewals of its lease, one in four seconds: {} in {IDLE:?}", place.lease_writes());
    good.into_iter().all(|good| good)
}

/// A thousand jobs at once, and a bare loop that makes as many runners by the same calls: by turns, each first every other
/// time, so that whatever else the machine does meets both.
async fn burst() -> bool {
    let control_plane = Place::control_plane().await;
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        let place = Place::on(Arc::clone(&control_plane)).await;
        let round = if number % 2 == 0 {
            let bare = bare::run(&place, JOBS).await;
            Round { bare, ours: ours(&place).await }
        } else {
            let ours = ours(&place).await;
            Round { bare: bare::run(&place, JOBS).await, ours }
        };
        let (ours, bare) = (per_second(round.ours.took), per_second(round.bare));
        println!("# burst_1000, round {}: {ours:.0} runners a second, the bare loop {bare:.0}", number + 1);
        rounds.push(round);
    }
    let ratio = median(rounds.iter().map(|round| per_second(round.ours.took) / per_second(round.bare)));
    let most = |of: fn(&Ours) -> f64| rounds.iter().map(|round| of(&round.ours)).fold(0.0, f64::max);
    let good = [
        figure_at_least("burst_1000_of_a_bare_loop", ratio, "ratio", 0.8),
        figure_at_most("burst_1000_writes_to_make_a_runner", most(|ours| ours.writes), "writes", 2.5),
        figure_at_most("burst_1000_resident_memory", most(|ours| ours.megabytes), "MB", 150.0),
    ];
    println!("# the ratio is the median of {ROUNDS} rounds, the others are the worst of them");
    println!("# burst_1000: {:.2} ms of CPU for a runner", most(|ours| ours.cpu) / f64::from(JOBS) * 1000.0);
    good.into_iter().all(|good| good)
}

struct Round {
    bare: Duration,
    ours: Ours,
}

/// What a burst was for the operator.
struct Ours {
    took: Duration,
    /// For each runner.
    writes: f64,
    megabytes: f64,
    /// In seconds.
    cpu: f64,
}

async fn ours(place: &Place) -> Ours {
    place.scale_sets(1, 1, JOBS).await;
    let operator = place.operator();
    place.until("it listens", |place| place.sessions() == 1).await;
    place.until_quiet().await;
    let (writes, cpu) = (place.writes(), operator.cpu_seconds());
    let started = Instant::now();
    place.queue(JOBS);
    place.until_pods(JOBS as usize).await;
    let took = started.elapsed();
    let cpu = operator.cpu_seconds() - cpu;
    place.until_quiet().await;
    let writes = f64::from(place.writes() - writes) / f64::from(JOBS);
    let megabytes = operator.resident_megabytes();
    drop(operator);
    place.take_runners_out().await;
    Ours { took, writes, megabytes, cpu }
}

fn per_second(time: Duration) -> f64 {
    f64::from(JOBS) / time.as_secs_f64()
}

/// Of an odd number of figures.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
