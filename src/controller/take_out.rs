//! Takes out a scale set that a former process registered and that nothing wants any more.
//!
//! No job is taken and no runner made. It is deleted by its id alone, and only after its message session was ours: another
//! controller that serves it keeps it. There is no limit of time, since nobody waits for it.

use jiff::Timestamp;

use super::serve::ScaleSetController;
use crate::listener::Phase;

impl ScaleSetController {
    /// Keeps the session as long as there are runners, then closes it.
    pub(super) fn hold_to_take_out(&mut self, now: Timestamp) {
        let demand = self.github.demand();
        if self.github.is_gone {
            return;
        }
        if self.github.is_missing(&demand, now) {
            self.github.stop_listening();
            return self.github.gone();
        }
        self.github.was_held |= demand.phase == Phase::Listening;
        if self.github.was_held && self.has_seen_engine && self.records.is_empty() {
            self.github.stop_listening();
        } else {
            self.hold_session(now);
        }
    }

    /// Has the session of a scale set that is on its way out, without room for jobs: only the session tells of the end of a
    /// job whose runner hangs. What this process did not serve is found by the id it had last.
    pub(super) fn hold_session(&mut self, now: Timestamp) {
        if self.github.wants_to_look(now) && !self.github.is_gone {
            self.github.looking = true;
            let (group, name) = (self.specification.runner_group.clone(), self.specification.name.clone());
            self.tasks.spawn(self.hands.clone().find_remembered(self.memory.scale_set(), group, name));
        }
        if self.github.scale_set.is_some() && !self.github.is_gone && self.github.is_closed() {
            self.listen();
        }
        self.github.take_no_jobs();
    }

    /// Whether everything is known, and nothing of it is left but the scale set.
    pub(super) fn may_be_taken_out(&self) -> bool {
        let is_ours = self.github.was_held && self.github.is_closed();
        let is_quiet = self.forgetting == 0 && !self.github.looking && self.records.is_empty();
        self.has_seen_engine && is_quiet && (self.github.is_gone || is_ours)
    }
}
