//! Which faults strike a call. What a fault does to an answer is `router/fault.rs`'s business.
//!
//! ```yaml
//! - {route: poll, on: {next: 2}, action: {status: {code: 429, retryAfter: 5, body: "slow down"}}}
//! - {route: "session-*", on: {seconds: 30}, action: sessionConflict}
//! - {route: "*", on: {probability: 0.05}, action: dropAfter}
//! ```

use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use serde::Deserialize;

use super::State;

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The name of a route as the call log has it; `*` stands for any characters.
    pub route: String,
    /// When; always, where it is not given.
    #[serde(default)]
    pub on: Trigger,
    /// What.
    pub action: Action,
}

/// When a rule strikes, counted from the moment it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Trigger {
    /// Every call.
    #[default]
    Always,
    /// Only the n-th matching call, counted from 1.
    Count(u64),
    /// The next n matching calls.
    Next(u64),
    /// Each call with this chance, by the seeded randomness.
    Probability(f64),
    /// Every call for so many seconds.
    Seconds(f64),
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Another status, without any effect unless `afterEffect`.
    #[serde(rename_all = "camelCase")]
    Status {
        /// The status.
        code: u16,
        /// Seconds, for the header of that name.
        #[serde(default)]
        retry_after: Option<u64>,
        /// The body; `<html…` goes out as HTML, `null` as JSON, nothing as nothing, anything else as text.
        #[serde(default)]
        body: Option<String>,
        /// Do what was asked first.
        #[serde(default)]
        after_effect: bool,
    },
    /// The answer comes so many seconds later than the effect.
    Delay(f64),
    /// The connection ends and nothing was done.
    DropBefore,
    /// The connection ends and everything was done.
    DropAfter,
    /// Half of the body, then the end of the connection.
    Truncate,
    /// The body comes in pieces, so many seconds apart.
    Slow(f64),
    /// Done twice; the second answer is sent.
    Duplicate,
    /// A byte-order mark before the body.
    Bom,
    /// Field names in capital initials.
    OddCasing,
    /// Fields that no one knows.
    UnknownFields,
    /// The status stays, the body is empty.
    EmptyBody,
    /// The status stays, the body is JSON `null`.
    NullBody,
    /// A list whose count is 0 although it has items.
    ZeroCount,
    /// An admin or queue token that is no JWT.
    GarbageToken,
    /// A poll with nothing to say is not held.
    NoHold,
    /// Statistics are null.
    NullStatistics,
    /// All totals are 0.
    ZeroTotals,
    /// An envelope of an unknown type.
    UnknownMessageType,
    /// One more job message, of an unknown type.
    UnknownEntryType,
    /// Opening a session is refused.
    SessionConflict,
    /// The session has no queue.
    EmptyQueueUrl,
    /// The session is not found, as a refresh after a fail-over says.
    RefreshNotFound,
    /// A new scale set has no label but its name.
    DropLabels,
    /// The scale set is not found although it exists.
    ScaleSetNotFound,
    /// A message is said to be deleted and is not.
    KeepMessage,
    /// 401 in the shape of the route's token.
    Unauthorized,
    /// Sessions and tokens are void before the call, as after a restart.
    Restart,
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
}

#[derive(Clone, Debug)]
struct Active {
    rule: Rule,
    since: Timestamp,
    matched: u64,
}

impl Faults {
    /// Forgets all rules.
    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }
}

impl State {
    /// Adds rules that count from now.
    pub(crate) fn add_faults(&mut self, rules: Vec<Rule>) {
        let since = self.now;
        self.faults.active.extend(rules.into_iter().map(|rule| Active { rule, since, matched: 0 }));
    }

    /// The faults of one call.
    pub(crate) fn strike(&mut self, route: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        for active in self.faults.active.iter_mut().filter(|active| matches_glob(&active.rule.route, route)) {
            active.matched += 1;
            let strikes = match active.rule.on {
                Trigger::Always => true,
                Trigger::Count(number) => active.matched == number,
                Trigger::Next(number) => active.matched <= number,
                Trigger::Probability(chance) => self.rng.random::<f64>() < chance,
                Trigger::Seconds(seconds) => {
                    self.now.duration_since(active.since) < SignedDuration::from_millis(milliseconds(seconds))
                }
            };
            if strikes {
                actions.push(active.rule.action.clone());
            }
        }
        actions
    }
}

#[allow(clippy::cast_possible_truncation, reason = "saturates, and half a year is enough")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// Whether a text fits a pattern in which `*` stands for any characters.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(tail) = text.strip_prefix(head) else { return false };
    (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| matches_glob(rest, tail)))
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, fits) in [
            ("poll", "poll", true),
            ("poll", "polls", false),
            ("*", "", true),
            ("session-*", "session-create", true),
            ("session-*", "scale-set-get", false),
            ("*-list", "runner-list", true),
            ("s*-*t", "scale-set-get", true),
            ("s*-*x", "scale-set-get", false),
        ] {
            assert_eq!(matches_glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
