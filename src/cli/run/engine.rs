//! Which engine runs the runners, and how it is reached.

use std::sync::Arc;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::stand_in::StandIn;
use crate::cli::input::Input;
use crate::engine::Engine;
use crate::engine::memory::MemoryEngine;
use crate::github::Environment;
use crate::manifest::EngineKind;

/// What a command is told about the engine.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct EngineArguments {
    /// What runs the runners
    #[arg(long, value_enum, default_value_t = EngineChoice::Podman)]
    engine: EngineChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum EngineChoice {
    /// Containers on a Podman host, given by a `PodmanHost` document
    Podman,
    /// Stand-ins for GitHub's runner in this process, for trying things out with `deskrun simulator`
    Memory,
}

/// An engine, and which manifests it takes.
pub(super) struct Connected {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) kind: EngineKind,
}

impl EngineArguments {
    pub(super) fn connect(&self, _input: &Input, environment: &Environment) -> anyhow::Result<Connected> {
        match self.engine {
            EngineChoice::Memory => {
                let clock = environment.clone();
                let engine = MemoryEngine::new(Arc::new(StandIn::default()), move || clock.now());
                Ok(Connected { engine: Arc::new(engine), kind: EngineKind::Podman })
            }
            EngineChoice::Podman => bail!("not yet"),
        }
    }
}
