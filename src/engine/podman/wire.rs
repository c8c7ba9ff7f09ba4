//! Answers of libpod, as far as they are read. Inspect results hold the JIT config in the container's environment: of
//! them only the state has a type here, and the rest is never kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::label;

pub(super) type Labels = BTreeMap<String, String>;

/// Podman writes an empty list or mapping as `null`.
fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A pod in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pod {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created: jiff::Timestamp,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) labels: Labels,
}

/// A container in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) names: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) labels: Labels,
    /// Id of its pod; empty without one.
    #[serde(default)]
    pub(super) pod: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) exit_code: i32,
    /// Seconds since 1970; far before that while it has not ended.
    #[serde(default)]
    pub(super) exited_at: i64,
    /// Seconds since 1970.
    #[serde(default)]
    pub(super) started_at: i64,
}

/// What an inspect says of a container, without its environment.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) state: InspectedState,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct InspectedState {
    #[serde(rename = "OOMKilled", default)]
    pub(super) out_of_memory: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    pub(super) name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) labels: Labels,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StoredSecret {
    pub(super) spec: SecretSpec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretSpec {
    pub(super) name: String,
    pub(super) driver: SecretDriver,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) labels: Labels,
}

impl SecretSpec {
    /// The controller that made it; `None` if it is not ours.
    pub(super) fn controller(&self) -> Option<&str> {
        let labels = self.driver.options.get(label::CONTROLLER).or_else(|| self.labels.get(label::CONTROLLER));
        labels.map(String::as_str)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretDriver {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) options: Labels,
}

/// The processes of a container; the body is empty when there are none.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Processes {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) processes: Vec<Vec<String>>,
}

/// What Podman says when it cannot.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    pub(super) message: String,
    /// Pods answer with one message for each of their containers.
    #[serde(default, rename = "Errs", deserialize_with = "null_is_empty")]
    pub(super) errors: Vec<String>,
}
