//! The stand-in's image, from nothing: this program, the libraries it needs, and busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::DemoError;
use super::host;
use super::podman::finish;

/// The image's name. Not `:latest`, which Podman would try to pull.
pub const IMAGE: &str = "localhost/deskrun-runner:demo";

/// As in GitHub's own image (`runner-pods.md` 1.1).
const RUNNER: u32 = 1001;
const DOCKER: u32 = 123;

/// Writes the files of an image below `root` whose runner is the stand-in: a `deskrun` binary, its libraries, busybox.
pub async fn write_image(root: &Path, deskrun: &Path) -> Result<(), DemoError> {
    // What is linked statically has no libraries, and then `ldd` fails.
    let ldd = Command::new("ldd").arg(deskrun).output().await.map_err(DemoError::file("run", "ldd"))?;
    let libraries = libraries(&String::from_utf8_lossy(&ldd.stdout));
    let applets = finish("list busybox's applets", Command::new("busybox").arg("--list")).await?;
    write(root, deskrun, &libraries, &applets)
}

/// `libraries` are the paths that `ldd` names.
fn write(root: &Path, deskrun: &Path, libraries: &[PathBuf], applets: &str) -> Result<(), DemoError> {
    let folders =
        ["bin", "dev", "etc", "home/runner", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/local/sbin", "var"];
    for folder in folders {
        make_folder(&root.join(folder))?;
    }
    mode(&root.join("tmp"), 0o1777)?;
    let busybox = host::find("busybox")
        .ok_or_else(|| DemoError::Missing { missing: "busybox".to_owned(), packages: "busybox-static".to_owned() })?;
    copy(&busybox, &root.join("bin/busybox"))?;
    for applet in applets.split_whitespace().filter(|applet| *applet != "busybox") {
        let link = root.join("bin").join(applet);
        symlink("busybox", &link).map_err(DemoError::file("make", &link))?;
    }
    copy(deskrun, &root.join("usr/bin/deskrun"))?;
    for library in libraries {
        let target = root.join(library.strip_prefix("/").unwrap_or(library));
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        copy(library, &target)?;
    }
    // The job hooks of GitHub's runner are run by bash.
    script(&root.join("bin/bash"), "exec /bin/sh \"$@\"\n")?;
    let home = root.join("home/runner");
    let run = home.join("run.sh");
    script(&run, "exec /usr/bin/deskrun simulator runner --root /home/runner\n")?;
    for path in [&home, &run] {
        chown(path, Some(RUNNER), Some(RUNNER)).map_err(DemoError::file("give away", path))?;
    }
    let accounts = format!("root:x:0:0::/root:/bin/sh\nrunner:x:{RUNNER}:{RUNNER}::/home/runner:/bin/sh\n");
    put(&root.join("etc/passwd"), &accounts)?;
    put(&root.join("etc/group"), &format!("root:x:0:\nrunner:x:{RUNNER}:\ndocker:x:{DOCKER}:runner\n"))
}

/// Settings of the image, for `podman import --change`.
pub(super) fn settings() -> [String; 5] {
    [
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "ENV HOME=/home/runner".to_owned(),
        "WORKDIR /home/runner".to_owned(),
        "CMD [\"/home/runner/run.sh\"]".to_owned(),
        "USER runner".to_owned(),
    ]
}

/// The paths in what `ldd` prints: `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-linux… (0x…)`.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let paths = ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    fs::create_dir_all(path).map_err(DemoError::file("make", path))
}

fn copy(from: &Path, to: &Path) -> Result<(), DemoError> {
    fs::copy(from, to).map(drop).map_err(DemoError::file("copy", from))
}

fn put(path: &Path, text: &str) -> Result<(), DemoError> {
    fs::write(path, text).map_err(DemoError::file("write", path))
}

fn script(path: &Path, text: &str) -> Result<(), DemoError> {
    put(path, &format!("#!/bin/sh\n{text}"))?;
    mode(path, 0o755)
}

fn mode(path: &Path, mode: u32) -> Result<(), DemoError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(DemoError::file("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_files_that_ldd_names() {
        let ldd = "\tlinux-vdso.so.1 (0x00007)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(ldd), expected);
        assert_eq!(libraries("\tnot a dynamic executable\n"), Vec::<PathBuf>::new());
    }
}
