//! HTTP around the state machine: one way for every call. It is named, struck by faults, answered, and noted.
//!
//! Paths are told apart in `route.rs`; the files beside it answer one part of GitHub's surface each. Nothing is decided
//! here that GitHub would decide.

mod answer;
mod app_key;
mod control;
mod fault;
mod line;
mod queue;
mod rest;
mod route;
mod runner;
mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;

use super::links::Links;
use super::simulation::Simulator;
use super::state::Refusal;
use answer::Answer;
pub(super) use app_key::AppKey;
use fault::Faulty;
pub use line::{Dropped, Line, LineListener};
use route::Route;

/// A call with everything that was said.
struct Call {
    method: Method,
    path: String,
    route: Route,
    /// The tenant in the path of the pipelines back end.
    tenant: Option<String>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    origin: String,
}

/// The routes of a simulator.
pub(super) fn router(simulator: Simulator) -> Router {
    Router::new().fallback(serve).with_state(simulator)
}

async fn serve(State(simulator): State<Simulator>, request: Request) -> Response {
    let line = request.extensions().get::<ConnectInfo<Line>>().map(|info| info.0.clone());
    let call = Call::read(&simulator, request).await;
    if let Route::Control(parts) = &call.route {
        let answer = control::answer(&simulator, &call, parts).await;
        let (body, kind) = answer.body();
        return answer.response(body.into(), kind, "control");
    }
    let latency = simulator.options().latency_milliseconds;
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(u64::from(latency))).await;
    }
    let (actions, request_id) = simulator.with(|state| (state.strike(call.route.name()), state.uuid()));
    let faulty = Faulty::new(actions);
    let outcome = faulty.answer(&simulator, &call).await;
    let status = outcome.as_ref().map_or(0, |answer| answer.status);
    simulator.with(|state| state.note_call(call.method.as_str(), call.route.name(), &call.path, status));
    tracing::debug!(method = %call.method, path = call.path, route = call.route.name(), status, "call");
    match outcome {
        Some(answer) => faulty.respond(&answer, &request_id),
        None => fault::drop_connection(line),
    }
}

/// What GitHub would say.
async fn dispatch(simulator: &Simulator, call: &Call, faulty: &Faulty) -> Answer {
    let answer = match &call.route {
        Route::InstallationToken | Route::RegistrationToken(_) | Route::RunnerRegistration => {
            rest::answer(simulator, call)
        }
        Route::Poll(_) | Route::Acknowledge(..) | Route::Acquire(_) | Route::Acquirable(_) => {
            queue::answer(simulator, call, faulty).await
        }
        Route::SimConnect(_) | Route::SimNext(_) | Route::SimFinish(_) | Route::SimLog(_) => {
            runner::answer(simulator, call).await
        }
        Route::OutsideService => Err(Refusal::InvalidClaims),
        Route::Control(_) | Route::Unknown => Err(Refusal::NoRoute),
        _ => service::answer(simulator, call, faulty),
    };
    answer.unwrap_or_else(Answer::from)
}

impl Call {
    async fn read(simulator: &Simulator, request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let (route, tenant) = Route::of(&parts.method, &path, simulator.options().generation);
        let query = Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("simulator.localhost");
        let origin = format!("{}://{host}", parts.uri.scheme_str().unwrap_or("http"));
        // A body that breaks off is an empty one: the caller is gone.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Self { method: parts.method, path, route, tenant, query, headers: parts.headers, body, origin }
    }

    /// What stands after a scheme in `Authorization`.
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (own, token) = value.split_once(' ')?;
        own.eq_ignore_ascii_case(scheme).then_some(token.trim())
    }

    fn bearer(&self) -> &str {
        self.authorization("Bearer").unwrap_or_default()
    }

    /// The body as an object; nothing is an empty one.
    fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::BadRequest(format!("The body is not JSON: {error}")))
    }

    fn links(&self, simulator: &Simulator, tenant: String) -> Links {
        Links { origin: self.origin.clone(), generation: simulator.options().generation, tenant }
    }
}

/// A field of an object, whatever its casing: GitHub's own client writes `RunnerSetting`.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A text field.
fn text(value: &Value, name: &str) -> Option<String> {
    field(value, name)?.as_str().map(str::to_owned)
}
