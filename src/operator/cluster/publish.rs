//! Writes the status of one resource, and tells people of what changed: a task per resource.
//!
//! Nothing is written that does not differ, and at most one write a second: a burst costs the API server a few writes.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{pending, select_all};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::conditions::{Story, describe};
use super::memory::Kept;
use super::resource::{KIND, Resource};
use super::wanted::Fault;
use crate::causes;
use crate::controller::ScaleSetStatus;
use crate::crd::{API_VERSION, Condition, RunnerScaleSetStatus};
use crate::github::Environment;

/// Between two writes of one status.
const INTERVAL: Duration = Duration::from_secs(1);
/// After a write that failed: doubled each time, up to the second.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_mins(1);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);
/// The longest note that an Event may have.
const NOTE_MAX: usize = 1024;

/// What is served of a resource, as it changes.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) generation: i64,
    pub(super) fault: Option<Fault>,
    pub(super) warnings: Vec<String>,
    pub(super) is_deleted: bool,
    pub(super) statuses: Vec<watch::Receiver<ScaleSetStatus>>,
}

impl Served {
    /// Whether both say the same of the same controllers.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let facts =
            |served: &Self| (served.generation, served.fault.clone(), served.warnings.clone(), served.is_deleted);
        let pairs = self.statuses.iter().zip(&other.statuses);
        facts(self) == facts(other)
            && self.statuses.len() == other.statuses.len()
            && pairs.into_iter().all(|(one, another)| one.same_channel(another))
    }
}

/// Tells of one resource.
pub(super) struct Publisher {
    pub(super) resource: Resource,
    pub(super) api: Api<DynamicObject>,
    pub(super) recorder: Recorder,
    pub(super) environment: Environment,
    pub(super) served: watch::Receiver<Option<Served>>,
    pub(super) kept: watch::Receiver<Kept>,
}

impl Publisher {
    /// Publishes until it is dropped, or the resource is gone.
    pub(super) async fn run(mut self) {
        let mut written = self.resource.status.clone();
        let mut again = AGAIN;
        loop {
            let Ok(served) = self.served.wait_for(Option::is_some).await.map(|served| served.clone()) else { return };
            let Some(served) = served else { continue };
            let mut statuses = served.statuses.clone();
            let instances = statuses.iter_mut().map(|status| status.borrow_and_update().clone());
            let story = Story {
                instances: instances.filter(|instance| !instance.taken_out).collect(),
                kept: self.kept.borrow_and_update().clone(),
                generation: served.generation,
                fault: served.fault,
                warnings: served.warnings,
                is_deleted: served.is_deleted,
            };
            let next = describe(&story, &written, self.environment.now());
            if next == written {
                self.changed(&mut statuses).await;
                continue;
            }
            match self.write(&next).await {
                Ok(()) => {
                    self.tell(&written, &next).await;
                    (written, again) = (next, AGAIN);
                    sleep(INTERVAL).await;
                }
                // Also of a resource that is gone: then this task is about to be ended.
                Err(error) => {
                    tracing::info!(resource = self.resource.key(), error, "the status is not written yet");
                    sleep(again).await;
                    again = (again * 2).min(AGAIN_AT_MOST);
                }
            }
        }
    }

    /// Waits until anything of the story has changed.
    async fn changed(&mut self, statuses: &mut [watch::Receiver<ScaleSetStatus>]) {
        let any_status = async {
            if statuses.is_empty() {
                return pending().await;
            }
            select_all(statuses.iter_mut().map(|status| changed(status).boxed())).await;
        };
        tokio::select! {
            () = any_status => {}
            () = changed(&mut self.served) => {}
            () = changed(&mut self.kept) => {}
        }
    }

    async fn write(&self, status: &RunnerScaleSetStatus) -> Result<(), String> {
        let Resource { name, uid, .. } = &self.resource;
        // With the uid, a resource of the same name that came after this one keeps its own status.
        let metadata = json!({"name": name, "uid": uid});
        let patch = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status});
        let (parameters, patch) = (PatchParams::apply("deskrun").force(), Patch::Apply(patch));
        match timeout(CALL, self.api.patch_status(name, &parameters, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(causes::in_one_line(&error)),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    /// An Event for each condition that people wait for or are alarmed by, when it turns or its reason changes.
    async fn tell(&self, before: &RunnerScaleSetStatus, after: &RunnerScaleSetStatus) {
        for (condition, alarming) in [("Ready", false), ("Degraded", true), ("LabelsPending", true)] {
            let of = |status: &RunnerScaleSetStatus| {
                status.conditions.iter().find(|known| known.type_ == condition && known.status == "True").cloned()
            };
            let (was, is) = (of(before), of(after));
            let Some(now) = is else { continue };
            let told = |condition: &Condition| condition.reason.clone();
            if was.as_ref().map(told) == Some(told(&now)) {
                continue;
            }
            let note = if now.message.is_empty() { format!("{condition} holds") } else { now.message.clone() };
            let type_ = if alarming { EventType::Warning } else { EventType::Normal };
            record(&self.recorder, &self.resource, type_, &now.reason, &note, "Serve").await;
        }
    }
}

/// Publishes an Event about a resource. One that cannot be written is no reason to stop.
pub(super) async fn record(
    recorder: &Recorder,
    resource: &Resource,
    type_: EventType,
    reason: &str,
    note: &str,
    action: &str,
) {
    let cut = (0..=note.len().min(NOTE_MAX)).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note[..cut].to_owned()),
        action: action.to_owned(),
        secondary: None,
    };
    match timeout(CALL, recorder.publish(&event, &resource.reference())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = causes::in_one_line(&error);
            tracing::warn!(resource = resource.key(), reason, note, error, "an Event is not written");
        }
        Err(_) => tracing::warn!(resource = resource.key(), reason, note, "an Event is not written in time"),
    }
}

/// Waits for a change; for ever once there can be none.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending::<()>().await;
    }
}
