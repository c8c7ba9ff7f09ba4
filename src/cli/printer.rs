//! Where output goes: data to stdout, everything else to stderr. Nothing else in the program prints.

use std::error::Error;
use std::io::{self, Write};

use crate::problem::{Problem, Problems};

/// The two streams of a command.
pub struct Printer<Out, Err> {
    out: Out,
    err: Err,
}

impl<Out: Write, Err: Write> Printer<Out, Err> {
    /// A printer onto two streams.
    pub fn new(out: Out, err: Err) -> Self {
        Self { out, err }
    }

    /// Data: what another program may read.
    pub fn data(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// `error:` with its causes and the way out.
    pub fn error(&mut self, error: &(dyn Error + 'static), hint: Option<&str>) -> io::Result<()> {
        if let Some(problems) = find::<Problems>(error) {
            return self.problems(problems);
        }
        writeln!(self.err, "error: {error}")?;
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            // A transparent error and its source say the same.
            if inner.to_string() != said {
                writeln!(self.err, "caused by: {inner}")?;
                said = inner.to_string();
            }
            cause = inner.source();
        }
        self.hint(hint)
    }

    /// Every problem with its hint.
    pub fn problems(&mut self, problems: &Problems) -> io::Result<()> {
        problems.as_slice().iter().try_for_each(|problem| self.problem("error", problem))
    }

    /// Something that is allowed and surprising.
    pub fn warning(&mut self, problem: &Problem) -> io::Result<()> {
        self.problem("warning", problem)
    }

    /// A remark without a rule.
    pub fn note(&mut self, kind: &str, text: &str) -> io::Result<()> {
        writeln!(self.err, "{kind}: {text}")
    }

    /// The way out.
    pub fn hint(&mut self, hint: Option<&str>) -> io::Result<()> {
        hint.map_or(Ok(()), |hint| writeln!(self.err, "hint: {hint}"))
    }

    fn problem(&mut self, kind: &str, problem: &Problem) -> io::Result<()> {
        writeln!(self.err, "{kind}: {problem}")?;
        self.hint(problem.hint.as_deref())
    }
}

/// The first error of a type in a chain.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}
