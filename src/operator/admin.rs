//! What the process says of itself over HTTP: metrics and probes for machines; the status for `deskrun status`, and what
//! `deskrun add` and `deskrun remove` ask for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Operator;
use crate::controller::{ScaleSetStatus, ServingPhase};
use crate::engine::ObservedRunner;

/// The version of [`Report`]'s form.
pub const STATUS_VERSION: u32 = 1;

/// Everything that a controller knows, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// Id of the controller.
    pub controller: String,
    /// The scale sets.
    pub scale_sets: Vec<ScaleSetStatus>,
    /// Who holds which slot of each pool.
    pub slots: BTreeMap<String, BTreeMap<u32, String>>,
    /// Runners of this controller whose scale set is not served any more.
    pub unclaimed: Vec<String>,
}

impl Report {
    pub(super) fn new(
        controller: &str,
        scale_sets: Vec<ScaleSetStatus>,
        slots: BTreeMap<String, BTreeMap<u32, String>>,
        unclaimed: Vec<ObservedRunner>,
    ) -> Self {
        Self {
            version: STATUS_VERSION,
            controller: controller.to_owned(),
            scale_sets,
            slots,
            unclaimed: unclaimed.into_iter().map(|runner| runner.name).collect(),
        }
    }
}

/// The operator, as requests share it.
pub type Handle = Arc<Mutex<Operator>>;

fn with<T>(operator: &Handle, read: impl FnOnce(&Operator) -> T) -> T {
    read(&operator.lock().unwrap_or_else(PoisonError::into_inner))
}

/// `/metrics`, `/healthz` (the process serves) and `/readyz` (every scale set listens).
pub fn admin_router(operator: Handle) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(operator)
}

/// Where to ask for the files to be read anew.
pub type Reload = mpsc::Sender<ReloadRequest>;

/// Wants to know whether the files are served as they are now; the error says why not.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What came of a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// What could not be taken out; nothing if all is gone.
    pub left_behind: Vec<LeftBehind>,
}

/// Something of a scale set that is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftBehind {
    /// The scale set.
    pub scale_set: String,
    /// What, and why.
    pub reason: String,
}

impl Removed {
    /// From what [`Operator::remove`] says.
    pub fn new(left: Vec<(String, String)>) -> Self {
        let left_behind = left.into_iter().map(|(scale_set, reason)| LeftBehind { scale_set, reason }).collect();
        Self { version: STATUS_VERSION, left_behind }
    }
}

/// `GET /v1/status`; `GET /v1/status/watch`, a line now and one whenever something has changed; `POST /v1/reload`, which answers when the files are served as they are; `POST /v1/remove/NAME`, which
/// answers when the resource of that name is gone, or with 404 if it is not served.
pub fn status_router(operator: Handle, reload: Reload) -> Router {
    let again = reload.clone();
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/status/watch", get(watch))
        .route("/v1/reload", post(async move || reloaded(&again).await))
        .route("/v1/remove/{name}", post(remove));
    router.with_state((operator, reload))
}

async fn reloaded(reload: &Reload) -> (StatusCode, String) {
    let (sender, answer) = oneshot::channel();
    // Where no one takes requests any more, the answer never comes either.
    let _ = reload.send(sender).await;
    match answer.await {
        Ok(Ok(())) => (StatusCode::OK, String::new()),
        Ok(Err(words)) => (StatusCode::CONFLICT, words),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the controller is ending".to_owned()),
    }
}

async fn remove(
    State((operator, reload)): State<(Handle, Reload)>,
    Path(name): Path<String>,
) -> Result<Json<Removed>, StatusCode> {
    let removal = operator.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    let removed = Removed::new(removal.ok_or(StatusCode::NOT_FOUND)?.await);
    if !removed.left_behind.is_empty() {
        // Its file is still there, so it is served again. Where that cannot be, the answer says enough.
        let _ = reloaded(&reload).await;
    }
    Ok(Json(removed))
}

async fn status(State((operator, _)): State<(Handle, Reload)>) -> Json<Report> {
    Json(with(&operator, Operator::report))
}

async fn watch(State((operator, _)): State<(Handle, Reload)>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(reports(operator)))
}

/// A line for each report that differs from the one before. Whoever reads slowly misses some, and never the last.
fn reports(operator: Handle) -> impl Stream<Item = Result<String, Infallible>> {
    stream::unfold((operator, None), async |(operator, shown)| {
        loop {
            // In this order: what changes after the report is made rings as well.
            let (changed, report) = with(&operator, |operator| (operator.changed(), operator.report()));
            if shown.as_ref() != Some(&report) {
                let line = serde_json::to_string(&report).unwrap_or_default() + "\n";
                return Some((Ok(line), (operator, Some(report))));
            }
            changed.await;
        }
    })
}

async fn metrics(State(operator): State<Handle>) -> impl IntoResponse {
    let text = with(&operator, |operator| {
        let report = operator.report();
        operator.shared().metrics.text(&report.scale_sets, &report.slots)
    });
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

async fn ready(State(operator): State<Handle>) -> impl IntoResponse {
    let report = with(&operator, Operator::report);
    let waiting: Vec<String> = report
        .scale_sets
        .iter()
        .filter(|status| !matches!(status.phase, ServingPhase::Listening | ServingPhase::Stopped))
        .map(|status| format!("{}: {} {}\n", status.name, status.phase.name(), status.reasons.join("; ")))
        .collect();
    let code = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, if waiting.is_empty() { "ok\n".to_owned() } else { waiting.concat() })
}
