//! Watches the files that are served and those that hold credentials. What is in them is not looked at here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::files::Files;

/// Files are often written in several steps: they are read when nothing has changed for so long, …
const QUIET: Duration = Duration::from_millis(200);
/// … or at the latest after this.
const RESTLESS: Duration = Duration::from_secs(2);
/// What changes when the files of a Kubernetes Secret do, instead of the files.
const SECRET_LINK: &str = "..data";

/// Rings a bell when files change, as long as it is kept.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Folders of the files that are served.
    folders: BTreeSet<PathBuf>,
    /// Further ones, of credentials.
    more: BTreeSet<PathBuf>,
    /// Names of files with credentials.
    names: Arc<Mutex<BTreeSet<OsString>>>,
}

impl Watch {
    pub(super) fn begin(files: &Files, bell: Arc<Notify>) -> anyhow::Result<Self> {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let credentials = Arc::clone(&names);
        let given: Option<BTreeSet<OsString>> = match files {
            Files::Folder(_) => None,
            Files::Given(files) => Some(files.iter().filter_map(|file| name_of(Path::new(file))).collect()),
        };
        let is_ours = move |path: &Path| {
            // Other files that change in the same folder are none of our business, logs least of all.
            let Some(name) = path.file_name() else { return false };
            let is_served = match &given {
                Some(given) => given.contains(name),
                None => path.extension().is_some_and(|extension| extension == "yaml"),
            };
            is_served || name == SECRET_LINK || lock(&credentials).contains(name)
        };
        let rings = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_ours(path))) {
                bell.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(rings).context("cannot watch files")?;
        let folders: BTreeSet<PathBuf> = match files {
            Files::Folder(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
                BTreeSet::from([folder.clone()])
            }
            // Editors replace files: what is watched is where they lie.
            Files::Given(files) => {
                files.iter().filter(|file| *file != "-").map(|file| folder_of(file.as_ref())).collect()
            }
        };
        for folder in &folders {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(Self { watcher, folders, more: BTreeSet::new(), names })
    }

    /// Rings for these files as well from now on, and for none of before.
    pub(super) fn credentials(&mut self, files: &BTreeSet<PathBuf>) {
        *lock(&self.names) = files.iter().filter_map(|file| name_of(file)).collect();
        let all: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(file)).collect();
        let more: BTreeSet<PathBuf> = all.difference(&self.folders).cloned().collect();
        for folder in self.more.difference(&more) {
            // One that is gone is not watched any more either.
            let _ = self.watcher.unwatch(folder);
        }
        for folder in more.difference(&self.more) {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                let folder = folder.display().to_string();
                tracing::warn!(folder, %error, "credentials that change there are not noticed");
            }
        }
        self.more = more;
    }
}

/// Waits for a change, and until it is over.
pub(super) async fn settled(changed: &Notify) {
    changed.notified().await;
    let latest = Instant::now() + RESTLESS;
    while Instant::now() < latest && timeout(QUIET, changed.notified()).await.is_ok() {}
}

fn name_of(file: &Path) -> Option<OsString> {
    file.file_name().map(Into::into)
}

/// The folder of a file, as a watcher takes it.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn lock(names: &Mutex<BTreeSet<OsString>>) -> MutexGuard<'_, BTreeSet<OsString>> {
    // Nothing that holds the lock panics half-way through a change.
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_changes_at_a_time_are_one_and_endless_ones_are_not_waited_for() {
        let changed = Arc::new(Notify::new());
        let bell = Arc::clone(&changed);
        let rings = tokio::spawn(async move {
            for pause in [0, 100, 100, 100] {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                bell.notify_one();
            }
            bell
        });
        let started = Instant::now();
        settled(&changed).await;
        assert_eq!(started.elapsed().as_millis(), 500);
        let bell = rings.await.unwrap();
        let restless = tokio::spawn(async move {
            loop {
                bell.notify_one();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let started = Instant::now();
        settled(&changed).await;
        assert!(started.elapsed() <= RESTLESS + QUIET, "{:?}", started.elapsed());
        restless.abort();
    }
}
