//! `RunnerScaleSet`: one kind of runner, as a user describes it.
//!
//! Everything optional is `Option`: defaults belong to the validated model, so that "not said" stays visible.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A kind of GitHub Actions runner: where it registers, what one looks like, how many there may be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunnerScaleSetSpec {
    /// URL of the repository, organisation or enterprise; GitHub Enterprise Server and `*.ghe.com` as well.
    pub github_config_url: Option<String>,
    /// Name of a Secret with `github_token`, or with `github_app_id`, `github_app_installation_id` and
    /// `github_app_private_key`. For objects in a cluster.
    pub github_config_secret: Option<String>,
    /// Where a standalone controller finds its credentials. Excludes `githubConfigSecret`.
    pub credentials: Option<Credentials>,
    /// Runner group at GitHub; `default` if unset.
    pub runner_group: Option<String>,
    /// More labels beside the name, where GitHub's side allows them.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Makes this many scale sets, `NAME-1` to `NAME-N`; one called `NAME` if unset.
    pub instances: Option<u32>,
    /// Idle runners kept ready beyond the assigned jobs; 0 if unset.
    pub min_runners: Option<u32>,
    /// The most runners at a time, per instance; also the number of slots. 4 if unset.
    pub max_runners: Option<u32>,
    /// How jobs are run.
    pub container_mode: ContainerMode,
    /// Image of the runner container.
    pub image: Option<String>,
    /// Directories of the host (or other volumes) that outlive the runner.
    #[serde(default)]
    pub cache_paths: Vec<CachePath>,
    /// The host's Nix store. On in `cached-privileged-kubernetes`.
    pub nix: Option<Nix>,
    /// Docker inside the runner. On in `cached-privileged-kubernetes`; part of `dind`.
    pub docker: Option<Docker>,
    /// A partial `PodTemplateSpec`, merged into the template of the pods that GitHub's container hooks make.
    pub hook_template: Option<FreeForm>,
    /// Runs the runner as uid 0 instead of the image's user.
    pub run_as_root: Option<bool>,
    /// Whether `container:` jobs become pods of their own. Can be switched off in `cached-privileged-kubernetes`.
    pub container_hooks: Option<bool>,
    /// Scripts that run in the runner before and after every job.
    pub job_hooks: Option<JobHooks>,
    /// Resource requests and limits of the runner container.
    pub resources: Option<FreeForm>,
    /// Labels a node must have.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the runner may stand.
    #[serde(default)]
    pub tolerations: Vec<FreeForm>,
    /// Affinity of the runner pod.
    pub affinity: Option<FreeForm>,
    /// Priority class of the runner pod.
    pub priority_class_name: Option<String>,
    /// Runtime class of the runner pod.
    pub runtime_class_name: Option<String>,
    /// Secrets for pulling images, each `{name: …}`.
    #[serde(default)]
    pub image_pull_secrets: Vec<FreeForm>,
    /// The way out through a proxy, for runners, their jobs, and what the controller asks GitHub for them. Outside of a cluster
    /// nobody can read `credentialsSecret`: there the controller goes the way of its environment.
    pub proxy: Option<Proxy>,
    /// Certificate authorities that the runner shall trust.
    pub tls: Option<Tls>,
    /// More layers, merged after `template` in this order.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// A partial `PodTemplateSpec`, merged over modes and features.
    pub template: Option<FreeForm>,
    /// How long each phase of a runner's life may take.
    pub timeouts: Option<Timeouts>,
}

/// How jobs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerMode {
    /// Jobs run in pods of their own that share a volume claim with the runner.
    Kubernetes,
    /// Jobs run in pods of their own; files are copied.
    KubernetesNovolume,
    /// Docker runs in a sidecar.
    Dind,
    /// Steps run in one privileged container with the host's Nix store and warm caches.
    CachedPrivilegedKubernetes,
}

impl ContainerMode {
    /// The name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::KubernetesNovolume => "kubernetes-novolume",
            Self::Dind => "dind",
            Self::CachedPrivilegedKubernetes => "cached-privileged-kubernetes",
        }
    }
}

/// Credentials of a standalone controller; exactly one of the three.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// File that holds a personal access token.
    pub pat_file: Option<String>,
    /// Environment variable that holds a personal access token.
    pub pat_env: Option<String>,
    /// A GitHub App.
    pub app: Option<AppCredentials>,
}

/// A GitHub App's installation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppCredentials {
    /// Numeric id of the App; or `clientId`.
    pub id: Option<u64>,
    /// Client id of the App; or `id`.
    pub client_id: Option<String>,
    /// Id of the installation.
    pub installation_id: u64,
    /// File with the App's private key in PEM form.
    pub private_key_file: String,
}

