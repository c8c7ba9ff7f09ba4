//! From files to what is served: specifications, and clients of GitHub that scale sets of one scope share. Credentials are
//! read anew each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::engine::Namespaces;
use super::place::Place;
use crate::cli::input::Input;
use crate::controller::Specification;
use crate::crd;
use crate::github::{
    ActionsService, AppIssuer, ConfigUrl, ConfigUrlOptions, Credentials, CredentialsSource, Environment, HttpOptions,
    Identity, Proxies, Transport, counted, over_http,
};
use crate::layers::stack;
use crate::manifest::{EngineKind, OwnerReference};
use crate::metrics::Metrics;
use crate::operator::Desired;
use crate::render::{Request, prepare};
use crate::scale_set::{CertificateAuthority, Instance, ScaleSet};

/// Makes what is served out of files, again and again.
pub(in crate::cli) struct Sources {
    environment: Environment,
    metrics: Metrics,
    place: Place,
    engine: EngineKind,
    namespaces: Namespaces,
    /// Clients by what scale sets must have in common to share one.
    services: BTreeMap<String, ActionsService>,
    /// The files that hold credentials, also those that are named and not there yet.
    credential_files: BTreeSet<PathBuf>,
}

impl Sources {
    pub(super) fn new(
        environment: Environment,
        metrics: Metrics,
        place: Place,
        engine: EngineKind,
        namespaces: Namespaces,
    ) -> Self {
        let (services, credential_files) = (BTreeMap::new(), BTreeSet::new());
        Self { environment, metrics, place, engine, namespaces, services, credential_files }
    }

    /// Where to look for changes of the credentials that were asked for last.
    pub(super) fn credential_files(&self) -> &BTreeSet<PathBuf> {
        &self.credential_files
    }

    /// Everything that the files ask for.
    pub(super) fn desired(&mut self, input: &Input) -> anyhow::Result<Vec<Desired>> {
        let scale_sets = input.scale_sets.iter().map(|validated| &validated.scale_set);
        let keys: BTreeSet<String> = scale_sets.clone().map(service_key).collect();
        let files: BTreeSet<PathBuf> =
            scale_sets.filter_map(|scale_set| source(scale_set)?.file().map(PathBuf::from)).collect();
        // If this fails, those of what is served already are of interest all the same.
        self.credential_files.extend(files.iter().cloned());
        let all = self.all(input)?;
        self.credential_files = files;
        self.services.retain(|key, _| keys.contains(key));
        Ok(all)
    }

    fn all(&mut self, input: &Input) -> anyhow::Result<Vec<Desired>> {
        let mut all = Vec::new();
        for validated in &input.scale_sets {
            let scale_set = &self.namespaces.place(&validated.scale_set)?;
            let service = self.service(scale_set)?;
            for specification in specifications(scale_set, input, self.engine, &self.place.controller, None)? {
                for unhonoured in &specification.prepared.unhonoured {
                    tracing::warn!(
                        scale_set = specification.name,
                        field = unhonoured.path,
                        "not honoured: {}",
                        unhonoured.reason
                    );
                }
                let key = specification.key();
                let memory = Arc::new(self.place.memory(&key));
                let desired = Desired { specification, service: service.clone(), memory };
                anyhow::ensure!(
                    all.iter().all(|other: &Desired| other.key() != key),
                    "{}: a second scale set `{}` at {}: rename one of the two",
                    scale_set.file,
                    desired.specification.name,
                    desired.specification.config_url,
                );
                all.push(desired);
            }
        }
        Ok(all)
    }

    fn service(&mut self, scale_set: &ScaleSet) -> anyhow::Result<ActionsService> {
        let key = service_key(scale_set);
        if let Some(service) = self.services.get(&key) {
            if service.renew_credentials(credentials(scale_set)?) {
                tracing::info!(scale_set = scale_set.name, "the credentials have changed");
            }
            return Ok(service.clone());
        }
        let metrics = self.metrics.clone();
        let over = |transport| counted(transport, move |call| metrics.github_called(call));
        let service = service(scale_set, true, &self.environment, "controller", over)?;
        self.services.insert(key, service.clone());
        Ok(service)
    }
}

/// Scale sets with the same one may share a client.
pub(in crate::cli) fn service_key(scale_set: &ScaleSet) -> String {
    let ScaleSet { config_url, certificate_authority, proxy, .. } = scale_set;
    format!("{config_url:?} {:?} {certificate_authority:?} {proxy:?}", source(scale_set))
}

