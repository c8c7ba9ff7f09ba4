//! Credentials that are wrong, are revoked, and change while scale sets are served; and another way to GitHub.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deskrun::controller::{Order, ScaleSetStatus, ServingPhase, Specification};
use deskrun::github::{Credentials, counted};
use deskrun::operator::{Desired, Operator};
use deskrun::secret::Secret;
use deskrun::simulator::{Action, Options, Trigger};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::simulated::{Manner, transport};
use crate::world::{Wish, World, service};

const HOUR: Duration = Duration::from_hours(1);

fn right() -> Credentials {
    Credentials::Token(Secret::new("ghp_right"))
}

/// The world's own token is another one.
fn locked() -> Options {
    Options { pat: Some("ghp_right".to_owned()), ..Options::default() }
}

fn calls(world: &World, route: &str) -> usize {
    let calls = world.simulator.calls();
    calls.as_array().into_iter().flatten().filter(|call| route == "*" || call["route"] == route).count()
}

/// How often the status changes in a time.
async fn status_changes(status: &mut watch::Receiver<ScaleSetStatus>, time: Duration) -> usize {
    let end = Instant::now() + time;
    let mut count = 0;
    // What is so before does not count.
    status.borrow_and_update();
    while let Ok(Ok(())) = tokio::time::timeout_at(end, status.changed()).await {
        status.borrow_and_update();
        count += 1;
    }
    count
}

fn all_listen(operator: &Operator) -> bool {
    operator.statuses().iter().all(|status| status.borrow().phase == ServingPhase::Listening)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_shown_ever_more_rarely_said_once_and_a_right_one_works_at_once() {
    let world = World::with(&Wish::default(), Manner::default(), locked());
    let mut operator = world.start();
    let mut status = operator.statuses().remove(0);
    let changes = status_changes(&mut status, HOUR).await;
    assert!(changes <= 2, "{changes} changes of a status of which nothing changed");
    let asked = calls(&world, "*");
    assert!((10..=35).contains(&asked), "{asked} calls in an hour");
    assert_eq!(status.borrow().phase, ServingPhase::Waiting);
    let words = status.borrow().reasons.join("; ");
    assert!(words.contains("401 Bad credentials (the token is wrong, expired or revoked)"), "{words}");

    assert!(world.service.renew_credentials(right()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(all_listen(&operator), "{:?}", World::status(&operator));
    world.queue(1, "sleep 5");
    world.until_jobs_end(&operator).await;
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn scale_sets_that_share_a_wrong_token_show_it_together() {
    let world = World::with(&Wish::default(), Manner::default(), locked());
    let mut operator = world.start();
    let desired = |number: u32| Desired {
        specification: Specification { name: format!("metal-{number}"), ..world.specification.clone() },
        memory: Arc::new(deskrun::listener::Volatile::default()),
        ..world.desired()
    };
    operator.apply((1..20).map(desired).chain([world.desired()]).collect(), Order::Drain);
    tokio::time::sleep(HOUR).await;
    let asked = calls(&world, "*");
    assert!(asked <= 35, "{asked} calls of twenty scale sets in an hour");
    world.service.renew_credentials(right());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(all_listen(&operator));
    assert_eq!(calls(&world, "runner-registration"), 1, "one connection for all");
    assert_eq!(operator.end(Order::Drain).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_its_scale_set_listens_is_the_same_single_chain() {
    let mut world = World::new(&Wish::default(), Manner::default());
    // A config in stock grows old and is given back; that is another story.
    world.shared.keeps_stock = false;
    let mut operator = world.start();
    world.until("listening", &operator, |_| all_listen(&operator)).await;
    for code in [401, 403, 404] {
        let refused = Action::Status { code, retry_after: None, body: Some("no".to_owned()), after_effect: false };
        world.fault("registration-token", Trigger::Always, refused);
        world.simulator.expire_tokens("admin");
        world.simulator.expire_tokens("queue");
        tokio::time::sleep(Duration::from_mins(2)).await;
        let (before, mut status) = (calls(&world, "*"), operator.statuses().remove(0));
        let changes = status_changes(&mut status, HOUR).await;
        assert_eq!(changes, 0, "{code}: a status of which nothing changed");
        let asked = calls(&world, "*") - before;
        assert!(asked <= 70, "{code}: {asked} calls in an hour");
        assert_eq!(status.borrow().phase, ServingPhase::Waiting);

        world.simulator.clear_faults();
        assert!(world.service.renew_credentials(Credentials::Token(Secret::new(&format!("ghp_{code}")))));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(all_listen(&operator), "{code}: {:?}", World::status(&operator));
    }
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_credentials_change_nothing_and_other_ones_cost_one_connection() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.until("listening", &operator, |_| all_listen(&operator)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = (calls(&world, "registration-token"), calls(&world, "poll"));
    assert!(!world.service.renew_credentials(Credentials::Token(Secret::new("ghp_example\n"))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((calls(&world, "registration-token"), calls(&world, "poll")), before);
    assert!(world.service.renew_credentials(right()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((calls(&world, "registration-token"), calls(&world, "poll")), (before.0 + 1, before.1));
    assert_eq!(calls(&world, "session-create"), 1, "the session goes on");
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn a_scale_set_goes_another_way_to_github_and_keeps_its_session_and_its_runners() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 300");
    world.until("it at work", &operator, |world| world.jobs()[0]["status"] == "running").await;
    let new_way = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&new_way);
    let transport = counted(transport(&world.simulator), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let other = service(transport, &world.shared.environment);
    operator.apply(vec![Desired { service: other, ..world.desired() }], Order::Drain);
    let before = calls(&world, "*");
    // The poll that is held now ends on the old way.
    world.until_jobs_end(&operator).await;
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    let (new, all) = (new_way.load(Ordering::Relaxed), calls(&world, "*") - before);
    let own = all - calls(&world, "sim-finish");
    assert!(new > 5 && new <= own, "{new} of {own} calls went the new way");
    assert_eq!(calls(&world, "session-create"), 1);
    assert_eq!(world.engine.created(), 1);
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn another_way_that_does_not_let_us_in_stops_no_one_who_listens_and_is_one_chain_as_well() {
    let options = Options { pat: Some("ghp_example".to_owned()), ..Options::default() };
    let mut world = World::with(&Wish::default(), Manner::default(), options);
    world.shared.keeps_stock = false;
    let mut operator = world.start();
    world.until("listening", &operator, |_| all_listen(&operator)).await;
    let other = service(transport(&world.simulator), &world.shared.environment);
    other.renew_credentials(Credentials::Token(Secret::new("ghp_wrong")));
    operator.apply(vec![Desired { service: other.clone(), ..world.desired() }], Order::Drain);
    let before = calls(&world, "registration-token");
    // Not as long as the queue's own token lasts.
    tokio::time::sleep(Duration::from_mins(50)).await;
    let asked = calls(&world, "registration-token") - before;
    assert!((10..=30).contains(&asked), "{asked} attempts");
    assert!(all_listen(&operator));
    assert!(other.renew_credentials(Credentials::Token(Secret::new("ghp_example"))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(calls(&world, "registration-token") - before, asked + 1, "there is a token before anyone needs it");
    world.end(&mut operator).await;
}
