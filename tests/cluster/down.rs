//! `deskrun down`, where it is not simply done: without an operator, with busy runners, with others who need the definition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{ControlPlane, Options};
use crate::user::{User, scale_set};
use crate::world::World;
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("down_waits_for_busy_runners_no_longer_than_it_is_told_to", a_busy_runner)
        .test("down_without_an_operator_says_so_and_can_be_forced", an_operator_that_is_gone)
        .test("the_definition_goes_only_when_no_one_needs_it", the_definition)
        .test("an_operator_that_serves_others_is_neither_moved_nor_taken_out", an_operator_of_others)
        .test("what_was_made_for_a_scale_set_that_went_unseen_is_taken_out_by_the_same_command", made_for_what_is_gone)
}

async fn an_operator_that_is_gone(cluster: Arc<Cluster>) {
    let (user, world) = (User::new(&cluster), World::new(Arc::clone(&cluster)).await);
    let namespace = world.namespace.as_str();
    let operator = world.operator();
    let url = format!("{}/acme", world.url);
    user.write("metal.yaml", &(scale_set("metal", &url) + "  instances: 2\n"));
    user.succeeds(&["up", "--no-operator", "-f", "metal.yaml", "-n", namespace]).await;
    operator.stop().await;
    let down = ["down", "-n", namespace, "--operator-namespace", namespace, "--timeout", "20s"];
    let refused = user.deskrun(&down).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("error: no operator runs in"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: `deskrun up` starts one; `deskrun down --force`"), "{}", refused.stderr);
    let forced = user.succeeds(&[&down[..], &["--force"]].concat()).await;
    let words = format!("left behind: at {url}: scale set metal-1, metal-2 and its runners\n");
    assert!(forced.stderr.contains(&words), "{}", forced.stderr);
    assert!(forced.stdout.contains(&format!("runnerscaleset/metal in {namespace} deleted\n")), "{}", forced.stdout);
    let left: Vec<Value> = world.simulator.ledger()["scaleSets"].as_array().cloned().unwrap_or_default();
    assert_eq!(left.len(), 2, "GitHub was not asked: {left:?}");
}

async fn a_busy_runner(cluster: Arc<Cluster>) {
    let (user, world) = (User::new(&cluster), World::new(Arc::clone(&cluster)).await);
    let namespace = world.namespace.as_str();
    let _operator = world.operator();
    user.write("metal.yaml", &scale_set("metal", &format!("{}/acme", world.url)));
    user.succeeds(&["up", "--no-operator", "-f", "metal.yaml", "-n", namespace]).await;
    world.queue("metal", 1, "sleep 15");
    world.resource("metal", "busy", |object| object.data["status"]["busyRunners"] == 1).await;
    let begun = Instant::now();
    let down = ["down", "-n", namespace, "--operator-namespace", namespace];
    let late = user.deskrun(&[&down[..], &["--timeout", "4s"]].concat()).await;
    assert_eq!((late.code, late.stdout.as_str()), (Some(1), ""), "{}", late.stderr);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waits for ever");
    let words = format!("error: runnerscaleset/metal in {namespace} is still there: 1 busy runners end first\n");
    assert!(late.stderr.contains(&words), "{}", late.stderr);
    assert!(late.stderr.contains("hint: the operator goes on, and is left in place"), "{}", late.stderr);
    let done = user.succeeds(&down).await;
    assert!(done.stdout.contains(&format!("runnerscaleset/metal in {namespace} deleted\n")), "{}", done.stdout);
    assert_eq!(world.jobs()[0]["conclusion"], "success", "the job was not waited for");
    world.assert_nothing_left().await;
}

/// On a control plane of its own: the other tests need the definition.
async fn the_definition(_: Arc<Cluster>) {
    let control_plane =
        ControlPlane::start(Options { scheduler: false, ..Options::default() }).await.expect("it starts");
    let user = User::of(&control_plane);
    user.write("none.yaml", "");
    let unknown = user.deskrun(&["list", "-n", "ci"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(0), ""), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("there is no RunnerScaleSet in ci"), "{}", unknown.stderr);
    let up = user.deskrun(&["up", "-f", "none.yaml", "-n", "ci", "--timeout", "10s"]).await;
    assert_eq!(up.code, Some(1), "{}", up.stdout);
    let words = "error: deployment/deskrun in deskrun-system is not available: 0 of 1 pods are available\n";
    assert!(up.stderr.contains(words), "{}", up.stderr);
    let url = "https://github.com/acme";
    user.succeeds(&["add", "metal", "--repository", url, "--secret", "github", "-n", "ci"]).await;
    let status = user.succeeds(&["status", "-n", "ci"]).await;
    assert!(status.stdout.contains("\n  no operator has looked at it yet\n"), "{}", status.stdout);
    let kept = user.deskrun(&["down", "-n", "default", "--crds"]).await;
    assert_eq!(kept.code, Some(1), "{}", kept.stdout);
    let words = "error: the definition is kept, for there are others: runnerscaleset/metal in ci\n";
    assert!(kept.stderr.contains(words), "{}", kept.stderr);
    let gone = user.succeeds(&["down", "-n", "ci", "--crds"]).await;
    assert!(gone.stdout.starts_with("runnerscaleset/metal in ci deleted\n"), "{}", gone.stdout);
    let words = "customresourcedefinition/runnerscalesets.deskrun.dev deleted\n";
    assert!(gone.stdout.ends_with(words), "{}", gone.stdout);
    let again = user.succeeds(&["down", "-n", "ci", "--crds"]).await;
    assert_eq!(again.stdout, "", "{}", again.stderr);
}

/// On a control plane of its own: an operator of all namespaces keeps others from being installed.
async fn an_operator_of_others(_: Arc<Cluster>) {
    let control_plane =
        ControlPlane::start(Options { scheduler: false, ..Options::default() }).await.expect("it starts");
    let user = User::of(&control_plane);
    let (operator, first, other) =
        (control_plane.namespace(&[]).await, control_plane.namespace(&[]).await, control_plane.namespace(&[]).await);
    user.write("none.yaml", "");
    let arguments = |namespace: &str, more: &[&str]| -> Vec<String> {
        let own = ["-n", namespace, "--operator-namespace", &operator];
        own.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    };
    let up = async |namespace: &str, more: &[&str]| {
        let arguments = arguments(namespace, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        user.deskrun(&[&["up", "-f", "none.yaml", "--timeout", "1s"], &arguments[..]].concat()).await
    };
    let down = async |namespace: &str| {
        let arguments = arguments(namespace, &[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        user.succeeds(&[&["down"], &arguments[..]].concat()).await
    };
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), &operator);
    let container = async || {
        let deployment = deployments.get("deskrun").await.expect("it is there");
        let spec = deployment.spec.expect("a spec").template.spec.expect("a spec");
        let container = spec.containers.into_iter().next().expect("a container");
        (container.args.unwrap_or_default().remove(1), container.image.unwrap_or_default())
    };
    up(&first, &["--image", "registry.example.com/deskrun:1"]).await;
    let (serves_first, chosen) = (format!("--namespace={first}"), "registry.example.com/deskrun:1".to_owned());
    assert_eq!(container().await, (serves_first.clone(), chosen.clone()));

    let again = up(&first, &[]).await;
    assert!(again.stderr.contains(&format!("note: the operator's image stays {chosen}")), "{}", again.stderr);
    let moved = up(&other, &[]).await;
    let words = format!("deployment/deskrun in {operator} is not changed: it serves the namespace {first}");
    assert!(moved.code == Some(1) && moved.stderr.contains(&words), "{}", moved.stderr);
    assert_eq!(moved.stdout, "", "nothing was applied");
    let kept = down(&other).await;
    let words = format!("kept: deployment/deskrun in {operator}: it serves the namespace {first}\n");
    assert!(kept.stdout.is_empty() && kept.stderr.contains(&words), "{}{}", kept.stdout, kept.stderr);
    assert_eq!(container().await, (serves_first, chosen.clone()));

    // It may come to serve more, and then needs no rights of its own in that namespace.
    let widened = up(&first, &["--all-namespaces"]).await;
    let words = format!("role/deskrun-runners in {first} deleted\n");
    assert!(widened.stdout.contains(&words), "{}{}", widened.stdout, widened.stderr);
    assert_eq!(container().await, ("--all-namespaces".to_owned(), chosen));

    let managed = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    deployments.patch("deskrun", &PatchParams::default(), &Patch::Merge(&managed)).await.expect("it is patched");
    let taken = up(&first, &["--all-namespaces"]).await;
    assert!(taken.code == Some(1) && taken.stderr.contains("it is managed by Helm"), "{}", taken.stderr);
    assert!(down(&first).await.stderr.contains("it is managed by Helm"));
    deployments.get("deskrun").await.expect("it is there");

    // A command that broke off after the Deployment left the rights in all namespaces.
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "deskrun"}}});
    deployments.patch("deskrun", &PatchParams::default(), &Patch::Merge(&ours)).await.expect("it is patched");
    let whole = deployments.get("deskrun").await.expect("it is there");
    deployments.delete("deskrun", &DeleteParams::default()).await.expect("it can be deleted");
    let rest = down(&first).await;
    for gone in ["clusterrolebinding/deskrun-runners deleted\n", "clusterrole/deskrun-runners deleted\n"] {
        assert!(rest.stdout.contains(gone), "{gone}: {}{}", rest.stdout, rest.stderr);
    }
    let metadata = json!({"name": "deskrun", "labels": managed["metadata"]["labels"]});
    let again = Deployment { metadata: serde_json::from_value(metadata).expect("metadata"), ..whole };
    deployments.create(&PostParams::default(), &again).await.expect("it can be made");

    // Without a name, what would go is all that it serves: the other people's.
    let url = "https://github.com/acme";
    user.succeeds(&["add", "metal", "--repository", url, "--secret", "github", "-n", &other]).await;
    let refused = user.deskrun(&["down", "--operator-namespace", &operator]).await;
    let words = format!("deployment/deskrun in {operator}: it is managed by Helm: name the namespace");
    assert!(refused.code == Some(1) && refused.stderr.contains(&words), "{}{}", refused.stdout, refused.stderr);
    let listed = user.succeeds(&["list", "-n", &other]).await;
    assert!(listed.stdout.contains("metal"), "{}", listed.stdout);

    // A release may have another name, and be elsewhere.
    let mut renamed = deployments.get("deskrun").await.expect("it is there");
    deployments.delete("deskrun", &DeleteParams::default()).await.expect("it can be deleted");
    renamed.metadata = serde_json::from_value(json!({
        "name": "ci-deskrun",
        "labels": {"deskrun.dev/operator": "true", "app.kubernetes.io/managed-by": "Helm"},
    }))
    .expect("metadata");
    deployments.create(&PostParams::default(), &renamed).await.expect("it can be made");
    let second = user.deskrun(&["up", "-f", "none.yaml", "-n", &first, "--timeout", "1s"]).await;
    let words = format!("deployment/ci-deskrun in {operator} serves the namespace {first} already");
    assert!(second.code == Some(1) && second.stderr.contains(&words), "{}{}", second.stdout, second.stderr);
    let kept = user.succeeds(&["down", "-n", &first]).await;
    assert!(kept.stderr.contains(&format!("kept: deployment/ci-deskrun in {operator}: ")), "{}", kept.stderr);
}

async fn made_for_what_is_gone(cluster: Arc<Cluster>) {
    let user = User::new(&cluster);
    let namespace = cluster.control_plane.namespace(&[]).await;
    let url = "https://github.com/acme";
    user.succeeds(&["add", "metal", "--repository", url, "--pat-file", "token", "-n", &namespace]).await;
    // No operator serves it here, so it goes at once, and unseen by the command.
    let kubeconfig = cluster.control_plane.kubeconfig();
    let mut kubectl = std::process::Command::new("kubectl");
    kubectl.env("KUBECONFIG", kubeconfig).args(["delete", "rss", "metal", "-n", &namespace]);
    assert!(kubectl.output().expect("kubectl runs").status.success());
    let removed = user.succeeds(&["remove", "metal", "-n", &namespace]).await;
    assert_eq!(removed.stdout, format!("secret/metal-github in {namespace} deleted\n"), "{}", removed.stderr);
    let again = user.deskrun(&["remove", "metal", "-n", &namespace]).await;
    assert!(again.code == Some(1) && again.stderr.contains("there is no RunnerScaleSet"), "{}", again.stderr);
}
