//! What people hand to a simulator as text: fault files. Reads shapes, knows no effects.

use serde::Deserialize;
use serde_json::Value;

use super::options::Levers;
use super::state::Rule;
use crate::yaml;

/// Options, or a control request, that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not YAML.
    #[error("the faults are not YAML, line {}", source.at.line)]
    Syntax {
        /// What the parser says.
        #[source]
        source: yaml::SyntaxError,
    },
    /// YAML of another shape.
    #[error("the faults do not have the shape of a list of rules, or of `faults` and `levers`")]
    Shape {
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
    /// Not an RSA key.
    #[error("the App key is not an RSA key in PEM")]
    AppKey {
        /// What does not fit.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}

/// A file for `--faults`: a list of rules, or a mapping with `faults` and `levers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultsFile {
    /// The rules.
    pub faults: Vec<Rule>,
    /// The levers; those not named keep their defaults.
    pub levers: Option<Levers>,
}

impl FaultsFile {
    /// Reads a file, which may be JSON.
    pub fn read(text: &str) -> Result<Self, ControlError> {
        let documents = yaml::read(text).map_err(|source| ControlError::Syntax { source })?;
        documents.first().map_or_else(|| Ok(Self::default()), |document| Self::from_json(document.to_json()))
    }

    /// Reads either shape.
    pub(super) fn from_json(value: Value) -> Result<Self, ControlError> {
        let read = if value.is_array() {
            serde_json::from_value(value).map(|faults| Self { faults, levers: None })
        } else {
            serde_json::from_value(value)
        };
        read.map_err(|source| ControlError::Shape { source })
    }
}
