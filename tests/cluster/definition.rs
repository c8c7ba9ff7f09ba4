//! The custom resource definition before a real API server: taken as structural and without a warning; every rule refuses
//! its bad object and says its words; what the validated model accepts is accepted, example by example.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use deskrun::crd::{API_VERSION, definition, read};
use deskrun::scale_set::validate;
use deskrun::yaml;
use kube::Client;
use serde_json::{Value, json};

use crate::support::golden::{files, folders, name};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("the_definition_is_structural_and_nothing_is_to_be_warned_of", is_structural)
        .test("the_definition_refuses_every_bad_object_with_the_words_of_its_rule", every_rule_refuses)
        .test("what_the_definition_refuses_the_validated_model_refuses_as_well", both_refuse)
        .test("the_definition_accepts_what_the_validated_model_accepts_and_the_examples", what_is_fine_is_accepted)
        .test("the_definition_takes_null_for_not_said", null_is_not_said)
}

/// A change of a good spec that breaks one rule.
struct Bad {
    change: Value,
    /// The model cannot know it: the rule holds for clusters only.
    in_clusters_only: bool,
}

fn bad_specs() -> Vec<Bad> {
    let cache = |entry: Value| json!({"cachePaths": [entry]});
    let in_mode = |mode: &str, mut change: Value| {
        change["containerMode"] = json!(mode);
        change
    };
    let everywhere = [
        json!({"minRunners": 5}),
        json!({"githubConfigUrl": "https://github.com"}),
        json!({"labels": ["a,b"]}),
        in_mode("dind", json!({"containerHooks": true})),
        in_mode("kubernetes", json!({"containerHooks": false})),
        in_mode("kubernetes", json!({"nix": {}})),
        in_mode("kubernetes-novolume", json!({"docker": {}})),
        in_mode("dind", json!({"docker": {"enabled": false}})),
        in_mode("dind", json!({"docker": {"start": "job-started"}})),
        json!({"docker": {"image": "docker:29"}}),
        json!({"image": "a b"}),
        in_mode("dind", json!({"docker": {"image": "a b"}})),
        json!({"nix": {"profile": "/home/me"}}),
        json!({"nix": {"experimentalFeatures": ["a b"]}}),
        json!({"proxy": {"http": "http://user:hunter2@proxy:3128"}}),
        json!({"proxy": {"https": "http://user:hunter2@proxy:3128"}}),
        json!({"proxy": {"http": "ftp://proxy"}}),
        json!({"proxy": {"https": "http://proxy/path"}}),
        json!({"proxy": {"credentialsSecret": "proxy"}}),
        json!({"tls": {"certificateAuthority": {}}}),
        json!({"tls": {"certificateAuthority": {"inline": "-----BEGIN PRIVATE KEY-----"}}}),
        json!({"layers": [{}]}),
        cache(json!({"target": "/cache"})),
        cache(json!({"target": "/cache", "source": "/nvme", "volume": {"nfs": {"server": "a", "path": "/b"}}})),
        cache(json!({"target": "/cache", "source": "", "type": "File"})),
        cache(json!({"target": "/cache", "source": "/nvme", "medium": "Memory"})),
        cache(json!({"target": "/cache", "source": "", "medium": "Disk"})),
        cache(json!({"target": "/cache", "source": "", "sizeLimit": "20GB"})),
        cache(json!({"target": "cache", "source": ""})),
        cache(json!({"target": "/", "source": ""})),
        cache(json!({"target": "/a/../b", "source": ""})),
        cache(json!({"target": "/a:b", "source": ""})),
        cache(json!({"target": "/a/{slot}", "source": ""})),
        cache(json!({"target": "/cache", "source": "nvme"})),
        cache(json!({"target": "/cache", "source": "/nvme/./x"})),
        cache(json!({"target": "/cache", "source": "/nvme/{job}"})),
        cache(json!({"target": "/cache", "source": "/etc/ssl"})),
        cache(json!({"target": "/cache", "source": "//var/lib//kubelet/pods"})),
        cache(json!({"target": "/cache", "source": "/var/run/containerd"})),
        cache(json!({"target": "/cache", "source": "/var"})),
        cache(json!({"target": "/cache", "source": "/"})),
        json!({"timeouts": {"start": "0s"}}),
        json!({"timeouts": {"online": "10"}}),
        json!({"timeouts": {"idle": "1d"}}),
        json!({"timeouts": {"completed": ""}}),
        json!({"timeouts": {"grace": "-5s"}}),
        json!({"instances": 0}),
        json!({"instances": 257}),
        json!({"maxRunners": 0}),
    ];
    let in_clusters = [
        json!({"githubConfigUrl": null}),
        json!({"githubConfigSecret": null}),
        json!({"githubConfigSecret": "ghp_1234"}),
        json!({"githubConfigSecret": null, "credentials": {"patEnv": "TOKEN"}}),
        json!({"layers": [{"file": "team.yaml"}]}),
    ];
    let bad = |in_clusters_only| move |change| Bad { change, in_clusters_only };
    everywhere.into_iter().map(bad(false)).chain(in_clusters.into_iter().map(bad(true))).collect()
}

