//! One cache of a scale set, validated on its own.
//!
//! From a `cachePaths` entry to a [`Cache`]: what is mounted where, under which volume name, shared or exclusive.

use serde_json::Value;

use super::cache_source::{NIX_STORE as NIX_STORE_OF_HOST, storage};
use super::cache_target::{
    self, DOCKER, NIX_DAEMON_SOCKET, NIX_STORE, WORK, check_nix_store, check_reserved, is_data_root, is_docker_socket,
    is_exclusive_by_default, is_forced_exclusive,
};
use super::path::is_in;
use super::report::{Broken, Report};
use super::rule::Rule;
use super::slot::Source;
use crate::crd::{CachePath, CacheType, ContainerMode};
use crate::problem::FieldPath;

/// A cache that is mounted into every runner of a scale set.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Position in `cachePaths`.
    pub index: usize,
    /// Name of the volume.
    pub volume: String,
    /// Where it is mounted.
    pub target: String,
    /// What it is made of.
    pub storage: Storage,
    /// Mounted read-only.
    pub read_only: bool,
    /// Only one live runner may hold a directory of it.
    pub exclusive: bool,
    /// The mount of a mode or feature whose source this entry replaces.
    pub replaces: Option<BuiltIn>,
    /// Its directory is a cache made for runners, so it may be given to the runner's user: not the host's Nix, not a
    /// system directory, not a data root.
    pub chown: bool,
}

/// What a cache is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// A fresh directory for every runner.
    EmptyDir {
        /// `Memory` for a tmpfs.
        medium: Option<String>,
        /// A Kubernetes quantity.
        size_limit: Option<String>,
    },
    /// A directory, file or socket of the host.
    HostPath {
        /// The path, with slots if the cache is exclusive.
        source: Source,
        /// What it must be; `None` if the user does not say.
        type_: Option<CacheType>,
    },
    /// Another Kubernetes volume source.
    Volume(Value),
}

/// A mount that modes and features make themselves, and whose source a user may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// The host's Nix store.
    NixStore,
    /// The directory of the Nix daemon's socket.
    NixDaemonSocket,
    /// Docker's data root in the runner.
    DockerCache,
    /// Docker's data root in the sidecar of mode `dind`.
    DockerData,
    /// The work folder.
    Work,
}

impl BuiltIn {
    /// The built-in mount at a target, in a mode.
    fn at(target: &str, surroundings: Surroundings<'_>) -> Option<Self> {
        use ContainerMode::{CachedPrivilegedKubernetes, Dind};
        match (target, surroundings.mode) {
            (NIX_STORE, CachedPrivilegedKubernetes) => Some(Self::NixStore),
            (NIX_DAEMON_SOCKET, CachedPrivilegedKubernetes) => Some(Self::NixDaemonSocket),
            // Without the Docker feature it is a cache like any other.
            (DOCKER, CachedPrivilegedKubernetes) if surroundings.docker => Some(Self::DockerCache),
            (DOCKER, Dind) => Some(Self::DockerData),
            (WORK, _) => Some(Self::Work),
            _ => None,
        }
    }

    /// The name of its volume (`runner-pods.md` 2).
    pub fn volume(self) -> &'static str {
        match self {
            Self::NixStore => "nix-store",
            Self::NixDaemonSocket => "nix-daemon-socket",
            Self::DockerCache => "docker-cache",
            Self::DockerData => "docker-data",
            Self::Work => "work",
        }
    }

    fn is_nix(self) -> bool {
        matches!(self, Self::NixStore | Self::NixDaemonSocket)
    }
}

/// What an entry needs to know of the rest of the spec.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) scale_set: &'a str,
    pub(super) mode: ContainerMode,
    pub(super) nix: bool,
    pub(super) docker: bool,
}

