//! What only Kubernetes does, or only Kubernetes does so.

use std::sync::Arc;
use std::time::Duration;

use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::engine::{Engine, EngineError, Observation, RunnerPhase};
use deskrun::manifest::RunnerManifest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::{Behaviour, Bench, Runner};
use crate::cluster::Node;
use crate::conformance::{GRACE, runner, secret};
use crate::kubernetes_bench::{KubernetesBench, manifest_in};
use crate::watcher::Watcher;

pub fn trials(bench: Option<&Arc<KubernetesBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(crate::trial(stringify!($name), "kubernetes", bench.cloned(), runtime, |bench| async move { $name(&bench).await })),*]
        };
    }
    trials![
        a_job_costs_five_writes_and_no_read,
        what_runners_share_is_applied_once_and_again_when_it_is_missed,
        what_runners_share_and_no_resource_owns_goes_with_the_last_of_them,
        what_an_owner_has_goes_with_it,
        what_the_cluster_refuses_is_told_with_the_way_out,
        a_start_that_waits_says_for_what,
        a_foreign_label_or_annotation_changes_nothing,
        a_job_is_noted_at_its_runner,
        what_workflows_made_goes_with_their_runner,
        a_runner_on_a_lost_node_is_unknown_and_cannot_be_removed,
        what_is_not_deskruns_is_left_alone,
        a_rehearsal_finds_what_would_be_refused_and_makes_nothing,
        runners_of_all_namespaces_are_seen_and_removed,
        an_api_server_that_forgets_costs_nothing_but_time,
    ]
}

async fn a_job_costs_five_writes_and_no_read(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let client = bench.client_called("five-writes").await;
    let engine = KubernetesEngine::new(client, Scope::Namespace(namespace.clone()));
    let owner = owner(bench, &namespace).await;
    let mut watcher = Watcher::new(&engine).await;
    let mut before = 0;
    for number in 0..3 {
        let runner = runner("cheap", Behaviour::Waits);
        let mut manifest = manifest_in(&namespace, &runner);
        Arc::make_mut(&mut manifest.pod)["metadata"]["ownerReferences"] = json!([owner]);
        manifest.companions = [shared(&namespace, &owner)].into();
        engine.ensure(&manifest, &secret()).await.unwrap();
        watcher.until_running(&runner.name).await;
        engine.note_job(&runner.name, "build of acme/rubionic").await.unwrap();
        bench.kubelet.end(&namespace, &runner.name, 0);
        watcher.until(&runner.name, RunnerPhase::has_ended).await;
        engine.remove(&runner.name, GRACE).await.unwrap();
        watcher.until_gone(&runner.name).await;
        let requests = bench.requests_of("five-writes");
        if number > 0 {
            let expected = ["create secrets", "create pods", "patch pods", "delete pods", "delete secrets"];
            assert_eq!(requests[before..], expected, "{number}");
        }
        before = requests.len();
    }
    assert_eq!(bench.objects(&namespace).await, ["configmap owner", "configmap shared"]);
}

async fn what_runners_share_is_applied_once_and_again_when_it_is_missed(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let client = bench.client_called("shares").await;
    let engine = KubernetesEngine::new(client, Scope::Namespace(namespace.clone()));
    let owner = owner(bench, &namespace).await;
    let manifest = |fate: &'static str| {
        let mut manifest = manifest_in(&namespace, &runner("shares", Behaviour::Waits));
        Arc::make_mut(&mut manifest.pod)["metadata"]["ownerReferences"] = json!([owner]);
        Arc::make_mut(&mut manifest.pod)["metadata"]["annotations"]["test/behaviour"] = json!(fate);
        manifest.companions = [shared(&namespace, &owner)].into();
        manifest
    };
    let made: Vec<RunnerManifest> = (0..5).map(|_| manifest("Waits")).collect();
    let all = futures::future::join_all(made.iter().map(|manifest| async { engine.ensure(manifest, &secret()).await }));
    all.await.into_iter().for_each(|made| made.unwrap());
    let applied = || bench.requests_of("shares").iter().filter(|request| *request == "patch configmaps").count();
    assert_eq!(applied(), 1, "a burst waits for one application");

    let maps: Api<ConfigMap> = Api::namespaced(bench.control_plane.client(), &namespace);
    maps.delete("shared", &DeleteParams::default()).await.unwrap();
    bench.kubelet.behave(&namespace, |_| crate::cluster::Fate::CannotMount("configmap \"shared\" not found"));
    let misses = manifest("Waits");
    engine.ensure(&misses, &secret()).await.unwrap();
    let waits = |phase: &RunnerPhase| matches!(phase, RunnerPhase::Starting { waiting: Some(words) } if words.contains("not found"));
    let mut watcher = Watcher::new(&engine).await;
    watcher.until(&misses.name, waits).await;
    engine.ensure(&manifest("Waits"), &secret()).await.unwrap();
    assert!(maps.get_opt("shared").await.unwrap().is_some(), "the next runner brings it back");
    assert_eq!(applied(), 2);
    for name in watcher.runners.keys().cloned().collect::<Vec<_>>() {
        engine.remove(&name, Duration::ZERO).await.unwrap();
    }
}

