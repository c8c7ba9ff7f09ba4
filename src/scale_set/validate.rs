//! From a typed document to a [`ScaleSet`], with every problem reported.
//!
//! What is required to run (a URL, credentials) is not required here: `render` works without.

use k8s_openapi::api::core::v1 as k8s;
use schemars::JsonSchema;
use serde_json::Value;

use super::cache::{self, Surroundings};
use super::features;
use super::name::{dns_label, label_from};
use super::report::{Broken, Report};
use super::rule::Rule;
use super::{Cache, Docker, LayerSource, Placement, ScaleSet, cache_pairs, hook_template};
use crate::crd::limits::{INSTANCES_MAX, MAX_RUNNERS_DEFAULT, SCALE_SET_NAME_MAX};
use crate::crd::{CachePath, ContainerMode, Document, FreeForm, Object, RunnerScaleSetSpec};
use crate::github::{ConfigUrl, ConfigUrlError, ConfigUrlOptions};
use crate::problem::{FieldPath, Problem, Problems};
use crate::schema::{Shape, check};
use crate::yaml::Tree;

/// A scale set, and what its author should know about it.
#[derive(Debug)]
pub struct Validated {
    /// The scale set.
    pub scale_set: ScaleSet,
    /// What is allowed but surprising.
    pub warnings: Vec<Problem>,
}

/// GitHub's runner image, pinned: `latest` moves about monthly (`runner-pods.md` 1.1).
const DEFAULT_IMAGE: &str = "ghcr.io/actions/actions-runner:2.336.0";
/// Docker's image for the sidecar; 29 makes its own cgroup namespace (`runner-pods.md` 2.3).
const DEFAULT_DIND_IMAGE: &str = "docker:29-dind";
/// Of documents without a name whose file's name gives none.
const DEFAULT_NAME: &str = "deskrun";

/// Validates a `RunnerScaleSet` document; `None` for other kinds. `name` overrides the name that the document gives.
pub fn validate(document: &Document, name: Option<&str>) -> Option<Result<Validated, Problems>> {
    let Object::RunnerScaleSet(spec) = &document.object else { return None };
    let mut report = Report::new(document);
    let name = scale_set_name(document, name, &mut report);
    let scale_set = scale_set(spec, name, &mut report);
    let Report { problems, warnings, .. } = report;
    Some(Problems::check(problems).map(|()| Validated { scale_set, warnings }))
}

fn scale_set(spec: &RunnerScaleSetSpec, name: String, report: &mut Report<'_>) -> ScaleSet {
    check_kubernetes_parts(spec, report);
    check_numbers(spec, &name, report);
    check_registration(spec, report);
    let layers = layers(spec, report);
    let nix = features::nix(spec, report);
    let docker = features::docker(spec, report);
    let container_hooks = container_hooks(spec, report);
    let caches = caches(spec, &name, nix.as_ref(), docker.as_ref(), report);
    check_hook_template(spec.container_mode, container_hooks, report);
    let root = FieldPath::root();
    let dind_image = spec.docker.as_ref().and_then(|docker| docker.image.as_deref());
    let document = report.document;
    let tree = |field: &str| document.spec_node(&root.key(field)).filter(|tree| !is_null(tree)).cloned();
    ScaleSet {
        name,
        namespace: document.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        names_namespace: document.namespace.is_some(),
        config_url: spec.github_config_url.clone(),
        config_secret: spec.github_config_secret.clone(),
        credentials: spec.credentials.clone(),
        runner_group: spec.runner_group.clone().unwrap_or_else(|| "default".to_owned()),
        labels: spec.labels.clone(),
        instances: spec.instances,
        min_runners: spec.min_runners.unwrap_or(0),
        max_runners: spec.max_runners.unwrap_or(MAX_RUNNERS_DEFAULT),
        mode: spec.container_mode,
        image: image(&root.key("image"), spec.image.as_deref(), DEFAULT_IMAGE, report),
        dind_image: image(&root.key("docker").key("image"), dind_image, DEFAULT_DIND_IMAGE, report),
        caches,
        nix,
        docker,
        container_hooks,
        run_as_root: spec.run_as_root.unwrap_or(false),
        job_started: spec.job_hooks.as_ref().and_then(|hooks| hooks.started.clone()),
        job_completed: spec.job_hooks.as_ref().and_then(|hooks| hooks.completed.clone()),
        placement: placement(spec),
        proxy: spec.proxy.as_ref().map(|proxy| features::proxy(proxy, report)),
        certificate_authority: spec.tls.as_ref().and_then(|tls| features::certificate_authority(tls, report)),
        timeouts: features::timeouts(spec, report),
        file: document.file.clone(),
        template: tree("template"),
        hook_template: tree("hookTemplate"),
        layers,
    }
}

