//! What a kubelet writes into a pod's status. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// How a container ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub code: i32,
    pub reason: &'static str,
    pub started: Timestamp,
    pub at: Timestamp,
}

/// The container that is played: the runner's, or else the first.
pub(super) fn main_container(pod: &Pod) -> Option<&Container> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|container| container.name == "runner").or(containers.first())
}

/// All containers run, all init containers have done well.
pub(super) fn running(pod: &Pod, since: Timestamp) -> Value {
    let state = json!({"running": {"startedAt": second(since)}});
    let init = init_statuses(pod, |container| {
        if is_sidecar(container) { state.clone() } else { terminated(0, "Completed", since, since) }
    });
    let containers = statuses(pod, |_| state.clone());
    status("Running", since, &init, &containers, ["True"; 4])
}

/// It waits: for an image, for a volume, for a secret.
pub(super) fn waiting(pod: &Pod, now: Timestamp, reason: &str, message: &str) -> Value {
    let first = json!({"waiting": {"reason": reason, "message": message}});
    let initializing = json!({"waiting": {"reason": "PodInitializing"}});
    // What is wrong with the runner's image, the init containers have already passed; they use the same one, mostly.
    let has_init = pod.spec.as_ref().is_some_and(|spec| spec.init_containers.as_ref().is_some_and(|c| !c.is_empty()));
    let init = init_statuses(pod, |_| first.clone());
    let containers = statuses(pod, |_| if has_init { initializing.clone() } else { first.clone() });
    status("Pending", now, &init, &containers, ["False"; 4])
}

/// Its first init container has failed, and with `restartPolicy: Never` that is the end.
pub(super) fn init_failed(pod: &Pod, code: i32, now: Timestamp) -> Value {
    let mut first = true;
    let init = init_statuses(pod, |_| {
        let failed = std::mem::take(&mut first);
        if failed { terminated(code, "Error", now, now) } else { json!({"waiting": {"reason": "PodInitializing"}}) }
    });
    let containers = statuses(pod, |_| json!({"waiting": {"reason": "PodInitializing"}}));
    status("Failed", now, &init, &containers, ["False", "False", "False", "True"])
}

/// Its process has ended, and all the others with it.
pub(super) fn ended(pod: &Pod, end: End) -> Value {
    let End { code, reason, started, at } = end;
    let main = main_container(pod).map(|container| container.name.clone()).unwrap_or_default();
    let init = init_statuses(pod, |_| terminated(0, "Completed", started, started));
    let containers = statuses(pod, |container| {
        if container.name == main {
            terminated(code, reason, started, at)
        } else {
            terminated(0, "Completed", started, at)
        }
    });
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    status(phase, started, &init, &containers, ["True", "False", "False", "True"])
}

/// The node has put it out, or never took it in. No container is said to have run, as with a real one.
pub(super) fn put_out(reason: &str, message: &str, now: Timestamp) -> Value {
    json!({"status": {"phase": "Failed", "reason": reason, "message": message, "startTime": second(now)}})
}

/// What the node controller says of a pod whose node is away, to be merged by the rules of Kubernetes.
pub(super) fn not_ready(now: Timestamp) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": second(now)}]}})
}

fn status(phase: &str, start: Timestamp, init: &[Value], containers: &[Value], conditions: [&str; 4]) -> Value {
    let [initialized, ready, containers_ready, sandbox] = conditions;
    let kinds = [
        ("PodScheduled", "True"),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodReadyToStartContainers", sandbox),
    ];
    let conditions: Vec<Value> = kinds
        .iter()
        .map(|(kind, value)| json!({"type": kind, "status": value, "lastTransitionTime": second(start)}))
        .collect();
    json!({"status": {
        "phase": phase,
        "startTime": second(start),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": conditions,
        "initContainerStatuses": init,
        "containerStatuses": containers,
    }})
}

fn statuses(pod: &Pod, state: impl FnMut(&Container) -> Value) -> Vec<Value> {
    let spec = pod.spec.as_ref();
    spec.map(|spec| spec.containers.iter()).into_iter().flatten().map(one(state)).collect()
}

fn init_statuses(pod: &Pod, state: impl FnMut(&Container) -> Value) -> Vec<Value> {
    let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    init.into_iter().flatten().map(one(state)).collect()
}

fn one(mut state: impl FnMut(&Container) -> Value) -> impl FnMut(&Container) -> Value {
    move |container| {
        let state = state(container);
        let runs = state["running"].is_object();
        let well = runs || state["terminated"]["exitCode"] == 0;
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "containerID": format!("played://{}", container.name),
            "restartCount": 0,
            "ready": well,
            "started": runs,
            "state": state,
        })
    }
}

fn terminated(code: i32, reason: &str, started: Timestamp, at: Timestamp) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": second(started), "finishedAt": second(at)}})
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Kubernetes' times have no parts of a second.
fn second(time: Timestamp) -> String {
    format!("{time:.0}")
}
