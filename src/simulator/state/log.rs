//! The message log of a scale set: it survives sessions, replays what was not deleted, and is pruned by DELETE only.

use std::collections::VecDeque;

use serde_json::Value;

use super::State;
use super::statistics::Statistics;

/// Live numbering starts here.
pub(crate) const FIRST_MESSAGE: i64 = 100_000_001;
/// More job messages than these never share an envelope.
pub(crate) const MOST_ENTRIES: usize = 50;

/// A message that was not deleted.
#[derive(Clone, Debug)]
struct Message {
    id: i64,
    entries: Vec<Value>,
    delivered: bool,
}

/// The messages of a scale set, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Log {
    messages: VecDeque<Message>,
    next: i64,
}

impl Default for Log {
    fn default() -> Self {
        Self { messages: VecDeque::new(), next: FIRST_MESSAGE }
    }
}

/// What a poll delivers. The statistics are those of this moment, not of the message's.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) id: i64,
    pub(crate) entries: Vec<Value>,
    pub(crate) statistics: Statistics,
}

impl Log {
    /// Adds a job message: an envelope of its own, or with `batch` into the last one that no poll has fetched.
    pub(super) fn push(&mut self, entry: Value, batch: bool) {
        let open =
            self.messages.back_mut().filter(|last| batch && !last.delivered && last.entries.len() < MOST_ENTRIES);
        if let Some(last) = open {
            last.entries.push(entry);
            return;
        }
        self.messages.push_back(Message { id: self.next, entries: vec![entry], delivered: false });
        self.next += 1;
    }

    /// The oldest message after `last`.
    fn after(&mut self, last: i64) -> Option<(i64, Vec<Value>)> {
        let message = self.messages.iter_mut().find(|message| message.id > last)?;
        message.delivered = true;
        Some((message.id, message.entries.clone()))
    }

    /// How many messages wait to be deleted.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

impl State {
    /// One look of a poll: gives the set what its capacity allows, then the oldest message after `last`.
    pub(crate) fn poll(&mut self, set: i64, last: i64, capacity: Option<u64>) -> Option<Envelope> {
        if let Some(set) = self.scale_sets.get_mut(&set) {
            set.capacity = capacity;
        }
        self.touch_session(set);
        self.fill(set, capacity);
        self.hand_out(set);
        let (id, entries) = self.scale_sets.get_mut(&set)?.log.after(last)?;
        Some(Envelope { id, entries, statistics: self.statistics(set) })
    }

    /// Deletes a message. One that is gone already is no error.
    pub(crate) fn acknowledge(&mut self, set: i64, message: i64) {
        if let Some(set) = self.scale_sets.get_mut(&set) {
            set.log.messages.retain(|kept| kept.id != message);
        }
    }

    pub(super) fn send(&mut self, set: i64, entry: Value) {
        let batch = self.levers.batch_messages;
        if let Some(set) = self.scale_sets.get_mut(&set) {
            set.log.push(entry, batch);
        }
        self.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_from_the_live_start_and_replayed_until_deleted() {
        let mut log = Log::default();
        log.push(Value::from(1), false);
        log.push(Value::from(2), false);
        assert_eq!(log.after(0).map(|found| found.0), Some(FIRST_MESSAGE));
        assert_eq!(log.after(0).map(|found| found.0), Some(FIRST_MESSAGE), "reading does not delete");
        assert_eq!(log.after(FIRST_MESSAGE).map(|found| found.0), Some(FIRST_MESSAGE + 1));
        assert_eq!(log.after(FIRST_MESSAGE + 1).map(|found| found.0), None);
    }

    #[test]
    fn a_batch_ends_at_fifty_entries_and_at_its_first_delivery() {
        let mut log = Log::default();
        (0..120).for_each(|number| log.push(Value::from(number), true));
        let sizes: Vec<usize> = log.messages.iter().map(|message| message.entries.len()).collect();
        assert_eq!(sizes, [50, 50, 20]);
        log.after(FIRST_MESSAGE + 1);
        log.push(Value::from(120), true);
        assert_eq!(log.len(), 4, "what a client has seen does not change any more");
    }
}
