use proptest::prelude::*;

use super::*;
use crate::scaling::Timers;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn limits(min: u32, max: u32) -> Limits {
    let timers = Timers {
        start: Duration::from_mins(10),
        online: Duration::from_mins(6),
        idle: Duration::from_mins(10),
        completed: Duration::from_mins(3),
    };
    Limits { min, max, timers, draining: false }
}

fn runner(name: &str, stage: Stage, job: Job) -> Runner {
    Runner {
        name: name.to_owned(),
        created_at: at(NOW - 60),
        stage,
        job,
        registration: Registration::NotAsked,
        outdated: false,
        not_before: None,
    }
}

fn running() -> Stage {
    Stage::Running { since: at(NOW - 30) }
}

fn ended(seconds_ago: i64, code: i32) -> Stage {
    Stage::Ended { at: at(NOW - seconds_ago), code: Some(code), remains: Remains::Nothing }
}

fn jobs(jobs: u32) -> Demand {
    Demand { jobs: Some(jobs), heard_at: Some(at(NOW)) }
}

fn decide(demand: Demand, runners: &[Runner], limits: &Limits) -> Plan {
    plan(demand, runners, limits, &Creation::Free, None, at(NOW))
}

fn removed(plan: &Plan) -> Vec<(&str, Reason)> {
    plan.remove.iter().map(|removal| (removal.runner.as_str(), removal.reason)).collect()
}

#[test]
fn as_many_are_created_as_jobs_and_spare_ones_need_but_never_more_than_the_maximum() {
    for (demand, min, max, created) in
        [(0, 0, 4, 0), (1, 0, 4, 1), (9, 0, 4, 4), (0, 2, 4, 2), (1, 2, 4, 3), (4, 2, 4, 4)]
    {
        assert_eq!(decide(jobs(demand), &[], &limits(min, max)).create, created, "{demand} {min} {max}");
    }
}

#[test]
fn without_knowing_the_demand_nothing_is_created_and_nothing_idle_removed() {
    let idle = runner("a", running(), Job::None);
    let plan = plan(Demand::default(), &[idle], &limits(2, 4), &Creation::Free, Some(at(0)), at(NOW));
    assert_eq!((plan.create, plan.remove.len()), (0, 0));
}

#[test]
fn a_container_that_ends_before_its_messages_arrive_still_stands_for_its_job() {
    // Without this a surplus runner would be made for a job that is done.
    let done = runner("a", ended(1, 0), Job::None);
    assert_eq!(decide(jobs(1), std::slice::from_ref(&done), &limits(0, 4)).create, 0);
    let started = runner("a", ended(1, 0), Job::Running);
    assert_eq!(decide(jobs(1), &[started], &limits(0, 4)).create, 0);
    let died_with_it = runner("a", ended(60, 137), Job::Running);
    assert_eq!(decide(jobs(1), &[died_with_it], &limits(0, 4)).create, 0, "GitHub counts its job until it gives it up");
    let settled = Runner { stage: ended(11, 0), ..done };
    let unheard = Demand { heard_at: Some(at(NOW - 12)), ..jobs(1) };
    assert_eq!(decide(unheard, std::slice::from_ref(&settled), &limits(0, 4)).create, 0, "nothing was heard since");
    assert_eq!(decide(jobs(1), &[settled], &limits(0, 4)).create, 1, "the job still waits: it was not this runner's");
}

#[test]
fn a_runner_whose_job_has_ended_takes_no_other() {
    let winding_down = runner("a", running(), Job::Completed { at: at(NOW) });
    let plan = decide(jobs(1), &[winding_down], &limits(0, 4));
    assert_eq!((plan.create, plan.remove.len()), (1, 0));
}

#[test]
fn the_maximum_counts_what_may_be_alive() {
    let winding_down = runner("a", running(), Job::Completed { at: at(NOW) });
    let plan = decide(jobs(1), &[winding_down], &limits(0, 1));
    assert_eq!((plan.create, plan.waiting), (0, Some(Waiting::Maximum)));
}

