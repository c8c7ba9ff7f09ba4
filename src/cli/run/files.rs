//! The files a controller serves: those it is given, or those of the configuration folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::cli::input::{self, Input};

/// Where `deskrun add` writes.
pub(in crate::cli) fn configuration_folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("DESKRUN_CONFIG_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|base| !base.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    Ok(base.context("there is no home folder: set `DESKRUN_CONFIG_DIR`")?.join("deskrun"))
}

/// The files of the configuration folder, by name.
pub(in crate::cli) fn configured(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    Ok(files)
}

/// Which files are served.
#[derive(Debug)]
pub(in crate::cli) enum Files {
    /// These.
    Given(Vec<String>),
    /// All of a folder, whatever they are at the time.
    Folder(PathBuf),
}

impl Files {
    pub(in crate::cli) fn of(given: &[String]) -> anyhow::Result<Self> {
        if given.is_empty() { Ok(Self::Folder(configuration_folder()?)) } else { Ok(Self::Given(given.to_vec())) }
    }

    pub(super) fn read(&self) -> anyhow::Result<Input> {
        match self {
            Self::Given(files) => input::read(files, None, &[]),
            // A folder without scale sets is where everyone begins: `deskrun add` comes next.
            Self::Folder(_) => self.look(),
        }
    }

    /// Reads whatever there is; files without a scale set will do.
    pub(in crate::cli) fn look(&self) -> anyhow::Result<Input> {
        match self {
            Self::Given(files) => input::documents(input::texts(files)?, None, &[]),
            Self::Folder(folder) => input::documents(input::texts(&configured(folder)?)?, None, &[]),
        }
    }

    /// Rings at changes, for as long as the result is kept. Standard input does not change.
    pub(super) fn watch(&self, bell: Arc<Notify>) -> anyhow::Result<RecommendedWatcher> {
        let names: Vec<OsString> = match self {
            Self::Folder(_) => Vec::new(),
            Self::Given(files) => files.iter().filter_map(|file| Path::new(file).file_name().map(Into::into)).collect(),
        };
        let is_ours = move |path: &Path| {
            // Other files that change in the same folder are none of our business, logs least of all.
            let given = names.iter().any(|name| path.file_name() == Some(name));
            given || names.is_empty() && path.extension().is_some_and(|extension| extension == "yaml")
        };
        let rings = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_ours(path))) {
                bell.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(rings).context("cannot watch files")?;
        let mut folders: Vec<PathBuf> = match self {
            Self::Folder(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
                vec![folder.clone()]
            }
            // Editors replace files: what is watched is where they lie.
            Self::Given(files) => files
                .iter()
                .filter(|file| *file != "-")
                .map(|file| match Path::new(file).parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                    _ => PathBuf::from("."),
                })
                .collect(),
        };
        folders.sort();
        folders.dedup();
        for folder in folders {
            watcher
                .watch(&folder, RecursiveMode::NonRecursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(watcher)
    }
}
