//! Runs one job: the job-started hook, the script, the job-completed hook; and reports the result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::end::Signal;
use super::hooks::CommandFiles;
use super::line::{Job, Line, Next};
use super::{JIT_CONFIG, Start};

/// Where jobs are done.
pub(super) struct Workshop<'a> {
    pub(super) start: &'a Start,
    pub(super) line: &'a Line,
}

/// How a job went.
pub(super) struct Outcome {
    /// `succeeded`, `failed`, `canceled`.
    pub(super) result: &'static str,
    /// The signal that ended it, if one did.
    pub(super) signal: Option<Signal>,
}

/// How one command of a job ended.
enum Ran {
    Ended(bool),
    Cancelled(Option<Signal>),
}

impl Workshop<'_> {
    pub(super) async fn run(
        &self,
        job: &Job,
        mut signals: watch::Receiver<Option<Signal>>,
        log: &impl Fn(&str),
    ) -> Outcome {
        let outcome = match self.steps(job, &mut signals, log).await {
            Ok(outcome) => outcome,
            Err(error) => {
                log(&format!("the job could not be run: {error}"));
                Outcome { result: "failed", signal: None }
            }
        };
        if let Err(error) = self.line.finish(outcome.result).await {
            log(&format!("the result could not be reported: {error}"));
        }
        outcome
    }

    async fn steps(
        &self,
        job: &Job,
        signals: &mut watch::Receiver<Option<Signal>>,
        log: &impl Fn(&str),
    ) -> std::io::Result<Outcome> {
        let folder = self.start.root.join("_work");
        std::fs::create_dir_all(&folder)?;
        let files = CommandFiles::create(&folder)?;
        let mut environment = self.start.environment.clone();
        // The real listener takes it out of its environment, so that no step sees it.
        environment.remove(JIT_CONFIG);
        environment.extend(job.env.clone());
        environment.extend(files.variables());
        let mut signal = None;
        let mut result = "succeeded";
        let started = self.start.environment.get("ACTIONS_RUNNER_HOOK_JOB_STARTED");
        let hook = started.map(|path| bash(Path::new(path)));
        let script = Command::new("sh");
        let steps = hook.into_iter().chain(job.script.as_ref().map(|text| shell(script, text)));
        for command in steps {
            match self.command(command, &environment, &folder, Some((job, &mut *signals)), log).await? {
                Ran::Ended(true) => files.apply(&mut environment),
                Ran::Ended(false) => {
                    result = "failed";
                    break;
                }
                Ran::Cancelled(by) => {
                    (result, signal) = ("canceled", by);
                    break;
                }
            }
        }
        // Runs whatever happened, and is not cancelled; its failure fails the job.
        if let Some(path) = self.start.environment.get("ACTIONS_RUNNER_HOOK_JOB_COMPLETED") {
            let ran = self.command(bash(Path::new(path)), &environment, &folder, None, log).await?;
            if matches!(ran, Ran::Ended(false)) && result == "succeeded" {
                result = "failed";
            }
        }
        Ok(Outcome { result, signal })
    }

    /// Runs one command with its output streamed; with `cancel`, until the job is cancelled or a signal comes.
    async fn command(
        &self,
        mut command: Command,
        environment: &BTreeMap<String, String>,
        folder: &PathBuf,
        cancel: Option<(&Job, &mut watch::Receiver<Option<Signal>>)>,
        log: &impl Fn(&str),
    ) -> std::io::Result<Ran> {
        let mut child = command
            .env_clear()
            .envs(environment)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let output = self.output(child.stdout.take(), child.stderr.take(), log);
        let Some((job, signals)) = cancel else {
            output.await;
            return Ok(Ran::Ended(child.wait().await?.success()));
        };
        let by = tokio::select! {
            () = output => return Ok(Ran::Ended(child.wait().await?.success())),
            () = self.cancelled(job) => None,
            signal = super::signalled(signals) => signal,
        };
        log("the job is cancelled");
        terminate(&mut child).await?;
        Ok(Ran::Cancelled(by))
    }

    /// Passes every line on until both streams end.
    async fn output(
        &self,
        out: Option<tokio::process::ChildStdout>,
        err: Option<tokio::process::ChildStderr>,
        log: &impl Fn(&str),
    ) {
        let (Some(out), Some(err)) = (out, err) else { return };
        let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let line = tokio::select! {
                line = out.next_line(), if out_open => line.unwrap_or_default().or_else(|| { out_open = false; None }),
                line = err.next_line(), if err_open => line.unwrap_or_default().or_else(|| { err_open = false; None }),
            };
            if let Some(line) = line {
                log(&line);
                self.line.log(line).await;
            }
        }
    }

    /// Ends when the simulator says that the job is cancelled.
    async fn cancelled(&self, job: &Job) {
        loop {
            match self.line.next(Some(&job.id)).await {
                Ok(Next::Gone) => return,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
            }
        }
    }
}

fn bash(script: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg("-e").arg(script);
    command
}

fn shell(mut command: Command, script: &str) -> Command {
    command.args(["-e", "-c", script]);
    command
}

/// Asks the whole process group to end, and waits until it has. What ignores that is killed.
async fn terminate(child: &mut Child) -> std::io::Result<()> {
    /// The real worker gives steps a few seconds.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    if let Some(id) = child.id() {
        Command::new("sh").args(["-c", &format!("kill -TERM -{id}")]).stderr(Stdio::null()).status().await?;
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}
