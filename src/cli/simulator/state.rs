//! `deskrun simulator state`: prints the ledger.

use std::io::Write;

use clap::Args;
use reqwest::Method;

use super::client::call;
use crate::cli::{ExitCode, Printer};

/// What `state` is told.
#[derive(Debug, Args)]
pub(in crate::cli) struct State {
    /// The simulator's `controlUrl`
    #[arg(long, value_name = "CONTROL")]
    url: String,
}

impl State {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let ledger = call(&self.url, Method::GET, "state", None).await?;
        printer.data(&format!("{}\n", serde_json::to_string_pretty(&ledger)?))?;
        Ok(0)
    }
}
