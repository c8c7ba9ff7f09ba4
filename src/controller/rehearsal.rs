//! Whether the engine would take runners of the present manifest: asked before the first is wanted, so that what only a
//! person can mend is known before a job waits for it. Only a refusal counts; whatever else is wrong shows with a runner.

use std::time::Duration;

use jiff::Timestamp;

/// After a refusal it is asked again: the namespace may admit them now.
const AGAIN: Duration = Duration::from_secs(30);

/// What the engine said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Admitted,
    /// In its words.
    Refused(String),
    /// Nothing: it cannot be asked now.
    None,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    /// Hash of the manifest that was asked about.
    manifest: Option<String>,
    refusal: Option<String>,
    due: Option<Timestamp>,
}

impl Rehearsal {
    /// Whether the engine is to be asked now.
    pub(super) fn is_due(&self, manifest: &str, now: Timestamp) -> bool {
        self.manifest.as_deref() != Some(manifest) || self.due.is_some_and(|due| due <= now)
    }

    /// When it is asked again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    pub(super) fn begins(&mut self, manifest: &str) {
        if self.manifest.as_deref() != Some(manifest) {
            *self = Self { manifest: Some(manifest.to_owned()), ..Self::default() };
        }
        self.due = None;
    }

    /// Learns what the engine said of this manifest.
    pub(super) fn ended(&mut self, manifest: &str, answer: Answer, now: Timestamp) {
        if self.manifest.as_deref() != Some(manifest) {
            return;
        }
        match answer {
            Answer::Admitted => self.refusal = None,
            Answer::Refused(words) => self.refusal = Some(words),
            Answer::None => {}
        }
        self.due = self.refusal.is_some().then(|| now.checked_add(AGAIN).unwrap_or(Timestamp::MAX));
    }

    /// Why runners would be refused.
    pub(super) fn refusal(&self) -> Option<&String> {
        self.refusal.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_asked_about_again_and_another_manifest_begins_anew() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut rehearsal = Rehearsal::default();
        assert!(rehearsal.is_due("a", at(0)));
        rehearsal.begins("a");
        assert!(!rehearsal.is_due("a", at(1000)), "it is under way, or all is well");
        rehearsal.ended("a", Answer::Refused("no".to_owned()), at(10));
        assert!(!rehearsal.is_due("a", at(39)) && rehearsal.is_due("a", at(40)));
        rehearsal.begins("a");
        assert_eq!(rehearsal.refusal(), Some(&"no".to_owned()), "until more is known");
        rehearsal.ended("a", Answer::None, at(40));
        assert_eq!(
            (rehearsal.refusal(), rehearsal.due()),
            (Some(&"no".to_owned()), Some(at(70))),
            "nobody said otherwise"
        );
        rehearsal.begins("a");
        rehearsal.ended("a", Answer::Admitted, at(71));
        assert_eq!((rehearsal.refusal(), rehearsal.due()), (None, None));
        assert!(rehearsal.is_due("b", at(41)));
        rehearsal.begins("b");
        rehearsal.ended("a", Answer::Refused("late".to_owned()), at(42));
        assert_eq!((rehearsal.refusal(), rehearsal.due()), (None, None));
    }
}
