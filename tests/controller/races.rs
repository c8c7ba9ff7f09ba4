//! The races that break other controllers. Each test names the guard that it holds: without that line it fails.

use std::time::Duration;

use deskrun::controller::{Order, RunnerPhase};
use deskrun::engine::EngineError;
use deskrun::engine::memory::{Call, Fault, Faults, Outcome};
use deskrun::operator::Desired;
use deskrun::simulator::{Action, Trigger};

use crate::support::simulated::Manner;
use crate::world::{Wish, World, specification};

/// A manner of the first runner alone.
fn first(manner: &Manner) -> Manner {
    Manner { only_first: Some(1), ..manner.clone() }
}

/// Guard: what `covers_a_job` in `scaling/runner.rs` says of `Stage::Ended`: a container that ended stands for its job until
/// the news is here.
#[tokio::test(start_paused = true)]
async fn a_container_that_exits_before_its_job_is_reported_leaves_no_surplus_runner() {
    for milliseconds in [100, 200, 300] {
        let late = Duration::from_millis(milliseconds);
        let world = World::new(&Wish::default(), Manner { tells_late: late, ..Manner::default() });
        let mut operator = world.start();
        world.queue(3, "sleep 5");
        world.until_jobs_end(&operator).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.engine.created(), 3, "{milliseconds} ms");
        world.end(&mut operator).await;
    }
}

/// Guard: `Job::Completed` covers nothing in `covers_a_job`, `scaling/runner.rs`: the next job does not wait for the end
/// of a runner that winds down, and that one is not ended for it.
#[tokio::test(start_paused = true)]
async fn a_container_that_exits_after_its_job_is_reported_neither_delays_the_next_job_nor_is_killed() {
    for milliseconds in [100, 200, 300] {
        let exit_after = Duration::from_millis(milliseconds);
        let world = World::new(&Wish::default(), Manner { exit_after, ..Manner::default() });
        let mut operator = world.start();
        world.queue(1, "sleep 5");
        let reported = |world: &World| world.jobs().iter().any(|job| job["status"] == "completed");
        world.until("the end of the first job", &operator, reported).await;
        let winding_down = world.engine.alive();
        assert_eq!(winding_down.len(), 1);
        world.queue(1, "sleep 5");
        world.until("a second runner", &operator, |world| world.engine.created() == 2).await;
        assert!(world.engine.alive().contains(&winding_down[0]), "the second was made beside the first");
        world.until_jobs_end(&operator).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.engine.created(), 2);
        let removed_for = world.shared.metrics.text(&[], &std::collections::BTreeMap::new());
        assert!(removed_for.contains("kind=\"ended\"} 2"), "each ended by itself:\n{removed_for}");
        world.end(&mut operator).await;
    }
}

/// Guard: `Stage::Removing { deregistered }` in `covers_a_job`, `scaling/runner.rs`: a runner that GitHub has not given up
/// yet may get a job, so its successor is not made before.
#[tokio::test(start_paused = true)]
async fn a_changed_spec_rolls_idle_runners_one_for_one_and_leaves_busy_ones_alone() {
    let mut world = World::new(&Wish { min: 2, ..Wish::default() }, Manner::default());
    let mut operator = world.start();
    world.until("two spare runners", &operator, |world| world.engine.alive().len() == 2).await;
    world.queue(1, "sleep 900");
    world.until("one busy, two spare", &operator, |world| world.engine.alive().len() == 3).await;
    // GitHub takes its time to give the old ones up.
    world.fault("runner-delete", Trigger::Always, Action::Delay(3.0));
    world.specification = specification(&Wish { min: 2, more: "  runAsRoot: true\n", ..Wish::default() });
    operator.apply(vec![world.desired()], Order::Drain);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.engine.created(), 3, "GitHub has not given the old ones up");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((world.engine.alive().len(), world.engine.created()), (3, 5));
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"], "the busy one was left alone");
    world.simulator.clear_faults();
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 5);
}

