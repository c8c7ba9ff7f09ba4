//! Where a cache may be mounted in the container.
//!
//! The table of reserved targets is `runner-pods.md` 6; what several entries mean together is `cache_pairs`' business.

use super::path::{PathFault, is_below, is_in, normalise};
use super::report::Broken;
use super::rule::Rule;

/// Read-only mount of the host's Nix store.
pub(super) const NIX_STORE: &str = "/nix/store-host";
/// Mount of the directory with the Nix daemon's socket.
pub(super) const NIX_DAEMON_SOCKET: &str = "/nix/var/nix/daemon-socket-host";
/// Docker's data root.
pub(super) const DOCKER: &str = "/var/lib/docker";
/// The runner's work folder.
pub(super) const WORK: &str = "/home/runner/_work";

/// The normalised target.
pub(super) fn parse(target: &str) -> Result<String, Broken> {
    let root = || {
        Broken::new(
            Rule::CacheTargetRoot,
            format!("the target `{target}` would hide the whole image"),
            "name a directory such as `/home/runner/.cargo`",
        )
    };
    if target.is_empty() {
        return Err(root());
    }
    match normalise(target) {
        Ok(path) if path == "/" => Err(root()),
        Ok(path) if path.contains(['{', '}']) => Err(Broken::new(
            Rule::CacheTargetForm,
            format!("the target `{target}` contains a placeholder"),
            "placeholders stand in the source: a target is the same for every runner",
        )),
        Ok(path) => Ok(path),
        Err(PathFault::Relative) => Err(Broken::new(
            Rule::CacheTargetRelative,
            format!("the target `{target}` is not an absolute path"),
            format!("write `/{target}`"),
        )),
        Err(PathFault::Form(part)) => Err(Broken::new(
            Rule::CacheTargetForm,
            format!("the target `{target}` contains `{part}`"),
            if part == ":" {
                "write source and target as two fields; a path with `:` is split by some engines".to_owned()
            } else {
                "write the path without `.`, `..` and control characters".to_owned()
            },
        )),
    }
}

/// Refuses targets that would hide what the container, the runner or we need.
pub(super) fn check_reserved(target: &str) -> Result<(), Broken> {
    RESERVED.iter().find(|reserved| reserved.covers(target)).map_or(Ok(()), |reserved| {
        Err(Broken::new(reserved.rule, format!("the target `{target}` {}", reserved.reason), reserved.hint))
    })
}

/// Whether a writable directory at this target can be used by one runner only, whatever the user says.
pub(super) fn is_forced_exclusive(target: &str) -> bool {
    target == WORK || is_data_root(target)
}

/// Whether a cache at this target is exclusive unless the user says otherwise (`runner-pods.md` 7).
pub(super) fn is_exclusive_by_default(target: &str) -> bool {
    const EXCLUSIVE: &[&str] = &[
        "/home/runner/.gradle",
        "/root/.gradle",
        "/opt/hostedtoolcache",
        "/home/runner/_work/_tool",
        "/var/cache/apt",
        "/var/lib/apt",
        "/home/runner/.cache/nix",
    ];
    is_forced_exclusive(target) || EXCLUSIVE.iter().any(|exclusive| is_in(target, exclusive))
}

/// Whether the target is (part of) a data root that only one daemon may open, and that cannot be on a network file
/// system.
pub fn is_data_root(target: &str) -> bool {
    [DOCKER, "/var/lib/containerd", "/var/lib/buildkit"].iter().any(|root| is_in(target, root))
}

/// Whether the target is the host's Docker socket.
pub(super) fn is_docker_socket(target: &str) -> bool {
    matches!(target, "/var/run/docker.sock" | "/run/docker.sock")
}

struct Reserved {
    rule: Rule,
    /// These very paths.
    exactly: &'static [&'static str],
    /// These paths and everything below.
    below: &'static [&'static str],
    reason: &'static str,
    hint: &'static str,
}

impl Reserved {
    fn covers(&self, target: &str) -> bool {
        if target == "/dev/shm" {
            return false;
        }
        self.exactly.contains(&target) || self.below.iter().any(|below| is_in(target, below)) || {
            // The image has `k8s` and `k8s-novolume`; a custom one may have more of them.
            self.rule == Rule::CacheTargetRunner && target.starts_with("/home/runner/k8s")
        }
    }
}

