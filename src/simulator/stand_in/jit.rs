//! Takes a JIT config apart as the real runner does (`scale-set-protocol.md` 5.6), and finds the simulator's own file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::secret::Secret;

/// Who this runner is, and where its simulator listens.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) url: String,
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) secret: Secret,
}

/// A JIT config that cannot be used. Its text is not repeated: it is a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JitError {
    #[error("it is not Base64 of a JSON object")]
    Outer,
    #[error("it was not made by a simulator: `.deskrun-sim` is missing")]
    Foreign,
    #[error("`.deskrun-sim` cannot be read")]
    Inner,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatorFile {
    url: String,
    runner_id: i64,
    runner_name: String,
    secret: String,
}

impl Registration {
    pub(super) fn decode(config: &str) -> Result<Self, JitError> {
        let outer = BASE64_STANDARD.decode(config.trim()).map_err(|_| JitError::Outer)?;
        let files: BTreeMap<String, String> = serde_json::from_slice(&outer).map_err(|_| JitError::Outer)?;
        let file = files.get(".deskrun-sim").ok_or(JitError::Foreign)?;
        let file = BASE64_STANDARD.decode(file).map_err(|_| JitError::Inner)?;
        let file: SimulatorFile = serde_json::from_slice(&file).map_err(|_| JitError::Inner)?;
        let SimulatorFile { url, runner_id: id, runner_name: name, secret } = file;
        Ok(Self { url, id, name, secret: Secret::new(&secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_config_of_a_simulator_is_refused_in_words() {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let error = |config: &str| Registration::decode(config).unwrap_err();
        assert_eq!(error(""), JitError::Outer);
        assert_eq!(error("?"), JitError::Outer);
        assert_eq!(error(&encode("[]")), JitError::Outer);
        assert_eq!(error(&encode("{\".runner\":\"e30=\"}")), JitError::Foreign);
        assert_eq!(error(&encode("{\".deskrun-sim\":\"e30=\"}")), JitError::Inner);
    }
}
