//! The command line on a real API server, as a new user would use it: files in a folder, a kubeconfig, nothing else.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::Fate;
use crate::proxy::Proxy;
use crate::user::{User, scale_set};
use crate::world::{TOKEN, World};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("up_without_an_operator_says_what_is_missing", up_without_an_operator)
        .test("up_says_what_keeps_an_operator_from_running", an_image_that_cannot_be_pulled)
        .test("a_new_user_goes_up_looks_around_changes_things_and_goes_down", a_new_user)
        .test("who_may_not_see_admission_policies_goes_up_without_and_is_told", without_policies)
        .test("a_cluster_is_reached_through_the_proxy_of_the_kubeconfig", through_a_proxy)
        .test("the_doctor_looks_at_a_cluster_as_a_runner_would_see_it", a_sick_cluster)
}

async fn up_without_an_operator(cluster: Arc<Cluster>) {
    let user = User::new(&cluster);
    let (runners, operator) = ("cli-runners", "cli-system");
    user.write("metal.yaml", &scale_set("metal", "https://github.com/acme/app"));
    let up = ["up", "-f", "metal.yaml", "-n", runners, "--operator-namespace", operator];
    let dry = user.deskrun(&[&up[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, Some(0), "{}{}", dry.stdout, dry.stderr);
    assert!(dry.stdout.contains("runnerscaleset/metal in cli-runners created\n"), "{}", dry.stdout);
    assert!(dry.stderr.ends_with("note: nothing was changed\n"), "{}", dry.stderr);
    let secrets: Api<Secret> = Api::namespaced(cluster.control_plane.client(), runners);
    assert!(secrets.get_opt("metal-github").await.expect("an answer").is_none());

    let late = user.deskrun(&[&up[..], &["--timeout", "15s"]].concat()).await;
    assert_eq!(late.code, Some(1), "{}{}", late.stdout, late.stderr);
    let words = "error: runnerscaleset/metal in cli-runners is not ready: no operator has looked at it yet\n";
    assert!(late.stderr.contains(words), "{}", late.stderr);
    assert!(late.stderr.contains("hint: waited for 15 s"), "{}", late.stderr);
    for made in [
        "namespace/cli-runners created",
        "namespace/cli-system created",
        "deployment/deskrun in cli-system created",
        "secret/metal-github in cli-runners created",
        "runnerscaleset/metal in cli-runners created",
    ] {
        assert!(late.stdout.contains(&format!("{made}\n")), "{made}: {}", late.stdout);
    }
    assert!(!format!("{}{}", late.stdout, late.stderr).contains(TOKEN));
    let secret = secrets.get("metal-github").await.expect("the Secret");
    assert_eq!(secret.data.expect("data")["github_token"].0, TOKEN.as_bytes());
    let deployments: Api<Deployment> = Api::namespaced(cluster.control_plane.client(), operator);
    let deployment = json!(deployments.get("deskrun").await.expect("the operator"));
    assert_eq!(deployment["status"]["availableReplicas"], Value::from(1), "{deployment}");

    let again = user.deskrun(&[&up[..], &["--timeout", "15s"]].concat()).await;
    let changed: Vec<&str> = again.stdout.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    assert_eq!(changed, Vec::<&str>::new(), "a second time there is nothing to do: {}", again.stderr);
}

async fn through_a_proxy(cluster: Arc<Cluster>) {
    let mut proxy = Proxy::start().await;
    let user = User::with(&cluster.control_plane, |kubeconfig| {
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = json!(proxy.url);
    });
    let listed = user.succeeds(&["list", "-n", "default"]).await;
    assert!(listed.stderr.contains("there is no RunnerScaleSet in default"), "{}{}", listed.stdout, listed.stderr);
    let head = proxy.heads.recv().await.expect("the proxy was asked");
    assert!(head.starts_with(&format!("CONNECT 127.0.0.1:{} ", cluster.control_plane.port())), "{head}");
}

async fn without_policies(cluster: Arc<Cluster>) {
    let client = cluster.control_plane.client();
    let groups = [
        "",
        "apps",
        "rbac.authorization.k8s.io",
        "apiextensions.k8s.io",
        "deskrun.dev",
        "coordination.k8s.io",
        "networking.k8s.io",
    ];
    let role = json!({
        "metadata": {"name": "cli-anna"},
        "rules": [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["get"]}],
    });
    let binding = json!({
        "metadata": {"name": "cli-anna"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "anna"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cli-anna"},
    });
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client);
    let object = serde_json::from_value(role).expect("a role");
    roles.create(&PostParams::default(), &object).await.expect("it can be made");
    let object = serde_json::from_value(binding).expect("a binding");
    bindings.create(&PostParams::default(), &object).await.expect("it can be made");

    let anna = User::called("anna", &cluster.control_plane);
    anna.write("none.yaml", "");
    let up = ["up", "-f", "none.yaml", "-n", "anna-runners", "--operator-namespace", "anna-system", "--dry-run"];
    let done = anna.succeeds(&up).await;
    assert!(!done.stdout.contains("validatingadmissionpolicy"), "{}", done.stdout);
    assert!(done.stdout.contains("deployment/deskrun in anna-system created\n"), "{}", done.stdout);
    let words = "validatingadmissionpolicy/runnerscalesets.deskrun.dev";
    assert!(done.stderr.contains(words) && done.stderr.contains("you may not see such objects"), "{}", done.stderr);
}

async fn an_image_that_cannot_be_pulled(cluster: Arc<Cluster>) {
    let user = User::new(&cluster);
    cluster.kubelet.behave("pull-system", |_| Fate::CannotPull);
    user.write("none.yaml", "");
    let up = ["up", "-f", "none.yaml", "-n", "pull-runners", "--operator-namespace", "pull-system", "--timeout", "25s"];
    let late = user.deskrun(&up).await;
    assert_eq!(late.code, Some(1), "{}{}", late.stdout, late.stderr);
    let words = "error: deployment/deskrun in pull-system is not available: 0 of 1 pods are available\n";
    assert!(late.stderr.contains(words), "{}", late.stderr);
    assert!(late.stderr.contains("error: pod deskrun-") && late.stderr.contains("ImagePull"), "{}", late.stderr);
}

async fn a_new_user(cluster: Arc<Cluster>) {
    let (user, world) = (User::new(&cluster), World::new(Arc::clone(&cluster)).await);
    let namespace = world.namespace.as_str();
    // The operator of this process works for the pod of the deployment, which is only played.
    let process: Arc<dyn deskrun::engine::memory::Process> = Arc::new(world.runner.clone());
    cluster.kubelet.behave(namespace, move |pod| match pod.metadata.labels.as_ref() {
        Some(labels) if labels.contains_key("deskrun.dev/runner") => Fate::Runs(Arc::clone(&process)),
        _ => Fate::waits(),
    });
    let operator = world.operator();
    let url = format!("{}/acme", world.url);
    let text = scale_set("metal", &url) + "  minRunners: 1\n";
    user.write("metal.yaml", &text);

    let up = ["up", "-f", "metal.yaml", "-n", namespace, "--operator-namespace", namespace];
    let done = user.succeeds(&up).await;
    assert!(done.stdout.ends_with(&format!("runnerscaleset/metal in {namespace} ready\n")), "{}", done.stdout);
    let again = user.succeeds(&up).await;
    let news: Vec<&str> = again.stdout.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    assert_eq!(news, [format!("runnerscaleset/metal in {namespace} ready")], "nothing is left to do");
    let healthy = user.succeeds(&["doctor", "-n", namespace, "--operator-namespace", namespace]).await;
    let words = "ok: a deletion of scale sets in the foreground is refused\n";
    assert!(healthy.stdout.contains(words), "{}", healthy.stdout);

    world.resource("metal", "idle", |object| object.data["status"]["idleRunners"] == 1).await;
    let same = user.succeeds(&["plan", "-f", "metal.yaml", "-n", namespace]).await;
    assert_eq!(
        (same.stdout.as_str(), same.stderr.as_str()),
        (
            "SCALE SET  PLAN       STAY  ROLLED  WAITED FOR\nmetal      unchanged  1     0       0\n",
            "note: nothing would change\n"
        )
    );
    let _watching = user.start(&["status", "--watch", "-n", namespace], "watched");
    world.queue("metal", 1, "sleep 15");
    let busy = |object: &kube::api::DynamicObject| {
        object.data["status"]["busyRunners"] == 1 && object.data["status"]["idleRunners"] == 1
    };
    world.resource("metal", "busy", busy).await;
    let status = user.succeeds(&["status", "-n", namespace]).await;
    let rows: Vec<Vec<&str>> = status.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["metal", "True", "1", "1/1/0", "1-4"], "{}", status.stdout);
    user.until_noted(namespace).await;
    user.write("image.yaml", &(text.clone() + "  maxRunners: 9\n  image: ghcr.io/actions/actions-runner:2.330.0\n"));
    let rolled = user.succeeds(&["plan", "-f", "image.yaml", "-n", namespace]).await;
    let expected = "metal      change  0     1       1\n  maxRunners: 4 -> 9\n  changed: image\n";
    assert!(rolled.stdout.contains(expected), "{}", rolled.stdout);
    assert!(rolled.stdout.contains("waits for its job"), "{}", rolled.stdout);
    world.until_jobs_end().await;

    let iron =
        ["add", "iron", "--repository", &url, "--mode", "kubernetes-novolume", "--secret", "github", "-n", namespace];
    let added = user.succeeds(&iron).await;
    assert_eq!(added.stdout, format!("runnerscaleset/iron in {namespace} created\n"));
    let twice = user.deskrun(&iron).await;
    assert!(twice.code == Some(1) && twice.stderr.contains("`--replace` changes it"), "{}", twice.stderr);
    world.condition("iron", "Ready", "True").await;
    let listed = user.succeeds(&["list", "-n", namespace]).await;
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..6], ["iron", &url, "kubernetes-novolume", "0-4", "1", "True"], "{}", listed.stdout);
    let removed = user.succeeds(&["remove", "iron", "-n", namespace]).await;
    assert!(removed.stderr.ends_with(&format!("removed: runnerscaleset/iron in {namespace}\n")), "{}", removed.stderr);
    let unknown = user.deskrun(&["remove", "iron", "-n", namespace]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("there is no RunnerScaleSet `iron`"), "{}", unknown.stderr);

    let down = user.succeeds(&["down", "-n", namespace, "--operator-namespace", namespace]).await;
    for gone in ["runnerscaleset/metal", "secret/metal-github", "deployment/deskrun", "role/deskrun-lease"] {
        assert!(down.stdout.contains(&format!("{gone} in {namespace} deleted\n")), "{gone}: {}", down.stdout);
    }
    assert!(down.stderr.contains(&format!("kept: namespace/{namespace}: ")), "{}", down.stderr);
    operator.kill().await;
    world.assert_nothing_left().await;
    let nothing = user.succeeds(&["down", "-n", namespace, "--operator-namespace", namespace]).await;
    assert_eq!(nothing.stdout, "", "{}", nothing.stderr);
    let watched = user.text("watched");
    assert!(watched.contains(" 1/1/0 ") && watched.contains("iron "), "{watched}");
}

