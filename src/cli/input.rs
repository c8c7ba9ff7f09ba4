//! Reads the files that commands are given: specs, and the layers that specs name.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::crd::{self, Document, Object};
use crate::layers::UserLayer;
use crate::problem::{FieldPath, Problem, Problems};
use crate::scale_set::{Rule, ScaleSet, Validated, validate};
use crate::yaml::{self, Tree};

/// Standard input, as users write it.
const STDIN: &str = "-";

/// What the files of a command hold.
pub(super) struct Input {
    pub(super) scale_sets: Vec<Validated>,
    config_maps: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads and validates all files; the problems of all of them are reported together.
pub(super) fn read(files: &[String], name: Option<&str>, set: &[String]) -> anyhow::Result<Input> {
    let overrides = overrides(set)?;
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        let text = text(file)?;
        let shown = if file == STDIN { "<stdin>" } else { file };
        match crd::read(shown, &text, &overrides) {
            Ok(read) => documents.extend(read),
            Err(found) => problems.extend_from_slice(found.as_slice()),
        }
    }
    let mut input = Input { scale_sets: Vec::new(), config_maps: BTreeMap::new() };
    for document in &documents {
        if let Object::ConfigMap(data) = &document.object {
            input.config_maps.insert(document.name.clone().unwrap_or_default(), data.clone());
        }
        match validate(document, name) {
            None => {}
            Some(Err(found)) => problems.extend_from_slice(found.as_slice()),
            Some(Ok(validated)) => {
                problems.extend(same_name(&input, &validated, document));
                input.scale_sets.push(validated);
            }
        }
    }
    Problems::check(problems)?;
    anyhow::ensure!(!input.scale_sets.is_empty(), "there is no RunnerScaleSet in {}", files.join(", "));
    Ok(input)
}

fn same_name(input: &Input, new: &Validated, document: &Document) -> Option<Problem> {
    let name = &new.scale_set.name;
    let other = input.scale_sets.iter().find(|other| other.scale_set.name == *name)?;
    let message = format!("`{name}` is already the name of a scale set in {}", other.scale_set.file);
    let hint = "give each a `metadata.name` of its own";
    Some(document.metadata_problem(Rule::NameDuplicate.id(), "name", message, hint))
}

/// `key=value` pairs of `--set`.
fn overrides(set: &[String]) -> anyhow::Result<Vec<(FieldPath, Tree)>> {
    set.iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').with_context(|| format!("`--set {pair}` has no `=`"))?;
            let path = FieldPath::parse(key).with_context(|| format!("`--set {pair}`: `{key}` is not a field path"))?;
            let mut trees = yaml::read(value).with_context(|| format!("`--set {pair}`: the value is not YAML"))?;
            let mut tree = trees.pop().unwrap_or_else(empty_text);
            unplace(&mut tree);
            Ok((path, tree))
        })
        .collect()
}

fn empty_text() -> Tree {
    Tree { at: yaml::Position::default(), kind: yaml::Kind::Scalar("".into()) }
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
            if let Some(file) = &layer.file {
                let path = Path::new(&scale_set.file).parent().unwrap_or(Path::new("")).join(file);
                layers.push(file_layer(&name, &path)?);
            } else if let Some(text) = &layer.inline {
                let file = format!("{}#{name}", scale_set.file);
                layers.push(UserLayer { name, file, text: text.clone() });
            } else if let Some(reference) = &layer.config_map {
                let data = self.config_maps.get(&reference.name).and_then(|data| data.get(&reference.key));
                let file = format!("ConfigMap/{}#{}", reference.name, reference.key);
                let text = data.with_context(|| {
                    format!(
                        "{name} of {} is the key `{}` of the ConfigMap `{}`, which is not among the input; \
                         give its manifest as a further FILE",
                        scale_set.file, reference.key, reference.name
                    )
                })?;
                layers.push(UserLayer { name, file, text: text.clone() });
            }
        }
        for path in more {
            layers.push(file_layer(&format!("--layer {}", path.display()), path)?);
        }
        Ok(layers)
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
