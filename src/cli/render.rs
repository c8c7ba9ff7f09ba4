//! `deskrun render`: the manifests of one runner, offline.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::input::{self, Input};
use super::{ExitCode, Printer};
use crate::layers::{LayerStack, LayerText, StackError, TEMPLATES, stack};
use crate::manifest::{EngineKind, RunnerManifest};
use crate::render::{Explained, PreparedRunner, RenderError, Request, RunnerIdentity, explain, prepare};
use crate::scale_set::{Instance, RunnerName, ScaleSet};
use crate::yaml;

/// What stands where only a running controller knows better.
const OFFLINE: &str = "offline";
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Yaml,
    Json,
    Table,
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
            printer.data(&all_layers(self.output))?;
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
        anyhow::ensure!(
            self.slot < scale_set.max_runners || instance.slot_pools(scale_set).is_empty(),
            "slot {} does not exist: `maxRunners: {}` makes the slots 0 to {}",
            self.slot,
            scale_set.max_runners,
            scale_set.max_runners - 1
        );
        let name = match &self.runner {
            Some(name) => RunnerName::parse(name)?,
            None => RunnerName::new(&instance.name, OFFLINE_RANDOM)?,
        };
        let layers = input.layers(scale_set, &self.layers)?;
        let stack = stack(scale_set, engine, &layers)?;
        let request = Request { scale_set, instance: &instance, engine, stack: &stack, controller: OFFLINE };
        let prepared = prepare(&request)?;
        Ok(Rendered { prepared, stack, runner: RunnerIdentity { name, id: 0, slot: self.slot } })
    }

    fn choose_instance(&self, scale_set: &ScaleSet) -> anyhow::Result<Instance> {
        let instances = scale_set.instances();
        let wanted = self.instance.unwrap_or(1).max(1);
        let index = usize::try_from(wanted - 1).unwrap_or(usize::MAX);
        let count = instances.len();
        instances
            .into_iter()
            .nth(index)
            .with_context(|| format!("`{}` has no instance {wanted}, only {count}", scale_set.name))
    }

    fn show(&self, all: &[Rendered]) -> String {
        if self.show_layers {
            return all.iter().map(|rendered| layers_text(&rendered.stack, self.output)).collect();
        }
        if self.explain {
            let leaves: Vec<Explained> =
                all.iter().flat_map(|rendered| explain(&rendered.prepared, &rendered.runner)).collect();
            return match self.output {
                Output::Json => format!("{:#}\n", json!(leaves)),
                _ => leaves.iter().map(explained_text).collect(),
            };
        }
        let manifests: Vec<RunnerManifest> =
            all.iter().map(|rendered| rendered.prepared.fill(&rendered.runner)).collect();
        let objects: Vec<&Value> = manifests.iter().flat_map(objects).collect();
        match self.output {
            Output::Yaml => yaml::write_stream(objects),
            Output::Json => format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": objects})),
            Output::Table => manifests.iter().map(table).collect(),
        }
    }
}

/// Companions first: the pod needs them.
fn objects(manifest: &RunnerManifest) -> impl Iterator<Item = &Value> {
    manifest.companions.iter().chain([&manifest.pod])
}

fn notes(prepared: &PreparedRunner, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
    for part in &prepared.unmatched {
        let place = format!("{}:{}", part.origin.file, part.origin.line);
        printer.note("warning", &format!("{place}: {}: {} [override-unmatched]", part.path, part.message))?;
    }
    for unhonoured in &prepared.unhonoured {
        printer.note("not honoured", &format!("{}: {}", unhonoured.path, unhonoured.reason))?;
    }
    Ok(())
}

fn explained_text(leaf: &Explained) -> String {
    let place = |origin: &crate::render::Place| match origin.line {
        0 => format!("{} ({})", origin.file, origin.layer),
        line => format!("{}:{line} ({})", origin.file, origin.layer),
    };
    let mut text = format!("{} {} = {}\n    set by {}\n", leaf.object, leaf.path, leaf.value, place(&leaf.origin));
    for previous in &leaf.replaced {
        text.push_str(&format!("    replaced {} of {}\n", previous.value, place(&previous.origin)));
    }
    text
}

fn all_layers(output: Output) -> String {
    TEMPLATES.iter().map(|template| layer_text(template.name, template.file, template.text, output)).collect()
}

fn layers_text(stack: &LayerStack, output: Output) -> String {
    stack
        .layers
        .iter()
        .map(|layer| {
            let text = match &layer.text {
                LayerText::Template(text) => text.clone(),
                LayerText::Pod(tree) | LayerText::HookTemplate(tree) => yaml::write(&tree.to_json()),
            };
            layer_text(&layer.name, &layer.file, &text, output)
        })
        .collect()
}

fn layer_text(name: &str, file: &str, text: &str, output: Output) -> String {
    match output {
        Output::Yaml => format!("# layer {name}: {file}\n{text}\n"),
        Output::Json => format!("{:#}\n", json!({"layer": name, "file": file, "text": text})),
        Output::Table => format!("{name:<44} {file}\n"),
    }
}

/// The objects, and what the runner container sees of the host.
fn table(manifest: &RunnerManifest) -> String {
    let mut text = format!("{:<18} {}\n", "KIND", "NAME");
    for object in objects(manifest) {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{:<18} {name}\n", object["kind"].as_str().unwrap_or_default()));
    }
    text.push_str(&format!("\n{:<44} {:<18} {:<4} {}\n", "TARGET", "VOLUME", "MODE", "SOURCE"));
    let list = |pointer: &str| manifest.pod.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let volumes = list("/spec/volumes");
    for mount in list("/spec/containers/0/volumeMounts") {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let mode = if mount["readOnly"] == json!(true) { "ro" } else { "rw" };
        let target = mount["mountPath"].as_str().unwrap_or_default();
        let name = mount["name"].as_str().unwrap_or_default();
        text.push_str(&format!("{target:<44} {name:<18} {mode:<4} {}\n", volume.map(source).unwrap_or_default()));
    }
    text
}

fn source(volume: &Value) -> String {
    let found = volume.as_object().and_then(|volume| volume.iter().find(|(key, _)| *key != "name"));
    match found {
        Some((key, value)) if key == "hostPath" => value["path"].as_str().unwrap_or_default().to_owned(),
        Some((key, _)) => key.clone(),
        None => String::new(),
    }
}

/// The way out of a failed rendering.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    let render = || error.chain().find_map(|cause| cause.downcast_ref::<RenderError>()).and_then(RenderError::hint);
    let stack = || error.chain().find_map(|cause| cause.downcast_ref::<StackError>()).map(|e| e.hint().to_owned());
    render().or_else(stack)
}
