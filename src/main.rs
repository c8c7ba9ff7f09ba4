//! Parses arguments, runs one command, turns the result into an exit code.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use deskrun::cli::{Cli, Printer};

fn main() -> ExitCode {
    let mut printer = Printer::new(stdout().lock(), stderr().lock());
    ExitCode::from(Cli::parse().execute(&mut printer))
}
