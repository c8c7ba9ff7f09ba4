//! Which engine runs the runners, and how it is reached.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::stand_in::StandIn;
use crate::cli::cluster::{Cluster, ClusterArguments};
use crate::cli::input::Input;
use crate::crd::PodmanHostSpec;
use crate::engine::Engine;
use crate::engine::kubernetes::{KubernetesEngine, Scope};
use crate::engine::memory::MemoryEngine;
use crate::engine::podman::{PodmanAddress, PodmanEngine};
use crate::github::Environment;
use crate::manifest::EngineKind;
use crate::scale_set::ScaleSet;

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
    /// Pods of a cluster, without an operator in it
    Kubernetes,
    /// Stand-ins for GitHub's runner in this process, for trying things out with `deskrun simulator`
    Memory,
}

/// An engine, and which manifests it takes.
pub(in crate::cli) struct Connected {
    pub(in crate::cli) engine: Arc<dyn Engine>,
    pub(in crate::cli) kind: EngineKind,
    pub(in crate::cli) namespaces: Namespaces,
}

/// Where scale sets are on Kubernetes; elsewhere nothing is said.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Namespaces {
    /// Of those that name none.
    default: Option<String>,
    /// The only one that the engine looks into.
    only: Option<String>,
}

impl Namespaces {
    fn new(default: String, input: &Input) -> Self {
        let namespaces = Self { default: Some(default), only: None };
        let all: BTreeSet<String> =
            input.scale_sets.iter().map(|validated| namespaces.of(&validated.scale_set)).collect();
        Self { only: all.first().filter(|_| all.len() == 1).cloned(), ..namespaces }
    }

    fn of(&self, scale_set: &ScaleSet) -> String {
        let default = self.default.as_ref().filter(|_| !scale_set.names_namespace);
        default.unwrap_or(&scale_set.namespace).clone()
    }

    /// The scale set where it is; one that the engine would not see is refused.
    pub(in crate::cli) fn place(&self, scale_set: &ScaleSet) -> anyhow::Result<ScaleSet> {
        let namespace = self.of(scale_set);
        if let Some(only) = self.only.as_ref().filter(|only| **only != namespace) {
            bail!(
                "{}: `{}` is in the namespace `{namespace}`, and this process looks into `{only}` alone: restart it",
                scale_set.file,
                scale_set.name
            );
        }
        Ok(ScaleSet { namespace, ..scale_set.clone() })
    }
}

impl EngineArguments {
    /// Which manifests the engine takes. The engine in memory plays what Podman would.
    pub(in crate::cli) fn kind(&self) -> EngineKind {
        match self.engine {
            EngineChoice::Kubernetes => EngineKind::Kubernetes,
            EngineChoice::Podman | EngineChoice::Memory => EngineKind::Podman,
        }
    }

    pub(in crate::cli) async fn connect(
        &self,
        input: &Input,
        environment: &Environment,
        cluster: &ClusterArguments,
    ) -> anyhow::Result<Connected> {
        let mut namespaces = Namespaces::default();
        let engine: Arc<dyn Engine> = match self.engine {
            EngineChoice::Memory => {
                let clock = environment.clone();
                Arc::new(MemoryEngine::new(Arc::new(StandIn::default()), move || clock.now()))
            }
            EngineChoice::Podman => Arc::new(PodmanEngine::new(&self.address(input)?)),
            EngineChoice::Kubernetes => {
                let Cluster { client, namespace, .. } = cluster.connect().await?;
                namespaces = Namespaces::new(namespace, input);
                let scope = namespaces.only.clone().map_or(Scope::AllNamespaces, Scope::Namespace);
                Arc::new(KubernetesEngine::standalone(client, scope))
            }
        };
        anyhow::ensure!(
            self.engine == EngineChoice::Kubernetes || !cluster.is_given(),
            "`--context` and `--namespace` are about a cluster: give `--engine kubernetes` as well"
        );
        Ok(Connected { engine, kind: self.kind(), namespaces })
    }

    /// Whether a command is about the custom resources of a cluster: one is named, and files are not served there by a
    /// controller outside of it.
    pub(in crate::cli) fn means_resources(&self, cluster: &ClusterArguments) -> bool {
        cluster.is_given() && self.engine != EngineChoice::Kubernetes
    }

    /// Where scale sets of files are, without an engine.
    pub(in crate::cli) async fn namespaces(
        &self,
        input: &Input,
        cluster: &ClusterArguments,
    ) -> anyhow::Result<Namespaces> {
        match self.engine {
            EngineChoice::Kubernetes => Ok(Namespaces::new(cluster.connect().await?.namespace, input)),
            EngineChoice::Podman | EngineChoice::Memory => Ok(Namespaces::default()),
        }
    }

    /// The Podman host that is meant; `None` where there is none.
    pub(in crate::cli) fn podman(&self, input: &Input) -> anyhow::Result<Option<PodmanEngine>> {
        match self.engine {
            EngineChoice::Memory | EngineChoice::Kubernetes => Ok(None),
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
