//! Which engine runs the runners, and how it is reached.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::stand_in::StandIn;
use crate::cli::input::Input;
use crate::crd::PodmanHostSpec;
use crate::engine::Engine;
use crate::engine::memory::MemoryEngine;
use crate::engine::podman::{PodmanAddress, PodmanEngine};
use crate::github::Environment;
use crate::manifest::EngineKind;

/// What a command is told about the engine.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct EngineArguments {
    /// What runs the runners
    #[arg(long, value_enum, default_value_t = EngineChoice::Podman)]
    engine: EngineChoice,
    /// The Podman host, instead of a `PodmanHost` document: `ssh://user@host[:port]/path/podman.sock`
    #[arg(long, value_name = "URL")]
    host: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum EngineChoice {
    /// Containers on a Podman host
    Podman,
    /// Stand-ins for GitHub's runner in this process, for trying things out with `deskrun simulator`
    Memory,
}

/// An engine, and which manifests it takes.
pub(in crate::cli) struct Connected {
    pub(in crate::cli) engine: Arc<dyn Engine>,
    pub(in crate::cli) kind: EngineKind,
}

impl EngineArguments {
    pub(in crate::cli) fn connect(&self, input: &Input, environment: &Environment) -> anyhow::Result<Connected> {
        let engine: Arc<dyn Engine> = match self.engine {
            EngineChoice::Memory => {
                let clock = environment.clone();
                Arc::new(MemoryEngine::new(Arc::new(StandIn::default()), move || clock.now()))
            }
            EngineChoice::Podman => Arc::new(PodmanEngine::new(&self.address(input)?)),
        };
        // The engine in memory plays what Podman would.
        Ok(Connected { engine, kind: EngineKind::Podman })
    }

    /// The Podman host that is meant; `None` for the engine in memory.
    pub(in crate::cli) fn podman(&self, input: &Input) -> anyhow::Result<Option<PodmanEngine>> {
        match self.engine {
            EngineChoice::Memory => Ok(None),
            EngineChoice::Podman => Ok(Some(PodmanEngine::new(&self.address(input)?))),
        }
    }

    fn address(&self, input: &Input) -> anyhow::Result<PodmanAddress> {
        let home = std::env::home_dir();
        if let Some(url) = &self.host {
            let spec = PodmanHostSpec { url: url.clone(), identity_file: None, known_hosts: None, on_this_host: false };
            return PodmanAddress::new(&spec, home.as_deref()).context("`--host` cannot be used");
        }
        match input.podman_hosts.as_slice() {
            [] => bail!(
                "there is no Podman host: add a document `kind: PodmanHost` to the files, or give \
                 `--host ssh://user@host/run/podman/podman.sock`"
            ),
            [(file, spec)] => {
                let spec = below(Path::new(file).parent().unwrap_or(Path::new("")), spec);
                let address = PodmanAddress::new(&spec, home.as_deref());
                address.with_context(|| format!("{file}: the PodmanHost cannot be used"))
            }
            [(first, _), (second, _), ..] => {
                bail!("one Podman host can be served at a time, and there are several: in {first} and in {second}")
            }
        }
    }
}

/// Files are relative to the file that names them.
fn below(folder: &Path, spec: &PodmanHostSpec) -> PodmanHostSpec {
    let place = |file: &Option<String>| {
        // `~` is the address's business.
        file.as_ref()
            .map(|file| if file.starts_with('~') { file.clone() } else { folder.join(file).display().to_string() })
    };
    PodmanHostSpec { identity_file: place(&spec.identity_file), known_hosts: place(&spec.known_hosts), ..spec.clone() }
}
