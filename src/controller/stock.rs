//! A JIT config in stock: the next job saves a round trip (`design.md` 3.21).
//!
//! It lives in memory only. Its registration is offline, so GitHub gives it no job; it is given back when it is old and
//! when the controller ends, and one that a dead controller had is swept by its successor as any orphan.

use jiff::{SignedDuration, Timestamp};

use crate::github::JitConfig;

/// GitHub removes registrations that were never online after a day (`scale-set-protocol.md` 7.1); well before, the
/// credentials in the config are renewed.
const MOST_AGE: SignedDuration = SignedDuration::from_hours(1);
/// After a failure the stock can wait: no job does.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(60);

/// The stock of one scale set.
#[derive(Debug, Default)]
pub(super) enum Stock {
    /// Nothing.
    #[default]
    Empty,
    /// Nothing, and nothing is tried before.
    Waiting(Timestamp),
    /// Being asked for, under this name.
    Asking(String),
    /// There.
    Ready { config: Box<JitConfig>, since: Timestamp },
}

impl Stock {
    /// Takes what is there.
    pub(super) fn take(&mut self) -> Option<Box<JitConfig>> {
        match std::mem::take(self) {
            Self::Ready { config, .. } => Some(config),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes what is too old.
    pub(super) fn take_old(&mut self, now: Timestamp) -> Option<Box<JitConfig>> {
        if self.due().is_some_and(|due| due <= now) { self.take() } else { None }
    }

    /// Whether something shall be asked for.
    pub(super) fn wants(&self, now: Timestamp) -> bool {
        match self {
            Self::Empty => true,
            Self::Waiting(until) => *until <= now,
            Self::Asking(_) | Self::Ready { .. } => false,
        }
    }

    /// The name under which something is registered, or being registered.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Empty | Self::Waiting(_) => None,
            Self::Asking(name) => Some(name),
            Self::Ready { config, .. } => Some(&config.runner.name),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    pub(super) fn fill(&mut self, config: Box<JitConfig>, now: Timestamp) {
        *self = Self::Ready { config, since: now };
    }

    /// Asking failed; the name that was asked for.
    pub(super) fn fail(&mut self, now: Timestamp) -> Option<String> {
        let next = now.checked_add(AFTER_FAILURE).map_or(Self::Empty, Self::Waiting);
        match std::mem::replace(self, next) {
            Self::Asking(name) => Some(name),
            _ => None,
        }
    }

    /// Whatever was refused may be asked for again.
    pub(super) fn wait_no_longer(&mut self) {
        if matches!(self, Self::Waiting(_)) {
            *self = Self::Empty;
        }
    }

    /// When there is something to do about it.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting(until) => Some(*until),
            Self::Ready { since, .. } => since.checked_add(MOST_AGE).ok(),
            Self::Empty | Self::Asking(_) => None,
        }
    }
}
