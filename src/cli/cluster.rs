//! The cluster that a command works on: which one, and a client for it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::header::USER_AGENT;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
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
        if !wants_proxy(&config, |name| std::env::var(name).ok(), &Matcher::from_env()) {
            config.proxy_url = None;
        }
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

/// Whether the proxy that the client library found is to be used. One that the kubeconfig names is; one of the environment only
/// if `NO_PROXY` does not speak against it, which the library does not read so, and never to this machine: kubectl's rules.
fn wants_proxy(config: &kube::Config, variable: impl Fn(&str) -> Option<String>, environment: &Matcher) -> bool {
    let Some(proxy) = &config.proxy_url else { return false };
    let named = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(variable);
    let is_environments = named.filter_map(|text| text.parse::<Uri>().ok()).any(|named| named == *proxy);
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !is_environments || !is_here && environment.intercept(&config.cluster_url).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_the_environment_is_used_where_kubectl_would_use_it() {
        let variable = |name: &str| (name == "HTTPS_PROXY").then(|| "http://proxy:3128".to_owned());
        let environment = Matcher::builder().https("http://proxy:3128").no("10.0.0.0/8,.corp.example.com").build();
        for (cluster, proxy, wanted) in [
            ("https://203.0.113.7:6443", "http://proxy:3128", true),
            ("https://10.1.2.3:6443", "http://proxy:3128", false),
            ("https://api.corp.example.com:6443", "http://proxy:3128", false),
            ("https://127.0.0.1:6443", "http://proxy:3128", false),
            ("https://[::1]:6443", "http://proxy:3128", false),
            // The kubeconfig's own.
            ("https://10.1.2.3:6443", "http://jump:8080", true),
        ] {
            let mut config = kube::Config::new(cluster.parse().unwrap());
            assert!(!wants_proxy(&config, variable, &environment), "there is none");
            config.proxy_url = Some(proxy.parse().unwrap());
            assert_eq!(wants_proxy(&config, variable, &environment), wanted, "{cluster} by {proxy}");
        }
    }
}
