//! `deskrun completions`: what a shell needs to complete our commands and their arguments.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, ExitCode, Printer};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        generate(self.shell, &mut Cli::command(), "deskrun", &mut text);
        printer.data(&String::from_utf8_lossy(&text))?;
        Ok(0)
    }
}