/// The name: what the caller says, what the document says, what the file is called.
fn scale_set_name(document: &Document, given: Option<&str>, report: &mut Report<'_>) -> String {
    let stem = || {
        let stem = std::path::Path::new(&document.file).file_stem().and_then(|stem| stem.to_str());
        stem.map(label_from).filter(|label| !label.is_empty()).unwrap_or_else(|| DEFAULT_NAME.to_owned())
    };
    let name = given.map(str::to_owned).or_else(|| document.name.clone()).unwrap_or_else(stem);
    for (field, text) in [("name", Some(&name)), ("namespace", document.namespace.as_ref())] {
        if let Some(Err(reason)) = text.map(|text| dns_label(text, SCALE_SET_NAME_MAX)) {
            let message = format!("`{}` cannot be a {field}: {reason}", text.map_or("", String::as_str));
            let hint = "choose another; `--name` gives one for this run";
            report.problems.push(document.metadata_problem(Rule::Name.id(), field, message, hint));
        }
    }
    name
}

fn check_numbers(spec: &RunnerScaleSetSpec, name: &str, report: &mut Report<'_>) {
    let root = FieldPath::root();
    if let Some(instances) = spec.instances {
        if instances == 0 || instances > INSTANCES_MAX {
            let message = format!("there cannot be {instances} instances");
            let hint = format!("give 1 to {INSTANCES_MAX}, or remove it for one without a number");
            report.refuse(&root.key("instances"), Broken::new(Rule::Instances, message, hint));
        } else if name.len() + 1 + instances.to_string().len() > SCALE_SET_NAME_MAX {
            let message = format!("`{name}-{instances}` is longer than {SCALE_SET_NAME_MAX} characters");
            report.refuse(&root.key("instances"), Broken::new(Rule::Instances, message, "choose a shorter name"));
        }
    }
    let max = spec.max_runners.unwrap_or(MAX_RUNNERS_DEFAULT);
    if max == 0 {
        let broken = Broken::new(Rule::MaxRunners, "with 0 runners no job would ever start", "give 1 or more");
        report.refuse(&root.key("maxRunners"), broken);
    }
    let min = spec.min_runners.unwrap_or(0);
    if min > max {
        let message = format!("{min} idle runners are more than the {max} that there may be");
        let hint = format!("give `maxRunners: {min}` or more, or fewer `minRunners`");
        report.refuse(&root.key("minRunners"), Broken::new(Rule::MinRunners, message, hint));
    }
}

