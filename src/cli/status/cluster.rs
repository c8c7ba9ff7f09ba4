//! `deskrun status` on a cluster: what the operator says of its scale sets, and the runners' pods.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::pin::pin;

use futures::StreamExt;
use futures::stream::select;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CLEAR, Status, engine};
use crate::cli::cluster::Cluster;
use crate::cli::list::limits;
use crate::cli::output::{NOTHING, Table, one_line};
use crate::cli::scale_sets::{Found, changes, list, named};
use crate::cli::snapshot::snapshot;
use crate::cli::{ExitCode, Printer};
use crate::engine::kubernetes::{KubernetesEngine, Scope};
use crate::engine::{Engine, Observation, ObservedRunner};
use crate::operator::STATUS_VERSION;

pub(super) async fn run(status: &Status, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
    let cluster = status.cluster.connect().await?;
    let engine = KubernetesEngine::new(cluster.client.clone(), Scope::Namespace(cluster.namespace.clone()));
    if status.watch {
        return watch(status, &cluster, &engine, printer).await;
    }
    let view = View { scale_sets: find(status, &cluster).await?, runners: snapshot(&engine).await? };
    if view.scale_sets.is_empty() {
        let words = format!("there is no RunnerScaleSet in {}: `deskrun up` puts some there", cluster.namespace);
        printer.note("note", &words)?;
    }
    printer.data(&view.show(status))?;
    Ok(0)
}

async fn watch(
    status: &Status,
    cluster: &Cluster,
    engine: &KubernetesEngine,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<ExitCode> {
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    // What comes at once is shown at once.
    let events = select(changes(cluster, &cluster.namespace).map(|()| None), engine.observe().map(Some));
    let mut events = pin!(events.ready_chunks(1024));
    let mut runners = BTreeMap::new();
    let (mut shown, mut scale_sets, mut trouble) = (None, Vec::new(), None);
    while let Some(events) = events.next().await {
        for observation in events.into_iter().flatten() {
            take(&mut runners, observation, printer)?;
        }
        let runners = runners.values().cloned().collect();
        // An API server that restarts, or a scale set that goes, does not end a watch that has begun.
        match find(status, cluster).await {
            Ok(found) => (scale_sets, trouble) = (found, None),
            Err(error) if shown.is_none() => return Err(error),
            Err(error) => {
                let words = Some(format!("{error:#}"));
                if words != trouble {
                    printer.note("warning", words.as_deref().unwrap_or_default())?;
                    trouble = words;
                }
            }
        }
        let view = View { scale_sets: scale_sets.clone(), runners };
        // An age alone is no news.
        let state = view.json(status);
        if shown.as_ref() != Some(&state) {
            printer.data(&format!("{clear}{}", view.show(status)))?;
            shown = Some(state);
        }
    }
    Ok(0)
}

fn take(
    runners: &mut BTreeMap<String, ObservedRunner>,
    observation: Observation,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<()> {
    match observation {
        Observation::Snapshot(all) => *runners = all.into_iter().map(|runner| (runner.name.clone(), runner)).collect(),
        Observation::Changed(runner) => drop(runners.insert(runner.name.clone(), runner)),
        Observation::Gone(name) => drop(runners.remove(&name)),
        Observation::Unreachable(words) => printer.note("warning", &words)?,
    }
    Ok(())
}

/// What was asked for.
async fn find(status: &Status, cluster: &Cluster) -> anyhow::Result<Vec<Found>> {
    let found = list(cluster, Some(&cluster.namespace)).await?;
    match &status.name {
        None => Ok(found),
        Some(name) => Ok(vec![named(found, name, &cluster.namespace)?]),
    }
}

struct View {
    scale_sets: Vec<Found>,
    runners: Vec<ObservedRunner>,
}

impl View {
    /// The runners of the scale sets that are shown.
    fn its_runners(&self, status: &Status) -> Vec<ObservedRunner> {
        let is_its = |runner: &&ObservedRunner| status.name.as_ref().is_none_or(|name| runner.owner.resource == *name);
        self.runners.iter().filter(is_its).cloned().collect()
    }

    fn show(&self, status: &Status) -> String {
        let runners = self.its_runners(status);
        status.output.text(&self.json(status), || {
            let mut text = if self.scale_sets.is_empty() { String::new() } else { table(&self.scale_sets) };
            if !runners.is_empty() {
                text.push('\n');
                text.push_str(&engine::table(&runners, Timestamp::now()));
            }
            text
        })
    }

    fn json(&self, status: &Status) -> Value {
        let scale_set = |found: &Found| {
            let (min, max) = limits(found);
            json!({
                "name": found.name(),
                "namespace": found.namespace(),
                "deleting": found.is_going(),
                "minRunners": min,
                "maxRunners": max,
                "status": found.status(),
            })
        };
        let scale_sets: Vec<Value> = self.scale_sets.iter().map(scale_set).collect();
        let runners = engine::json(&self.its_runners(status));
        json!({
            "version": STATUS_VERSION, "source": "cluster", "scaleSets": scale_sets, "runners": runners["runners"],
        })
    }
}

fn table(scale_sets: &[Found]) -> String {
    let heading = ["SCALE SET", "READY", "JOBS", "IDLE/BUSY/STARTING", "MIN-MAX"];
    let mut table = Table::new(&heading);
    for found in scale_sets {
        let (status, (min, max)) = (found.status(), limits(found));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        table.row([
            found.name().to_owned(),
            ready.map_or_else(|| NOTHING.to_owned(), |ready| ready.status.clone()),
            status.jobs.map_or_else(|| NOTHING.to_owned(), |jobs| jobs.to_string()),
            format!("{}/{}/{}", status.idle_runners, status.busy_runners, status.pending_runners),
            format!("{min}-{max}"),
        ]);
        for remark in remarks(found) {
            table.remark(&one_line(&remark));
        }
    }
    table.text()
}

/// Why it is not simply ready; each thing is said once.
fn remarks(found: &Found) -> Vec<String> {
    let status = found.status();
    let mut remarks = Vec::new();
    if status.conditions.is_empty() {
        remarks.push("no operator has looked at it yet".to_owned());
    }
    for condition in &status.conditions {
        let is_news = match condition.type_.as_str() {
            "Degraded" | "LabelsPending" => condition.status == "True",
            "Ready" => condition.status != "True",
            _ => false,
        };
        let remark = format!("{}: {}", condition.reason, condition.message);
        if is_news && !remarks.iter().any(|said: &String| said.ends_with(&condition.message)) {
            remarks.push(remark);
        }
    }
    if let Some(error) = status.last_error.filter(|error| !remarks.iter().any(|said| said.contains(error))) {
        remarks.push(format!("last error: {error}"));
    }
    remarks
}
