//! From the text of a file to typed objects with their positions.
//!
//! A stream may hold `RunnerScaleSet`, `PodmanHost` and `ConfigMap` documents, and bare specs without `apiVersion` and
//! `kind`. All problems of the text are reported together. Nothing is read from the disk here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::overrides::lay_over;
use super::{API_VERSION, PodmanHostSpec, RunnerScaleSetSpec};
use crate::problem::{FieldPath, Problem, Segment, nearest};
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

/// What a text holds: the documents that can be understood, and everything that is wrong with its shape.
#[derive(Debug, Default)]
pub struct Read {
    /// Documents. Those with problems are there as far as they can be read, so that their rules are checked as well.
    pub documents: Vec<Document>,
    /// Problems, which stand in the way of using any document.
    pub problems: Vec<Problem>,
}

/// Reads all documents of `text`. `overrides` are laid over every `RunnerScaleSet`: field paths and values.
pub fn read(file: &str, text: &str, overrides: &[(FieldPath, Tree)]) -> Read {
    let mut read = Read::default();
    match yaml::read(text) {
        Err(error) => {
            let root = FieldPath::root();
            read.problems.push(problem(file, "yaml-syntax", &root, error.at, error.message, None));
        }
        Ok(trees) => {
            for tree in trees {
                read.documents.extend(document(file, tree, overrides, &mut read.problems));
            }
        }
    }
    read
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

    /// The spec as it was written, with everything that was laid over it.
    pub fn spec(&self) -> serde_json::Value {
        self.spec_node(&FieldPath::root()).map(Tree::to_json).unwrap_or_default()
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

fn document(
    file: &str,
    mut tree: Tree,
    overrides: &[(FieldPath, Tree)],
    problems: &mut Vec<Problem>,
) -> Option<Document> {
    if !matches!(tree.kind, Kind::Mapping(_)) {
        let message = "expected a mapping: an object or a bare spec".to_owned();
        problems.push(problem(file, "wrong-type", &FieldPath::root(), tree.at, message, None));
        return None;
    }
    let bare = tree.get("apiVersion").is_none() && tree.get("kind").is_none();
    let kind = if bare { Ok("RunnerScaleSet") } else { kind(file, &tree) };
    let kind = kind.map_err(|problem| problems.push(problem)).ok()?;
    if kind == "RunnerScaleSet" {
        for (path, value) in overrides {
            problems.extend(lay_over(file, &mut tree, bare, path, value).err());
        }
    }
    if !bare {
        problems.extend(check_envelope(file, &tree, kind));
    }
    let text = |path: &[&str]| path.iter().try_fold(&tree, |node, key| node.get(key))?.as_str().map(str::to_owned);
    let (name, namespace) =
        if bare { (None, None) } else { (text(&["metadata", "name"]), text(&["metadata", "namespace"])) };
    let spec_path = if bare { FieldPath::root() } else { FieldPath::root().key("spec") };
    let object = match kind {
        "RunnerScaleSet" => typed(file, &tree, &spec_path, problems).map(|spec| Object::RunnerScaleSet(Box::new(spec))),
        "PodmanHost" => typed(file, &tree, &spec_path, problems).map(Object::PodmanHost),
        _ => typed(file, &tree, &FieldPath::root().key("data"), problems).map(Object::ConfigMap),
    }?;
    Some(Document { file: file.to_owned(), name, namespace, object, spec_path, tree })
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
        let message = match given {
            "" => "an object needs a `kind`".to_owned(),
            given => format!("`{given}` is not a kind we read"),
        };
        return Err(problem(file, "unknown-kind", &path, at, message, Some(hint)));
    };
    let (path, node) = field("apiVersion");
    match node.and_then(Tree::as_str) {
        Some(given) if given == api_version => Ok(kind),
        given => {
            let message = match given {
                Some(given) => format!("`{given}` has no kind `{kind}`"),
                None => "an object needs an `apiVersion`".to_owned(),
            };
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
    for (field, required) in [("name", true), ("namespace", false)] {
        let node = tree.get("metadata").and_then(|metadata| metadata.get(field));
        let node = node.filter(|node| node.kind != Kind::Scalar(serde_json::Value::Null));
        if node.map_or(required, |node| node.as_str().is_none()) {
            let at = node.map_or(tree.at, |node| node.at);
            let message = if node.is_some() { "expected a string" } else { "this field is required" }.to_owned();
            let hint = Some("write `metadata: {name: …}`".to_owned()).filter(|_| required);
            problems.push(problem(file, "missing-field", &metadata.key(field), at, message, hint));
        }
    }
    problems
}

/// The part of the document at `path` as a `T`. What is wrong with it is reported and left out, so that the rest can
/// still be judged; `None` where nothing useful is left.
fn typed<T: JsonSchema + DeserializeOwned>(
    file: &str,
    tree: &Tree,
    path: &FieldPath,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let empty = Tree { at: tree.at, kind: Kind::Mapping(Vec::new()) };
    let node = path.segments().first().map_or(Some(tree), |segment| match segment {
        Segment::Key(key) => tree.get(key),
        Segment::Index(_) => None,
    });
    let node = node.filter(|node| node.kind != Kind::Scalar(serde_json::Value::Null)).unwrap_or(&empty);
    let mut found = check::<T>(file, node, path, Shape::Whole);
    if path.segments().is_empty() {
        hint_at_missing_kind(&mut found);
    }
    let mut value = node.to_json();
    for problem in &found {
        leave_out(&mut value, &problem.path.segments()[path.segments().len()..]);
    }
    let typed = serde_json::from_value(without_nulls(value));
    if let (Err(error), true) = (&typed, found.is_empty()) {
        problems.push(problem(file, "wrong-type", path, node.at, error.to_string(), None));
    }
    problems.extend(found);
    typed.ok()
}

/// Removes the field at a path. Items of lists stay: the paths of those behind them would shift.
fn leave_out(value: &mut serde_json::Value, path: &[Segment]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut node = value;
    for segment in parents {
        let next = match segment {
            Segment::Key(key) => node.get_mut(key),
            Segment::Index(index) => node.get_mut(index),
        };
        let Some(next) = next else { return };
        node = next;
    }
    if let (Some(map), Segment::Key(key)) = (node.as_object_mut(), last) {
        map.shift_remove(key);
    }
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
        serde_json::Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        serde_json::Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// A problem of a file.
pub(super) fn problem(
    file: &str,
    rule: &'static str,
    path: &FieldPath,
    at: Position,
    message: String,
    hint: Option<String>,
) -> Problem {
    Problem { rule, file: file.to_owned(), path: path.clone(), at, message, hint }
}
