//! `deskrun remove`: drains a scale set, deletes it at GitHub, then deletes its file. The running controller does it, or,
//! where none runs, this process.

mod cluster;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::cluster::ClusterArguments;
use super::input::Input;
use super::run::{EngineArguments, Files, Place, PlaceArguments, Signals, assemble, configuration_folder};
use super::simulator::duration;
use super::socket::Controller;
use super::{ExitCode, Printer};
use crate::controller::{Order, RunnerPhase};
use crate::operator::{Removed, Report};
use crate::telemetry::{self, LogForm};

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Name of the scale set
    name: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// In a cluster: how long to wait until it is gone, which busy runners keep
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    timeout: Duration,
}

impl Remove {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        if self.engine.means_resources(&self.cluster) {
            return cluster::run(&self, printer).await;
        }
        let folder = configuration_folder()?;
        let input = Files::Folder(folder.clone()).look()?;
        let file = self.file(&folder, &input)?;
        let controller = Controller::at(Some(&self.place.socket()?))?;
        let removed = match controller.status().await? {
            Some(report) => self.ask(&controller, &report, &file, printer).await?,
            None => self.do_it_here(input, printer).await?,
        };
        for left in &removed.left_behind {
            printer.note("left behind", &format!("{}: {}", left.scale_set, left.reason))?;
        }
        ensure!(
            removed.left_behind.is_empty(),
            "`{}` is not removed, and {} is kept: run `deskrun remove {}` again",
            self.name,
            file.display(),
            self.name
        );
        std::fs::remove_file(&file).with_context(|| format!("cannot delete {}", file.display()))?;
        // Once the controller has seen that the file is gone, the name may be added again.
        if let Ok(Some(Err(words))) = controller.reload().await {
            printer.note("warning", &format!("the controller cannot read its files: {words}"))?;
        }
        printer.note("removed", &format!("{} and {}", self.name, file.display()))?;
        Ok(0)
    }

    /// The file of the scale set, which must hold nothing else: all of it will be deleted.
    fn file(&self, folder: &Path, input: &Input) -> anyhow::Result<PathBuf> {
        let scale_sets = input.scale_sets.iter().map(|validated| &validated.scale_set);
        let Some(scale_set) = scale_sets.clone().find(|scale_set| scale_set.name == self.name) else {
            let names: Vec<&str> = scale_sets.map(|scale_set| scale_set.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!("there is no scale set `{}` in {}; there are: {there}", self.name, folder.display());
        };
        let file = &scale_set.file;
        ensure!(
            input.documents.get(file).is_none_or(|count| *count == 1),
            "{file} holds other documents as well, and would be deleted: move `{}` to a file of its own",
            self.name
        );
        Ok(PathBuf::from(file))
    }

    async fn ask(
        &self,
        controller: &Controller,
        report: &Report,
        file: &Path,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<Removed> {
        let name = &self.name;
        let its = report.scale_sets.iter().filter(|scale_set| scale_set.resource == *name);
        let busy =
            its.flat_map(|scale_set| &scale_set.runners).filter(|runner| runner.phase == RunnerPhase::Busy).count();
        if busy > 0 {
            printer.note(
                "note",
                &format!(
                    "waiting for {busy} busy runners; the controller goes on if this is interrupted, and \
                     `deskrun remove {name}` waits again"
                ),
            )?;
        }
        let removed = controller.remove(name).await.with_context(|| {
            format!(
                "`{name}` may not be removed yet, and {} is kept: run `deskrun remove {name}` again",
                file.display()
            )
        })?;
        removed.with_context(|| {
            format!(
                "the controller at {} does not serve `{name}`: give `--socket` of the one that does, or stop it and run \
                 this again",
                controller.place()
            )
        })
    }

    /// Plays the controller for this one resource.
    async fn do_it_here(
        &self,
        mut input: Input,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<Removed> {
        telemetry::start(LogForm::Text, "warn");
        let mut signals = Signals::listen()?;
        input.scale_sets.retain(|validated| validated.scale_set.name == self.name);
        let place = Place::take(&self.place)?;
        printer.note("note", "no controller runs: the scale set is drained by this process")?;
        let (mut operator, _sources, desired) = assemble(&place, &self.engine, &self.cluster, &input, false).await?;
        operator.apply(desired, Order::Drain);
        let removal = operator.remove(&self.name).context("nothing is served under this name")?;
        tokio::select! {
            left = removal => Ok(Removed::new(left)),
            () = signals.any() => bail!(
                "interrupted: `{}` is not removed, and its file is kept; run `deskrun remove {}` again",
                self.name,
                self.name
            ),
        }
    }
}