async fn what_runners_share_and_no_resource_owns_goes_with_the_last_of_them(bench: &KubernetesBench) {
    let engine = bench.engine();
    let (first, second) = (runner("lasts", Behaviour::Waits), runner("lasts", Behaviour::Waits));
    let one = bench.manifest(&first);
    let mut other = bench.manifest(&second);
    other.companions = one.companions.clone();
    for manifest in [&one, &other] {
        engine.ensure(manifest, &secret()).await.unwrap();
    }
    engine.remove(&first.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&first.name).await, [format!("configmap files-{}", first.name)]);
    // Another process finds in the cluster who uses it.
    bench.engine().remove(&second.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&first.name).await, Vec::<String>::new());
    // What is not of this controller stays, whatever a pod claims to share.
    let mut claims = bench.manifest(&runner("claims", Behaviour::Waits));
    let maps: Api<ConfigMap> = Api::namespaced(bench.control_plane.client(), &bench.namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "precious"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let claim = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "precious"}]);
    claims.companions = [].into();
    Arc::make_mut(&mut claims.pod)["metadata"]["annotations"]["deskrun.dev/companions"] = json!(claim.to_string());
    engine.ensure(&claims, &secret()).await.unwrap();
    engine.remove(&claims.name, GRACE).await.unwrap();
    assert!(maps.get_opt("precious").await.unwrap().is_some());
}

async fn what_an_owner_has_goes_with_it(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let engine = bench.engine_in(&namespace);
    let owner = owner(bench, &namespace).await;
    let runner = runner("owned", Behaviour::Waits);
    let mut manifest = manifest_in(&namespace, &runner);
    Arc::make_mut(&mut manifest.pod)["metadata"]["ownerReferences"] = json!([owner]);
    manifest.companions = [shared(&namespace, &owner)].into();
    engine.ensure(&manifest, &secret()).await.unwrap();
    let mut watcher = Watcher::new(&engine).await;
    watcher.until_running(&runner.name).await;
    let maps: Api<ConfigMap> = Api::namespaced(bench.control_plane.client(), &namespace);
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    watcher.until_gone(&runner.name).await;
    eventually(|| async { bench.objects(&namespace).await.is_empty() }).await;
    engine.remove(&runner.name, GRACE).await.unwrap();
}

