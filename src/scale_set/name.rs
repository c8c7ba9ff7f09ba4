//! Names of scale sets and runners, and how long they may be.
//!
//! The container hooks cut a runner's name to 54 characters for the pods they make; a longer name would lose its random
//! end there, and two runners would fight for one pod (`runner-pods.md` 1.4).

use std::fmt;

use crate::crd::limits::SCALE_SET_NAME_MAX;

/// The longest name of a runner, its pod and its secret.
pub const RUNNER_NAME_MAX: usize = 54;

/// The name of a runner, its pod and its JIT secret: a DNS label of at most [`RUNNER_NAME_MAX`] characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerName(String);

/// A text that cannot name a runner.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` cannot name a runner: {reason}")]
pub struct RunnerNameError {
    given: String,
    reason: String,
}

impl RunnerName {
    /// The name of a new runner: the scale set's name, cut where it is too long, and `random`, which is never cut.
    pub fn new(scale_set: &str, random: &str) -> Result<Self, RunnerNameError> {
        let room = RUNNER_NAME_MAX.saturating_sub(random.len() + 1);
        let prefix: String = scale_set.chars().take(room).collect();
        Self::parse(&format!("{}-{random}", prefix.trim_end_matches('-')))
    }

    /// A name given by a user.
    pub fn parse(text: &str) -> Result<Self, RunnerNameError> {
        match dns_label(text, RUNNER_NAME_MAX) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(RunnerNameError { given: text.to_owned(), reason }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last characters of the name, at most `length`; they hold the random part.
    pub fn tail(&self, length: usize) -> &str {
        // Names are ASCII, so any byte position is a character's.
        self.0[self.0.len().saturating_sub(length)..].trim_start_matches('-')
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether `text` is a DNS label of at most `max` characters; the error says why not.
pub(super) fn dns_label(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > max {
        return Err(format!("it has {} characters, {max} are allowed", text.len()));
    }
    let allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if let Some(character) = text.chars().find(|character| !allowed(*character)) {
        return Err(format!("`{character}` is not allowed, only a-z, 0-9 and `-`"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("it must begin and end with a letter or digit".to_owned());
    }
    Ok(())
}

/// The nearest DNS label to the stem of a file name.
pub(super) fn label_from(text: &str) -> String {
    let lower = text.to_lowercase();
    let replaced: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let cut: String = replaced.trim_matches('-').chars().take(SCALE_SET_NAME_MAX).collect();
    cut.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prefix_is_cut_and_the_random_part_is_kept() {
        let name = RunnerName::new(&"a".repeat(63), "x9d4m").unwrap();
        assert_eq!(name.as_str().len(), RUNNER_NAME_MAX);
        assert!(name.as_str().ends_with("a-x9d4m"));
        assert_eq!(RunnerName::new("ws", "x9d4m").unwrap().as_str(), "ws-x9d4m");
    }

    #[test]
    fn a_cut_never_leaves_two_dashes() {
        let scale_set = format!("{}-b", "a".repeat(47));
        assert_eq!(RunnerName::new(&scale_set, "x9d4m").unwrap().as_str(), format!("{}-x9d4m", "a".repeat(47)));
    }

    #[test]
    fn what_is_no_dns_label_is_refused_with_the_reason() {
        for (text, reason) in
            [("", "empty"), ("A", "`A`"), ("-a", "begin and end"), ("a-", "begin and end"), (&"a".repeat(55), "55")]
        {
            let error = RunnerName::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_tail_holds_the_random_part() {
        assert_eq!(RunnerName::parse("ws-1-x9d4m").unwrap().tail(6), "x9d4m");
        assert_eq!(RunnerName::parse("a").unwrap().tail(6), "a");
    }

    #[test]
    fn a_file_name_becomes_a_label() {
        assert_eq!(label_from("My_Runner.v2"), "my-runner-v2");
        assert_eq!(label_from("__"), "");
    }
}
