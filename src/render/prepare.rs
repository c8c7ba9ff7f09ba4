//! Runs and merges the layers once per scale set, and fills in the single runner afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::companions::companions;
use super::context::{Context, RunnerTexts};
use super::error::RenderError;
use super::hole::{Filling, Holed, RESERVED, RunnerIdentity, segments};
use super::line_marks::strip;
use super::order::order;
use super::short_hash::short_hash;
use super::template::{Rendered, Source, Templates};
use super::{finish, podman};
use crate::layers::{Layer, LayerStack, LayerText, Lines, Node, Objects, Origin, Unmatched, template};
use crate::manifest::{
    EngineKind, JIT_CONFIG_KEY, MANIFEST_LABEL, OwnerReference, RunnerManifest, SecretKey, Unhonoured,
};
use crate::problem::{FieldPath, Problems};
use crate::scale_set::{Instance, RUNNER_NAME_MAX, RunnerName, ScaleSet, hook_template_problems, slot_suffix};
use crate::schema::{Shape, check};
use crate::yaml::{Kind, Position, Tree};

/// What to prepare.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The scale set.
    pub scale_set: &'a ScaleSet,
    /// Which of its instances.
    pub instance: &'a Instance,
    /// Where it will run.
    pub engine: EngineKind,
    /// Its layers.
    pub stack: &'a LayerStack,
    /// Id of the controller that will own the objects.
    pub controller: &'a str,
    /// The custom resource that the objects belong to, in a cluster.
    pub owner: Option<&'a OwnerReference>,
}

/// The manifests of a scale set, open for the single runner.
#[derive(Clone, Debug)]
pub struct PreparedRunner {
    pod: Holed,
    companions: Arc<[Value]>,
    /// Labels that all runners made from this share.
    labels: BTreeMap<String, String>,
    is_privileged: bool,
    /// Where each value came from, for whoever asks.
    pub(super) objects: Objects,
    /// What the user's layers say without effect.
    pub unmatched: Vec<Unmatched>,
    /// What the user's layers say and the last layer says otherwise.
    pub overruled: Vec<Unmatched>,
    /// What the engine will not do.
    pub unhonoured: Vec<Unhonoured>,
}

impl PreparedRunner {
    /// The hash of everything but the single runner, which its pod carries as a label.
    pub fn hash(&self) -> &str {
        self.label(MANIFEST_LABEL)
    }

    /// A label that all runners made from this share; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether a container of the pod is privileged.
    pub fn is_privileged(&self) -> bool {
        self.is_privileged
    }

    /// The same without the origins of its values, which only [`super::explain`] wants: most of what a prepared runner
    /// weighs.
    #[must_use]
    pub fn without_origins(self) -> Self {
        Self { objects: Objects::default(), ..self }
    }

    /// The manifest of one runner.
    pub fn fill(&self, runner: &RunnerIdentity) -> RunnerManifest {
        let filling = Filling::of(runner);
        RunnerManifest {
            name: runner.name.as_str().to_owned(),
            slot: runner.slot,
            pod: Arc::new(self.pod.fill(&filling)),
            companions: Arc::clone(&self.companions),
            jit_config: SecretKey { name: runner.name.as_str().to_owned(), key: JIT_CONFIG_KEY },
        }
    }
}

/// Runs the layers, merges them, checks the result.
pub fn prepare(request: &Request<'_>) -> Result<PreparedRunner, RenderError> {
    check_spec(request)?;
    let runner = RunnerTexts::holes();
    let context = Context::new(request, &runner);
    let templates = Templates::new();
    let mut objects = Objects::default();
    for layer in &request.stack.layers {
        check_reserved(layer)?;
        if layer.name == finish::LAST_LAYER {
            finish::check_runner_first(&objects, &last_of_users(request))?;
        }
        for document in documents(layer, &templates, &context, request)? {
            objects.merge(document)?;
        }
    }
    label_companions(&mut objects, &templates, &context)?;
    finish::check(&mut objects, request)?;
    let unhonoured = match request.engine {
        EngineKind::Kubernetes => Vec::new(),
        EngineKind::Podman => podman::translate(&mut objects, request.scale_set, request.stack)?,
    };
    order(&mut objects);
    label_with_hash(&mut objects);
    let users: Vec<&str> = request.stack.layers.iter().filter(|layer| layer.users).map(|l| l.name.as_str()).collect();
    let unmatched = std::mem::take(&mut objects.unmatched);
    Ok(PreparedRunner {
        pod: Holed::new(&objects.pod().map(Node::to_json).unwrap_or_default()),
        companions: companions(&objects).into(),
        labels: labels(&objects),
        is_privileged: is_privileged(&objects),
        unmatched: unmatched.into_iter().filter(|part| users.contains(&&*part.origin.layer)).collect(),
        overruled: overruled(&objects, &users),
        unhonoured,
        objects,
    })
}

