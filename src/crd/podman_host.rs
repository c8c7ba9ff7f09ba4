//! `PodmanHost`: a machine with Podman that runs manifests without a cluster.

use schemars::JsonSchema;
use serde::Deserialize;

/// Where a Podman engine listens and how it is reached.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodmanHostSpec {
    /// `ssh://user@host[:port]/path/podman.sock`, or `unix:///path` together with `onThisHost: true`.
    pub url: String,
    /// File with the private key for `ssh://`.
    pub identity_file: Option<String>,
    /// File in OpenSSH's `known_hosts` format with the host's key.
    pub known_hosts: Option<String>,
    /// Says that the controller runs on the Podman host itself, which allows `unix://`.
    #[serde(default)]
    pub on_this_host: bool,
}
