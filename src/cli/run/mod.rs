//! `deskrun run`: the controller, standalone.

mod desired;
mod engine;
mod files;
mod place;
mod socket;
mod stand_in;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::{ExitCode, Printer};
use crate::controller::{Order, Shared, Slots};
use crate::github::Environment;
use crate::metrics::Metrics;
use crate::operator::{Handle, Operator, admin_router, status_router};
use crate::telemetry::{self, LogForm};
use desired::Sources;
use engine::EngineArguments;
use files::Files;
use place::Place;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Files with `RunnerScaleSet` and `PodmanHost` documents; without any, those of `deskrun add`, which are watched
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Serves `/metrics`, `/healthz` and `/readyz` here
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Where `deskrun status` asks; `$XDG_RUNTIME_DIR/deskrun.sock` if not given
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where the ids of message sessions are kept; `${XDG_STATE_HOME:-~/.local/state}/deskrun` if not given
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Id of this controller, by which it knows its own runners; made of this host and the state folder if not given
    #[arg(long, value_name = "ID")]
    controller: Option<String>,
    /// Keep no JIT config in stock: a job's runner then costs a round trip to GitHub
    #[arg(long)]
    no_stock: bool,
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

impl Run {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let form = if self.log == Form::Json { LogForm::Json } else { LogForm::Text };
        telemetry::start(form, &self.log_filter);
        // Before anything is begun: whoever started us may end us at once.
        let mut signals = Signals::listen()?;
        let place = Place::take(self.state.as_deref(), self.socket.as_deref(), self.controller.as_deref())?;
        let files = Files::of(&self.files)?;
        let input = files.read()?;
        for warning in input.scale_sets.iter().flat_map(|validated| &validated.warnings) {
            printer.warning(warning)?;
        }
        let environment = Environment::system();
        let metrics = Metrics::default();
        let engine = self.engine.connect(&input, &environment)?;
        let mut sources = Sources::new(environment.clone(), metrics.clone(), place.clone(), engine.kind);
        let desired = sources.desired(&input)?;
        let shared = Shared {
            engine: engine.engine,
            environment,
            slots: Slots::default(),
            metrics,
            calls: Shared::calls(),
            owner: place.owner(),
            keeps_stock: !self.no_stock,
        };
        let mut operator = Operator::start(shared, place.controller.clone());
        operator.apply(desired, Order::Drain);
        let operator: Handle = Arc::new(Mutex::new(operator));
        let reload = Arc::new(Notify::new());
        let _watch = files.watch(Arc::clone(&reload))?;
        let status = place.bind()?;
        tokio::spawn(socket::serve(status, status_router(Arc::clone(&operator), Arc::clone(&reload))));
        if let Some(address) = &self.metrics {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("cannot serve metrics on {address}"))?;
            let router = admin_router(Arc::clone(&operator));
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        loop {
            tokio::select! {
                () = reload.notified() => again(&files, &mut sources, &operator),
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

/// Reads the files anew; what cannot be read leaves everything as it is.
fn again(files: &Files, sources: &mut Sources, operator: &Handle) {
    let desired = files.read().and_then(|input| sources.desired(&input));
    match desired {
        Ok(desired) => operator.lock().unwrap_or_else(PoisonError::into_inner).apply(desired, Order::Drain),
        Err(error) => tracing::error!("the files are left as they were read before: {error:#}"),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