async fn what_the_cluster_refuses_is_told_with_the_way_out(bench: &KubernetesBench) {
    let refused = |error: &EngineError, words: &str, hint: &str| {
        assert!(matches!(error, EngineError::Refused { message, .. } if message.contains(words)), "{error:?}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error:?}");
    };
    let baseline = bench.control_plane.namespace(&[("pod-security.kubernetes.io/enforce", "baseline")]).await;
    let one = runner("refused", Behaviour::Waits);
    let mut manifest = manifest_in(&baseline, &one);
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let engine = bench.engine_in(&baseline);
    let error = engine.ensure(&manifest, &secret()).await.unwrap_err();
    let hint = format!("kubectl label namespace {baseline} pod-security.kubernetes.io/enforce=privileged");
    refused(&error, "does not admit such pods", &hint);
    assert!(error.is_final());
    // A pod that was refused leaves a secret, which goes with the runner.
    engine.remove(&one.name, GRACE).await.unwrap();
    assert_eq!(bench.objects(&baseline).await, Vec::<String>::new());

    let open = bench.control_plane.namespace(&[]).await;
    let mut manifest = manifest_in(&open, &one);
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["securityContexts"] = json!({});
    let error = bench.engine_in(&open).ensure(&manifest, &secret()).await.unwrap_err();
    refused(&error, "securityContexts", "");
    manifest = manifest_in(&open, &one);
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["volumeMounts"][0]["name"] = json!("absent");
    let error = bench.engine_in(&open).ensure(&manifest, &secret()).await.unwrap_err();
    refused(&error, "`spec.containers[0].volumeMounts[0].name`", "");

    let manifest = manifest_in("nowhere", &one);
    let error = bench.engine_in("nowhere").ensure(&manifest, &secret()).await.unwrap_err();
    refused(&error, "there is no namespace `nowhere`", "kubectl create namespace nowhere");

    let (client, _) = bench.control_plane.service_account(&open, "powerless").await;
    let powerless = KubernetesEngine::new(client, Scope::Namespace(open.clone()));
    let error = powerless.ensure(&manifest_in(&open, &one), &secret()).await.unwrap_err();
    refused(&error, "may not patch configmaps", "the verb `patch` on `configmaps`");
    let seen = futures::StreamExt::next(&mut powerless.observe()).await.unwrap();
    assert!(matches!(&seen, Observation::Unreachable(words) if words.contains("cannot list resource")), "{seen:?}");

    let quotas: Api<ResourceQuota> = Api::namespaced(bench.control_plane.client(), &open);
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = || async {
        let quota = quotas.get("small").await.unwrap();
        quota.status.is_some_and(|status| status.hard.is_some())
    };
    eventually(counted).await;
    let error = bench.engine_in(&open).ensure(&manifest_in(&open, &one), &secret()).await.unwrap_err();
    assert!(matches!(&error, EngineError::NoRoom { message, .. } if message.contains("quota")), "{error:?}");
    assert!(!format!("{error:?}").contains(secret().expose()));
}

async fn a_start_that_waits_says_for_what(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    bench.behave(&namespace);
    let engine = bench.engine_in(&namespace);
    let mut watcher = Watcher::new(&engine).await;
    let make = |change: &dyn Fn(&mut Value)| {
        let runner = runner("waits", Behaviour::Waits);
        let mut manifest = manifest_in(&namespace, &runner);
        change(Arc::make_mut(&mut manifest.pod));
        manifest
    };
    let pulls = make(&|pod| pod["metadata"]["annotations"]["test/behaviour"] = json!("CannotPull"));
    let mounts = make(&|pod| pod["metadata"]["annotations"]["test/behaviour"] = json!("CannotMount"));
    let nowhere = make(&|pod| pod["spec"]["nodeSelector"] = json!({"disk": "golden"}));
    let secretive = make(&|pod| {
        pod["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"] = json!("taken-away");
    });
    for (manifest, words) in [
        (pulls, "ImagePull"),
        (mounts, "FailedMount: "),
        (nowhere, "Unschedulable: "),
        (secretive, "CreateContainerConfigError: secret \"taken-away\" not found"),
    ] {
        engine.ensure(&manifest, &secret()).await.unwrap();
        let says = |phase: &RunnerPhase| matches!(phase, RunnerPhase::Starting { waiting: Some(told) } if told.contains(words));
        watcher.until(&manifest.name, says).await;
        engine.remove(&manifest.name, GRACE).await.unwrap();
    }
    assert_eq!(bench.objects(&namespace).await, Vec::<String>::new());
}

