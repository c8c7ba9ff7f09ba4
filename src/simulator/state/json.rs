//! How things look in answers of the Actions service: field names and casing as GitHub writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::State;
use super::error::Refusal;
use super::runner::{Presence, Runner};
use super::scale_set::ScaleSet;
use crate::simulator::links::Links;

/// A .NET date with seven digits of fraction; what has not happened is in the year 1.
pub(crate) fn date(at: Option<Timestamp>) -> String {
    let Some(at) = at else { return "0001-01-01T00:00:00Z".to_owned() };
    let civil = at.to_zoned(TimeZone::UTC).datetime();
    let ticks = civil.subsec_nanosecond() / 100;
    format!("{}.{ticks:07}Z", civil.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// A list, counted.
#[derive(Debug)]
pub(crate) struct ListEnvelope(pub(crate) Value);

/// The envelope around every list.
pub(crate) fn list(items: Vec<Value>) -> ListEnvelope {
    let count = items.len();
    ListEnvelope(json!({ "count": count, "value": Value::Array(items) }))
}

impl State {
    /// A scale set; with its statistics where it is read, null where it was just made.
    pub(crate) fn scale_set_json(&self, set: &ScaleSet, links: &Links, with_statistics: bool) -> Value {
        let path = format!("runtime/runnerscalesets/{}", set.id);
        let statistics = if with_statistics { self.statistics(set.id).to_json() } else { Value::Null };
        json!({
            "id": set.id,
            "name": set.name,
            "runnerGroupId": set.group,
            "runnerGroupName": self.group_name(set),
            "labels": set.labels.iter().map(|label| json!({ "id": label.id, "name": label.name, "type": label.kind }))
                .collect::<Vec<_>>(),
            "runnerSetting": { "ephemeral": true, "isElastic": true, "disableUpdate": set.disable_update },
            "createdOn": date(Some(set.created)),
            "runnerJitConfigUrl": links.api(&format!("{path}/generatejitconfig")),
            "getAcquirableJobsUrl": links.api(&format!("{path}/acquirablejobs")),
            "acquireJobsUrl": links.api(&format!("{path}/acquirejobs")),
            "createSessionUrl": links.api(&format!("{path}/sessions")),
            "enabled": true,
            "status": if set.session.is_some() { "online" } else { "offline" },
            "statistics": statistics,
        })
    }

    /// The live session of a set, with a token.
    pub(crate) fn session_json(&self, set: i64, token: &str, links: &Links) -> Result<Value, Refusal> {
        let set = self.scale_sets.get(&set).ok_or(Refusal::ScaleSetNotFound(set))?;
        let session = set.session.as_ref().ok_or(Refusal::Unauthorized)?;
        Ok(json!({
            "sessionId": session.id,
            "ownerName": session.owner,
            "runnerScaleSet": self.scale_set_json(set, links, false),
            "messageQueueUrl": links.queue(set.id, &session.id),
            "messageQueueAccessToken": token,
            "statistics": self.statistics(set.id).to_json(),
        }))
    }

    /// A runner.
    pub(crate) fn runner_json(&self, runner: &Runner) -> Value {
        let set = self.scale_sets.get(&runner.scale_set);
        let online = runner.presence != Presence::Offline;
        json!({
            "id": runner.id,
            "name": runner.name,
            "runnerScaleSetId": runner.scale_set,
            "os": if online { "Linux" } else { "unknown" },
            "createdOn": date(Some(runner.created)),
            "runnerGroupId": set.map(|set| set.group),
            "runnerGroupName": set.map(|set| self.group_name(set)),
            "version": if online { "2.330.0" } else { "" },
            "enabled": true,
            "ephemeral": true,
            "status": if online { "online" } else { "offline" },
            "disableUpdate": set.is_some_and(|set| set.disable_update),
            "provisioningState": "Provisioned",
            "busy": runner.job().is_some(),
            "labels": set.map(|set| set.labels.iter().map(|label| label.name.clone()).collect::<Vec<_>>()),
        })
    }

    /// What a stand-in runner hears when it connects.
    pub(crate) fn greeting(&self, id: i64) -> Value {
        self.runners.get(&id).map_or(
            Value::Null,
            |runner| json!({ "runnerId": id, "runnerName": runner.name, "workFolder": runner.work_folder }),
        )
    }

    /// A job that was offered, as the list of acquirable jobs has it.
    pub(crate) fn acquirable_json(&self, job: usize, set: i64, links: &Links) -> Value {
        let mut item = json!({
            "acquireJobUrl": links.api(&format!("runtime/runnerscalesets/{set}/acquirejobs")),
            "messageType": "JobAvailable",
        });
        let fields = self.job_fields(job, set);
        for name in ["runnerRequestId", "repositoryName", "ownerName", "jobWorkflowRef", "eventName", "requestLabels"] {
            item[name] = fields[name].clone();
        }
        item
    }

    fn group_name(&self, set: &ScaleSet) -> String {
        self.group(&set.tenant, set.group).map(|group| group.name).unwrap_or_default()
    }
}