fn check_registration(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) {
    let root = FieldPath::root();
    if let Some(broken) = spec.github_config_url.as_deref().and_then(config_url_fault) {
        report.refuse(&root.key("githubConfigUrl"), broken);
    }
    if spec.github_config_secret.is_some() && spec.credentials.is_some() {
        let message = "`githubConfigSecret` and `credentials` exclude each other";
        let hint = "in a cluster keep the first, elsewhere the second";
        report.refuse(&root.key("credentials"), Broken::new(Rule::CredentialsBoth, message, hint));
    }
    if let Some(credentials) = &spec.credentials {
        let kinds = [credentials.pat_file.is_some(), credentials.pat_env.is_some(), credentials.app.is_some()];
        if kinds.into_iter().filter(|given| *given).count() != 1 {
            let message = "exactly one of `patFile`, `patEnv` and `app` is needed";
            let broken = Broken::new(Rule::CredentialsKind, message, "keep one of them");
            report.refuse(&root.key("credentials"), broken);
        }
        if credentials.app.as_ref().is_some_and(|app| app.id.is_some() == app.client_id.is_some()) {
            let message = "a GitHub App is named by exactly one of `id` and `clientId`";
            let broken = Broken::new(Rule::CredentialsKind, message, "keep one of them");
            report.refuse(&root.key("credentials").key("app"), broken);
        }
    }
    for (index, label) in spec.labels.iter().enumerate() {
        if label.trim().is_empty() || label.contains(|c: char| c.is_control() || c == ',') {
            let message = "a label must be printable, without commas, and not empty";
            let broken = Broken::new(Rule::Label, message, "name what a workflow writes behind `runs-on`");
            report.refuse(&root.key("labels").index(index), broken);
        }
    }
}

/// Whether a host may be spoken to without encryption is for whoever connects to say.
fn config_url_fault(url: &str) -> Option<Broken> {
    let options = ConfigUrlOptions { allow_http: true, ..ConfigUrlOptions::default() };
    let message = match ConfigUrl::parse(url, options).err()? {
        ConfigUrlError::Scheme(_) => "the URL must begin with `https://`",
        ConfigUrlError::PlainHttp(_) => "the URL would send credentials without encryption",
        ConfigUrlError::Form(_) => "the URL must be a host and a path, without user, query and fragment",
        ConfigUrlError::Path(_) => "the URL must point at an enterprise, an organisation or a repository",
    };
    let hint = "write `https://github.com/OWNER/REPOSITORY`, `…/ORGANISATION` or `…/enterprises/NAME`";
    Some(Broken::new(Rule::ConfigUrl, message, hint))
}

fn layers(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) -> Vec<LayerSource> {
    let mut layers = Vec::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        match (&layer.file, &layer.inline, &layer.config_map) {
            (Some(file), None, None) => layers.push(LayerSource::File(file.clone())),
            (None, Some(text), None) => layers.push(LayerSource::Inline(text.clone())),
            (None, None, Some(reference)) => layers.push(LayerSource::ConfigMap(reference.clone())),
            _ => {
                let message = "exactly one of `file`, `inline` and `configMap` is needed";
                let broken = Broken::new(Rule::LayerSource, message, "keep one of them");
                report.refuse(&FieldPath::root().key("layers").index(index), broken);
            }
        }
    }
    layers
}

fn container_hooks(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) -> bool {
    let path = FieldPath::root().key("containerHooks");
    match (spec.container_mode, spec.container_hooks) {
        (ContainerMode::Dind, Some(true)) => {
            let hint = "remove it, or choose another `containerMode`";
            report.refuse(&path, Broken::new(Rule::ModeHooks, "in mode `dind` Docker runs the containers", hint));
            false
        }
        (ContainerMode::Dind, _) => false,
        (ContainerMode::CachedPrivilegedKubernetes, given) => given.unwrap_or(true),
        (_, Some(false)) => {
            let message = "this mode runs every job by the container hooks";
            let hint = "remove it, or use mode `cached-privileged-kubernetes`, where they can be switched off";
            report.refuse(&path, Broken::new(Rule::ModeHooks, message, hint));
            true
        }
        _ => true,
    }
}

