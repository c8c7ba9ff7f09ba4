//! How `render` shows what it found: manifests, explanations, layers; as YAML, JSON or a table.

use serde_json::{Value, json};

use super::output::Output;
use crate::layers::{LayerStack, LayerText, TEMPLATES};
use crate::manifest::RunnerManifest;
use crate::render::{Explained, Place};
use crate::yaml;

/// A layer as it is shown.
pub(super) struct ShownLayer {
    name: String,
    file: String,
    text: String,
}

/// The manifests of all runners.
pub(super) fn manifests(manifests: &[RunnerManifest], output: Output) -> String {
    let objects: Vec<&Value> = manifests.iter().flat_map(objects).collect();
    match output {
        Output::Yaml => yaml::write_stream(objects),
        Output::Json => format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": objects})),
        Output::Table => manifests.iter().map(table).collect(),
    }
}

/// Every leaf with the place that set it.
pub(super) fn explained(leaves: &[Explained], output: Output) -> String {
    match output {
        Output::Json => format!("{:#}\n", json!(leaves)),
        Output::Yaml | Output::Table => leaves.iter().map(explained_text).collect(),
    }
}

/// Layers with their texts; a table has their names only.
pub(super) fn layers(layers: &[ShownLayer], output: Output) -> String {
    match output {
        Output::Yaml => layers.iter().map(|l| format!("# layer {}: {}\n{}\n", l.name, l.file, l.text)).collect(),
        Output::Table => layers.iter().map(|l| format!("{:<44} {}\n", l.name, l.file)).collect(),
        Output::Json => {
            let layers: Vec<Value> =
                layers.iter().map(|l| json!({"layer": l.name, "file": l.file, "text": l.text})).collect();
            format!("{:#}\n", json!(layers))
        }
    }
}

/// All layers that are part of the program.
pub(super) fn built_in() -> Vec<ShownLayer> {
    let shown = |template: &crate::layers::Template| ShownLayer {
        name: template.name.to_owned(),
        file: template.file.to_owned(),
        text: template.text.to_owned(),
    };
    TEMPLATES.iter().map(shown).collect()
}

/// The layers of a scale set, in the order in which they are laid.
pub(super) fn stack(stack: &LayerStack) -> Vec<ShownLayer> {
    let shown = |layer: &crate::layers::Layer| ShownLayer {
        name: layer.name.clone(),
        file: layer.file.clone(),
        text: match &layer.text {
            LayerText::Template(text) => text.clone(),
            LayerText::Pod(tree) | LayerText::HookTemplate(tree) => yaml::write(&tree.to_json()),
        },
    };
    stack.layers.iter().map(shown).collect()
}

/// Companions first: the pod needs them.
fn objects(manifest: &RunnerManifest) -> impl Iterator<Item = &Value> {
    manifest.companions.iter().chain([&*manifest.pod])
}

fn explained_text(leaf: &Explained) -> String {
    let place = |origin: &Place| match origin.line {
        0 => format!("{} ({})", origin.file, origin.layer),
        line => format!("{}:{line} ({})", origin.file, origin.layer),
    };
    let mut text = format!("{} {} = {}\n    set by {}\n", leaf.object, leaf.path, leaf.value, place(&leaf.origin));
    for previous in &leaf.replaced {
        text.push_str(&format!("    replaced {} of {}\n", previous.value, place(&previous.origin)));
    }
    text
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
