//! Tables over the state machine: no HTTP, no clock.

use jiff::Timestamp;

use super::*;

fn github(generation: Generation) -> (State, String, i64) {
    let options = Options { generation, ..Options::default() };
    let mut state = State::new(&options, Timestamp::UNIX_EPOCH);
    let tenant = state.tenant(&Scope::Organisation("acme".to_owned()));
    let labels = vec![("metal".to_owned(), "System".to_owned()), ("x64".to_owned(), "System".to_owned())];
    let new = NewScaleSet { name: "metal".to_owned(), labels, ..NewScaleSet::default() };
    let set = state.create_scale_set(&tenant, new).expect("a new name");
    (state, tenant, set)
}

fn job(labels: &[&str], repository: Option<&str>) -> JobRequest {
    JobRequest {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        repository: repository.map(str::to_owned),
        ..JobRequest::default()
    }
}

#[test]
fn a_set_gets_jobs_of_its_scope_whose_labels_it_has_all() {
    for (labels, repository, gets) in [
        (vec!["metal"], None, true),
        (vec!["METAL", "x64"], Some("Acme/forge"), true),
        (vec!["metal", "gpu"], None, false),
        (vec!["metal"], Some("other/forge"), false),
    ] {
        let (mut state, _, set) = github(Generation::Broker);
        state.queue_jobs(&job(&labels, repository));
        assert_eq!(state.poll(set, 0, Some(1)).is_some(), gets, "{labels:?} {repository:?}");
    }
}

#[test]
fn owned_jobs_count_against_the_capacity_of_each_poll() {
    for (generation, capacities, owned) in [
        (Generation::Broker, vec![Some(0)], 0),
        (Generation::Broker, vec![Some(0), Some(1), Some(2)], 2),
        (Generation::Broker, vec![Some(2), Some(1)], 2),
        (Generation::Broker, vec![None], 3),
        (Generation::Pipelines, vec![Some(1), Some(2)], 2),
    ] {
        let (mut state, _, set) = github(generation);
        state.queue_jobs(&JobRequest { count: Some(3), ..job(&["metal"], None) });
        for capacity in &capacities {
            state.poll(set, 0, *capacity);
        }
        assert_eq!(state.owned(set), owned, "{generation:?} {capacities:?}");
    }
}

#[test]
fn an_untaken_job_is_reassigned_three_times_with_growing_delay_and_then_stays_queued() {
    let (mut state, _, set) = github(Generation::Broker);
    state.queue_jobs(&job(&["metal"], None));
    let mut assigned_at = Vec::new();
    for second in 0..3600 {
        state.advance(after(Timestamp::UNIX_EPOCH, second));
        let before = state.scale_sets[&set].log.len();
        state.poll(set, i64::MAX, Some(1));
        if state.scale_sets[&set].log.len() > before {
            assigned_at.push(second);
        }
    }
    assert_eq!(assigned_at, [0, 330, 690, 1080]);
    assert_eq!(state.jobs[0].status, job::Status::Stuck);
}

#[test]
fn events_happen_in_order_at_their_own_moment_however_far_the_clock_jumps() {
    let (mut state, tenant, set) = github(Generation::Broker);
    state.open_session(&tenant, set, "one").expect("free");
    state.queue_jobs(&job(&["metal"], None));
    state.poll(set, 0, Some(1));
    state.advance(after(Timestamp::UNIX_EPOCH, 330 + 24 * 3600));
    assert!(state.scale_sets[&set].session.is_none(), "silent for longer than its life");
    assert_eq!(state.jobs[0].completed, Some(after(Timestamp::UNIX_EPOCH, 24 * 3600)), "a day in the queue");
    state.advance(after(Timestamp::UNIX_EPOCH, 8 * 24 * 3600));
    assert!(state.scale_sets.is_empty(), "a week without contact");
}

#[test]
fn the_same_seed_makes_the_same_github() {
    let (mut one, ..) = github(Generation::Broker);
    let (mut two, ..) = github(Generation::Broker);
    assert_eq!(one.uuid(), two.uuid());
    assert_eq!(one.registration_token("acme").0, two.registration_token("acme").0);
}