async fn a_sick_cluster(cluster: Arc<Cluster>) {
    let (user, world) = (User::new(&cluster), World::new(Arc::clone(&cluster)).await);
    let namespace = world.namespace.as_str();
    let url = format!("{}/acme", world.url);
    user.write("metal.yaml", &scale_set("metal", &url));
    let doctor = ["doctor", "-f", "metal.yaml", "-n", namespace, "--operator-namespace", namespace];
    let first = user.succeeds(&doctor).await;
    for words in [
        "ok: https://127.0.0.1:",
        "ok: RunnerScaleSet is known to the API server\n",
        &format!("warning: no operator leads in {namespace}: scale sets there are not served\nhint: `deskrun up`"),
        &format!("ok: you may do in {namespace} and {namespace} what `deskrun up` does\n"),
        "ok: metal: 1 of 1 nodes may run its runners\n",
        &format!("ok: metal: {namespace} takes its runners\n"),
        &format!("ok: metal: the credentials may register runners at {url}; it is not there yet\n"),
    ] {
        assert!(first.stdout.contains(words), "{words}: {}", first.stdout);
    }
    assert_eq!(first.stderr, "");
    assert!(world.simulator.ledger()["scaleSets"].as_array().is_some_and(Vec::is_empty), "looking makes nothing");

    // What is in the cluster: one that only validation refuses keeps no other from being looked at, and layers are found.
    let config_map = json!({"data": {"layer": "metadata: {labels: {team: build}}"}});
    world.make::<ConfigMap>("layers", &config_map).await;
    world.apply("layered", &json!({"layers": [{"configMap": {"name": "layers", "key": "layer"}}]})).await;
    let caches = json!([
        {"source": "/nvme/docker", "target": "/var/lib/docker"},
        {"source": "/nvme/docker-1", "target": "/cache"},
    ]);
    let broken = json!({"containerMode": "cached-privileged-kubernetes", "cachePaths": caches});
    world.apply("broken", &broken).await;
    let looked = user.deskrun(&["doctor", "-n", namespace, "--operator-namespace", namespace]).await;
    assert!(looked.stdout.contains(&format!("ok: layered: {namespace} takes its runners\n")), "{}", looked.stdout);
    assert!(
        looked.code == Some(1) && looked.stdout.contains("problem: runnerscaleset/broken: spec.cachePaths[1]"),
        "{}{}",
        looked.stdout,
        looked.stderr
    );

    let baseline = cluster.control_plane.namespace(&[("pod-security.kubernetes.io/enforce", "baseline")]).await;
    let text = scale_set("metal", &url).replace("kubernetes-novolume", "cached-privileged-kubernetes");
    let text = text.replace("credentials: {patFile: token}", "githubConfigSecret: nothing");
    user.write("sick.yaml", &(text + "  nodeSelector: {disk: nvme}\n"));
    let sick = user.deskrun(&["doctor", "-f", "sick.yaml", "-n", &baseline, "-o", "json"]).await;
    assert_eq!((sick.code, sick.stderr.as_str()), (Some(1), ""), "{}", sick.stdout);
    let findings: Vec<Value> = serde_json::from_str(&sick.stdout).expect("JSON");
    let problems = findings.iter().filter(|finding| finding["level"] == "problem");
    let words: Vec<&str> = problems.map(|finding| finding["text"].as_str().expect("text")).collect();
    assert_eq!(words.len(), 3, "{words:#?}");
    assert_eq!(words[0], "metal: none of 1 nodes may run its runners");
    assert!(words[1].contains("baseline"), "{words:#?}");
    assert_eq!(words[2], format!("metal: there is no Secret nothing in {baseline}"));
}
