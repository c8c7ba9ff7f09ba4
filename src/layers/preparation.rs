//! What must be done inside the pod before the runner starts, and what the pods of `container:` jobs share with it.

use crate::crd::{CacheType, ContainerMode};
use crate::manifest::EngineKind;
use crate::scale_set::{BuiltIn, Cache, ScaleSet, Storage, is_data_root};

/// The work of the init container, and the caches that job pods get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Directories that must be given to the runner's user: volume, and path in the init container.
    pub chown: Vec<(String, String)>,
    /// The Docker tools are copied to where `sudo` finds them.
    pub tools: bool,
    /// Job pods must run on the runner's node, for they share directories of it.
    pub pin: bool,
    /// The hook template differs from runner to runner.
    pub hook_template_per_runner: bool,
}

impl Preparation {
    /// What the runners of a scale set need on an engine, with the container hooks on or off.
    pub fn of(scale_set: &ScaleSet, hooks: bool, engine: EngineKind) -> Self {
        let in_job = || scale_set.caches.iter().filter(|cache| hooks && is_in_job(cache, scale_set.mode));
        let on_node = |cache: &Cache| match &cache.storage {
            Storage::HostPath { .. } => true,
            // A claim is attached to one node at a time, unless its class says otherwise.
            Storage::Volume(volume) => volume.get("persistentVolumeClaim").is_some(),
            Storage::EmptyDir { .. } => false,
        };
        // The hooks of mode `kubernetes` place the job's pod on the runner's node themselves.
        let places_itself = scale_set.mode == ContainerMode::Kubernetes;
        let pin = hooks && !places_itself && (scale_set.nix.is_some() || in_job().any(on_node));
        Self {
            chown: if scale_set.run_as_root { Vec::new() } else { chown(scale_set, engine) },
            tools: scale_set.docker.is_some(),
            pin,
            hook_template_per_runner: pin || in_job().any(|cache| cache.exclusive),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.chown.is_empty() && !self.tools && !self.hook_template_per_runner
    }
}

/// Whether pods of `container:` jobs get the cache as well. Not the work folder, which is the hook's; not the host's
/// Docker socket; and in the flagship mode not the data roots, which the runner's own daemon may hold.
pub fn is_in_job(cache: &Cache, mode: ContainerMode) -> bool {
    let data_root = is_data_root(&cache.target) && mode == ContainerMode::CachedPrivilegedKubernetes;
    cache.replaces != Some(BuiltIn::Work) && !is_socket(cache) && cache.target != "/nix/store" && !data_root
}

fn chown(scale_set: &ScaleSet, engine: EngineKind) -> Vec<(String, String)> {
    // The kubelet gives emptyDirs to everyone; Podman makes them like any volume, for root.
    let empty_dirs = engine == EngineKind::Podman;
    let mut chown = Vec::new();
    if empty_dirs && !scale_set.caches.iter().any(|cache| cache.replaces == Some(BuiltIn::Work)) {
        chown.push(("work".to_owned(), "/caches/work".to_owned()));
    }
    for cache in scale_set.caches.iter().filter(|cache| cache.chown) {
        let wanted = match &cache.storage {
            Storage::HostPath { type_, .. } => {
                !matches!(type_, Some(CacheType::Socket | CacheType::File | CacheType::FileOrCreate))
            }
            Storage::EmptyDir { .. } => empty_dirs,
            // The kubelet gives these to the pod's fsGroup; Podman has only claims, and no such thing.
            Storage::Volume(volume) => empty_dirs && volume.get("persistentVolumeClaim").is_some(),
        };
        if wanted {
            chown.push((cache.volume.clone(), format!("/caches/{}", cache.index)));
        }
    }
    chown
}

fn is_socket(cache: &Cache) -> bool {
    matches!(&cache.storage, Storage::HostPath { type_: Some(CacheType::Socket), .. })
}
