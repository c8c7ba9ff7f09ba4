//! What every engine has to do (`src/engine/mod.rs`). A new engine needs a [`Bench`] and one line in `tests/engine.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deskrun::engine::{EngineError, Observation, RunnerPhase};
use deskrun::secret::Secret;
use libtest_mimic::Trial;

use crate::bench::{Behaviour, Bench, Runner};
use crate::watcher::Watcher;

pub const GRACE: Duration = Duration::from_secs(10);

macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        /// One trial per test.
        pub fn trials<B: Bench>(kind: &str, bench: Option<&Arc<B>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
            vec![$(crate::trial(stringify!($name), kind, bench.cloned(), runtime, |bench| async move { $name(&*bench).await })),*]
        }
    };
}

trials![
    a_runner_that_is_made_twice_is_one,
    a_runner_is_seen_from_its_making_to_its_removal,
    labels_are_read_back,
    the_code_with_which_a_runner_ended_is_told,
    a_runner_that_is_stopped_ends_with_143_within_the_grace,
    a_runner_that_ignores_sigterm_is_killed_after_the_grace,
    a_runner_may_be_removed_twice_and_an_unknown_one_as_well,
    a_runner_whose_init_container_failed_has_failed_and_says_why,
    the_last_lines_of_a_log_are_read,
    sweeping_removes_what_was_left_behind_and_no_runner,
    making_a_runner_may_be_given_up_at_any_point,
    many_runners_are_made_and_removed_at_once,
    an_engine_that_goes_away_is_unreachable_and_then_shows_all_there_is,
];

pub fn secret() -> Secret {
    Secret::new("eyJub3QiOiJmb3IgYW55b25lIn0=")
}

/// A runner with a name that no other test uses.
pub fn runner(tag: &str, behaviour: Behaviour) -> Runner {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{tag}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    // There is one process for each controller, so each test is one of its own.
    Runner { name, controller: tag.to_owned(), slot: 0, behaviour }
}

async fn a_runner_that_is_made_twice_is_one(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("twice", Behaviour::Waits));
    let manifest = bench.manifest(&runner);
    engine.ensure(&manifest, &secret()).await.unwrap();
    let mut watcher = Watcher::new(&*engine).await;
    let before = watcher.until_running(&runner.name).await;
    engine.ensure(&manifest, &secret()).await.unwrap();
    // Another process has no memory of the first call.
    bench.engine().ensure(&manifest, &secret()).await.unwrap();
    let mut second = Watcher::new(&*engine).await;
    assert_eq!(second.until_running(&runner.name).await, before);
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn a_runner_is_seen_from_its_making_to_its_removal(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("seen", Behaviour::Waits));
    let mut watcher = Watcher::new(&*engine).await;
    assert!(!watcher.runners.contains_key(&runner.name));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let seen = watcher.until_running(&runner.name).await;
    assert!((jiff::Timestamp::now().as_second() - seen.created_at.as_second()).abs() < 60, "{seen:?}");
    engine.remove(&runner.name, GRACE).await.unwrap();
    watcher.until_gone(&runner.name).await;
}

async fn labels_are_read_back(bench: &impl Bench) {
    let (engine, mut runner) = (bench.engine(), runner("labels", Behaviour::Waits));
    runner.slot = 3;
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let owner = Watcher::new(&*engine).await.until_running(&runner.name).await.owner;
    assert_eq!((owner.controller.as_str(), owner.slot, owner.runner_id), ("labels", 3, 7));
    assert_eq!(owner.slot_pools, ["/nvme/docker cache"]);
    assert_eq!((owner.resource.as_str(), owner.scale_set.as_str()), ("metal", "metal-1"));
    assert_eq!((owner.config_url.as_str(), owner.manifest.as_str()), ("0a1b2c3d", "4e5f"));
    engine.remove(&runner.name, GRACE).await.unwrap();
}

async fn the_code_with_which_a_runner_ended_is_told(bench: &impl Bench) {
    let engine = bench.engine();
    let mut watcher = Watcher::new(&*engine).await;
    for code in [0, 7] {
        let runner = runner("code", Behaviour::Waits);
        engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
        watcher.until_running(&runner.name).await;
        bench.end(&runner.name, code).await;
        let ended = watcher.until(&runner.name, RunnerPhase::has_ended).await;
        let RunnerPhase::Exited { code: seen, at, out_of_memory } = ended.phase else { panic!("{ended:?}") };
        assert_eq!((seen, out_of_memory), (i32::from(code), false));
        assert!((jiff::Timestamp::now().as_second() - at.as_second()).abs() < 60, "{at}");
        engine.remove(&runner.name, GRACE).await.unwrap();
    }
}

async fn a_runner_that_is_stopped_ends_with_143_within_the_grace(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("stopped", Behaviour::Waits));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let mut watcher = Watcher::new(&*engine).await;
    watcher.until_running(&runner.name).await;
    let begun = Instant::now();
    engine.remove(&runner.name, Duration::from_secs(40)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut codes = Vec::new();
    while watcher.runners.contains_key(&runner.name) {
        if let Observation::Changed(changed) = watcher.next().await
            && changed.name == runner.name
            && let RunnerPhase::Exited { code, .. } = changed.phase
        {
            codes.push(code);
        }
    }
    // A runner that goes fast may be gone before it is seen to have ended.
    assert!(codes.is_empty() || codes == [143], "{codes:?}");
}

