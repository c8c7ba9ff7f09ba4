//! Golden suite: what `deskrun render` prints, for every case in `testdata/render` and every file in `examples`.
//!
//! A case is a folder with `input.yaml`, further arguments in `arguments` (one per line), and the goldens
//! `expected.yaml` (or `expected.txt` for other forms), `notes.txt` (stderr), or `expected-error.txt`.

mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use support::checker;
use support::command::{deskrun, lines};
use support::golden::{Case, Goldens, folders, name, run_suite};

const INPUTS: &[&str] = &["input.yaml", "arguments", "layer.yaml", "other.yaml"];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let accept = Goldens::accepts(std::env::var("ACCEPT_DIFF").ok().as_deref());
    let goldens = Goldens::new(root.join("testdata/render"), "render", accept);
    let mut cases: Vec<Case> = Vec::new();
    for folder in folders(&root.join("testdata/render")) {
        if folder.join("input.yaml").exists() {
            let name = name(&folder);
            cases.push((name.clone(), Box::new(move |goldens| case(goldens, &name, &folder, "input.yaml"))));
        }
    }
    for example in examples(&root.join("examples")) {
        let stem = example.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let file = format!("{stem}.yaml");
        let folder = root.join("examples");
        let name = format!("example-{stem}");
        cases.push((name.clone(), Box::new(move |goldens| case(goldens, &name, &folder, &file))));
    }
    run_suite(goldens, INPUTS, cases)
}

fn examples(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn case(goldens: &Goldens, name: &str, folder: &Path, file: &str) -> Result<(), String> {
    let further = lines(&folder.join("arguments"));
    let mut arguments = vec!["render", file];
    arguments.extend(further.iter().map(String::as_str));
    let finished = deskrun(folder, &arguments);
    match finished.code {
        Some(0) => {
            if !finished.stderr.is_empty() {
                goldens.check(&format!("{name}/notes.txt"), &finished.stderr)?;
            }
            let manifests = !further.iter().any(|argument| {
                ["--explain", "--check", "--show-layers", "table", "json"].contains(&argument.as_str())
            });
            let golden = if manifests { "expected.yaml" } else { "expected.txt" };
            goldens.check(&format!("{name}/{golden}"), &finished.stdout)?;
            if manifests { check_manifests(&finished.stdout) } else { Ok(()) }
        }
        _ if !finished.stdout.is_empty() => Err(format!("a failed run printed data: {}", finished.stdout)),
        Some(1) => goldens.check(&format!("{name}/expected-error.txt"), &finished.stderr),
        code => Err(format!("exit code {code:?}: {}", finished.stderr)),
    }
}

fn check_manifests(text: &str) -> Result<(), String> {
    let objects: Vec<_> =
        deskrun::yaml::read(text).map_err(|e| e.to_string())?.iter().map(deskrun::yaml::Tree::to_json).collect();
    match checker::check(&objects).as_slice() {
        [] => Ok(()),
        faults => Err(format!("the checker found:\n{}", faults.join("\n"))),
    }
}