/// The labels of the pod that do not depend on the runner.
fn labels(objects: &Objects) -> BTreeMap<String, String> {
    let labels = objects.pod().and_then(|pod| pod.at(&["metadata", "labels"])).map(Node::to_json).unwrap_or_default();
    let texts = labels.as_object().into_iter().flatten();
    texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn is_privileged(objects: &Objects) -> bool {
    let spec = objects.pod().and_then(|pod| pod.get("spec"));
    let containers = ["initContainers", "containers"].into_iter().filter_map(|field| spec?.get(field));
    let privileged = |container: &Node| {
        container.at(&["securityContext", "privileged"]).and_then(Node::scalar) == Some(&Value::Bool(true))
    };
    containers.flat_map(Node::items).any(privileged)
}

/// The documents a layer contributes.
fn documents(
    layer: &Layer,
    templates: &Templates,
    context: &Context<'_>,
    request: &Request<'_>,
) -> Result<Vec<Node>, RenderError> {
    let name: Arc<str> = Arc::from(layer.name.as_str());
    match &layer.text {
        LayerText::Template(text) => {
            let source = Source { layer: &layer.name, file: &layer.file, text };
            let marked = templates.text(source, context)?;
            let Rendered { documents, lines } = Templates::parse(source, &marked)?;
            if layer.users {
                check_holes(layer, source, &marked, templates, request)?;
                check_fields(&documents, &lines)?;
            }
            Ok(documents.iter().map(|tree| Node::from_tree(tree, &name, &lines)).collect())
        }
        LayerText::Pod(tree) => Ok(vec![Node::from_tree(tree, &name, &SpecFile(&layer.file))]),
        LayerText::HookTemplate(tree) => {
            let lines = SpecFile(&layer.file);
            let (file, line) = lines.find(tree.at.line);
            let origin = Origin { layer: name.clone(), file, line };
            let mut document = Node::from_json(&serde_json::json!({"kind": finish::HOOK_TEMPLATE}), &origin);
            if let crate::layers::NodeKind::Mapping(entries) = &mut document.kind {
                entries.push(("template".to_owned(), Node::from_tree(tree, &name, &lines)));
            }
            Ok(vec![document])
        }
    }
}

/// The labels and the namespace that every object but the pod has.
fn label_companions(objects: &mut Objects, templates: &Templates, context: &Context<'_>) -> Result<(), RenderError> {
    let Some(companion) = template("companion") else { return Ok(()) };
    let source = Source { layer: companion.name, file: companion.file, text: companion.text };
    let marked = templates.text(source, context)?;
    let Rendered { documents, lines } = Templates::parse(source, &marked)?;
    let name: Arc<str> = Arc::from(companion.name);
    let mut unmatched = Vec::new();
    for object in objects.iter_mut().filter(|object| object.key.kind != "Pod") {
        for tree in &documents {
            crate::layers::merge(&mut object.node, Node::from_tree(tree, &name, &lines), "", &mut unmatched)?;
        }
    }
    Ok(())
}

/// The pod says what it was made from, so that a controller finds those that an older spec made. The last layer could
/// not: the hash is that of its result as well.
fn label_with_hash(objects: &mut Objects) {
    let made_from: Vec<Value> = objects.iter().map(|object| object.node.to_json()).collect();
    let hash = short_hash(&Value::Array(made_from).to_string(), 8);
    let labels = objects.pod_mut().and_then(|pod| pod.get_mut("metadata")).and_then(|data| data.get_mut("labels"));
    if let Some(labels) = labels {
        let origin =
            Origin { layer: Arc::from(finish::LAST_LAYER), file: Arc::from("(hash of the manifest)"), line: 0 };
        labels.remove(MANIFEST_LABEL);
        labels.push(MANIFEST_LABEL, Node::from_json(&hash.into(), &origin));
    }
}

/// Lines of the user's spec stand where they stand.
struct SpecFile<'a>(&'a str);

impl Lines for SpecFile<'_> {
    fn find(&self, line: u32) -> (Arc<str>, u32) {
        (Arc::from(if line == 0 { "--set" } else { self.0 }), line)
    }
}

/// The spec's values reach templates through the context.
fn check_spec(request: &Request<'_>) -> Result<(), RenderError> {
    let nobody = RunnerTexts::default();
    let values = serde_json::to_string(&Context::new(request, &nobody)).unwrap_or_default();
    no_reserved_character(&values, &format!("the spec ({})", request.scale_set.file))
}

fn check_reserved(layer: &Layer) -> Result<(), RenderError> {
    let text = match &layer.text {
        LayerText::Template(text) => text.clone(),
        LayerText::Pod(tree) | LayerText::HookTemplate(tree) => tree.to_json().to_string(),
    };
    no_reserved_character(&text, &format!("layer `{}` ({})", layer.name, layer.file))
}

