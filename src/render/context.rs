//! The variables that layers see.
//!
//! This is a contract with the authors of layers: names are only added. README lists them.

use serde::Serialize;
use serde_json::{Value, json};

use super::hole::Hole;
use super::prepare::Request;
use super::short_hash::short_hash;
use crate::crd::{CacheType, ContainerMode, DockerStart};
use crate::layers::is_in_job;
use crate::manifest::{EngineKind, OwnerReference};
use crate::scale_set::{BuiltIn, Cache, CertificateAuthority, ScaleSet, SlotText, Source, Storage};

/// Everything a layer may use.
#[derive(Serialize)]
pub(super) struct Context<'a> {
    version: &'static str,
    engine: &'static str,
    controller: &'a str,
    owner: Option<&'a OwnerReference>,
    mode: &'static str,
    image: &'a str,
    dind_image: &'a str,
    run_as_root: bool,
    scale_set: ScaleSetContext<'a>,
    runner: &'a RunnerTexts,
    timeouts: Value,
    placement: Value,
    caches: Vec<CacheContext<'a>>,
    nix: Value,
    docker: Value,
    prepare: Value,
    hooks: Value,
    job_hooks: Value,
    proxy: Value,
    certificate_authority: Value,
}

/// What is known of the single runner, as text: holes while preparing.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RunnerTexts {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) slot: String,
    pub(super) slot_suffix: String,
    pub(super) node: String,
}

impl RunnerTexts {
    pub(super) fn holes() -> Self {
        Self {
            name: Hole::Name.token(),
            id: Hole::Id.token(),
            slot: Hole::Slot.token(),
            slot_suffix: Hole::SlotSuffix.token(),
            node: Hole::Node.token(),
        }
    }

    fn slot_text(&self) -> SlotText<'_> {
        SlotText { number: &self.slot, suffix: &self.slot_suffix }
    }
}

#[derive(Serialize)]
struct ScaleSetContext<'a> {
    name: &'a str,
    resource: &'a str,
    instance: u32,
    namespace: &'a str,
    config_url_hash: String,
    slot_pools: Vec<String>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that templates test by name")]
struct CacheContext<'a> {
    volume: &'a str,
    target: &'a str,
    /// The key of the volume source.
    kind: String,
    source: String,
    r#type: &'static str,
    empty_dir: Value,
    volume_source: Value,
    read_only: bool,
    exclusive: bool,
    replaces: bool,
    socket: bool,
    claimed: bool,
    in_job: bool,
}

impl<'a> Context<'a> {
    pub(super) fn new(request: &Request<'a>, runner: &'a RunnerTexts) -> Self {
        let Request { scale_set, instance, engine, stack, controller, owner } = *request;
        let preparation = &stack.preparation;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            engine: match engine {
                EngineKind::Kubernetes => "kubernetes",
                EngineKind::Podman => "podman",
            },
            controller,
            owner,
            mode: scale_set.mode.name(),
            image: &scale_set.image,
            dind_image: &scale_set.dind_image,
            run_as_root: scale_set.run_as_root,
            scale_set: ScaleSetContext {
                name: &instance.name,
                resource: &scale_set.name,
                instance: instance.number.unwrap_or(0),
                namespace: &scale_set.namespace,
                config_url_hash: scale_set.config_url.as_deref().map_or_else(|| "none".to_owned(), config_url_hash),
                slot_pools: instance.slot_pools(scale_set),
            },
            timeouts: json!({"grace": scale_set.timeouts.grace.as_secs()}),
            placement: placement(scale_set),
            caches: scale_set.caches.iter().map(|cache| cache_context(cache, request, runner)).collect(),
            nix: nix(scale_set),
            docker: docker(scale_set, &instance.name, runner),
            prepare: json!({
                "chown": preparation.chown.iter().map(|(volume, path)| json!({"volume": volume, "path": path})).collect::<Vec<_>>(),
                "tools": preparation.tools,
            }),
            hooks: json!({
                "enabled": stack.hooks,
                "path": if scale_set.mode == ContainerMode::Kubernetes { "/home/runner/k8s/index.js" } else { "/home/runner/k8s-novolume/index.js" },
                "pin": preparation.pin,
                "per_runner": preparation.hook_template_per_runner,
            }),
            job_hooks: job_hooks(scale_set),
            proxy: proxy(scale_set),
            certificate_authority: certificate_authority(scale_set, &instance.name),
            runner,
        }
    }
}

