//! The test bed itself: pods live and die on nodes that are played as on real ones, and watches expire.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams, WatchParams};
use kube::core::WatchEvent;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::cluster::{ControlPlane, FakeKubelet, Fate, Node, Options, process};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("a_pod_runs_ends_and_goes", a_pod_runs_ends_and_goes)
        .test("a_pod_that_is_told_to_go_ends_with_143_or_is_killed", a_pod_that_is_told_to_go)
        .test("what_keeps_a_pod_from_running_is_in_its_status", what_keeps_a_pod_from_running)
        .test("a_process_gets_its_environment_and_its_lines_are_logs", environment_and_logs)
        .test("pods_of_a_lost_node_stay_as_they_are_until_it_is_back", a_lost_node)
        .test("a_pod_goes_with_its_owner", a_pod_goes_with_its_owner)
        .test("a_stand_in_runs_in_a_pod", a_stand_in_runs)
        .test("a_restarted_api_server_has_its_objects_and_expired_watches_are_told", restarts)
        .test("five_hundred_pods_at_once", five_hundred_pods)
}

async fn a_pod_runs_ends_and_goes(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    make(&pods, "one", &json!({})).await;
    let pod = until(&pods, "one", |pod| state(pod)["running"].is_object()).await;
    assert_eq!(json!(pod.status)["phase"], "Running");
    assert_eq!(json!(pod.spec)["nodeName"], "node-1");
    cluster.kubelet.end(&namespace, "one", 3);
    let pod = until(&pods, "one", |pod| state(pod)["terminated"].is_object()).await;
    assert_eq!(json!(pod.status)["phase"], "Failed");
    assert_eq!(state(&pod)["terminated"]["exitCode"], 3);
    pods.delete("one", &DeleteParams::default()).await.expect("it can be deleted");
    gone(&pods, "one").await;
}

async fn a_pod_that_is_told_to_go(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    cluster.kubelet.behave(&namespace, |pod| match pod.metadata.name.as_deref() {
        Some("deaf") => Fate::ignores_term(),
        _ => Fate::waits(),
    });
    let mut ended = Vec::new();
    for name in ["polite", "deaf"] {
        make(&pods, name, &json!({"metadata": {"finalizers": ["deskrun.dev/look"]}})).await;
        until(&pods, name, |pod| state(pod)["running"].is_object()).await;
        pods.delete(name, &DeleteParams::default().grace_period(1)).await.expect("it can be deleted");
        let pod = until(&pods, name, |pod| state(pod)["terminated"].is_object()).await;
        ended.push(state(&pod)["terminated"]["exitCode"].clone());
        let unlocked = json!({"metadata": {"finalizers": null}});
        let patch = kube::api::Patch::Merge(unlocked);
        pods.patch(name, &kube::api::PatchParams::default(), &patch).await.expect("it is there");
        gone(&pods, name).await;
    }
    assert_eq!(ended, [143, 137]);
}

async fn what_keeps_a_pod_from_running(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    cluster.kubelet.behave(&namespace, |pod| match pod.metadata.name.as_deref() {
        Some("prepares") => Fate::InitFails { code: 3, says: "prepared nothing" },
        Some("pulls") => Fate::CannotPull,
        Some("mounts") => Fate::CannotMount("hostPath type check failed: /nvme is not a directory"),
        Some("crowded") => Fate::Refused("OutOfcpu", "Node didn't have enough resource: cpu"),
        _ => Fate::waits().late(Duration::from_millis(100)),
    });
    let init = json!([{"name": "prepare", "image": "runner"}]);
    make(&pods, "prepares", &json!({"spec": {"initContainers": init}})).await;
    let secret = json!({"secretKeyRef": {"name": "absent", "key": "key"}});
    make(
        &pods,
        "secretive",
        &json!({"spec": {"containers": [
            {"name": "runner", "image": "runner", "env": [{"name": "KEY", "valueFrom": secret}]},
        ]}}),
    )
    .await;
    for name in ["pulls", "mounts", "crowded", "late", "evicted"] {
        make(&pods, name, &json!({})).await;
    }
    let pod = until(&pods, "prepares", |pod| phase(pod) == "Failed").await;
    assert_eq!(json!(pod.status)["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    let reason = |pod: &Pod, reason: &str| state(pod)["waiting"]["reason"] == reason;
    until(&pods, "pulls", |pod| reason(pod, "ImagePullBackOff")).await;
    until(&pods, "secretive", |pod| reason(pod, "CreateContainerConfigError")).await;
    until(&pods, "mounts", |pod| reason(pod, "ContainerCreating")).await;
    let events: Api<Event> = Api::namespaced(cluster.control_plane.client(), &namespace);
    let about = ListParams::default().fields("involvedObject.name=mounts,reason=FailedMount");
    while events.list(&about).await.expect("events").items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pod = until(&pods, "crowded", |pod| phase(pod) == "Failed").await;
    assert_eq!(json!(pod.status)["reason"], "OutOfcpu");
    until(&pods, "late", |pod| phase(pod) == "Running").await;
    until(&pods, "evicted", |pod| phase(pod) == "Running").await;
    cluster.kubelet.evict(&namespace, "evicted", "The node was low on resource: ephemeral-storage");
    let pod = until(&pods, "evicted", |pod| phase(pod) == "Failed").await;
    assert_eq!(json!(pod.status)["reason"], "Evicted");
    // It is there now.
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "absent"}, "stringData": {"key": "x"}})).unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.control_plane.client(), &namespace);
    secrets.create(&PostParams::default(), &secret).await.expect("a secret");
    until(&pods, "secretive", |pod| phase(pod) == "Running").await;
}

