//! The JSON of the Actions service, read leniently: a byte-order mark, odd casing, nulls, unknown fields and missing
//! ones must not stop a listener (`scale-set-protocol.md` 3.1, 4).

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::date;
use crate::secret::Secret;

/// A runner scale set (3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ScaleSet {
    /// Id.
    #[serde(deserialize_with = "or_default")]
    pub id: i64,
    /// Name; unique in its group.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Runner group.
    #[serde(rename = "runnergroupid", deserialize_with = "or_default")]
    pub runner_group_id: i64,
    /// Labels, as the service kept them.
    #[serde(deserialize_with = "or_default")]
    pub labels: Vec<Label>,
    /// Statistics, where the service gives them.
    pub statistics: Option<Statistics>,
}

/// A label of a scale set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Label {
    /// Its text.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// A runner group (3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunnerGroup {
    /// Id.
    #[serde(deserialize_with = "or_default")]
    pub id: i64,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// A runner's registration (3.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Runner {
    /// Id.
    #[serde(deserialize_with = "or_default")]
    pub id: i64,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The scale set it was made for.
    #[serde(rename = "runnerscalesetid", deserialize_with = "or_default")]
    pub scale_set_id: i64,
    /// `online`, `offline`, or not said.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
    /// Whether it has a job, where the service says so.
    pub busy: Option<bool>,
}

/// What a runner needs to register itself once (3.5).
#[derive(Clone, Debug)]
pub struct JitConfig {
    /// The registration, which exists from now on.
    pub runner: Runner,
    /// The blob for the runner process.
    pub encoded: Secret,
}

/// The numbers of a scale set (4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Offered, not acquired.
    #[serde(rename = "totalavailablejobs", deserialize_with = "or_default")]
    pub available_jobs: i64,
    /// Acquired, not yet assigned.
    #[serde(rename = "totalacquiredjobs", deserialize_with = "or_default")]
    pub acquired_jobs: i64,
    /// Everything the scale set owns, waiting and running: the number to scale by.
    #[serde(rename = "totalassignedjobs", deserialize_with = "or_default")]
    pub assigned_jobs: i64,
    /// Running, or about to.
    #[serde(rename = "totalrunningjobs", deserialize_with = "or_default")]
    pub running_jobs: i64,
    /// Registrations of this set.
    #[serde(rename = "totalregisteredrunners", deserialize_with = "or_default")]
    pub registered_runners: i64,
    /// Runners with a job.
    #[serde(rename = "totalbusyrunners", deserialize_with = "or_default")]
    pub busy_runners: i64,
    /// Runners without one.
    #[serde(rename = "totalidlerunners", deserialize_with = "or_default")]
    pub idle_runners: i64,
}

/// One delivery of the queue (4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Id, increasing per scale set.
    pub id: i64,
    /// Messages; unknown ones are left out and counted.
    pub messages: Vec<JobMessage>,
    /// How many entries could not be understood.
    pub unknown: usize,
    /// Numbers at delivery; `None` where the service gave none.
    pub statistics: Option<Statistics>,
}

/// One message about a job (4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMessage {
    /// What happened.
    pub event: JobEvent,
    /// The job's id, the only identity it has everywhere.
    pub job_id: String,
    /// Id by which a job is acquired; 0 on the broker generation.
    pub request_id: i64,
    /// `owner/name`.
    pub repository: String,
    /// File and ref of the workflow.
    pub workflow: String,
    /// Display name.
    pub display_name: String,
    /// Id of the run.
    pub run_id: i64,
    /// When the job was queued.
    pub queued_at: Option<Timestamp>,
    /// When it was assigned to the scale set.
    pub assigned_at: Option<Timestamp>,
    /// When a runner got it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// Offered: must be acquired.
    Available,
    /// Belongs to the scale set, waits for a runner.
    Assigned,
    /// A runner of the set has it.
    Started {
        /// The runner's id.
        runner_id: i64,
        /// Its name.
        runner_name: String,
    },
    /// It ended, or the assignment was withdrawn.
    Completed {
        /// The runner's id; 0 if it never reached one.
        runner_id: i64,
        /// Its name.
        runner_name: String,
        /// `succeeded`, `failed`, `canceled`; an open set.
        result: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound = "T: Default + Deserialize<'de>")]
pub(super) struct List<T: Default> {
    #[serde(deserialize_with = "or_default")]
    pub(super) count: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    #[serde(rename = "sessionid", deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(rename = "messagequeueurl", deserialize_with = "or_default")]
    pub(super) queue_url: String,
    #[serde(rename = "messagequeueaccesstoken", deserialize_with = "or_default")]
    pub(super) queue_token: String,
    pub(super) statistics: Option<Statistics>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
    /// Of the admin connection: the service's URL.
    #[serde(deserialize_with = "or_default")]
    pub(super) url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewJitConfig {
    pub(super) runner: Runner,
    #[serde(rename = "encodedjitconfig", deserialize_with = "or_default")]
    pub(super) encoded: String,
}

/// What a refusal says.
pub(super) struct Refusal {
    pub(super) type_name: Option<String>,
    pub(super) message: String,
}

/// Reads an answer. Names are compared without case, as GitHub's own client does.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let value: Value = serde_json::from_slice(without_mark(body)).map_err(|error| error.to_string())?;
    serde_json::from_value(lower_case(value)).map_err(|error| error.to_string())
}

