//! What may become of a pod.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Process, Start};

/// What becomes of a pod once it is bound to a node.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Its init containers succeed, and its runner's container (or else its first) is this process.
    Runs(Arc<dyn Process>),
    /// Its first init container says something and exits with a code.
    InitFails {
        /// Not 0.
        code: i32,
        /// A line.
        says: &'static str,
    },
    /// The image of its runner cannot be had.
    CannotPull,
    /// A volume cannot be mounted, with these words.
    CannotMount(&'static str),
    /// The node does not take it: reason and words.
    Refused(&'static str, &'static str),
    /// The node does nothing at all.
    Ignored,
    /// The same, so much later.
    Late(Duration, Box<Fate>),
}

impl Fate {
    /// Runs until it is told to end; then it exits with 143.
    pub fn waits() -> Self {
        Self::Runs(process(|mut start: Start| async move {
            let told = start.signals.wait_for(Option::is_some).await.is_ok();
            if told { 143 } else { std::future::pending().await }
        }))
    }

    /// Runs on, whatever it is told.
    pub fn ignores_term() -> Self {
        Self::Runs(process(|_| std::future::pending()))
    }

    /// Writes lines and exits.
    pub fn exits(code: i32, lines: &'static [&'static str]) -> Self {
        Self::Runs(process(move |start: Start| async move {
            for line in lines {
                start.log.line(line);
            }
            code
        }))
    }

    /// Does what a container of the demo's image does: the stand-in for GitHub's runner, as a task of the test.
    pub fn stand_in() -> Self {
        Self::Runs(Arc::new(deskrun::cli::StandIn::default()))
    }

    /// The same, so much later.
    pub fn late(self, after: Duration) -> Self {
        Self::Late(after, Box::new(self))
    }
}

/// A process from a function.
pub fn process<F>(run: impl Fn(Start) -> F + Send + Sync + 'static) -> Arc<dyn Process>
where
    F: Future<Output = i32> + Send + 'static,
{
    Arc::new(Function(Box::new(move |start| run(start).boxed())))
}

struct Function(Box<dyn Fn(Start) -> BoxFuture<'static, i32> + Send + Sync>);

impl fmt::Debug for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Function")
    }
}

impl Process for Function {
    fn run(&self, start: Start) -> BoxFuture<'static, i32> {
        (self.0)(start)
    }
}
