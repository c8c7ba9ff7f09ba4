//! Asks a cluster, and rehearses the real pods in it: rights, pod security, quotas and admission answer as they would answer
//! a runner. What the operator may do is its own service account's business; the chart gives it what it needs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret as StoredSecret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::Value;

use super::cluster_findings::{NEEDED, Place, of_definition, of_nodes, of_operator, of_policy, of_rights};
use super::findings::Finding;
use super::github;
use crate::causes::in_one_line;
use crate::cli::cluster::{Cluster, ClusterArguments};
use crate::cli::down::leads;
use crate::cli::input::{Input, documents};
use crate::cli::installed::{NAME, Scope as Served, elsewhere};
use crate::cli::objects::{api, get, plain};
use crate::cli::render::{OFFLINE, hint};
use crate::cli::resource::resources;
use crate::cli::run::specifications;
use crate::cli::scale_sets::list;
use crate::controller::Specification;
use crate::crd::{self, deletion_policy};
use crate::engine::kubernetes::{KubernetesEngine, Scope};
use crate::github::Credentials;
use crate::manifest::{EngineKind, RunnerManifest};
use crate::problem::Problems;
use crate::render::RunnerIdentity;
use crate::scale_set::{CertificateAuthority, LayerSource, RunnerName, ScaleSet, Validated};
use crate::secret::Secret;

/// Without the namespace of an operator, none is looked for: a controller outside of the cluster serves files.
pub(super) async fn look(
    arguments: &ClusterArguments,
    operator_namespace: Option<&str>,
    input: Input,
    offline: bool,
) -> anyhow::Result<Vec<Finding>> {
    let cluster = arguments.connect().await?;
    let mut all = Vec::new();
    match cluster.client.apiserver_version().await {
        Ok(version) => all.push(Finding::ok(format!("{} answers: Kubernetes {}", cluster.url, version.git_version))),
        Err(error) => {
            let words = format!("{} does not answer: {:#}", cluster.url, plain(error));
            all.push(Finding::problem(
                words,
                Some("check the kubeconfig, the network, and `kubectl version`".to_owned()),
            ));
            return Ok(all);
        }
    }
    let (input, namespace, unreadable) = asked(&cluster, arguments, input).await?;
    if let Some(operator_namespace) = operator_namespace {
        all.extend(installation(&cluster, operator_namespace, &namespace).await);
        all.push(rights(&cluster, operator_namespace, &namespace).await);
    }
    let nodes = nodes(&cluster).await;
    if let Err(words) = &nodes {
        all.push(Finding::warning(format!("nodes were not looked at: {words}"), "someone who may list nodes can"));
    }
    all.extend(unreadable);
    let engine = KubernetesEngine::new(cluster.client.clone(), Scope::Namespace(namespace.clone()));
    for validated in &input.scale_sets {
        let scale_set = &validated.scale_set;
        let specifications = match specifications(scale_set, &input, EngineKind::Kubernetes, OFFLINE, None) {
            Ok(specifications) => specifications,
            Err(error) => {
                all.push(Finding::problem(format!("{}: {error:#}", scale_set.name), hint(&error)));
                continue;
            }
        };
        // What holds for one instance holds for the others.
        if let Some(manifest) = specifications.first().and_then(manifest) {
            if let Ok(nodes) = &nodes {
                all.push(of_nodes(&scale_set.name, &manifest.pod, nodes));
            }
            all.push(rehearsed(&engine, scale_set, &namespace, &manifest).await);
        }
        all.extend(credentials(&cluster, scale_set, &namespace, offline).await);
    }
    Ok(all)
}

