//! Faults that last: no listener ever calls in a hot loop, whatever it is told, and all is well soon after. And what a 404
//! means: of a poll, of an offer, of the way in.

use std::time::Duration;

use deskrun::listener::Phase;
use deskrun::simulator::{Action, Generation, Options, Trigger};
use tokio::time::Instant;

use crate::faults::{ROUTES, faults};
use crate::world::World;

/// What never happens in good health; a bare loop over a simulator without latency makes millions.
const CALLS_A_MINUTE: usize = 130;
const MINUTES: usize = 10;

fn not_found() -> Action {
    Action::Status { code: 404, retry_after: None, body: Some("404 page not found".to_owned()), after_effect: false }
}

async fn is_patient(generation: Generation, route: &str, name: &str, action: Action) {
    let what = format!("{generation:?} {route} {name}");
    // Shown if the client panics.
    eprintln!("{what}");
    let world = World::bounded(Options { generation, seed: 21, ..Options::default() }, CALLS_A_MINUTE * MINUTES);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    let before = world.all_calls();
    world.fault(route, Trigger::Always, action);
    world.simulator.expire_tokens("admin");
    world.simulator.expire_tokens("queue");
    world.queue(3);
    tokio::time::sleep(Duration::from_mins(MINUTES as u64)).await;
    let calls = world.all_calls() - before;
    assert!(calls <= CALLS_A_MINUTE * MINUTES, "{what}: {calls} calls in {MINUTES} minutes");
    world.simulator.clear_faults();
    // The longest wait after a refusal, and the service's own wait for a session that could not be closed.
    tokio::time::sleep(Duration::from_mins(7)).await;
    let owned = world.owned();
    world.queue(1);
    ears.until_assigned(&world, owned + 1).await;
    ears.close().await;
    assert_eq!(world.sessions(), 0, "{what}: the session is left over");
}

#[tokio::test(start_paused = true)]
async fn no_fault_that_lasts_makes_a_listener_call_in_a_hot_loop() {
    for generation in [Generation::Broker, Generation::Pipelines] {
        for route in ROUTES {
            for (name, action) in faults() {
                if generation == Generation::Broker && *route == "acquire" {
                    continue;
                }
                is_patient(generation, route, name, action).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_lost_as_soon_as_they_are_open_are_opened_ever_more_rarely() {
    let world = World::bounded(Options::default(), 1000);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    world.fault("poll", Trigger::Always, Action::Unauthorized);
    world.fault("session-refresh", Trigger::Always, Action::RefreshNotFound);
    let before = world.calls("session-create");
    tokio::time::sleep(Duration::from_mins(10)).await;
    let opened = world.calls("session-create") - before;
    assert!((10..=60).contains(&opened), "{opened} sessions in ten minutes");
    assert!(matches!(&ears.demand.borrow().phase, Phase::Waiting(_)));
    world.simulator.clear_faults();
    ears.until_listening(&world).await;
    ears.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_404_on_a_poll_is_asked_about_and_costs_a_moment() {
    let world = World::new(Generation::Broker, 22);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    world.fault("poll", Trigger::Next(1), not_found());
    ears.until(&world, "a wait", |demand| matches!(demand.phase, Phase::Waiting(_))).await;
    world.queue(1);
    let queued = Instant::now();
    ears.until_assigned(&world, 1).await;
    assert!(queued.elapsed() < Duration::from_secs(2), "deaf for {:?}", queued.elapsed());
    assert_eq!((world.calls("session-create"), world.calls("session-refresh")), (1, 1), "renewed, not given up");
    ears.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_polls_stay_404_is_closed_before_a_new_one_is_opened() {
    let world = World::new(Generation::Broker, 23);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    world.fault("poll", Trigger::Next(3), not_found());
    ears.until(&world, "a wait", |demand| matches!(demand.phase, Phase::Waiting(_))).await;
    let trouble = Instant::now();
    ears.until_listening(&world).await;
    assert!(
        trouble.elapsed() < Duration::from_secs(8),
        "no conflict with a session of its own: {:?}",
        trouble.elapsed()
    );
    assert_eq!((world.calls("session-create"), world.calls("session-delete")), (2, 1));
    world.queue(1);
    ears.until_assigned(&world, 1).await;
    ears.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_404_of_the_way_in_says_nothing_of_the_session() {
    let world = World::new(Generation::Broker, 24);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    world.simulator.expire_tokens("admin");
    world.simulator.expire_tokens("queue");
    world.fault("registration-token", Trigger::Next(2), not_found());
    // The next poll needs a new token, and that one a way in.
    ears.until(&world, "a wait", |demand| matches!(demand.phase, Phase::Waiting(_))).await;
    world.queue(1);
    ears.until_assigned(&world, 1).await;
    assert_eq!(world.calls("session-create"), 1);
    ears.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_refused_again_and_again_does_not_stop_what_comes_after_it() {
    let world = World::with(Options { generation: Generation::Pipelines, seed: 25, ..Options::default() });
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    world.fault("acquire", Trigger::Seconds(60.0), not_found());
    world.queue(1);
    let undeleted = |world: &World| world.simulator.ledger()["scaleSets"][0]["undeletedMessages"].as_i64();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(undeleted(&world), Some(0), "it is acknowledged, and the next delivery can come");
    assert!((5..=12).contains(&world.calls("acquire")), "{} attempts", world.calls("acquire"));
    assert_eq!(world.calls("session-create"), 1, "the session is not to blame");
    // The service offers the job again.
    ears.until_assigned(&world, 1).await;
    ears.close().await;
}
