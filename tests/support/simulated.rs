//! The simulator in this process: as a transport of the client, and as the server of a runner that is a task.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use deskrun::engine::memory::{Process, Start};
use deskrun::github::{Request, Response, Transport, TransportError, TransportFault};
use deskrun::simulator::{Dropped, Simulator};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// The simulator's router as a transport: what it marks as dropped is a connection that ended without an answer.
pub fn transport(simulator: &Simulator) -> Transport {
    let router = simulator.router();
    BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
        let router = router.clone();
        async move {
            let interrupted = || TransportError::new(TransportFault::Interrupted, "the connection ended");
            let request = with_host(request).map(Body::from);
            let response = router.oneshot(request).await.map_err(|never| match never {})?;
            if response.extensions().get::<Dropped>().is_some() {
                return Err(interrupted());
            }
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|_| interrupted())?.to_bytes();
            Ok(Response::from_parts(parts, body))
        }
    }))
}

/// A router sees the path of a URL, and the host in a header, as over a connection.
fn with_host(request: Request) -> http::Request<Bytes> {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority().map(ToString::to_string) {
        parts.headers.insert(http::header::HOST, authority.parse().expect("a host"));
    }
    http::Request::from_parts(parts, body)
}

/// A runner's process as a task: goes online, runs one job, which is its script's `sleep` and `exit`, and ends as the real
/// one does.
#[derive(Clone, Debug, Default)]
pub struct TaskRunner {
    simulator: Option<SimulatorHandle>,
    /// What it does wrong.
    pub manner: Manner,
    started: Arc<AtomicUsize>,
    /// What ran: job ids in order, one entry per time that a job was begun.
    pub ran: Arc<Mutex<Vec<String>>>,
    /// Every JIT config that was seen, to look for it where it must not be.
    pub secrets: Arc<Mutex<Vec<String>>>,
}

/// How a runner's process behaves beside its job.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// From its start to going online.
    pub online_after: Duration,
    /// From the end of its job to its own end.
    pub exit_after: Duration,
    /// Ends at once with this code, and never goes online.
    pub exits_at_once: Option<i32>,
    /// Tells the simulator of the job's end so long after its process has ended.
    pub tells_late: Duration,
    /// Does its job and never ends.
    pub hangs: bool,
    /// Never goes online.
    pub never_online: bool,
    /// Only so many runners are like this; those after them do well.
    pub only_first: Option<usize>,
}

#[derive(Clone)]
struct SimulatorHandle(Simulator);

impl std::fmt::Debug for SimulatorHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Simulator")
    }
}

impl TaskRunner {
    pub fn new(simulator: &Simulator, manner: Manner) -> Self {
        Self {
            simulator: Some(SimulatorHandle(simulator.clone())),
            manner,
            started: Arc::default(),
            ran: Arc::default(),
            secrets: Arc::default(),
        }
    }

    async fn live(self, start: Start) -> i32 {
        let Self { simulator: Some(SimulatorHandle(simulator)), manner, ran, secrets, .. } = self else { return 0 };
        if let Some(code) = manner.exits_at_once {
            return code;
        }
        tokio::time::sleep(manner.online_after).await;
        if manner.never_online {
            std::future::pending::<()>().await;
        }
        secrets.lock().expect("no panic").push(start.jit_config.expose().to_owned());
        let (id, secret) = credentials(start.jit_config.expose());
        let line = RunnerLine { simulator, id, secret };
        match line.call("POST", "connect", json!({})).await.0 {
            200 => {}
            _ => return 0,
        }
        let job = loop {
            match line.call("GET", "next", Value::Null).await {
                (200, job) => break job,
                (204, _) => {}
                // The registration is gone.
                _ => return 0,
            }
        };
        let script = job["script"].as_str().unwrap_or_default().to_owned();
        let id = job["jobId"].as_str().unwrap_or_default().to_owned();
        ran.lock().expect("no panic").push(id.clone());
        tokio::select! {
            () = tokio::time::sleep(sleeps(&script)) => {}
            // It was cancelled.
            () = line.cancelled(&id) => return 0,
        }
        let result = if script.contains("exit 1") { "failed" } else { "succeeded" };
        if manner.tells_late.is_zero() {
            line.call("POST", "finish", json!({"result": result})).await;
        } else {
            let late = manner.tells_late;
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                line.call("POST", "finish", json!({"result": result})).await;
            });
        }
        if manner.hangs {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(manner.exit_after).await;
        0
    }
}

impl Process for TaskRunner {
    fn run(&self, start: Start) -> BoxFuture<'static, i32> {
        let mut signals = start.signals.clone();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut runner = self.clone();
        if runner.manner.only_first.is_some_and(|first| number >= first) {
            runner.manner = Manner::default();
        }
        let hangs = runner.manner.hangs;
        let life = runner.live(start);
        Box::pin(async move {
            tokio::select! {
                code = life => code,
                told = async { signals.wait_for(Option::is_some).await.is_ok() }, if !hangs => {
                    if !told {
                        std::future::pending::<()>().await;
                    }
                    143
                }
            }
        })
    }
}

struct RunnerLine {
    simulator: Simulator,
    id: i64,
    secret: String,
}

impl RunnerLine {
    async fn call(&self, method: &str, route: &str, body: Value) -> (u16, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/sim/runners/{}/{route}", self.id))
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {}", self.secret))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self.simulator.router().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn cancelled(&self, job: &str) {
        loop {
            let (status, _) = self.call("GET", &format!("next?job={job}"), Value::Null).await;
            if status == 410 || status == 404 {
                return;
            }
        }
    }
}

fn credentials(jit_config: &str) -> (i64, String) {
    let decode =
        |text: &str| -> Value { serde_json::from_slice(&BASE64_STANDARD.decode(text).expect("base64")).expect("JSON") };
    let file = decode(decode(jit_config)[".deskrun-sim"].as_str().expect("the simulator's file"));
    (file["runnerId"].as_i64().expect("an id"), file["secret"].as_str().expect("a secret").to_owned())
}

fn sleeps(script: &str) -> Duration {
    let seconds = script.split("sleep ").nth(1).and_then(|rest| rest.split_whitespace().next());
    Duration::from_secs_f64(seconds.and_then(|seconds| seconds.trim_end_matches(';').parse().ok()).unwrap_or_default())
}
