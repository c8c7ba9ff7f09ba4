//! Every fault lever, once.

use deskrun::simulator::{FaultsFile, Generation, Options};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{AGENTS, GitHub, SETS, options};

async fn listening(rule: Value) -> GitHub {
    let github = GitHub::listening(Generation::Broker).await;
    github.fault(rule);
    github
}

#[tokio::test]
async fn a_status_has_its_body_and_retry_after_and_no_effect_unless_asked() {
    for (body, kind, text) in [
        (json!("slow down"), Some("text/plain"), "slow down"),
        (json!("<html>proxy</html>"), Some("text/html"), "<html>proxy</html>"),
        (json!("null"), Some("application/json"), "null"),
        (Value::Null, None, ""),
    ] {
        let action = json!({ "status": { "code": 429, "retryAfter": 5, "body": body } });
        let github = listening(json!({ "route": "jit-config", "on": { "next": 1 }, "action": action })).await;
        let reply = github.jit("r1").await;
        assert_eq!(
            (reply.status, &reply.headers["retry-after"].to_str().expect("text"), reply.text()),
            (429, &"5", text.to_owned())
        );
        assert_eq!(
            reply.headers.get("content-type").map(|kind| kind.to_str().expect("text").split(';').next().expect("one")),
            kind
        );
        assert_eq!(github.jit("r1").await.status, 200, "nothing was done");
    }
    let action = json!({ "status": { "code": 502, "afterEffect": true } });
    let github = listening(json!({ "route": "jit-config", "on": { "next": 1 }, "action": action })).await;
    assert_eq!((github.jit("r1").await.status, github.jit("r1").await.status), (502, 409));
}

#[tokio::test]
async fn rules_strike_by_count_by_next_by_time_and_by_seeded_chance() {
    let strikes = async |on: Value, calls: u32| {
        let github = listening(json!({ "route": "runner-*", "on": on, "action": { "status": { "code": 500 } } })).await;
        let mut seen = Vec::new();
        for call in 0..calls {
            if github.api("GET", AGENTS, Value::Null).await.status == 500 {
                seen.push(call);
            }
            github.pass(1).await;
        }
        seen
    };
    assert_eq!(strikes(json!({ "count": 3 }), 5).await, [2]);
    assert_eq!(strikes(json!({ "next": 2 }), 5).await, [0, 1]);
    assert_eq!(strikes(json!({ "seconds": 3 }), 5).await, [0, 1, 2]);
    assert_eq!(strikes(json!("always"), 3).await, [0, 1, 2]);
    let some = strikes(json!({ "probability": 0.5 }), 40).await;
    assert!((5..35).contains(&some.len()), "{some:?}");
    assert_eq!(some, strikes(json!({ "probability": 0.5 }), 40).await, "the same seed, the same calls");
}

#[tokio::test]
async fn connections_drop_before_or_after_the_effect() {
    for (action, registered) in [("dropBefore", 0), ("dropAfter", 1)] {
        let github = listening(json!({ "route": "jit-config", "on": { "next": 1 }, "action": action })).await;
        let reply = github.jit("r1").await;
        assert!(reply.dropped && reply.broken, "{action}");
        assert_eq!(github.api("GET", AGENTS, Value::Null).await.json()["count"], registered, "{action}");
    }
}

#[tokio::test]
async fn a_truncated_body_breaks_off_after_half_of_its_announced_length() {
    let github = listening(json!({ "route": "scale-set-get", "action": "truncate" })).await;
    let reply = github.api("GET", &format!("{SETS}/1"), Value::Null).await;
    let announced: usize = reply.headers["content-length"].to_str().expect("text").parse().expect("a number");
    assert!(reply.broken && reply.bytes.len() == announced / 2);
}

