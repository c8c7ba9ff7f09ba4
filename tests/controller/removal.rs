//! Taking a scale set out for good, while its file still says that it is wanted.

use std::time::Duration;

use deskrun::controller::{Order, ServingPhase};
use deskrun::simulator::{Action, Trigger};

use crate::support::simulated::Manner;
use crate::world::{NAME, Wish, World};

#[tokio::test(start_paused = true)]
async fn a_reload_during_or_after_a_removal_does_not_bring_the_scale_set_back_before_its_file_is_gone() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 600");
    world.until("one at work", &operator, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    let removal = operator.remove(NAME).expect("it is served");
    // Whoever asked goes away; the files are read anew, and say that it is wanted.
    drop(removal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    operator.apply(vec![world.desired()], Order::Drain);
    let phases: Vec<ServingPhase> = operator.report().scale_sets.iter().map(|status| status.phase).collect();
    assert_eq!(phases, [ServingPhase::Draining], "it is shown as long as it drains, and once");
    let left = operator.remove(NAME).expect("the same removal").await;
    assert_eq!(left, []);
    assert_eq!(world.conclusions(), ["success"], "the busy runner was waited for");
    assert_eq!(world.simulator.ledger()["scaleSets"].as_array().map(Vec::len), Some(0));
    world.assert_nothing_left();
    operator.apply(vec![world.desired()], Order::Drain);
    assert_eq!(operator.report().scale_sets, [], "its file is still there");
    operator.apply(Vec::new(), Order::Drain);
    operator.apply(vec![world.desired()], Order::Drain);
    let listens = |operator: &deskrun::operator::Operator| World::status(operator).phase == ServingPhase::Listening;
    world.until("its return", &operator, |_| listens(&operator)).await;
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_right_after_the_start_finds_what_a_former_process_left() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut first = world.start();
    world.queue(1, "sleep 600");
    world.until("one at work", &first, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    assert_eq!(first.end(Order::Drain).await, []);
    drop(first);
    let mut second = world.start();
    let left = second.remove(NAME).expect("it is served").await;
    assert_eq!(left, []);
    assert_eq!(world.conclusions(), ["success"]);
    assert_eq!(world.simulator.ledger()["scaleSets"].as_array().map(Vec::len), Some(0));
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_says_so_and_the_scale_set_is_served_again() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    let listening = |operator: &deskrun::operator::Operator| World::status(operator).phase == ServingPhase::Listening;
    world.until("its session", &operator, |_| listening(&operator)).await;
    let unavailable = Action::Status { code: 503, retry_after: None, body: None, after_effect: false };
    world.fault("scale-set-delete", Trigger::Always, unavailable);
    let left = operator.remove(NAME).expect("it is served").await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].1.contains("the scale set could not be deleted"), "{left:?}");
    operator.apply(vec![world.desired()], Order::Drain);
    world.until("its return", &operator, |_| listening(&operator)).await;
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_of_the_process_ends_a_removal_without_claiming_that_it_was_done() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 600");
    world.until("one at work", &operator, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    let removal = operator.remove(NAME).expect("it is served");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = operator.end(Order::Drain).await;
    assert!(ended[0].1.contains("before the removal was done"), "{ended:?}");
    assert_eq!(removal.await, ended);
    assert_eq!(world.simulator.ledger()["scaleSets"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.engine.alive().len(), 1, "the busy runner is left to the next start");
}