/// The cache of one entry, or its refusals in the report.
pub(super) fn validate(
    index: usize,
    entry: &CachePath,
    surroundings: Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Cache> {
    let path = FieldPath::root().key("cachePaths").index(index);
    let before = report.problems.len();
    let target = report.accept(&path.key("target"), cache_target::parse(&entry.target));
    if let Some(target) = &target {
        report.accept(&path.key("target"), check_target(target, entry, surroundings.mode));
    }
    let storage = storage(entry, surroundings.scale_set).map_err(|broken| (blamed_field(entry, broken.rule), broken));
    let storage = storage.map_err(|(field, broken)| report.refuse(&path.key(field), broken)).ok();
    let (target, storage) = (target?, storage?);
    let replaces = BuiltIn::at(&target, surroundings);
    if let Some(built_in) = replaces {
        report.accept(&path, check_built_in(built_in, entry, &storage, surroundings));
    }
    let exclusive = report.accept(&path.key("exclusive"), is_exclusive(&target, entry, &storage));
    report.accept(&path, check_data_root(&target, entry, &storage));
    if report.problems.len() > before {
        return None;
    }
    warn(&path, &target, &storage, replaces, report);
    let from_nix = matches!(&storage, Storage::HostPath { source, .. } if is_in(source.as_written(), "/nix"));
    let from_store =
        matches!(&storage, Storage::HostPath { source, .. } if is_in(source.as_written(), NIX_STORE_OF_HOST));
    let read_only = entry.read_only.unwrap_or(replaces == Some(BuiltIn::NixStore) || from_store);
    let storage = if from_nix { existing(storage) } else { storage };
    let nix = from_nix || replaces.is_some_and(BuiltIn::is_nix);
    let chown = !read_only && !nix && !entry.allow_system_path && !is_data_root(&target);
    let volume = replaces.map_or_else(|| format!("cache-{index}"), |built_in| built_in.volume().to_owned());
    let storage = with_slots(storage, exclusive?);
    Some(Cache { index, volume, target, storage, read_only, exclusive: exclusive?, replaces, chown })
}

/// The field of the entry that a rule about its storage is about.
fn blamed_field(entry: &CachePath, rule: Rule) -> &'static str {
    match rule {
        Rule::CacheTypeWithoutSource => "type",
        Rule::CacheMedium => "medium",
        Rule::CacheEmptyDirOption if entry.medium.is_some() => "medium",
        Rule::CacheEmptyDirOption | Rule::CacheSizeLimit => "sizeLimit",
        _ if entry.volume.is_some() => "volume",
        _ => "source",
    }
}

fn check_target(target: &str, entry: &CachePath, mode: ContainerMode) -> Result<(), Broken> {
    if is_docker_socket(target) {
        let is_socket = entry.type_ == Some(CacheType::Socket);
        return match mode {
            ContainerMode::Dind => Err(Broken::new(
                Rule::CacheTargetDockerSocket,
                format!("the target `{target}` is the sidecar's socket in mode `dind`"),
                "remove the entry, or use another mode",
            )),
            _ if is_socket => Ok(()),
            _ => Err(docker_socket(target)),
        };
    }
    if target == WORK && entry.read_only == Some(true) {
        return Err(Broken::new(
            Rule::CacheTargetWorkReadOnly,
            "a runner cannot work in a read-only work folder",
            "remove `readOnly`",
        ));
    }
    check_nix_store(target, entry.source.as_deref(), entry.read_only)?;
    check_reserved(target)?;
    let ephemeral = entry.volume.as_ref().is_some_and(|volume| volume.0.get("ephemeral").is_some());
    if mode == ContainerMode::Kubernetes && target == WORK && !ephemeral {
        return Err(Broken::new(
            Rule::CacheTargetWorkClaim,
            "in mode `kubernetes` the work folder is a claim that the job's pod shares",
            "write `volume: {ephemeral: {volumeClaimTemplate: …}}` to choose its class and size",
        ));
    }
    Ok(())
}

fn docker_socket(target: &str) -> Broken {
    Broken::new(
        Rule::CacheTargetDockerSocket,
        format!("the target `{target}` is the host's Docker socket"),
        "if you mean it, say `type: Socket`; every job is then root on the host",
    )
}

fn check_built_in(
    built_in: BuiltIn,
    entry: &CachePath,
    storage: &Storage,
    surroundings: Surroundings<'_>,
) -> Result<(), Broken> {
    if !built_in.is_nix() {
        return Ok(());
    }
    let target = &entry.target;
    if !surroundings.nix {
        return Err(Broken::new(
            Rule::CacheNixDisabled,
            format!("`{target}` is a mount of the Nix feature, which is switched off"),
            "remove `nix.enabled: false`, or this entry",
        ));
    }
    let fixed = |message: &str, hint: &str| Err(Broken::new(Rule::CacheNixFixed, message.to_owned(), hint));
    match storage {
        Storage::HostPath { type_: None | Some(CacheType::Directory), .. } => {}
        Storage::HostPath { .. } => return fixed("a Nix mount is of type `Directory`", "remove `type`"),
        _ => return fixed("a Nix mount needs a directory of the host", "give the path of the host's store"),
    }
    if built_in == BuiltIn::NixStore && entry.read_only == Some(false) {
        return fixed("the host's Nix store is mounted read-only", "remove `readOnly: false`; builds go to the daemon");
    }
    if built_in == BuiltIn::NixDaemonSocket && entry.read_only.is_some() {
        return fixed("the socket's directory is mounted as it is", "remove `readOnly`");
    }
    if entry.exclusive == Some(true) {
        return fixed("the host's Nix store is shared by all runners", "remove `exclusive: true`");
    }
    Ok(())
}

