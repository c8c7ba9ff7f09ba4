//! Jobs: canceled in every state, reassigned, dropped, and to whom they go.

use deskrun::simulator::Generation;
use serde_json::{Value, json};

use crate::client::{GitHub, SETS};

#[tokio::test]
async fn canceling_says_something_only_about_a_job_that_the_set_has() {
    let github = GitHub::listening(Generation::Broker).await;
    let queued = github.queue_jobs(1).await.remove(0);
    github.control("POST", &format!("jobs/{queued}/cancel"), json!({})).await;
    assert_eq!(github.job(&queued)["conclusion"], "cancelled");
    assert_eq!(github.poll_until_end(0, "1").await.status, 202, "never assigned, never mentioned");

    let assigned = github.queue_jobs(1).await.remove(0);
    github.poll(0, "1").await;
    github.simulator.cancel(&assigned);
    let entry = github.poll(100_000_001, "1").await.entries().remove(0);
    assert_eq!((&entry["messageType"], &entry["result"]), (&json!("JobCompleted"), &json!("canceled")));
    assert_eq!((&entry["runnerId"], &entry["runnerName"]), (&json!(0), &json!("")));

    let runner = github.online("r1").await;
    let running = github.queue_jobs(1).await.remove(0);
    github.poll(100_000_002, "1").await;
    let next = format!("next?job={running}");
    let (told, ended) = tokio::join!(github.runner(&runner, "GET", &next, Value::Null), async {
        tokio::task::yield_now().await;
        github.simulator.cancel(&running)
    });
    assert_eq!((told.status, ended), (410, true));
    let entry = github.poll(100_000_004, "1").await.entries().remove(0);
    assert_eq!((&entry["result"], &entry["runnerId"]), (&json!("canceled"), &json!(runner.id)));
    assert!(!github.simulator.cancel("no such job"));
}

#[tokio::test]
async fn an_assignment_that_no_runner_takes_is_withdrawn_and_made_again_with_the_same_job_id() {
    let github = GitHub::listening(Generation::Broker).await;
    let job = github.queue_jobs(1).await.remove(0);
    github.simulator.set_levers(|levers| (levers.assign_timeout_seconds, levers.reassign_delay_seconds) = (40, 20));
    github.poll(0, "1").await;
    let (withdrawn, ()) = tokio::join!(github.poll(100_000_001, "1"), github.pass(40));
    let entry = withdrawn.entries().remove(0);
    assert_eq!((&entry["messageType"], &entry["result"]), (&json!("JobCompleted"), &json!("canceled")));
    assert_eq!((&entry["runnerId"], &withdrawn.json()["statistics"]["totalAssignedJobs"]), (&json!(0), &json!(0)));
    assert_eq!(github.job(&job)["status"], "queued");
    let (again, ()) = tokio::join!(github.poll(100_000_002, "1"), github.pass(20));
    assert_eq!((again.kinds(), &again.entries()[0]["jobId"]), (vec!["JobAssigned".to_owned()], &json!(job)));
}

#[tokio::test]
async fn the_lever_fails_a_job_after_its_third_reassignment() {
    let github = GitHub::listening(Generation::Broker).await;
    github.simulator.set_levers(|levers| {
        (levers.assign_timeout_seconds, levers.reassign_delay_seconds) = (20, 5);
        levers.fail_after_reassignments = true;
    });
    let job = github.queue_jobs(1).await.remove(0);
    for _ in 0..30 {
        tokio::join!(github.poll(i64::MAX, "1"), github.pass(50));
    }
    assert_eq!(github.job(&job)["conclusion"], "failure");
    assert_eq!(github.simulator.ledger()["scaleSets"][0]["undeletedMessages"], 8, "four times assigned and taken away");
}

#[tokio::test]
async fn a_silent_drop_shows_in_the_statistics_only() {
    let github = GitHub::listening(Generation::Broker).await;
    let job = github.queue_jobs(1).await.remove(0);
    github.poll(0, "1").await;
    assert_eq!(github.control("POST", &format!("jobs/{job}/drop"), json!({})).await.status, 200);
    assert_eq!(github.poll_until_end(100_000_001, "1").await.status, 202);
    assert_eq!(github.refresh().await.json()["statistics"]["totalAssignedJobs"], 0);
    assert_eq!(github.control("POST", "jobs/none/drop", json!({})).await.status, 404);
}

