//! The files through which steps and hooks tell the runner about variables and paths: `GITHUB_ENV`, `GITHUB_PATH`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of one job.
pub(super) struct CommandFiles {
    env: PathBuf,
    path: PathBuf,
}

impl CommandFiles {
    /// Makes empty files in a folder.
    pub(super) fn create(folder: &Path) -> std::io::Result<Self> {
        let files = Self { env: folder.join("github_env"), path: folder.join("github_path") };
        std::fs::write(&files.env, "")?;
        std::fs::write(&files.path, "")?;
        Ok(files)
    }

    /// The variables that name the files.
    pub(super) fn variables(&self) -> [(String, String); 2] {
        [("GITHUB_ENV", &self.env), ("GITHUB_PATH", &self.path)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    }

    /// Lays what was written over an environment.
    pub(super) fn apply(&self, environment: &mut BTreeMap<String, String>) {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        environment.extend(variables(&read(&self.env)));
        let added = read(&self.path);
        for path in added.lines().filter(|path| !path.is_empty()) {
            let old = environment.get("PATH").cloned().unwrap_or_default();
            environment.insert("PATH".to_owned(), format!("{path}:{old}"));
        }
    }
}

/// `NAME=value` lines, and `NAME<<END … END` blocks.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let block = line.split_once("<<").filter(|(name, _)| !name.contains('='));
        if let Some((name, end)) = block {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            found.push((name.to_owned(), value.join("\n")));
        } else if let Some((name, value)) = line.split_once('=') {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_in_both_forms() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            variables("A=1\nB<<END\nx=y\nz\nEND\n\nC=a<<b\n"),
            [pair("A", "1"), pair("B", "x=y\nz"), pair("C", "a<<b")]
        );
    }
}
