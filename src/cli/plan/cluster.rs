//! Compares files with what a cluster has: its `RunnerScaleSet`s and the pods of their runners.

use anyhow::Context;
use serde_json::Value;

use super::difference::{Asked, Difference, Existing, Key, Life, Served, Settings, Unnamed, compare};
use super::facts::of_specification;
use crate::cli::cluster::{Cluster, ClusterArguments};
use crate::cli::input::{Input, documents};
use crate::cli::installed::{DEFAULT_NAMESPACE, NAME};
use crate::cli::list::limits;
use crate::cli::operator::controller_id;
use crate::cli::resource::resources;
use crate::cli::run::specifications;
use crate::cli::scale_sets::{Found, list};
use crate::cli::snapshot::snapshot;
use crate::crd::API_VERSION;
use crate::engine::kubernetes::{KubernetesEngine, Scope};
use crate::engine::{ObservedRunner, RunnerPhase};
use crate::manifest::{EngineKind, OwnerReference};
use crate::render::config_url_hash;

/// Fields that are told with their values.
const SETTINGS: [&str; 2] = ["minRunners", "maxRunners"];

pub(super) async fn difference(arguments: &ClusterArguments, input: &Input) -> anyhow::Result<Difference> {
    let cluster = arguments.connect().await?;
    let wanted = resources(input, arguments.namespace.as_deref(), &cluster.namespace)?;
    let found = list(&cluster, Some(&wanted.namespace)).await?;
    let runners = observe(&cluster, &wanted.namespace).await?;
    let mut asked = Vec::new();
    for object in &wanted.scale_sets {
        let there = found.iter().find(|found| object["metadata"]["name"] == found.name());
        asked.extend(of_object(object, there, &runners, input)?);
    }
    let served: Vec<Served> = found.iter().flat_map(|found| of_found(found, &wanted.scale_sets)).collect();
    let existing: Vec<Existing> = runners.into_iter().map(of_runner).collect();
    Ok(compare(&asked, &served, &existing, Unnamed::Stay))
}

async fn observe(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<ObservedRunner>> {
    snapshot(&KubernetesEngine::new(cluster.client.clone(), Scope::Namespace(namespace.to_owned()))).await
}

/// What an operator would make of an object, if it were there: read as it would read it.
fn of_object(
    object: &Value,
    there: Option<&Found>,
    runners: &[ObservedRunner],
    input: &Input,
) -> anyhow::Result<Vec<Asked>> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let read = documents(vec![(name.to_owned(), object.to_string())], None, &[])?;
    let scale_set = &read.scale_sets.first().context("a RunnerScaleSet cannot be read again")?.scale_set;
    // Its runners know who made them; what an operator is called elsewhere does not matter where there are none.
    let maker =
        runners.iter().find(|runner| runner.owner.resource == name).map(|runner| runner.owner.controller.clone());
    let controller = maker.unwrap_or_else(|| controller_id(DEFAULT_NAMESPACE, NAME));
    let owner = there.map(|found| OwnerReference {
        api_version: API_VERSION,
        kind: "RunnerScaleSet",
        name: name.to_owned(),
        uid: found.uid().to_owned(),
        controller: true,
    });
    let specifications = specifications(scale_set, input, EngineKind::Kubernetes, &controller, owner.as_ref())?;
    Ok(specifications.iter().map(of_specification).collect())
}

fn of_found(found: &Found, wanted: &[Value]) -> Vec<Served> {
    let (min_runners, max_runners) = limits(found);
    let wanted = wanted.iter().find(|object| object["metadata"]["name"] == found.name());
    let fields = wanted.map(|object| changed(found.spec(), &object["spec"])).unwrap_or_default();
    let served = |name: String| Served {
        key: Key { config_url: config_url_hash(found.text("githubConfigUrl")), name },
        resource: found.name().to_owned(),
        settings: Some(Settings { min_runners, max_runners }),
        fields: fields.clone(),
    };
    found.instances().into_iter().map(served).collect()
}

/// The fields of a spec that differ.
fn changed(now: &Value, then: &Value) -> Vec<String> {
    let names =
        |spec: &Value| spec.as_object().map(|spec| spec.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = names(now).into_iter().chain(names(then)).collect();
    names.sort();
    names.dedup();
    names.retain(|name| !SETTINGS.contains(&name.as_str()) && now[name] != then[name]);
    names
}

fn of_runner(runner: ObservedRunner) -> Existing {
    let ObservedRunner { name, owner, phase, .. } = runner;
    Existing {
        name,
        key: Key { config_url: owner.config_url, name: owner.scale_set },
        resource: owner.resource,
        manifest: Some(owner.manifest),
        life: match (phase, owner.job) {
            (RunnerPhase::Exited { .. } | RunnerPhase::Failed { .. }, _) => Life::Ending,
            (_, Some(job)) => Life::Busy { job: Some(job) },
            (RunnerPhase::Starting { .. }, None) => Life::Starting,
            (RunnerPhase::Running { .. }, None) => Life::Idle,
            (RunnerPhase::Unknown, None) => Life::Running,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_come_go_or_differ_are_named_and_settings_are_not() {
        let now = json!({"image": "a", "minRunners": 1, "labels": ["x"], "same": 1});
        let then = json!({"image": "b", "minRunners": 2, "runAsRoot": true, "same": 1});
        assert_eq!(changed(&now, &then), ["image", "labels", "runAsRoot"]);
    }
}
