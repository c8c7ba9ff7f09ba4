//! The operator's permissions: every operator of this suite works under the chart's own service account, and what the API
//! server's audit log shows of one that did everything is what the chart grants, both ways.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deskrun::engine::Engine;
use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::installation::Installation;
use deskrun::simulator::Options as SimulatorOptions;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::DeleteParams;
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{ControlPlane, Fate, Process};
use crate::support::simulated::Manner;
use crate::world::World;
use crate::{Cluster, Trials};

/// The service account of the chart, which runners' namespaces know as the operator.
const ACCOUNT: &str = "deskrun";

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials.test("what_the_operator_may_do_is_what_it_does", what_it_may_do_is_what_it_does)
}

/// A client with the rights that the chart gives an operator in this namespace, whose runners are beside it.
pub async fn operator_client(plane: &ControlPlane, namespace: &str) -> Client {
    client_with(plane, namespace, chart(namespace, Some(namespace))).await
}

/// The same for an operator of all namespaces, which lives in this one.
pub async fn operator_client_everywhere(plane: &ControlPlane, namespace: &str) -> Client {
    client_with(plane, namespace, chart(namespace, None)).await
}

async fn client_with(plane: &ControlPlane, namespace: &str, objects: Vec<Value>) -> Client {
    for object in objects {
        let kind = object["kind"].as_str().expect("text").to_lowercase();
        let place = match kind.as_str() {
            "serviceaccount" => format!("api/v1/namespaces/{namespace}"),
            "role" | "rolebinding" => format!("apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"),
            "clusterrole" | "clusterrolebinding" => "apis/rbac.authorization.k8s.io/v1".to_owned(),
            _ => continue,
        };
        let name = object["metadata"]["name"].as_str().expect("text");
        let path = format!("/{place}/{kind}s/{name}?fieldManager=test&force=true");
        let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
        let request = request.body(object.to_string().into_bytes()).expect("a request");
        plane.client().request::<Value>(request).await.expect("it is applied");
    }
    plane.service_account(namespace, ACCOUNT).await.0
}

fn chart(operator: &str, runners: Option<&str>) -> Vec<Value> {
    let (namespace, runner_namespace) = (operator.to_owned(), runners.map(str::to_owned));
    let installation = Installation { namespace, runner_namespace, image: "none".to_owned() };
    installation.objects().expect("they can be read")
}

/// A right: verb, group, resource with its part.
type Right = (String, String, String);

fn granted(namespace: &str) -> BTreeSet<Right> {
    let objects = chart(namespace, Some(namespace));
    let rules =
        objects.iter().filter(|object| object["kind"] == "Role").filter_map(|role| role["rules"].as_array().cloned());
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                rights.extend(texts(&rule["verbs"]).into_iter().map(|verb| (verb, group.clone(), resource.clone())));
            }
        }
    }
    rights
}

/// What the audit log shows of the operator of a namespace.
fn used(plane: &ControlPlane, namespace: &str) -> BTreeSet<Right> {
    let user = format!("system:serviceaccount:{namespace}:{ACCOUNT}");
    let mut rights = BTreeSet::new();
    for event in plane.audit().iter().filter(|event| event["user"]["username"] == *user) {
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // What everyone may ask, such as which resources there are.
        let Some(resource) = object["resource"].as_str() else { continue };
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow", "{event}");
        let resource = match object["subresource"].as_str() {
            Some(part) => format!("{resource}/{part}"),
            None => resource.to_owned(),
        };
        let right = |verb: &str| (verb.to_owned(), text(&object["apiGroup"]), resource.clone());
        rights.insert(right(&text(&event["verb"])));
        // An apply that makes its object is asked for both rights.
        if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
            rights.insert(right("create"));
        }
    }
    rights
}

