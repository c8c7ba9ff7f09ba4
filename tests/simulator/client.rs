//! A small client that asserts nothing: what it gets is what the tests look at.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use deskrun::simulator::{ClockMode, Dropped, Generation, Options, Rule, Simulator};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// The connection ended without an answer.
    pub dropped: bool,
    /// The body broke off.
    pub broken: bool,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).expect("a text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the last part of the exception's name.
    pub fn exception(&self) -> (u16, String) {
        let name = self.json()["typeName"].as_str().unwrap_or_default().to_owned();
        let (class, _) = name.split_once(',').unwrap_or((&name, ""));
        (self.status, class.rsplit('.').next().unwrap_or_default().to_owned())
    }

    /// The job messages of an envelope.
    pub fn entries(&self) -> Vec<Value> {
        serde_json::from_str(self.json()["body"].as_str().expect("a string")).expect("JSON in JSON")
    }

    /// The kinds of the job messages of an envelope.
    pub fn kinds(&self) -> Vec<String> {
        self.entries().iter().map(|entry| entry["messageType"].as_str().expect("a kind").to_owned()).collect()
    }
}

/// GitHub with a clock of our own, and what a client holds of it.
#[derive(Clone)]
pub struct GitHub {
    pub simulator: Simulator,
    pub base: String,
    pub admin: String,
    pub queue_url: String,
    pub queue: String,
    pub session: String,
}

pub const SETS: &str = "_apis/runtime/runnerscalesets";
pub const AGENTS: &str = "_apis/distributedtask/pools/0/agents";

pub fn options(generation: Generation) -> Options {
    let start = "2026-08-20T10:01:00Z".parse().expect("a time");
    Options { generation, clock: ClockMode::Explicit(start), ..Options::default() }
}

impl GitHub {
    pub fn with(options: Options) -> Self {
        let simulator = Simulator::new(options).expect("right options");
        let empty = String::new;
        Self { simulator, base: empty(), admin: empty(), queue_url: empty(), queue: empty(), session: empty() }
    }

    /// With an admin connection to `acme`.
    pub async fn connected(generation: Generation) -> Self {
        let mut github = Self::with(options(generation));
        github.connect("http://ghes.test/acme", "orgs/acme").await;
        github
    }

    /// With the scale set 1, `metal`, and a session.
    pub async fn listening(generation: Generation) -> Self {
        let mut github = Self::connected(generation).await;
        assert_eq!(github.create("metal").await.status, 200);
        github.open(1).await;
        github
    }

