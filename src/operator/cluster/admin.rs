//! What the operator says over HTTP: metrics, and the probes of its pod.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::resources::Resources;
use crate::metrics::Metrics;
use crate::operator::Handle;

/// What there is to say. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Admin {
    metrics: Metrics,
    leading: Arc<Mutex<Option<Leading>>>,
}

#[derive(Clone, Debug)]
struct Leading {
    operator: Handle,
    resources: Resources,
}

impl Admin {
    /// Stands by.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, leading: Arc::default() }
    }

    pub(super) fn stands_by(&self) {
        *self.locked() = None;
    }

    pub(super) fn leads(&self, operator: Handle, resources: Resources) {
        *self.locked() = Some(Leading { operator, resources });
    }

    fn locked(&self) -> MutexGuard<'_, Option<Leading>> {
        self.leading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/metrics`, `/healthz` (the process serves) and `/readyz` (it stands by, or has seen the resources). A scale set that
/// cannot be served does not make the operator unready: its own status says so.
pub fn admin_router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let leading = admin.locked().clone();
    let report = leading.map(|leading| leading.operator.lock().unwrap_or_else(PoisonError::into_inner).report());
    let text = match report {
        Some(report) => admin.metrics.text(&report.scale_sets, &report.slots),
        None => admin.metrics.text(&[], &std::collections::BTreeMap::new()),
    };
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let Some(leading) = admin.locked().clone() else { return (StatusCode::OK, "standing by\n".to_owned()) };
    match leading.resources.trouble() {
        Some(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("the RunnerScaleSets cannot be watched: {words}\n")),
        None if leading.resources.all().is_none() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the RunnerScaleSets are not listed yet\n".to_owned())
        }
        None => (StatusCode::OK, "leading\n".to_owned()),
    }
}
