//! `deskrun simulator runner`: the stand-in for GitHub's runner process.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::{ExitCode, Printer};
use crate::simulator::stand_in::{Misbehaviour, Signal, Start, run};

#[derive(Debug, Args)]
pub(in crate::cli) struct Runner {
    /// Folder of the runner; jobs run in `_work` below it
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Do something wrong: `never-online`, `hang`, `exit-early[:CODE]`, `ignore-term`, `ghost` or `version-refused`
    #[arg(long, value_parser = misbehaviour, env = "DESKRUN_STAND_IN_MISBEHAVE")]
    misbehave: Option<Misbehaviour>,
}

impl Runner {
    pub(in crate::cli) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let (sender, signals) = watch::channel(None);
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = terminate.recv() => Signal::Terminate,
                    _ = interrupt.recv() => Signal::Interrupt,
                };
                sender.send_replace(Some(signal));
            }
        });
        let start = Start {
            environment: std::env::vars().collect(),
            root: self.root,
            is_root: std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
            misbehaviour: self.misbehave,
        };
        let printer = Mutex::new(printer);
        let log = |line: &str| {
            if let Ok(mut printer) = printer.lock() {
                // A runner works on when no one reads its output.
                let _ = printer.data(&format!("{line}\n"));
            }
        };
        Ok(run(start, signals, log).await.code())
    }
}

fn misbehaviour(text: &str) -> Result<Misbehaviour, String> {
    let (name, code) = text.split_once(':').unwrap_or((text, "1"));
    match name {
        "never-online" => Ok(Misbehaviour::NeverOnline),
        "hang" => Ok(Misbehaviour::Hang),
        "exit-early" => code.parse().map(Misbehaviour::ExitEarly).map_err(|_| format!("`{code}` is no exit code")),
        "ignore-term" => Ok(Misbehaviour::IgnoreTerm),
        "ghost" => Ok(Misbehaviour::Ghost),
        "version-refused" => Ok(Misbehaviour::VersionRefused),
        _ => Err("known are never-online, hang, exit-early[:CODE], ignore-term, ghost, version-refused".to_owned()),
    }
}
