//! Scale sets, runner groups and sessions.

use deskrun::simulator::Generation;
use serde_json::{Value, json};

use crate::client::{GitHub, SETS};

#[tokio::test]
async fn a_name_is_taken_once_per_group_and_found_by_its_percent_encoded_form() {
    let github = GitHub::connected(Generation::Broker).await;
    assert_eq!(github.create("a&b #1").await.status, 200);
    assert_eq!(github.create("a&b #1").await.exception(), (400, "RunnerScaleSetExistsException".to_owned()));
    let found = github.api("GET", &format!("{SETS}?runnerGroupId=1&name=a%26b%20%231"), Value::Null).await.json();
    assert_eq!((&found["count"], &found["value"][0]["name"]), (&json!(1), &json!("a&b #1")));
    let group = github.control("POST", "groups", json!({ "scope": "/acme", "name": "gpu" })).await.json();
    let other = github.api("POST", SETS, json!({ "name": "a&b #1", "runnerGroupId": group["id"] })).await;
    assert_eq!((other.status, &other.json()["runnerGroupName"]), (200, &json!("gpu")));
    assert_eq!(github.api("GET", SETS, Value::Null).await.json()["count"], 2, "no filter, all of them");
}

#[tokio::test]
async fn groups_are_found_by_name_with_and_without_the_slash() {
    let github = GitHub::connected(Generation::Broker).await;
    for path in ["_apis/runtime/runnergroups/", "_apis/runtime/runnergroups"] {
        let found = github.api("GET", &format!("{path}?groupName=default"), Value::Null).await.json();
        let default = json!({ "id": 1, "name": "Default", "size": 0, "isDefaultGroup": true });
        assert_eq!(found, json!({ "count": 1, "value": [default] }));
    }
    let none = github.api("GET", "_apis/runtime/runnergroups/?groupName=none", Value::Null).await;
    assert_eq!(none.json()["count"], 0);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_an_empty_runner_setting_is_unchanged() {
    let github = GitHub::connected(Generation::Broker).await;
    github.api("POST", SETS, json!({ "name": "metal", "RunnerSetting": { "disableUpdate": true } })).await;
    let body = json!({ "name": "steel", "RunnerSetting": {}, "createdOn": "0001-01-01T00:00:00Z" });
    let changed = github.api("PATCH", &format!("{SETS}/1"), body).await;
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("steel")));
    assert_eq!(changed.json()["runnerSetting"]["disableUpdate"], true);
}

#[tokio::test]
async fn an_unknown_scale_set_is_a_service_exception_with_all_its_fields() {
    let github = GitHub::connected(Generation::Broker).await;
    let expected = json!({ "$id": "1", "innerException": null, "message": "The runner scale set 42 could not be found.",
        "typeName": "GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException, GitHub.Actions.Runtime.WebApi",
        "typeKey": "RunnerScaleSetNotFoundException", "errorCode": 0, "eventId": 3000 });
    for (method, path) in
        [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/sessions"), ("POST", "/generatejitconfig")]
    {
        let reply = github.api(method, &format!("{SETS}/42{path}"), json!({ "name": "x" })).await;
        assert_eq!((reply.status, reply.json()), (404, expected.clone()), "{method} {path}");
    }
}

#[tokio::test]
async fn deleting_a_scale_set_returns_its_jobs_removes_its_runners_and_drops_its_log() {
    let mut github = GitHub::listening(Generation::Broker).await;
    let job = github.queue_jobs(1).await.remove(0);
    github.poll(0, "1").await;
    let runner = github.online("r1").await;
    assert_eq!(github.api("DELETE", &format!("{SETS}/1"), Value::Null).await.status, 400, "a job is attached");
    github.finish(&runner, "succeeded").await;
    let waiting = github.queue_jobs(1).await.remove(0);
    github.poll(100_000_003, "1").await;
    github.jit("r2").await;
    assert_eq!(github.api("DELETE", &format!("{SETS}/1"), Value::Null).await.status, 204);
    assert_eq!((&github.job(&job)["status"], &github.job(&waiting)["status"]), (&json!("completed"), &json!("queued")));
    let ledger = github.simulator.ledger();
    assert_eq!((&ledger["runners"], &ledger["sessions"], &ledger["scaleSets"]), (&json!([]), &json!([]), &json!([])));
    github.create("metal").await;
    github.open(2).await;
    assert_eq!(github.poll(0, "1").await.json()["messageId"], 100_000_001, "a recreated set counts anew");
}

#[tokio::test]
async fn a_set_that_nothing_asks_for_is_removed_after_a_week() {
    let mut github = GitHub::connected(Generation::Broker).await;
    github.create("metal").await;
    github.pass(7 * 24 * 3600).await;
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    assert_eq!(github.api("GET", &format!("{SETS}/1"), Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_live_session_blocks_everyone_also_its_own_owner_for_ninety_seconds_after_its_last_poll() {
    let github = GitHub::listening(Generation::Broker).await;
    github.poll_until_end(0, "1").await;
    for owner in ["deskrun-0", "someone"] {
        assert_eq!(
            github.try_open(1, owner).await.exception(),
            (409, "RunnerScaleSetSessionConflictException".to_owned())
        );
    }
    github.pass(60).await;
    assert_eq!(github.refresh().await.status, 200, "refreshing is no poll");
    github.pass(29).await;
    assert_eq!(github.try_open(1, "deskrun-0").await.status, 409);
    github.pass(1).await;
    assert_eq!(github.try_open(1, "deskrun-0").await.status, 200);
    assert_eq!(github.poll(0, "1").await.status, 401, "the old session's token is void");
    assert_eq!(github.refresh().await.exception(), (404, "RunnerAdminException".to_owned()));
    assert_eq!(github.close().await.exception(), (400, "RunnerScaleSetSessionExpiredException".to_owned()));
}

#[tokio::test]
async fn a_held_poll_keeps_its_session_however_long() {
    let mut options = crate::client::options(Generation::Broker);
    options.hold_seconds = 400;
    let mut github = GitHub::with(options);
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    github.create("metal").await;
    github.open(1).await;
    let (poll, ()) = tokio::join!(github.poll(0, "1"), async {
        github.pass(300).await;
        assert_eq!(github.try_open(1, "other").await.status, 409);
        github.pass(100).await;
    });
    assert_eq!(poll.status, 202);
}

#[tokio::test]
async fn a_refresh_gives_a_new_token_and_the_old_one_lives_on_unless_the_lever_voids_it() {
    let mut github = GitHub::listening(Generation::Broker).await;
    let old = github.clone();
    let refreshed = github.refresh().await.json();
    github.adopt(&refreshed);
    assert_ne!(old.queue, github.queue);
    github.queue_jobs(1).await;
    assert_eq!((old.poll(0, "1").await.status, github.poll(0, "1").await.status), (200, 200));
    github.simulator.set_levers(|levers| levers.void_old_queue_tokens = true);
    let refreshed = github.refresh().await.json();
    assert_eq!(github.poll(0, "1").await.status, 401);
    github.adopt(&refreshed);
    assert_eq!(github.poll(0, "1").await.status, 200);
}

#[tokio::test]
async fn a_closed_session_makes_room_at_once() {
    let github = GitHub::listening(Generation::Broker).await;
    let closed = github.close().await;
    assert_eq!((closed.status, closed.bytes.len()), (204, 0));
    assert_eq!(github.try_open(1, "next").await.status, 200);
}