#[test]
fn idle_runners_go_only_after_they_were_too_many_for_long() {
    let idle = [runner("a", running(), Job::None), runner("b", Stage::Starting, Job::None)];
    let decide = |since| plan(jobs(1), &idle, &limits(0, 4), &Creation::Free, since, at(NOW));
    assert_eq!(removed(&decide(None)), []);
    assert_eq!(removed(&decide(Some(at(NOW - 599)))), []);
    assert_eq!(decide(Some(at(NOW - 599))).wake_at, Some(at(NOW + 1)));
    assert_eq!(removed(&decide(Some(at(NOW - 600)))), [("b", Reason::Surplus)], "the one that is not up yet first");
}

#[test]
fn draining_takes_all_idle_ones_at_once_and_no_busy_one() {
    let runners = [
        runner("a", running(), Job::None),
        runner("b", running(), Job::Running),
        runner("c", Stage::Creating, Job::None),
    ];
    let plan = decide(jobs(5), &runners, &Limits { draining: true, ..limits(1, 4) });
    assert_eq!(removed(&plan), [("a", Reason::Surplus)]);
    assert_eq!(plan.create, 0);
}

#[test]
fn an_outdated_idle_runner_is_rolled_and_still_counted_until_github_has_given_it_up() {
    let old = Runner { outdated: true, ..runner("a", running(), Job::None) };
    let busy = Runner { outdated: true, ..runner("b", running(), Job::Running) };
    let first = decide(jobs(1), &[old.clone(), busy.clone()], &limits(1, 4));
    assert_eq!(removed(&first), [("a", Reason::Outdated)]);
    assert_eq!(first.create, 0);
    let going = |deregistered| Runner { stage: Stage::Removing { deregistered }, ..old.clone() };
    assert_eq!(decide(jobs(1), &[going(false), busy.clone()], &limits(1, 4)).create, 0);
    assert_eq!(decide(jobs(1), &[going(true), busy], &limits(1, 4)).create, 1);
}

#[test]
fn runners_that_do_not_come_up_or_do_not_end_are_removed_by_their_timers() {
    let old = |stage, job, registration| Runner { created_at: at(NOW - 6000), registration, ..runner("a", stage, job) };
    let long_ago = Stage::Running { since: at(NOW - 3600) };
    let asked = |seconds_ago: i64| Registration::Offline { at: at(NOW - seconds_ago) };
    for (runner, expected) in [
        (old(Stage::Starting, Job::None, Registration::NotAsked), Some(Reason::NotStarted)),
        (old(Stage::Starting, Job::None, Registration::GivenUp), Some(Reason::Ghost)),
        (old(long_ago, Job::None, Registration::GivenUp), Some(Reason::Ghost)),
        (old(long_ago, Job::None, asked(5)), Some(Reason::NotOnline)),
        (old(long_ago, Job::None, Registration::Gone { at: at(NOW - 180) }), Some(Reason::Ghost)),
        (old(long_ago, Job::None, Registration::Gone { at: at(NOW - 179) }), None),
        (old(Stage::Doubtful, Job::None, Registration::NotAsked), Some(Reason::NotHandedOver)),
        (old(long_ago, Job::Completed { at: at(NOW - 180) }, Registration::NotAsked), Some(Reason::Hung)),
        (old(long_ago, Job::Completed { at: at(NOW - 179) }, Registration::NotAsked), None),
        (old(long_ago, Job::Running, Registration::Gone { at: at(0) }), None),
        (old(long_ago, Job::None, Registration::Online { at: at(NOW - 5) }), None),
        (old(Stage::Unknown, Job::None, Registration::NotAsked), None),
        (old(Stage::Unknown, Job::None, Registration::Online { at: at(NOW - 3600) }), None),
        (old(Stage::Unknown, Job::None, asked(5)), Some(Reason::NotOnline)),
        (old(Stage::Unknown, Job::None, Registration::Gone { at: at(NOW - 3600) }), None),
        (old(Stage::Unknown, Job::Running, asked(5)), None),
    ] {
        let plan = decide(jobs(1), std::slice::from_ref(&runner), &limits(0, 4));
        assert_eq!(removed(&plan).first().map(|(_, reason)| *reason), expected, "{runner:?}");
    }
}

