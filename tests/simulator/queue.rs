//! Polls: what is delivered when, replayed, pruned, and how capacity gates it.

use deskrun::simulator::Generation;
use serde_json::{Value, json};

use crate::client::{GitHub, SETS};

#[tokio::test]
async fn a_held_poll_wakes_when_a_job_is_queued_and_ends_with_202_after_the_hold() {
    let github = GitHub::listening(Generation::Broker).await;
    let (message, _) = tokio::join!(github.poll(0, "1"), github.queue_jobs(1));
    assert_eq!((message.status, message.kinds()), (200, vec!["JobAssigned".to_owned()]));
    let nothing = github.poll_until_end(100_000_001, "1").await;
    assert_eq!((nothing.status, nothing.bytes.len()), (202, 0));
    assert!(!nothing.headers.contains_key("content-type"));
}

#[tokio::test]
async fn capacity_is_read_anew_on_each_poll_and_counts_running_jobs() {
    let github = GitHub::listening(Generation::Broker).await;
    github.queue_jobs(3).await;
    assert_eq!(github.poll_until_end(0, "0").await.status, 202, "queued, not offered");
    let first = github.poll(0, "1").await;
    assert_eq!((first.json()["statistics"]["totalAssignedJobs"].clone(), first.kinds().len()), (json!(1), 1));
    github.online("r1").await;
    let second = github.poll(100_000_002, "2").await;
    assert_eq!(second.json()["statistics"]["totalAssignedJobs"], 2, "one runs, one waits");
    assert_eq!(second.json()["statistics"]["totalRunningJobs"], 1);
    assert_eq!(github.poll_until_end(100_000_003, "2").await.status, 202);
}

#[tokio::test]
async fn without_a_session_or_a_poll_nothing_is_assigned() {
    let github = GitHub::listening(Generation::Broker).await;
    let job = github.queue_jobs(1).await.remove(0);
    assert_eq!(github.job(&job)["status"], "queued");
}

#[tokio::test]
async fn a_capacity_that_is_no_count_is_a_400_in_plain_text_and_none_is_no_limit() {
    let github = GitHub::listening(Generation::Broker).await;
    for capacity in ["-1", "many", "1.5", ""] {
        let refused = github.poll(0, capacity).await;
        assert_eq!(refused.status, 400, "{capacity}");
        assert!(refused.headers["content-type"].to_str().expect("text").starts_with("text/plain"));
    }
    github.queue_jobs(7).await;
    let header = format!("Bearer {}", github.queue);
    let message = github.send("GET", "/scalesets/message", &[("authorization", &header)], "").await;
    assert_eq!(message.json()["statistics"]["totalAssignedJobs"], 7);
}

#[tokio::test]
async fn undeleted_messages_are_replayed_to_a_new_session_with_statistics_of_now() {
    let mut github = GitHub::listening(Generation::Broker).await;
    github.queue_jobs(1).await;
    let first = github.poll(0, "1").await;
    assert_eq!(github.poll(0, "1").await.bytes, first.bytes, "the same cursor, the same message");
    let runner = github.online("r1").await;
    github.poll(100_000_001, "1").await;
    github.finish(&runner, "succeeded").await;
    assert_eq!(github.acknowledge(100_000_002).await.status, 204);
    github.close().await;
    github.pass(13 * 3600).await;
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    github.open(1).await;
    let replayed = github.poll(0, "1").await;
    assert_eq!(
        (replayed.json()["messageId"].clone(), replayed.json()["body"].clone()),
        (json!(100_000_001), first.json()["body"].clone())
    );
    assert_eq!(replayed.json()["statistics"]["totalAssignedJobs"], 0, "statistics are computed at delivery");
    assert_eq!(github.poll(100_000_001, "1").await.json()["messageId"], 100_000_003, "deleted is deleted");
    for id in [100_000_001, 100_000_003] {
        assert_eq!(github.acknowledge(id).await.status, 204);
    }
    assert_eq!(github.poll_until_end(0, "1").await.status, 202);
}

#[tokio::test]
async fn a_burst_is_one_envelope_each_or_batches_of_fifty() {
    for (batch, sizes) in [(false, vec![1; 256]), (true, vec![50, 50, 50, 50, 50, 6])] {
        let github = GitHub::listening(Generation::Broker).await;
        github.simulator.set_levers(|levers| levers.batch_messages = batch);
        github.queue_jobs(256).await;
        let (mut last, mut seen) = (0, Vec::new());
        while seen.len() < sizes.len() {
            let message = github.poll(last, "300").await;
            last = message.json()["messageId"].as_i64().expect("an id");
            seen.push(message.kinds().len());
        }
        assert_eq!(seen, sizes);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let github = GitHub::listening(Generation::Broker).await;
    tokio::select! {
        biased;
        reply = github.poll(0, "1") => panic!("{reply:?}"),
        () = tokio::task::yield_now() => {}
    }
    github.pass(89).await;
    assert_eq!(github.try_open(1, "x").await.status, 409);
    github.pass(1).await;
    assert_eq!(github.try_open(1, "x").await.status, 200, "its hold does not count any more");
}

#[tokio::test]
async fn two_polls_of_a_session_see_the_same_message() {
    let github = GitHub::listening(Generation::Broker).await;
    let (one, two, _) = tokio::join!(github.poll(0, "1"), github.poll(0, "1"), github.queue_jobs(1));
    assert_eq!((one.status, one.bytes), (200, two.bytes));
}

#[tokio::test]
async fn offers_are_listed_acquired_partially_and_made_again_when_no_one_takes_them() {
    let github = GitHub::listening(Generation::Pipelines).await;
    let none = github.api("GET", &format!("{SETS}/1/acquirablejobs"), Value::Null).await;
    assert_eq!((none.status, none.bytes.len()), (204, 0));
    let job = github.queue_jobs(1).await.remove(0);
    let request = github.poll(0, "1").await.entries()[0]["runnerRequestId"].clone();
    let listed = github.api("GET", &format!("{SETS}/1/acquirablejobs"), Value::Null).await.json();
    assert_eq!((&listed["count"], &listed["value"][0]["runnerRequestId"]), (&json!(1), &request));
    github.acknowledge(100_000_001).await;
    let header = github.pass(60);
    header.await;
    github.poll_until_end(100_000_001, "1").await;
    let again = tokio::join!(github.poll(100_000_001, "1"), github.pass(10)).0;
    assert_eq!((again.kinds(), &again.entries()[0]["runnerRequestId"]), (vec!["JobAvailable".to_owned()], &request));
    github.simulator.cancel(&job);
    let got = github.api_as(&github.queue, "POST", &format!("{SETS}/1/acquirejobs"), json!([request])).await;
    assert_eq!(got.json(), json!({ "count": 0, "value": [] }), "what is gone is absent");
}
