//! What a failed call means for who wanted it done.

use super::super::EngineError;
use super::connection::ConnectError;
use super::service::CallError;

/// Podman's words by which a failure is told from others, and what helps.
const REFUSALS: &[(&str, Option<&str>)] = &[
    ("parsing HostPath", Some("make it on the Podman host; a cache of type `DirectoryOrCreate` is made by itself")),
    ("unable to read YAML", None),
    ("no such secret", None),
    ("is not valid JSON", None),
    ("invalid config provided", None),
    ("duplicate mount", None),
    ("invalid reference format", Some("check `image`")),
];

/// Turns a failed call into the engine's words.
pub(super) fn failure(call: &'static str, engine: &str, error: CallError) -> EngineError {
    match error {
        CallError::Connect(ConnectError::Refused(message)) => EngineError::Refused { call, message, hint: None },
        CallError::Connect(source) => {
            EngineError::Unreachable { call, engine: engine.to_owned(), source: Box::new(source) }
        }
        CallError::Answer(source) => {
            EngineError::Unreachable { call, engine: engine.to_owned(), source: Box::new(source) }
        }
        CallError::Said { message, .. } => {
            let message = message.strip_prefix("playing YAML file: ").unwrap_or(&message).to_owned();
            if ["no space left on device", "disk quota exceeded", "cannot allocate memory"]
                .iter()
                .any(|words| message.contains(words))
            {
                return EngineError::NoRoom { call, message };
            }
            match REFUSALS.iter().find(|(words, _)| message.contains(words)) {
                Some((_, hint)) => EngineError::Refused { call, message, hint: hint.map(Into::into) },
                None => EngineError::Failed { call, message },
            }
        }
    }
}
