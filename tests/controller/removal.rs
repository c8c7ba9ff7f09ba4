//! Taking a scale set out for good, while its file still says that it is wanted.

use std::sync::Arc;
use std::time::Duration;

use deskrun::controller::{Order, ServingPhase};
use deskrun::engine::memory::{Call, Fault, Faults};
use deskrun::github::NewScaleSet;
use deskrun::listener::Volatile;
use deskrun::operator::Operator;
use deskrun::simulator::{Action, Trigger};

use crate::support::simulated::Manner;
use crate::world::{CONTROLLER, NAME, Wish, World};

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
async fn a_resource_that_comes_anew_while_its_predecessor_is_taken_out_is_served_when_that_is_out() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 600");
    world.until("one at work", &operator, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    let removal = operator.remove(NAME).expect("it is served");
    // Someone took its finalizer away; another one of the same name is there, and was never missing here.
    operator.forget_removal(NAME);
    operator.apply(vec![world.desired()], Order::Drain);
    assert_eq!(removal.await, []);
    assert_eq!(world.conclusions(), ["success"], "the busy runner was waited for");
    operator.apply(vec![world.desired()], Order::Drain);
    let listens = |operator: &Operator| World::status(operator).phase == ServingPhase::Listening;
    world.until("its return", &operator, |_| listens(&operator)).await;
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_right_after_the_start_waits_until_the_engine_has_shown_what_there_is() {
    let mut world = World::new(&Wish::default(), Manner::default());
    // A killed process's prepared config is for the next start that lists what is registered.
    world.shared.keeps_stock = false;
    let first = world.start();
    world.queue(1, "sleep 5");
    world.until("one at work", &first, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    // As if it were killed; the job ends without it.
    drop(first);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let slow = |call, _: &str| {
        let before = if call == Call::Observe { Duration::from_secs(4) } else { Duration::ZERO };
        Fault { before, ..Fault::default() }
    };
    world.engine.set_faults(Faults::new(slow));
    let mut second = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.end(&mut second).await;
    // But for an engine that is away no one waits.
    world.engine.set_faults(Faults::none());
    world.engine.set_reachable(false);
    let mut third = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    let _ = third.end(Order::Drain).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
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

/// A scale set that a former process registered, and a process that does not serve it.
async fn left_by_a_former_process(world: &World) -> Operator {
    let mut former = world.start();
    world.until("a session", &former, |world| sessions(world) == 1).await;
    assert_eq!(former.end(Order::Drain).await, []);
    Operator::start(world.shared.clone(), CONTROLLER.to_owned())
}

fn count(world: &World, what: &str) -> usize {
    world.simulator.ledger()[what].as_array().map_or(0, Vec::len)
}

fn sessions(world: &World) -> usize {
    count(world, "sessions")
}

#[tokio::test(start_paused = true)]
async fn a_removal_by_the_next_process_hears_of_the_end_of_a_job_whose_runner_hangs() {
    let world = World::new(&Wish::default(), Manner { hangs: true, ..Manner::default() });
    let mut former = world.start();
    world.queue(1, "sleep 600");
    world.until("one at work", &former, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    assert_eq!(former.end(Order::HandOver).await, []);
    drop(former);
    // Told to remove it before it could look for anything.
    let mut next = world.start();
    let removal = next.remove(NAME).expect("it is served");
    let left = tokio::time::timeout(Duration::from_hours(1), removal).await.expect("the end of the job is heard");
    assert_eq!(left, []);
    assert_eq!(world.conclusions(), ["success"], "its job was waited for");
    assert_eq!(count(&world, "scaleSets"), 0);
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn what_a_former_process_registered_is_taken_out_without_being_served() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = left_by_a_former_process(&world).await;
    world.queue(1, "true");
    operator.take_out(world.desired());
    world.until("its end", &operator, |world| count(world, "scaleSets") == 0).await;
    world.until("the end of the session", &operator, |world| sessions(world) == 0).await;
    assert_eq!((world.engine.created(), world.memory.scale_set()), (0, None));
    assert_eq!(operator.end(Order::Drain).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_says_not_found_is_no_reason_to_forget_what_is_to_be_taken_out() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = left_by_a_former_process(&world).await;
    let not_found = || Action::Status { code: 404, retry_after: None, body: None, after_effect: false };
    for route in ["scale-set-get", "scale-set-list"] {
        world.fault(route, Trigger::Next(2), not_found());
    }
    operator.take_out(world.desired());
    world.until("its end", &operator, |world| world.memory.scale_set().is_none()).await;
    assert_eq!(count(&world, "scaleSets"), 0, "it was forgotten and stayed");
    assert_eq!(operator.end(Order::Drain).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_an_outage_answers_with_gone_is_tried_again() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    let listening = |operator: &Operator| World::status(operator).phase == ServingPhase::Listening;
    world.until("its session", &operator, |_| listening(&operator)).await;
    let body = r#"{"typeName":"GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException","message":"not found"}"#;
    let gone = Action::Status { code: 404, retry_after: None, body: Some(body.to_owned()), after_effect: false };
    world.fault("scale-set-delete", Trigger::Next(2), gone);
    assert_eq!(operator.remove(NAME).expect("it is served").await, []);
    assert_eq!(count(&world, "scaleSets"), 0, "it was believed, and stayed");
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_scale_set_that_another_controller_serves_is_not_taken_out() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = left_by_a_former_process(&world).await;
    let mut another = world.start_with(Arc::new(Volatile::default()));
    world.until("a session", &another, |world| sessions(world) == 1).await;
    operator.take_out(world.desired());
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!((count(&world, "scaleSets"), sessions(&world)), (1, 1));
    let status = operator.report().scale_sets.remove(0);
    assert!(status.reasons.iter().any(|reason| reason.contains("another controller")), "{status:?}");
    // When that one goes there is nobody else.
    assert_eq!(another.end(Order::Drain).await, []);
    world.until("its end", &operator, |world| count(world, "scaleSets") == 0).await;
    assert_eq!(operator.end(Order::Drain).await, []);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_the_name_of_what_was_to_be_taken_out_keeps_it() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = left_by_a_former_process(&world).await;
    let id = world.memory.scale_set().expect("an id");
    world.service.delete_scale_set(id).await.expect("it goes");
    let new = NewScaleSet { name: NAME.to_owned(), runner_group_id: 1, labels: Vec::new() };
    let other = world.service.create_scale_set(&new).await.expect("a scale set").id;
    operator.take_out(world.desired());
    world.until("the end of the controller", &operator, |world| world.memory.scale_set().is_none()).await;
    let left = world.simulator.ledger()["scaleSets"][0]["id"].as_i64();
    assert_eq!((left, operator.is_at_work(&world.specification.key())), (Some(other), false));
    assert_eq!(operator.end(Order::Drain).await, []);
}
