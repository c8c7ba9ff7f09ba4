//! Golden files: what a case produces is compared with a file; `ACCEPT_DIFF=1` rewrites the file instead.
//!
//! A golden that no case produces fails a full run, and an accepting full run deletes it. A run with a filter sees only
//! some cases, so it leaves the others' goldens alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use similar::TextDiff;

/// The goldens below a folder, compared and collected by the cases of one suite.
pub struct Goldens {
    root: PathBuf,
    suite: String,
    accept: bool,
    produced: Mutex<BTreeSet<PathBuf>>,
}

impl Goldens {
    /// The goldens of `suite`, which `cargo test --test SUITE` runs, below `root`.
    pub fn new(root: impl Into<PathBuf>, suite: &str, accept: bool) -> Self {
        Self { root: root.into(), suite: suite.to_owned(), accept, produced: Mutex::default() }
    }

    /// Whether the user asked to rewrite: only `ACCEPT_DIFF=1` does.
    pub fn accepts(value: Option<&str>) -> bool {
        value == Some("1")
    }

    /// Compares `actual` with the golden at `path` below the root. The error is a readable diff.
    pub fn check(&self, path: &str, actual: &str) -> Result<(), String> {
        let file = self.root.join(path);
        self.produced.lock().expect("no case panics while it holds the lock").insert(file.clone());
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected == actual && file.exists() {
            return Ok(());
        }
        if self.accept {
            let parent = file.parent().ok_or("a golden lies in a folder")?;
            fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
            return fs::write(&file, actual).map_err(|error| format!("{}: {error}", file.display()));
        }
        let diff = TextDiff::from_lines(expected.as_str(), actual)
            .unified_diff()
            .context_radius(3)
            .header(&format!("{} (expected)", file.display()), "produced")
            .to_string();
        Err(format!("{diff}\nto accept: ACCEPT_DIFF=1 cargo test --test {}", self.suite))
    }

    /// After a full run: goldens that nothing produced. `inputs` are the names of files that are not goldens.
    pub fn check_leftovers(&self, inputs: &[&str]) -> Result<(), String> {
        let produced = self.produced.lock().expect("no case panics while it holds the lock");
        let is_input =
            |file: &Path| file.file_name().and_then(|name| name.to_str()).is_some_and(|n| inputs.contains(&n));
        let left: Vec<PathBuf> =
            files(&self.root).into_iter().filter(|file| !produced.contains(file) && !is_input(file)).collect();
        if self.accept {
            return left
                .iter()
                .try_for_each(|file| fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display())));
        }
        match left.as_slice() {
            [] => Ok(()),
            left => Err(format!(
                "no case produces these goldens: {left:?}\nto delete them: ACCEPT_DIFF=1 cargo test --test {}",
                self.suite
            )),
        }
    }
}

/// All files below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The folders of a folder, in order: the cases of a suite.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The name of a case.
pub fn name(folder: &Path) -> String {
    folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}

/// A case of a suite: its name, and what it does.
pub type Case = (String, Box<dyn Fn(&Goldens) -> Result<(), String> + Send>);

/// Runs the cases of a suite, each as a test of its own, and looks for leftovers after a full run.
pub fn run_suite(goldens: Goldens, inputs: &'static [&'static str], cases: Vec<Case>) -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Failed, Trial};
    let arguments = Arguments::from_args();
    let full = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let goldens = std::sync::Arc::new(goldens);
    let trials = cases
        .into_iter()
        .map(|(name, case)| {
            let goldens = std::sync::Arc::clone(&goldens);
            Trial::test(name, move || case(&goldens).map_err(Failed::from))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !full || conclusion.has_failed() {
        return conclusion.exit_code();
    }
    match goldens.check_leftovers(inputs) {
        Ok(()) => conclusion.exit_code(),
        Err(message) => {
            eprintln!("\n{message}");
            std::process::ExitCode::FAILURE
        }
    }
}
