//! The Helm chart without a cluster: it lints, renders to its goldens, holds the definition that the program prints and a
//! dashboard of metrics that exist. What `deskrun up` applies is a rendering of it.
//!
//! A case is a folder in `testdata/chart` with `values.yaml` and the golden `expected.yaml` or `expected-error.txt`. The
//! custom resource definition is left out of them: it has a golden of its own, the chart's file.

#[path = "support/cluster/programs.rs"]
#[allow(dead_code)]
mod programs;
mod support;

use std::path::Path;
use std::process::{Command, ExitCode};

use deskrun::controller::ScaleSetStatus;
use deskrun::crd::deletion_policy;
use deskrun::metrics::{Metrics, Phase, ScaleSetLabels};
use deskrun::yaml;
use serde_json::{Value, json};
use support::command::deskrun;
use support::golden::{Case, Goldens, folders, name, run_suite};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/deskrun");

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let accept = Goldens::accepts(std::env::var("ACCEPT_DIFF").ok().as_deref());
    let mut cases: Vec<Case> = vec![
        case("the definition is the one that the program prints", "charts/deskrun/files", accept, definition),
        case("what `deskrun up` applies is the chart's", "templates/operator", accept, embedded),
        ("every metric of the dashboard exists".into(), Box::new(|_| dashboard())),
    ];
    for folder in folders(&root.join("testdata/chart")) {
        let name = name(&folder);
        cases.push((format!("values {name}"), Box::new(move |goldens| rendering(goldens, &name, &folder))));
    }
    run_suite(Goldens::new(root.join("testdata/chart"), "chart", accept), &["values.yaml"], cases)
}

/// A case whose golden is a file that is used, not test data.
fn case(name: &str, folder: &str, accept: bool, run: fn(&Goldens) -> Result<(), String>) -> Case {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    (name.to_owned(), Box::new(move |_| run(&Goldens::new(&root, "chart", accept))))
}

fn rendering(goldens: &Goldens, name: &str, folder: &Path) -> Result<(), String> {
    let values = folder.join("values.yaml");
    let values = values.to_str().ok_or("a path is text")?;
    match template(&["--namespace", "deskrun-system", "--values", values]) {
        Ok(text) => {
            let text = without_definition(&text);
            goldens.check(&format!("{name}/expected.yaml"), &text)?;
            understood(&documents(&text)?)?;
            helm(&["lint", "--strict", "--quiet", CHART, "--values", values]).map(drop)
        }
        Err(error) => goldens.check(&format!("{name}/expected-error.txt"), &error.replace(CHART, "charts/deskrun")),
    }
}

/// The program knows the arguments that the deployment gives it.
fn understood(objects: &[Value]) -> Result<(), String> {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").ok_or("there is no deployment")?;
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
    let mut arguments: Vec<&str> = arguments.into_iter().flatten().filter_map(Value::as_str).collect();
    // Asked last, so that what stands before it is read.
    arguments.push("--help");
    let finished = deskrun(Path::new("."), &arguments);
    if finished.code == Some(0) { Ok(()) } else { Err(format!("{arguments:?}: {}", finished.stderr)) }
}

fn definition(goldens: &Goldens) -> Result<(), String> {
    let printed = deskrun(Path::new("."), &["crd"]);
    goldens.check("runnerscalesets.yaml", &printed.stdout)?;
    goldens.check("foreground-deletion.yaml", &yaml::write_stream(&deletion_policy()))?;
    let rendered = template(&["--show-only", "templates/definition.yaml"])?;
    let mut rendered = documents(&rendered)?.pop().ok_or("there is no definition")?;
    let metadata = rendered["metadata"].as_object_mut().ok_or("an object has metadata")?;
    let policy = metadata.remove("annotations").unwrap_or_default();
    if policy != json!({"helm.sh/resource-policy": "keep"}) {
        return Err(format!("the definition would go with the release: {policy}"));
    }
    metadata.remove("labels");
    if rendered != deskrun::crd::definition() {
        return Err("the chart's template does not print the definition as it is in the chart's file".to_owned());
    }
    Ok(())
}

