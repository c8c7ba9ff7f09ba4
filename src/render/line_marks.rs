//! Marks in a template's text that survive rendering, so that a line of the result leads back to the line of the
//! template that wrote it.
//!
//! Every line that begins outside of a tag gets a mark in front of its text. Marks are private-use characters; they
//! are taken out of the result before it is parsed, so columns stay right. A layer that looks at the text of its own
//! macro (its length, or whether it equals something) sees the marks: that is a limit of layers.

use std::sync::Arc;

use crate::layers::Lines;

const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// Whether a text was (partly) written by a template, which alone writes marks.
pub(super) fn is_marked(text: &str) -> bool {
    text.contains(OPEN)
}

/// Puts a mark in front of the text of every line. `file` is the number of the file in the reader's list.
pub(super) fn mark(source: &str, file: usize) -> String {
    let mut marked = String::with_capacity(source.len() * 5 / 4);
    let mut scanner = Scanner::default();
    for (number, line) in source.split_inclusive('\n').enumerate() {
        match scanner.first_text(line) {
            Some(at) => {
                marked.push_str(&line[..at]);
                marked.push_str(&format!("{OPEN}{file}:{}{CLOSE}", number + 1));
                marked.push_str(&line[at..]);
            }
            None => marked.push_str(line),
        }
        scanner.walk(line);
    }
    marked
}

/// Where each line of a rendered text was written.
pub(super) struct LineMap {
    files: Vec<Arc<str>>,
    /// File number and line, one per line of the rendered text.
    lines: Vec<(usize, u32)>,
}

impl Lines for LineMap {
    fn find(&self, line: u32) -> (Arc<str>, u32) {
        let index = usize::try_from(line.max(1) - 1).unwrap_or(0).min(self.lines.len().saturating_sub(1));
        let (file, line) = self.lines.get(index).copied().unwrap_or_default();
        (self.files.get(file).cloned().unwrap_or_else(|| Arc::from("")), line)
    }
}

/// Takes the marks out of a rendered text.
pub(super) fn unmark(rendered: &str, files: Vec<Arc<str>>) -> (String, LineMap) {
    let mut text = String::with_capacity(rendered.len());
    let mut lines = Vec::new();
    let mut current = (0, 1);
    for line in rendered.split_inclusive('\n') {
        let mut leading = true;
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(OPEN) {
            text.push_str(before);
            // The innermost mark before the text wins: a macro's line is nearer than that of its caller.
            leading = leading && before.trim().is_empty();
            let Some((place, after)) = after.split_once(CLOSE).and_then(|(mark, after)| Some((parse(mark)?, after)))
            else {
                // Not a mark of ours: a layer made the character itself. It stays, and is refused later.
                text.push(OPEN);
                rest = after;
                continue;
            };
            if leading {
                current = place;
            }
            rest = after;
        }
        text.push_str(rest);
        lines.push(current);
    }
    (text, LineMap { files, lines })
}

/// A text without its marks.
pub(super) fn strip(marked: &str) -> String {
    unmark(marked, Vec::new()).0
}

fn parse(mark: &str) -> Option<(usize, u32)> {
    let (file, line) = mark.split_once(':')?;
    Some((file.parse().ok()?, line.parse().ok()?))
}

/// Follows tags across lines. `set` and `filter` blocks are left alone: their text is a value, not output.
#[derive(Default)]
struct Scanner {
    /// The end of the tag we are in.
    closing: Option<&'static str>,
    /// What the current tag says.
    tag: String,
    /// The quote of the text in the tag we are in.
    quote: Option<char>,
    /// How many `set` and `filter` blocks are open.
    captures: usize,
}

impl Scanner {
    /// Where the first text of this line is written, if the line begins with text.
    fn first_text(&self, line: &str) -> Option<usize> {
        let text = line.trim_start_matches([' ', '\t']);
        let at = line.len() - text.len();
        // A mark in front of `{{-` would keep it from trimming what stands before.
        let is_tag = ["{%", "{#", "{{-"].iter().any(|open| text.starts_with(open));
        let is_text = self.closing.is_none() && self.captures == 0 && !is_tag;
        (is_text && !text.trim().is_empty()).then_some(at)
    }

    fn walk(&mut self, line: &str) {
        let mut rest = line;
        loop {
            if let Some(closing) = self.closing {
                let Some(end) = self.end_of_tag(rest, closing) else {
                    self.tag.push_str(rest);
                    return;
                };
                self.tag.push_str(&rest[..end]);
                self.leave();
                rest = &rest[end + closing.len()..];
            } else {
                let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() else { return };
                self.closing = Some(match &rest[at..at + 2] {
                    "{{" => "}}",
                    "{%" => "%}",
                    _ => "#}",
                });
                rest = &rest[at + 2..];
            }
        }
    }

    /// Where the tag ends in this line; what stands in quotes is no end. Quotes in comments mean nothing.
    fn end_of_tag(&mut self, text: &str, closing: &str) -> Option<usize> {
        let mut escaped = false;
        for (at, character) in text.char_indices() {
            match self.quote {
                Some(_) if escaped => escaped = false,
                Some(_) if character == '\\' => escaped = true,
                Some(quote) if character == quote => self.quote = None,
                None if matches!(character, '"' | '\'') && closing != "#}" => self.quote = Some(character),
                None if text[at..].starts_with(closing) => return Some(at),
                Some(_) | None => {}
            }
        }
        None
    }

    fn leave(&mut self) {
        let tag = std::mem::take(&mut self.tag);
        if self.closing.take() != Some("%}") {
            return;
        }
        let words = tag.trim_matches(['-', '+']).trim();
        let assigns = words.starts_with("set ") && !words.contains('=');
        if assigns || words.starts_with("filter ") {
            self.captures += 1;
        } else if words == "endset" || words == "endfilter" {
            self.captures = self.captures.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str) -> Vec<u32> {
        let mut environment = minijinja::Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap();
        environment.set_syntax(syntax);
        let plain = environment.render_str(source, ()).unwrap();
        let marked = mark(source, 0);
        let (text, map) = unmark(&environment.render_str(&marked, ()).unwrap(), vec![Arc::from("t")]);
        assert_eq!(text, plain, "marks must not change what is rendered");
        map.lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn lines_of_loops_lead_back_to_the_loops_body() {
        assert_eq!(lines("a: 1\n{% for i in [1, 2] %}\n- {{ i }}\n{% endfor %}\nb: 2\n"), [1, 3, 3, 5]);
    }

    #[test]
    fn a_macros_lines_are_nearer_than_its_callers() {
        let source = "{% macro m() %}\nx: 1\ny: 2\n{% endmacro %}\na:\n  {{ m()|indent(2)|trim }}\nz: 3\n";
        assert_eq!(lines(source), [5, 2, 3, 7]);
    }

    #[test]
    fn tags_over_several_lines_and_captured_text_stay_untouched() {
        assert_eq!(lines("{% set x %}\nv\n{% endset %}\na: {{ x == \"v\\n\" }}\nb: {{ [1,\n2]|length }}\n"), [4, 5]);
        assert_eq!(lines("{# it's\n b #}\nx: 1\n"), [3]);
        assert_eq!(lines("a: {{ [\"}}\",\n \"x\"]|last }}\nb: 1\n"), [1, 3]);
    }

    #[test]
    fn trimming_tags_still_trim() {
        assert_eq!(lines("a: b\n  {{- \"c\" }}\nd: 1\n"), [1, 3]);
    }
}