#[test]
fn github_is_asked_about_an_idle_runner_when_it_should_be_online_and_now_and_then() {
    let long_ago = Stage::Running { since: at(NOW - 3600) };
    let idle = |registration| Runner { registration, ..runner("a", long_ago, Job::None) };
    let asks = |registration| decide(jobs(1), &[idle(registration)], &limits(0, 4)).ask.len();
    assert_eq!(asks(Registration::NotAsked), 1);
    assert_eq!(asks(Registration::Online { at: at(NOW - 599) }), 0);
    assert_eq!(asks(Registration::Online { at: at(NOW - 600) }), 1);
    assert_eq!(asks(Registration::Asking), 0);
    let young = decide(jobs(1), &[runner("a", running(), Job::None)], &limits(0, 4));
    assert_eq!((young.ask.len(), young.wake_at), (0, Some(at(NOW + 330))));
}

#[test]
fn github_is_asked_now_and_then_whether_a_busy_runner_still_is() {
    for stage in [running(), Stage::Starting, Stage::Doubtful, Stage::Unknown] {
        let busy = |registration| Runner { registration, ..runner("a", stage, Job::Running) };
        let decide = |registration| decide(jobs(1), &[busy(registration)], &limits(0, 4));
        assert_eq!(decide(Registration::NotAsked).wake_at, Some(at(NOW + 540)), "ten minutes old");
        assert_eq!(decide(Registration::Online { at: at(NOW - 600) }).ask, ["a"]);
        assert_eq!(decide(Registration::Offline { at: at(NOW - 599) }).wake_at, Some(at(NOW + 1)));
        assert_eq!(decide(Registration::Asking).ask.len(), 0);
    }
}

#[test]
fn an_idle_runner_that_cannot_be_seen_covers_a_job_only_as_long_as_github_sees_it() {
    let unseen = |registration| Runner { registration, ..runner("a", Stage::Unknown, Job::None) };
    let decide = |registration| decide(jobs(1), &[unseen(registration)], &limits(0, 4));
    assert_eq!(decide(Registration::NotAsked).ask, ["a"]);
    assert_eq!(decide(Registration::Online { at: at(NOW - 60) }).ask, ["a"]);
    let just_said = decide(Registration::Online { at: at(NOW - 59) });
    assert_eq!((just_said.ask.len(), just_said.wake_at, just_said.create), (0, Some(at(NOW + 1)), 0));
    assert_eq!(decide(Registration::Gone { at: at(NOW) }).create, 1, "its place is another one's");
}

#[test]
fn a_runner_that_is_given_up_takes_no_place_of_a_surplus_one() {
    let gone = Registration::Gone { at: at(NOW - 5) };
    let lost = Runner { registration: gone, ..runner("lost", Stage::Unknown, Job::None) };
    let runners = [lost, runner("idle", running(), Job::None)];
    let decide = |limits: &Limits| {
        let since = Some(at(NOW - 600));
        plan(jobs(0), &runners, limits, &Creation::Free, since, at(NOW))
    };
    assert_eq!(removed(&decide(&limits(0, 4))), [("idle", Reason::Surplus)]);
    let draining = Limits { draining: true, ..limits(0, 4) };
    assert_eq!(removed(&decide(&draining)), [("lost", Reason::Ghost), ("idle", Reason::Surplus)]);
}

#[test]
fn after_failures_one_runner_at_a_time_shows_whether_things_are_well() {
    let decide = |runners: &[Runner], creation| plan(jobs(3), runners, &limits(0, 4), &creation, None, at(NOW));
    assert_eq!(decide(&[], Creation::OneAtATime).create, 1);
    let trial = [runner("a", Stage::Starting, Job::None)];
    assert_eq!(decide(&trial, Creation::OneAtATime).create, 0);
    let stays = |seconds_ago| Stage::Ended { at: at(NOW - seconds_ago), code: Some(1), remains: Remains::PodGoing };
    assert_eq!(decide(&[runner("a", stays(1), Job::None)], Creation::OneAtATime).create, 0, "news may be under way");
    assert_eq!(decide(&[runner("a", stays(2), Job::None)], Creation::OneAtATime).create, 1, "only its pod is left");
    let backoff = decide(&[], Creation::NotBefore(at(NOW + 20)));
    assert_eq!((backoff.create, backoff.wake_at), (0, Some(at(NOW + 20))));
    assert_eq!(decide(&[], Creation::Stopped(String::new())).create, 0);
}

