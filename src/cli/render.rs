//! `deskrun render`: the manifests of one runner, offline.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::input::{self, Input};
use super::output::Output;
use super::show::{self, ShownLayer};
use super::{ExitCode, Printer};
use crate::layers::{LayerStack, StackError, stack};
use crate::manifest::{EngineKind, RunnerManifest};
use crate::render::{Explained, PreparedRunner, RenderError, Request, RunnerIdentity, explain, prepare};
use crate::scale_set::{Instance, RunnerName, ScaleSet};

/// What stands where only a running controller knows better.
pub(super) const OFFLINE: &str = "offline";
/// Random part of the runner's name, unless one is given.
const OFFLINE_RANDOM: &str = "00000";

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(super) struct Render {
    /// Files with `RunnerScaleSet` documents or bare specs; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "show_layers")]
    files: Vec<String>,
    /// Name of the scale set, instead of the document's
    #[arg(long)]
    name: Option<String>,
    /// Which of the instances
    #[arg(long, value_name = "K")]
    instance: Option<u32>,
    /// Name of the runner
    #[arg(long)]
    runner: Option<String>,
    /// Slot the runner holds
    #[arg(long, value_name = "N", default_value_t = 0)]
    slot: u32,
    /// Where the manifests will run
    #[arg(long, value_enum, default_value_t = Engine::Kubernetes)]
    engine: Engine,
    /// Override a field of the spec, such as `maxRunners=2` or `cachePaths[0].source=/nvme/docker`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One more layer, laid after those of the spec
    #[arg(long = "layer", value_name = "FILE")]
    layers: Vec<PathBuf>,
    /// Show for each field the layer, file and line that set it, and what it replaced
    #[arg(long, conflicts_with_all = ["check", "show_layers"])]
    explain: bool,
    /// Only validate; exit with 1 if there are problems
    #[arg(long, conflicts_with = "show_layers")]
    check: bool,
    /// Show the layers themselves, in the order in which they are laid; without FILE all that are built in
    #[arg(long)]
    show_layers: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    Kubernetes,
    Podman,
}

/// A scale set with everything that is shown of it.
struct Rendered {
    stack: LayerStack,
    prepared: PreparedRunner,
    runner: RunnerIdentity,
}

impl Render {
    pub(super) fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        if self.files.is_empty() {
            printer.data(&show::layers(&show::built_in(), self.output))?;
            return Ok(0);
        }
        let input = input::read(&self.files, self.name.as_deref(), &self.set)?;
        let mut all = Vec::new();
        for validated in &input.scale_sets {
            for warning in &validated.warnings {
                printer.warning(warning)?;
            }
            let rendered = self.scale_set(&validated.scale_set, &input)?;
            notes(&rendered.prepared, printer)?;
            all.push(rendered);
        }
        if !self.check {
            printer.data(&self.show(&all))?;
        }
        Ok(0)
    }

    fn scale_set(&self, scale_set: &ScaleSet, input: &Input) -> anyhow::Result<Rendered> {
        let instance = self.choose_instance(scale_set)?;
        let engine = match self.engine {
            Engine::Kubernetes => EngineKind::Kubernetes,
            Engine::Podman => EngineKind::Podman,
        };
        let name = match &self.runner {
            Some(name) => RunnerName::parse(name)?,
            None => RunnerName::new(&instance.name, OFFLINE_RANDOM)?,
        };
        let layers = input.layers(scale_set, &self.layers)?;
        let stack = stack(scale_set, engine, &layers)?;
        let request =
            Request { scale_set, instance: &instance, engine, stack: &stack, controller: OFFLINE, owner: None };
        let prepared = prepare(&request)?;
        Ok(Rendered { prepared, stack, runner: RunnerIdentity { name, id: 0, slot: self.slot } })
    }

    fn choose_instance(&self, scale_set: &ScaleSet) -> anyhow::Result<Instance> {
        let instances = scale_set.instances();
        let wanted = self.instance.unwrap_or(1);
        let count = instances.len();
        let index = wanted.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let found = index.and_then(|index| instances.into_iter().nth(index));
        found.with_context(|| format!("`{}` has no instance {wanted}: they are 1 to {count}", scale_set.name))
    }

    fn show(&self, all: &[Rendered]) -> String {
        if self.show_layers {
            let layers: Vec<ShownLayer> = all.iter().flat_map(|rendered| show::stack(&rendered.stack)).collect();
            return show::layers(&layers, self.output);
        }
        if self.explain {
            let leaves: Vec<Explained> =
                all.iter().flat_map(|rendered| explain(&rendered.prepared, &rendered.runner)).collect();
            return show::explained(&leaves, self.output);
        }
        let manifests: Vec<RunnerManifest> =
            all.iter().map(|rendered| rendered.prepared.fill(&rendered.runner)).collect();
        show::manifests(&manifests, self.output)
    }
}

fn notes(prepared: &PreparedRunner, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
    for (id, parts) in [("override-unmatched", &prepared.unmatched), ("override-overruled", &prepared.overruled)] {
        for part in parts {
            let place = format!("{}:{}", part.origin.file, part.origin.line);
            printer.note("warning", &format!("{place}: {}: {} [{id}]", part.path, part.message))?;
        }
    }
    for unhonoured in &prepared.unhonoured {
        printer.note("not honoured", &format!("{}: {}", unhonoured.path, unhonoured.reason))?;
    }
    Ok(())
}

/// The way out of a failed rendering.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    let render = || error.chain().find_map(|cause| cause.downcast_ref::<RenderError>()).and_then(RenderError::hint);
    let stack = || error.chain().find_map(|cause| cause.downcast_ref::<StackError>()).map(|e| e.hint().to_owned());
    render().or_else(stack)
}
