//! From the text of a file to typed objects with their positions.
//!
//! A stream may hold `RunnerScaleSet`, `PodmanHost` and `ConfigMap` documents, and bare specs without `apiVersion` and
//! `kind`. All problems of the text are reported together. Nothing is read from the disk here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{API_VERSION, PodmanHostSpec, RunnerScaleSetSpec};
use crate::problem::{FieldPath, Problem, Problems, Segment, nearest};
use crate::schema::{Shape, check};
use crate::yaml::{self, Kind, Position, Tree};

/// A document of a file, typed, with the text it came from.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file as the user named it.
    pub file: String,
    /// `metadata.name`, unless the document is a bare spec.
    pub name: Option<String>,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// The object.
    pub object: Object,
    /// Where the spec stands in the document: the root of a bare one, else `spec`.
    pub spec_path: FieldPath,
    tree: Tree,
}

/// The kinds we read.
#[derive(Clone, Debug)]
pub enum Object {
    /// A runner scale set.
    RunnerScaleSet(Box<RunnerScaleSetSpec>),
    /// A Podman host.
    PodmanHost(PodmanHostSpec),
    /// The data of a ConfigMap; layers may refer to it.
    ConfigMap(BTreeMap<String, String>),
}

const KINDS: [(&str, &str); 3] = [("RunnerScaleSet", API_VERSION), ("PodmanHost", API_VERSION), ("ConfigMap", "v1")];

/// Reads all documents of `text`. `overrides` are `key=value` pairs whose keys are field paths of the spec
/// (or begin with `metadata.`); they are laid over every `RunnerScaleSet`.
pub fn read(file: &str, text: &str, overrides: &[(FieldPath, Tree)]) -> Result<Vec<Document>, Problems> {
    let syntax = |error: yaml::SyntaxError| {
        Problems::one(problem(file, "yaml-syntax", &FieldPath::root(), error.at, error.message, None))
    };
    let trees = yaml::read(text).map_err(syntax)?;
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for tree in trees {
        match document(file, tree, overrides) {
            Ok(document) => documents.push(document),
            Err(found) => problems.extend(found),
        }
    }
    Problems::check(problems)?;
    Ok(documents)
}

impl Document {
    /// The node of a field of the spec.
    pub fn spec_node(&self, path: &FieldPath) -> Option<&Tree> {
        let mut node = &self.tree;
        for segment in self.spec_path.segments().iter().chain(path.segments()) {
            node = match segment {
                Segment::Key(key) => node.get(key)?,
                Segment::Index(index) => node.items().get(*index)?,
            };
        }
        Some(node)
    }

    /// A problem with a field of the spec, placed at that field or the nearest parent that is written.
    pub fn problem(&self, rule: &'static str, path: &FieldPath, message: String, hint: impl Into<String>) -> Problem {
        self.place(rule, &self.spec_path.join(path), message, hint)
    }

    /// A problem with a field of `metadata`; a bare spec has none, there it is the document's.
    pub fn metadata_problem(
        &self,
        rule: &'static str,
        field: &str,
        message: String,
        hint: impl Into<String>,
    ) -> Problem {
        let path = FieldPath::root().key("metadata").key(field);
        let bare = self.spec_path.segments().is_empty();
        self.place(rule, if bare { &self.spec_path } else { &path }, message, hint)
    }

    fn place(&self, rule: &'static str, path: &FieldPath, message: String, hint: impl Into<String>) -> Problem {
        let written = (0..=path.segments().len()).rev().find_map(|length| self.position(&path.parent(length)));
        problem(&self.file, rule, path, written.unwrap_or(self.tree.at), message, Some(hint.into()))
    }

    /// Where a path of the document stands: its key, or the node itself for a list item.
    fn position(&self, path: &FieldPath) -> Option<Position> {
        let mut node = &self.tree;
        let mut at = node.at;
        for segment in path.segments() {
            (node, at) = match segment {
                Segment::Key(key) => {
                    let entry = node.entries().iter().find(|entry| entry.key == *key)?;
                    // A value from the command line stands nowhere in the file, whatever its key does.
                    (&entry.value, if entry.value.at.line == 0 { entry.value.at } else { entry.key_at })
                }
                Segment::Index(index) => node.items().get(*index).map(|item| (item, item.at))?,
            };
        }
        Some(at)
    }
}

