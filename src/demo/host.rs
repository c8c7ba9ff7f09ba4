//! What this machine has, and what follows for Podman's configuration.

use std::fs;
use std::path::Path;

use super::error::DemoError;

/// Commands, the packages that have them, and the places beside `PATH` where they lie.
const NEEDED: &[(&str, &str, &[&str])] = &[
    ("podman", "podman", &[]),
    ("conmon", "conmon", &["/usr/libexec/podman/conmon"]),
    ("netavark", "netavark", &["/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"]),
    ("aardvark-dns", "aardvark-dns", &["/usr/lib/podman/aardvark-dns", "/usr/libexec/podman/aardvark-dns"]),
    ("iptables", "iptables", &[]),
    ("catatonit", "catatonit", &["/usr/libexec/podman/catatonit", "/usr/libexec/catatonit/catatonit"]),
    ("busybox", "busybox-static", &[]),
];

/// Says what must be installed first.
pub(super) fn check() -> Result<(), DemoError> {
    let runtime = if is_plain() { ("crun", "crun", &[] as &[&str]) } else { ("runc", "runc", &[] as &[&str]) };
    let missing: Vec<_> = NEEDED.iter().chain([&runtime]).filter(|needed| !is_there(needed.0, needed.2)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |name: fn(&(&str, &str, &[&str])) -> String, between| {
        missing.iter().map(|needed| name(needed)).collect::<Vec<_>>().join(between)
    };
    Err(DemoError::Missing {
        missing: list(|needed| needed.0.to_owned(), ", "),
        packages: list(|n| n.1.to_owned(), " "),
    })
}

/// Podman's configuration. On an ordinary host with cgroup v2 its defaults are right and are left alone, but for where
/// logs and events go: the journal is the host's.
pub(super) fn configuration() -> String {
    let mut containers = String::from("[containers]\nlog_driver = \"k8s-file\"\n");
    // Locks in shared memory would be those of the user's Podman as well.
    let mut engine = String::from("[engine]\nevents_logger = \"file\"\nlock_type = \"file\"\n");
    if !may_raise_limits() {
        // Podman's default asks for more than this process may give.
        containers.push_str("default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n");
    }
    if !is_plain() {
        // crun knows no hybrid cgroups, and without systemd no one else makes them.
        engine.push_str("runtime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n");
    }
    containers + &engine
}

/// cgroup v2 under systemd.
fn is_plain() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && Path::new("/run/systemd/system").exists()
}

/// Whether this process has `CAP_SYS_RESOURCE`.
fn may_raise_limits() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).is_some_and(|set| set & SYS_RESOURCE != 0)
}

fn is_there(command: &str, elsewhere: &[&str]) -> bool {
    find(command).is_some() || elsewhere.iter().any(|path| Path::new(path).exists())
}

/// A command in `PATH`, or where administration's commands lie if that is not in it.
pub(super) fn find(command: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(command)).find(|path| path.is_file())
}