/// Reads the words of a refusal, whatever its shape (3.2.1).
pub(super) fn refusal(body: &[u8]) -> Refusal {
    /// Enough to recognise a page of a proxy.
    const MOST: usize = 300;
    let body = without_mark(body);
    let value = serde_json::from_slice(body).map(lower_case).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let plain = String::from_utf8_lossy(body).trim().chars().take(MOST).collect::<String>();
    let words = text("message").or_else(|| text("errormessage")).unwrap_or(plain);
    let message = if words.is_empty() { "no explanation".to_owned() } else { words };
    Refusal { type_name: text("typename").or_else(|| text("typekey")), message }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outer {
    #[serde(rename = "messageid", deserialize_with = "or_default")]
    id: i64,
    #[serde(deserialize_with = "or_default")]
    body: String,
    statistics: Option<Statistics>,
}

/// Reads an envelope; `Ok(None)` for the empty answer that happens in production.
pub(super) fn envelope(body: &[u8]) -> Result<Option<Envelope>, String> {
    if without_mark(body).iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let outer: Option<Outer> = read(body)?;
    let Some(outer) = outer else { return Ok(None) };
    let entries: Vec<Value> = serde_json::from_str(&outer.body).unwrap_or_default();
    let known: Vec<JobMessage> = entries.iter().cloned().filter_map(|entry| message(&lower_case(entry))).collect();
    // A body that is not a list at all counts as one thing that was not understood.
    let total = if entries.is_empty() && !outer.body.trim().is_empty() && outer.body.trim() != "[]" {
        1
    } else {
        entries.len()
    };
    let unknown = total - known.len();
    Ok(Some(Envelope { id: outer.id, messages: known, unknown, statistics: outer.statistics }))
}

fn message(entry: &Value) -> Option<JobMessage> {
    let text = |name: &str| match entry.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let number = |name: &str| entry.get(name).and_then(Value::as_i64).unwrap_or_default();
    let time = |name: &str| date::parse(&text(name));
    let (runner_id, runner_name) = (number("runnerid"), text("runnername"));
    let event = match text("messagetype").as_str() {
        "JobAvailable" => JobEvent::Available,
        "JobAssigned" => JobEvent::Assigned,
        "JobStarted" => JobEvent::Started { runner_id, runner_name },
        "JobCompleted" => JobEvent::Completed { runner_id, runner_name, result: text("result") },
        _ => return None,
    };
    Some(JobMessage {
        event,
        job_id: text("jobid"),
        request_id: number("runnerrequestid"),
        repository: format!("{}/{}", text("ownername"), text("repositoryname")),
        workflow: text("jobworkflowref"),
        display_name: text("jobdisplayname"),
        run_id: number("workflowrunid"),
        queued_at: time("queuetime"),
        assigned_at: time("scalesetassigntime"),
        started_at: time("runnerassigntime"),
        finished_at: time("finishtime"),
    })
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn lower_case(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), lower_case(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(lower_case).collect(),
        other => other,
    }
}

fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_mark_odd_casing_nulls_and_unknown_fields() {
        let body = "\u{feff}{\"ID\":42,\"Name\":\"ws\",\"RunnerGroupId\":1,\"labels\":null,\"new\":{},\"statistics\":{\"TotalAssignedJobs\":3,\"totalRunningJobs\":null}}";
        let scale_set: ScaleSet = read(body.as_bytes()).unwrap();
        assert_eq!((scale_set.id, scale_set.name.as_str(), scale_set.labels.len()), (42, "ws", 0));
        assert_eq!(scale_set.statistics.unwrap().assigned_jobs, 3);
    }

    #[test]
    fn an_envelope_holds_its_messages_as_text() {
        let inner = r#"[{"messageType":"JobStarted","runnerId":7,"runnerName":"ws-x","jobId":12,"ownerName":"o","repositoryName":"r","requestLabels":null,"queueTime":"0001-01-01T00:00:00Z"},{"messageType":"New"}]"#;
        let body = serde_json::json!({"messageId": 5, "messageType": "RunnerScaleSetJobMessages", "body": inner, "statistics": null});
        let envelope = envelope(body.to_string().as_bytes()).unwrap().unwrap();
        assert_eq!((envelope.id, envelope.unknown, envelope.statistics), (5, 1, None));
        let message = &envelope.messages[0];
        assert_eq!((message.job_id.as_str(), message.repository.as_str(), message.queued_at), ("12", "o/r", None));
        assert_eq!(message.event, JobEvent::Started { runner_id: 7, runner_name: "ws-x".to_owned() });
    }

    #[test]
    fn empty_and_odd_envelopes_do_not_stop_a_listener() {
        for body in ["", " \n", "\u{feff}", "null"] {
            assert_eq!(envelope(body.as_bytes()), Ok(None), "{body:?}");
        }
        for (body, unknown) in
            [(r#"{"messageId":1}"#, 0), (r#"{"messageId":1,"body":""}"#, 0), (r#"{"messageId":1,"body":"{"}"#, 1)]
        {
            assert_eq!(envelope(body.as_bytes()).unwrap().unwrap().unknown, unknown, "{body}");
        }
        assert!(envelope(b"{\"messageId\":").is_err(), "a truncated answer is not taken for an empty one");
    }
}