async fn a_foreign_label_or_annotation_changes_nothing(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let client = bench.client_called("unmoved").await;
    let engine = KubernetesEngine::standalone(client, Scope::Namespace(namespace.clone()));
    let runner = runner("marked", Behaviour::Waits);
    engine.ensure(&manifest_in(&namespace, &runner), &secret()).await.unwrap();
    let mut watcher = Watcher::new(&engine).await;
    watcher.until_running(&runner.name).await;
    let before = bench.requests_of("unmoved");
    let mark = json!({"metadata": {"labels": {"team": "blue"}, "annotations": {"note": "ours"}}});
    let (patch, parameters) = (Patch::Merge(mark), PatchParams::default());
    let client = bench.control_plane.client();
    Api::<Pod>::namespaced(client.clone(), &namespace).patch(&runner.name, &parameters, &patch).await.unwrap();
    Api::<Secret>::namespaced(client.clone(), &namespace).patch(&runner.name, &parameters, &patch).await.unwrap();
    let map = format!("files-{}", runner.name);
    Api::<ConfigMap>::namespaced(client, &namespace).patch(&map, &parameters, &patch).await.unwrap();
    let news = tokio::time::timeout(Duration::from_secs(2), watcher.next()).await;
    assert!(news.is_err(), "{news:?}");
    assert_eq!(bench.requests_of("unmoved"), before);
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert_eq!(bench.objects(&namespace).await, Vec::<String>::new());
}

