//! `deskrun list` on a cluster: its `RunnerScaleSet`s.

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::List;
use crate::cli::output::{NOTHING, Table, age};
use crate::cli::scale_sets::{Found, list};
use crate::cli::up::condition;
use crate::cli::{ExitCode, Printer};
use crate::crd::limits::MAX_RUNNERS_DEFAULT;

pub(super) async fn run(arguments: &List, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
    let cluster = arguments.cluster.connect().await?;
    let found = list(&cluster, Some(&cluster.namespace)).await?;
    if found.is_empty() {
        let words = format!("there is no RunnerScaleSet in {}: `deskrun up` puts some there", cluster.namespace);
        printer.note("note", &words)?;
    }
    let data: Value = found.iter().map(json).collect();
    printer.data(&arguments.output.text(&data, || table(&found, Timestamp::now())))?;
    Ok(0)
}

fn table(all: &[Found], now: Timestamp) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["NAME", "REPOSITORY", "MODE", "MIN-MAX", "INSTANCES", "READY", "AGE"]);
    for found in all {
        let (min, max) = limits(found);
        table.row([
            found.name().to_owned(),
            found.text("githubConfigUrl").to_owned(),
            found.text("containerMode").to_owned(),
            format!("{min}-{max}"),
            found.number("instances").unwrap_or(1).to_string(),
            ready(found).unwrap_or_else(|| NOTHING.to_owned()),
            age(found.created_at(), now),
        ]);
    }
    table.text()
}

/// The least and the most runners.
pub(in crate::cli) fn limits(found: &Found) -> (u32, u32) {
    (found.number("minRunners").unwrap_or(0), found.number("maxRunners").unwrap_or(MAX_RUNNERS_DEFAULT))
}

/// `True`, `False`, `Unknown`; nothing where no operator has looked at it.
fn ready(found: &Found) -> Option<String> {
    condition(&found.json(), "Ready")?["status"].as_str().map(str::to_owned)
}

fn json(found: &Found) -> Value {
    let (min, max) = limits(found);
    json!({
        "name": found.name(),
        "namespace": found.namespace(),
        "repository": found.text("githubConfigUrl"),
        "mode": found.text("containerMode"),
        "minRunners": min,
        "maxRunners": max,
        "instances": found.number("instances").unwrap_or(1),
        "ready": ready(found),
    })
}
