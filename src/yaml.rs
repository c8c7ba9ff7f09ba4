//! Reading and writing YAML: the only module that names the YAML crate.
//!
//! Text comes in and leaves as a [`Tree`] whose every node knows its line and column; JSON values go out as text that
//! `kubectl` reads back unchanged. Scalars are read as `kubectl` reads them (`no` is a boolean, `0644` is octal).
//! What a document means is not decided here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_yaml::Spanned;

/// A place in a text, both counted from 1. Line 0 means "not from a text" (a command-line override).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// A YAML node and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Where the node begins.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
}

/// The three shapes of a YAML node.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Tree>),
    /// A mapping in the order of the text; keys are unique.
    Mapping(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, as text.
    pub key: String,
    /// Where the key stands.
    pub key_at: Position,
    /// The value.
    pub value: Tree,
}

/// Text that is not YAML.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What the parser expected, in one sentence.
    pub message: String,
    /// Where it stopped.
    pub at: Position,
}

/// Reads all documents of a stream; documents without content are left out.
pub fn read(text: &str) -> Result<Vec<Tree>, SyntaxError> {
    let options = serde_yaml::options! { legacy_octal_numbers: true, with_snippet: false };
    let documents: Vec<Spanned<Raw>> =
        serde_yaml::from_multiple_with_options(text, options).map_err(|error| syntax_error(&error))?;
    Ok(documents.into_iter().map(Tree::from).collect())
}

/// Writes one value as a document without the leading `---`. Strings that another reader could take for a boolean or
/// a number are quoted, lines are never folded.
pub fn write(value: &Value) -> String {
    const NEVER: usize = 1 << 20;
    let options =
        serde_yaml::ser_options! { folded_wrap_chars: NEVER, min_fold_chars: NEVER, compact_list_indent: true };
    // A JSON value has string keys and finite numbers only, so nothing in it can be refused.
    let mut text = serde_yaml::to_string_with_options(&Written(value), options).unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a stream of documents, separated by `---`.
pub fn write_stream<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(write).collect::<Vec<_>>().join("---\n")
}

/// A value as it is written. A text whose first visible line begins with a tab would become a block that no reader
/// accepts; it is quoted instead.
struct Written<'a>(&'a Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.trim_start_matches(['\n', ' ']).starts_with('\t') => {
                serde_yaml::DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Written)),
            Value::Object(map) => serializer.collect_map(map.iter().map(|(key, value)| (key, Written(value)))),
            other => other.serialize(serializer),
        }
    }
}

impl Tree {
    /// The value under `key`, where this node is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Tree] {
        match &self.kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The text of a string scalar.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The same node without positions.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Sequence(items) => items.iter().map(Tree::to_json).collect(),
            Kind::Mapping(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

fn syntax_error(error: &serde_yaml::Error) -> SyntaxError {
    let at = error.location().map_or(Position { line: 1, column: 1 }, position);
    let text = error.to_string();
    // The parser's guard against a small file that unfolds into a huge one speaks of its own settings.
    if text.starts_with("budget breached") {
        let message = "this is too large: its values, with every alias (`*name`) written out, pass the parser's limit";
        return SyntaxError { message: message.to_owned(), at };
    }
    // The parser repeats the place at the end of its sentence; the caller prints it in front.
    let message = text.split(" at line ").next().unwrap_or(&text);
    // One message advises a setting of the parser that our users do not have.
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
    SyntaxError { message: message.to_owned(), at }
}

fn position(location: serde_yaml::Location) -> Position {
    let clamp = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: clamp(location.line()), column: clamp(location.column()) }
}

/// What the YAML crate fills in; positions are still its own.
struct Raw(RawKind);

enum RawKind {
    Scalar(Value),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Tree {
    fn from(raw: Spanned<Raw>) -> Self {
        let kind = match raw.value.0 {
            RawKind::Scalar(value) => Kind::Scalar(value),
            RawKind::Sequence(items) => Kind::Sequence(items.into_iter().map(Tree::from).collect()),
            RawKind::Mapping(entries) => Kind::Mapping(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_at: position(key.referenced),
                        key: key.value,
                        value: Tree::from(value),
                    })
                    .collect(),
            ),
        };
        Tree { at: position(raw.referenced), kind }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Raw)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML node")
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<RawKind, E> {
        Ok(RawKind::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawKind::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawKind::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_line_and_column() {
        let documents = read("---\na: 1\nb:\n  - x: |\n      text\n---\n# nothing\n---\nc: d\n").unwrap();
        assert_eq!(documents.len(), 2, "the empty document is left out");
        let b = documents[0].get("b").unwrap();
        let x = &b.items()[0].entries()[0];
        assert_eq!((x.key_at.line, x.key_at.column), (4, 5));
        assert_eq!(documents[1].entries()[0].key_at.line, 9);
    }

    #[test]
    fn a_small_text_that_unfolds_into_a_huge_one_is_refused_in_our_words() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let message = read(&text).unwrap_err().message;
        assert!(message.starts_with("this is too large") && !message.contains("budget"), "{message}");
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let tree = &read("a: no\nb: 0644\nc: ~\nd: \"no\"\n").unwrap()[0];
        assert_eq!(tree.to_json(), serde_json::json!({"a": false, "b": 420, "c": null, "d": "no"}));
    }

    #[test]
    fn what_kubectl_could_misread_is_written_in_quotes() {
        let text = write(&serde_json::json!({"a": "no", "b": "1_000", "c": "123", "d": "null", "y": true}));
        assert_eq!(text, "a: \"no\"\nb: \"1_000\"\nc: \"123\"\nd: \"null\"\n\"y\": true\n");
    }

    #[test]
    fn every_text_reads_back_as_it_was_written() {
        for text in ["\techo hi\n", "\n\ta", " \n a\n", "a\n\tb\n", "- a", "a: b\n", "\n", "  x\ny", "|\n", "é\u{7f}"]
        {
            let value = serde_json::json!({"a": {"b": [text]}});
            assert_eq!(read(&write(&value)).unwrap()[0].to_json(), value, "{text:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_place_and_not_the_parsers_settings() {
        let error = read("a: 1\na: 2\n").unwrap_err();
        assert_eq!((error.at.line, error.at.column), (2, 1));
        assert_eq!(error.message, "duplicate mapping key: a");
    }
}
