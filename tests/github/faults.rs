//! Every call of a listener under every fault: afterwards a new job is published within two polls, the demand is the
//! service's own truth, nothing was acknowledged before it was handled, and the session is closed at the end.

use std::sync::Arc;
use std::time::Duration;

use deskrun::listener::{Phase, Volatile};
use deskrun::simulator::{Action, Generation, Trigger};

use crate::world::World;

/// The calls a listener makes in its life.
pub const ROUTES: &[&str] = &[
    "registration-token",
    "runner-registration",
    "session-create",
    "session-refresh",
    "session-delete",
    "poll",
    "acknowledge",
    "acquire",
];

pub fn faults() -> Vec<(&'static str, Action)> {
    let status = |code, retry_after, body: Option<&str>| Action::Status {
        code,
        retry_after,
        body: body.map(str::to_owned),
        after_effect: false,
    };
    let after = |code| Action::Status { code, retry_after: None, body: None, after_effect: true };
    vec![
        ("401", status(401, None, None)),
        ("403", status(403, None, Some("forbidden"))),
        ("404", status(404, None, Some("404 page not found"))),
        ("409", status(409, None, Some("conflict"))),
        ("429", status(429, Some(3), None)),
        ("500", status(500, None, Some("<html>oops</html>"))),
        ("500 after the effect", after(500)),
        ("502", status(502, None, Some("null"))),
        ("503", status(503, Some(1), None)),
        ("dropped before", Action::DropBefore),
        ("dropped after", Action::DropAfter),
        ("truncated", Action::Truncate),
        ("slow", Action::Slow(1.0)),
        ("late", Action::Delay(200.0)),
        ("twice", Action::Duplicate),
        ("mark", Action::Bom),
        ("casing", Action::OddCasing),
        ("unknown fields", Action::UnknownFields),
        ("empty", Action::EmptyBody),
        ("null", Action::NullBody),
        ("garbage token", Action::GarbageToken),
        ("no hold", Action::NoHold),
        ("null statistics", Action::NullStatistics),
        ("zero totals", Action::ZeroTotals),
        ("unknown message", Action::UnknownMessageType),
        ("unknown entry", Action::UnknownEntryType),
        ("conflict", Action::SessionConflict),
        ("no queue", Action::EmptyQueueUrl),
        ("refresh not found", Action::RefreshNotFound),
        ("no scale set", Action::ScaleSetNotFound),
        ("kept message", Action::KeepMessage),
        ("unauthorised", Action::Unauthorized),
        ("restart", Action::Restart),
    ]
}

async fn survives(generation: Generation, route: &str, name: &str, action: Action) {
    let world = World::new(generation, 7);
    let scale_set = world.scale_set().await;
    let memory = Arc::new(Volatile::default());
    // The calls that are rare are made to happen while the fault is there.
    world.simulator.expire_tokens("admin");
    let at_start = matches!(route, "registration-token" | "runner-registration" | "session-create");
    if at_start {
        world.fault(route, Trigger::Next(2), action.clone());
    }
    let mut ears = world.listen_with(scale_set.id, "deskrun", memory.clone());
    ears.until_listening(&world).await;
    let before = world.calls(route);
    if !at_start && route != "session-delete" {
        world.fault(route, Trigger::Next(2), action.clone());
    }
    world.simulator.expire_tokens("queue");
    world.queue(1);
    tokio::time::sleep(Duration::from_mins(4)).await;
    // A call that the client gave up on is in no log.
    let unseen = at_start || route == "session-delete" || name == "late";
    assert!(unseen || world.calls(route) > before, "{generation:?} {route} {name}: not called");
    world.simulator.clear_faults();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let before = world.calls("poll");
    let owned = world.owned();
    world.queue(1);
    ears.until_assigned(&world, owned + 1).await;
    let polls = world.calls("poll") - before;
    // On pipelines the offer and the assignment are two deliveries.
    let allowed = if generation == Generation::Broker { 2 } else { 3 };
    assert!(polls <= allowed, "{generation:?} {route} {name}: published after {polls} polls");
    assert_eq!(world.owned(), owned + 1, "{generation:?} {route} {name}");
    if route == "session-delete" {
        world.fault(route, Trigger::Always, action);
    }
    ears.close().await;
    if route == "session-delete" {
        // What could not be closed now is closed by the next start, through the id that was kept.
        world.simulator.clear_faults();
        let next = world.listen_with(scale_set.id, "deskrun", memory);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(next.demand.borrow().phase, Phase::Listening, "{generation:?} {route} {name}");
        next.close().await;
    }
    assert_eq!(world.sessions(), 0, "{generation:?} {route} {name}: the session is left over");
}

#[tokio::test(start_paused = true)]
async fn every_call_of_a_listener_survives_every_fault_on_both_generations() {
    for generation in [Generation::Broker, Generation::Pipelines] {
        for route in ROUTES {
            for (name, action) in faults() {
                if generation == Generation::Broker && *route == "acquire" {
                    continue;
                }
                survives(generation, route, name, action).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_published_although_it_cannot_be_acknowledged() {
    for generation in [Generation::Broker, Generation::Pipelines] {
        let world = World::new(generation, 8);
        let scale_set = world.scale_set().await;
        let mut ears = world.listen(scale_set.id, "deskrun");
        ears.until_listening(&world).await;
        world.fault("acknowledge", Trigger::Always, Action::DropBefore);
        world.queue(1);
        ears.until_assigned(&world, 1).await;
        assert!(ears.news.try_recv().is_ok(), "the news came before any acknowledgement");
        let undeleted = |world: &World| world.simulator.ledger()["scaleSets"][0]["undeletedMessages"].as_i64();
        assert!(undeleted(&world) > Some(0));
        world.simulator.clear_faults();
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(undeleted(&world), Some(0), "what failed is acknowledged later");
        ears.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_poll_that_fails_is_not_told_and_a_second_one_is() {
    for (failures, is_told) in [(1, false), (2, true)] {
        let world = World::new(Generation::Broker, 9);
        let scale_set = world.scale_set().await;
        let mut ears = world.listen(scale_set.id, "deskrun");
        ears.until_listening(&world).await;
        world.fault("poll", Trigger::Next(failures), Action::DropAfter);
        let told = ears.demand.wait_for(|demand| demand.phase != Phase::Listening);
        // Longer than a poll is held.
        let told = tokio::time::timeout(Duration::from_mins(3), told).await.is_ok();
        assert_eq!(told, is_told, "{failures} failures");
        world.queue(1);
        ears.until_assigned(&world, 1).await;
        ears.close().await;
    }
}