/// What is meant: files as an operator would see them, or what is in the cluster already, with what of that cannot be read.
async fn asked(
    cluster: &Cluster,
    arguments: &ClusterArguments,
    input: Input,
) -> anyhow::Result<(Input, String, Vec<Finding>)> {
    if input.scale_sets.is_empty() {
        let found = list(cluster, Some(&cluster.namespace)).await?;
        let texts = found.iter().map(|found| (format!("runnerscaleset/{}", found.name()), found.document()));
        let (mut input, unreadable) = readable(texts.collect())?;
        look_up(cluster, &mut input).await?;
        return Ok((input, cluster.namespace.clone(), unreadable));
    }
    let mut input = input;
    let wanted = resources(&input, arguments.namespace.as_deref(), &cluster.namespace)?;
    for validated in &mut input.scale_sets {
        validated.scale_set.namespace.clone_from(&wanted.namespace);
    }
    Ok((input, wanted.namespace, Vec::new()))
}

/// One that cannot be read keeps no other from being looked at.
fn readable(texts: Vec<(String, String)>) -> anyhow::Result<(Input, Vec<Finding>)> {
    let (mut good, mut findings) = (Vec::new(), Vec::new());
    for text in texts {
        match documents(vec![text.clone()], None, &[]) {
            Ok(_) => good.push(text),
            Err(error) => match error.downcast_ref::<Problems>() {
                Some(problems) => findings.extend(problems.as_slice().iter().map(|problem| {
                    let words = format!("{}: {}: {}", text.0, problem.path, problem.message);
                    Finding::problem(words, problem.hint.clone())
                })),
                None => findings.push(Finding::problem(format!("{}: {error:#}", text.0), hint(&error))),
            },
        }
    }
    Ok((documents(good, None, &[])?, findings))
}

/// Gets the ConfigMaps that layers and certificates are in. One that is missing is found out where it is needed.
async fn look_up(cluster: &Cluster, input: &mut Input) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for Validated { scale_set, .. } in &input.scale_sets {
        names.extend(scale_set.layers.iter().filter_map(|layer| match layer {
            LayerSource::ConfigMap(reference) => Some(reference.name.clone()),
            LayerSource::File(_) | LayerSource::Inline(_) => None,
        }));
        if let Some(CertificateAuthority::ConfigMap(reference)) = &scale_set.certificate_authority {
            names.insert(reference.name.clone());
        }
    }
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for name in names {
        let found = config_maps.get_opt(&name).await.map_err(plain);
        let found = found.with_context(|| format!("the ConfigMap `{name}` cannot be read"))?;
        if let Some(data) = found.and_then(|found| found.data) {
            input.config_maps.insert(name, data);
        }
    }
    for Validated { scale_set, .. } in &mut input.scale_sets {
        if let Some(CertificateAuthority::ConfigMap(reference)) = &scale_set.certificate_authority
            && let Some(pem) = input.config_maps.get(&reference.name).and_then(|data| data.get(&reference.key))
        {
            scale_set.certificate_authority = Some(CertificateAuthority::Inline(pem.clone()));
        }
    }
    Ok(())
}