#[tokio::test(start_paused = true)]
async fn delays_slow_bodies_and_latency_take_their_time() {
    for (rule, latency, seconds) in [
        (json!({ "route": "scale-set-get", "action": { "delay": 3 } }), 0, 3),
        (json!({ "route": "scale-set-get", "action": { "slow": 2 } }), 0, 8),
        (json!({ "route": "poll", "action": { "delay": 3 } }), 1000, 1),
    ] {
        let mut github = GitHub::with(Options { latency_milliseconds: latency, ..options(Generation::Broker) });
        github.connect("http://ghes.test/acme", "orgs/acme").await;
        github.create("metal").await;
        github.fault(rule);
        let start = Instant::now();
        assert_eq!(github.api("GET", &format!("{SETS}/1"), Value::Null).await.json()["id"], 1);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_automatic_clock_a_poll_ends_by_itself_after_its_hold() {
    let mut github = GitHub::with(Options::default());
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    github.create("metal").await;
    github.open(1).await;
    let start = Instant::now();
    assert_eq!(github.poll(0, "1").await.status, 202);
    assert_eq!(start.elapsed().as_secs(), 50);
    github.queue_jobs(1).await;
    github.poll(0, "1").await;
    github.simulator.set_levers(|levers| levers.assign_timeout_seconds = 30);
    assert_eq!(github.poll(100_000_001, "1").await.kinds(), ["JobCompleted"], "what falls due wakes it");
    assert_eq!(start.elapsed().as_secs(), 80);
}

#[tokio::test]
async fn a_duplicate_effect_shows_its_second_answer() {
    let github = listening(json!({ "route": "jit-config", "on": { "next": 1 }, "action": "duplicate" })).await;
    assert_eq!(github.jit("r1").await.exception(), (409, "AgentExistsException".to_owned()));
    assert_eq!(github.api("GET", AGENTS, Value::Null).await.json()["count"], 1);
}

#[tokio::test]
async fn answers_get_a_mark_odd_casing_unknown_fields_and_missing_bodies() {
    let get = async |action: &str| {
        let github = listening(json!({ "route": "scale-set-*", "action": action })).await;
        github.api("GET", &format!("{SETS}/1"), Value::Null).await
    };
    assert_eq!(&get("bom").await.bytes[..4], b"\xEF\xBB\xBF{");
    assert_eq!(get("oddCasing").await.json()["RunnerSetting"]["DisableUpdate"], false);
    assert!(get("unknownFields").await.json()["futureField"].is_object());
    assert_eq!((get("emptyBody").await.status, get("emptyBody").await.bytes.len()), (200, 0));
    assert_eq!(get("nullBody").await.json(), Value::Null);
    assert_eq!(get("scaleSetNotFound").await.exception(), (404, "RunnerScaleSetNotFoundException".to_owned()));
    let github = listening(json!({ "route": "scale-set-list", "action": "zeroCount" })).await;
    let list = github.api("GET", SETS, Value::Null).await.json();
    assert_eq!((&list["count"], list["value"].as_array().map(Vec::len)), (&json!(0), Some(1)));
}

#[tokio::test]
async fn sessions_conflict_for_a_time_lose_their_queue_or_are_not_found() {
    let github =
        listening(json!({ "route": "session-create", "on": { "seconds": 30 }, "action": "sessionConflict" })).await;
    github.close().await;
    assert_eq!(github.try_open(1, "x").await.exception(), (409, "RunnerScaleSetSessionConflictException".to_owned()));
    github.pass(30).await;
    github.fault(json!({ "route": "session-*", "action": "emptyQueueUrl" }));
    github.fault(json!({ "route": "session-*", "action": "nullStatistics" }));
    let opened = github.try_open(1, "x").await;
    assert_eq!(
        (opened.status, &opened.json()["messageQueueUrl"], &opened.json()["statistics"]),
        (200, &json!(""), &Value::Null)
    );
    let github =
        listening(json!({ "route": "session-refresh", "on": { "next": 1 }, "action": "refreshNotFound" })).await;
    assert_eq!(github.refresh().await.exception(), (404, "RunnerAdminException".to_owned()));
    assert_eq!(github.refresh().await.status, 200);
}

#[tokio::test]
async fn polls_come_back_early_empty_with_strange_messages_and_wrong_totals() {
    let poll = async |action: &str, jobs: u32| {
        let github = listening(json!({ "route": "poll", "action": action })).await;
        github.queue_jobs(jobs).await;
        github.poll(0, "9").await
    };
    assert_eq!(poll("noHold", 0).await.status, 202);
    let empty = poll("emptyBody", 1).await;
    assert_eq!((empty.status, empty.bytes.len()), (200, 0));
    assert_eq!(poll("nullStatistics", 1).await.json()["statistics"], Value::Null);
    let zero = poll("zeroTotals", 1).await;
    assert_eq!(
        (zero.kinds(), &zero.json()["statistics"]["totalAssignedJobs"]),
        (vec!["JobAssigned".to_owned()], &json!(0))
    );
    assert_eq!(poll("unknownMessageType", 1).await.json()["messageType"], "Unheard");
    assert_eq!(poll("unknownEntryType", 1).await.kinds(), ["JobAssigned", "JobTeleported"]);
    assert_eq!(poll("unauthorized", 1).await.status, 401);
}

#[tokio::test]
async fn a_message_can_be_said_to_be_deleted_and_stay() {
    let github = listening(json!({ "route": "acknowledge", "action": "keepMessage" })).await;
    github.queue_jobs(1).await;
    github.poll(0, "1").await;
    assert_eq!(github.acknowledge(100_000_001).await.status, 204);
    assert_eq!(github.poll(0, "1").await.json()["messageId"], 100_000_001);
}

#[tokio::test]
async fn registration_is_refused_for_a_moment_and_a_token_can_be_garbage() {
    let github = GitHub::with(options(Generation::Broker));
    let token = github.registration_token("ghp_any", "orgs/acme").await.json()["token"].clone();
    let token = token.as_str().expect("a token");
    github.fault(json!({ "route": "runner-registration", "on": { "next": 1 }, "action": "unauthorized" }));
    github.fault(json!({ "route": "runner-registration", "action": "garbageToken" }));
    assert_eq!(github.register(token, "http://ghes.test/acme").await.status, 401);
    assert_eq!(github.register(token, "http://ghes.test/acme").await.json()["token"], "garbage");
}

#[tokio::test]
async fn labels_are_dropped_without_a_word() {
    let github = listening(json!({ "route": "scale-set-create", "action": "dropLabels" })).await;
    let labels = json!([{ "name": "steel", "type": "System" }, { "name": "gpu", "type": "System" }]);
    let made = github.api("POST", SETS, json!({ "name": "steel", "labels": labels })).await;
    assert_eq!((made.status, made.json()["labels"].as_array().map(Vec::len)), (200, Some(1)));
}

#[tokio::test]
async fn a_restart_voids_sessions_and_tokens_and_keeps_the_rest() {
    let mut github = listening(json!({ "route": "poll", "on": { "next": 1 }, "action": "restart" })).await;
    let job = github.queue_jobs(1).await.remove(0);
    github.jit("r1").await;
    assert_eq!(github.poll(0, "1").await.status, 401);
    assert_eq!(github.refresh().await.exception(), (401, "InvalidTokenException".to_owned()));
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    assert_eq!(github.refresh().await.exception(), (404, "RunnerAdminException".to_owned()));
    github.open(1).await;
    assert_eq!(github.poll(0, "1").await.entries()[0]["jobId"], job);
    assert_eq!(github.simulator.ledger()["runners"][0]["name"], "r1");
}

#[tokio::test]
async fn faults_and_levers_come_from_a_file_or_over_the_control_api() {
    let text =
        "- {route: poll, on: {next: 2}, action: {status: {code: 429, retryAfter: 5}}}\n- {route: '*', action: bom}\n";
    assert_eq!(FaultsFile::read(text).expect("two rules").faults.len(), 2);
    let both = FaultsFile::read("levers: {lingerSeconds: 30}\nfaults: []\n").expect("levers");
    assert_eq!(both.levers.expect("levers").linger_seconds, 30);
    for wrong in
        ["- {route: poll, action: explode}", "- {route: poll, on: {nxt: 1}, action: bom}", "levers: {linger: 1}", "[}"]
    {
        assert!(FaultsFile::read(wrong).is_err(), "{wrong}");
    }
    let github = GitHub::listening(Generation::Broker).await;
    let rule = json!([{ "route": "session-refresh", "action": { "status": { "code": 503 } } }]);
    assert_eq!(github.control("POST", "faults", rule).await.status, 200);
    assert_eq!(github.refresh().await.status, 503);
    assert_eq!(github.control("POST", "faults", json!([{ "route": "x", "action": "explode" }])).await.status, 400);
    github.control("DELETE", "faults", json!({})).await;
    assert_eq!(github.refresh().await.status, 200);
    assert_eq!(github.control("POST", "levers", json!({ "adminTokenSeconds": 60 })).await.status, 200);
    assert_eq!(github.control("POST", "levers", json!({ "unheard": 60 })).await.status, 400);
    let before = github.simulator.now();
    assert_eq!(github.control("POST", "clock", json!({ "advanceSeconds": 90 })).await.status, 200);
    assert_eq!(github.simulator.now().duration_since(before).as_secs(), 90);
}