async fn a_job_is_noted_at_its_runner(bench: &KubernetesBench) {
    let (engine, runner) = (bench.engine(), runner("noted", Behaviour::Waits));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let mut watcher = Watcher::new(&*engine).await;
    assert_eq!(watcher.until_running(&runner.name).await.owner.job, None);
    engine.note_job(&runner.name, "build \"all\" of acme/rubionic").await.unwrap();
    while watcher.runners[&runner.name].owner.job.as_deref() != Some("build \"all\" of acme/rubionic") {
        watcher.next().await;
    }
    engine.remove(&runner.name, GRACE).await.unwrap();
    engine.note_job(&runner.name, "too late").await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

/// A pod as GitHub's container hooks make it, and a secret.
async fn hook_objects(bench: &KubernetesBench, namespace: &str, runner: &Runner) {
    let client = bench.control_plane.client();
    let labels = json!({"runner-pod": runner.name, "deskrun.dev/controller": runner.controller});
    let pod = json!({
        "metadata": {"name": format!("{}-workflow", runner.name), "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "job"}]},
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let labels = json!({"runner-pod": runner.name});
    let secret = json!({"metadata": {"name": format!("{}-secret-12345678", runner.name), "labels": labels}});
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

async fn what_workflows_made_goes_with_their_runner(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let engine = bench.engine_in(&namespace);
    let hooks = json!({"name": "ACTIONS_RUNNER_CONTAINER_HOOKS", "value": "/home/runner/k8s/index.js"});
    let (killed, other, lost) =
        (runner("hooks", Behaviour::Waits), runner("hooks", Behaviour::Waits), runner("hooks", Behaviour::Waits));
    for runner in [&killed, &other] {
        let mut manifest = manifest_in(&namespace, runner);
        Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["env"].as_array_mut().unwrap().push(hooks.clone());
        engine.ensure(&manifest, &secret()).await.unwrap();
        hook_objects(bench, &namespace, runner).await;
    }
    let stranger = Runner { name: "arc-runner-xyz".to_owned(), controller: String::new(), ..killed.clone() };
    hook_objects(bench, &namespace, &stranger).await;
    Watcher::new(&engine).await.until_running(&killed.name).await;
    engine.remove(&killed.name, GRACE).await.unwrap();
    let of = |runner: &Runner| {
        let name = runner.name.clone();
        let objects = bench.objects(&namespace);
        async move { objects.await.into_iter().filter(|object| object.contains(&name)).collect::<Vec<_>>() }
    };
    assert_eq!(of(&killed).await, Vec::<String>::new());
    assert_eq!(of(&other).await.len(), 5);

    // A controller was killed after the pod was gone.
    let manifest = manifest_in(&namespace, &lost);
    let metadata = json!({"name": lost.name, "labels": manifest.pod["metadata"]["labels"]});
    let secrets: Api<Secret> = Api::namespaced(bench.control_plane.client(), &namespace);
    let secret = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    hook_objects(bench, &namespace, &lost).await;
    assert_eq!(engine.sweep("hooks").await.unwrap(), 3);
    assert_eq!(of(&lost).await, Vec::<String>::new());
    assert_eq!((of(&other).await.len(), of(&stranger).await.len()), (5, 2), "what lives and what is others' stays");
    engine.remove(&other.name, GRACE).await.unwrap();
    assert_eq!(of(&other).await, Vec::<String>::new());
}

async fn a_runner_on_a_lost_node_is_unknown_and_cannot_be_removed(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let engine = bench.engine_in(&namespace);
    bench.kubelet.add_node(Node::new("node-away").labelled("role", "away").tainted("role", "away")).await;
    let runner = runner("away", Behaviour::Waits);
    let mut manifest = manifest_in(&namespace, &runner);
    Arc::make_mut(&mut manifest.pod)["spec"]["nodeSelector"] = json!({"role": "away"});
    Arc::make_mut(&mut manifest.pod)["spec"]["tolerations"] = json!([{"key": "role", "operator": "Exists"}]);
    engine.ensure(&manifest, &secret()).await.unwrap();
    let mut watcher = Watcher::new(&engine).await;
    watcher.until_running(&runner.name).await;
    bench.kubelet.lose_node("node-away").await;
    watcher.until(&runner.name, |phase| *phase == RunnerPhase::Unknown).await;
    let error = engine.remove(&runner.name, Duration::ZERO).await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed { message, .. } if message.contains("`node-away`")), "{error:?}");
    assert!(watcher.runners.contains_key(&runner.name), "its slot is not free");
    bench.kubelet.return_node("node-away").await;
    engine.remove(&runner.name, GRACE).await.unwrap();
    watcher.until_gone(&runner.name).await;
    assert_eq!(bench.objects(&namespace).await, Vec::<String>::new());
}

async fn what_is_not_deskruns_is_left_alone(bench: &KubernetesBench) {
    let namespace = bench.control_plane.namespace(&[]).await;
    let (engine, runner) = (bench.engine_in(&namespace), runner("strange", Behaviour::Waits));
    let client = bench.control_plane.client();
    let pod = json!({
        "metadata": {"name": runner.name},
        "spec": {"containers": [{"name": "runner", "image": "theirs"}]},
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let refused = engine.ensure(&manifest_in(&namespace, &runner), &secret()).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Refused { message, .. } if message.contains("a pod ")), "{refused:?}");
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert_eq!(bench.objects(&namespace).await, [format!("pod {}", runner.name)]);
    pods.delete(&runner.name, &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually(|| async { bench.objects(&namespace).await.is_empty() }).await;

    let theirs = serde_json::from_value(json!({"metadata": {"name": runner.name}})).unwrap();
    Api::<Secret>::namespaced(client, &namespace).create(&PostParams::default(), &theirs).await.unwrap();
    let refused = engine.ensure(&manifest_in(&namespace, &runner), &secret()).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Refused { message, .. } if message.contains("a secret ")), "{refused:?}");
    engine.remove(&runner.name, GRACE).await.unwrap();
    engine.sweep(&runner.controller).await.unwrap();
    assert_eq!(bench.objects(&namespace).await, [format!("secret {}", runner.name)]);
}

async fn a_rehearsal_finds_what_would_be_refused_and_makes_nothing(bench: &KubernetesBench) {
    let baseline = bench.control_plane.namespace(&[("pod-security.kubernetes.io/enforce", "baseline")]).await;
    let engine = bench.engine_in(&baseline);
    let mut manifest = manifest_in(&baseline, &runner("tried", Behaviour::Waits));
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": baseline}});
    manifest.companions = [manifest.companions[0].clone(), account].into();
    Arc::make_mut(&mut manifest.pod)["spec"]["serviceAccountName"] = json!("own");
    engine.rehearse(&manifest).await.unwrap();
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let error = engine.rehearse(&manifest).await.unwrap_err();
    assert!(error.hint().unwrap_or_default().contains("pod-security.kubernetes.io/enforce=privileged"), "{error:?}");
    assert_eq!(bench.objects(&baseline).await, Vec::<String>::new());
}

async fn runners_of_all_namespaces_are_seen_and_removed(bench: &KubernetesBench) {
    let namespaces = [bench.control_plane.namespace(&[]).await, bench.control_plane.namespace(&[]).await];
    let engine = || KubernetesEngine::standalone(bench.control_plane.client(), Scope::AllNamespaces);
    let (here, there) = (runner("spread", Behaviour::Waits), runner("spread", Behaviour::Waits));
    let first = engine();
    for (namespace, runner) in namespaces.iter().zip([&here, &there]) {
        first.ensure(&manifest_in(namespace, runner), &secret()).await.unwrap();
    }
    let second = engine();
    let mut watcher = Watcher::new(&second).await;
    for runner in [&here, &there] {
        watcher.until_running(&runner.name).await;
        second.remove(&runner.name, GRACE).await.unwrap();
    }
    // One whose pod never was, of which this process knows nothing.
    let lost = runner("spread", Behaviour::Waits);
    let metadata = json!({"name": lost.name, "labels": bench.manifest(&lost).pod["metadata"]["labels"]});
    let secrets: Api<Secret> = Api::namespaced(bench.control_plane.client(), &namespaces[1]);
    secrets
        .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": metadata})).unwrap())
        .await
        .unwrap();
    second.remove(&lost.name, GRACE).await.unwrap();
    second.remove("never-was", GRACE).await.unwrap();
    for namespace in &namespaces {
        assert_eq!(bench.objects(namespace).await, Vec::<String>::new());
    }
}

/// On a control plane of its own: others would notice.
async fn an_api_server_that_forgets_costs_nothing_but_time(_: &KubernetesBench) {
    let bench = KubernetesBench::start().await.expect("a second cluster");
    let engine = bench.engine();
    let mut watcher = Watcher::new(&*engine).await;
    let old: Vec<Runner> = (0..3).map(|_| runner("old", Behaviour::Waits)).collect();
    for runner in &old {
        engine.ensure(&bench.manifest(runner), &secret()).await.unwrap();
        watcher.until_running(&runner.name).await;
    }
    bench.control_plane.expire_watches().await;
    // What happens while nobody watches is in the next snapshot.
    let pods: Api<Pod> = Api::namespaced(bench.control_plane.client(), &bench.namespace);
    pods.delete(&old[0].name, &DeleteParams::default().grace_period(0)).await.unwrap();
    watcher.until_gone(&old[0].name).await;
    let new = runner("new", Behaviour::Waits);
    while let Err(error) = engine.ensure(&bench.manifest(&new), &secret()).await {
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
    }
    watcher.until_running(&new.name).await;

    // A server that dies in the middle of a burst: each runner is made or not, and every one can be removed.
    let burst: Vec<RunnerManifest> = (0..20).map(|_| bench.manifest(&runner("burst", Behaviour::Waits))).collect();
    let config = secret();
    let makes = futures::future::join_all(burst.iter().map(|manifest| engine.ensure(manifest, &config)));
    let (made, ()) = futures::join!(makes, bench.control_plane.stop_api_server());
    for error in made.iter().filter_map(|made| made.as_ref().err()) {
        assert!(matches!(error, EngineError::Unreachable { .. } | EngineError::Failed { .. }), "{error:?}");
    }
    let removal = engine.remove(&old[1].name, GRACE).await.unwrap_err();
    assert!(matches!(removal, EngineError::Unreachable { .. }), "{removal:?}");
    bench.control_plane.start_api_server().await;
    while !matches!(watcher.next().await, Observation::Snapshot(_)) {}
    for (manifest, made) in burst.iter().zip(&made) {
        if made.is_ok() {
            watcher.until_running(&manifest.name).await;
        }
        engine.remove(&manifest.name, GRACE).await.unwrap();
    }
    for runner in [&old[0], &old[1], &old[2], &new] {
        engine.remove(&runner.name, GRACE).await.unwrap();
    }
    assert_eq!(bench.objects(&bench.namespace).await, Vec::<String>::new());
}

/// Makes an object that others can belong to.
async fn owner(bench: &KubernetesBench, namespace: &str) -> Value {
    let maps: Api<ConfigMap> = Api::namespaced(bench.control_plane.client(), namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
    let owner = maps.create(&PostParams::default(), &map).await.unwrap();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid})
}

/// What runners of an owner share.
fn shared(namespace: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "shared", "namespace": namespace, "ownerReferences": [owner]},
        "data": {"greeting": "hello"},
    })
}

async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come about");
}
