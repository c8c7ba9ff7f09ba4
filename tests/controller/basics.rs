//! What must work before anything may go wrong.

use std::time::Duration;

use deskrun::controller::{Order, RunnerPhase, ServingPhase};
use deskrun::engine::memory::{Call, Fault, Faults};
use deskrun::simulator::{Action, Trigger};

use crate::support::simulated::Manner;
use crate::world::{Wish, World};

#[tokio::test(start_paused = true)]
async fn a_queued_job_becomes_a_runner_runs_and_leaves_nothing() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"]);
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_fail_and_jobs_beyond_the_maximum_all_get_their_turn() {
    let world = World::new(&Wish { max: 3, ..Wish::default() }, Manner::default());
    let mut operator = world.start();
    world.queue(1, "exit 1");
    world.queue(9, "sleep 20");
    world.until("three at work", &operator, |world| world.engine.alive().len() == 3).await;
    world.until_jobs_end(&operator).await;
    let conclusions = world.conclusions();
    assert_eq!(conclusions.iter().filter(|conclusion| *conclusion == "failure").count(), 1);
    assert_eq!(conclusions.iter().filter(|conclusion| *conclusion == "success").count(), 9);
    assert_eq!(world.engine.created(), 10, "no surplus");
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_group_that_was_changed_while_no_one_served_moves_the_scale_set() {
    let mut world = World::new(&Wish::default(), Manner::default());
    let group = world.make_runner_group("builders").await;
    let mut first = world.start();
    let is_listening = |world: &World| world.simulator.ledger()["sessions"].as_array().map(Vec::len) == Some(1);
    world.until("a session", &first, is_listening).await;
    world.end(&mut first).await;
    world.specification.runner_group = "builders".to_owned();
    let mut next = world.start();
    world.until("a session", &next, is_listening).await;
    let groups = |world: &World| -> Vec<Option<i64>> {
        let scale_sets = world.simulator.ledger()["scaleSets"].clone();
        scale_sets.as_array().expect("a list").iter().map(|one| one["runnerGroupId"].as_i64()).collect()
    };
    world.until("the move", &next, |world| groups(world) == [Some(group)]).await;
    world.queue(1, "true");
    world.until_jobs_end(&next).await;
    let left = next.end(Order::Remove).await;
    assert_eq!(left, []);
    assert_eq!(world.simulator.ledger()["scaleSets"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_kept_and_means_another_scale_set_now_is_not_believed() {
    let world = World::new(&Wish::default(), Manner::default());
    let new = deskrun::github::NewScaleSet { name: "other".to_owned(), runner_group_id: 1, labels: Vec::new() };
    let other = world.service.create_scale_set(&new).await.expect("a scale set").id;
    for strange in [other, 4711] {
        world.memory.keep_scale_set(Some(strange));
        // As GitHub says it at times that there is none (3.4).
        world.fault("scale-set-get", Trigger::Next(u64::from(strange != other)), Action::NullBody);
        let mut operator = world.start();
        world.queue(1, "true");
        world.until_jobs_end(&operator).await;
        assert_ne!(world.memory.scale_set(), Some(strange));
        assert_eq!(operator.end(Order::Remove).await, []);
        assert_eq!(world.memory.scale_set(), None);
    }
    let names = world.simulator.ledger()["scaleSets"].clone();
    assert_eq!(names.as_array().map(Vec::len), Some(1), "{names:#}");
}

#[tokio::test(start_paused = true)]
async fn spare_runners_are_kept_ready_and_taken_out_at_the_end() {
    let world = World::new(&Wish { min: 2, ..Wish::default() }, Manner::default());
    let mut operator = world.start();
    world.until("two spare runners", &operator, |world| world.engine.alive().len() == 2).await;
    world.queue(1, "sleep 30");
    world.until("one more", &operator, |world| world.engine.alive().len() == 3).await;
    world.until_jobs_end(&operator).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.engine.alive().len(), 2);
    assert_eq!(World::status(&operator).phase, ServingPhase::Listening);
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 3);
}

#[tokio::test(start_paused = true)]
async fn busy_runners_outlive_their_controller_and_the_next_one_adopts_them() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut first = world.start();
    world.queue(2, "sleep 600");
    world.until("two at work", &first, |world| world.jobs().iter().all(|job| job["status"] == "running")).await;
    let left = first.end(Order::Drain).await;
    assert_eq!(left, []);
    assert_eq!(world.engine.alive().len(), 2, "busy runners are left alone");
    drop(first);
    let mut second = world.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let phases: Vec<RunnerPhase> = World::status(&second).runners.iter().map(|runner| runner.phase).collect();
    assert_eq!(phases, [RunnerPhase::Busy, RunnerPhase::Busy]);
    world.until_jobs_end(&second).await;
    assert_eq!(world.conclusions(), ["success", "success"]);
    world.until("their pods' end", &second, |world| world.engine.objects().is_empty()).await;
    world.end(&mut second).await;
    assert_eq!(world.engine.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_scale_set_that_is_let_go_leaves_no_pod_and_no_slot_behind() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 300");
    world.until("it at work", &operator, |world| world.jobs()[0]["status"] == "running").await;
    operator.apply(Vec::new(), Order::Drain);
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"], "a busy runner is left alone");
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(operator.report().slots.is_empty(), "{:?}", operator.report().slots);
    world.end(&mut operator).await;
}

#[tokio::test(start_paused = true)]
async fn a_scale_set_that_comes_back_while_it_drains_is_served_by_one_controller_at_a_time() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.until("listening", &operator, |_| World::status(&operator).phase == ServingPhase::Listening).await;
    world.queue(1, "sleep 100");
    world.until("it at work", &operator, |world| world.jobs()[0]["status"] == "running").await;
    // Its file vanishes and comes back, twice; closing the session takes its time.
    world.fault("session-delete", Trigger::Next(1), Action::Delay(20.0));
    for desired in [vec![], vec![world.desired()], vec![], vec![world.desired()]] {
        operator.apply(desired, Order::Drain);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let opened = |world: &World| {
        let calls = world.simulator.calls();
        calls.as_array().into_iter().flatten().filter(|call| call["route"] == "session-create").count()
    };
    let shown: Vec<(ServingPhase, String)> =
        operator.report().scale_sets.into_iter().map(|status| (status.phase, status.reasons.join("; "))).collect();
    let waits = "the controller that served it before ends first";
    assert!(shown.contains(&(ServingPhase::Starting, waits.to_owned())), "{shown:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(opened(&world), 1, "the first one still drains");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let phase = operator.statuses()[0].borrow().phase;
    assert_eq!((phase, opened(&world)), (ServingPhase::Listening, 2), "the second was let go before it began");
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"]);
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scale_set_that_is_wanted_again_while_it_is_taken_out_stays_with_its_busy_runner() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 3600");
    world.until("it at work", &operator, |world| world.jobs()[0]["status"] == "running").await;
    operator.apply(Vec::new(), Order::Remove);
    tokio::time::sleep(Duration::from_mins(5)).await;
    operator.apply(vec![world.desired()], Order::Drain);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let status = operator.statuses()[0].borrow().clone();
    assert_eq!((status.phase, status.runners.len()), (ServingPhase::Listening, 1), "{status:?}");
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"]);
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_runner_in_the_making_whose_scale_set_is_let_go_keeps_its_slot_only_as_long_as_a_start_may_take() {
    let world = World::new(&Wish::default(), Manner::default());
    world.engine.set_faults(Faults::new(|call, _| match call {
        Call::CreatePod => Fault { before: Duration::from_hours(10), ..Fault::default() },
        _ => Fault::default(),
    }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until("its slot", &operator, |_| !operator.report().slots.is_empty()).await;
    operator.apply(Vec::new(), Order::Drain);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(operator.report().slots.len(), 1, "the engine may be making it still");
    let start = world.specification.limits.timers.start;
    world.until("its slot's return", &operator, |_| operator.report().slots.is_empty()).await;
    tokio::time::sleep(start).await;
    assert!(operator.report().slots.is_empty(), "{:?}", operator.report().slots);
}
