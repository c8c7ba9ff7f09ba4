//! Folders of test runs below the cache directory, and what killed runs left in theirs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for this process. Before it is made, what runs of other processes left under the same prefix is cleared
/// away, if those processes are gone.
pub fn make(prefix: &str) -> Result<tempfile::TempDir, String> {
    make_clearing(prefix, |left| {
        kill_users(left);
        Ok(())
    })
}

/// The same with more to do before a folder that was left can be removed.
pub fn make_clearing(prefix: &str, clear: impl Fn(&Path) -> Result<(), String>) -> Result<tempfile::TempDir, String> {
    let cache = cache()?;
    for left in abandoned(&cache, prefix) {
        clear(&left)?;
        // Several suites may start at once, and one of them does it.
        let _ = std::fs::remove_dir_all(&left);
    }
    let name = format!("{prefix}-{}-", identity(std::process::id()).ok_or("this process is not in /proc")?);
    tempfile::Builder::new().prefix(&name).tempdir_in(&cache).map_err(|error| format!("{}: {error}", cache.display()))
}

/// The cache directory: need not be small, as `/tmp` may be.
pub fn cache() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("DESKRUN_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("deskrun")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/deskrun")))
        .ok_or("HOME is not set")?;
    std::fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    Ok(cache)
}

/// The folders under a prefix whose makers are gone.
pub fn abandoned(cache: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let maker = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        let maker = maker.and_then(|rest| rest.rsplit_once('-')).map(|(maker, _)| maker);
        maker.is_some_and(|maker| {
            let pid = maker.split('.').next().and_then(|pid| pid.parse().ok());
            pid.is_some_and(|pid| identity(pid).as_deref() != Some(maker))
        })
    };
    entries.map(|entry| entry.path()).filter(is_abandoned).collect()
}

/// Kills the processes whose command line names a folder.
pub fn kill_users(folder: &Path) {
    for process in users(folder) {
        let _ = Command::new("kill").args(["-KILL", &process.to_string()]).output();
    }
}

/// The processes whose command line names a folder, but for this one.
pub fn users(folder: &Path) -> Vec<u32> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let names_it = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.windows(needle.len()).any(|part| part == needle)
    };
    processes.filter(|process| *process != std::process::id()).filter(names_it).collect()
}

/// A process that runs, with its start: ids are given again.
pub fn identity(pid: u32) -> Option<String> {
    const STARTED_AFTER_THE_NAME: usize = 19;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(") ")?.1;
    let started = rest.split(' ').nth(STARTED_AFTER_THE_NAME)?;
    // One that has ended may wait for its parent to take notice.
    (!rest.starts_with('Z')).then(|| format!("{pid}.{started}"))
}
