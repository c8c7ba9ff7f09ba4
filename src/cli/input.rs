//! Reads the files that commands are given: specs, and the layers that specs name.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::crd::{self, Document, KeyReference, Object, PodmanHostSpec};
use crate::layers::UserLayer;
use crate::problem::{FieldPath, Problems};
use crate::scale_set::{LayerSource, Placed, ScaleSet, Validated, check_together, validate};
use crate::yaml::{self, Tree};

/// Standard input, as users write it.
const STDIN: &str = "-";

/// What the files of a command hold.
#[derive(Default)]
pub(super) struct Input {
    pub(super) scale_sets: Vec<Validated>,
    /// The documents of the scale sets, in the same order.
    pub(super) sources: Vec<Document>,
    /// Podman hosts, each with the file that names it.
    pub(super) podman_hosts: Vec<(String, PodmanHostSpec)>,
    /// How many documents each file holds.
    pub(super) documents: BTreeMap<String, usize>,
    /// ConfigMaps with their data.
    pub(super) config_maps: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads and validates all files; the problems of all of them are reported together. There must be a scale set.
pub(super) fn read(files: &[String], name: Option<&str>, set: &[String]) -> anyhow::Result<Input> {
    let input = documents(texts(files)?, name, set)?;
    anyhow::ensure!(
        !input.scale_sets.is_empty(),
        "there is no RunnerScaleSet in {}: give an object with `kind: RunnerScaleSet`, or its spec alone",
        files.iter().map(|file| shown(file)).collect::<Vec<_>>().join(", "),
    );
    Ok(input)
}

/// The texts of files, each with the name it has in messages.
pub(super) fn texts(files: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    files.iter().map(|file| Ok((shown(file).to_owned(), text(file)?))).collect()
}

/// Validates texts that stand in these files or will; their problems are reported together.
pub(super) fn documents(texts: Vec<(String, String)>, name: Option<&str>, set: &[String]) -> anyhow::Result<Input> {
    let overrides = overrides(set)?;
    let mut read = crd::Read::default();
    for (file, text) in texts {
        let crd::Read { documents, problems } = crd::read(&file, &text, &overrides);
        read.documents.extend(documents);
        read.problems.extend(problems);
    }
    let crd::Read { documents, mut problems } = read;
    let mut input = Input::default();
    for document in documents {
        *input.documents.entry(document.file.clone()).or_default() += 1;
        if let Object::ConfigMap(data) = &document.object {
            input.config_maps.insert(document.name.clone().unwrap_or_default(), data.clone());
        }
        if let Object::PodmanHost(host) = &document.object {
            input.podman_hosts.push((document.file.clone(), host.clone()));
        }
        match validate(&document, name) {
            None => {}
            Some(Err(found)) => problems.extend_from_slice(found.as_slice()),
            Some(Ok(validated)) => {
                input.sources.push(document);
                input.scale_sets.push(validated);
            }
        }
    }
    let scale_sets = input.scale_sets.iter().map(|validated| &validated.scale_set);
    let placed: Vec<Placed<'_>> = input.sources.iter().zip(scale_sets).collect();
    problems.extend(check_together(&placed));
    Problems::check(problems)?;
    Ok(input)
}

/// A file's name in messages.
fn shown(file: &str) -> &str {
    if file == STDIN { "<stdin>" } else { file }
}

/// `key=value` pairs of `--set`.
fn overrides(set: &[String]) -> anyhow::Result<Vec<(FieldPath, Tree)>> {
    set.iter()
        .map(|pair| {
            // The value may be a secret that was put into the wrong field: only the key is repeated.
            let (key, value) = pair.split_once('=').context("`--set` takes KEY=VALUE, and there is no `=`")?;
            let path = FieldPath::parse(key).with_context(|| format!("`--set {key}=…`: that is not a field path"))?;
            let mut trees = yaml::read(value)
                .map_err(|_| anyhow::anyhow!("`--set {key}=…`: the value is not YAML; put texts in quotes"))?;
            anyhow::ensure!(trees.len() <= 1, "`--set {key}=…`: the value holds several documents");
            let mut tree = trees.pop().unwrap_or_else(|| scalar(value));
            unplace(&mut tree);
            Ok((path, tree))
        })
        .collect()
}

/// What the YAML reader leaves out: nothing at all is an empty text, a written `null` is null.
fn scalar(value: &str) -> Tree {
    let kind = if value.trim().is_empty() { "".into() } else { serde_json::Value::Null };
    Tree { at: yaml::Position::default(), kind: yaml::Kind::Scalar(kind) }
}

/// A value from the command line stands in no file.
fn unplace(tree: &mut Tree) {
    tree.at = yaml::Position::default();
    match &mut tree.kind {
        yaml::Kind::Scalar(_) => {}
        yaml::Kind::Sequence(items) => items.iter_mut().for_each(unplace),
        yaml::Kind::Mapping(entries) => {
            for entry in entries {
                entry.key_at = yaml::Position::default();
                unplace(&mut entry.value);
            }
        }
    }
}

impl Input {
    /// The layers that a spec names, and those of `--layer`, with their texts.
    pub(super) fn layers(&self, scale_set: &ScaleSet, more: &[PathBuf]) -> anyhow::Result<Vec<UserLayer>> {
        let mut layers = Vec::new();
        for (index, layer) in scale_set.layers.iter().enumerate() {
            let name = format!("layers[{index}]");
            match layer {
                LayerSource::File(file) => {
                    let path = Path::new(&scale_set.file).parent().unwrap_or(Path::new("")).join(file);
                    layers.push(file_layer(&name, &path)?);
                }
                LayerSource::Inline(text) => {
                    let file = format!("{}#{name}", scale_set.file);
                    layers.push(UserLayer { name, file, text: text.clone() });
                }
                LayerSource::ConfigMap(reference) => layers.push(self.config_map_layer(name, reference)?),
            }
        }
        for path in more {
            layers.push(file_layer(&format!("--layer {}", path.display()), path)?);
        }
        Ok(layers)
    }
}

impl Input {
    fn config_map_layer(&self, name: String, reference: &KeyReference) -> anyhow::Result<UserLayer> {
        let KeyReference { name: config_map, key } = reference;
        let text = self.config_maps.get(config_map).and_then(|data| data.get(key)).with_context(|| {
            format!(
                "{name} is the key `{key}` of the ConfigMap `{config_map}`, which is not among the input; \
                 give its manifest as a further FILE"
            )
        })?;
        Ok(UserLayer { name, file: format!("ConfigMap/{config_map}#{key}"), text: text.clone() })
    }
}

fn file_layer(name: &str, path: &Path) -> anyhow::Result<UserLayer> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the layer {}", path.display()))?;
    Ok(UserLayer { name: name.to_owned(), file: path.display().to_string(), text })
}

fn text(file: &str) -> anyhow::Result<String> {
    if file == STDIN {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}
