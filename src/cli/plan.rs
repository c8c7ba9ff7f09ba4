//! `deskrun plan`: what would change if files were served now. Nothing is touched, and no credentials are needed.

mod cluster;
mod difference;
mod facts;
mod show;

use std::io::Write;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use self::difference::{Asked, Difference, Existing, Key, Served, Settings, Unnamed, compare};
use super::cluster::ClusterArguments;
use super::input::Input;
use super::output::Output;
use super::run::{EngineArguments, Files, PlaceArguments, controller_id, specifications};
use super::snapshot::snapshot;
use super::socket::Controller;
use super::{ExitCode, Printer};
use crate::controller::Specification;
use crate::github::Environment;

/// The exit code is 0 whether something would change or not; a plan that cannot be made is an error.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Files with `RunnerScaleSet` and `PodmanHost` documents; those of `deskrun add` if not given
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl Plan {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let input = Files::of(&self.files)?.look()?;
        for warning in input.scale_sets.iter().flat_map(|validated| &validated.warnings) {
            printer.warning(warning)?;
        }
        let difference = if self.engine.means_resources(&self.cluster) {
            cluster::difference(&self.cluster, &input).await?
        } else {
            self.on_a_host(&input, printer).await?
        };
        if difference.is_empty() {
            printer.note("note", "nothing would change")?;
        }
        printer.data(&self.output.text(&json!(difference), || show::table(&difference)))?;
        Ok(0)
    }

    /// Against the running controller; without one, against what the engine has.
    async fn on_a_host(
        &self,
        input: &Input,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<Difference> {
        let controller = Controller::at(Some(&self.place.socket()?))?;
        if let Some(report) = controller.status().await? {
            let asked = self.asked(input, &report.controller).await?;
            if !report.unclaimed.is_empty() {
                let words =
                    format!("no scale set is served any more for these runners: {}", report.unclaimed.join(", "));
                printer.note("note", &words)?;
            }
            let (served, runners) = facts::of_report(&report);
            return Ok(compare(&asked, &served, &runners, Unnamed::LetGo));
        }
        printer.note(
            "note",
            &format!(
                "no controller answers at {}; this is compared with what the engine has, and who is busy is not known",
                controller.place()
            ),
        )?;
        let id = controller_id(&self.place)?;
        let asked = self.asked(input, &id).await?;
        let engine = self.engine.connect(input, &Environment::system(), &self.cluster).await?;
        let runners = facts::of_snapshot(&snapshot(&*engine.engine).await?, &id);
        Ok(compare(&asked, &[], &runners, Unnamed::LetGo))
    }

    /// What the files ask for, as a controller of this id would serve it.
    async fn asked(&self, input: &Input, controller: &str) -> anyhow::Result<Vec<Asked>> {
        let namespaces = self.engine.namespaces(input, &self.cluster).await?;
        let mut all: Vec<Asked> = Vec::new();
        for validated in &input.scale_sets {
            let scale_set = &namespaces.place(&validated.scale_set)?;
            for specification in specifications(scale_set, input, self.engine.kind(), controller, None)? {
                let asked = facts::of_specification(&specification);
                ensure!(
                    all.iter().all(|other| other.key != asked.key),
                    "{}: a second scale set `{}` at {}: rename one of the two",
                    scale_set.file,
                    specification.name,
                    specification.config_url,
                );
                all.push(asked);
            }
        }
        Ok(all)
    }
}
