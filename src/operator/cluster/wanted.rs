//! From resources and what they refer to, to what is to be served: pure, and the same whatever came first.
//!
//! One wrong resource stops no other. What is wrong is said with its field, as for a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::references::{Lookup, Reference};
use super::resource::Resource;
use crate::causes;
use crate::controller::Specification;
use crate::crd::{self, Document};
use crate::github::{ConfigUrl, ConfigUrlOptions, Credentials, HttpOptions, over_http};
use crate::layers::{UserLayer, stack};
use crate::manifest::EngineKind;
use crate::problem::Problem;
use crate::render::{Request, config_url_hash, prepare};
use crate::scale_set::{CertificateAuthority, LayerSource, ScaleSet, Validated, check_together, validate};
use crate::secret::Secret;

/// What a resource comes to.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// Can be served.
    Serve(Arc<Prepared>),
    /// Cannot be served as it stands.
    Faulty(Fault),
    /// Not known yet: what it refers to is still being read.
    Pending,
}

/// Why a resource cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// One word in camel case, for programs.
    pub(super) reason: &'static str,
    /// For people: each problem with its field and the way out.
    pub(super) words: String,
}

impl Fault {
    fn new(reason: &'static str, words: impl Into<String>) -> Self {
        Self { reason, words: words.into() }
    }
}

/// A resource, ready to be served.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// One per instance.
    pub(super) specifications: Vec<Specification>,
    /// Which client serves it.
    pub(super) service: ServiceKey,
    pub(super) credentials: Credentials,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// What tells clients of GitHub apart: scale sets of one key share a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceKey {
    pub(super) config_url: String,
    pub(super) secret: Reference,
    pub(super) http: HttpOptions,
}

/// Reads resources; keeps what it made of those that have not changed.
#[derive(Debug)]
pub(super) struct Reader {
    controller: String,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    resource: Resource,
    read: Result<(Box<Document>, Box<Validated>), Fault>,
    /// What was prepared from which data.
    prepared: Option<(Vec<Lookup>, Verdict)>,
}

impl Reader {
    pub(super) fn new(controller: String) -> Self {
        Self { controller, known: BTreeMap::new() }
    }

    /// Takes over the resources as they are now; what all of them refer to.
    pub(super) fn read(&mut self, resources: &[Resource]) -> BTreeSet<Reference> {
        let mut before = std::mem::take(&mut self.known);
        for resource in resources {
            let known = match before.remove(&resource.uid) {
                Some(known) if known.resource.text == resource.text => known,
                _ => Known { resource: resource.clone(), read: read(resource), prepared: None },
            };
            self.known.insert(resource.uid.clone(), known);
        }
        self.known.values().flat_map(|known| known.references().into_values()).collect()
    }

    /// What each comes to, by its uid.
    pub(super) fn judge(&mut self, look_up: impl Fn(&Reference) -> Lookup) -> BTreeMap<String, Verdict> {
        let clashes = self.clashes();
        let mut verdicts = BTreeMap::new();
        for (uid, known) in &mut self.known {
            let verdict = match clashes.get(uid) {
                Some(fault) => Verdict::Faulty(fault.clone()),
                None => known.judge(&look_up, &self.controller),
            };
            verdicts.insert(uid.clone(), verdict);
        }
        verdicts
    }

    /// The scale sets that any readable spec asks for: the place ([`config_url_hash`]), and the name in lower case.
    pub(super) fn names(&self) -> BTreeSet<(String, String)> {
        let read = self.known.values().filter_map(|known| known.read.as_ref().ok());
        let scale_sets = read.flat_map(|(_, validated)| {
            let place = config_url_hash(validated.scale_set.config_url.as_deref().unwrap_or_default());
            validated
                .scale_set
                .instances()
                .into_iter()
                .map(move |instance| (place.clone(), instance.name.to_lowercase()))
        });
        scale_sets.collect()
    }