async fn environment_and_logs(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    cluster.kubelet.behave(&namespace, |_| {
        Fate::Runs(process(|start| async move {
            let Some(name) = start.environment.get("NAME") else { return 1 };
            start.log.line(&format!("{name} of {}", start.runner));
            start.log.line(&format!("a config of {} characters", start.jit_config.expose().len()));
            0
        }))
    });
    let secrets: Api<Secret> = Api::namespaced(cluster.control_plane.client(), &namespace);
    let secret = json!({"metadata": {"name": "said"}, "stringData": {"jitConfig": "12345"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.expect("a secret");
    make(&pods, "said", &json!({"spec": {"containers": [{"name": "runner", "image": "runner", "env": [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "ACTIONS_RUNNER_INPUT_JITCONFIG", "valueFrom": {"secretKeyRef": {"name": "said", "key": "jitConfig"}}},
    ]}]}})).await;
    until(&pods, "said", |pod| phase(pod) == "Succeeded").await;
    let logs = pods.logs("said", &LogParams::default()).await.expect("logs");
    assert_eq!(logs, "node-1 of said\na config of 5 characters\n");
    let last = LogParams { tail_lines: Some(1), container: Some("runner".to_owned()), ..LogParams::default() };
    assert_eq!(pods.logs("said", &last).await.expect("logs"), "a config of 5 characters\n");
}

async fn a_lost_node(cluster: Arc<Cluster>) {
    let (_, pods) = fresh(&cluster).await;
    let node = Node::new("node-away").labelled("role", "away").tainted("role", "away");
    cluster.kubelet.add_node(node).await;
    let spec = json!({"nodeSelector": {"role": "away"}, "tolerations": [{"key": "role", "operator": "Exists"}]});
    make(&pods, "away", &json!({"spec": spec})).await;
    until(&pods, "away", |pod| phase(pod) == "Running").await;
    cluster.kubelet.lose_node("node-away").await;
    pods.delete("away", &DeleteParams::default().grace_period(1)).await.expect("it can be deleted");
    let unready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "False")
    };
    let pod = until(&pods, "away", unready).await;
    assert!(state(&pod)["running"].is_object(), "nothing is known of its container: {:?}", pod.status);
    cluster.kubelet.return_node("node-away").await;
    gone(&pods, "away").await;
}

async fn a_pod_goes_with_its_owner(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.control_plane.client(), &namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
    let owner = maps.create(&PostParams::default(), &map).await.expect("a map");
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid});
    make(&pods, "owned", &json!({"metadata": {"ownerReferences": [reference]}})).await;
    until(&pods, "owned", |pod| phase(pod) == "Running").await;
    maps.delete("owner", &DeleteParams::default()).await.expect("it can be deleted");
    gone(&pods, "owned").await;
}

