//! What the process says of itself over HTTP: metrics and probes for machines, the status for `deskrun status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

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

/// `/v1/status`, and `/v1/reload`, which rings `reload`.
pub fn status_router(operator: Handle, reload: Arc<tokio::sync::Notify>) -> Router {
    let ring = move || {
        let reload = Arc::clone(&reload);
        async move {
            reload.notify_one();
            StatusCode::ACCEPTED
        }
    };
    Router::new().route("/v1/status", get(status)).route("/v1/reload", post(ring)).with_state(operator)
}

async fn status(State(operator): State<Handle>) -> Json<Report> {
    Json(with(&operator, Operator::report))
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
        .filter(|status| status.phase != ServingPhase::Listening)
        .map(|status| format!("{}: {} {}\n", status.name, status.phase.name(), status.reasons.join("; ")))
        .collect();
    let code = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, if waiting.is_empty() { "ok\n".to_owned() } else { waiting.concat() })
}