#[tokio::test]
async fn a_public_repository_needs_a_group_that_allows_it_except_at_repository_scope() {
    let mut github = GitHub::connected(Generation::Broker).await;
    let group = github.control("POST", "groups", json!({ "scope": "/acme", "name": "private" })).await.json();
    let set = json!({ "name": "metal", "runnerGroupId": group["id"], "labels": [{ "name": "metal", "type": "" }] });
    let made = github.api("POST", SETS, set).await;
    assert_eq!(made.json()["labels"][0]["type"], "System", "an empty type is filled in");
    github.open(1).await;
    let request = json!({ "labels": ["metal"], "repository": "acme/forge", "public": true });
    github.control("POST", "jobs", request).await;
    assert_eq!(github.poll_until_end(0, "1").await.status, 202, "and no error anywhere");
    github.connect("http://ghes.test/acme/forge", "repos/acme/forge").await;
    github.create("metal").await;
    github.open(2).await;
    assert_eq!(github.poll(0, "1").await.kinds(), ["JobAssigned"]);
}

#[tokio::test]
async fn a_job_that_waits_a_day_is_canceled() {
    let github = GitHub::listening(Generation::Broker).await;
    let job = github.queue_jobs(1).await.remove(0);
    github.pass(24 * 3600).await;
    assert_eq!(github.job(&job)["conclusion"], "cancelled");
}

#[tokio::test]
async fn waiting_returns_when_the_named_jobs_have_ended() {
    let github = GitHub::listening(Generation::Broker).await;
    let jobs = github.queue_jobs(2).await;
    let path = format!("wait?ids={}", jobs[0]);
    let (ended, _) = tokio::join!(github.control("GET", &path, json!({})), async {
        tokio::task::yield_now().await;
        github.simulator.cancel(&jobs[0])
    });
    assert_eq!((&ended.json()["ended"], &ended.json()["jobs"][0]["conclusion"]), (&json!(true), &json!("cancelled")));
    assert_eq!(ended.json()["jobs"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_control_api_refuses_jobs_that_make_no_sense() {
    let github = GitHub::connected(Generation::Broker).await;
    for request in [
        json!({ "labels": [] }),
        json!({ "labels": ["x"], "repository": "acme" }),
        json!({ "labels": ["x"], "conclusion": "cancelled" }),
        json!({ "labels": ["x"], "durationSeconds": -1 }),
        json!({ "labels": ["x"], "durations": 1 }),
    ] {
        let refused = github.control("POST", "jobs", request.clone()).await;
        assert_eq!((refused.status, refused.json()["error"].is_string()), (400, true), "{request}");
    }
}

#[tokio::test]
async fn the_ledger_and_the_call_log_show_what_happened() {
    let github = GitHub::listening(Generation::Broker).await;
    github.queue_jobs(1).await;
    github.poll(0, "1").await;
    github.acknowledge(7).await;
    let ledger = github.control("GET", "state", json!({})).await.json();
    for name in ["id", "labels", "status", "conclusion", "runner", "queuedAt", "assignedAt", "startedAt", "completedAt"]
    {
        assert!(ledger["jobs"][0].get(name).is_some(), "{name}");
    }
    assert_eq!((&ledger["calls"]["poll"], &ledger["sessions"][0]["owner"]), (&json!(1), &json!("deskrun-0")));
    let calls = github.control("GET", "calls", json!({})).await.json();
    let calls: Vec<_> =
        calls.as_array().expect("calls").iter().map(|call| (call["route"].clone(), call["status"].clone())).collect();
    let expected = [
        ("registration-token", 201),
        ("runner-registration", 200),
        ("scale-set-create", 200),
        ("session-create", 200),
        ("poll", 200),
        ("acknowledge", 204),
    ];
    assert_eq!(calls, expected.map(|(route, status)| (json!(route), json!(status))));
}
