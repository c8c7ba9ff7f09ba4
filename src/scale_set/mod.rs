//! The validated model: a [`ScaleSet`] is a spec that cannot be wrong any more.
//!
//! [`validate()`] takes a typed document and reports every broken [`Rule`] with its field path; whoever holds a
//! [`ScaleSet`] does not check anything again. No templates, no files, no network.

mod cache;
mod cache_pairs;
mod cache_source;
mod cache_target;
mod features;
mod hook_template;
mod name;
mod path;
mod report;
mod rule;
mod slot;
mod together;
mod validate;

use std::collections::BTreeMap;

use serde_json::Value;

pub use cache::{BuiltIn, Cache, Storage};
pub use cache_target::is_data_root;
pub use features::{CertificateAuthority, Docker, Nix, Proxy, ProxyUrl, Timeouts};
pub use hook_template::hook_template_problems;
pub use name::{RUNNER_NAME_MAX, RunnerName, RunnerNameError};
pub use rule::Rule;
pub use slot::{SlotText, Source, slot_suffix};
pub use together::{Placed, check_together};
pub use validate::{Validated, validate};

use crate::crd::{ContainerMode, Credentials, KeyReference};
use crate::yaml::Tree;

/// A runner scale set as the user meant it.
#[derive(Clone, Debug)]
pub struct ScaleSet {
    /// Name of the resource; with `instances` the scale sets are called after it.
    pub name: String,
    /// Namespace of the objects on Kubernetes.
    pub namespace: String,
    /// Whether the resource says so itself.
    pub names_namespace: bool,
    /// URL of the repository, organisation or enterprise.
    pub config_url: Option<String>,
    /// Name of the Secret with credentials, in a cluster.
    pub config_secret: Option<String>,
    /// Where credentials are, standalone.
    pub credentials: Option<Credentials>,
    /// Runner group at GitHub.
    pub runner_group: String,
    /// Labels beside the name.
    pub labels: Vec<String>,
    /// How many scale sets there are; one without a number if `None`.
    pub instances: Option<u32>,
    /// Idle runners kept ready, per instance.
    pub min_runners: u32,
    /// The most runners, per instance.
    pub max_runners: u32,
    /// How jobs are run.
    pub mode: ContainerMode,
    /// Image of the runner.
    pub image: String,
    /// Image of Docker's sidecar in mode `dind`.
    pub dind_image: String,
    /// The caches, in the order of the spec.
    pub caches: Vec<Cache>,
    /// The Nix feature, where it is on.
    pub nix: Option<Nix>,
    /// The Docker feature of the flagship mode, where it is on.
    pub docker: Option<Docker>,
    /// Whether `container:` jobs become pods.
    pub container_hooks: bool,
    /// Run as uid 0.
    pub run_as_root: bool,
    /// Script before every job.
    pub job_started: Option<String>,
    /// Script after every job.
    pub job_completed: Option<String>,
    /// Where and how the pod is placed.
    pub placement: Placement,
    /// The proxy, if any.
    pub proxy: Option<Proxy>,
    /// Certificates to trust, if any.
    pub certificate_authority: Option<CertificateAuthority>,
    /// Timers of a runner's life.
    pub timeouts: Timeouts,
    /// The file the spec came from, as the user named it.
    pub file: String,
    /// The user's template, with its positions.
    pub template: Option<Tree>,
    /// The user's hook template, with its positions.
    pub hook_template: Option<Tree>,
    /// The user's layers, in order; their text is not read yet.
    pub layers: Vec<LayerSource>,
}

/// Where the text of a user's layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerSource {
    /// In a file, relative to the file that names it.
    File(String),
    /// In the spec itself.
    Inline(String),
    /// In a key of a ConfigMap.
    ConfigMap(KeyReference),
}

/// Placement and resources, as Kubernetes spells them.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Resources of the runner container.
    pub resources: Option<Value>,
    /// Labels a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pod stands.
    pub tolerations: Vec<Value>,
    /// Affinity of the pod.
    pub affinity: Option<Value>,
    /// Priority class.
    pub priority_class_name: Option<String>,
    /// Runtime class.
    pub runtime_class_name: Option<String>,
    /// Secrets for pulling images.
    pub image_pull_secrets: Vec<Value>,
}

/// One scale set at GitHub: an instance of a [`ScaleSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The name at GitHub, which is what `runs-on` says.
    pub name: String,
    /// Its number, counted from 1; `None` without `instances`.
    pub number: Option<u32>,
}

impl ScaleSet {
    /// The scale sets this one stands for.
    pub fn instances(&self) -> Vec<Instance> {
        match self.instances {
            None => vec![Instance { name: self.name.clone(), number: None }],
            Some(count) => (1..=count)
                .map(|number| Instance { name: format!("{}-{number}", self.name), number: Some(number) })
                .collect(),
        }
    }
}

impl Instance {
    /// The pools of directories from which a runner of this instance needs a slot, each once.
    pub fn slot_pools(&self, scale_set: &ScaleSet) -> Vec<String> {
        let replaced = scale_set.caches.iter().any(|cache| cache.replaces == Some(BuiltIn::DockerCache));
        let docker = scale_set.docker.as_ref().filter(|_| !replaced).map(|docker| docker.source.pool(&self.name));
        let caches = scale_set.caches.iter().filter(|cache| cache.exclusive).filter_map(|cache| match &cache.storage {
            Storage::HostPath { source, .. } => Some(source.pool(&self.name)),
            // A claim is of its namespace.
            Storage::Volume(volume) => {
                let volume = volume.to_string().replace("{scaleSet}", &self.name);
                Some(format!("{}/{volume}", scale_set.namespace))
            }
            Storage::EmptyDir { .. } => None,
        });
        let mut pools: Vec<String> = caches.chain(docker).collect();
        pools.sort();
        pools.dedup();
        pools
    }
}
