//! The files a controller serves: those it is given, or those of the configuration folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Notify;

use super::watch::Watch;
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
    pub(super) fn watch(&self, bell: Arc<Notify>) -> anyhow::Result<Watch> {
        Watch::begin(self, bell)
    }
}
