//! `deskrun doctor`: what a host or a cluster lacks for what files ask for. It looks and tries out, and changes nothing.
//!
//! Facts are gathered in `host`, `cluster` and `github`; what they mean is decided in `findings` and `cluster_findings`.

mod cluster;
mod cluster_findings;
mod findings;
mod github;
mod host;

use std::io::Write;

use clap::Args;
use serde_json::json;

use self::findings::{Finding, Level};
use super::cluster::ClusterArguments;
use super::installed::DEFAULT_NAMESPACE;
use super::output::Output;
use super::run::{EngineArguments, Files};
use super::{ExitCode, Printer};
use crate::manifest::EngineKind;

/// The exit code is 1 if there is a problem.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Files with `RunnerScaleSet` and `PodmanHost` documents; those of `deskrun add` if not given
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Do not try the credentials out at GitHub
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// In a cluster: namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    operator_namespace: String,
}

impl Doctor {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let input = Files::of(&self.files)?.look()?;
        let all = if self.engine.means_resources(&self.cluster) {
            cluster::look(&self.cluster, Some(&self.operator_namespace), input, self.offline).await?
        } else if self.engine.kind() == EngineKind::Kubernetes {
            cluster::look(&self.cluster, None, input, self.offline).await?
        } else {
            let mut all = host::look(&self.engine, &input).await;
            let scale_sets = input.scale_sets.iter().map(|validated| &validated.scale_set);
            all.extend(github::of_files(scale_sets, true, self.offline).await);
            all
        };
        let healthy = all.iter().all(|finding| finding.level != Level::Problem);
        printer.data(&self.output.text(&json!(all), || all.iter().map(Finding::line).collect()))?;
        Ok(u8::from(!healthy))
    }
}