    /// Resources that cannot be served together with an older one.
    fn clashes(&self) -> BTreeMap<String, Fault> {
        let mut by_age: Vec<(&Resource, &Document, &ScaleSet)> = self
            .known
            .values()
            .filter_map(|known| {
                let (document, validated) = known.read.as_ref().ok()?;
                Some((&known.resource, &**document, &validated.scale_set))
            })
            .collect();
        by_age.sort_by_key(|(resource, ..)| (resource.created_at, resource.uid.clone()));
        let placed: Vec<_> = by_age.iter().map(|(_, document, scale_set)| (*document, *scale_set)).collect();
        let problems = check_together(&placed);
        let mut names: BTreeMap<(String, String), &str> = BTreeMap::new();
        let mut faults = BTreeMap::new();
        for (resource, document, scale_set) in by_age {
            let own: Vec<&Problem> = problems.iter().filter(|problem| problem.file == document.file).collect();
            if !own.is_empty() {
                faults.insert(resource.uid.clone(), Fault::new("Conflict", words(own)));
                continue;
            }
            let url = scale_set.config_url.clone().unwrap_or_default();
            // Runners know their place by this label, and GitHub does not look at the case either.
            let place = config_url_hash(&url);
            let names_of = scale_set.instances().into_iter().map(|instance| (place.clone(), instance.name));
            for key in names_of {
                if let Some(other) = names.insert(key.clone(), &document.file) {
                    let words = format!("`{}` at {url} is served for {other} already: rename one of the two", key.1);
                    faults.insert(resource.uid.clone(), Fault::new("Conflict", words));
                    // The older one keeps the name.
                    names.insert(key, other);
                }
            }
        }
        faults
    }
}

/// The resource as a document with every rule checked, those of clusters as well.
fn read(resource: &Resource) -> Result<(Box<Document>, Box<Validated>), Fault> {
    let file = format!("RunnerScaleSet {}", resource.key());
    let crd::Read { documents, problems } = crd::read(&file, &resource.text, &[]);
    let Some(document) = documents.into_iter().next() else {
        return Err(invalid(&problems));
    };
    let validated = match validate(&document, None) {
        Some(Ok(validated)) if problems.is_empty() => validated,
        Some(Err(found)) => return Err(invalid(&[problems, found.as_slice().to_vec()].concat())),
        _ => return Err(invalid(&problems)),
    };
    let scale_set = &validated.scale_set;
    let missing = |field: &str, way: &str| Fault::new("InvalidSpec", format!("spec.{field}: {way}"));
    if scale_set.credentials.is_some() {
        return Err(missing("credentials", "is for files; in a cluster name a Secret in `githubConfigSecret`"));
    }
    if scale_set.config_secret.is_none() {
        return Err(missing(
            "githubConfigSecret",
            "is missing; name a Secret with `github_token` or the keys of an App",
        ));
    }
    if let Some(index) = scale_set.layers.iter().position(|layer| matches!(layer, LayerSource::File(_))) {
        let field = format!("layers[{index}].file");
        return Err(missing(&field, "there are no files in a cluster; use `inline` or a key of a ConfigMap"));
    }
    let url = scale_set.config_url.as_deref();
    let url =
        url.ok_or_else(|| missing("githubConfigUrl", "is missing; give the repository's or organisation's URL"))?;
    ConfigUrl::parse(url, ConfigUrlOptions::default())
        .map_err(|error| missing("githubConfigUrl", &error.to_string()))?;
    Ok((Box::new(document), Box::new(validated)))
}

fn invalid(problems: &[Problem]) -> Fault {
    Fault::new("InvalidSpec", words(problems))
}

/// Lines and columns mean nothing to whoever reads a status: each problem with its field and the way out.
fn words<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> String {
    let one = |problem: &Problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}: {}{hint}", problem.path, problem.message)
    };
    problems.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Which part of a spec refers to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Credentials,
    CertificateAuthority,
    ProxyCredentials,
    Layer(usize),
}