fn caches(
    spec: &RunnerScaleSetSpec,
    name: &str,
    nix: Option<&super::Nix>,
    docker: Option<&Docker>,
    report: &mut Report<'_>,
) -> Vec<Cache> {
    let first = if spec.instances.is_some() { format!("{name}-1") } else { name.to_owned() };
    let surroundings =
        Surroundings { scale_set: &first, mode: spec.container_mode, nix: nix.is_some(), docker: docker.is_some() };
    let validated = |(index, entry): (usize, &CachePath)| cache::validate(index, entry, surroundings, report);
    let mut caches: Vec<Cache> = spec.cache_paths.iter().enumerate().filter_map(validated).collect();
    cache_pairs::validate(&caches, &first, nix.is_some(), docker, report);
    if nix.is_some_and(|nix| nix.in_place) {
        // The Nix feature makes this very mount itself; `cache_pairs` has refused another store beside it.
        caches.retain(|cache| cache.target != "/nix/store");
    }
    caches
}

fn check_hook_template(mode: ContainerMode, container_hooks: bool, report: &mut Report<'_>) {
    let path = FieldPath::root().key("hookTemplate");
    let document = report.document;
    let empty = |tree: &&Tree| !is_null(tree) && !tree.entries().is_empty();
    let Some(template) = document.spec_node(&path).filter(empty) else { return };
    if !container_hooks {
        let message = match mode {
            ContainerMode::Dind => "there are no pods to apply it to: this mode has no container hooks",
            _ => "there are no pods to apply it to: `containerHooks` is switched off",
        };
        let hint = "remove it, or say `containerHooks: true` in a mode that has them";
        report.refuse(&path, Broken::new(Rule::HookTemplateUnused, message, hint));
    }
    hook_template::validate(template, report);
}

fn image(path: &FieldPath, given: Option<&str>, default: &str, report: &mut Report<'_>) -> String {
    let image = given.unwrap_or(default);
    if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("`{image}` is not an image");
        report.refuse(path, Broken::new(Rule::Image, message, format!("write a reference such as `{default}`")));
    }
    image.to_owned()
}

fn placement(spec: &RunnerScaleSetSpec) -> Placement {
    let value = |free: &FreeForm| free.0.clone();
    Placement {
        resources: spec.resources.as_ref().map(value),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.iter().map(value).collect(),
        affinity: spec.affinity.as_ref().map(value),
        priority_class_name: spec.priority_class_name.clone(),
        runtime_class_name: spec.runtime_class_name.clone(),
        image_pull_secrets: spec.image_pull_secrets.iter().map(value).collect(),
    }
}

/// The parts of the spec that are Kubernetes' own, checked against its types.
fn check_kubernetes_parts(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) {
    let root = FieldPath::root();
    check_part::<k8s::PodTemplateSpec>(&root.key("template"), Shape::Patch, report);
    check_part::<k8s::PodTemplateSpec>(&root.key("hookTemplate"), Shape::Patch, report);
    check_part::<k8s::ResourceRequirements>(&root.key("resources"), Shape::Whole, report);
    check_part::<k8s::Affinity>(&root.key("affinity"), Shape::Whole, report);
    for index in 0..spec.tolerations.len() {
        check_part::<k8s::Toleration>(&root.key("tolerations").index(index), Shape::Whole, report);
    }
    for index in 0..spec.image_pull_secrets.len() {
        check_part::<k8s::LocalObjectReference>(&root.key("imagePullSecrets").index(index), Shape::Whole, report);
    }
    for index in 0..spec.cache_paths.len() {
        let path = root.key("cachePaths").index(index).key("volume");
        check_part::<VolumeSource>(&path, Shape::Whole, report);
    }
}

/// A Kubernetes volume without its name.
struct VolumeSource;

impl JsonSchema for VolumeSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VolumeSource".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = k8s::Volume::json_schema(generator);
        schema.remove("required");
        schema
    }
}

fn check_part<T: JsonSchema>(path: &FieldPath, shape: Shape, report: &mut Report<'_>) {
    let document = report.document;
    if let Some(tree) = document.spec_node(path).filter(|tree| !is_null(tree)) {
        let full = document.spec_path.join(path);
        report.problems.extend(check::<T>(&document.file, tree, &full, shape));
    }
}

fn is_null(tree: &Tree) -> bool {
    tree.to_json() == Value::Null
}
