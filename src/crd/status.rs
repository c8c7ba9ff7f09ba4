//! The status of a `RunnerScaleSet`: what the operator tells people, `kubectl wait` and itself after a restart.
//!
//! Nothing here decides anything: whoever loses it loses time, never correctness. Tokens never stand in it.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a runner scale set, all its instances together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunnerScaleSetStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Registered`, `Listening`, `Degraded` and `LabelsPending`, each with a reason and words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Idle runners that each instance keeps ready, by the spec that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_runners: Option<u32>,
    /// The most runners of each instance, by the spec that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_runners: Option<u32>,
    /// Runners there are, in any phase.
    pub runners: u32,
    /// Runners that wait for a job.
    pub idle_runners: u32,
    /// Runners that have a job.
    pub busy_runners: u32,
    /// Runners that are being made or are starting.
    pub pending_runners: u32,
    /// Jobs that belong to the scale set at GitHub, waiting and running; unset while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// What went wrong last, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The scale sets at GitHub, one or as many as `instances` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceStatus>,
}

/// One scale set at GitHub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Its name, as `runs-on` has it.
    pub name: String,
    /// Its id at GitHub, once it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_set_id: Option<i64>,
    /// What its controller is doing: `starting`, `listening`, `waiting`, `draining` or `stopped`.
    #[serde(default)]
    pub phase: String,
    /// Runners there shall be now.
    #[serde(default)]
    pub wanted: u32,
    /// Runners there are, in any phase.
    #[serde(default)]
    pub runners: u32,
    /// Runners that have a job.
    #[serde(default)]
    pub busy_runners: u32,
    /// Jobs it owns at GitHub, waiting and running; unset while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// The message session, so that the next leader closes it instead of waiting for its end. Not a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_another_version_is_read_as_far_as_it_is_understood() {
        let status: RunnerScaleSetStatus =
            serde_json::from_str(r#"{"runners": 2, "future": true, "instances": [{"name": "ws", "more": 1}]}"#)
                .unwrap();
        assert_eq!((status.runners, status.instances[0].name.as_str()), (2, "ws"));
    }

    #[test]
    fn what_is_not_known_is_not_written() {
        let written = serde_json::to_value(RunnerScaleSetStatus::default()).unwrap();
        let expected = serde_json::json!({"runners": 0, "idleRunners": 0, "busyRunners": 0, "pendingRunners": 0});
        assert_eq!(written, expected);
    }
}
