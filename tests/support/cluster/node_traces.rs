//! What a real node leaves on the machine when it is killed: processes, cgroups, mounts, a bridge, links to logs. All of it
//! is found by the node's folder.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::folder::kill_users;
use super::image::run;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where kubelets link logs, wherever these are.
const LOG_LINKS: &str = "/var/log/containers";

/// The cgroup below which all of a node's containers are, as a path from the root.
pub fn cgroup(folder: &Path) -> String {
    format!("/deskrun-{}", short(folder))
}

/// The bridge of a node's pods. Interfaces have short names.
pub fn bridge(folder: &Path) -> String {
    format!("dr-{}", short(folder))
}

/// Makes the bridge of a node's pods, with addresses of this machine that pods reach.
pub fn make_bridge(folder: &Path, addresses: &[String]) -> Result<(), String> {
    let bridge = bridge(folder);
    run(Command::new("ip").args(["link", "add", &bridge, "type", "bridge"]))?;
    for address in addresses {
        run(Command::new("ip").args(["address", "add", address, "dev", &bridge]))?;
    }
    run(Command::new("ip").args(["link", "set", &bridge, "up"])).map(drop)
}

/// Makes a node's cgroup, in every hierarchy there is.
pub fn make_cgroup(folder: &Path) -> Result<(), String> {
    for path in roots(folder) {
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The processes of a node's pod.
pub fn processes(folder: &Path, uid: &str) -> BTreeSet<u32> {
    let needle = format!("pod{uid}");
    let below = roots(folder).into_iter().flat_map(|root| tree(&root));
    below.filter(|path| path.to_string_lossy().contains(&needle)).flat_map(|path| members(&path)).collect()
}

/// Takes everything away but the folder itself; the error names what stays. Nothing may run the node any more.
pub fn clear(folder: &Path) -> Result<(), String> {
    kill_users(folder);
    let started = Instant::now();
    loop {
        let cgroups: Vec<PathBuf> = roots(folder).into_iter().flat_map(|root| tree(&root)).collect();
        let processes: BTreeSet<u32> = cgroups.iter().flat_map(|path| members(path)).collect();
        for process in processes {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).output();
        }
        // Those below first.
        for path in cgroups.iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
        let left: Vec<&PathBuf> = cgroups.iter().filter(|path| path.exists()).collect();
        if left.is_empty() {
            break;
        }
        if started.elapsed() > Duration::from_secs(20) {
            return Err(format!("cgroups stay: {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for point in mounts(folder)?.iter().rev() {
        run(Command::new("umount").args(["--lazy", point]))?;
    }
    // It may never have been made.
    let _ = Command::new("ip").args(["link", "delete", &bridge(folder)]).output();
    for entry in std::fs::read_dir(LOG_LINKS).into_iter().flatten().flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(folder)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// What is mounted below the folder, in the order of mounting.
pub fn mounts(folder: &Path) -> Result<Vec<String>, String> {
    const MOUNT_POINT: usize = 4;
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(MOUNT_POINT));
    Ok(points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect())
}

/// The node's cgroup in each hierarchy: one where there is version 2 only.
fn roots(folder: &Path) -> Vec<PathBuf> {
    let name = cgroup(folder);
    let name = name.trim_start_matches('/');
    if Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return vec![Path::new(CGROUPS).join(name)];
    }
    let hierarchies = std::fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| path.join("cgroup.procs").exists() && !path.is_symlink();
    hierarchies.filter(is_one).map(|path| path.join(name)).collect()
}

/// A folder and all below, from the top.
fn tree(root: &Path) -> Vec<PathBuf> {
    if !root.is_dir() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = entries.filter(|path| path.is_dir()).flat_map(|path| tree(&path));
    std::iter::once(root.to_owned()).chain(below).collect()
}

fn members(cgroup: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn short(folder: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("{:08x}", hasher.finish() >> 32)
}