    pub async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(url.replace("http://ghes.test", ""));
        for (name, value) in headers.iter().chain(&[("host", "ghes.test")]) {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.simulator.router().oneshot(request).await.expect("infallible");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let dropped = response.extensions().get::<Dropped>().is_some();
        let (mut bytes, mut broken, mut body) = (Vec::new(), false, response.into_body());
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend(frame.into_data().expect("data")),
                Err(_) => broken = true,
            }
        }
        Reply { status, headers, bytes, dropped, broken }
    }

    /// A call of the Actions service.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> Reply {
        self.api_as(&self.admin, method, path, body).await
    }

    pub async fn api_as(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}/{path}{mark}api-version=6.0-preview", self.base.trim_end_matches('/'));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let bearer = format!("Bearer {token}");
        self.send(method, &url, &[("authorization", &bearer), ("content-type", "application/json")], &body).await
    }

    pub async fn registration_token(&self, bearer: &str, scope: &str) -> Reply {
        let url = format!("/api/v3/{scope}/actions/runners/registration-token");
        self.send("POST", &url, &[("authorization", &format!("Bearer {bearer}"))], "").await
    }

    pub async fn register(&self, token: &str, url: &str) -> Reply {
        let body = json!({ "url": url, "runner_event": "register" }).to_string();
        let header = format!("RemoteAuth {token}");
        self.send("POST", "/api/v3/actions/runner-registration", &[("authorization", &header)], &body).await
    }

    pub async fn connect(&mut self, url: &str, scope: &str) {
        let token = self.registration_token("ghp_any", scope).await;
        assert_eq!(token.status, 201);
        let connection = self.register(token.json()["token"].as_str().expect("a token"), url).await;
        assert_eq!(connection.status, 200);
        self.adopt_connection(&connection.json());
    }

    /// Takes over an admin connection as it is answered.
    pub fn adopt_connection(&mut self, connection: &Value) {
        let text = |name: &str| connection[name].as_str().expect(name).to_owned();
        self.base = text("url");
        self.admin = text("token");
    }

    pub async fn create(&self, name: &str) -> Reply {
        let labels = json!([{ "type": "System", "name": name }]);
        self.api("POST", SETS, json!({ "name": name, "runnerGroupId": 1, "labels": labels })).await
    }

    pub async fn try_open(&self, set: i64, owner: &str) -> Reply {
        let nil = "00000000-0000-0000-0000-000000000000";
        self.api("POST", &format!("{SETS}/{set}/sessions"), json!({ "sessionId": nil, "ownerName": owner })).await
    }

    pub async fn open(&mut self, set: i64) -> Reply {
        let reply = self.try_open(set, "deskrun-0").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        self.adopt(&reply.json());
        reply
    }

    /// Takes over a session as it is answered.
    pub fn adopt(&mut self, session: &Value) {
        let text = |name: &str| session[name].as_str().expect(name).to_owned();
        self.session = text("sessionId");
        self.queue_url = text("messageQueueUrl");
        self.queue = text("messageQueueAccessToken");
    }

    pub async fn refresh(&self) -> Reply {
        self.api("PATCH", &format!("{SETS}/1/sessions/{}", self.session), Value::Null).await
    }

    pub async fn close(&self) -> Reply {
        self.api("DELETE", &format!("{SETS}/1/sessions/{}", self.session), Value::Null).await
    }

    /// A poll that is held until it is answered.
    pub async fn poll(&self, last: i64, capacity: &str) -> Reply {
        let mark = if self.queue_url.contains('?') { '&' } else { '?' };
        let query = if last > 0 { format!("{mark}lastMessageId={last}") } else { String::new() };
        let headers = [
            ("authorization", format!("Bearer {}", self.queue)),
            ("accept", "application/json; api-version=6.0-preview".to_owned()),
            ("X-Scalesetmaxcapacity", capacity.to_owned()),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("GET", &format!("{}{query}", self.queue_url), &headers, "").await
    }

    /// A poll, and the end of its hold.
    pub async fn poll_until_end(&self, last: i64, capacity: &str) -> Reply {
        tokio::join!(self.poll(last, capacity), self.pass(50)).0
    }

    /// Lets those who wait begin, then puts the clock forward.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.simulator.advance(Duration::from_secs(seconds));
    }

    pub async fn acknowledge(&self, message: i64) -> Reply {
        let (path, query) = self.queue_url.split_once('?').unwrap_or((&self.queue_url, ""));
        let header = format!("Bearer {}", self.queue);
        self.send("DELETE", &format!("{path}/{message}?{query}"), &[("authorization", &header)], "").await
    }

    pub async fn jit(&self, name: &str) -> Reply {
        self.api("POST", &format!("{SETS}/1/generatejitconfig"), json!({ "name": name, "workFolder": "" })).await
    }

    /// A call of the stand-in runner.
    pub async fn runner(&self, runner: &Runner, method: &str, verb: &str, body: Value) -> Reply {
        let header = format!("Bearer {}", runner.secret);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &format!("/sim/runners/{}/{verb}", runner.id), &[("authorization", &header)], &body).await
    }

    /// A registered runner, online.
    pub async fn online(&self, name: &str) -> Runner {
        let runner = Runner::of(&self.jit(name).await);
        assert_eq!(self.runner(&runner, "POST", "connect", json!({})).await.status, 200);
        runner
    }

    pub async fn finish(&self, runner: &Runner, result: &str) -> Reply {
        self.runner(runner, "POST", "finish", json!({ "result": result })).await
    }

    pub async fn control(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, &format!("/control/{path}"), &[], &body.to_string()).await
    }

    pub async fn queue_jobs(&self, count: u32) -> Vec<String> {
        let jobs = self.control("POST", "jobs", json!({ "labels": ["metal"], "count": count })).await;
        serde_json::from_value(jobs.json()["ids"].clone()).expect("ids")
    }

    pub fn fault(&self, rule: Value) {
        let rule: Rule = serde_json::from_value(rule).expect("a rule");
        self.simulator.add_faults(vec![rule]);
    }

    pub fn job(&self, id: &str) -> Value {
        let ledger = self.simulator.ledger();
        ledger["jobs"].as_array().expect("jobs").iter().find(|job| job["id"] == id).expect("the job").clone()
    }
}

/// A stand-in runner.
#[derive(Clone, Debug)]
pub struct Runner {
    pub id: i64,
    pub secret: String,
}

impl Runner {
    pub fn of(reply: &Reply) -> Self {
        let own = file(reply, ".deskrun-sim");
        Self { id: own["runnerId"].as_i64().expect("an id"), secret: own["secret"].as_str().expect("it").to_owned() }
    }
}

/// A file of a JIT config.
pub fn file(reply: &Reply, name: &str) -> Value {
    let blob = reply.json()["encodedJITConfig"].as_str().expect("a blob").to_owned();
    let files: Value = serde_json::from_slice(&BASE64_STANDARD.decode(blob).expect("Base64")).expect("JSON");
    serde_json::from_slice(&BASE64_STANDARD.decode(files[name].as_str().expect("a file")).expect("Base64"))
        .expect("JSON")
}

/// The payload of a JWT.
pub fn claims(token: &str) -> Value {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "header, payload, signature");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).expect("unpadded Base64")).expect("JSON")
}
