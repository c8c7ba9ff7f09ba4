//! What an engine says when it cannot.

use std::borrow::Cow;

/// A call to an engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer; it may have done it.
    #[error("cannot {call}: {engine} cannot be reached")]
    Unreachable {
        /// What was attempted.
        call: &'static str,
        /// Which engine, in words.
        engine: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine has no room now: a quota, a full disk. Trying again later helps.
    #[error("cannot {call}: {message}")]
    NoRoom {
        /// What was attempted.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
    /// The engine will never do this: the manifest or the engine's set-up must change first.
    #[error("cannot {call}: {message}")]
    Refused {
        /// What was attempted.
        call: &'static str,
        /// The engine's words.
        message: String,
        /// The way out, where we know one.
        hint: Option<Cow<'static, str>>,
    },
    /// The engine tried and failed; the next runner may succeed.
    #[error("cannot {call}: {message}")]
    Failed {
        /// What was attempted.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
}

impl EngineError {
    /// The way out, where we know one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            Self::Unreachable { .. } => {
                Some("is it up, and does it accept connections? Runners that run go on meanwhile")
            }
            Self::NoRoom { .. } | Self::Failed { .. } => None,
        }
    }

    /// Whether only a change by a person helps.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
