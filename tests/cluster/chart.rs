//! The chart before a real API server: what it renders is taken with strict validation, the operator's pod stands the
//! strictest pod security, and one stream of it can be applied to a cluster that knows nothing of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use deskrun::crd::API_VERSION;
use deskrun::installation::Installation;
use deskrun::yaml;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{ControlPlane, Options, established, helm};
use crate::support::golden::{folders, name};
use crate::{Cluster, Trials};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/deskrun");

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("the_chart_renders_to_objects_that_are_taken_strictly", renderings_are_taken)
        .test("the_charts_operator_stands_restricted_pod_security", operator_is_restricted)
        .test("the_chart_can_be_applied_in_one_stream_to_a_fresh_cluster", applied_in_one_stream)
        .test("the_chart_is_installed_upgraded_and_uninstalled_by_helm", installed_by_helm)
        .test("what_is_installed_without_helm_is_taken_strictly", installation_is_taken)
}

async fn renderings_are_taken(cluster: Arc<Cluster>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/chart");
    let mut tried = 0;
    for case in folders(&root).iter().filter(|case| case.join("expected.yaml").exists()) {
        let text = std::fs::read_to_string(case.join("expected.yaml")).expect("a golden");
        tried += taken(&cluster, &objects(&text)).await.unwrap_or_else(|error| panic!("{}: {error}", name(case)));
    }
    assert!(tried > 30, "{tried} objects are tried");
}

async fn installation_is_taken(cluster: Arc<Cluster>) {
    for runner_namespace in [None, Some("deskrun-runners".to_owned())] {
        let image = "localhost/deskrun:test".to_owned();
        let installation = Installation { namespace: "deskrun-system".to_owned(), runner_namespace, image };
        let objects = installation.objects().expect("they can be read");
        taken(&cluster, &objects).await.unwrap_or_else(|error| panic!("{installation:?}: {error}"));
    }
}

/// Tries all objects that the cluster has a kind for; how many.
async fn taken(cluster: &Cluster, objects: &[Value]) -> Result<usize, String> {
    let client = cluster.control_plane.client();
    let namespaces = objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str());
    for namespace in namespaces.collect::<BTreeSet<_>>() {
        ensure_namespace(&client, namespace).await;
    }
    let known = objects.iter().filter(|object| object["kind"] != "PodMonitor");
    let mut tried = 0;
    for object in known {
        apply(&client, object, true).await.map_err(|error| format!("{} {error}", object["kind"]))?;
        tried += 1;
    }
    Ok(tried)
}