async fn installation(cluster: &Cluster, operator_namespace: &str, namespace: &str) -> Vec<Finding> {
    let name = crd::definition()["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let definitions = api(&cluster.client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
    let there = definitions.get_opt(&name).await.map_err(plain);
    let unknown = |what: &str, error: &anyhow::Error| {
        Finding::warning(format!("{what} was not looked at: {error:#}"), "someone with more rights can")
    };
    let definition = match there {
        Ok(there) => of_definition(there.and_then(|object| serde_json::to_value(object).ok()).as_ref()),
        Err(error) => unknown("the definition", &error),
    };
    let policy = match has_policy(cluster).await {
        Ok(there) => of_policy(there),
        Err(error) => unknown("the policy about deletions", &error),
    };
    let (lease_namespace, name) = match elsewhere(cluster, &Served::of(Some(namespace))).await {
        Ok(Some(operator)) => operator.lease,
        // Without the rights to find it, it is looked for where commands would make it.
        Ok(None) | Err(_) => (operator_namespace.to_owned(), NAME.to_owned()),
    };
    let leases = api(&cluster.client, "coordination.k8s.io/v1", "Lease", Some(&lease_namespace));
    let operator = match leases.get_opt(&name).await.map_err(plain) {
        Ok(lease) => of_operator(&lease_namespace, lease.is_some_and(|lease| leads(&lease.data, Timestamp::now()))),
        Err(error) => unknown("the operator's lease", &error),
    };
    vec![definition, policy, operator]
}

async fn has_policy(cluster: &Cluster) -> anyhow::Result<bool> {
    for object in deletion_policy() {
        if get(&cluster.client, &object).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn rights(cluster: &Cluster, operator_namespace: &str, namespace: &str) -> Finding {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut rights = Vec::new();
    for right in NEEDED {
        let (place, verb, group, resource) = right;
        let attributes = ResourceAttributes {
            namespace: match place {
                // A namespace's wildcard is none for the cluster's own objects.
                Place::Cluster => None,
                Place::Operator => Some(operator_namespace.to_owned()),
                Place::Runners => Some(namespace.to_owned()),
            },
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) => {
                let allowed = review.status.is_some_and(|status| status.allowed);
                rights.push((right, allowed));
            }
            Err(error) => {
                let words = format!("your rights were not looked at: {:#}", plain(error));
                return Finding::warning(words, "`kubectl auth can-i --list` may tell more");
            }
        }
    }
    of_rights((operator_namespace, namespace), &rights)
}

async fn nodes(cluster: &Cluster) -> Result<Vec<Value>, String> {
    let nodes = api(&cluster.client, "v1", "Node", None).list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| format!("{:#}", plain(error)))?;
    Ok(nodes.items.into_iter().filter_map(|node| serde_json::to_value(node).ok()).collect())
}

fn manifest(specification: &Specification) -> Option<RunnerManifest> {
    let name = RunnerName::new(&specification.name, "doctor").ok()?;
    Some(specification.prepared.fill(&RunnerIdentity { name, id: 0, slot: 0 }))
}

async fn rehearsed(
    engine: &KubernetesEngine,
    scale_set: &ScaleSet,
    namespace: &str,
    manifest: &RunnerManifest,
) -> Finding {
    match engine.rehearse(manifest).await {
        Ok(()) => Finding::ok(format!("{}: {namespace} takes its runners", scale_set.name)),
        Err(error) => {
            let hint = error.hint().map(str::to_owned);
            Finding::problem(format!("{}: {}", scale_set.name, in_one_line(&error)), hint)
        }
    }
}

/// Those of the Secret that the scale set names, or of its file.
async fn credentials(cluster: &Cluster, scale_set: &ScaleSet, namespace: &str, offline: bool) -> Vec<Finding> {
    let Some(name) = &scale_set.config_secret else {
        return github::of_files(std::iter::once(scale_set), false, offline).await;
    };
    let credentials = match stored(cluster, name, namespace).await {
        Ok(credentials) => credentials,
        Err(error) => {
            let hint = format!("`kubectl create secret generic {name} -n {namespace} --from-file=github_token=FILE`");
            return vec![Finding::problem(format!("{}: {error:#}", scale_set.name), Some(hint))];
        }
    };
    if offline { Vec::new() } else { vec![github::of_secret(scale_set, credentials).await] }
}

async fn stored(cluster: &Cluster, name: &str, namespace: &str) -> anyhow::Result<Credentials> {
    let secrets: Api<StoredSecret> = Api::namespaced(cluster.client.clone(), namespace);
    let secret = secrets.get_opt(name).await.map_err(plain);
    let secret = secret.with_context(|| format!("the Secret {name} in {namespace} cannot be read"))?;
    let secret = secret.with_context(|| format!("there is no Secret {name} in {namespace}"))?;
    let data = secret.data.unwrap_or_default().into_iter();
    let texts: BTreeMap<String, Secret> =
        data.map(|(key, bytes)| (key, Secret::new(&String::from_utf8_lossy(&bytes.0)))).collect();
    Credentials::from_secret(&texts).with_context(|| format!("the Secret {name} in {namespace} cannot be used"))
}