impl Known {
    fn references(&self) -> BTreeMap<Part, Reference> {
        let Ok((_, validated)) = &self.read else { return BTreeMap::new() };
        let (scale_set, namespace) = (&validated.scale_set, &self.resource.namespace);
        let config_map = |name: &str| Reference::ConfigMap { namespace: namespace.clone(), name: name.to_owned() };
        let secret = |name: &str| Reference::Secret { namespace: namespace.clone(), name: name.to_owned() };
        let credentials = scale_set.config_secret.as_deref().unwrap_or_default();
        let mut references = BTreeMap::from([(Part::Credentials, secret(credentials))]);
        if let Some(name) = scale_set.proxy.as_ref().and_then(|proxy| proxy.credentials_secret.as_deref()) {
            references.insert(Part::ProxyCredentials, secret(name));
        }
        if let Some(CertificateAuthority::ConfigMap(reference)) = &scale_set.certificate_authority {
            references.insert(Part::CertificateAuthority, config_map(&reference.name));
        }
        for (index, layer) in scale_set.layers.iter().enumerate() {
            if let LayerSource::ConfigMap(reference) = layer {
                references.insert(Part::Layer(index), config_map(&reference.name));
            }
        }
        references
    }

    fn judge(&mut self, look_up: impl Fn(&Reference) -> Lookup, controller: &str) -> Verdict {
        let references = self.references();
        let looked_up: Vec<Lookup> = references.values().map(look_up).collect();
        if let Some((from, verdict)) = &self.prepared
            && *from == looked_up
        {
            return verdict.clone();
        }
        let verdict = match &self.read {
            Err(fault) => Verdict::Faulty(fault.clone()),
            Ok(_) if looked_up.contains(&Lookup::Pending) => Verdict::Pending,
            Ok((_, validated)) => {
                let found = Found(
                    references.into_iter().zip(&looked_up).map(|((part, of), data)| (part, (of, data))).collect(),
                );
                match self::prepared(&self.resource, validated, &found, controller) {
                    Ok(prepared) => Verdict::Serve(Arc::new(prepared)),
                    Err(fault) => Verdict::Faulty(fault),
                }
            }
        };
        self.prepared = Some((looked_up, verdict.clone()));
        verdict
    }
}

/// What a spec refers to, with its data.
struct Found<'a>(BTreeMap<Part, (Reference, &'a Lookup)>);

impl Found<'_> {
    fn data(&self, part: Part) -> Result<(&Reference, &super::references::Data), Fault> {
        match self.0.get(&part) {
            Some((reference, Lookup::Found(data))) => Ok((reference, data)),
            Some((reference, Lookup::Refused(words))) => {
                Err(Fault::new("ReferenceRefused", format!("the {reference} cannot be read: {words}")))
            }
            Some((reference, _)) => {
                Err(Fault::new("ReferenceMissing", format!("there is no {reference} in the namespace")))
            }
            None => Err(Fault::new("ReferenceMissing", "what the spec refers to is not known")),
        }
    }

    fn text(&self, part: Part, key: &str) -> Result<(&Reference, String), Fault> {
        let (reference, data) = self.data(part)?;
        let missing = || Fault::new("ReferenceMissing", format!("the {reference} has no key `{key}`"));
        Ok((reference, data.get(key).ok_or_else(missing)?.expose().to_owned()))
    }
}

