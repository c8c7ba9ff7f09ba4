//! `deskrun demo`: the main job, end to end, on this machine: a simulated GitHub, a Podman of its own, the controller as a
//! process, and jobs for `runs-on: rubionic-workspace-1`.

mod scene;
mod timeline;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{ExitCode, Printer};
use crate::simulator::JobRequest;
use scene::Scene;

/// The scale set that the demo serves.
const RUNS_ON: &str = "rubionic-workspace-1";
/// Nothing in it takes minutes; a machine that is slower than this has another problem.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Keep everything running afterwards, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Where everything is put, and taken away from again; below the cache folder if not given
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// A job of the demo, and how it is meant to end.
struct Act {
    name: &'static str,
    script: &'static str,
    conclusion: &'static str,
    count: u32,
}

/// One after the other; those of one act at once.
const ACTS: [Act; 4] = [
    Act {
        name: "fills the cache",
        script: "mkdir -p /home/runner/.cargo/registry && echo warm >/home/runner/.cargo/registry/demo",
        conclusion: "success",
        count: 1,
    },
    Act {
        name: "finds it filled",
        script: "test \"$(cat /home/runner/.cargo/registry/demo)\" = warm",
        conclusion: "success",
        count: 1,
    },
    Act { name: "fails", script: "echo this job is meant to fail >&2; exit 1", conclusion: "failure", count: 1 },
    Act { name: "one of ten", script: "sleep 1", conclusion: "success", count: 10 },
];

impl Demo {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let folder = self.folder.clone().map_or_else(scene::default_folder, Ok)?;
        printer.note("demo", &format!("everything goes to {} and is taken away again", folder.display()))?;
        let mut scene = Scene::set(&folder, printer).await?;
        let played = tokio::select! {
            played = play(&mut scene, printer) => played,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
        };
        if let Err(error) = &played {
            printer.note("demo", &format!("{error:#}; the end of the controller's log:\n{}", scene.log_tail()))?;
        }
        if self.keep && played.is_ok() {
            printer.note("demo", &scene.directions())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        let struck = scene.strike(printer).await;
        let good = played? & struck?;
        printer.note("demo", if good { "every job had its right result, and nothing is left" } else { "FAILED" })?;
        Ok(u8::from(!good))
    }
}

/// Queues the acts' jobs and waits for them; whether all ended as they should.
async fn play(scene: &mut Scene, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<bool> {
    for act in &ACTS {
        let plural = if act.count == 1 { "a job that" } else { "ten jobs at once, each" };
        printer.note("demo", &format!("{plural} {}", act.name))?;
        let request = JobRequest {
            labels: vec![RUNS_ON.to_owned()],
            count: Some(act.count),
            script: Some(act.script.to_owned()),
            conclusion: Some(act.conclusion.to_owned()),
            display_name: Some(act.name.to_owned()),
            ..JobRequest::default()
        };
        let ids = scene.simulator.queue(&request);
        wait_for(scene, &ids).await?;
    }
    let ledger = scene.simulator.ledger();
    let jobs = ledger["jobs"].as_array().cloned().unwrap_or_default();
    printer.data(&timeline::draw(&jobs, &names(&jobs)))?;
    let good = jobs.iter().zip(expected()).filter(|(job, conclusion)| job["conclusion"] == *conclusion).count();
    printer.data(&format!("{good} of {} jobs ended as they should\n", jobs.len()))?;
    Ok(good == jobs.len())
}

/// Conclusions in the order of queueing.
fn expected() -> impl Iterator<Item = &'static str> {
    ACTS.iter().flat_map(|act| (0..act.count).map(|_| act.conclusion))
}

fn names(jobs: &[Value]) -> Vec<&'static str> {
    let all = ACTS.iter().flat_map(|act| (0..act.count).map(|_| act.name));
    all.take(jobs.len()).collect()
}

async fn wait_for(scene: &mut Scene, ids: &[String]) -> anyhow::Result<()> {
    /// The simulator is in this process; looking is cheap.
    const LOOK: Duration = Duration::from_millis(50);
    let started = tokio::time::Instant::now();
    loop {
        let ledger = scene.simulator.ledger();
        let jobs = ledger["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = jobs.iter().filter(|job| ids.iter().any(|id| job["id"] == id.as_str()));
        if ours.clone().all(|job| job["status"] == "completed") {
            return Ok(());
        }
        scene.check_controller()?;
        if started.elapsed() > PATIENCE {
            bail!("a job has not ended after {} minutes", PATIENCE.as_secs() / 60);
        }
        tokio::time::sleep(LOOK).await;
    }
}
