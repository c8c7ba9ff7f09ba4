//! The stand-in for GitHub's runner process: takes a JIT config, goes online at a simulator, runs one job's script for
//! real, reports its result, and ends as the real one's container does (`runner-pods.md` 8).
//!
//! It speaks the simulator's own routes (`router/runner.rs`), not those of GitHub's runner.

mod end;
mod hooks;
mod jit;
mod line;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

pub use end::{End, Signal};
use jit::Registration;
use line::{Connected, Job, Line, Next};
use work::{Outcome, Workshop};

/// The variable with the JIT config, as for the real runner.
pub const JIT_CONFIG: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG";
/// A session conflict is met again this often …
const CONFLICT_RETRY: Duration = Duration::from_secs(30);
/// … so many times, before the runner gives up.
const CONFLICT_RETRIES: u32 = 8;

/// How a stand-in misbehaves, for tests of those who look after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Never goes online.
    NeverOnline,
    /// Does its job and does not end.
    Hang,
    /// Ends at once with this exit code.
    ExitEarly(u8),
    /// Takes no notice of SIGTERM.
    IgnoreTerm,
    /// Stays although its registration is gone.
    Ghost,
    /// Is told that its version is too old.
    VersionRefused,
}

/// What a stand-in is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its environment, the JIT config among it.
    pub environment: BTreeMap<String, String>,
    /// Folder of the runner; the work folder lies below.
    pub root: PathBuf,
    /// Whether it runs as uid 0.
    pub is_root: bool,
    /// What it does wrong.
    pub misbehaviour: Option<Misbehaviour>,
}

/// Runs until the job is done, the registration is gone, or a signal comes. `log` gets every line of output.
pub async fn run(start: Start, mut signals: watch::Receiver<Option<Signal>>, log: impl Fn(&str)) -> End {
    let allowed = start.environment.get("RUNNER_ALLOW_RUNASROOT").is_some_and(|value| !value.is_empty());
    if start.is_root && !allowed {
        log("Must not run interactively with sudo");
        return End::Misconfigured;
    }
    match start.misbehaviour {
        Some(Misbehaviour::ExitEarly(code)) => return End::Code(code),
        Some(Misbehaviour::VersionRefused) => return End::version_refused(&start.environment),
        Some(Misbehaviour::NeverOnline) => return End::of(signalled(&mut signals).await),
        _ => {}
    }
    let ignores = start.misbehaviour == Some(Misbehaviour::IgnoreTerm);
    let (_never, nothing) = watch::channel(None);
    let mut signals = if ignores { nothing } else { signals };
    let config = start.environment.get(JIT_CONFIG).map(String::as_str).unwrap_or_default();
    let registration = match Registration::decode(config) {
        Ok(registration) => registration,
        // The real wrapper ends with 0 here as well: exit 0 does not mean that a job ran.
        Err(error) => {
            log(&format!("the JIT config cannot be used: {error}"));
            return End::Done;
        }
    };
    let line = Line::new(&registration);
    let waited = tokio::select! {
        waited = wait_for_job(&start, &registration, &line, &log) => waited,
        signal = signalled(&mut signals) => Err(End::of(signal)),
    };
    let job = match waited {
        Ok(job) => job,
        Err(end) => return end,
    };
    log(&format!("Running job: {}", job.display_name));
    let workshop = Workshop { start: &start, line: &line };
    let Outcome { result, signal } = workshop.run(&job, signals, &log).await;
    log(&format!("Job {} completed with result: {result}", job.display_name));
    if start.misbehaviour == Some(Misbehaviour::Hang) {
        std::future::pending::<()>().await;
    }
    End::of(signal)
}

/// Goes online and waits for a job; the error is the end that came first.
async fn wait_for_job(
    start: &Start,
    registration: &Registration,
    line: &Line,
    log: &impl Fn(&str),
) -> Result<Job, End> {
    if !connect(line, log).await {
        return Err(stay_or_end(start).await);
    }
    log(&format!("{} is online, listening for jobs", registration.name));
    loop {
        match line.next(None).await {
            Ok(Next::Nothing) => {}
            Ok(Next::Gone) => {
                log("the runner no longer exists on the server");
                return Err(stay_or_end(start).await);
            }
            Ok(Next::Job(job)) => return Ok(job),
            Err(error) => {
                log(&format!("cannot ask for a job: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether it went online. A session conflict is retried for four minutes; then the real runner gives up as well.
async fn connect(line: &Line, log: &impl Fn(&str)) -> bool {
    for _ in 0..CONFLICT_RETRIES {
        match line.connect().await {
            Ok(Connected::Online) => return true,
            Ok(Connected::Gone) => {
                log("the runner does not exist on the server");
                return false;
            }
            Ok(Connected::Conflict) => log("a session for this runner already exists"),
            Err(error) => log(&format!("cannot go online: {error}")),
        }
        tokio::time::sleep(CONFLICT_RETRY).await;
    }
    false
}

async fn stay_or_end(start: &Start) -> End {
    if start.misbehaviour == Some(Misbehaviour::Ghost) {
        std::future::pending::<()>().await;
    }
    End::Done
}

async fn signalled(signals: &mut watch::Receiver<Option<Signal>>) -> Option<Signal> {
    let signal = signals.wait_for(Option::is_some).await.map(|signal| *signal);
    match signal {
        Ok(signal) => signal,
        // No one is left to send any.
        Err(_) => std::future::pending().await,
    }
}
