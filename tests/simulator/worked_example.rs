//! The worked example of the protocol reference, request by request, for both back ends.

use deskrun::simulator::Generation;
use serde_json::{Value, json};

use crate::client::{AGENTS, GitHub, Runner, SETS, claims, options};

const ZERO: [u64; 7] = [0; 7];

/// Available, acquired, assigned, running, registered, busy, idle.
fn totals(value: &Value) -> [u64; 7] {
    let names = [
        "AvailableJobs",
        "AcquiredJobs",
        "AssignedJobs",
        "RunningJobs",
        "RegisteredRunners",
        "BusyRunners",
        "IdleRunners",
    ];
    names.map(|name| value["statistics"][format!("total{name}")].as_u64().expect(name))
}

async fn bootstrap(github: &mut GitHub) {
    let app = [("authorization", "Bearer eyJ.app.jwt"), ("content-type", "application/vnd.github+json")];
    let token = github.send("POST", "/api/v3/app/installations/5551234/access_tokens", &app, "").await;
    assert_eq!((token.status, token.json()["expires_at"].as_str()), (201, Some("2026-08-20T11:01:00Z")));
    let token = token.json()["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("ghs_"));
    let registration = github.registration_token(&token, "orgs/acme-robotics").await;
    assert_eq!(registration.status, 201);
    assert_eq!(registration.json()["expires_at"], "2026-08-20T11:01:00.000+00:00");
    let registration = registration.json()["token"].as_str().expect("a token").to_owned();
    let connection = github.register(&registration, "http://ghes.test/acme-robotics").await;
    assert_eq!(connection.status, 200);
    let connection = connection.json();
    assert_eq!((&connection["token_schema"], &connection["use_v2_flow"]), (&json!("OAuthAccessToken"), &json!(true)));
    github.adopt_connection(&connection);
    let claims = claims(&github.admin);
    assert_eq!(claims["exp"].as_i64().expect("exp") - claims["nbf"].as_i64().expect("nbf"), 17 * 60);
}

async fn ensure_scale_set(github: &GitHub) {
    let none = github.api("GET", &format!("{SETS}?name=deskrun-linux&runnerGroupId=1"), Value::Null).await;
    assert_eq!((none.status, none.text()), (200, r#"{"count":0,"value":[]}"#.to_owned()));
    let new = json!({ "name": "deskrun-linux", "runnerGroupId": 1,
        "labels": [{ "type": "System", "name": "deskrun-linux" }],
        "RunnerSetting": { "disableUpdate": true }, "createdOn": "0001-01-01T00:00:00Z" });
    let made = github.api("POST", SETS, new).await;
    assert_eq!(made.status, 200);
    let made = made.json();
    assert_eq!(
        (&made["name"], &made["runnerGroupId"], &made["runnerGroupName"]),
        (&json!("deskrun-linux"), &json!(1), &json!("Default"))
    );
    assert_eq!(made["labels"], json!([{ "id": 9001, "name": "deskrun-linux", "type": "System" }]));
    assert_eq!(made["runnerSetting"], json!({ "ephemeral": true, "isElastic": true, "disableUpdate": true }));
    assert_eq!(made["createdOn"], "2026-08-20T10:01:00.0000000Z");
    let jit = format!("{}/{SETS}/1/generatejitconfig", github.base.trim_end_matches('/'));
    assert_eq!((&made["runnerJitConfigUrl"], &made["statistics"]), (&json!(jit), &Value::Null));
}

async fn session(github: &mut GitHub) -> Value {
    let opened = github.open(1).await.json();
    assert_eq!((&opened["ownerName"], &opened["runnerScaleSet"]["id"]), (&json!("deskrun-0"), &json!(1)));
    assert_eq!(opened["sessionId"].as_str().map(str::len), Some(36));
    assert_eq!(totals(&opened), ZERO);
    let nothing = github.poll_until_end(0, "5").await;
    assert_eq!((nothing.status, nothing.bytes.len()), (202, 0));
    opened
}

fn queue_job(github: &GitHub) -> String {
    let request = json!({ "repository": "acme-robotics/forge", "labels": ["deskrun-linux"] });
    github.simulator.queue(&serde_json::from_value(request).expect("a request")).remove(0)
}

#[tokio::test]
async fn the_worked_example_on_the_broker_back_end() {
    let mut github = GitHub::with(options(Generation::Broker));
    bootstrap(&mut github).await;
    assert_eq!(github.base, "http://ghes.test/rest");
    ensure_scale_set(&github).await;
    let opened = session(&mut github).await;
    assert_eq!(opened["messageQueueUrl"], "http://ghes.test/scalesets/message");

    let job = queue_job(&github);
    let message = github.poll(0, "5").await;
    assert_eq!((message.status, message.kinds()), (200, vec!["JobAssigned".to_owned()]));
    assert_eq!(message.json()["messageId"], 100_000_001);
    assert_eq!(message.json()["messageType"], "RunnerScaleSetJobMessages");
    assert_eq!(totals(&message.json()), [0, 0, 1, 0, 0, 0, 0]);
    let now = "2026-08-20T10:01:50.0000000Z";
    let common = json!({ "runnerRequestId": 0, "repositoryName": "forge", "ownerName": "acme-robotics", "jobId": job,
        "jobWorkflowRef": "acme-robotics/forge/.github/workflows/ci.yml@refs/heads/main", "jobDisplayName": "build",
        "workflowRunId": 17_440_012_345_i64, "eventName": "push", "requestLabels": ["deskrun-linux"],
        "queueTime": now, "scaleSetAssignTime": now,
        "runnerAssignTime": "0001-01-01T00:00:00Z", "finishTime": "0001-01-01T00:00:00Z" });
    let mut expected = common.clone();
    expected["messageType"] = "JobAssigned".into();
    assert_eq!(message.entries()[0], expected);

    let made = github.jit("deskrun-linux-q7x2m").await;
    assert_eq!(made.status, 200);
    let runner = Runner::of(&made);
    let shown = made.json()["runner"].clone();
    assert_eq!(
        (&shown["runnerScaleSetId"], &shown["status"], &shown["ephemeral"]),
        (&json!(1), &json!("offline"), &json!(true))
    );
    assert_eq!(github.acknowledge(100_000_001).await.status, 204);

    github.pass(9).await;
    github.runner(&runner, "POST", "connect", json!({})).await;
    let started = github.poll(100_000_001, "5").await;
    assert_eq!(started.kinds(), ["JobStarted"]);
    assert_eq!(totals(&started.json()), [0, 0, 1, 1, 1, 1, 0]);
    assert_eq!(started.entries()[0]["runnerId"], runner.id);
    assert_eq!(started.entries()[0]["runnerName"], "deskrun-linux-q7x2m");
    assert_eq!(started.entries()[0]["runnerAssignTime"], "2026-08-20T10:01:59.0000000Z");
    assert_eq!(github.acknowledge(100_000_002).await.status, 204);

    let refused = github.api("DELETE", &format!("{AGENTS}/{}", runner.id), Value::Null).await;
    assert_eq!(refused.exception(), (400, "JobStillRunningException".to_owned()));
    assert_eq!(
        refused.json()["message"],
        format!("Runner {} is currently running a job and cannot be deleted.", runner.id)
    );

    github.simulator.expire_tokens("queue");
    let expired = github.poll(100_000_002, "5").await;
    assert_eq!((expired.status, expired.bytes.len()), (401, 0));
    let refreshed = github.refresh().await;
    assert_eq!((refreshed.status, &refreshed.json()["sessionId"]), (200, &json!(github.session)));
    assert_eq!(totals(&refreshed.json()), [0, 0, 1, 1, 1, 1, 0]);
    github.adopt(&refreshed.json());

    github.finish(&runner, "succeeded").await;
    let completed = github.poll(100_000_002, "5").await;
    assert_eq!(
        (completed.json()["messageId"].clone(), completed.kinds()),
        (json!(100_000_003), vec!["JobCompleted".to_owned()])
    );
    let entry = &completed.entries()[0];
    assert_eq!((&entry["result"], &entry["runnerId"]), (&json!("succeeded"), &json!(runner.id)));
    assert_eq!(totals(&completed.json()), ZERO);
    assert_eq!(github.acknowledge(100_000_003).await.status, 204);
    let gone = github.api("DELETE", &format!("{AGENTS}/{}", runner.id), Value::Null).await;
    assert_eq!((gone.status, gone.bytes.len()), (204, 0));
    assert_eq!(github.close().await.status, 204);
}

#[tokio::test]
async fn the_worked_example_on_the_pipelines_back_end() {
    let mut github = GitHub::with(options(Generation::Pipelines));
    bootstrap(&mut github).await;
    assert!(github.base.starts_with("http://ghes.test/_services/pipelines/") && github.base.ends_with('/'));
    ensure_scale_set(&github).await;
    let opened = session(&mut github).await;
    assert!(opened["messageQueueUrl"].as_str().expect("a URL").contains("/messagequeue/1?sid="));

    let job = queue_job(&github);
    let offered = github.poll(0, "5").await;
    assert_eq!(offered.kinds(), ["JobAvailable"]);
    assert_eq!(totals(&offered.json()), [1, 0, 0, 0, 0, 0, 0]);
    let request = offered.entries()[0]["runnerRequestId"].as_i64().expect("an id");
    assert!(request > 0);
    let acquire = format!("{}{SETS}/1/acquirejobs", github.base);
    assert_eq!(offered.entries()[0]["acquireJobUrl"], acquire);
    assert_eq!(github.acknowledge(100_000_001).await.status, 204);
    let got = github.api_as(&github.queue, "POST", &format!("{SETS}/1/acquirejobs"), json!([request, 5])).await;
    assert_eq!((got.status, got.json()), (200, json!({ "count": 1, "value": [request] })));
    let again = github.api_as(&github.queue, "POST", &format!("{SETS}/1/acquirejobs"), json!([request])).await;
    assert_eq!(again.json()["count"], 1, "the call may be repeated");

    let assigned = github.poll(100_000_001, "5").await;
    assert_eq!((assigned.kinds(), totals(&assigned.json())), (vec!["JobAssigned".to_owned()], [0, 0, 1, 0, 0, 0, 0]));
    assert_eq!(assigned.entries()[0]["runnerRequestId"], request);
    let runner = github.online("deskrun-linux-q7x2m").await;
    let started = github.poll(100_000_002, "5").await;
    assert_eq!(
        (started.kinds(), &started.entries()[0]["runnerRequestId"]),
        (vec!["JobStarted".to_owned()], &json!(request))
    );
    github.finish(&runner, "failed").await;
    let completed = github.poll(100_000_003, "5").await;
    assert_eq!((&completed.entries()[0]["result"], &completed.entries()[0]["jobId"]), (&json!("failed"), &json!(job)));
}