async fn operator_is_restricted(cluster: Arc<Cluster>) {
    let label = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = cluster.control_plane.namespace(&label).await;
    let client = cluster.control_plane.client();
    let rendered = objects(&template(&["--namespace", &namespace]));
    let of_kind =
        |kind: &str| rendered.iter().find(|object| object["kind"] == kind).expect("the chart has one").clone();
    let account = of_kind("ServiceAccount");
    apply(&client, &account, false).await.expect("its account is there");
    let mut pod = of_kind("Deployment")["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("operator");
    pod["metadata"]["namespace"] = json!(namespace);
    apply(&client, &pod, true).await.expect("the pod is admitted");
}

/// As the README says, in a cluster of its own that knows nothing of it: `helm template … | kubectl apply --server-side -f -`.
/// Nothing waits for what it needs; the runners' namespace comes first in the stream.
async fn applied_in_one_stream(_: Arc<Cluster>) {
    let plane = ControlPlane::start(Options { scheduler: false, definition: false, ..Options::default() })
        .await
        .expect("a control plane");
    let kubectl = |arguments: &[&str]| {
        let kubeconfig = plane.kubeconfig();
        let output = Command::new("kubectl").args(arguments).env("KUBECONFIG", kubeconfig).output();
        let output = output.expect("kubectl runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    };
    kubectl(&["create", "namespace", "deskrun-system"]);
    let file = plane.folder().join("stream.yaml");
    let settings = ["--namespace", "deskrun-system", "--set=replicas=0,metrics.dashboard.enabled=true"];
    std::fs::write(&file, template(&settings)).expect("a file");
    let file = file.to_str().expect("a path is text");
    kubectl(&["apply", "--server-side", "--validate=strict", "--filename", file]);
    // It may be applied again.
    kubectl(&["apply", "--server-side", "--validate=strict", "--filename", file]);
    established(&plane.client()).await.expect("the definition is there");
    let namespace: Namespace =
        Api::all(plane.client()).get("deskrun-runners").await.expect("the runners' namespace is there");
    let level = namespace.metadata.labels.and_then(|labels| labels.get("pod-security.kubernetes.io/enforce").cloned());
    assert_eq!(level.as_deref(), Some("privileged"));
}

/// A cluster of its own: a definition that someone else made would not be Helm's to take over.
async fn installed_by_helm(_: Arc<Cluster>) {
    let plane = ControlPlane::start(Options { scheduler: false, definition: false, ..Options::default() })
        .await
        .expect("a control plane");
    let values = plane.folder().join("values.yaml");
    let text =
        "replicas: 0\nscaleSets: {ws: {githubConfigUrl: https://github.com/acme/widgets, containerMode: dind}}\n";
    std::fs::write(&values, text).expect("a file");
    let values = values.to_str().expect("a path is text");
    let release = ["deskrun", CHART, "--namespace", "deskrun-system", "--values", values];
    let run = |command: &[&str], arguments: &[&str]| {
        let mut helm = Command::new(helm().expect("Helm is there"));
        let output =
            helm.args(command).args(arguments).env("KUBECONFIG", plane.kubeconfig()).output().expect("Helm runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        assert!(output.status.success(), "{command:?}: {}", text(output.stderr));
        text(output.stdout)
    };
    let path = format!("/apis/{API_VERSION}/namespaces/deskrun-runners/runnerscalesets");
    let names = async || {
        let request = http::Request::get(&path).body(Vec::new()).expect("a request");
        let list: Value = plane.client().request(request).await.expect("the definition is there");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let notes = run(&["install", "--create-namespace"], &release);
    assert!(notes.contains("helm upgrade deskrun"), "{notes}");
    established(&plane.client()).await.expect("the definition is there");
    assert_eq!(names().await, [""; 0]);
    let notes = run(&["upgrade"], &release);
    assert!(!notes.contains("helm upgrade"), "{notes}");
    assert_eq!(names().await, ["ws"]);
    let said = run(&["uninstall", "--namespace", "deskrun-system"], &["deskrun"]);
    assert!(said.contains("kept due to the resource policy"), "{said}");
    assert_eq!(names().await, [""; 0], "the definition is kept, the scale set is not");
    Api::<Namespace>::all(plane.client()).get("deskrun-runners").await.expect("it is kept");
}

/// The objects of a rendering.
fn objects(text: &str) -> Vec<Value> {
    yaml::read(text).expect("YAML").iter().map(yaml::Tree::to_json).collect()
}

fn template(arguments: &[&str]) -> String {
    let mut command = Command::new(helm().expect("Helm is there"));
    let output = command
        .args(["template", "deskrun", CHART, "--kube-version=1.34.4"])
        .args(arguments)
        .output()
        .expect("Helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn ensure_namespace(client: &Client, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    apply(client, &namespace, false).await.expect("the namespace is there");
}

/// Server-side apply with strict validation; the error is what the API server says.
async fn apply(client: &Client, object: &Value, tried_only: bool) -> Result<(), String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let version = text(&object["apiVersion"]);
    let group = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
    let scope = object["metadata"]["namespace"].as_str().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    let kind = text(&object["kind"]).to_lowercase();
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    let name = text(&object["metadata"]["name"]);
    let dry_run = if tried_only { "&dryRun=All" } else { "" };
    let parameters = format!("fieldManager=test&force=true&fieldValidation=Strict{dry_run}");
    let request = http::Request::patch(format!("/{group}{scope}/{plural}/{name}?{parameters}"))
        .header("content-type", "application/apply-patch+yaml")
        .body(object.to_string().into_bytes())
        .expect("a request");
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error}"),
    }
}
