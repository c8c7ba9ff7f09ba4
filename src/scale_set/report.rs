//! Collects what a spec gets wrong, placed at the field.

use super::Rule;
use crate::crd::Document;
use crate::problem::{FieldPath, Problem};

/// The problems and warnings of one document, while it is validated.
pub(super) struct Report<'a> {
    pub(super) document: &'a Document,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// A broken rule without its place.
pub(super) struct Broken {
    pub(super) rule: Rule,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Broken {
    pub(super) fn new(rule: Rule, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { rule, message: message.into(), hint: hint.into() }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Refuses the field at `path`, which is relative to the spec.
    pub(super) fn refuse(&mut self, path: &FieldPath, broken: Broken) {
        self.problems.push(self.document.problem(broken.rule.id(), path, broken.message, broken.hint));
    }

    /// Tells about the field at `path` without refusing it.
    pub(super) fn warn(&mut self, id: &'static str, path: &FieldPath, message: String, hint: impl Into<String>) {
        self.warnings.push(self.document.problem(id, path, message, hint));
    }

    /// The value, or a refusal at `path` and nothing.
    pub(super) fn accept<T>(&mut self, path: &FieldPath, result: Result<T, Broken>) -> Option<T> {
        result.map_err(|broken| self.refuse(path, broken)).ok()
    }
}
