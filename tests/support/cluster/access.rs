//! Ways into a cluster: kubeconfig files and clients made from them.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// Writes a kubeconfig file for the bearer of a token. What it says is JSON, which is YAML.
pub fn write(file: &Path, url: &str, authority: &Path, token: &str, namespace: &str) -> Result<(), String> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    });
    std::fs::write(file, text.to_string()).map_err(|error| format!("{}: {error}", file.display()))
}

/// A client as a kubeconfig file describes it.
pub async fn client(file: &Path) -> Result<Client, String> {
    let kubeconfig = Kubeconfig::read_from(file).map_err(|error| error.to_string())?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| error.to_string())?;
    Client::try_from(config).map_err(|error| error.to_string())
}
