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
use std::time::{Duration, Instant};

use place::{Place, figure_at_least, figure_at_most};

const SCALE_SETS: u32 = 200;
const JOBS: u32 = 1000;
/// How long an idle operator is looked at.
const IDLE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    let good = [idle().await, burst().await];
    if good.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two hundred scale sets that nothing happens to.
async fn idle() -> bool {
    let place = Place::new().await;
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

/// A thousand jobs at once, and a bare loop that makes as many runners by the same calls.
async fn burst() -> bool {
    let place = Place::new().await;
    let bare = bare::run(&place, JOBS).await;
    place.scale_sets(1, 1, JOBS).await;
    let operator = place.operator();
    place.until("it listens", |place| place.sessions() == 1).await;
    place.until_quiet().await;
    let writes = place.writes();
    let started = Instant::now();
    place.queue(JOBS);
    place.until_pods(JOBS as usize).await;
    let ours = started.elapsed();
    place.until_quiet().await;
    let writes = f64::from(place.writes() - writes) / f64::from(JOBS);
    let per_second = |time: Duration| f64::from(JOBS) / time.as_secs_f64();
    let ratio = per_second(ours) / per_second(bare);
    let good = [
        figure_at_least("burst_1000_of_a_bare_loop", ratio, "ratio", 0.8),
        figure_at_most("burst_1000_writes_to_make_a_runner", writes, "writes", 2.5),
        figure_at_most("burst_1000_resident_memory", operator.resident_megabytes(), "MB", 150.0),
    ];
    println!("# burst_1000: {:.0} runners a second, the bare loop {:.0}", per_second(ours), per_second(bare));
    good.into_iter().all(|good| good)
}
