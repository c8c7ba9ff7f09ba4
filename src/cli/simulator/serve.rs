//! `deskrun simulator serve`: listens and serves until it is told to stop.

use std::fs::read_to_string;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::duration;
use crate::cli::{ExitCode, Printer};
use crate::simulator::{FaultsFile, Generation, Line, LineListener, Options, Simulator};

/// What `serve` is told.
#[derive(Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7878")]
    listen: String,
    /// The only personal access token that is accepted; without it and --app-key any will do
    #[arg(long, value_name = "TOKEN")]
    pat: Option<String>,
    /// The App's key in PEM, as downloaded from GitHub or its public half: App JWTs are verified with it
    #[arg(long, value_name = "FILE")]
    app_key: Option<PathBuf>,
    /// Which of GitHub's back ends to play
    #[arg(long, value_enum, default_value = "broker")]
    generation: Backend,
    /// Added to every call
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// How long a poll is held, in whole seconds
    #[arg(long, value_name = "DUR", default_value = "50s", value_parser = duration)]
    hold: Duration,
    /// Fault rules in YAML or JSON
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Seed of all randomness; different each time if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    /// github.com today
    Broker,
    /// GHES and older tenants: jobs must be acquired
    Pipelines,
}

impl Serve {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let simulator = Simulator::new(self.options()?)?;
        // Before anything is said: whoever reads the first line may stop us at once.
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let listener =
            TcpListener::bind(&self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        let address = listener.local_addr().context("cannot tell the address")?;
        let urls =
            json!({ "configUrl": format!("http://{address}/acme"), "controlUrl": format!("http://{address}/control") });
        printer.data(&format!("{urls}\n"))?;
        let service = simulator.router().into_make_service_with_connect_info::<Line>();
        // Held polls are cut, not waited for: their clients try again.
        tokio::select! {
            served = axum::serve(LineListener(listener), service) => served.context("cannot serve any more")?,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(0)
    }

    fn options(&self) -> anyhow::Result<Options> {
        let faults = match &self.faults {
            Some(file) => FaultsFile::read(&read(file)?).with_context(|| format!("cannot use {}", file.display()))?,
            None => FaultsFile::default(),
        };
        Ok(Options {
            generation: match self.generation {
                Backend::Broker => Generation::Broker,
                Backend::Pipelines => Generation::Pipelines,
            },
            seed: self.seed.unwrap_or_else(rand::random),
            pat: self.pat.clone(),
            app_key: self.app_key.as_deref().map(read).transpose()?,
            hold_seconds: u32::try_from(self.hold.as_secs()).unwrap_or(u32::MAX),
            latency_milliseconds: u32::try_from(self.latency.as_millis()).unwrap_or(u32::MAX),
            faults: faults.faults,
            levers: faults.levers.unwrap_or_default(),
            ..Options::default()
        })
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