/// An operator that does everything that operators do, in one namespace.
async fn what_it_may_do_is_what_it_does(cluster: Arc<Cluster>) {
    // Two: the runner whose answer is lost may begin before it is removed, and its log is not looked at.
    let fails_first = Manner { exits_at_once: Some(1), only_first: Some(2), ..Manner::default() };
    let world = World::with(Arc::clone(&cluster), SimulatorOptions::default(), fails_first).await;
    let (namespace, controller) = (world.namespace.clone(), format!("{}-deskrun", world.namespace));
    // What a process that died left behind.
    let ours = |name: &str| json!({"deskrun.dev/controller": controller, "deskrun.dev/runner": name});
    world.make::<Secret>("stray-abcde", &json!({"metadata": {"labels": ours("stray-abcde")}})).await;
    let layer = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "scratch"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    world.make::<ConfigMap>("layers", &json!({"data": {"scratch": layer.to_string()}})).await;
    let runs: Arc<dyn Process> = Arc::new(world.runner.clone());
    cluster.kubelet.behave(&namespace, move |pod| {
        let is_of_a_job = pod.labels().contains_key("runner-pod");
        if is_of_a_job { Fate::waits() } else { Fate::Runs(Arc::clone(&runs)) }
    });
    let scope = Scope::Namespace(namespace.clone());
    let engine: Arc<dyn Engine> = Arc::new(KubernetesEngine::new(loses_first_answers(world.client.clone()), scope));
    let patience = Duration::from_mins(5);
    let leads = world.operator_with("operator-0", move || Arc::clone(&engine), patience);

    // Runners that start, fail, run jobs, and leave pods of their workflows behind.
    let layered = json!({"layers": [{"configMap": {"name": "layers", "key": "scratch"}}]});
    world.apply("ws", &layered).await;
    world.condition("ws", "Ready", "True").await;
    let stands_by = world.operator_called("operator-1", patience);
    world.queue("ws", 1, "sleep 3");
    world.resource("ws", "busy", |object| object.data["status"]["busyRunners"] == 1).await;
    for runner in world.pods(1).await {
        let labels = json!({"runner-pod": runner, "deskrun.dev/controller": controller});
        let spec = json!({"containers": [{"name": "job", "image": "none"}]});
        let of_job = json!({"metadata": {"labels": labels}});
        world.make::<Secret>(&format!("{runner}-secret"), &of_job).await;
        world.make::<Pod>(&format!("{runner}-workflow"), &json!({"metadata": of_job["metadata"], "spec": spec})).await;
    }
    world.until_jobs_end().await;

    // One that cannot start: it is asked why.
    cluster.kubelet.behave(&namespace, |_| Fate::CannotMount("no such host path"));
    world.apply("stuck", &json!({"minRunners": 1})).await;
    let asked = |rights: &BTreeSet<Right>| rights.contains(&("list".to_owned(), String::new(), "events".to_owned()));
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    while !asked(&used(&cluster.control_plane, &namespace)) && tokio::time::Instant::now() < end {
        // The log is a file of another process: there is nothing to be waited for.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The same is said twice: an Event that is there is counted.
    let reserved = json!({"cachePaths": [{"source": "", "target": "/etc/nix"}]});
    for (spec, degraded) in [(&reserved, "True"), (&layered, "False"), (&reserved, "True"), (&layered, "False")] {
        world.apply("ws", spec).await;
        world.condition("ws", "Degraded", degraded).await;
    }
    world.delete("stuck").await;
    leads.stop().await;
    world.delete("ws").await;
    world.api::<ConfigMap>().delete("layers", &DeleteParams::default()).await.expect("it is there");
    world.assert_nothing_left().await;
    stands_by.stop().await;

    let (granted, used) = (granted(&namespace), used(&cluster.control_plane, &namespace));
    let only_granted: BTreeSet<Right> = granted.difference(&used).cloned().collect();
    assert_eq!(only_granted, held_to_be_granted(), "these are granted beside what is used");
    assert_eq!(used.difference(&granted).next(), None, "more is used than is granted");
}

/// What the container hooks of runners need: nobody can grant what he does not hold.
fn held_to_be_granted() -> BTreeSet<Right> {
    let rights: [(&str, &str, &[&str]); 3] = [
        ("", "pods/exec", &["get", "create"]),
        ("", "pods/log", &["list", "watch"]),
        ("batch", "jobs", &["get", "list", "create", "delete"]),
    ];
    let right = |verb: &str, group: &str, resource: &str| (verb.to_owned(), group.to_owned(), resource.to_owned());
    let each = |(group, resource, verbs): (&'static str, &'static str, &'static [&'static str])| {
        verbs.iter().map(move |verb| right(verb, group, resource))
    };
    rights.into_iter().flat_map(each).collect()
}

/// A client to whom the answer to the first creation of a secret and of a pod is lost: only then it is looked up whether
/// there is one.
fn loses_first_answers(client: Client) -> Client {
    let lost: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, lost) = (client.clone(), Arc::clone(&lost));
        async move {
            let path = request.uri().path().to_owned();
            let is_creation = request.method() == http::Method::POST && !request.uri().to_string().contains("dryRun");
            let answer = client.send(request).await?;
            let is_first = |path: String| lost.lock().expect("no panic while it is held").insert(path);
            if is_creation && path.contains("/namespaces/") && is_first(path) {
                return Err(tower::BoxError::from("the connection was cut"));
            }
            Ok(answer)
        }
    });
    Client::new(service, "default")
}
