//! What is wrong with a user's input: every problem has a rule, a field path, a place and a way out.
//!
//! Rooms that check input collect [`Problem`]s; only the terminal decides how they look.

use std::fmt;

use crate::yaml::Position;

/// The path of a field, such as `spec.cachePaths[2].target`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A position in a list, counted from 0.
    Index(usize),
}

impl FieldPath {
    /// The path of the document itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of `key` below this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The path of item `index` below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The path of `below`, which is relative to this one.
    #[must_use]
    pub fn join(&self, below: &FieldPath) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    /// The first `length` steps of this path.
    #[must_use]
    pub fn parent(&self, length: usize) -> Self {
        Self(self.0.iter().take(length).cloned().collect())
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Reads `a.b[0].c`; a dot that belongs to a key is written `\.`. `None` where the text is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        const DOT: &str = "\0";
        let mut segments = Vec::new();
        for part in text.replace("\\.", DOT).split('.') {
            let (key, indexes) = part.find('[').map_or((part, ""), |at| part.split_at(at));
            if key.is_empty() {
                return None;
            }
            segments.push(Segment::Key(key.replace(DOT, ".")));
            let mut rest = indexes;
            while !rest.is_empty() {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                segments.push(Segment::Index(index.parse().ok()?));
                rest = after;
            }
        }
        Some(Self(segments))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if number == 0 => formatter.write_str(key)?,
                Segment::Key(key) => write!(formatter, ".{key}")?,
                Segment::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, or one thing the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The id of the broken rule; stable, so that it can be searched for.
    pub rule: &'static str,
    /// The file as the user named it.
    pub file: String,
    /// The field.
    pub path: FieldPath,
    /// Where the field stands; line 0 for a value from the command line.
    pub at: Position,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.line {
            0 => write!(formatter, "--set: ")?,
            line => write!(formatter, "{}:{line}:{}: ", self.file, self.at.column)?,
        }
        if !self.path.segments().is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        write!(formatter, "{} [{}]", self.message, self.rule)
    }
}

/// All problems of an input, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// A single problem.
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// `Ok` if there is nothing to complain about.
    pub fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by(|a, b| (&a.file, a.at, &a.path).cmp(&(&b.file, b.at, &b.path)));
        Err(Self(problems))
    }

    /// The problems, never none.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => formatter.write_str("the input has a problem"),
            count => write!(formatter, "the input has {count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// The known name that `name` most likely stands for, if one is near enough to be worth saying.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_path_reads_back_as_it_is_shown() {
        for text in ["spec", "spec.cachePaths[2].target", "a.b[0][1].c"] {
            assert_eq!(FieldPath::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(FieldPath::parse("a..b"), None);
        for text in ["a[x]", "a[", "a[=x", "a[1]x", "[0]"] {
            assert_eq!(FieldPath::parse(text), None, "{text}");
        }
        let dotted = FieldPath::parse(r"nodeSelector.kubernetes\.io/hostname").unwrap();
        assert_eq!(dotted.segments()[1], Segment::Key("kubernetes.io/hostname".to_owned()));
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["cachePaths", "containerMode", "image"];
        assert_eq!(nearest("cachePath", known), Some("cachePaths"));
        assert_eq!(nearest("containermode", known), Some("containerMode"));
        assert_eq!(nearest("colour", known), None);
    }
}