async fn a_stand_in_runs(cluster: Arc<Cluster>) {
    let (namespace, pods) = fresh(&cluster).await;
    cluster.kubelet.behave(&namespace, |_| Fate::stand_in());
    // What it would do with a JIT config is its own business.
    make(&pods, "idle", &json!({})).await;
    until(&pods, "idle", |pod| phase(pod) == "Succeeded").await;
    let logs = pods.logs("idle", &LogParams::default()).await.expect("logs");
    assert!(logs.starts_with("the JIT config cannot be used"), "{logs}");
}

/// On a control plane of its own: others would notice.
async fn restarts(_: Arc<Cluster>) {
    let options = Options { audit: true, scheduler: false, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("it starts");
    let kubelet = FakeKubelet::binding(control_plane.client()).await.expect("it starts");
    kubelet.add_node(Node::new("node-1")).await;
    let namespace = control_plane.namespace(&[]).await;
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), &namespace);
    make(&pods, "before", &json!({})).await;
    let before = until(&pods, "before", |pod| phase(pod) == "Running").await;
    control_plane.expire_watches().await;
    let (account, _) = control_plane.service_account(&namespace, "default").await;
    let forbidden = Api::<Pod>::namespaced(account, &namespace).list(&ListParams::default()).await;
    assert!(matches!(forbidden, Err(kube::Error::Api(status)) if status.is_forbidden()));
    let version = before.metadata.resource_version.expect("a version");
    let first = match pods.watch(&WatchParams::default(), &version).await {
        Ok(watch) => watch.boxed().next().await.expect("an event"),
        Err(error) => Err(error),
    };
    let code = match first {
        Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, 410);
    // The kubelet's own watch has gone through the same.
    make(&pods, "after", &json!({})).await;
    until(&pods, "after", |pod| phase(pod) == "Running").await;
    kubelet.end(&namespace, "before", 0);
    until(&pods, "before", |pod| phase(pod) == "Succeeded").await;
    let told = control_plane.audit().iter().any(|event| {
        event["verb"] == "list" && event["responseStatus"]["code"] == 403 && event["objectRef"]["resource"] == "pods"
    });
    assert!(told, "the audit log knows who asked for what");
}

async fn five_hundred_pods(cluster: Arc<Cluster>) {
    const COUNT: usize = 500;
    let (namespace, pods) = fresh(&cluster).await;
    cluster.kubelet.behave(&namespace, |_| Fate::exits(0, &[]));
    let started = std::time::Instant::now();
    let names: Vec<String> = (0..COUNT).map(|number| format!("pod-{number}")).collect();
    futures::stream::iter(&names).for_each_concurrent(32, |name| make(&pods, name, &Value::Null)).await;
    let made = started.elapsed();
    let succeeded = ListParams::default().fields("status.phase=Succeeded");
    while pods.list_metadata(&succeeded).await.expect("a list").items.len() < COUNT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{COUNT} pods: made in {made:.1?}, ended after {:.1?}", started.elapsed());
}

async fn fresh(cluster: &Cluster) -> (String, Api<Pod>) {
    let namespace = cluster.control_plane.namespace(&[]).await;
    let pods = Api::namespaced(cluster.control_plane.client(), &namespace);
    (namespace, pods)
}

/// Makes a pod with a grace of a second, and more as said.
async fn make(pods: &Api<Pod>, name: &str, more: &Value) {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "runner", "image": "runner"}],
        },
    });
    for part in ["metadata", "spec"] {
        for (key, value) in more[part].as_object().into_iter().flatten() {
            pod[part][key] = value.clone();
        }
    }
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("the pod can be made");
}

async fn until(pods: &Api<Pod>, name: &str, so: impl Fn(&Pod) -> bool) -> Pod {
    let condition = await_condition(pods.clone(), name, |pod: Option<&Pod>| pod.is_some_and(&so));
    let limit = Duration::from_mins(1);
    let Ok(pod) = tokio::time::timeout(limit, condition).await else {
        panic!("{name} is {:#}", json!(pods.get_opt(name).await.expect("an answer")));
    };
    pod.expect("a watch").expect("a pod")
}

async fn gone(pods: &Api<Pod>, name: &str) {
    let condition = await_condition(pods.clone(), name, |pod: Option<&Pod>| pod.is_none());
    let gone = tokio::time::timeout(Duration::from_mins(1), condition).await;
    gone.unwrap_or_else(|_| panic!("{name} stays")).expect("a watch");
}

fn state(pod: &Pod) -> Value {
    json!(pod.status)["containerStatuses"][0]["state"].clone()
}

fn phase(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default()
}
