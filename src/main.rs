//! Parses arguments, runs one command, turns the result into an exit code.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use deskrun::cli::{Cli, Printer};

fn main() -> ExitCode {
    // Not locked for good: logs go to stderr from every thread.
    let mut printer = Printer::new(stdout(), stderr());
    ExitCode::from(Cli::parse().execute(&mut printer))
}