async fn a_runner_that_ignores_sigterm_is_killed_after_the_grace(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("stubborn", Behaviour::IgnoresTerm));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    Watcher::new(&*engine).await.until_running(&runner.name).await;
    let begun = Instant::now();
    engine.remove(&runner.name, Duration::from_secs(3)).await.unwrap();
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_secs(3) && taken < Duration::from_secs(25), "{taken:?}");
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn a_runner_may_be_removed_twice_and_an_unknown_one_as_well(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("gone", Behaviour::Waits));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    // A process that did not make it removes it.
    bench.engine().remove(&runner.name, GRACE).await.unwrap();
    engine.remove(&runner.name, GRACE).await.unwrap();
    engine.remove("never-made-0", GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn a_runner_whose_init_container_failed_has_failed_and_says_why(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("unprepared", Behaviour::PreparationFails));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let failed = Watcher::new(&*engine).await.until(&runner.name, RunnerPhase::has_ended).await;
    let RunnerPhase::Failed { reason } = failed.phase else { panic!("{failed:?}") };
    assert!(reason.contains("prepare") && reason.contains('3'), "{reason}");
    assert_eq!(engine.logs(&runner.name, 5).await.unwrap(), "prepared nothing\n");
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn the_last_lines_of_a_log_are_read(bench: &impl Bench) {
    let (engine, runner) = (bench.engine(), runner("speaks", Behaviour::Speaks));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    Watcher::new(&*engine).await.until(&runner.name, RunnerPhase::has_ended).await;
    assert_eq!(engine.logs(&runner.name, 2).await.unwrap(), "line 2\nline 3\n");
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert!(matches!(engine.logs(&runner.name, 2).await, Err(EngineError::Failed { .. })));
}

async fn sweeping_removes_what_was_left_behind_and_no_runner(bench: &impl Bench) {
    let engine = bench.engine();
    let of = |controller: &str| Runner { controller: controller.to_owned(), ..runner("sweep", Behaviour::Waits) };
    let (live, lost, strangers, strangers_lost) = (of("swept"), of("swept"), of("stranger"), of("stranger"));
    for runner in [&live, &strangers] {
        engine.ensure(&bench.manifest(runner), &secret()).await.unwrap();
    }
    for runner in [&lost, &strangers_lost] {
        bench.abandon(&bench.manifest(runner)).await;
    }
    let abandoned = bench.leftovers(&lost.name).await.len();
    assert!(abandoned >= 1, "{abandoned}");
    let strangers_before = bench.leftovers(&strangers_lost.name).await;
    assert!(engine.sweep("swept").await.unwrap() >= abandoned);
    assert_eq!(bench.leftovers(&lost.name).await, Vec::<String>::new());
    assert_eq!(bench.leftovers(&strangers_lost.name).await, strangers_before);
    let mut watcher = Watcher::new(&*engine).await;
    watcher.until_running(&live.name).await;
    // Runners of others are seen, as they hold slots.
    assert_eq!(watcher.until_running(&strangers.name).await.owner.controller, "stranger");
    assert_eq!(engine.sweep("swept").await.unwrap(), 0);
    for runner in [&live, &strangers, &strangers_lost] {
        engine.remove(&runner.name, GRACE).await.unwrap();
        assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
    }
    engine.sweep("stranger").await.unwrap();
}

async fn making_a_runner_may_be_given_up_at_any_point(bench: &impl Bench) {
    let engine = bench.engine();
    for after in [0, 5, 20, 60, 150, 300] {
        let runner = runner("dropped", Behaviour::Waits);
        let manifest = bench.manifest(&runner);
        // What is measured is a moment of the making, whichever it is on this machine.
        let made = tokio::time::timeout(Duration::from_millis(after), engine.ensure(&manifest, &secret())).await;
        engine.remove(&runner.name, GRACE).await.unwrap();
        assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new(), "after {after} ms, {made:?}");
    }
}

async fn many_runners_are_made_and_removed_at_once(bench: &impl Bench) {
    let engine = bench.engine();
    let runners: Vec<Runner> = (0..8).map(|_| runner("many", Behaviour::Waits)).collect();
    let mut watcher = Watcher::new(&*engine).await;
    let make = |runner| {
        let (engine, manifest) = (engine.clone(), bench.manifest(runner));
        async move { engine.ensure(&manifest, &secret()).await.unwrap() }
    };
    futures::future::join_all(runners.iter().map(make)).await;
    for runner in &runners {
        watcher.until_running(&runner.name).await;
    }
    for removed in futures::future::join_all(runners.iter().map(|runner| engine.remove(&runner.name, GRACE))).await {
        removed.unwrap();
    }
    for runner in &runners {
        watcher.until_gone(&runner.name).await;
    }
    assert_eq!(bench.leftovers("many-").await, Vec::<String>::new());
}

async fn an_engine_that_goes_away_is_unreachable_and_then_shows_all_there_is(bench: &impl Bench) {
    let mut breakable = bench.breakable().await;
    let (engine, runner) = (breakable.engine(), runner("outlives", Behaviour::Waits));
    engine.ensure(&breakable.manifest(&runner), &secret()).await.unwrap();
    let mut watcher = Watcher::new(&*engine).await;
    watcher.until_running(&runner.name).await;
    breakable.break_down().await;
    while !matches!(watcher.next().await, Observation::Unreachable(_)) {}
    let refused = engine.remove(&runner.name, GRACE).await.unwrap_err();
    assert!(matches!(refused, EngineError::Unreachable { .. }), "{refused:?}");
    breakable.mend().await;
    while !matches!(watcher.next().await, Observation::Snapshot(_)) {}
    watcher.until_running(&runner.name).await;
    engine.remove(&runner.name, GRACE).await.unwrap();
    watcher.until_gone(&runner.name).await;
    breakable.end().await;
}