/// What the program applies without Helm: the chart's own rendering, with placeholders and without Helm's marks.
fn embedded(goldens: &Goldens) -> Result<(), String> {
    for (file, everywhere) in [("namespaced.yaml", "false"), ("all-namespaces.yaml", "true")] {
        let text = template(&[
            "--namespace=OPERATOR_NAMESPACE",
            "--set=crds.install=false,image.repository=OPERATOR,image.tag=IMAGE",
            "--set=runnerNamespace.name=runner-namespace",
            // Who serves every namespace has no need of one more.
            &format!("--set=watchAllNamespaces={everywhere},runnerNamespace.create={}", everywhere == "false"),
        ])?;
        let text = text.replace("OPERATOR:IMAGE", "OPERATOR_IMAGE").replace("runner-namespace", "RUNNER_NAMESPACE");
        let mut objects = documents(&text)?;
        objects.iter_mut().for_each(unmark);
        goldens.check(file, &yaml::write_stream(&objects))?;
    }
    Ok(())
}

fn unmark(value: &mut Value) {
    if let Some(labels) = value.as_object_mut().filter(|map| map.contains_key("helm.sh/chart")) {
        labels.remove("helm.sh/chart");
        labels["app.kubernetes.io/managed-by"] = json!("deskrun");
    }
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(annotations)) = map.get_mut("annotations") {
                annotations.retain(|key, _| !key.starts_with("helm.sh/"));
                if annotations.is_empty() {
                    map.remove("annotations");
                }
            }
            map.values_mut().for_each(unmark);
        }
        Value::Array(items) => items.iter_mut().for_each(unmark),
        _ => {}
    }
}

fn dashboard() -> Result<(), String> {
    let file = Path::new(CHART).join("files/dashboard.json");
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let dashboard: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let panels = dashboard["panels"].as_array().ok_or("a dashboard has panels")?;
    let expressions = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut expressions: Vec<&str> = expressions.filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() >= panels.len(), "every panel asks for something");
    expressions.extend(dashboard["templating"]["list"][1]["query"].as_str());
    let exported = exported();
    for expression in expressions {
        for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("deskrun_") && !exported.lines().any(|line| line.starts_with(&format!("{word}{{"))) {
                return Err(format!("there is no metric {word}, which the dashboard asks for: {expression}"));
            }
        }
    }
    Ok(())
}

/// Every metric with a value.
fn exported() -> String {
    let metrics = Metrics::default();
    let here = ScaleSetLabels { scale_set: "ws".to_owned(), resource: "ci/ws".to_owned() };
    metrics.job_started(&here, Some(1.0));
    metrics.job_completed(&here, "succeeded", Some(1.0));
    metrics.runner_created(&here);
    metrics.runner_removed(&here, "idle");
    metrics.runner_failed(&here);
    metrics.phase(&here, Phase::Register, 1.0);
    metrics.github_called("jit-config");
    let status = ScaleSetStatus { name: "ws".to_owned(), ..ScaleSetStatus::default() };
    let slots = [("/nvme/docker".to_owned(), [(0, "ws-1".to_owned())].into())].into();
    metrics.text(&[status], &slots)
}

/// The text of the other documents, comments and all.
fn without_definition(text: &str) -> String {
    let documents = text.split_inclusive("\n---\n");
    documents.filter(|document| !document.contains("\nkind: CustomResourceDefinition\n")).collect()
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    let trees = yaml::read(text).map_err(|error| error.to_string())?;
    Ok(trees.iter().map(yaml::Tree::to_json).collect())
}

/// The chart rendered for a cluster as it is tested with; a Helm that was built from source takes another version for granted.
fn template(arguments: &[&str]) -> Result<String, String> {
    helm(&[&["template", "deskrun", CHART, "--kube-version=1.34.4"], arguments].concat())
}

/// What Helm prints; the error is what it says.
fn helm(arguments: &[&str]) -> Result<String, String> {
    let program = programs::helm()?;
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
    if output.status.success() { text(output.stdout) } else { Err(text(output.stderr)?) }
}
