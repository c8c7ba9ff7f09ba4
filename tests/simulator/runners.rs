//! Registrations, and the routes of the stand-in runner.

use std::collections::BTreeSet;

use deskrun::simulator::{Generation, RunnerOrder};
use serde_json::{Value, json};

use crate::client::{AGENTS, GitHub, Runner, file};

#[tokio::test]
async fn a_jit_call_registers_at_once_and_its_name_is_taken() {
    let github = GitHub::listening(Generation::Broker).await;
    let made = github.jit("r1").await;
    let id = made.json()["runner"]["id"].clone();
    let found = github.api("GET", &format!("{AGENTS}?agentName=r1"), Value::Null).await.json();
    assert_eq!(
        (&found["count"], &found["value"][0]["id"], &found["value"][0]["status"]),
        (&json!(1), &id, &json!("offline"))
    );
    assert_eq!(github.jit("r1").await.exception(), (409, "AgentExistsException".to_owned()));
    assert_eq!(github.jit("").await.status, 400);
    assert_eq!(github.jit(&"x".repeat(65)).await.status, 400);
    assert_eq!(github.jit(&"x".repeat(64)).await.status, 200);
    assert_eq!(github.api("GET", AGENTS, Value::Null).await.json()["count"], 2);
}

#[tokio::test]
async fn the_jit_config_holds_the_runners_files_and_ours() {
    let github = GitHub::listening(Generation::Broker).await;
    let made = github.jit("r1").await;
    let settings = file(&made, ".runner");
    assert_eq!(
        (&settings["AgentName"], &settings["WorkFolder"], &settings["UseV2Flow"]),
        (&json!("r1"), &json!("_work"), &json!("True"))
    );
    assert_eq!(file(&made, ".credentials")["Scheme"], "OAuth");
    for name in ["d", "dp", "dq", "exponent", "inverseQ", "modulus", "p", "q"] {
        assert!(file(&made, ".credentials_rsaparams")[name].is_string(), "{name}");
    }
    assert_eq!(file(&made, ".deskrun-sim")["url"], "http://ghes.test");
    assert!(!github.simulator.ledger().to_string().contains(&Runner::of(&made).secret));
}

#[tokio::test]
async fn deleting_is_idempotent_refused_while_busy_and_tells_an_idle_process_to_end() {
    let github = GitHub::listening(Generation::Broker).await;
    let delete = async |id: i64| github.api("DELETE", &format!("{AGENTS}/{id}"), Value::Null).await;
    assert_eq!((delete(0).await.status, delete(999).await.status), (204, 204));
    let idle = github.online("idle").await;
    let (told, deleted) = tokio::join!(github.runner(&idle, "GET", "next", Value::Null), delete(idle.id));
    assert_eq!((told.status, deleted.status), (410, 204));
    let gone = github.api("GET", &format!("{AGENTS}/{}", idle.id), Value::Null).await;
    assert_eq!(gone.exception(), (404, "AgentNotFoundException".to_owned()));
    let busy = github.online("busy").await;
    github.queue_jobs(1).await;
    github.poll(0, "1").await;
    assert_eq!(delete(busy.id).await.exception(), (400, "JobStillRunningException".to_owned()));
    github.simulator.set_levers(|levers| levers.busy_delete_status = 409);
    assert_eq!(delete(busy.id).await.exception(), (409, "JobStillRunningException".to_owned()));
}

#[tokio::test]
async fn any_runner_of_the_set_may_take_any_job() {
    for (order, expected) in [(RunnerOrder::Oldest, "r1"), (RunnerOrder::Newest, "r3")] {
        let github = GitHub::listening(Generation::Broker).await;
        github.simulator.set_levers(|levers| levers.runner_order = order);
        for name in ["r1", "r2", "r3"] {
            github.online(name).await;
        }
        let job = github.queue_jobs(1).await.remove(0);
        github.poll(0, "1").await;
        assert_eq!(github.job(&job)["runner"], expected, "{order:?}");
    }
    let github = GitHub::listening(Generation::Broker).await;
    github.simulator.set_levers(|levers| levers.runner_order = RunnerOrder::Random);
    for number in 0..20 {
        github.online(&format!("r{number}")).await;
    }
    let jobs = github.queue_jobs(5).await;
    github.poll(0, "5").await;
    let taken: BTreeSet<String> = jobs.iter().map(|job| github.job(job)["runner"].to_string()).collect();
    assert_eq!(taken.len(), 5);
}

