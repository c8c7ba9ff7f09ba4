//! What goes wrong, on request.

use std::fmt;
use std::time::Duration;

use crate::engine::EngineError;

/// A step of the engine that can be slow or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// The first half of making a runner.
    StoreSecret,
    /// The second half of making a runner.
    CreatePod,
    /// A container's start: `before` is how long it takes.
    Start,
    /// The first half of removing a runner.
    RemovePod,
    /// The second half of removing a runner.
    RemoveSecret,
    /// Telling an observer about a change: `before` is how late it hears of it.
    Observe,
    /// Removing what was left behind.
    Sweep,
}

impl Call {
    /// Words that follow "cannot".
    pub fn words(self) -> &'static str {
        match self {
            Self::StoreSecret => "store the runner's secret",
            Self::CreatePod => "create the runner's pod",
            Self::Start => "start the runner's container",
            Self::RemovePod => "remove the runner's pod",
            Self::RemoveSecret => "remove the runner's secret",
            Self::Observe => "observe the runners",
            Self::Sweep => "remove what was left behind",
        }
    }
}

/// What happens around one step.
#[derive(Debug, Default)]
pub struct Fault {
    /// It takes so long until it has its effect.
    pub before: Duration,
    /// It takes so long from the effect to the answer.
    pub after: Duration,
    /// Whether it succeeds.
    pub outcome: Outcome,
}

/// Whether a step succeeds.
#[derive(Debug, Default)]
pub enum Outcome {
    /// It does.
    #[default]
    Succeeds,
    /// It fails without an effect.
    FailsBefore(EngineError),
    /// It has its effect, and says that it failed.
    FailsAfter(EngineError),
}

/// Decides for each step what goes wrong with it.
pub struct Faults(Decide);

type Decide = Box<dyn FnMut(Call, &str) -> Fault + Send>;

impl Faults {
    /// Nothing goes wrong, and nothing takes time.
    pub fn none() -> Self {
        Self::new(|_, _| Fault::default())
    }

    /// Faults by step and runner.
    pub fn new(decide: impl FnMut(Call, &str) -> Fault + Send + 'static) -> Self {
        Self(Box::new(decide))
    }

    pub(super) fn of(&mut self, call: Call, runner: &str) -> Fault {
        (self.0)(call, runner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faults")
    }
}