/// A client for a scale set that a file describes; nothing is sent yet. It goes through the proxies that the spec names, or
/// else as the environment decides. `over` may lay something around the transport.
pub(in crate::cli) fn service(
    scale_set: &ScaleSet,
    through_proxies: bool,
    environment: &Environment,
    subsystem: &'static str,
    over: impl FnOnce(Transport) -> Transport,
) -> anyhow::Result<ActionsService> {
    // A Secret of a cluster cannot be read here: then the environment decides.
    let proxy = scale_set.proxy.as_ref().filter(|proxy| through_proxies && proxy.credentials_secret.is_none());
    let proxies = proxy.and_then(|proxy| proxy.to_github(None));
    service_with(scale_set, credentials(scale_set)?, proxies, environment, subsystem, over)
}

fn credentials(scale_set: &ScaleSet) -> anyhow::Result<Credentials> {
    let credentials = scale_set.credentials.as_ref().with_context(|| {
        let way = "give `{patFile: …}`, `{patEnv: …}` or `{app: …}`; `githubConfigSecret` is for clusters";
        missing(scale_set, "credentials", way)
    })?;
    load(credentials, &scale_set.file).with_context(|| unusable(scale_set, "credentials"))
}

/// The same with credentials that were found elsewhere. Without proxies the environment decides.
pub(in crate::cli) fn service_with(
    scale_set: &ScaleSet,
    credentials: Credentials,
    proxies: Option<Proxies>,
    environment: &Environment,
    subsystem: &'static str,
    over: impl FnOnce(Transport) -> Transport,
) -> anyhow::Result<ActionsService> {
    let url = scale_set.config_url.as_deref().with_context(|| {
        missing(scale_set, "githubConfigUrl", "give the URL of the repository, organisation or enterprise")
    })?;
    let config_url = ConfigUrl::parse(url, ConfigUrlOptions::default());
    let config_url = config_url.with_context(|| unusable(scale_set, "githubConfigUrl"))?;
    let identity = Identity { subsystem, scale_set_id: 0 };
    let transport = over(transport(scale_set, proxies)?);
    Ok(ActionsService::new(config_url, credentials, transport, environment.clone(), &identity))
}

fn missing(scale_set: &ScaleSet, field: &str, way: &str) -> String {
    format!("{}: `spec.{field}` is missing in `{}`, and is needed to run: {way}", scale_set.file, scale_set.name)
}

fn unusable(scale_set: &ScaleSet, field: &str) -> String {
    format!("{}: `spec.{field}` of `{}` cannot be used", scale_set.file, scale_set.name)
}

fn transport(scale_set: &ScaleSet, proxies: Option<Proxies>) -> anyhow::Result<Transport> {
    let certificate_authorities = match &scale_set.certificate_authority {
        Some(CertificateAuthority::Inline(pem)) => vec![pem.clone()],
        _ => Vec::new(),
    };
    Ok(over_http(&HttpOptions { proxies, certificate_authorities })?)
}

/// What a controller of this id would serve for a resource, one for each instance.
pub(in crate::cli) fn specifications(
    scale_set: &ScaleSet,
    input: &Input,
    engine: EngineKind,
    controller: &str,
    owner: Option<&OwnerReference>,
) -> anyhow::Result<Vec<Specification>> {
    let stack = stack(scale_set, engine, &input.layers(scale_set, &[])?)?;
    let specification = |instance: Instance| {
        let request = Request { scale_set, instance: &instance, engine, stack: &stack, controller, owner };
        Ok(Specification::new(scale_set, &instance, prepare(&request)?))
    };
    scale_set.instances().into_iter().map(specification).collect()
}

/// Reads the credentials of a document in this file.
pub(in crate::cli) fn load(credentials: &crd::Credentials, file: &str) -> anyhow::Result<Credentials> {
    let source = place(credentials, file).context("they are empty")?;
    Ok(source.load(|name| std::fs::read_to_string(name), |name| std::env::var(name).ok())?)
}

fn source(scale_set: &ScaleSet) -> Option<CredentialsSource> {
    place(scale_set.credentials.as_ref()?, &scale_set.file)
}

/// Where credentials are; files are relative to the file that names them.
fn place(credentials: &crd::Credentials, file: &str) -> Option<CredentialsSource> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let below = |name: &str| folder.join(name).display().to_string();
    match (&credentials.pat_file, &credentials.pat_env, &credentials.app) {
        (Some(file), ..) => Some(CredentialsSource::TokenFile(below(file))),
        (None, Some(variable), _) => Some(CredentialsSource::TokenVariable(variable.clone())),
        (None, None, Some(app)) => Some(CredentialsSource::App {
            issuer: AppIssuer(app.client_id.clone().or(app.id.map(|id| id.to_string())).unwrap_or_default()),
            installation_id: app.installation_id,
            private_key_file: below(&app.private_key_file),
        }),
        (None, None, None) => None,
    }
}