fn scale_set(name: &str, change: &Value) -> Value {
    let mut spec = json!({
        "githubConfigUrl": "https://github.com/acme/widgets",
        "githubConfigSecret": "github",
        "containerMode": "cached-privileged-kubernetes",
    });
    for (key, value) in change.as_object().expect("a mapping") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": API_VERSION, "kind": "RunnerScaleSet", "metadata": {"name": name}, "spec": spec})
}

async fn is_structural(cluster: Arc<Cluster>) {
    let client = cluster.control_plane.client();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runnerscalesets.deskrun.dev";
    let parameters = "dryRun=All&fieldValidation=Strict&fieldManager=test&force=true";
    let request = http::Request::patch(format!("{path}?{parameters}"))
        .header("content-type", "application/apply-patch+yaml")
        .body(definition().to_string().into_bytes().into())
        .expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let warnings: Vec<_> = answer.headers().get_all("warning").iter().collect();
    assert!(answer.status().is_success() && warnings.is_empty(), "{} {warnings:?}", answer.status());
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runnerscalesets.deskrun.dev";
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    let there: Value = client.request(request).await.expect("it is there");
    let condition = |wanted: &str| {
        let conditions = there["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|condition| condition["type"] == wanted).map(|condition| condition["status"].clone()).next()
    };
    assert_eq!(condition("Established"), Some(json!("True")));
    assert_eq!(condition("NonStructuralSchema"), None, "{}", there["status"]);
}

async fn every_rule_refuses(cluster: Arc<Cluster>) {
    let client = cluster.control_plane.client();
    let namespace = cluster.control_plane.namespace(&[]).await;
    let mut refusals = Vec::new();
    for (index, Bad { change, .. }) in bad_specs().into_iter().enumerate() {
        let object = scale_set(&format!("bad-{index}"), &change);
        refusals.push(create(&client, &namespace, &object, true).await.expect_err(&format!("{change} is accepted")));
    }
    let long = "a".repeat(62);
    for (name, change) in [("a.b", json!({})), (long.as_str(), json!({"instances": 2}))] {
        let object = scale_set(name, &change);
        refusals.push(create(&client, &namespace, &object, true).await.expect_err(&format!("{name} is accepted")));
    }
    refusals.push(moved(&client, &namespace).await);
    let refused = refusals.join("\n");
    assert!(!refused.contains("hunter2"), "{refused}");
    let rules = rules("", &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    assert!(rules.len() > 40, "{} rules are found", rules.len());
    for (path, message) in rules {
        let said = format!("{path}: Invalid value: \"");
        let says = |at: usize| refused[at..].split_once("\": ").is_some_and(|(_, words)| words.starts_with(&message));
        assert!(
            refused.match_indices(&said).any(|(at, _)| says(at)),
            "{path}: {message}\nis said by none of\n{refused}"
        );
    }
}

/// What is said to someone who moves a scale set to another repository.
async fn moved(client: &Client, namespace: &str) -> String {
    create(client, namespace, &scale_set("moving", &json!({})), false).await.expect("a good one");
    let path = format!("/apis/{API_VERSION}/namespaces/{namespace}/runnerscalesets/moving");
    let change = json!({"spec": {"githubConfigUrl": "https://github.com/acme/gadgets"}});
    let request = http::Request::patch(&path).header("content-type", "application/merge-patch+json");
    let moved = answer(client, request.body(change.to_string().into_bytes()).expect("a request")).await;
    let request = http::Request::delete(&path).body(Vec::new()).expect("a request");
    answer(client, request).await.expect("it can be deleted");
    moved.expect_err("it is moved")
}

async fn both_refuse(_: Arc<Cluster>) {
    for Bad { change, in_clusters_only } in bad_specs() {
        if !in_clusters_only {
            assert!(!is_valid(&scale_set("ws", &change)), "{change} is valid outside of clusters");
        }
    }
    let long = "a".repeat(62);
    assert!(!is_valid(&scale_set("a.b", &json!({}))) && !is_valid(&scale_set(&long, &json!({"instances": 2}))));
}

async fn what_is_fine_is_accepted(cluster: Arc<Cluster>) {
    let client = cluster.control_plane.client();
    let namespace = cluster.control_plane.namespace(&[]).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inputs = ["testdata/refused", "testdata/render"].into_iter().flat_map(|suite| folders(&root.join(suite)));
    let inputs = inputs.flat_map(|folder| [folder.join("accepted.yaml"), folder.join("input.yaml")]);
    let (mut tried, mut examples) = (0, BTreeSet::new());
    for file in inputs.chain(files(&root.join("examples"))).filter(|file| file.exists()) {
        let text = std::fs::read_to_string(&file).expect("a file");
        let is_example = file.parent().is_some_and(|parent| parent.ends_with("examples"));
        for object in yaml::read(&text).expect("YAML").iter().map(yaml::Tree::to_json) {
            // Some inputs need arguments to be fine, and files cannot say everything that a cluster asks for.
            let Some(object) = for_a_cluster(object, is_example).filter(is_valid) else { continue };
            let refusal = create(&client, &namespace, &object, true).await.err();
            assert_eq!(refusal, None, "{}: {object}", file.display());
            tried += 1;
            if is_example {
                examples.insert(name(&file));
            }
        }
    }
    assert!(tried > 60, "{tried} objects are tried");
    let standalone: Vec<String> = files(&root.join("examples")).iter().map(|file| name(file)).collect();
    let standalone: Vec<&String> = standalone.iter().filter(|file| !examples.contains(*file)).collect();
    assert_eq!(
        standalone,
        ["nvme-layout.yaml", "podman-host.yaml", "rubionic-workspace.yaml"],
        "these have credentials of their own"
    );
}

async fn null_is_not_said(cluster: Arc<Cluster>) {
    let client = cluster.control_plane.client();
    let namespace = cluster.control_plane.namespace(&[]).await;
    let change = json!({
        "labels": null, "image": null, "nix": null, "docker": {"start": null}, "timeouts": {"start": null},
        "cachePaths": [{"target": "/cache", "source": "", "type": null, "volume": null}],
    });
    let made = create(&client, &namespace, &scale_set("null", &change), true).await.expect("it is accepted");
    assert!(!made["spec"].to_string().contains("null"), "{}", made["spec"]);
    let refusal = create(&client, &namespace, &scale_set("null", &json!({"containerMode": null})), true).await;
    assert!(refusal.expect_err("it is needed").contains("spec.containerMode: Required value"));
}

/// The object of a file as it would stand in a cluster; `None` for other kinds.
fn for_a_cluster(mut object: Value, as_it_is: bool) -> Option<Value> {
    if object.get("kind").is_none() && object.get("apiVersion").is_none() {
        object =
            json!({"apiVersion": API_VERSION, "kind": "RunnerScaleSet", "metadata": {"name": "ws"}, "spec": object});
    }
    if object["kind"] != "RunnerScaleSet" {
        return None;
    }
    object["metadata"].as_object_mut()?.remove("namespace");
    let spec = object["spec"].as_object_mut()?;
    if as_it_is {
        return (!spec.contains_key("credentials")).then_some(object);
    }
    spec.remove("credentials");
    spec.insert("githubConfigSecret".to_owned(), json!("github"));
    spec.entry("githubConfigUrl").or_insert(json!("https://github.com/acme/widgets"));
    let from_file = |layer: &Value| !layer["file"].is_null();
    let has_file = spec.get("layers").and_then(Value::as_array).is_some_and(|layers| layers.iter().any(from_file));
    (!has_file).then_some(object)
}

fn is_valid(object: &Value) -> bool {
    let read = read("object.yaml", &object.to_string(), &[]);
    read.problems.is_empty()
        && read.documents.iter().all(|document| validate(document, None).is_some_and(|it| it.is_ok()))
}

/// The path and words of every rule below a schema, with the paths as an API server says them.
fn rules(path: &str, schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let blamed = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let blamed = if blamed.is_empty() { "<nil>".to_owned() } else { blamed };
        found.push((blamed, rule["message"].as_str().expect("words").to_owned()));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.extend(rules(&below, schema));
    }
    if schema["items"].is_object() {
        found.extend(rules(&format!("{path}[0]"), &schema["items"]));
    }
    found
}

async fn create(client: &Client, namespace: &str, object: &Value, tried_only: bool) -> Result<Value, String> {
    let dry_run = if tried_only { "&dryRun=All" } else { "" };
    let path = format!("/apis/{API_VERSION}/namespaces/{namespace}/runnerscalesets?fieldValidation=Strict{dry_run}");
    let request = http::Request::post(path).header("content-type", "application/json");
    answer(client, request.body(object.to_string().into_bytes()).expect("a request")).await
}

/// The answer, or what is said against the request.
async fn answer(client: &Client, request: http::Request<Vec<u8>>) -> Result<Value, String> {
    match client.request::<Value>(request).await {
        Ok(value) => Ok(value),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer: {error}"),
    }
}