#[tokio::test]
async fn the_stand_in_connects_once_gets_its_job_and_finishes_it() {
    let github = GitHub::listening(Generation::Broker).await;
    let runner = Runner::of(&github.jit("r1").await);
    let wrong = Runner { secret: "x".to_owned(), ..runner.clone() };
    assert_eq!(github.runner(&wrong, "POST", "connect", json!({})).await.status, 401);
    assert_eq!(github.runner(&Runner { id: 7, ..runner.clone() }, "POST", "connect", json!({})).await.status, 404);
    let hello = github.runner(&runner, "POST", "connect", json!({})).await;
    assert_eq!(hello.json(), json!({ "runnerId": runner.id, "runnerName": "r1", "workFolder": "_work" }));
    assert_eq!(github.runner(&runner, "POST", "connect", json!({})).await.status, 409);
    let (nothing, ()) = tokio::join!(github.runner(&runner, "GET", "next", Value::Null), github.pass(50));
    assert_eq!(nothing.status, 204);
    let request = json!({ "labels": ["metal"], "script": "make", "durationSeconds": 2.5, "displayName": "test" });
    let id = github.control("POST", "jobs", request).await.json()["ids"][0].clone();
    let (job, _) = tokio::join!(github.runner(&runner, "GET", "next", Value::Null), github.poll(0, "1"));
    assert_eq!((&job.json()["jobId"], &job.json()["displayName"]), (&id, &json!("test")));
    assert_eq!(job.json()["script"], "sleep 2.5\nmake");
    assert_eq!(github.runner(&runner, "POST", "log", json!("line")).await.status, 200);
    assert_eq!(github.finish(&runner, "sideways").await.status, 400);
    assert_eq!(github.finish(&runner, "succeeded").await.status, 200);
    assert_eq!(github.finish(&runner, "succeeded").await.status, 410, "the registration went with its job");
    assert_eq!(github.job(id.as_str().expect("an id"))["conclusion"], "success");
}

#[tokio::test]
async fn a_lingering_registration_keeps_its_name_and_refuses_to_be_deleted() {
    let github = GitHub::listening(Generation::Broker).await;
    github.simulator.set_levers(|levers| levers.linger_seconds = 30);
    let runner = github.online("r1").await;
    github.queue_jobs(1).await;
    github.poll(0, "1").await;
    github.finish(&runner, "succeeded").await;
    let path = format!("{AGENTS}/{}", runner.id);
    assert_eq!(github.jit("r1").await.status, 409);
    assert_eq!(github.api("DELETE", &path, Value::Null).await.exception().1, "JobStillRunningException");
    assert_eq!(github.runner(&runner, "GET", "next", Value::Null).await.status, 410);
    github.pass(30).await;
    assert_eq!(github.api("GET", &path, Value::Null).await.status, 404);
    assert_eq!(github.jit("r1").await.status, 200);
}

#[tokio::test]
async fn a_silent_runner_is_lost_after_ten_minutes_and_its_job_failed() {
    let github = GitHub::listening(Generation::Broker).await;
    github.online("r1").await;
    let job = github.queue_jobs(1).await.remove(0);
    github.poll(0, "1").await;
    github.pass(599).await;
    assert_eq!(github.job(&job)["status"], "running");
    github.pass(1).await;
    assert_eq!(
        (&github.job(&job)["status"], &github.job(&job)["conclusion"]),
        (&json!("completed"), &json!("failure"))
    );
}

#[tokio::test]
async fn an_offline_registration_is_purged_after_a_day() {
    let mut github = GitHub::listening(Generation::Broker).await;
    let id = github.jit("ghost").await.json()["runner"]["id"].clone();
    github.pass(24 * 3600).await;
    github.connect("http://ghes.test/acme", "orgs/acme").await;
    assert_eq!(github.api("GET", &format!("{AGENTS}/{id}"), Value::Null).await.status, 404);
}
