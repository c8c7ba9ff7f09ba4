//! Tokens end every quarter of an hour. No job waits for that.

use std::time::Duration;

use deskrun::simulator::Options;
use jiff::{SignedDuration, Timestamp};

use crate::support::simulated::Manner;
use crate::world::{Wish, World};

/// A round trip to GitHub, and what the simulated clock is coarse by.
const ROUND_TRIP: u32 = 150;
const ONE_ROUND_TRIP: SignedDuration = SignedDuration::from_millis(155);

#[tokio::test(start_paused = true)]
async fn over_three_hours_no_job_pays_more_than_one_round_trip() {
    let options = Options { latency_milliseconds: ROUND_TRIP, ..Options::default() };
    let mut world = World::with(&Wish::default(), Manner::default(), options);
    // Without a config in stock: those jobs are the ones that ask GitHub.
    world.shared.keeps_stock = false;
    let mut operator = world.start();
    for _ in 0..178 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        world.queue(1, "sleep 5");
    }
    world.until_jobs_end(&operator).await;
    let calls = world.simulator.calls();
    let mut delivered = None;
    let mut waits = Vec::new();
    for call in calls.as_array().into_iter().flatten() {
        let at: Timestamp = call["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
        match (call["route"].as_str(), call["status"].as_u64()) {
            (Some("poll"), Some(200)) => delivered = Some(at),
            (Some("jit-config"), _) => waits.push(at.duration_since(delivered.expect("a delivery before it"))),
            _ => {}
        }
    }
    assert_eq!(waits.len(), 178);
    let longest = waits.iter().max().expect("some");
    assert!(*longest <= ONE_ROUND_TRIP, "{longest}: {waits:?}");
    world.until("the end of all pods", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
}
