//! `add --host`: where Podman is, written down once for all scale sets of the folder.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use crate::cli::input::Input;
use crate::crd::{API_VERSION, PodmanHostSpec};
use crate::engine::podman::PodmanAddress;
use crate::yaml;

/// The file in the configuration folder.
pub(super) const FILE: &str = "host.yaml";

/// The document to be written; `None` if this host is there already.
pub(super) fn new_document(url: &str, folder: &Path, input: &Input) -> anyhow::Result<Option<String>> {
    let spec = PodmanHostSpec { url: url.to_owned(), identity_file: None, known_hosts: None, on_this_host: false };
    PodmanAddress::new(&spec, std::env::home_dir().as_deref()).context("`--host` cannot be used")?;
    match input.podman_hosts.first() {
        Some((_, known)) if known.url == url => return Ok(None),
        Some((file, known)) => bail!(
            "`--host` is another Podman host than that of {file}, `{}`: one can be served at a time; change that file, or \
             leave `--host` out",
            known.url
        ),
        None => {}
    }
    let file = folder.join(FILE);
    if file.exists() {
        bail!("`--host` would be written to {}, which exists and holds something else: move it away", file.display());
    }
    let metadata = json!({"name": "host"});
    let document = json!({"apiVersion": API_VERSION, "kind": "PodmanHost", "metadata": metadata, "spec": {"url": url}});
    Ok(Some(yaml::write(&document)))
}