fn document(file: &str, mut tree: Tree, overrides: &[(FieldPath, Tree)]) -> Result<Document, Vec<Problem>> {
    if !matches!(tree.kind, Kind::Mapping(_)) {
        let message = "expected a mapping: an object or a bare spec".to_owned();
        return Err(vec![problem(file, "wrong-type", &FieldPath::root(), tree.at, message, None)]);
    }
    let bare = tree.get("apiVersion").is_none() && tree.get("kind").is_none();
    let kind = if bare { "RunnerScaleSet" } else { kind(file, &tree).map_err(|problem| vec![problem])? };
    let spec_path = if bare { FieldPath::root() } else { FieldPath::root().key("spec") };
    if kind == "RunnerScaleSet" {
        for (path, value) in overrides {
            lay_over(file, &mut tree, &spec_path, path, value).map_err(|problem| vec![problem])?;
        }
    }
    let envelope = if bare { Vec::new() } else { check_envelope(file, &tree, kind) };
    let text = |path: &[&str]| path.iter().try_fold(&tree, |node, key| node.get(key))?.as_str().map(str::to_owned);
    let (name, namespace) =
        if bare { (None, None) } else { (text(&["metadata", "name"]), text(&["metadata", "namespace"])) };
    let object = match kind {
        "RunnerScaleSet" => typed(file, &tree, &spec_path, envelope).map(|spec| Object::RunnerScaleSet(Box::new(spec))),
        "PodmanHost" => typed(file, &tree, &spec_path, envelope).map(Object::PodmanHost),
        _ => typed(file, &tree, &FieldPath::root().key("data"), envelope).map(Object::ConfigMap),
    }?;
    Ok(Document { file: file.to_owned(), name, namespace, object, spec_path, tree })
}

/// The kind of a document that has `apiVersion` or `kind`.
fn kind(file: &str, tree: &Tree) -> Result<&'static str, Problem> {
    let field = |name: &str| (FieldPath::root().key(name), tree.get(name));
    let (path, node) = field("kind");
    let given = node.and_then(Tree::as_str).unwrap_or_default();
    let Some((kind, api_version)) = KINDS.into_iter().find(|(kind, _)| *kind == given) else {
        let hint = match nearest(given, KINDS.map(|(kind, _)| kind)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "known: `RunnerScaleSet`, `PodmanHost`, `ConfigMap`".to_owned(),
        };
        let at = node.map_or(tree.at, |node| node.at);
        return Err(problem(file, "unknown-kind", &path, at, format!("`{given}` is not a kind we read"), Some(hint)));
    };
    let (path, node) = field("apiVersion");
    match node.and_then(Tree::as_str) {
        Some(given) if given == api_version => Ok(kind),
        given => {
            let message = format!("`{}` has no kind `{kind}`", given.unwrap_or_default());
            let at = node.map_or(tree.at, |node| node.at);
            Err(problem(file, "unknown-kind", &path, at, message, Some(format!("write `apiVersion: {api_version}`"))))
        }
    }
}

/// What stands around the spec: `metadata.name` must be there, unknown top-level fields must not.
fn check_envelope(file: &str, tree: &Tree, kind: &str) -> Vec<Problem> {
    let known: &[&str] = match kind {
        "ConfigMap" => &["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"],
        _ => &["apiVersion", "kind", "metadata", "spec", "status"],
    };
    let mut problems = Vec::new();
    for entry in tree.entries().iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let hint = match nearest(&entry.key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if kind == "RunnerScaleSet" => {
                format!("fields of the runner belong below `spec`: `spec.{}`", entry.key)
            }
            None => "remove it".to_owned(),
        };
        let message = format!("there is no field `{}` here", entry.key);
        let path = FieldPath::root().key(&entry.key);
        problems.push(problem(file, "unknown-field", &path, entry.key_at, message, Some(hint)));
    }
    let metadata = FieldPath::root().key("metadata");
    for required in ["name", "namespace"] {
        let node = tree.get("metadata").and_then(|metadata| metadata.get(required));
        if node.map_or(required == "name", |node| node.as_str().is_none()) {
            let at = node.map_or(tree.at, |node| node.at);
            let message = "expected a string".to_owned();
            problems.push(problem(file, "missing-field", &metadata.key(required), at, message, None));
        }
    }
    problems
}

