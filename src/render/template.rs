//! Runs one layer's template and parses what comes out.
//!
//! Strict rules, for a manifest is no place for guesses: an undefined variable is an error, a bare list or mapping is
//! an error, a bare text with line breaks is an error, and a runaway loop ends.

use std::sync::Arc;

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::context::Context;
use super::error::TemplateError;
use super::line_marks::{LineMap, is_marked, mark, unmark};
use crate::layers::{Lines, TEMPLATES, script};
use crate::yaml::{self, Tree};

/// How much work a layer may make: a few hundred times what the largest of ours needs. It bounds time, not memory: a
/// layer that doubles a text forty times ends the program. Layers are written by those who own the machine.
const FUEL: u64 = 500_000;

/// A layer's template.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) layer: &'a str,
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

/// A rendered layer: its documents, and where their lines came from.
pub(super) struct Rendered {
    pub(super) documents: Vec<Tree>,
    pub(super) lines: LineMap,
}

/// The engine that runs templates; made once per scale set.
pub(super) struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .unwrap_or_default();
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
            ValueKind::None => out.write_str("null").map_err(Error::from),
            ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
                Err(Error::new(ErrorKind::InvalidOperation, "a list or mapping is written with `|tojson`"))
            }
            ValueKind::String if breaks_lines(value) => {
                Err(Error::new(ErrorKind::InvalidOperation, "a text with line breaks is written with `|tojson`"))
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.add_function("script", |name: &str| {
            script(name).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("there is no script `{name}`")))
        });
        // Layers may include ours by name; `files` numbers them.
        environment.set_loader(|name| {
            let number = TEMPLATES.iter().position(|template| template.file.ends_with(&format!("/{name}")));
            Ok(number.map(|number| mark(TEMPLATES[number].text, number)))
        });
        Self { environment }
    }

    /// Renders a layer to text, with line marks.
    pub(super) fn text(&self, source: Source<'_>, context: &Context<'_>) -> Result<String, TemplateError> {
        let marked = mark(source.text, TEMPLATES.len());
        let template = self.environment.template_from_named_str(source.file, &marked);
        template.and_then(|template| template.render(Serde(context))).map_err(|error| template_error(source, &error))
    }

    /// The documents of a rendered text.
    pub(super) fn parse(source: Source<'_>, marked: &str) -> Result<Rendered, TemplateError> {
        let (text, lines) = unmark(marked, files(source.file));
        let documents = yaml::read(&text).map_err(|error| {
            let (file, line) = lines.find(error.at.line);
            // The template's own line, not the rendered one: that may hold what a user wants to keep to himself.
            let written = TEMPLATES.iter().find(|template| *template.file == *file).map_or(source.text, |t| t.text);
            let excerpt = written.lines().nth(usize::try_from(line).unwrap_or(1).max(1) - 1).unwrap_or_default();
            TemplateError {
                layer: source.layer.to_owned(),
                file: file.to_string(),
                line,
                message: format!("what it renders to is not YAML: {}", error.message),
                excerpt: format!("  | {excerpt}"),
                hint: Some("texts from outside are written with `|tojson`".to_owned()),
            }
        })?;
        Ok(Rendered { documents, lines })
    }
}

/// The files that marks can name: ours, and the layer's own.
fn files(own: &str) -> Vec<Arc<str>> {
    TEMPLATES.iter().map(|template| Arc::from(template.file)).chain([Arc::from(own)]).collect()
}

/// Text from a spec that would add lines to the document. What a template wrote itself carries marks.
fn breaks_lines(value: &minijinja::Value) -> bool {
    !value.is_safe() && value.as_str().is_some_and(|text| text.contains(['\n', '\r']) && !is_marked(text))
}

fn template_error(source: Source<'_>, error: &Error) -> TemplateError {
    // Never format the error itself with its debug information: it holds the values of all variables.
    let mut innermost = error;
    while let Some(inner) = std::error::Error::source(innermost).and_then(|inner| inner.downcast_ref::<Error>()) {
        innermost = inner;
    }
    let line = u32::try_from(innermost.line().unwrap_or(1)).unwrap_or(1);
    let included = TEMPLATES.iter().find(|template| innermost.name().is_some_and(|name| template.file.ends_with(name)));
    let (file, text) = included.map_or((source.file, source.text), |template| (template.file, template.text));
    let excerpt = text.lines().nth(usize::try_from(line).unwrap_or(1).max(1) - 1).unwrap_or_default();
    TemplateError {
        layer: source.layer.to_owned(),
        file: file.to_owned(),
        line,
        message: innermost.detail().map_or_else(|| innermost.kind().to_string(), str::to_owned),
        excerpt: format!("  | {excerpt}"),
        hint: match innermost.kind() {
            ErrorKind::UndefinedError => {
                Some("test with `is defined`, or give `|default(…)`; the README lists what layers may use".to_owned())
            }
            ErrorKind::OutOfFuel => Some("a loop of the layer does not end in reasonable time".to_owned()),
            _ => None,
        },
    }
}