/// Guard: `vanish` in `controller/record.rs`: what the engine does not show any more has ended, and a new name with a new
/// config follows.
#[tokio::test(start_paused = true)]
async fn a_vanished_pod_is_replaced_under_a_new_name_with_a_new_config() {
    let world = World::new(&Wish::default(), first(&Manner { never_online: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until("its runner", &operator, |world| world.engine.alive().len() == 1).await;
    let lost = world.engine.alive().remove(0);
    world.engine.lose(&lost);
    let started = tokio::time::Instant::now();
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_secs(30), "no timer has to run out: {:?}", started.elapsed());
    assert_eq!(world.conclusions(), ["success"]);
    assert_ne!(world.jobs()[0]["runner"], lost.as_str());
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 2);
}

/// Guard: `look_after_unseen` in `scaling/plan.rs`: what GitHub does not see either covers no job. Its slot stays held.
#[tokio::test(start_paused = true)]
async fn a_job_does_not_wait_for_a_runner_that_is_cut_off_before_it_came_for_one() {
    let world = World::new(&Wish::default(), first(&Manner { never_online: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until("its runner", &operator, |world| world.engine.alive().len() == 1).await;
    let lost = world.engine.alive().remove(0);
    world.engine.lose_sight(&lost);
    // Nor can it be removed as long as its node is away.
    let name = lost.clone();
    world.engine.set_faults(Faults::new(move |call, runner| {
        let error = EngineError::Failed { call: call.words(), message: "its node is away".to_owned() };
        let fails = call == Call::RemovePod && runner == name;
        if fails { Fault { outcome: Outcome::FailsBefore(error), ..Fault::default() } } else { Fault::default() }
    }));
    let started = tokio::time::Instant::now();
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_mins(3), "the job waited: {:?}", started.elapsed());
    assert_eq!((world.conclusions(), world.engine.created()), (vec!["success".to_owned()], 2));
    let held: Vec<String> = operator.report().slots.values().flat_map(|slots| slots.values().cloned()).collect();
    assert!(held.contains(&lost), "its directories may be in use: {held:?}");
    world.engine.set_faults(Faults::none());
    world.engine.lose(&lost);
    world.until("the end of what it left", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
}

/// Guard: `is_busy` in `controller/record.rs`: GitHub may still take a runner for busy whose job's end it has told.
#[tokio::test(start_paused = true)]
async fn a_runner_that_hangs_goes_although_github_takes_it_for_busy_for_a_while() {
    let world = World::new(&Wish::default(), first(&Manner { hangs: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until_jobs_end(&operator).await;
    let busy = Action::Status {
        code: 409,
        retry_after: None,
        body: Some(r#"{"typeName":"JobStillRunningException","message":"still running"}"#.to_owned()),
        after_effect: false,
    };
    world.fault("runner-delete", Trigger::Next(2), busy);
    let started = tokio::time::Instant::now();
    world.until("its end", &operator, |world| world.engine.objects().is_empty()).await;
    let took = started.elapsed();
    assert!((Duration::from_mins(3)..Duration::from_mins(8)).contains(&took), "asked again and again: {took:?}");
    world.end(&mut operator).await;
}

/// Guard: `is_left_without_a_pod` in `controller/record.rs`: a pod that goes while GitHub is asked to give its runner up is gone
/// also if that fails.
#[tokio::test(start_paused = true)]
async fn a_pod_that_vanishes_while_its_removal_fails_covers_no_job() {
    let world = World::new(&Wish::default(), first(&Manner { never_online: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until("its runner", &operator, |world| world.engine.alive().len() == 1).await;
    let lost = world.engine.alive().remove(0);
    let away = Action::Status { code: 503, retry_after: None, body: None, after_effect: false };
    world.fault("runner-delete", Trigger::Seconds(600.0), away);
    let specification = specification(&Wish { more: "  runAsRoot: true\n", ..Wish::default() });
    operator.apply(vec![Desired { specification, ..world.desired() }], Order::Drain);
    // Its removal has begun: GitHub is asked, and does not answer well.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.engine.lose(&lost);
    let started = tokio::time::Instant::now();
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_mins(3), "the job waited: {:?}", started.elapsed());
    world.simulator.clear_faults();
    world.end(&mut operator).await;
}

/// Guard: `Reason::Hung` in `look_after`, `scaling/plan.rs`: the timer takes it out, and its slot is free again.
#[tokio::test(start_paused = true)]
async fn a_runner_that_hangs_after_its_job_is_taken_out_and_its_slot_is_free_again() {
    let world = World::new(&Wish { max: 1, ..Wish::default() }, first(&Manner { hangs: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(2, "sleep 5");
    let one_done = |world: &World| world.jobs().iter().any(|job| job["status"] == "completed");
    world.until("the first end", &operator, one_done).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(World::status(&operator).runners[0].phase, RunnerPhase::Finishing);
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success", "success"]);
    world.until("both pods' ends", &operator, |world| world.engine.objects().is_empty()).await;
    assert_eq!(operator.report().slots.len(), 0, "no slot is held");
    world.end(&mut operator).await;
    assert_eq!(world.engine.created(), 2);
}

/// Guard: `self.failures.failed` in `judge_ends`, `controller/serve.rs`: backoff and budget.
#[tokio::test(start_paused = true)]
async fn runners_that_exit_with_0_and_without_a_job_are_no_hot_loop() {
    let world = World::new(&Wish::default(), Manner { exits_at_once: Some(0), ..Manner::default() });
    let mut operator = world.start();
    world.queue(5, "sleep 5");
    tokio::time::sleep(Duration::from_hours(1)).await;
    let created = world.engine.created();
    assert!((6..=25).contains(&created), "{created} runners in an hour");
    let status = World::status(&operator);
    assert!(status.reasons.iter().any(|reason| reason.contains("exit code 0 and without a job")), "{status:?}");
    world.simulator.advance(Duration::from_hours(24));
    world.end(&mut operator).await;
}

/// A node that does not end what it has: every pod stays, whatever it is told.
fn pods_stay() -> Faults {
    Faults::new(|call, _| {
        let error = EngineError::Failed { call: call.words(), message: "its node is away".to_owned() };
        let fails = call == Call::RemovePod;
        if fails { Fault { outcome: Outcome::FailsBefore(error), ..Fault::default() } } else { Fault::default() }
    })
}

/// Guard: `has_settled` in `judge_ends`, `controller/serve.rs`: what a runner's end says is learnt although its pod stays.
#[tokio::test(start_paused = true)]
async fn runners_that_fail_are_no_hot_loop_although_their_pods_stay() {
    let world = World::new(&Wish::default(), Manner { exits_at_once: Some(1), ..Manner::default() });
    world.engine.set_faults(pods_stay());
    let mut operator = world.start();
    world.queue(5, "sleep 5");
    tokio::time::sleep(Duration::from_hours(1)).await;
    let created = world.engine.created();
    assert!((6..=25).contains(&created), "{created} runners in an hour");
    world.engine.set_faults(Faults::none());
    world.simulator.advance(Duration::from_hours(24));
    world.end(&mut operator).await;
}

/// Guard: `has_settled` in `is_on_trial`, `scaling/plan.rs`: a pod that stays is on trial no longer.
#[tokio::test(start_paused = true)]
async fn a_pod_of_a_failed_runner_that_stays_does_not_keep_others_from_being_tried() {
    let bad = Manner { exits_at_once: Some(1), only_first: Some(3), ..Manner::default() };
    let world = World::new(&Wish::default(), bad);
    world.engine.set_faults(pods_stay());
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    let started = tokio::time::Instant::now();
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_mins(2), "the job waited: {:?}", started.elapsed());
    world.engine.set_faults(Faults::none());
    world.until("the end of what stayed", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
}

/// Guard: `Registration::GivenUp` in `look_after_idle` and `look_after`, `scaling/plan.rs`: what GitHub has given up already is
/// tried again as soon as it may be, not when a timer for those that live says so.
#[tokio::test(start_paused = true)]
async fn a_runner_that_was_given_up_goes_as_soon_as_its_engine_answers() {
    let world =
        World::new(&Wish { max: 1, ..Wish::default() }, first(&Manner { never_online: true, ..Manner::default() }));
    let mut operator = world.start();
    world.queue(1, "sleep 5");
    world.until("its runner", &operator, |world| world.engine.alive().len() == 1).await;
    world.engine.set_faults(pods_stay());
    let specification = specification(&Wish { max: 1, more: "  runAsRoot: true\n", ..Wish::default() });
    operator.apply(vec![Desired { specification, ..world.desired() }], Order::Drain);
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.engine.set_faults(Faults::none());
    let started = tokio::time::Instant::now();
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_mins(1), "the job waited: {:?}", started.elapsed());
    world.end(&mut operator).await;
}

/// Guard: `vanished` in `controller/observer.rs`: what is left of a runner of no one goes although its pod went by itself.
#[tokio::test(start_paused = true)]
async fn what_a_runner_of_no_one_leaves_is_taken_away_when_its_pod_is_gone() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.queue(1, "sleep 3600");
    let busy = |world: &World| world.jobs()[0]["startedAt"].is_string();
    world.until("the job", &operator, busy).await;
    let runner = world.engine.alive().remove(0);
    // The sweeps of the start are over.
    tokio::time::sleep(Duration::from_mins(3)).await;
    // Its file is gone: the busy runner is left to itself.
    operator.apply(Vec::new(), Order::Drain);
    world.until("the end of its controller", &operator, |_| !operator.report().unclaimed.is_empty()).await;
    world.engine.set_faults(Faults::new(|call, _| {
        let error = EngineError::Failed { call: call.words(), message: "the API server restarts".to_owned() };
        let fails = call == Call::RemoveSecret;
        if fails { Fault { outcome: Outcome::FailsBefore(error), ..Fault::default() } } else { Fault::default() }
    }));
    world.engine.lose(&runner);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.engine.objects(), [format!("secret/{runner}")]);
    world.engine.set_faults(Faults::none());
    world.until("the end of its secret", &operator, |world| world.engine.objects().is_empty()).await;
    operator.end(Order::Drain).await;
}

/// Guard: `Verdict::Hopeless` in `verdict`, `controller/record.rs`.
#[tokio::test(start_paused = true)]
async fn an_image_that_github_refuses_is_tried_once() {
    let world = World::new(&Wish::default(), Manner { exits_at_once: Some(7), ..Manner::default() });
    let operator = world.start();
    world.queue(1, "sleep 5");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(world.engine.created(), 1);
    assert!(World::status(&operator).reasons.iter().any(|reason| reason.contains("newer image")));
}

/// Guard: every creation is a task of its own (`tasks.spawn` in `create`, `controller/serve.rs`), and every call has a limit
/// (`SHORT` in `github/exchange.rs`).
#[tokio::test(start_paused = true)]
async fn a_stuck_call_delays_its_own_job_only() {
    let world = World::new(&Wish { max: 3, ..Wish::default() }, Manner::default());
    let mut operator = world.start();
    world.until("a config in stock", &operator, |_| World::status(&operator).prepared).await;
    world.fault("jit-config", Trigger::Next(1), Action::Delay(3600.0));
    let started = tokio::time::Instant::now();
    world.queue(3, "sleep 5");
    let done =
        |count| move |world: &World| world.jobs().iter().filter(|job| job["status"] == "completed").count() == count;
    world.until("two jobs' ends", &operator, done(2)).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    world.until_jobs_end(&operator).await;
    assert!(started.elapsed() < Duration::from_mins(2), "{:?}", started.elapsed());
    assert_eq!(world.engine.created(), 3, "no surplus");
    world.until("their pods' ends", &operator, |world| world.engine.objects().is_empty()).await;
    assert_eq!(operator.report().slots.len(), 0, "no slot is held");
    world.end(&mut operator).await;
}

/// Guard: `Stage::Doubtful` asks GitHub first (`scaling/plan.rs`): an engine that says "failed" and has done it all the
/// same may run a job by now.
#[tokio::test(start_paused = true)]
async fn a_hand_over_that_failed_but_had_its_effect_does_not_cost_the_job() {
    let world = World::new(&Wish::default(), Manner::default());
    let mut operator = world.start();
    world.until("listening", &operator, |_| World::status(&operator).prepared).await;
    // Neither GitHub's news nor the engine's are here when the failure is.
    world.fault("poll", Trigger::Always, Action::Delay(15.0));
    let mut failures = 1;
    world.engine.set_faults(Faults::new(move |call, _| {
        if call == Call::Observe {
            return Fault { before: Duration::from_secs(10), ..Fault::default() };
        }
        if call == Call::CreatePod && failures > 0 {
            failures -= 1;
            let error =
                deskrun::engine::EngineError::Failed { call: call.words(), message: "a lost answer".to_owned() };
            return Fault { after: Duration::from_secs(2), outcome: Outcome::FailsAfter(error), ..Fault::default() };
        }
        Fault::default()
    }));
    world.queue(1, "sleep 60");
    world.until_jobs_end(&operator).await;
    assert_eq!(world.conclusions(), ["success"]);
    world.simulator.clear_faults();
    assert_eq!(world.engine.created(), 1);
    world.until("the end of its pod", &operator, |world| world.engine.objects().is_empty()).await;
    world.end(&mut operator).await;
}