fn cache_context<'a>(cache: &'a Cache, request: &Request<'a>, runner: &RunnerTexts) -> CacheContext<'a> {
    let mut context = CacheContext {
        volume: &cache.volume,
        target: &cache.target,
        kind: String::new(),
        source: String::new(),
        r#type: "",
        empty_dir: json!({}),
        volume_source: Value::Null,
        read_only: cache.read_only,
        exclusive: cache.exclusive,
        replaces: cache.replaces.is_some(),
        socket: matches!(cache.storage, Storage::HostPath { type_: Some(CacheType::Socket), .. }),
        claimed: cache.chown && matches!(cache.storage, Storage::Volume(_)),
        in_job: is_in_job(cache, request.scale_set.mode),
    };
    match &cache.storage {
        Storage::EmptyDir { medium, size_limit } => {
            "emptyDir".clone_into(&mut context.kind);
            let options = [("medium", medium), ("sizeLimit", size_limit)];
            let given = options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
            context.empty_dir = Value::Object(given.collect());
        }
        Storage::HostPath { source, type_ } => {
            "hostPath".clone_into(&mut context.kind);
            context.source = source.expand(&request.instance.name, runner.slot_text());
            context.r#type = type_name(*type_, cache.replaces);
        }
        Storage::Volume(volume) => {
            let source = volume.as_object().and_then(|volume| volume.iter().next());
            if let Some((kind, source)) = source {
                context.kind.clone_from(kind);
                context.volume_source = expand_strings(source, &request.instance.name, runner);
            }
        }
    }
    context
}

fn type_name(given: Option<CacheType>, replaces: Option<BuiltIn>) -> &'static str {
    match (given, replaces) {
        (Some(CacheType::Directory), _) | (None, Some(BuiltIn::NixStore | BuiltIn::NixDaemonSocket)) => "Directory",
        (Some(CacheType::File), _) => "File",
        (Some(CacheType::FileOrCreate), _) => "FileOrCreate",
        (Some(CacheType::Socket), _) => "Socket",
        (Some(CacheType::DirectoryOrCreate) | None, _) => "DirectoryOrCreate",
    }
}

/// `{slot}` and `{scaleSet}` in any text of a volume source, such as a claim's name.
fn expand_strings(value: &Value, scale_set: &str, runner: &RunnerTexts) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("{slot}", &runner.slot).replace("{scaleSet}", scale_set)),
        Value::Array(items) => items.iter().map(|item| expand_strings(item, scale_set, runner)).collect(),
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), expand_strings(value, scale_set, runner))).collect(),
        ),
        other => other.clone(),
    }
}

fn placement(scale_set: &ScaleSet) -> Value {
    let placement = &scale_set.placement;
    json!({
        "resources": placement.resources,
        "node_selector": placement.node_selector,
        "tolerations": placement.tolerations,
        "affinity": placement.affinity,
        "priority_class_name": placement.priority_class_name,
        "runtime_class_name": placement.runtime_class_name,
        "image_pull_secrets": placement.image_pull_secrets,
    })
}

fn nix(scale_set: &ScaleSet) -> Value {
    scale_set.nix.as_ref().map_or(Value::Null, |nix| {
        json!({
            "in_place": nix.in_place,
            "profile": nix.profile,
            "search_path": nix.search_path,
            "experimental_features": nix.experimental_features,
        })
    })
}

fn docker(scale_set: &ScaleSet, name: &str, runner: &RunnerTexts) -> Value {
    let source = |source: &Source| source.expand(name, runner.slot_text());
    scale_set.docker.as_ref().map_or(Value::Null, |docker| json!({"source": source(&docker.source)}))
}

fn job_hooks(scale_set: &ScaleSet) -> Value {
    let docker_start = scale_set.docker.as_ref().is_some_and(|docker| docker.start == DockerStart::JobStarted);
    let docker_finish = scale_set.docker.is_some();
    json!({
        "started": scale_set.job_started,
        "completed": scale_set.job_completed,
        "docker_start": docker_start,
        "docker_finish": docker_finish,
        "started_any": docker_start || scale_set.job_started.is_some(),
        "completed_any": docker_finish || scale_set.job_completed.is_some(),
    })
}

fn proxy(scale_set: &ScaleSet) -> Value {
    let Some(proxy) = &scale_set.proxy else { return Value::Null };
    let named = [("http_proxy", &proxy.http), ("https_proxy", &proxy.https)];
    let urls: Vec<Value> = named
        .into_iter()
        .filter_map(|(name, url)| {
            let url = url.as_ref()?;
            Some(json!({"name": name, "scheme": url.scheme, "authority": url.authority}))
        })
        .collect();
    // Kubernetes fills in the variables itself, so the credentials stand in no object of ours.
    let user_info =
        if proxy.credentials_secret.is_some() { "$(DESKRUN_PROXY_USERNAME):$(DESKRUN_PROXY_PASSWORD)@" } else { "" };
    json!({
        "urls": urls,
        "no_proxy": proxy.no_proxy,
        "credentials_secret": proxy.credentials_secret,
        "user_info": user_info,
    })
}

fn certificate_authority(scale_set: &ScaleSet, name: &str) -> Value {
    match &scale_set.certificate_authority {
        None => Value::Null,
        Some(CertificateAuthority::Inline(text)) => {
            json!({"name": format!("{name}-certificate-authority"), "key": "ca.crt", "inline": text})
        }
        Some(CertificateAuthority::ConfigMap(reference)) => {
            json!({"name": reference.name, "key": reference.key, "inline": Value::Null})
        }
    }
}

/// The label of a URL that scale sets are registered at, the same for each spelling (`scale-set-protocol.md` 1). Short enough, long
/// enough that two URLs of one user never meet.
pub fn config_url_hash(url: &str) -> String {
    let normalised = url.trim_matches('/').to_ascii_lowercase();
    short_hash(&normalised.replacen("://www.github.com/", "://github.com/", 1), 6)
}
