//! `deskrun simulator`: serve a stand-in for GitHub, queue jobs there, look at its ledger.

mod client;
mod queue;
mod runner;
mod serve;
mod state;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use jiff::SignedDuration;

use super::{ExitCode, Printer, block_on};

/// The commands of the simulator.
#[derive(Debug, Subcommand)]
pub(super) enum Simulator {
    /// Serve GitHub's side until interrupted; the first line on stdout is JSON with its addresses
    Serve(serve::Serve),
    /// Queue jobs; prints one id a line
    Queue(queue::Queue),
    /// Stand in for GitHub's runner process: take `ACTIONS_RUNNER_INPUT_JITCONFIG`, run one job, report its result
    Runner(runner::Runner),
    /// Print everything that the simulator knows, as JSON
    State(state::State),
}

impl Simulator {
    pub(super) fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(serve) => block_on(serve.run(printer)),
            Self::Queue(queue) => block_on(queue.run(printer)),
            Self::Runner(runner) => block_on(runner.run(printer)),
            Self::State(state) => block_on(state.run(printer)),
        }
    }
}

/// A length of time, as in `90s` or `1m 30s`.
pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration: SignedDuration = text.parse().context("not a duration, such as `90s` or `2m`")?;
    Duration::try_from(duration).map_err(|_| anyhow!("a duration is not negative"))
}