/// The part of the document at `path` as a `T`, if neither it nor what stands around it has problems.
fn typed<T: JsonSchema + DeserializeOwned>(
    file: &str,
    tree: &Tree,
    path: &FieldPath,
    mut problems: Vec<Problem>,
) -> Result<T, Vec<Problem>> {
    let empty = Tree { at: tree.at, kind: Kind::Mapping(Vec::new()) };
    let node = path.segments().first().map_or(tree, |segment| match segment {
        Segment::Key(key) => tree.get(key).unwrap_or(&empty),
        Segment::Index(_) => &empty,
    });
    problems.extend(check::<T>(file, node, path, Shape::Whole));
    if path.segments().is_empty() {
        hint_at_missing_kind(&mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    serde_json::from_value(without_nulls(node.to_json()))
        .map_err(|error| vec![problem(file, "wrong-type", path, node.at, error.to_string(), None)])
}

/// A bare document with `metadata` or `spec` was meant to be an object.
fn hint_at_missing_kind(problems: &mut [Problem]) {
    for problem in problems.iter_mut().filter(|problem| problem.rule == "unknown-field") {
        if ["metadata", "spec"].contains(&problem.path.to_string().as_str()) {
            let text = format!("an object begins with `apiVersion: {API_VERSION}` and `kind: RunnerScaleSet`");
            problem.hint = Some(text);
        }
    }
}

/// `null` means "not said", as everywhere in Kubernetes.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

/// Sets one field of the document, making the mappings on the way.
fn lay_over(file: &str, tree: &mut Tree, spec_path: &FieldPath, path: &FieldPath, value: &Tree) -> Result<(), Problem> {
    let metadata = matches!(path.segments().first(), Some(Segment::Key(key)) if key == "metadata");
    let explicit = path.segments().first() == spec_path.segments().first();
    let prefix: &[Segment] = if metadata || explicit { &[] } else { spec_path.segments() };
    let mut node = tree;
    for segment in prefix.iter().chain(path.segments()) {
        let found = match segment {
            Segment::Key(key) => entry_mut(node, key),
            Segment::Index(index) => item_mut(node, *index),
        };
        node = found.ok_or_else(|| {
            let hint = "keys are paths of the spec, such as `maxRunners` or `cachePaths[0].source`".to_owned();
            let message = "nothing can be set below this field".to_owned();
            problem(file, "set-path", path, Position::default(), message, Some(hint))
        })?;
    }
    *node = value.clone();
    Ok(())
}

fn entry_mut<'a>(node: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    if matches!(node.kind, Kind::Scalar(serde_json::Value::Null)) {
        node.kind = Kind::Mapping(Vec::new());
    }
    let Kind::Mapping(entries) = &mut node.kind else { return None };
    let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        let value = Tree { at: Position::default(), kind: Kind::Scalar(serde_json::Value::Null) };
        entries.push(yaml::Entry { key: key.to_owned(), key_at: Position::default(), value });
        entries.len() - 1
    });
    Some(&mut entries[index].value)
}

/// An existing item, or the one after the last.
fn item_mut(node: &mut Tree, index: usize) -> Option<&mut Tree> {
    if matches!(node.kind, Kind::Scalar(serde_json::Value::Null)) {
        node.kind = Kind::Sequence(Vec::new());
    }
    let Kind::Sequence(items) = &mut node.kind else { return None };
    if index == items.len() {
        items.push(Tree { at: Position::default(), kind: Kind::Scalar(serde_json::Value::Null) });
    }
    items.get_mut(index)
}

fn problem(
    file: &str,
    rule: &'static str,
    path: &FieldPath,
    at: Position,
    message: String,
    hint: Option<String>,
) -> Problem {
    Problem { rule, file: file.to_owned(), path: path.clone(), at, message, hint }
}
