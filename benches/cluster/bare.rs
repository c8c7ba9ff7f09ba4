//! The bare loop: a JIT config, a secret and a pod, so often, with as many calls at a time as the operator makes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deskrun::github::{
    ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, HttpOptions, Identity, NewScaleSet,
    over_http,
};
use deskrun::manifest::EngineKind;
use deskrun::render::{PreparedRunner, RunnerIdentity};
use deskrun::scale_set::RunnerName;
use deskrun::secret::Secret as Hidden;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::pipeline;
use super::place::Place;

/// As many calls to GitHub at a time as a controller makes.
const CALLS_AT_A_TIME: usize = 32;
/// As many writes to the API server at a time as an engine makes.
const WRITES_AT_A_TIME: usize = 48;

/// Makes so many runners and takes them out again; how long making took.
pub async fn run(place: &Place, count: u32) -> Duration {
    let url = ConfigUrl::parse(&place.url, ConfigUrlOptions::default()).expect("a config URL");
    let token = Credentials::Token(Hidden::new("ghp_bench"));
    let transport = over_http(&HttpOptions::default()).expect("a transport");
    let caller = Identity { subsystem: "bench", scale_set_id: 0 };
    let service = ActionsService::new(url, token, transport, Environment::system(), &caller);
    let new = NewScaleSet { name: "bare".to_owned(), runner_group_id: 1, labels: Vec::new() };
    let scale_set = service.create_scale_set(&new).await.expect("a scale set").id;
    let client = place.control_plane.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &place.namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let prepared = Arc::new(prepared(place, count));
    for companion in prepared.fill(&identity("bare-0", 1)).companions.iter() {
        apply(&client, companion).await;
    }
    let turn = Arc::new(Semaphore::new(CALLS_AT_A_TIME));
    let write = Arc::new(Semaphore::new(WRITES_AT_A_TIME));
    let started = Instant::now();
    let one = |number: u32| {
        let (service, pods, secrets, turn) = (service.clone(), pods.clone(), secrets.clone(), Arc::clone(&turn));
        let (prepared, write) = (Arc::clone(&prepared), Arc::clone(&write));
        async move {
            let name = format!("bare-{number}");
            let permit = turn.acquire().await.expect("open");
            let config = service.register_runner(scale_set, &name).await.expect("a config");
            drop(permit);
            let manifest = prepared.fill(&identity(&name, config.runner.id));
            let secret = json!({
                "metadata": {"name": name, "labels": manifest.pod["metadata"]["labels"]},
                "stringData": {manifest.jit_config.key: config.encoded.expose()},
            });
            let secret = serde_json::from_value(secret).expect("a secret");
            let permit = write.acquire().await.expect("open");
            secrets.create(&PostParams::default(), &secret).await.expect("the secret is made");
            drop(permit);
            let pod = serde_json::from_value(Arc::unwrap_or_clone(manifest.pod)).expect("a pod");
            let _permit = write.acquire().await.expect("open");
            pods.create(&PostParams::default(), &pod).await.expect("the pod is made");
        }
    };
    // Tasks of their own, as the operator's are.
    let making = join_all((0..count).map(|number| tokio::spawn(one(number))));
    // Looked at as the operator's are.
    let (made, ()) = tokio::join!(making, place.until_pods(count as usize));
    let took = started.elapsed();
    for made in made {
        made.expect("no panic");
    }
    place.take_runners_out().await;
    took
}

/// The very manifest that the operator fills in.
fn prepared(place: &Place, count: u32) -> PreparedRunner {
    let metadata = json!({"name": "bare", "namespace": place.namespace});
    let document = json!({
        "apiVersion": "deskrun.dev/v1alpha1", "kind": "RunnerScaleSet", "metadata": metadata, "spec": place.spec(count),
    });
    let scale_set = pipeline::scale_set(&document.to_string()).expect("a scale set");
    pipeline::prepared(&scale_set, EngineKind::Kubernetes, &[]).expect("a manifest")
}

fn identity(name: &str, id: i64) -> RunnerIdentity {
    RunnerIdentity { name: RunnerName::parse(name).expect("a name"), id: id.unsigned_abs(), slot: 0 }
}

async fn apply(client: &Client, companion: &Value) {
    let object: DynamicObject = serde_json::from_value(companion.clone()).expect("an object");
    let types = object.types.clone().expect("a kind");
    let kind = GroupVersionKind::try_from(&types).expect("a kind");
    let namespace = object.metadata.namespace.clone().expect("a namespace");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::from_gvk(&kind));
    let parameters = PatchParams::apply("bench").force();
    let applied = api.patch(&object.name_any(), &parameters, &Patch::Apply(companion)).await;
    applied.expect("what runners share is accepted");
}
