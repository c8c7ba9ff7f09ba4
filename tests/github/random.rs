//! Random runs: faults, restarts, cancelled jobs, lost time; at the end the demand is the service's own truth.
//!
//! A run is replayed with `DESKRUN_SEED=N DESKRUN_RUNS=1`; more runs with `DESKRUN_RUNS`.

use std::time::Duration;

use deskrun::simulator::{Action, Generation, Trigger};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::world::World;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn action(rng: &mut StdRng) -> Action {
    let status = |code| Action::Status { code, retry_after: None, body: None, after_effect: false };
    match rng.random_range(0..14) {
        0 => Action::DropBefore,
        1 => Action::DropAfter,
        2 => Action::Truncate,
        3 => Action::Duplicate,
        4 => Action::Unauthorized,
        5 => Action::EmptyBody,
        6 => Action::NullStatistics,
        7 => Action::ZeroTotals,
        8 => Action::UnknownEntryType,
        9 => Action::KeepMessage,
        10 => Action::Restart,
        11 => Action::Delay(rng.random_range(0.0..40.0)),
        12 => Action::Status { code: 429, retry_after: Some(2), body: None, after_effect: false },
        _ => status([500, 502, 503, 404, 403][rng.random_range(0..5)]),
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let generation = if seed.is_multiple_of(2) { Generation::Broker } else { Generation::Pipelines };
    let world = World::new(generation, seed);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    let mut jobs = Vec::new();
    for _ in 0..rng.random_range(3..10) {
        match rng.random_range(0..7) {
            0 | 1 => jobs.extend(world.queue(rng.random_range(1..5))),
            2 if !jobs.is_empty() => {
                let job: &String = &jobs[rng.random_range(0..jobs.len())];
                world.simulator.cancel(job);
            }
            3 => world.simulator.expire_tokens(["admin", "queue"][rng.random_range(0..2)]),
            4 => world.simulator.restart(),
            _ => {
                let chance = rng.random_range(0.05..0.6);
                world.fault("*", Trigger::Probability(chance), action(&mut rng));
            }
        }
        tokio::time::sleep(Duration::from_secs(rng.random_range(0..90))).await;
    }
    world.simulator.clear_faults();
    // Everything that was under way comes to rest: the longest wait is that for a lost session.
    tokio::time::sleep(Duration::from_mins(4)).await;
    ears.until_listening(&world).await;
    world.queue(1);
    // Assignments that no runner takes are withdrawn by and by: what counts is that both sides agree again each time.
    let agreed = || {
        let published = ears.demand.borrow().statistics.map(|statistics| statistics.assigned_jobs);
        published == Some(world.owned()) && world.owned() > 0
    };
    for _ in 0..60 {
        if agreed() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(agreed(), "seed {seed}: {} jobs are owned, but {:?}", world.owned(), ears.demand.borrow().clone());
    ears.close().await;
    assert_eq!(world.sessions(), 0, "seed {seed}: a session is left over");
}

#[tokio::test(start_paused = true)]
async fn after_any_run_the_demand_is_the_services_own_truth() {
    let (first, runs) = (number("DESKRUN_SEED", 0), number("DESKRUN_RUNS", 1000));
    for seed in first..first + runs {
        run(seed).await;
    }
}
