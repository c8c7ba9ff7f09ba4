//! Slots: how an exclusive cache gets a directory of its own for every runner that is alive at the same time.
//!
//! A source may contain `{scaleSet}` and `{slot}`. An exclusive source without `{slot}` is used as written by slot 0
//! and as the sibling `<source>-<n>` by slot n, never as a child: a data root must not contain another
//! (`runner-pods.md` 6). Who holds which slot is not decided here.

/// A source with its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pieces: Vec<Piece>,
    written: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    ScaleSet,
    /// The slot's number.
    Slot,
    /// Nothing for slot 0, `-<n>` for the others.
    SlotSuffix,
}

/// How a slot is written in a path.
#[derive(Clone, Copy, Debug)]
pub struct SlotText<'a> {
    /// What `{slot}` becomes.
    pub number: &'a str,
    /// What is appended to an exclusive source without `{slot}`.
    pub suffix: &'a str,
}

impl Source {
    /// Reads a source; the error is a placeholder that does not exist.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("{{{after}"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match name {
                "slot" => Piece::Slot,
                "scaleSet" => Piece::ScaleSet,
                other => return Err(format!("{{{other}}}")),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self { pieces, written: text.to_owned() })
    }

    /// As the user wrote it.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The same source with a directory per slot.
    #[must_use]
    pub(super) fn with_slots(mut self) -> Self {
        if !self.has_slots() {
            self.pieces.push(Piece::SlotSuffix);
        }
        self
    }

    /// Whether the source differs by slot.
    pub fn has_slots(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Slot | Piece::SlotSuffix))
    }

    /// The path with its placeholders filled in.
    pub fn expand(&self, scale_set: &str, slot: SlotText<'_>) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::ScaleSet => scale_set.to_owned(),
            Piece::Slot => slot.number.to_owned(),
            Piece::SlotSuffix => slot.suffix.to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// The path of slot `number`.
    pub fn of_slot(&self, scale_set: &str, number: u32) -> String {
        let suffix = slot_suffix(number);
        self.expand(scale_set, SlotText { number: &number.to_string(), suffix: &suffix })
    }

    /// The pool this source draws its slots from: all scale sets that name it share it.
    pub fn pool(&self, scale_set: &str) -> String {
        self.expand(scale_set, SlotText { number: "{slot}", suffix: "" })
    }

    /// Whether directories of some slots of the two sources are the same, or one lies in the other.
    ///
    /// Each is given with the name of its scale set.
    pub(super) fn meets(&self, scale_set: &str, other: &Source, other_scale_set: &str) -> bool {
        let pattern = |source: &Source, name: &str| source.expand(name, SlotText { number: "\0", suffix: "\u{1}" });
        let (mine, theirs) = (pattern(self, scale_set), pattern(other, other_scale_set));
        mine.split('/').zip(theirs.split('/')).all(|(mine, theirs)| components_meet(mine, theirs))
    }
}

/// What is appended to an exclusive source for a slot.
pub fn slot_suffix(number: u32) -> String {
    if number == 0 { String::new() } else { format!("-{number}") }
}

/// Whether two components of patterns can be the same text for some slots.
fn components_meet(first: &str, second: &str) -> bool {
    let is_fixed = |component: &str| !component.contains(['\0', '\u{1}']);
    if is_fixed(first) {
        return component_matches(second, first);
    }
    // Beside the written text only the form of a slot matters: none, or a number.
    let forms = |component: &str| {
        [("0", ""), ("1", "-1")].map(|(number, suffix)| component.replace('\0', number).replace('\u{1}', suffix))
    };
    is_fixed(second) && component_matches(first, second)
        || forms(second).iter().any(|second| component_matches(first, second))
        || forms(first).iter().any(|first| component_matches(second, first))
}

/// Whether a text has the form of a pattern: `\0` stands for a number, `\u{1}` for nothing or `-` and a number.
fn component_matches(pattern: &str, component: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    match pattern.find(['\0', '\u{1}']) {
        None => pattern == component,
        Some(at) => {
            let Some(rest) = component.strip_prefix(&pattern[..at]) else { return false };
            let after = &pattern[at + 1..];
            let with_number = |rest: &str| {
                let most = digits(rest);
                (1..=most).any(|length| component_matches(after, &rest[length..]))
            };
            match &pattern[at..=at] {
                "\0" => with_number(rest),
                _ => component_matches(after, rest) || rest.strip_prefix('-').is_some_and(with_number),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusive(text: &str) -> Source {
        Source::parse(text).unwrap().with_slots()
    }

    #[test]
    fn slot_0_is_the_source_as_written_and_the_others_are_siblings() {
        let source = exclusive("/nvme/docker");
        assert_eq!(source.of_slot("ws", 0), "/nvme/docker");
        assert_eq!(source.of_slot("ws", 2), "/nvme/docker-2");
        assert_eq!(source.pool("ws"), "/nvme/docker");
    }

    #[test]
    fn placeholders_stand_where_they_are_written() {
        let source = exclusive("/nvme/{scaleSet}/{slot}/docker");
        assert_eq!(source.of_slot("ws-1", 3), "/nvme/ws-1/3/docker");
        assert_eq!(source.pool("ws-1"), "/nvme/ws-1/{slot}/docker");
        assert_eq!(Source::parse("/nvme/{job}"), Err("{job}".to_owned()));
        assert_eq!(Source::parse("/nvme/{slot"), Err("{slot".to_owned()));
    }

    #[test]
    fn sources_meet_when_some_slots_of_them_do() {
        let docker = exclusive("/nvme/docker");
        for (other, meets) in [
            ("/nvme/docker", true),
            ("/nvme/docker-1", true),
            ("/nvme/docker-12/below", true),
            ("/nvme", true),
            ("/nvme/docker-x", false),
            ("/nvme/docker-1x", false),
            ("/nvme/docker2", false),
            ("/nvme/cargo", false),
        ] {
            let other = Source::parse(other).unwrap();
            assert_eq!(docker.meets("ws", &other, "ws"), meets, "{other:?}");
            assert_eq!(other.meets("ws", &docker, "ws"), meets, "{other:?}");
        }
    }

    #[test]
    fn slots_of_two_exclusive_sources_are_compared_component_by_component() {
        for (first, second, meets) in [
            ("/nvme/docker", "/nvme/docker-1", true),
            ("/nvme/{slot}/docker", "/nvme/{slot}/gradle", false),
            ("/nvme/{slot}", "/nvme/{slot}/gradle", true),
            ("/nvme/{slot}/d-7", "/nvme/5/d", true),
            ("/nvme/a-{slot}", "/nvme/a", true),
            ("/nvme/a", "/nvme/b", false),
        ] {
            assert_eq!(exclusive(first).meets("ws", &exclusive(second), "ws"), meets, "{first} {second}");
        }
    }
}