/// Whether only one runner may hold the cache.
fn is_exclusive(target: &str, entry: &CachePath, storage: &Storage) -> Result<bool, Broken> {
    let read_only = entry.read_only == Some(true);
    let exclusive = entry.exclusive.unwrap_or(is_exclusive_by_default(target) && !read_only);
    if is_per_pod(storage) {
        return match entry.exclusive {
            Some(true) => Err(Broken::new(
                Rule::CacheExclusiveEmptyDir,
                "this volume belongs to one pod already",
                "remove `exclusive`, or give a source",
            )),
            _ => Ok(false),
        };
    }
    if !exclusive && is_forced_exclusive(target) && !read_only {
        return Err(Broken::new(
            Rule::CacheExclusiveForced,
            format!("two runners at a time would destroy what is in `{target}`"),
            "remove `exclusive: false`; every runner gets a slot of its own",
        ));
    }
    let named = |text: &str| {
        Broken::new(
            Rule::CacheSlotShared,
            format!("`{{slot}}` in {text} makes a directory per runner"),
            "remove `exclusive: false`, or `{slot}`",
        )
    };
    match storage {
        Storage::HostPath { source, .. } if source.has_slots() && entry.exclusive == Some(false) => {
            Err(named("the source"))
        }
        Storage::HostPath { source, .. } => Ok(exclusive || source.has_slots()),
        Storage::Volume(volume) if volume.to_string().contains("{slot}") => match entry.exclusive {
            Some(false) => Err(named("the volume")),
            _ => Ok(true),
        },
        _ if exclusive => Err(Broken::new(
            Rule::CacheExclusiveVolume,
            "an exclusive volume needs one source per slot",
            "put `{slot}` into its source, such as `claimName: docker-{slot}`",
        )),
        _ => Ok(false),
    }
}

fn is_per_pod(storage: &Storage) -> bool {
    match storage {
        Storage::EmptyDir { .. } => true,
        Storage::HostPath { .. } => false,
        Storage::Volume(volume) => ["emptyDir", "ephemeral"].iter().any(|kind| volume.get(kind).is_some()),
    }
}

fn check_data_root(target: &str, entry: &CachePath, storage: &Storage) -> Result<(), Broken> {
    const NETWORK: &[&str] = &["nfs", "glusterfs", "cephfs", "azureFile", "quobyte"];
    if !is_data_root(target) {
        return Ok(());
    }
    if entry.read_only == Some(true) {
        return Err(Broken::new(
            Rule::CacheDockerReadOnly,
            format!("a daemon cannot work on a read-only `{target}`"),
            "remove `readOnly`; every runner gets a slot of its own",
        ));
    }
    match storage {
        Storage::Volume(volume) if NETWORK.iter().any(|kind| volume.get(kind).is_some()) => Err(Broken::new(
            Rule::CacheDockerNetwork,
            format!("`{target}` does not work on a network file system"),
            "give a directory of a local disk as `source`",
        )),
        _ => Ok(()),
    }
}

fn warn(path: &FieldPath, target: &str, storage: &Storage, replaces: Option<BuiltIn>, report: &mut Report<'_>) {
    let from_socket = matches!(storage, Storage::HostPath { source, .. } if is_docker_socket(source.as_written()));
    if is_docker_socket(target) || from_socket {
        let message = "every job is root on the host through its Docker socket, and leaves containers there";
        report.warn("cache-docker-socket", path, message.to_owned(), "let the workflow start a Docker of its own");
    }
    // The runtime makes missing parents of a mount point for root, and then nothing else can be put beside it.
    let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
    if parent.starts_with("/home/runner/") && parent != WORK {
        let message =
            format!("`{parent}` will belong to root, unless the image has it: only `{target}` can be written");
        report.warn("cache-target-parent", path, message, format!("mount `{parent}` itself"));
    }
    if let (Some(BuiltIn::NixStore), Storage::HostPath { source, .. }) = (replaces, storage)
        && source.as_written() != "/nix/store"
    {
        let message = format!("`{}` works only if it is the host's Nix store", source.as_written());
        report.warn("cache-nix-store", path, message, "a store needs its database: bind-mount `/nix/store` there");
    }
}

/// What belongs to the host's Nix is never made if it is missing.
fn existing(storage: Storage) -> Storage {
    match storage {
        Storage::HostPath { source, type_ } => {
            Storage::HostPath { source, type_: Some(type_.unwrap_or(CacheType::Directory)) }
        }
        other => other,
    }
}

fn with_slots(storage: Storage, exclusive: bool) -> Storage {
    match storage {
        Storage::HostPath { source, type_ } if exclusive => Storage::HostPath { source: source.with_slots(), type_ },
        other => other,
    }
}
