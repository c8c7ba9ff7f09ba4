//! `deskrun operator`: the controller, in a cluster.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use kube::api::Api;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::ExitCode;
use super::cluster::{Cluster, ClusterArguments};
use super::run::{LogArguments, Signals};
use crate::engine::kubernetes::{KubernetesEngine, Scope};
use crate::github::Environment;
use crate::metrics::Metrics;
use crate::operator::cluster::{Admin, Candidate, REMOVAL_LIMIT, Settings, admin_router, run};

/// The longest value of a label.
const ID_MAX: usize = 63;

#[derive(Debug, Args)]
pub(super) struct Operator {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Serve the scale sets of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Name of the lease by which one process at a time leads
    #[arg(long, value_name = "NAME", default_value = "deskrun")]
    lease: String,
    /// Namespace of the lease; that of the operator's pod, or of the context, if not given
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Who this process is among those that want to lead; its host's name if not given
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// Serves `/metrics`, `/healthz` and `/readyz` here; `:PORT` is a port of every address
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Keep no JIT config in stock: a job's runner then costs a round trip to GitHub
    #[arg(long)]
    no_stock: bool,
    /// How many seconds a deletion waits for GitHub once no runner is busy any more
    #[arg(long, value_name = "SECONDS", default_value_t = REMOVAL_LIMIT.as_secs())]
    removal_limit: u64,
    #[command(flatten)]
    log: LogArguments,
}

impl Operator {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.log.start();
        // Before anything is begun: whoever started us may end us at once.
        let mut signals = Signals::listen()?;
        let Cluster { client, namespace, url } = self.cluster.connect().await?;
        let lease_namespace = self.lease_namespace.clone().unwrap_or_else(|| namespace.clone());
        let scope = if self.all_namespaces { Scope::AllNamespaces } else { Scope::Namespace(namespace) };
        let controller = controller_id(&lease_namespace, &self.lease);
        let (environment, metrics) = (Environment::system(), Metrics::default());
        let admin = Admin::new(metrics.clone());
        if let Some(address) = &self.metrics {
            let listener = bind(address).await.with_context(|| format!("cannot serve metrics on {address}"))?;
            let router = admin_router(admin.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        let candidate = Candidate {
            leases: Api::namespaced(client.clone(), &lease_namespace),
            name: self.lease.clone(),
            identity: self.identity.clone().unwrap_or_else(host_name),
            environment: environment.clone(),
        };
        let settings = Settings {
            engine: Arc::new(KubernetesEngine::new(client.clone(), scope.clone())),
            client,
            scope,
            controller,
            environment,
            metrics,
            keeps_stock: !self.no_stock,
            removal_limit: std::time::Duration::from_secs(self.removal_limit),
        };
        tracing::info!(controller = settings.controller, scope = ?settings.scope, api_server = url, "the operator begins");
        let (stopping, mut stopped) = tokio::sync::oneshot::channel();
        let serving = run(settings, candidate, admin, async move {
            signals.any().await;
            tracing::info!("ending: sessions are closed, runners are left to the next leader");
            drop(stopping.send(signals));
        });
        tokio::pin!(serving);
        let mut signals = tokio::select! {
            ended = &mut serving => return Ok(ended.map(|()| 0)?),
            Ok(signals) = &mut stopped => signals,
        };
        tokio::select! {
            ended = serving => Ok(ended.map(|()| 0)?),
            () = signals.any() => anyhow::bail!("ended at once by a second signal; the next leader tidies up"),
        }
    }
}

/// `:8080` is every address: of IPv6, which takes IPv4 as well, or of IPv4 where a host has nothing else.
async fn bind(address: &str) -> std::io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else { return TcpListener::bind(address).await };
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}

/// The controller's id: the same for all processes that want one lease, and for no others.
pub(super) fn controller_id(namespace: &str, lease: &str) -> String {
    let id = format!("{namespace}-{lease}").replace('.', "-");
    if id.len() <= ID_MAX {
        return id;
    }
    let hash: String = Sha256::digest(id.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    // Names of namespaces and leases are ASCII.
    let kept: String = id.chars().take(ID_MAX - 1 - hash.len()).collect();
    format!("{kept}-{hash}")
}

/// Outside of a pod: two processes of one host are told apart by their numbers.
fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_a_label_and_tells_long_names_apart() {
        assert_eq!(controller_id("ci", "deskrun"), "ci-deskrun");
        let long = "n".repeat(63);
        let (one, other) = (controller_id(&long, "a"), controller_id(&long, "b"));
        assert_eq!((one.len(), other.len()), (63, 63));
        assert_ne!(one, other);
    }
}
