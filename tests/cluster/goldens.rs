//! Every golden manifest for Kubernetes, as `deskrun render` prints it, before a real API server: by dry run with strict
//! field validation. And in a namespace whose label says `baseline` those that it must refuse.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskrun::engine::EngineError;
use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::manifest::{JIT_CONFIG_KEY, RunnerManifest, SecretKey};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::command::lines;
use crate::support::golden::{folders, name};
use crate::{Cluster, Trials};

pub fn add(mut trials: Trials<'_>) -> Trials<'_> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/render");
    let is_for_kubernetes = |folder: &PathBuf| {
        folder.join("expected.yaml").exists() && !lines(&folder.join("arguments")).iter().any(|line| line == "podman")
    };
    for folder in folders(&root).into_iter().filter(is_for_kubernetes) {
        let golden = format!("golden_{}_is_accepted_and_at_baseline_judged", name(&folder));
        trials = trials.test(&golden, |cluster| judged(cluster, folder));
    }
    trials
}

async fn judged(cluster: Arc<Cluster>, folder: PathBuf) {
    let text = std::fs::read_to_string(folder.join("expected.yaml")).expect("a golden");
    let objects = deskrun::yaml::read(&text).expect("YAML");
    let mut objects: Vec<Value> = objects.iter().map(deskrun::yaml::Tree::to_json).collect();
    let client = cluster.control_plane.client();
    prepare(&client, &objects).await;
    for object in &objects {
        if let Err(refusal) = dry_run(&client, object).await {
            panic!("{} {}: {refusal}", object["kind"], object["metadata"]["name"]);
        }
    }
    let label = [("pod-security.kubernetes.io/enforce", "baseline")];
    let baseline = cluster.control_plane.namespace(&label).await;
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(baseline);
    }
    prepare(&client, &objects).await;
    for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
        let wanted = beyond_baseline(pod);
        match dry_run(&client, pod).await {
            Ok(()) => {
                assert_eq!(wanted, BTreeSet::new(), "it is accepted");
                rehearse(client.clone(), &baseline, pod, &objects).await.expect("it is accepted");
            }
            Err(refusal) => {
                assert!(refusal.contains("violates PodSecurity \"baseline:latest\""), "{refusal}");
                assert_ne!(wanted, BTreeSet::new(), "{refusal}");
                for words in wanted {
                    assert!(refusal.contains(words), "no {words} in {refusal}");
                }
                let told = rehearse(client.clone(), &baseline, pod, &objects).await.expect_err("it is refused");
                let EngineError::Refused { message, hint: Some(hint), .. } = told else { panic!("{told:?}") };
                assert!(message.contains(&format!("the namespace `{baseline}` does not admit such pods")), "{message}");
                let way_out =
                    format!("kubectl label namespace {baseline} pod-security.kubernetes.io/enforce=privileged");
                assert!(hint.contains(&way_out), "{hint}");
            }
        }
    }
}

/// Makes what is a user's business and objects name: pods are refused without it, also by a dry run.
async fn prepare(client: &Client, objects: &[Value]) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for object in objects {
        let namespace = text(&object["metadata"]["namespace"]).expect("a golden names its namespace");
        let made = json!({"metadata": {"name": namespace}});
        let made: Namespace = serde_json::from_value(made).expect("a namespace");
        exists(Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &made).await);
        if object["kind"] == "Pod" {
            let account = text(&object["spec"]["serviceAccountName"]).unwrap_or_else(|| "default".to_owned());
            let made = json!({"metadata": {"name": account}});
            let made: ServiceAccount = serde_json::from_value(made).expect("an account");
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
            exists(accounts.create(&PostParams::default(), &made).await);
            if let Some(class) = text(&object["spec"]["runtimeClassName"]) {
                let made = json!({"metadata": {"name": class}, "handler": class});
                let made: RuntimeClass = serde_json::from_value(made).expect("a class");
                exists(Api::<RuntimeClass>::all(client.clone()).create(&PostParams::default(), &made).await);
            }
            if let Some(class) = text(&object["spec"]["priorityClassName"]) {
                let made = json!({"metadata": {"name": class}, "value": 1000});
                let made: PriorityClass = serde_json::from_value(made).expect("a class");
                exists(Api::<PriorityClass>::all(client.clone()).create(&PostParams::default(), &made).await);
            }
        }
    }
}

fn exists<T>(made: kube::Result<T>) {
    match made {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        made => drop(made.expect("it can be made")),
    }
}

/// Asks the API server whether it would take an object as the engine gives it: pods are made, companions applied. The
/// error is its refusal.
async fn dry_run(client: &Client, object: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let version = text(&object["apiVersion"]);
    let group = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
    let namespace = text(&object["metadata"]["namespace"]);
    let path = format!("/{group}/namespaces/{namespace}/{}s", text(&object["kind"]).to_lowercase());
    let parameters = "dryRun=All&fieldValidation=Strict&fieldManager=deskrun";
    let request = if object["kind"] == "Pod" {
        http::Request::post(format!("{path}?{parameters}")).header("content-type", "application/json")
    } else {
        let name = text(&object["metadata"]["name"]);
        let request = http::Request::patch(format!("{path}/{name}?{parameters}&force=true"));
        request.header("content-type", "application/apply-patch+yaml")
    };
    let request = request.body(object.to_string().into_bytes()).expect("a request");
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error}"),
    }
}

/// Has the engine try a manifest out.
async fn rehearse(client: Client, namespace: &str, pod: &Value, objects: &[Value]) -> Result<(), EngineError> {
    let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
    let manifest = RunnerManifest {
        jit_config: SecretKey { name: name.clone(), key: JIT_CONFIG_KEY },
        name,
        slot: 0,
        pod: pod.clone().into(),
        companions: objects.iter().filter(|object| object["kind"] != "Pod").cloned().collect(),
    };
    KubernetesEngine::new(client, Scope::Namespace(namespace.to_owned())).rehearse(&manifest).await
}

/// What the API server has to find in a pod, in its words.
fn beyond_baseline(pod: &Value) -> BTreeSet<&'static str> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut containers = list(&pod["spec"]["containers"]);
    containers.extend(list(&pod["spec"]["initContainers"]));
    let mut found = BTreeSet::new();
    if containers.iter().any(|container| container["securityContext"]["privileged"] == true) {
        found.insert("privileged");
    }
    if list(&pod["spec"]["volumes"]).iter().any(|volume| volume["hostPath"].is_object()) {
        found.insert("hostPath volumes");
    }
    if pod["spec"]["hostNetwork"] == true {
        found.insert("host namespaces");
    }
    found
}
