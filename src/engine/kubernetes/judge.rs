//! What a pod means (`runner-pods.md` 8.5). Pure: a pod comes in, a runner comes out.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodCondition, PodStatus};

use super::super::{ObservedRunner, Owner, RunnerPhase};

/// The container whose end is the runner's.
pub(super) const RUNNER: &str = "runner";
/// How the kernel's kill for memory is called.
const OUT_OF_MEMORY: &str = "OOMKilled";
/// Waiting for these is waiting for nothing in particular: why it takes so long, only events tell.
const NO_REASONS: [&str; 3] = ["", "PodInitializing", "ContainerCreating"];

/// The runner that a pod is; `None` if its labels say that it is none.
pub(super) fn runner(pod: &Pod) -> Option<ObservedRunner> {
    let metadata = &pod.metadata;
    let nothing = std::collections::BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&nothing);
    let owner = Owner::read(labels, metadata.annotations.as_ref().unwrap_or(&nothing))?;
    let created_at = metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(ObservedRunner { name: metadata.name.clone()?, owner, created_at, phase: phase(pod) })
}

/// The container whose log explains the runner: its own once it has begun, else the init container that failed or runs.
pub(super) fn speaks(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    if runner_status(status).is_some_and(|own| has_begun(own.state.as_ref())) {
        return Some(RUNNER);
    }
    let begun = init_statuses(status).filter(|init| has_begun(init.state.as_ref()));
    begun.last().map(|init| init.name.as_str())
}

fn phase(pod: &Pod) -> RunnerPhase {
    let nothing = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&nothing);
    let own = runner_status(status).and_then(|own| own.state.as_ref());
    if let Some(ended) = own.and_then(|own| own.terminated.as_ref()) {
        return RunnerPhase::Exited {
            code: ended.exit_code,
            at: ended.finished_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            out_of_memory: ended.reason.as_deref() == Some(OUT_OF_MEMORY),
        };
    }
    if is_lost(status) {
        return RunnerPhase::Unknown;
    }
    if let Some(runs) = own.and_then(|own| own.running.as_ref()) {
        return RunnerPhase::Running { since: runs.started_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0) };
    }
    if let Some(reason) = never_runs(pod, status) {
        return RunnerPhase::Failed { reason };
    }
    RunnerPhase::Starting { waiting: waits_for(pod, status) }
}

/// Whether the node does not tell any more what its pods do. The node controller then takes readiness away without a
/// reason; a kubelet always gives one.
fn is_lost(status: &PodStatus) -> bool {
    let by_phase = status.phase.as_deref() == Some("Unknown") || status.reason.as_deref() == Some("NodeLost");
    let evicted = condition(status, "DisruptionTarget")
        .is_some_and(|condition| condition.reason.as_deref() == Some("DeletionByTaintManager"));
    let own_is_ready = runner_status(status).is_some_and(|own| own.ready);
    let unready = condition(status, "Ready")
        .is_some_and(|ready| ready.status == "False" && ready.reason.as_deref().unwrap_or_default().is_empty());
    by_phase || (status.phase.as_deref() == Some("Running") && (evicted || (own_is_ready && unready)))
}

/// Why the runner's container will not run any more, if that is so.
fn never_runs(pod: &Pod, status: &PodStatus) -> Option<String> {
    let sidecars: Vec<&str> = containers(pod).filter(|init| is_sidecar(init)).map(|init| init.name.as_str()).collect();
    let failed = init_statuses(status).filter(|init| !sidecars.contains(&init.name.as_str())).find_map(|init| {
        let ended = init.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| {
            let killed = if ended.reason.as_deref() == Some(OUT_OF_MEMORY) { " (out of memory)" } else { "" };
            format!("init container `{}` ended with exit code {}{killed}", init.name, ended.exit_code)
        })
    });
    if failed.is_some() {
        return failed;
    }
    matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")).then(|| {
        let words = words(status.reason.as_deref(), status.message.as_deref());
        words.unwrap_or_else(|| "the pod ended, and no one knows how its containers did".to_owned())
    })
}