/// One cache: what is mounted where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CachePath {
    /// Directory of the host; empty for an emptyDir. May contain `{slot}` and `{scaleSet}`.
    pub source: Option<String>,
    /// Where it is mounted.
    pub target: String,
    /// What the source must be on the host; `DirectoryOrCreate` if unset.
    #[serde(rename = "type")]
    pub type_: Option<CacheType>,
    /// Mounts the cache read-only.
    pub read_only: Option<bool>,
    /// Whether only one live runner may hold the directory. On for caches that cannot be shared.
    pub exclusive: Option<bool>,
    /// Medium of an emptyDir: unset (disk) or `Memory`.
    pub medium: Option<String>,
    /// Largest size of an emptyDir, as a Kubernetes quantity.
    pub size_limit: Option<String>,
    /// Any Kubernetes volume source, instead of `source`.
    pub volume: Option<FreeForm>,
    /// Lifts the refusal of a host system directory as source.
    #[serde(default)]
    pub allow_system_path: bool,
}

/// What the source of a cache must be on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum CacheType {
    /// A directory; made (root, 0755) if it is missing.
    DirectoryOrCreate,
    /// A directory that is there.
    Directory,
    /// A file that is there.
    File,
    /// A file; made if it is missing.
    FileOrCreate,
    /// A socket that is there.
    Socket,
}

impl CacheType {
    /// The names of all of them, as users write them.
    pub const NAMES: [&'static str; 5] = ["DirectoryOrCreate", "Directory", "File", "FileOrCreate", "Socket"];
}

/// The host's Nix store in the runner.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nix {
    /// Whether the store and the daemon's socket are mounted.
    pub enabled: Option<bool>,
    /// Whether they are also mounted at their real paths, where store paths resolve. On if unset.
    pub in_place: Option<bool>,
    /// The profile whose `bin` is put on `PATH`; `/nix/var/nix/profiles/default` if unset.
    pub profile: Option<String>,
    /// `PATH` of the image, to which the profile is appended; that of GitHub's image if unset.
    pub search_path: Option<String>,
    /// Client-side `experimental-features`, such as `nix-command` and `flakes`.
    #[serde(default)]
    pub experimental_features: Vec<String>,
}

/// Docker inside the runner.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Docker {
    /// Whether the Docker data root and the tools that start the daemon are mounted.
    pub enabled: Option<bool>,
    /// Who starts the daemon; the workflow if unset.
    pub start: Option<DockerStart>,
    /// Image of the sidecar in mode `dind`.
    pub image: Option<String>,
}

/// Who starts the Docker daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DockerStart {
    /// The workflow, with `systemctl start docker` or `deskrun-docker start`.
    #[default]
    Workflow,
    /// The job-started hook, before every job.
    JobStarted,
}

/// Scripts around every job, run by `bash -e` as the runner's user in the runner container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobHooks {
    /// Script run before every job; a failure fails the job.
    pub started: Option<String>,
    /// Script run after every job; a failure fails the job.
    pub completed: Option<String>,
}

/// The way out through a proxy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// Proxy for `http://`, a URL without user and password.
    pub http: Option<String>,
    /// Proxy for `https://`, a URL without user and password.
    pub https: Option<String>,
    /// Hosts that are reached directly.
    #[serde(default)]
    pub no_proxy: Vec<String>,
    /// Name of a Secret with the keys `username` and `password`, both percent-encoded.
    pub credentials_secret: Option<String>,
}

/// Certificate authorities that the runner shall trust.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// The certificates.
    pub certificate_authority: Option<CertificateAuthority>,
}

/// Where certificates are found; exactly one of the two.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthority {
    /// The certificates themselves, in PEM form.
    pub inline: Option<String>,
    /// A key of a ConfigMap.
    pub config_map: Option<KeyReference>,
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyReference {
    /// Name of the object.
    pub name: String,
    /// Key in its data.
    pub key: String,
}

/// One more layer; exactly one of the three.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layer {
    /// A file, relative to the file that names it.
    pub file: Option<String>,
    /// The text of the layer.
    pub inline: Option<String>,
    /// A key of a ConfigMap.
    pub config_map: Option<KeyReference>,
}

/// How long each phase of a runner's life may take, as `90s`, `10m` or `1h30m`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// From creation to a running runner container; 10m if unset.
    pub start: Option<String>,
    /// From running to online at GitHub; 6m if unset.
    pub online: Option<String>,
    /// Idle beyond the wanted number; 10m if unset.
    pub idle: Option<String>,
    /// From the job's end to the container's; 3m if unset.
    pub completed: Option<String>,
    /// From SIGTERM to SIGKILL; 2m if unset, 3m in `cached-privileged-kubernetes`.
    pub grace: Option<String>,
}

/// A part of a Kubernetes object, kept as it was written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct FreeForm(pub serde_json::Value);

impl JsonSchema for FreeForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FreeForm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}
