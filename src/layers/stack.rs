//! Which layers make up the runners of a scale set, and in which order.

use super::builtin::template;
use super::preparation::Preparation;
use crate::crd::ContainerMode;
use crate::manifest::EngineKind;
use crate::scale_set::ScaleSet;
use crate::yaml::Tree;

/// The layers of a scale set, the first to be laid first.
#[derive(Clone, Debug)]
pub struct LayerStack {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether GitHub's container hooks are among them.
    pub hooks: bool,
    /// What happens in the pod before the runner starts.
    pub preparation: Preparation,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name, as `--explain` shows it.
    pub name: String,
    /// The file a person would open.
    pub file: String,
    /// What it says.
    pub text: LayerText,
    /// Whether it is the user's: only for those an override without effect is worth a word.
    pub users: bool,
}

/// What a layer says.
#[derive(Clone, Debug)]
pub enum LayerText {
    /// A template.
    Template(String),
    /// A part of the pod, taken as it stands in the user's file.
    Pod(Tree),
    /// A part of the hook template, taken as it stands in the user's file.
    HookTemplate(Tree),
}

/// A layer of the user's, its text read.
#[derive(Clone, Debug)]
pub struct UserLayer {
    /// Its name, as `--explain` shows it.
    pub name: String,
    /// The file it came from.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A scale set that an engine cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The mode's hooks need a cluster.
    #[error("Podman cannot run mode `{mode}`: its jobs run in pods that the container hooks ask a Kubernetes API for")]
    NeedsCluster {
        /// The mode.
        mode: &'static str,
    },
}

impl StackError {
    /// The way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NeedsCluster { .. } => "use mode `cached-privileged-kubernetes` or `dind` on a Podman host",
        }
    }
}

/// The layers of `scale_set` on an engine: base, mode, features, the user's, the engine's, ours.
pub fn stack(scale_set: &ScaleSet, engine: EngineKind, users: &[UserLayer]) -> Result<LayerStack, StackError> {
    if engine == EngineKind::Podman && !runs_without_cluster(scale_set.mode) {
        return Err(StackError::NeedsCluster { mode: scale_set.mode.name() });
    }
    let hooks = scale_set.container_hooks && engine == EngineKind::Kubernetes;
    let mut preparation = Preparation::of(scale_set, hooks, engine);
    preparation.hook_template_per_runner |= hooks && users.iter().any(names_runner_in_hook_template);
    let mut layers: Vec<Layer> = features(scale_set, hooks, &preparation).into_iter().map(built_in).collect();
    let from_spec = |name: &str, text| Layer { name: name.to_owned(), file: scale_set.file.clone(), text, users: true };
    if let Some(template) = &scale_set.template {
        layers.push(from_spec("template", LayerText::Pod(template.clone())));
    }
    if let (Some(template), true) = (&scale_set.hook_template, hooks) {
        layers.push(from_spec("hookTemplate", LayerText::HookTemplate(template.clone())));
    }
    layers.extend(users.iter().map(|layer| Layer {
        name: layer.name.clone(),
        file: layer.file.clone(),
        text: LayerText::Template(layer.text.clone()),
        users: true,
    }));
    if engine == EngineKind::Podman {
        layers.push(built_in("engine-podman"));
    }
    layers.push(built_in("deskrun"));
    Ok(LayerStack { layers, hooks, preparation })
}

/// Whether the hook template may have to be filled in for every runner because of this layer.
fn names_runner_in_hook_template(layer: &UserLayer) -> bool {
    layer.text.contains("PodTemplate") && layer.text.contains("runner")
}

fn features(scale_set: &ScaleSet, hooks: bool, preparation: &Preparation) -> Vec<&'static str> {
    let mode = match scale_set.mode {
        ContainerMode::Kubernetes => "container-mode-kubernetes",
        ContainerMode::KubernetesNovolume => "container-mode-kubernetes-novolume",
        ContainerMode::Dind => "container-mode-dind",
        ContainerMode::CachedPrivilegedKubernetes => "container-mode-cached-privileged-kubernetes",
    };
    let job_hooks = scale_set.job_started.is_some() || scale_set.job_completed.is_some() || scale_set.docker.is_some();
    let proxy = scale_set.proxy.as_ref();
    let optional = [
        (scale_set.run_as_root, "feature-run-as-root"),
        (scale_set.nix.is_some(), "feature-nix"),
        (scale_set.docker.is_some(), "feature-docker"),
        (!scale_set.caches.is_empty(), "feature-cache-paths"),
        (!preparation.is_empty(), "feature-prepare"),
        (hooks, "feature-hooks"),
        (job_hooks, "feature-job-hooks"),
        (proxy.is_some_and(|proxy| !proxy.is_empty()), "feature-proxy"),
        (scale_set.certificate_authority.is_some(), "feature-tls"),
    ];
    let mut names = vec!["base", mode];
    names.extend(optional.into_iter().filter(|(on, _)| *on).map(|(_, name)| name));
    names
}

fn runs_without_cluster(mode: ContainerMode) -> bool {
    matches!(mode, ContainerMode::Dind | ContainerMode::CachedPrivilegedKubernetes)
}

fn built_in(name: &str) -> Layer {
    // Every name above is one of the embedded templates; a test walks all of them.
    let (file, text) = template(name)
        .map_or((String::new(), String::new()), |template| (template.file.to_owned(), template.text.to_owned()));
    Layer { name: name.to_owned(), file, text: LayerText::Template(text), users: false }
}
