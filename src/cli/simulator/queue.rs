//! `deskrun simulator queue`: queues jobs, and waits for them if asked.

use std::io::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::call;
use super::duration;
use crate::cli::{ExitCode, Printer};

/// What `queue` is told.
#[derive(Debug, Args)]
pub(in crate::cli) struct Queue {
    /// The simulator's `controlUrl`
    #[arg(long, value_name = "CONTROL")]
    url: String,
    /// Where the workflow is; without it any scale set with the labels may get the job
    #[arg(long, value_name = "O/R")]
    repository: Option<String>,
    /// A label the runner must have; may be repeated
    #[arg(long, value_name = "LABEL", required = true)]
    runs_on: Vec<String>,
    /// How many jobs
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// What the job executes
    #[arg(long, value_name = "SCRIPT")]
    run: Option<String>,
    /// How long the job takes at least
    #[arg(long, value_name = "DUR", value_parser = duration)]
    duration: Option<Duration>,
    /// How the job is meant to end
    #[arg(long, value_enum, default_value = "success")]
    conclusion: Conclusion,
    /// Return when all jobs have ended; 1 if one ended otherwise than asked
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Conclusion {
    Success,
    Failure,
}

impl Queue {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let queued = call(&self.url, Method::POST, "jobs", Some(&self.request())).await?;
        let ids: Vec<&str> = queued["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        printer.data(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        if !self.wait || ids.is_empty() {
            return Ok(0);
        }
        let path = format!("wait?ids={}", ids.join(","));
        let jobs = loop {
            let answer = call(&self.url, Method::GET, &path, None).await?;
            if answer["ended"] == true {
                break answer["jobs"].clone();
            }
        };
        self.judge(printer, &jobs)
    }

    fn request(&self) -> Value {
        json!({
            "repository": self.repository,
            "labels": self.runs_on,
            "count": self.count,
            "script": self.run,
            "durationSeconds": self.duration.map(|duration| duration.as_secs_f64()),
            "conclusion": self.wanted(),
        })
    }

    fn wanted(&self) -> &'static str {
        match self.conclusion {
            Conclusion::Success => "success",
            Conclusion::Failure => "failure",
        }
    }

    fn judge(&self, printer: &mut Printer<impl Write, impl Write>, jobs: &Value) -> anyhow::Result<ExitCode> {
        let mut code = 0;
        for job in jobs.as_array().into_iter().flatten().filter(|job| job["conclusion"] != self.wanted()) {
            let ended = job["conclusion"].as_str().or(job["status"].as_str()).unwrap_or("unknown");
            let id = job["id"].as_str().unwrap_or_default();
            printer.note("error", &format!("job {id} ended as {ended}, not {}", self.wanted()))?;
            code = 1;
        }
        Ok(code)
    }
}