fn prepared(
    resource: &Resource,
    validated: &Validated,
    found: &Found<'_>,
    controller: &str,
) -> Result<Prepared, Fault> {
    let scale_set = &validated.scale_set;
    let (secret, data) = found.data(Part::Credentials)?;
    let unusable = |error| Fault::new("CredentialsUnusable", format!("the {secret}: {error}"));
    let credentials = Credentials::from_secret(data).map_err(unusable)?;
    let certificate_authority = match &scale_set.certificate_authority {
        None => None,
        Some(CertificateAuthority::Inline(pem)) => Some(pem.clone()),
        Some(CertificateAuthority::ConfigMap(reference)) => {
            Some(found.text(Part::CertificateAuthority, &reference.key)?.1)
        }
    };
    let proxies = match &scale_set.proxy {
        Some(proxy) if proxy.credentials_secret.is_some() => {
            proxy.to_github(Some((proxy_credential(found, "username")?, proxy_credential(found, "password")?)))
        }
        Some(proxy) => proxy.to_github(None),
        None => None,
    };
    let http = HttpOptions { proxies, certificate_authorities: certificate_authority.into_iter().collect() };
    // Found out here, so that a wrong certificate leaves the last good spec in force.
    over_http(&http).map_err(|error| Fault::new("CertificatesUnusable", causes::in_one_line(&error)))?;
    let layers = layers(scale_set, found)?;
    let unusable = |error: &dyn std::error::Error| Fault::new("InvalidSpec", causes::in_one_line(error));
    let owner = resource.owner();
    let mut warnings: Vec<String> = validated.warnings.iter().map(|problem| words([problem])).collect();
    let mut specifications = Vec::new();
    for instance in scale_set.instances() {
        let engine = EngineKind::Kubernetes;
        let stack = stack(scale_set, engine, &layers).map_err(|error| unusable(&error))?;
        let request =
            Request { scale_set, instance: &instance, engine, stack: &stack, controller, owner: Some(&owner) };
        let prepared = prepare(&request).map_err(|error| unusable(&error))?;
        let idle = prepared.unmatched.iter().chain(&prepared.overruled);
        warnings.extend(idle.map(|idle| format!("{}, {}: {}", idle.origin.layer, idle.path, idle.message)));
        // The resource's name alone would be the same in two namespaces.
        let specification = Specification::new(scale_set, &instance, prepared);
        specifications.push(Specification { resource: resource.key(), ..specification });
    }
    warnings.sort();
    warnings.dedup();
    let config_url = scale_set.config_url.clone().unwrap_or_default();
    let service = ServiceKey { config_url, secret: secret.clone(), http };
    Ok(Prepared { specifications, service, credentials, warnings })
}

/// User and password stand in URLs, here and in the runner's environment: one that is not percent-encoded would be another URL.
fn proxy_credential(found: &Found<'_>, key: &'static str) -> Result<Secret, Fault> {
    let (reference, text) = found.text(Part::ProxyCredentials, key)?;
    let text = Secret::new(&text);
    let stands = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    if text.is_empty() || !text.expose().bytes().all(stands) {
        let words = format!("the key `{key}` of the {reference} is empty, or not percent-encoded");
        return Err(Fault::new("ProxyUnusable", words));
    }
    Ok(text)
}

fn layers(scale_set: &ScaleSet, found: &Found<'_>) -> Result<Vec<UserLayer>, Fault> {
    let mut layers = Vec::new();
    for (index, layer) in scale_set.layers.iter().enumerate() {
        let name = format!("layers[{index}]");
        let (file, text) = match layer {
            LayerSource::Inline(text) => (name.clone(), text.clone()),
            LayerSource::ConfigMap(key) => {
                let (reference, text) = found.text(Part::Layer(index), &key.key)?;
                (format!("{reference}, key `{}`", key.key), text)
            }
            // Refused when the resource was read.
            LayerSource::File(_) => continue,
        };
        layers.push(UserLayer { name, file, text });
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(uid: &str, namespace: &str, url: &str) -> Resource {
        let object = serde_json::json!({
            "apiVersion": "deskrun.dev/v1alpha1",
            "kind": "RunnerScaleSet",
            "metadata": {"name": "ws", "namespace": namespace, "uid": uid},
            "spec": {"githubConfigUrl": url, "githubConfigSecret": "github", "containerMode": "kubernetes-novolume"},
        });
        Resource::read(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_name_at_one_place_is_one_resources_however_the_place_is_spelled() {
        let mut reader = Reader::new("test".to_owned());
        let here = resource("1", "a", "https://github.com/acme");
        let same = ["https://github.com/Acme/", "https://www.github.com/acme"].map(|url| (url, true));
        for (url, is_the_same) in same.into_iter().chain([("https://github.com/other", false)]) {
            reader.read(&[here.clone(), resource("2", "b", url)]);
            let verdicts = reader.judge(|_| Lookup::Missing);
            let fault = |uid: &str| match &verdicts[uid] {
                Verdict::Faulty(fault) => fault.reason,
                verdict => panic!("{verdict:?}"),
            };
            let second = if is_the_same { "Conflict" } else { "ReferenceMissing" };
            assert_eq!((fault("1"), fault("2")), ("ReferenceMissing", second), "{url}");
        }
    }
}
