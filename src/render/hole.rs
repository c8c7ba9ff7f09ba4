//! Holes: what a prepared manifest leaves open until the single runner is known.
//!
//! While templates run, a hole is a token of private-use characters; no spec and no layer may contain those.

use serde_json::Value;

use crate::scale_set::{RunnerName, slot_suffix};

/// What is known of one runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerIdentity {
    /// Its name.
    pub name: RunnerName,
    /// Its id at GitHub; 0 as long as it is not registered.
    pub id: u64,
    /// The slot it holds.
    pub slot: u32,
}

/// A hole in a prepared manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    Name,
    Id,
    Slot,
    SlotSuffix,
    /// The node the pod runs on; known to the hook template only, inside the pod.
    Node,
    /// The last characters of the name, at most so many.
    NameTail(u8),
}

const OPEN: char = '\u{E100}';
const CLOSE: char = '\u{E101}';
/// All private-use characters that mean something while templates run: holes and line marks.
pub(super) const RESERVED: std::ops::RangeInclusive<char> = '\u{E000}'..='\u{E1FF}';

impl Hole {
    /// The token that stands for the hole while templates run.
    pub(super) fn token(self) -> String {
        match self {
            Self::NameTail(length) => format!("{OPEN}t{length}{CLOSE}"),
            other => format!("{OPEN}{}{CLOSE}", other.letter()),
        }
    }

    /// What the hook template says in place of the hole; an init container fills it in (`feature-prepare.yaml`).
    /// Runner ids are not known there.
    pub(super) fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::Name => Some("@DESKRUN_RUNNER@"),
            Self::Slot => Some("@DESKRUN_SLOT@"),
            Self::SlotSuffix => Some("@DESKRUN_SLOT_SUFFIX@"),
            Self::Node => Some("@DESKRUN_NODE@"),
            Self::Id | Self::NameTail(_) => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Name => 'n',
            Self::Id => 'i',
            Self::Slot => 's',
            Self::SlotSuffix => 'x',
            Self::Node => 'h',
            Self::NameTail(_) => 't',
        }
    }

    fn parse(token: &str) -> Option<Self> {
        let holes = [Self::Name, Self::Id, Self::Slot, Self::SlotSuffix, Self::Node];
        let plain = |hole: &Self| token.len() == 1 && token.starts_with(hole.letter());
        holes.into_iter().find(plain).or_else(|| token.strip_prefix('t')?.parse().ok().map(Self::NameTail))
    }
}

/// A text with holes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Segment {
    Text(String),
    Hole(Hole),
}

/// Splits a text at its tokens.
pub(super) fn segments(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((token, after)) = after.split_once(CLOSE) else { break };
        if !before.is_empty() {
            segments.push(Segment::Text(before.to_owned()));
        }
        if let Some(hole) = Hole::parse(token) {
            segments.push(Segment::Hole(hole));
        }
        rest = after;
    }
    if !rest.is_empty() {
        segments.push(Segment::Text(rest.to_owned()));
    }
    segments
}

/// Whether a text has holes.
fn has_holes(text: &str) -> bool {
    text.contains(OPEN)
}

/// The holes of a text.
pub(super) fn holes(text: &str) -> Vec<Hole> {
    let hole = |segment| match segment {
        Segment::Hole(hole) => Some(hole),
        Segment::Text(_) => None,
    };
    segments(text).into_iter().filter_map(hole).collect()
}

/// What fills the holes of one runner, computed once.
pub(super) struct Filling<'a> {
    runner: &'a RunnerIdentity,
    id: String,
    slot: String,
    slot_suffix: String,
}

impl<'a> Filling<'a> {
    pub(super) fn of(runner: &'a RunnerIdentity) -> Self {
        Self { runner, id: runner.id.to_string(), slot: runner.slot.to_string(), slot_suffix: slot_suffix(runner.slot) }
    }

    fn text(&self, hole: Hole) -> &str {
        match hole {
            Hole::Name => self.runner.name.as_str(),
            Hole::Id => &self.id,
            Hole::Slot => &self.slot,
            Hole::SlotSuffix => &self.slot_suffix,
            Hole::Node => "@DESKRUN_NODE@",
            Hole::NameTail(length) => self.runner.name.tail(usize::from(length)),
        }
    }

    /// The text with its holes filled.
    pub(super) fn fill(&self, segments: &[Segment]) -> String {
        let mut filled = String::with_capacity(64);
        for segment in segments {
            filled.push_str(match segment {
                Segment::Text(text) => text,
                Segment::Hole(hole) => self.text(*hole),
            });
        }
        filled
    }
}

/// A JSON value with holes, taken apart once so that filling it is little more than copying it.
#[derive(Clone, Debug)]
pub(super) enum Holed {
    /// Without holes.
    Value(Value),
    Text(Vec<Segment>),
    Sequence(Vec<Holed>),
    Mapping(Vec<(String, Holed)>),
}

impl Holed {
    pub(super) fn new(value: &Value) -> Self {
        match value {
            Value::String(text) if has_holes(text) => Self::Text(segments(text)),
            Value::Array(items) => {
                let items: Vec<Self> = items.iter().map(Self::new).collect();
                if items.iter().all(Self::is_whole) { Self::Value(value.clone()) } else { Self::Sequence(items) }
            }
            Value::Object(map) => {
                let entries: Vec<(String, Self)> =
                    map.iter().map(|(key, value)| (key.clone(), Self::new(value))).collect();
                let whole = entries.iter().all(|(_, value)| value.is_whole());
                if whole { Self::Value(value.clone()) } else { Self::Mapping(entries) }
            }
            other => Self::Value(other.clone()),
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    pub(super) fn fill(&self, filling: &Filling<'_>) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Text(segments) => Value::String(filling.fill(segments)),
            Self::Sequence(items) => items.iter().map(|item| item.fill(filling)).collect(),
            Self::Mapping(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.fill(filling))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> RunnerIdentity {
        let name = RunnerName::parse("ws-1-x9d4m").unwrap();
        RunnerIdentity { name, id: 7, slot: 2 }
    }

    #[test]
    fn every_hole_is_found_again_in_a_text_and_filled() {
        let holes = [Hole::Name, Hole::Id, Hole::Slot, Hole::SlotSuffix, Hole::Node, Hole::NameTail(5)];
        let text: String = holes.iter().map(|hole| format!("[{}]", hole.token())).collect();
        let filled = Filling::of(&runner()).fill(&segments(&text));
        assert_eq!(filled, "[ws-1-x9d4m][7][2][-2][@DESKRUN_NODE@][x9d4m]");
    }

    #[test]
    fn a_value_with_holes_keeps_its_shape() {
        let value = serde_json::json!({"a": {"b": [Hole::Name.token(), 1]}, "c": "plain"});
        let filled = Holed::new(&value).fill(&Filling::of(&runner()));
        assert_eq!(filled, serde_json::json!({"a": {"b": ["ws-1-x9d4m", 1]}, "c": "plain"}));
    }
}
