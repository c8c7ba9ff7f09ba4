//! The cluster that a command works on: which one, and a client for it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::KubeConfigOptions;

/// How requests are told apart in the API server's audit log.
const OUR_USER_AGENT: &str = concat!("deskrun/", env!("CARGO_PKG_VERSION"));
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a command is told about the cluster.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ClusterArguments {
    /// The context of the kubeconfig; the current one if not given, and in a pod that pod's cluster
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The namespace; that of the context if not given
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
}

/// A cluster, not yet asked anything.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: kube::Client,
    /// The namespace that was given, or the context's.
    pub(super) namespace: String,
    /// Where the API server is, for people.
    pub(super) url: String,
}

impl ClusterArguments {
    /// Whether the command line names a cluster, so that files are not meant.
    pub(super) fn is_given(&self) -> bool {
        self.context.is_some() || self.namespace.is_some()
    }

    /// A client, by the rules of kubectl. Nothing is connected yet.
    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        let mut config = match &self.context {
            Some(context) => {
                let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
                let config = kube::Config::from_kubeconfig(&options).await;
                config.with_context(|| format!("cannot use the context `{context}` of the kubeconfig"))?
            }
            None => kube::Config::infer().await.context(
                "there is no cluster to talk to: set `KUBECONFIG`, give `--context`, or run in a pod with a service account",
            )?,
        };
        config.headers.push((USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT)));
        config.connect_timeout = Some(CONNECT_LIMIT);
        // Fifteen silent retries would take minutes, and hide for so long why nothing happens; whoever calls has a
        // backoff of its own and says what it waits for.
        config.default_retry = false;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).with_context(|| format!("cannot use the cluster at {url}"))?;
        Ok(Cluster { client, namespace, url })
    }
}
