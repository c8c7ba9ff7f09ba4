//! Message sessions: at most one per scale set, also for a restarted copy of its own owner.

use jiff::Timestamp;

use super::State;
use super::error::Refusal;

/// A live session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// When it was opened or last polled; refreshing does not count.
    pub(super) activity: Timestamp,
    /// Polls being held: a held poll is activity.
    pub(super) held: u32,
}

impl State {
    /// Opens a session: its id and queue token.
    pub(crate) fn open_session(&mut self, tenant: &str, set: i64, owner: &str) -> Result<(String, String), Refusal> {
        let scale_set = self.scale_set(tenant, set)?;
        if let Some(live) = &scale_set.session {
            return Err(Refusal::SessionConflict { set: scale_set.name.clone(), owner: live.owner.clone() });
        }
        let session = Session { id: self.uuid(), owner: owner.to_owned(), activity: self.now, held: 0 };
        let id = session.id.clone();
        if let Some(scale_set) = self.scale_sets.get_mut(&set) {
            scale_set.session = Some(session);
            scale_set.contact = self.now;
        }
        let token = self.queue_token(set, &id)?;
        self.changed();
        Ok((id, token))
    }

    /// A new queue token for a live session.
    pub(crate) fn refresh_session(&mut self, tenant: &str, set: i64, session: &str) -> Result<String, Refusal> {
        let live = self.scale_set(tenant, set)?.session.as_ref();
        if live.is_none_or(|live| live.id != session) {
            return Err(Refusal::SessionLost(session.to_owned()));
        }
        if self.levers.void_old_queue_tokens {
            self.void_queue_tokens(set);
        }
        if let Some(scale_set) = self.scale_sets.get_mut(&set) {
            scale_set.contact = self.now;
        }
        self.queue_token(set, session)
    }

    /// Ends a session.
    pub(crate) fn close_session(&mut self, tenant: &str, set: i64, session: &str) -> Result<(), Refusal> {
        let live = self.scale_set(tenant, set)?.session.as_ref();
        if live.is_none_or(|live| live.id != session) {
            return Err(Refusal::SessionExpired(session.to_owned()));
        }
        self.drop_session(set);
        Ok(())
    }

    /// Ends the session of a scale set, whoever has it; its tokens are void.
    pub(crate) fn drop_session(&mut self, set: i64) {
        if let Some(set) = self.scale_sets.get_mut(&set) {
            set.session = None;
        }
        self.void_queue_tokens(set);
        self.changed();
    }

    /// A poll begins (`true`) or ends to be held.
    pub(crate) fn hold_session(&mut self, set: i64, session: &str, begins: bool) {
        let live = self.scale_sets.get_mut(&set).and_then(|set| set.session.as_mut());
        if let Some(live) = live.filter(|live| live.id == session) {
            live.held = if begins { live.held + 1 } else { live.held.saturating_sub(1) };
            live.activity = self.now;
        }
    }

    /// The id of a set's live session.
    pub(crate) fn session_of(&self, set: i64) -> Option<&str> {
        self.scale_sets.get(&set)?.session.as_ref().map(|session| session.id.as_str())
    }

    pub(super) fn touch_session(&mut self, set: i64) {
        let now = self.now;
        if let Some(set) = self.scale_sets.get_mut(&set) {
            set.contact = now;
            if let Some(session) = &mut set.session {
                session.activity = now;
            }
        }
    }
}