const RESERVED: &[Reserved] = &[
    Reserved {
        rule: Rule::CacheTargetNix,
        exactly: &["/nix", "/nix/var", "/nix/var/nix", "/nix/var/nix/daemon-socket"],
        below: &["/nix/var/nix/db", "/nix/var/nix/profiles"],
        reason: "exposes Nix's own state, and clients would bypass the daemon",
        hint: "mount the store at `/nix/store-host` and the socket's directory at `/nix/var/nix/daemon-socket-host`",
    },
    Reserved {
        rule: Rule::CacheTargetRunner,
        exactly: &["/home", "/home/runner"],
        below: &[
            "/home/runner/externals",
            "/home/runner/bin",
            "/home/runner/run.sh",
            "/home/runner/run-helper.sh",
            "/home/runner/config.sh",
        ],
        reason: "hides the runner itself",
        hint: "sub-directories such as `/home/runner/.cargo` are fine",
    },
    Reserved {
        rule: Rule::CacheTargetOwned,
        exactly: &[],
        below: &[
            "/etc/hooks",
            "/etc/nix",
            "/etc/deskrun",
            "/usr/local/sbin",
            "/usr/local/share/ca-certificates/deskrun",
            "/__e",
            "/__w",
            "/github",
        ],
        reason: "belongs to DeskRun or to the container hooks",
        hint: "choose another directory",
    },
    Reserved {
        rule: Rule::CacheTargetSystem,
        exactly: &[
            "/bin",
            "/boot",
            "/etc",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/run",
            "/sbin",
            "/tmp",
            "/usr",
            "/usr/local",
            "/var",
            "/var/lib",
            "/var/run",
            "/usr/bin",
            "/usr/lib",
            "/usr/sbin",
            "/usr/local/bin",
        ],
        below: &[
            "/proc",
            "/sys",
            "/dev",
            "/run/secrets",
            "/var/run/secrets",
            "/lib/x86_64-linux-gnu",
            "/lib/aarch64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/etc/resolv.conf",
            "/etc/hosts",
            "/etc/hostname",
            "/etc/passwd",
            "/etc/group",
        ],
        reason: "hides a system directory of the container",
        hint: "choose a directory of your own; below `/tmp` and `/usr/local` new ones are fine, and `/dev/shm` is",
    },
];

/// `/nix/store` in the runner is the host's real store or nothing.
pub(super) fn check_nix_store(target: &str, source: Option<&str>, read_only: Option<bool>) -> Result<(), Broken> {
    if !is_in(target, "/nix/store") {
        return Ok(());
    }
    let real = source.and_then(|source| normalise(source).ok()).is_some_and(|source| source == "/nix/store");
    if target == "/nix/store" && real && read_only != Some(false) {
        return Ok(());
    }
    let reason = if is_below(target, "/nix/store") {
        "lies in the store, which is read-only"
    } else {
        "hides the image's own store, and any directory but the host's `/nix/store` has no database"
    };
    Err(Broken::new(
        Rule::CacheTargetNixStore,
        format!("the target `{target}` {reason}"),
        "use the target `/nix/store-host`; or the source `/nix/store` with `readOnly: true`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_reserved_table_is_refused_and_its_neighbour_is_not() {
        for (refused, accepted) in [
            ("/nix/var/nix/db", "/nix/var/nix/daemon-socket-host"),
            ("/nix", "/nix/store-host"),
            ("/home/runner", "/home/runner/.cargo"),
            ("/home/runner/externals/node20", "/home/runner/external"),
            ("/home/runner/k8s-novolume", "/home/runner/.kube"),
            ("/tmp", "/tmp/builds"),
            ("/lib64", "/library"),
            ("/proc/1", "/process"),
            ("/dev", "/dev/shm"),
            ("/etc/hooks", "/etc/ssl/private"),
            ("/__w", "/_w"),
            ("/github/home", "/githubby"),
        ] {
            assert!(check_reserved(refused).is_err(), "{refused}");
            assert!(check_reserved(accepted).is_ok(), "{accepted}");
        }
    }
}