fn any_stage() -> impl Strategy<Value = Stage> {
    let past = (0i64..2000).prop_map(|seconds| at(NOW - seconds));
    let remains = prop_oneof![Just(Remains::Pod), Just(Remains::PodGoing), Just(Remains::Nothing)];
    prop_oneof![
        Just(Stage::Creating),
        Just(Stage::Starting),
        Just(Stage::Unknown),
        Just(Stage::Doubtful),
        any::<bool>().prop_map(|deregistered| Stage::Removing { deregistered }),
        past.clone().prop_map(|since| Stage::Running { since }),
        (past, prop_oneof![Just(None), Just(Some(0)), Just(Some(1))], remains)
            .prop_map(|(at, code, remains)| Stage::Ended { at, code, remains }),
    ]
}

fn any_runners() -> impl Strategy<Value = Vec<Runner>> {
    let past = || (0i64..2000).prop_map(|seconds| at(NOW - seconds));
    let job = prop_oneof![Just(Job::None), Just(Job::Running), past().prop_map(|at| Job::Completed { at })];
    let registration = prop_oneof![
        Just(Registration::NotAsked),
        Just(Registration::GivenUp),
        past().prop_map(|at| Registration::Gone { at }),
        Just(Registration::Asking),
        past().prop_map(|at| Registration::Online { at }),
        past().prop_map(|at| Registration::Offline { at }),
    ];
    let one = (any_stage(), job, registration, any::<bool>(), past()).prop_map(
        |(stage, job, registration, outdated, created_at)| Runner {
            created_at,
            registration,
            outdated,
            ..runner("", stage, job)
        },
    );
    proptest::collection::vec(one, 0..12).prop_map(|mut runners| {
        for (index, runner) in runners.iter_mut().enumerate() {
            runner.name = index.to_string();
        }
        runners
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_plan_breaks_the_rules(
        runners in any_runners(),
        demand in proptest::option::of(0u32..8),
        (min, more) in (0u32..4, 0u32..6),
        draining in any::<bool>(),
        since in proptest::option::of((0i64..2000).prop_map(|seconds| at(NOW - seconds))),
    ) {
        let limits = Limits { draining, ..limits(min, min + more) };
        let plan = plan(Demand { jobs: demand, heard_at: Some(at(NOW)) }, &runners, &limits, &Creation::Free, since, at(NOW));
        let alive = count(runners.iter().filter(|runner| runner.may_be_alive()));
        let covering = count(runners.iter().filter(|runner| runner.covers_a_job(Some(at(NOW)), at(NOW))));
        prop_assert!(plan.create == 0 || plan.create + alive <= limits.max, "more than the maximum");
        prop_assert!(plan.create == 0 || plan.create + covering <= plan.wanted, "a surplus runner");
        prop_assert!(!draining || plan.create == 0);
        let mut seen = std::collections::BTreeSet::new();
        let mut idle_removed = 0;
        for removal in &plan.remove {
            prop_assert!(seen.insert(&removal.runner), "one reason each");
            let runner = runners.iter().find(|runner| runner.name == removal.runner).unwrap();
            let ended = matches!(runner.stage, Stage::Ended { .. });
            prop_assert!(ended || runner.job != Job::Running, "a busy runner is never removed: {runner:?}");
            let on_its_way = matches!(runner.stage, Stage::Creating | Stage::Removing { .. });
            prop_assert!(!on_its_way, "no removal of what is on its way");
            let gone = runner.registration.is_gone();
            prop_assert!(ended || gone || runner.job != Job::None || removal.reason.asks_github_first());
            idle_removed += u32::from(removal.reason == Reason::Surplus);
        }
        prop_assert!(idle_removed <= plan.surplus, "too many are removed");
        prop_assert!(plan.wake_at.is_none_or(|wake_at| wake_at > at(NOW)), "a hot loop");
    }
}
