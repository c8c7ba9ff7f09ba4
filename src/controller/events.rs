//! What tasks tell the controller that started them.

use jiff::Timestamp;

use super::rehearsal;
use crate::github::{JitConfig, Runner, ScaleSet};

/// News of a task.
#[derive(Debug)]
pub(super) enum Event {
    /// The scale set is known at GitHub.
    ScaleSetFound(ScaleSet),
    /// It could not be found or made; it is tried again.
    ScaleSetMissing(NotFound),
    /// The scale set that was to be taken out is not there any more.
    ScaleSetGone,
    /// A runner has its JIT config.
    Registered { runner: String, id: i64 },
    /// GitHub gave none.
    NotRegistered { runner: String, words: String },
    /// The engine has taken a runner over.
    HandedOver { runner: String },
    /// It may or may not have.
    NotHandedOver { runner: String, words: String, is_final: bool },
    /// GitHub has given a runner up.
    Deregistered { runner: String },
    /// GitHub keeps a runner: it has a job.
    Busy { runner: String },
    /// The engine has nothing of a runner any more.
    Removed { runner: String },
    /// A removal failed at some step.
    RemovalFailed { runner: String, words: String },
    /// What GitHub says of a runner; `None`: it has no such registration.
    Answer { runner: String, answer: Result<Option<Runner>, String> },
    /// All registrations of the scope.
    Registrations(Result<Vec<Runner>, String>),
    /// Whether the engine would refuse runners of this manifest.
    Rehearsed { manifest: String, answer: rehearsal::Answer },
    /// A JIT config in stock.
    Prepared(Result<Box<JitConfig>, String>),
    /// A registration without a runner is gone, or was left to the next start.
    Forgotten,
}

/// Why the scale set could not be found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotFound {
    pub(super) words: String,
    /// GitHub does not let us in before, unless there are other credentials.
    pub(super) not_before: Option<Timestamp>,
}
