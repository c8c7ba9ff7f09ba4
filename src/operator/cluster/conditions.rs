//! What a resource's status says: pure, from what its controllers say, the verdict on its spec and the status before.
//!
//! The texts hold nothing that changes by itself, such as an age: a status that nothing happens to is not written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::memory::Kept;
use super::wanted::Fault;
use crate::controller::{RunnerPhase, ScaleSetStatus, ServingPhase};
use crate::crd::{InstanceStatus, RunnerScaleSetStatus};
use crate::github::RequestIds;

/// The longest message: a status is for reading, and is written as a whole each time.
const MESSAGE_MAX: usize = 2048;

/// Everything a status is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) generation: i64,
    pub(super) fault: Option<Fault>,
    /// What the user should know of a spec that is served all the same.
    pub(super) warnings: Vec<String>,
    pub(super) is_deleted: bool,
    /// One per instance that is served.
    pub(super) instances: Vec<ScaleSetStatus>,
    /// Ids of scale sets and message sessions.
    pub(super) kept: Kept,
}

/// A condition before it is known since when it holds.
struct Claim {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// The status of this story, after `before`.
pub(super) fn describe(story: &Story, before: &RunnerScaleSetStatus, now: Timestamp) -> RunnerScaleSetStatus {
    let mut claims = claims(story);
    for claim in &mut claims {
        cut(&mut claim.message);
    }
    let trouble = claims.iter().find(|claim| claim.type_ == "Degraded" && claim.holds);
    let last_error = trouble.map(|claim| claim.message.clone()).or_else(|| before.last_error.clone());
    let conditions = claims.into_iter().map(|claim| condition(claim, story.generation, before, now)).collect();
    let count = |phases: &[RunnerPhase]| -> u32 {
        story.instances.iter().map(|instance| runners(instance, |phase| phases.contains(&phase))).sum()
    };
    let jobs: Option<u32> = named(story).iter().map(|instance| instance.jobs).sum();
    RunnerScaleSetStatus {
        observed_generation: Some(story.generation),
        conditions,
        min_runners: named(story).first().map_or(before.min_runners, |instance| Some(instance.min_runners)),
        max_runners: named(story).first().map_or(before.max_runners, |instance| Some(instance.max_runners)),
        runners: story.instances.iter().map(|instance| runners(instance, is_there)).sum(),
        idle_runners: count(&[RunnerPhase::Idle]),
        busy_runners: count(&[RunnerPhase::Busy, RunnerPhase::Finishing]),
        pending_runners: count(&[RunnerPhase::Creating, RunnerPhase::Starting]),
        jobs: jobs.filter(|_| !story.instances.is_empty()),
        last_error,
        instances: instances(story, before),
    }
}

fn is_there(phase: RunnerPhase) -> bool {
    phase != RunnerPhase::Ended
}

fn runners(instance: &ScaleSetStatus, counts: impl Fn(RunnerPhase) -> bool) -> u32 {
    let count = instance.runners.iter().filter(|runner| counts(runner.phase)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn instances(story: &Story, before: &RunnerScaleSetStatus) -> Vec<InstanceStatus> {
    if story.instances.is_empty() {
        // A spec that cannot be served does not undo what is registered.
        return before.instances.clone();
    }
    let one = |instance: &ScaleSetStatus| InstanceStatus {
        name: instance.name.clone(),
        phase: instance.phase.name().to_owned(),
        scale_set_id: instance.scale_set_id.or_else(|| story.kept.scale_sets.get(&instance.name).copied()),
        wanted: instance.wanted,
        runners: runners(instance, is_there),
        busy_runners: runners(instance, |phase| matches!(phase, RunnerPhase::Busy | RunnerPhase::Finishing)),
        jobs: instance.jobs,
        session_id: story.kept.sessions.get(&instance.name).cloned(),
    };
    let is_told = |name: &str| story.instances.iter().any(|instance| instance.name == name);
    // Still at GitHub, though no controller looks after them now.
    let others = story.kept.scale_sets.iter().filter(|(name, _)| !is_told(name)).map(|(name, id)| InstanceStatus {
        name: name.clone(),
        scale_set_id: Some(*id),
        phase: ServingPhase::Waiting.name().to_owned(),
        session_id: story.kept.sessions.get(name).cloned(),
        ..InstanceStatus::default()
    });
    story.instances.iter().map(one).chain(others).collect()
}

/// Those that the spec names; the others are on their way out and keep nothing waiting. All of them when everything goes.
fn named(story: &Story) -> Vec<&ScaleSetStatus> {
    let stays = |instance: &&ScaleSetStatus| !matches!(instance.phase, ServingPhase::Draining | ServingPhase::Stopped);
    let named: Vec<&ScaleSetStatus> = story.instances.iter().filter(stays).collect();
    if named.is_empty() { story.instances.iter().collect() } else { named }
}

fn claims(story: &Story) -> Vec<Claim> {
    let named = named(story);
    let all = |is: fn(&ScaleSetStatus) -> bool| !named.is_empty() && named.iter().all(|instance| is(instance));
    let registered = all(|instance| instance.scale_set_id.is_some());
    let listening = all(|instance| instance.phase == ServingPhase::Listening);
    let trouble = trouble(story);
    let reasons = reasons(story);
    let claim = |type_, holds, reason, message| Claim { type_, holds, reason, message };
    let not_yet = || if reasons.is_empty() { "not yet".to_owned() } else { reasons.clone() };
    let ready = match &trouble {
        _ if story.is_deleted => claim("Ready", false, "Deleting", deleting(story)),
        Some((reason, message)) => claim("Ready", false, reason, message.clone()),
        None if registered && listening => claim("Ready", true, "Listening", warnings(story)),
        None => claim("Ready", false, "Starting", not_yet()),
    };
    let labels_pending = story.instances.iter().any(|instance| instance.labels_pending);
    vec![
        ready,
        if registered {
            claim("Registered", true, "ScaleSetKnown", String::new())
        } else {
            claim("Registered", false, "NotRegistered", not_yet())
        },
        if listening {
            claim("Listening", true, "SessionOpen", String::new())
        } else {
            claim("Listening", false, "NoSession", not_yet())
        },
        match trouble {
            Some((reason, message)) => claim("Degraded", true, reason, message),
            None => claim("Degraded", false, "AsExpected", String::new()),
        },
        if labels_pending {
            let words = "GitHub keeps the labels a scale set was made with; delete it there once it is idle";
            claim("LabelsPending", true, "LabelsDiffer", words.to_owned())
        } else {
            claim("LabelsPending", false, "LabelsAgree", String::new())
        },
    ]
}

/// What keeps the resource from doing its work, by its most important reason.
fn trouble(story: &Story) -> Option<(&'static str, String)> {
    if let Some(fault) = &story.fault {
        return Some((fault.reason, fault.words.clone()));
    }
    let words = |is: fn(&ScaleSetStatus) -> bool| {
        let words: Vec<String> =
            story.instances.iter().filter(|instance| is(instance)).flat_map(|one| one.reasons.clone()).collect();
        (!words.is_empty()).then(|| joined(&words))
    };
    if let Some(words) = words(|instance| instance.phase == ServingPhase::Waiting) {
        return Some(("GitHubUnavailable", words));
    }
    let refusals: Vec<String> = story.instances.iter().filter_map(|instance| instance.refused.clone()).collect();
    if !refusals.is_empty() {
        return Some(("RunnersRefused", joined(&refusals)));
    }
    words(|instance| instance.failures > 0).map(|words| ("RunnersFail", words))
}

fn reasons(story: &Story) -> String {
    let reasons: Vec<String> = story.instances.iter().flat_map(|instance| instance.reasons.clone()).collect();
    joined(&reasons)
}

/// Instances usually have the same reason.
fn joined(words: &[String]) -> String {
    let mut words: Vec<String> = words.iter().map(|words| RequestIds::left_out(words)).collect();
    words.sort();
    words.dedup();
    words.join("; ")
}

fn warnings(story: &Story) -> String {
    story.warnings.join("; ")
}

fn deleting(story: &Story) -> String {
    let busy: u32 = story.instances.iter().map(|instance| runners(instance, |phase| phase == RunnerPhase::Busy)).sum();
    match busy {
        0 => {
            let why = story.fault.as_ref().map_or_else(|| reasons(story), |fault| fault.words.clone());
            let why = if why.is_empty() { why } else { format!(": {why}") };
            format!("runners and scale sets are being taken out{why}")
        }
        1 => "waits for 1 busy runner".to_owned(),
        busy => format!("waits for {busy} busy runners"),
    }
}

fn cut(message: &mut String) {
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
    }
}

/// Since when it holds is what it was, as long as it holds or does not.
fn condition(claim: Claim, generation: i64, before: &RunnerScaleSetStatus, now: Timestamp) -> Condition {
    let Claim { type_, holds, reason, message } = claim;
    let status = if holds { "True" } else { "False" };
    let known = before.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    // The API server keeps whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::RunnerStatus;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn listening() -> ScaleSetStatus {
        let runner = |name: &str, phase| RunnerStatus {
            name: name.to_owned(),
            phase,
            slot: 0,
            job: None,
            created_at: at(0),
            manifest: None,
            reason: None,
        };
        ScaleSetStatus {
            name: "ws".to_owned(),
            phase: ServingPhase::Listening,
            scale_set_id: Some(7),
            jobs: Some(1),
            max_runners: 8,
            runners: vec![
                runner("a", RunnerPhase::Busy),
                runner("b", RunnerPhase::Idle),
                runner("c", RunnerPhase::Starting),
                runner("d", RunnerPhase::Ended),
            ],
            ..ScaleSetStatus::default()
        }
    }

    fn holds(status: &RunnerScaleSetStatus, type_: &str) -> (bool, String) {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        (condition.status == "True", condition.reason.clone())
    }

    #[test]
    fn a_scale_set_that_listens_is_ready_and_its_runners_are_counted() {
        let story = Story { generation: 2, instances: vec![listening()], ..Story::default() };
        let status = describe(&story, &RunnerScaleSetStatus::default(), at(10));
        assert_eq!(holds(&status, "Ready"), (true, "Listening".to_owned()));
        assert_eq!(holds(&status, "Degraded"), (false, "AsExpected".to_owned()));
        let counts = (status.runners, status.idle_runners, status.busy_runners, status.pending_runners, status.jobs);
        assert_eq!(counts, (3, 1, 1, 1, Some(1)));
        assert_eq!((status.min_runners, status.max_runners), (Some(0), Some(8)), "also where the spec says neither");
        assert_eq!(status.instances[0].scale_set_id, Some(7));
    }

    #[test]
    fn time_alone_changes_no_status_and_a_transition_is_dated_once() {
        let mut story = Story { generation: 1, instances: vec![listening()], ..Story::default() };
        let first = describe(&story, &RunnerScaleSetStatus::default(), at(10));
        assert_eq!(describe(&story, &first, at(500)), first);
        story.instances[0].phase = ServingPhase::Waiting;
        story.instances[0].reasons = vec!["the token is refused (401)".to_owned()];
        let second = describe(&story, &first, at(20));
        assert_eq!(holds(&second, "Degraded"), (true, "GitHubUnavailable".to_owned()));
        assert_eq!(second.last_error.as_deref(), Some("the token is refused (401)"));
        let dated = |status: &RunnerScaleSetStatus, type_: &str| {
            status.conditions.iter().find(|one| one.type_ == type_).map(|one| one.last_transition_time.0)
        };
        assert_eq!((dated(&second, "Ready"), dated(&second, "Registered")), (Some(at(20)), Some(at(10))));
    }

    #[test]
    fn a_wrong_spec_keeps_what_is_known_of_its_scale_sets() {
        let before = describe(
            &Story { generation: 1, instances: vec![listening()], ..Story::default() },
            &RunnerScaleSetStatus::default(),
            at(1),
        );
        let fault = Fault { reason: "InvalidSpec", words: "spec.maxRunners: below minRunners".to_owned() };
        let status = describe(&Story { generation: 2, fault: Some(fault), ..Story::default() }, &before, at(2));
        assert_eq!(holds(&status, "Ready"), (false, "InvalidSpec".to_owned()));
        assert_eq!((status.observed_generation, status.instances), (Some(2), before.instances));
    }
}
