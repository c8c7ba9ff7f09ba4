//! What lists of pods and containers mean. Pure: lists come in, runners come out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::{ObservedRunner, Owner, RunnerPhase, label};
use super::documents::INIT_CONTAINERS;
use super::wire::{Container, Pod};

/// Killed by signal 9: by the kernel for its memory, or by someone.
const KILLED: i32 = 137;

/// What lists do not say and was asked for besides, by container id.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Whether the kernel killed it for its memory.
    pub(super) out_of_memory: BTreeMap<String, bool>,
    /// Containers that Podman believes to run and that have no process.
    pub(super) without_process: Vec<String>,
}

/// All runners, in the order of their names.
pub(super) fn runners(pods: &[Pod], containers: &[Container], findings: &Findings) -> Vec<ObservedRunner> {
    let mut runners: Vec<ObservedRunner> = pods
        .iter()
        .filter_map(|pod| {
            let owner = Owner::read(&pod.labels, &pod.labels)?;
            let own: Vec<&Container> = containers.iter().filter(|container| container.pod == pod.id).collect();
            let phase = phase(pod, &own, findings);
            Some(ObservedRunner { name: pod.name.clone(), owner, created_at: pod.created, phase })
        })
        .collect();
    runners.sort_by(|one, other| one.name.cmp(&other.name));
    runners
}

/// Ids of runner containers that ended by signal 9.
pub(super) fn killed(containers: &[Container]) -> impl Iterator<Item = &str> {
    let killed = |container: &&Container| has_ended(container) && container.exit_code == KILLED;
    runner_containers(containers).filter(killed).map(|container| container.id.as_str())
}

/// Ids of runner containers that run, as far as Podman knows.
pub(super) fn running(containers: &[Container]) -> impl Iterator<Item = &str> {
    runner_containers(containers)
        .filter(|container| container.state == "running")
        .map(|container| container.id.as_str())
}

/// The container whose log is the runner's: its own, or that of the init container that kept it from running.
pub(super) fn speaks<'a>(runner: &str, containers: &'a [Container]) -> Option<&'a Container> {
    let own = containers.iter().find(|container| is_named(container, runner, "runner"));
    if let Some(own) = own.filter(|own| has_begun(own)) {
        return Some(own);
    }
    let init = containers.iter().filter(|container| is_init(container, runner, &container.labels));
    init.filter(|container| has_begun(container)).max_by_key(|container| container.started_at).or(own)
}

fn phase(pod: &Pod, containers: &[&Container], findings: &Findings) -> RunnerPhase {
    let runner = containers.iter().find(|container| is_named(container, &pod.name, "runner"));
    let Some(runner) = runner else {
        return RunnerPhase::Starting { waiting: Some("its containers are being made".to_owned()) };
    };
    if has_ended(runner) {
        let out_of_memory = findings.out_of_memory.get(&runner.id).copied().unwrap_or_default();
        return RunnerPhase::Exited { code: runner.exit_code, at: seconds(runner.exited_at), out_of_memory };
    }
    if has_begun(runner) {
        if findings.without_process.contains(&runner.id) {
            let reason = "its process is gone, and Podman did not see how: the monitor `conmon` was killed".to_owned();
            return RunnerPhase::Failed { reason };
        }
        return RunnerPhase::Running { since: seconds(runner.started_at) };
    }
    for container in containers.iter().filter(|container| is_init(container, &pod.name, &pod.labels)) {
        let name = container.names.first().and_then(|name| name.strip_prefix(&format!("{}-", pod.name)));
        let name = name.unwrap_or_default();
        if has_ended(container) && container.exit_code != 0 {
            let reason = format!("init container `{name}` ended with exit code {}", container.exit_code);
            return RunnerPhase::Failed { reason };
        }
        if has_begun(container) && !has_ended(container) {
            return RunnerPhase::Starting { waiting: Some(format!("init container `{name}` runs")) };
        }
    }
    RunnerPhase::Starting { waiting: None }
}

