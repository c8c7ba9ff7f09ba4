use super::*;
use crate::engine::Owner;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn made() -> Record {
    let mut record = Record::new("metal-a".to_owned(), 0, "hash".to_owned(), at(0));
    record.registered(7, at(1));
    record.handed_over(at(2));
    record
}

fn adopted(job: Option<&str>) -> Record {
    let owner = Owner { runner_id: 7, job: job.map(str::to_owned), ..Owner::default() };
    let phase = RunnerPhase::Running { since: at(0) };
    Record::adopt(&ObservedRunner { name: "metal-a".to_owned(), owner, created_at: at(0), phase }, at(100))
}

fn said(busy: Option<bool>) -> Runner {
    let runner = serde_json::json!({"id": 7, "name": "metal-a", "status": "online", "busy": busy});
    serde_json::from_value(runner).unwrap()
}

#[test]
fn a_runner_that_was_never_shown_is_doubted_by_a_list_without_it_and_not_given_up() {
    let mut record = made();
    assert!(!record.must_show(at(32)) && record.must_show(at(33)));
    record.vanish(at(33));
    assert_eq!(record.stage(), Stage::Doubtful, "GitHub is asked before anything is removed");
    record.observe(&RunnerPhase::Starting { waiting: None }, at(34));
    assert_eq!((record.stage(), record.verdict()), (Stage::Starting, Verdict::Fine), "it was only late");
    record.vanish(at(35));
    assert!(matches!(record.stage(), Stage::Ended { remains: Remains::Pod, .. }));
    let mut record = made();
    record.removal_begins(Reason::Surplus);
    record.vanish(at(33));
    record.deregistered();
    record.removal_failed(at(40));
    assert_eq!((record.stage(), record.verdict()), (Stage::Starting, Verdict::Fine), "we took it away ourselves");
    record.removal_begins(Reason::Ghost);
    record.hear(Some(&said(Some(false))), at(41));
    assert_eq!((record.registration, record.verdict()), (Registration::GivenUp, Verdict::Fine), "and try it again");
}

#[test]
fn whoever_is_busy_by_githubs_word_has_been_handed_over() {
    let mut record = Record::new("metal-a".to_owned(), 0, "hash".to_owned(), at(0));
    record.not_handed_over("the call timed out".to_owned());
    record.is_busy(at(5));
    assert_eq!(record.stage(), Stage::Starting);
    assert!(record.must_show(at(36)), "a list without it says something");
}

#[test]
fn an_end_of_a_job_that_no_message_told_is_heard_from_github() {
    let mut record = adopted(None);
    record.hear(Some(&said(Some(true))), at(100));
    assert!(matches!(record.job, Job::Running(None)));
    record.hear(Some(&said(None)), at(700));
    assert!(matches!(record.job, Job::Running(None)), "it was not said");
    record.hear(None, at(1300));
    assert!(matches!(record.job, Job::Completed { at, .. } if at == self::at(1300)), "{:?}", record.job);

    let mut record = adopted(None);
    record.hear(Some(&said(Some(true))), at(100));
    record.milestones.job_started = Some(at(650));
    record.hear(Some(&said(Some(false))), at(700));
    assert!(matches!(record.job, Job::Running(None)), "the answer may be older than the job");
    record.hear(Some(&said(Some(false))), at(1300));
    assert!(matches!(record.job, Job::None), "it is asked for another");
}

#[test]
fn a_noted_job_is_believed_until_github_has_said_something() {
    let mut record = adopted(Some("build"));
    assert!(record.noted_job().is_some());
    record.removal_begins(Reason::Surplus);
    record.removal_failed(at(110));
    assert!(record.noted_job().is_some(), "GitHub was away");
    record.hear(Some(&said(Some(false))), at(120));
    assert!(record.noted_job().is_none());
    assert!(adopted(None).noted_job().is_none());
}