/// What a start waits for, where the pod itself says it.
fn waits_for(pod: &Pod, status: &PodStatus) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        // Until its node confirms it, a container may still begin.
        return Some("its pod is being deleted".to_owned());
    }
    if let Some(scheduled) = condition(status, "PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return words(scheduled.reason.as_deref(), scheduled.message.as_deref());
    }
    let sidecars: Vec<&str> = containers(pod).filter(|init| is_sidecar(init)).map(|init| init.name.as_str()).collect();
    for init in init_statuses(status) {
        if let Some(words) = waiting(init) {
            return Some(format!("init container `{}`: {words}", init.name));
        }
        let runs = init.state.as_ref().is_some_and(|state| state.running.is_some());
        if runs && !sidecars.contains(&init.name.as_str()) {
            return Some(format!("init container `{}` runs", init.name));
        }
    }
    if let Some(words) = runner_status(status).and_then(waiting) {
        return Some(words);
    }
    let mut others = status.container_statuses.iter().flatten().filter(|other| other.name != RUNNER);
    others.find_map(|other| Some(format!("container `{}`: {}", other.name, waiting(other)?)))
}

/// The reason for which a container waits, with its message.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let waits = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waits.reason.as_deref().unwrap_or_default();
    if NO_REASONS.contains(&reason) { None } else { words(Some(reason), waits.message.as_deref()) }
}

/// `Reason: message`, as far as there are any.
pub(super) fn words(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let parts = [reason, message].into_iter().flatten().map(str::trim).filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then_some(text)
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn runner_status(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.iter().flatten().find(|container| container.name == RUNNER)
}

fn init_statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().flatten()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten())
}

