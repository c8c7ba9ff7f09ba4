//! `deskrun run`: the controller, standalone. Its pieces also serve `deskrun remove` where no controller runs.

mod assemble;
mod desired;
mod engine;
mod files;
mod place;
mod signals;
mod socket;
mod stand_in;
mod watch;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use super::cluster::ClusterArguments;
use super::{ExitCode, Printer};
use crate::controller::Order;
use crate::operator::{Handle, admin_router, status_router};
use crate::problem::Problems;
use crate::telemetry::{self, LogForm};
pub(super) use assemble::assemble;
use desired::Sources;
pub(super) use desired::{load as load_credentials, service, service_key, service_with, specifications};
pub(super) use engine::EngineArguments;
pub(super) use files::{Files, configuration_folder, configured};
pub(super) use place::{Place, PlaceArguments, controller_id, socket_path};
pub(super) use signals::Signals;
pub use stand_in::StandIn;
use watch::{Watch, settled};

/// Commands that wait for the files to be read anew; few people type at once.
const REQUESTS: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Files with `RunnerScaleSet` and `PodmanHost` documents; without any, those of `deskrun add`, which are watched
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Serves `/metrics`, `/healthz` and `/readyz` here
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    #[command(flatten)]
    place: PlaceArguments,
    /// Keep no JIT config in stock: a job's runner then costs a round trip to GitHub
    #[arg(long)]
    no_stock: bool,
    #[command(flatten)]
    log: LogArguments,
}

/// What a long-running command is told about its log.
#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// Form of the log on stderr
    #[arg(long, value_enum, default_value_t = Form::Text)]
    log: Form,
    /// What is logged, as `RUST_LOG` has it; audit records always are
    #[arg(long, value_name = "FILTER", env = "DESKRUN_LOG", default_value = "info")]
    log_filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One object a line
    Json,
}

impl LogArguments {
    pub(super) fn start(&self) {
        let form = if self.log == Form::Json { LogForm::Json } else { LogForm::Text };
        telemetry::start(form, &self.log_filter);
    }
}

impl Run {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        self.log.start();
        // Before anything is begun: whoever started us may end us at once.
        let mut signals = Signals::listen()?;
        let place = Place::take(&self.place)?;
        let files = Files::of(&self.files)?;
        let input = files.read()?;
        for warning in input.scale_sets.iter().flat_map(|validated| &validated.warnings) {
            printer.warning(warning)?;
        }
        // Whatever may be refused comes before anything is begun.
        let metrics = match &self.metrics {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.with_context(|| format!("cannot serve metrics on {address}"))?)
            }
            None => None,
        };
        let changed = Arc::new(Notify::new());
        let mut watch = files.watch(Arc::clone(&changed))?;
        let status = place.bind()?;
        let assembled = assemble(&place, &self.engine, &self.cluster, &input, !self.no_stock).await;
        let (mut operator, mut sources, desired) = assembled.inspect_err(|_| place.leave())?;
        watch.credentials(sources.credential_files());
        operator.apply(desired, Order::Drain);
        let operator: Handle = Arc::new(Mutex::new(operator));
        let (reload, mut requests) = mpsc::channel(REQUESTS);
        tokio::spawn(socket::serve(status, status_router(Arc::clone(&operator), reload)));
        if let Some(listener) = metrics {
            let router = admin_router(Arc::clone(&operator));
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        loop {
            tokio::select! {
                () = settled(&changed) => drop(again(&files, &mut sources, &mut watch, &operator)),
                // Whoever asks may be gone when the answer is there.
                Some(request) = requests.recv() => {
                    drop(request.send(again(&files, &mut sources, &mut watch, &operator)));
                }
                () = signals.any() => break,
            }
        }
        tracing::info!("ending: idle runners are taken out, busy ones are left to the next start");
        let ended = operator.lock().unwrap_or_else(PoisonError::into_inner).end(Order::Drain);
        let left = tokio::select! {
            left = ended => left,
            () = signals.any() => anyhow::bail!("ended at once by a second signal; the next start tidies up"),
        };
        for (scale_set, words) in &left {
            printer.note("left behind", &format!("{scale_set}: {words}"))?;
        }
        place.leave();
        Ok(0)
    }
}

/// Reads the files anew; what cannot be read leaves everything as it is, and the error says why.
fn again(files: &Files, sources: &mut Sources, watch: &mut Watch, operator: &Handle) -> Result<(), String> {
    let desired = files.read().and_then(|input| sources.desired(&input));
    // Also if it failed: what is missing may be one of them.
    watch.credentials(sources.credential_files());
    match desired {
        Ok(desired) => operator.lock().unwrap_or_else(PoisonError::into_inner).apply(desired, Order::Drain),
        Err(error) => {
            tracing::error!("the files are left as they were read before: {error:#}");
            return Err(words(&error));
        }
    }
    Ok(())
}

/// An error in one text; all problems of files with their places.
fn words(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        None => format!("{error:#}"),
    }
}