/// Texts with private-use characters of ours would be taken for holes or marks.
fn no_reserved_character(text: &str, place: &str) -> Result<(), RenderError> {
    match text.chars().find(|character| RESERVED.contains(character)) {
        Some(character) => Err(RenderError::ReservedCharacter { place: place.to_owned(), code: u32::from(character) }),
        None => Ok(()),
    }
}

/// Values of the user's in the pod that the last layer replaced by others.
fn overruled(objects: &Objects, users: &[&str]) -> Vec<Unmatched> {
    fn walk(node: &Node, path: &str, users: &[&str], found: &mut Vec<Unmatched>) {
        let ours = &*node.origin.layer == finish::LAST_LAYER;
        for old in node.replaced.iter().filter(|old| ours && users.contains(&&*old.origin.layer)) {
            if old.value != node.to_json() {
                let message = "this cannot be overridden".to_owned();
                found.push(Unmatched { path: path.to_owned(), origin: old.origin.clone(), message });
            }
        }
        for (key, value) in node.entries() {
            walk(value, &format!("{path}.{key}"), users, found);
        }
        for (index, item) in node.items().iter().enumerate() {
            walk(item, &format!("{path}[{index}]"), users, found);
        }
    }
    let mut found = Vec::new();
    for field in ["metadata", "spec"] {
        if let Some(node) = objects.pod().and_then(|pod| pod.get(field)) {
            walk(node, field, users, &mut found);
        }
    }
    found
}

/// Where the user's last layer stands, for faults that have no other place.
fn last_of_users(request: &Request<'_>) -> Origin {
    let last = request.stack.layers.iter().rev().find(|layer| layer.users);
    let (layer, file) = last.map_or(("", ""), |layer| (layer.name.as_str(), layer.file.as_str()));
    Origin { layer: Arc::from(layer), file: Arc::from(file), line: 0 }
}

/// A user's layer must only print what is a hole: rendered for a real runner, it must say the same.
fn check_holes(
    layer: &Layer,
    source: Source<'_>,
    marked: &str,
    templates: &Templates,
    request: &Request<'_>,
) -> Result<(), RenderError> {
    /// More slots than this are not tried: a condition on slot 40 alone is a strange wish.
    const SLOTS: u32 = 32;
    if !["runner", "caches", "docker"].iter().any(|name| source.text.contains(name)) {
        return Ok(());
    }
    let long = "x".repeat(RUNNER_NAME_MAX);
    for slot in 0..=request.scale_set.max_runners.min(SLOTS) {
        // The name of a runner as it will be, and the longest there may be.
        let name =
            if slot == 0 { RunnerName::new(&long, "a1b2c") } else { RunnerName::new(&request.instance.name, "x9d4m") };
        let Ok(name) = name else { continue };
        let runner = RunnerIdentity { name, id: u64::from(slot) + 1, slot };
        let texts = RunnerTexts {
            name: runner.name.as_str().to_owned(),
            id: runner.id.to_string(),
            slot: slot.to_string(),
            slot_suffix: slot_suffix(slot),
            node: Filling::of(&runner).fill(&segments(&RunnerTexts::holes().node)),
        };
        let real = templates.text(source, &Context::new(request, &texts))?;
        if strip(&real) != Filling::of(&runner).fill(&segments(&strip(marked))) {
            return Err(RenderError::ComputesWithHole { layer: layer.name.clone(), file: layer.file.clone() });
        }
    }
    Ok(())
}

/// Refuses misspelt fields in a user's layer for the pod, where the API server would be the first to say so.
fn check_fields(documents: &[Tree], lines: &dyn Lines) -> Result<(), RenderError> {
    use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodTemplate, ServiceAccount};
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    let root = FieldPath::root();
    let mut problems = Vec::new();
    for tree in documents.iter().filter(|tree| matches!(tree.kind, Kind::Mapping(_))) {
        problems.extend(match tree.get("kind").and_then(Tree::as_str) {
            None | Some("Pod") => check::<Pod>("", tree, &root, Shape::Patch),
            Some(finish::HOOK_TEMPLATE) => {
                let mut found = check::<PodTemplate>("", tree, &root, Shape::Patch);
                found.extend(hook_template_problems("", tree, &root.key("template")));
                found
            }
            Some("ConfigMap") => check::<ConfigMap>("", tree, &root, Shape::Patch),
            Some("ServiceAccount") => check::<ServiceAccount>("", tree, &root, Shape::Patch),
            Some("PersistentVolumeClaim") => check::<PersistentVolumeClaim>("", tree, &root, Shape::Patch),
            Some("Role") => check::<Role>("", tree, &root, Shape::Patch),
            Some("RoleBinding") => check::<RoleBinding>("", tree, &root, Shape::Patch),
            Some(_) => Vec::new(),
        });
    }
    for problem in &mut problems {
        let (file, line) = lines.find(problem.at.line);
        problem.file = file.to_string();
        problem.at = Position { line, ..problem.at };
    }
    Problems::check(problems).map_err(RenderError::Fields)
}