/// An init container that runs beside the others: its end is not theirs.
fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn has_begun(state: Option<&ContainerState>) -> bool {
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "r1",
                "labels": {"deskrun.dev/runner": "r1"},
                "creationTimestamp": "2026-11-21T15:31:25Z",
            },
            "spec": {
                "initContainers": [{"name": "prepare"}, {"name": "dind", "restartPolicy": "Always"}],
                "containers": [{"name": "runner"}],
            },
            "status": status,
        }))
        .unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the rows read better")]
    fn own(state: Value) -> Value {
        json!([{"name": "runner", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}])
    }

    #[expect(clippy::needless_pass_by_value, reason = "the rows read better")]
    fn init(name: &str, state: Value) -> Value {
        json!([{"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    fn waits(reason: &str, message: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": message}})
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": "1970-01-01T00:03:20Z"}})
    }

    fn starting(waiting: &str) -> RunnerPhase {
        RunnerPhase::Starting { waiting: Some(waiting.to_owned()).filter(|waiting| !waiting.is_empty()) }
    }

    fn failed(reason: &str) -> RunnerPhase {
        RunnerPhase::Failed { reason: reason.to_owned() }
    }

    #[test]
    fn a_pod_is_judged_by_its_runner_then_by_what_keeps_that_from_running() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let exited = |code, out_of_memory| RunnerPhase::Exited { code, at: second(200), out_of_memory };
        let runs = json!({"running": {"startedAt": "1970-01-01T00:01:40Z"}});
        let running = RunnerPhase::Running { since: second(100) };
        let unschedulable = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory."}]);
        let unready = json!([{"type": "Ready", "status": "False"}]);
        let not_ready_yet = json!([{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]);
        let taken_away = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]);
        for (status, expected) in [
            (json!({}), starting("")),
            (json!({"phase": "Pending"}), starting("")),
            (
                json!({"phase": "Pending", "conditions": unschedulable}),
                starting("Unschedulable: 0/1 nodes are available: 1 Insufficient memory."),
            ),
            // What it waits for is in no status: events tell.
            (json!({"phase": "Pending", "containerStatuses": own(waits("ContainerCreating", ""))}), starting("")),
            (
                json!({"phase": "Pending", "containerStatuses": own(waits("ImagePullBackOff", "Back-off pulling x"))}),
                starting("ImagePullBackOff: Back-off pulling x"),
            ),
            (
                json!({"phase": "Pending", "containerStatuses":
                    own(waits("CreateContainerConfigError", "secret \"r1\" not found"))}),
                starting("CreateContainerConfigError: secret \"r1\" not found"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": init("prepare", waits("ErrImagePull", "no such")),
                    "containerStatuses": own(waits("PodInitializing", ""))}),
                starting("init container `prepare`: ErrImagePull: no such"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": init("prepare", runs.clone()),
                    "containerStatuses": own(waits("PodInitializing", ""))}),
                starting("init container `prepare` runs"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": init("prepare", ended(3, "Error")),
                    "containerStatuses": own(waits("PodInitializing", ""))}),
                failed("init container `prepare` ended with exit code 3"),
            ),
            // A sidecar that restarts is not the runner's failure.
            (
                json!({"phase": "Pending", "initContainerStatuses": init("dind", ended(1, "Error")),
                    "containerStatuses": own(waits("PodInitializing", ""))}),
                starting(""),
            ),
            (json!({"phase": "Running", "containerStatuses": own(runs.clone())}), running.clone()),
            (json!({"phase": "Running", "conditions": not_ready_yet, "containerStatuses": own(runs.clone())}), running),
            // Its node is away.
            (
                json!({"phase": "Running", "conditions": unready, "containerStatuses": own(runs.clone())}),
                RunnerPhase::Unknown,
            ),
            (
                json!({"phase": "Running", "conditions": taken_away, "containerStatuses": own(runs.clone())}),
                RunnerPhase::Unknown,
            ),
            (json!({"phase": "Unknown", "containerStatuses": own(runs.clone())}), RunnerPhase::Unknown),
            (json!({"phase": "Running", "reason": "NodeLost", "containerStatuses": own(runs)}), RunnerPhase::Unknown),
            (json!({"phase": "Succeeded", "containerStatuses": own(ended(0, "Completed"))}), exited(0, false)),
            (json!({"phase": "Failed", "containerStatuses": own(ended(137, "OOMKilled"))}), exited(137, true)),
            // That another container failed makes the pod fail, not the runner.
            (
                json!({"phase": "Failed", "containerStatuses": [own(ended(0, "Completed"))[0],
                    init("sidecar", ended(1, "Error"))[0]]}),
                exited(0, false),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
                failed("Evicted: The node was low on resource: memory."),
            ),
            (
                json!({"phase": "Failed", "reason": "OutOfmemory", "containerStatuses": own(waits("", ""))}),
                failed("OutOfmemory"),
            ),
            (json!({"phase": "Failed"}), failed("the pod ended, and no one knows how its containers did")),
        ] {
            assert_eq!(runner(&pod(&status)).unwrap().phase, expected, "{status}");
        }
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_there_until_its_node_says_otherwise() {
        let deleted = |status: Value| {
            let mut pod = pod(&status);
            pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
            runner(&pod).unwrap().phase
        };
        assert_eq!(deleted(json!({"phase": "Pending"})), starting("its pod is being deleted"));
        let runs = json!({"running": {"startedAt": "1970-01-01T00:01:40Z"}});
        let status = json!({"phase": "Running", "containerStatuses": own(runs)});
        assert!(matches!(deleted(status), RunnerPhase::Running { .. }), "it has its grace");
    }

    #[test]
    fn a_pod_without_the_label_is_no_runner() {
        let mut pod = pod(&json!({}));
        pod.metadata.labels = None;
        assert_eq!(runner(&pod), None);
    }

    #[test]
    fn the_runners_log_is_read_or_that_of_what_kept_it_from_running() {
        let waits = own(waits("PodInitializing", ""));
        let failed = json!({"initContainerStatuses": init("prepare", ended(3, "Error")), "containerStatuses": waits});
        assert_eq!(speaks(&pod(&failed)), Some("prepare"));
        assert_eq!(speaks(&pod(&json!({"containerStatuses": own(ended(0, "Completed"))}))), Some("runner"));
        assert_eq!(speaks(&pod(&json!({"containerStatuses": waits}))), None);
    }
}
