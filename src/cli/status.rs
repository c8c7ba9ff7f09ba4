//! `deskrun status`: what the running controller says; without one, what the engine has.

mod cluster;
mod engine;
mod table;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::cluster::ClusterArguments;
use super::output::Output;
use super::run::{EngineArguments, Files};
use super::snapshot::snapshot;
use super::socket::Controller;
use super::{ExitCode, Printer};
use crate::engine::ObservedRunner;
use crate::github::Environment;
use crate::operator::Report;

/// Empties a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Only this scale set, or all of this resource
    name: Option<String>,
    /// Print anew whenever something changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The controller's socket; `$XDG_RUNTIME_DIR/deskrun.sock` if not given
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Without a controller: files whose `PodmanHost` says where the runners are; those of `deskrun add` if not given
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl Status {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        if self.engine.means_resources(&self.cluster) {
            return cluster::run(&self, printer).await;
        }
        let controller = Controller::at(self.socket.as_deref())?;
        if self.watch {
            return self.watch(&controller, printer).await;
        }
        let text = if let Some(report) = controller.status().await? {
            self.show(&self.select(report)?)
        } else {
            let absent = format!("no controller answers at {}", controller.place());
            let runners = self.observe().await.with_context(|| absent.clone())?;
            printer.note("note", &format!("{absent}; this is what the engine has"))?;
            self.output.text(&engine::json(&runners), || engine::table(&runners, Timestamp::now()))
        };
        printer.data(&text)?;
        Ok(0)
    }

    async fn watch(
        &self,
        controller: &Controller,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<ExitCode> {
        let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
        let mut told = false;
        loop {
            if let Some(mut reports) = controller.watch().await? {
                told = false;
                while let Some(report) = reports.next().await? {
                    printer.data(&format!("{clear}{}", self.show(&self.select(report)?)))?;
                }
            }
            if !told {
                // It may be restarting.
                printer.note("note", &format!("no controller answers at {}; waiting", controller.place()))?;
                told = true;
            }
            controller.comes().await;
        }
    }

    fn show(&self, report: &Report) -> String {
        self.output.text(&json!(report), || table::text(report, Timestamp::now()))
    }

    /// What was asked for.
    fn select(&self, mut report: Report) -> anyhow::Result<Report> {
        let Some(name) = &self.name else { return Ok(report) };
        let served: Vec<String> = report.scale_sets.iter().map(|scale_set| scale_set.name.clone()).collect();
        report.scale_sets.retain(|scale_set| [&scale_set.name, &scale_set.resource].contains(&name));
        let there = if served.is_empty() { "none".to_owned() } else { served.join(", ") };
        ensure!(!report.scale_sets.is_empty(), "the controller serves no scale set `{name}`; it serves: {there}");
        let is_asked_for =
            |pool: &String| report.scale_sets.iter().any(|scale_set| scale_set.slot_pools.contains(pool));
        report.slots.retain(|pool, _| is_asked_for(pool));
        report.unclaimed.clear();
        Ok(report)
    }

    /// What the engine has right now.
    async fn observe(&self) -> anyhow::Result<Vec<ObservedRunner>> {
        let input = Files::of(&self.files)?.look()?;
        let engine = self.engine.connect(&input, &Environment::system(), &self.cluster).await?;
        let mut runners = snapshot(&*engine.engine).await?;
        let owned =
            |runner: &ObservedRunner, name: &String| [&runner.owner.scale_set, &runner.owner.resource].contains(&name);
        runners.retain(|runner| self.name.as_ref().is_none_or(|name| owned(runner, name)));
        Ok(runners)
    }
}
