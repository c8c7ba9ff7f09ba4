//! `deskrun operator`: serves the `RunnerScaleSet`s of a cluster, one leader at a time.
//!
//! The leader watches the resources and what they refer to, decides what is to be served ([`wanted`]), and lets the same
//! [`super::Operator`] serve it that serves files. Statuses, Events and finalizers are written here; runners are not.

mod admin;
mod case;
mod conditions;
mod deletion;
mod finalizer;
mod leader;
mod lease;
mod memory;
mod publish;
mod references;
mod removal;
mod resource;
mod resources;
mod wanted;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;

pub use admin::{Admin, admin_router};
use leader::Leader;
pub use lease::Candidate;

use crate::engine::Engine;
use crate::engine::kubernetes::Scope;
use crate::github::Environment;
use crate::metrics::Metrics;

/// How long a deletion waits for GitHub once no runner is busy any more.
pub const REMOVAL_LIMIT: Duration = Duration::from_mins(5);

/// What an operator in a cluster works with.
#[derive(Clone)]
pub struct Settings {
    /// The cluster.
    pub client: Client,
    /// Runs the runners, in the same cluster.
    pub engine: Arc<dyn Engine>,
    /// Whose resources are served.
    pub scope: Scope,
    /// The controller's id, which its objects carry. It stays the same over restarts and differs between two operators.
    pub controller: String,
    /// Clock and randomness.
    pub environment: Environment,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether a JIT config is kept in stock.
    pub keeps_stock: bool,
    /// How long a deletion waits once no runner is busy any more.
    pub removal_limit: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("scope", &self.scope)
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

/// Another one may lead: what is under way here must not go on, and only the end of the process makes sure of that.
#[derive(Debug, thiserror::Error)]
#[error("leadership is lost: the lease could not be renewed in time, or someone else has taken it")]
pub struct LeadershipLost;

/// Waits to lead, and leads until `stop`; then hands over: sessions are closed, runners are left to the successor, and the
/// lease is given back. After an error the process has to end.
pub async fn run(
    settings: Settings,
    candidate: Candidate,
    admin: Admin,
    stop: impl Future<Output = ()>,
) -> Result<(), LeadershipLost> {
    tokio::pin!(stop);
    tracing::info!(lease = candidate.name, identity = candidate.identity, "waiting to lead");
    let mut leadership = tokio::select! {
        leadership = candidate.lead() => leadership,
        () = &mut stop => return Ok(()),
    };
    tracing::info!(lease = candidate.name, identity = candidate.identity, "leading");
    let mut leader = Leader::start(settings);
    admin.leads(leader.handle(), leader.resources());
    let ended = tokio::select! {
        () = leader.serve() => Ok(()),
        () = leadership.lost() => Err(LeadershipLost),
        () = &mut stop => {
            leader.hand_over().await;
            Ok(())
        }
    };
    // The last handle: with it everything stops that could still act, before another one begins.
    admin.stands_by();
    drop(leader);
    if ended.is_ok() {
        leadership.release().await;
    }
    ended
}
