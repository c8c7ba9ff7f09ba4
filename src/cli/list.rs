//! `deskrun list`: the scale sets of the configuration folder, and what the running controller makes of them.

mod cluster;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

pub(super) use self::cluster::limits;
use super::cluster::ClusterArguments;
use super::output::{NOTHING, Output, Table};
use super::run::{Files, configuration_folder};
use super::socket::Controller;
use super::{ExitCode, Printer};
use crate::operator::Report;
use crate::scale_set::ScaleSet;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The controller's socket; `$XDG_RUNTIME_DIR/deskrun.sock` if not given
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl List {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        if self.cluster.is_given() {
            return cluster::run(&self, printer).await;
        }
        let folder = configuration_folder()?;
        let input = Files::Folder(folder.clone()).look()?;
        let controller = Controller::at(self.socket.as_deref())?;
        let report = match controller.status().await {
            Ok(report) => report,
            Err(error) => {
                printer.note("warning", &format!("phases are not known: {error:#}"))?;
                None
            }
        };
        let rows: Vec<Row<'_>> = input
            .scale_sets
            .iter()
            .map(|validated| Row {
                scale_set: &validated.scale_set,
                phase: phase(&validated.scale_set, report.as_ref()),
            })
            .collect();
        if rows.is_empty() {
            let place = folder.display();
            printer.note("note", &format!("there is no scale set in {place}: `deskrun add` writes one"))?;
        }
        let json: Value = rows.iter().map(Row::json).collect();
        printer.data(&self.output.text(&json, || table(&rows)))?;
        Ok(0)
    }
}

struct Row<'a> {
    scale_set: &'a ScaleSet,
    phase: Option<String>,
}

/// Instances may differ; each phase is named once. `None` where no controller serves it.
fn phase(scale_set: &ScaleSet, report: Option<&Report>) -> Option<String> {
    let its = report?.scale_sets.iter().filter(|status| status.resource == scale_set.name);
    let phases: BTreeSet<&str> = its.map(|status| status.phase.name()).collect();
    let phases: Vec<&str> = phases.into_iter().collect();
    (!phases.is_empty()).then(|| phases.join(","))
}

fn table(rows: &[Row<'_>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["NAME", "REPOSITORY", "MODE", "MIN-MAX", "INSTANCES", "PHASE", "FILE"]);
    for Row { scale_set, phase } in rows {
        table.row([
            scale_set.name.clone(),
            scale_set.config_url.clone().unwrap_or_else(|| NOTHING.to_owned()),
            scale_set.mode.name().to_owned(),
            format!("{}-{}", scale_set.min_runners, scale_set.max_runners),
            scale_set.instances.unwrap_or(1).to_string(),
            phase.clone().unwrap_or_else(|| NOTHING.to_owned()),
            scale_set.file.clone(),
        ]);
    }
    table.text()
}

impl Row<'_> {
    fn json(&self) -> Value {
        let Self { scale_set, phase } = self;
        json!({
            "name": scale_set.name,
            "repository": scale_set.config_url,
            "mode": scale_set.mode.name(),
            "minRunners": scale_set.min_runners,
            "maxRunners": scale_set.max_runners,
            "instances": scale_set.instances.unwrap_or(1),
            "phase": phase,
            "file": scale_set.file,
        })
    }
}
