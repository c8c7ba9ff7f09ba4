//! How a runner's container ends (`runner-pods.md` 8.1). The job's result is never in the exit code.

use std::collections::BTreeMap;

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the pod is deleted.
    Terminate,
    /// SIGINT.
    Interrupt,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The job is done, or there is nothing to do: also for a bad config and a deleted registration.
    Done,
    /// Root without permission.
    Misconfigured,
    /// The version is refused, and the caller wants to know.
    VersionRefused,
    /// A signal.
    Signalled(Signal),
    /// Any code, for misbehaviour.
    Code(u8),
}

impl End {
    /// The exit code of the container.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Misconfigured => 1,
            Self::VersionRefused => 7,
            Self::Signalled(Signal::Terminate) => 143,
            Self::Signalled(Signal::Interrupt) => 130,
            Self::Code(code) => code,
        }
    }

    /// Ended by a signal, or by itself.
    pub(super) fn of(signal: Option<Signal>) -> Self {
        signal.map_or(Self::Done, Self::Signalled)
    }

    pub(super) fn version_refused(environment: &BTreeMap<String, String>) -> Self {
        let told = environment.get("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE").is_some_and(|v| v == "1");
        if told { Self::VersionRefused } else { Self::Done }
    }
}