fn runner_containers(containers: &[Container]) -> impl Iterator<Item = &Container> {
    containers.iter().filter(|container| {
        container.labels.get(label::RUNNER).is_some_and(|runner| is_named(container, runner, "runner"))
    })
}

/// Podman names a container after its pod and itself.
fn is_named(container: &Container, pod: &str, name: &str) -> bool {
    container.names.iter().any(|full| full.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-')) == Some(name))
}

fn is_init(container: &Container, pod: &str, labels: &BTreeMap<String, String>) -> bool {
    let names: Vec<String> =
        labels.get(INIT_CONTAINERS).and_then(|names| serde_json::from_str(names).ok()).unwrap_or_default();
    names.iter().any(|name| is_named(container, pod, name))
}

fn has_begun(container: &Container) -> bool {
    !matches!(container.state.as_str(), "created" | "configured" | "initialized" | "unknown" | "")
}

fn has_ended(container: &Container) -> bool {
    matches!(container.state.as_str(), "exited" | "stopped")
        || (container.state == "removing" && container.exited_at > 0)
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let labels = json!({"deskrun.dev/runner": "r1", INIT_CONTAINERS: "[\"prepare\"]"});
        serde_json::from_value(json!({"Id": "p", "Name": "r1", "Created": "2026-11-21T15:31:25Z", "Labels": labels}))
            .unwrap()
    }

    fn container(name: &str, state: &str, code: i32) -> Container {
        let names = [format!("r1-{name}")];
        let labels = pod().labels;
        serde_json::from_value(json!({
            "Id": name, "Names": names, "Labels": labels, "Pod": "p", "State": state, "ExitCode": code,
            "StartedAt": 100, "ExitedAt": if state == "exited" { 200 } else { -62_135_596_800_i64 },
        }))
        .unwrap()
    }

    fn judged(containers: &[Container], findings: &Findings) -> RunnerPhase {
        runners(&[pod()], containers, findings).remove(0).phase
    }

    #[test]
    fn a_runner_is_judged_by_its_own_container_and_before_that_by_its_init_containers() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let starting = |waiting: Option<&str>| RunnerPhase::Starting { waiting: waiting.map(str::to_owned) };
        let created = container("runner", "created", 0);
        for (containers, expected) in [
            (vec![], starting(Some("its containers are being made"))),
            (vec![created.clone()], starting(None)),
            (
                vec![created.clone(), container("prepare", "running", 0)],
                starting(Some("init container `prepare` runs")),
            ),
            (
                vec![created.clone(), container("prepare", "exited", 3)],
                RunnerPhase::Failed { reason: "init container `prepare` ended with exit code 3".to_owned() },
            ),
            // A sidecar that fails is not the runner's failure.
            (vec![created, container("dind", "exited", 1)], starting(None)),
            (
                vec![container("runner", "running", 0), container("dind", "exited", 1)],
                RunnerPhase::Running { since: second(100) },
            ),
            (
                vec![container("runner", "exited", 143)],
                RunnerPhase::Exited { code: 143, at: second(200), out_of_memory: false },
            ),
        ] {
            assert_eq!(judged(&containers, &Findings::default()), expected);
        }
    }

    #[test]
    fn what_lists_do_not_say_is_found_out_and_told() {
        let mut findings = Findings::default();
        let killed_one = [container("runner", "exited", KILLED)];
        assert_eq!(killed(&killed_one).collect::<Vec<_>>(), ["runner"]);
        findings.out_of_memory.insert("runner".to_owned(), true);
        assert!(matches!(judged(&killed_one, &findings), RunnerPhase::Exited { out_of_memory: true, .. }));
        let lost = [container("runner", "running", 0)];
        assert_eq!(running(&lost).collect::<Vec<_>>(), ["runner"]);
        findings.without_process.push("runner".to_owned());
        assert!(matches!(judged(&lost, &findings), RunnerPhase::Failed { .. }));
    }
}
