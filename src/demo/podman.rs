//! Podman's service in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::error::DemoError;
use super::{host, image};
use crate::crd::PodmanHostSpec;

/// Networks that Podman makes itself.
const NETWORKS: [&str; 2] = ["podman", "podman-default-kube-network"];
/// Podman gives up a whole list when one of its things goes meanwhile.
const LISTINGS: usize = 5;
const PROBE: &str = "localhost/deskrun-probe:demo";

/// A Podman whose files and settings lie in one folder. Its service ends with this value; what it ran is removed
/// by [`PrivatePodman::stop`].
#[derive(Debug)]
pub struct PrivatePodman {
    folder: PathBuf,
    /// Holds the socket and what Podman forgets when the machine starts again.
    runtime: PathBuf,
    driver: &'static str,
    service: Option<Child>,
}

impl PrivatePodman {
    /// Starts the service in `folder`, which is made if it is missing, after a container has run there to its end.
    pub async fn start(folder: &Path) -> Result<Self, DemoError> {
        host::check()?;
        fs::create_dir_all(folder).map_err(DemoError::file("make", folder))?;
        let folder = folder.canonicalize().map_err(DemoError::file("open", folder))?;
        let settings = folder.join("containers.conf");
        fs::write(&settings, host::configuration()).map_err(DemoError::file("write", &settings))?;
        let runtime = runtime_folder(&folder);
        fs::create_dir_all(&runtime).map_err(DemoError::file("make", &runtime))?;
        let mut podman = Self { folder, runtime, driver: "overlay", service: None };
        if podman.run("start", &["info"]).await.is_err() {
            // Below an overlay there can be no other; plain copies work everywhere, slowly.
            let storage = podman.folder.join("root");
            let _ = fs::remove_dir_all(&storage);
            podman.driver = "vfs";
            podman.run("start", &["info"]).await?;
        }
        if let Err(error) = podman.probe().await {
            let _ = podman.stop().await;
            return Err(error);
        }
        podman.make_network().await?;
        podman.serve().await?;
        Ok(podman)
    }

    /// The service's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("podman.sock")
    }

    /// The host as a spec names it.
    pub fn host(&self) -> PodmanHostSpec {
        PodmanHostSpec {
            url: format!("unix://{}", self.socket().display()),
            identity_file: None,
            known_hosts: None,
            on_this_host: true,
        }
    }

    /// Runs `podman` on these files, for what the engine does not offer.
    pub async fn run(&self, what: &str, arguments: &[&str]) -> Result<String, DemoError> {
        finish(what, self.command().args(arguments)).await
    }

    /// Starts the service, or starts it again after [`PrivatePodman::interrupt`].
    pub async fn serve(&mut self) -> Result<(), DemoError> {
        let socket = self.socket();
        let _ = fs::remove_file(&socket);
        let log_path = self.folder.join("service.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(DemoError::file("write", &log_path))?;
        let address = format!("unix://{}", socket.display());
        let mut command = self.command();
        command.args(["system", "service", "--time", "0", &address]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut service = command.spawn().map_err(DemoError::file("run", "podman"))?;
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if let Ok(Some(status)) = service.try_wait() {
                let said = format!("it ended with {status}; see {}", log_path.display());
                return Err(DemoError::Command { what: "start Podman's service".to_owned(), said });
            }
            // A socket cannot be waited for.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.service = Some(service);
        Ok(())
    }

    /// Kills the service. What it runs goes on.
    pub async fn interrupt(&mut self) -> Result<(), DemoError> {
        let Some(mut service) = self.service.take() else { return Ok(()) };
        service.kill().await.map_err(DemoError::file("end", "podman"))
    }

    /// Makes the stand-in's image from a `deskrun` binary; its name.
    pub async fn image(&self, deskrun: &Path) -> Result<&'static str, DemoError> {
        let root = self.folder.join("image");
        remove_folder(&root)?;
        image::write_image(&root, deskrun).await?;
        self.import(&root, image::IMAGE, &image::settings()).await?;
        remove_folder(&root)?;
        Ok(image::IMAGE)
    }

    /// Everything that is there, but for images and the networks that Podman makes itself: `pod NAME`, `volume NAME`, …
    pub async fn leftovers(&self) -> Result<Vec<String>, DemoError> {
        let mut left = Vec::new();
        let questions: [(&str, &[&str]); 5] = [
            ("pod", &["pod", "ps", "--format", "{{.Name}}"]),
            ("container", &["ps", "--all", "--format", "{{.Names}}"]),
            ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
            ("secret", &["secret", "ls", "--format", "{{.Name}}"]),
            ("network", &["network", "ls", "--format", "{{.Name}}"]),
        ];
        for (kind, arguments) in questions {
            let mut names = self.run("list what is left", arguments).await;
            for _ in 1..LISTINGS {
                if names.is_ok() {
                    break;
                }
                names = self.run("list what is left", arguments).await;
            }
            let names = names?;
            let names = names.lines().map(str::trim).filter(|name| !name.is_empty() && !NETWORKS.contains(name));
            left.extend(names.map(|name| format!("{kind} {name}")));
        }
        Ok(left)
    }

    /// Removes all that it ran and the whole folder. Goes on after a failure, which is reported at the end.
    pub async fn stop(mut self) -> Result<(), DemoError> {
        let removals: [&[&str]; 4] = [
            &["pod", "rm", "--all", "--force", "--time", "0"],
            &["rm", "--all", "--force", "--time", "0", "--volumes"],
            &["volume", "rm", "--all", "--force"],
            &["network", "rm", "--force", NETWORKS[1]],
        ];
        let mut results = Vec::new();
        for arguments in removals {
            let mut result = self.run("remove what is there", arguments).await;
            if result.is_err() {
                // A container whose monitor was killed goes at the second attempt.
                result = self.run("remove what is there", arguments).await;
            }
            results.push(result.map(drop));
        }
        results.push(self.interrupt().await);
        for folder in [&self.runtime, &self.folder] {
            results.push(unmount_below(folder).await);
            results.push(remove_folder(folder));
        }
        results.into_iter().collect()
    }

    /// Runs a container in a pod with a network, as runners do.
    async fn probe(&self) -> Result<(), DemoError> {
        let root = self.folder.join("probe");
        fs::create_dir_all(&root).map_err(DemoError::file("make", &root))?;
        let busybox = host::find("busybox").unwrap_or_default();
        fs::copy(&busybox, root.join("busybox")).map_err(DemoError::file("copy", &busybox))?;
        self.import(&root, PROBE, &[]).await?;
        remove_folder(&root)?;
        let what = "run a container on this machine";
        let run = ["run", "--rm", "--pod", "new:deskrun-probe", PROBE, "/busybox", "true"];
        let ran = self.run(what, &run).await;
        let removed = self.run(what, &["pod", "rm", "--force", "--ignore", "--time", "0", "deskrun-probe"]).await;
        ran.and(removed)?;
        self.run(what, &["rmi", PROBE]).await.map(drop)
    }

    /// The network of played pods. Names would be answered by a server whose files are the host's: without it, pods ask
    /// the host's own.
    async fn make_network(&self) -> Result<(), DemoError> {
        let what = "make a network";
        if self.run(what, &["network", "exists", NETWORKS[1]]).await.is_ok() {
            return Ok(());
        }
        self.run(what, &["network", "create", "--disable-dns", NETWORKS[1]]).await.map(drop)
    }

    async fn import(&self, root: &Path, name: &str, settings: &[String]) -> Result<(), DemoError> {
        let archive = root.with_extension("tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(root).args(["--numeric-owner", "-cf"]).arg(&archive).arg(".");
        finish("pack an image", &mut tar).await?;
        let mut import = self.command();
        import.args(["import", "--quiet"]);
        for setting in settings {
            import.args(["--change", setting]);
        }
        let imported = finish("import an image", import.arg(&archive).arg(name)).await;
        fs::remove_file(&archive).map_err(DemoError::file("remove", &archive))?;
        imported.map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        let folder = |name: &str| self.folder.join(name);
        command
            .env("CONTAINERS_CONF", folder("containers.conf"))
            // Settings of the user's own.
            .env_remove("CONTAINER_HOST")
            .env_remove("CONTAINERS_CONF_OVERRIDE")
            .env_remove("STORAGE_DRIVER")
            .arg("--storage-driver")
            .arg(self.driver)
            .arg("--runroot")
            .arg(self.runtime.join("run"));
        for (option, name) in [("--root", "root"), ("--tmpdir", "tmp"), ("--network-config-dir", "networks")] {
            command.arg(option).arg(folder(name));
        }
        command
    }
}

/// A short path for a folder: Podman refuses a run root of more than 50 characters, and a socket's address has no more
/// than 107.
fn runtime_folder(folder: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let parent = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/run"), PathBuf::from);
    parent.join(format!("deskrun-{:08x}", hasher.finish() >> 32))
}

pub(super) async fn finish(what: &str, command: &mut Command) -> Result<String, DemoError> {
    let program = command.as_std().get_program().to_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let Output { status, stdout, stderr } = output.map_err(DemoError::file("run", Path::new::<OsStr>(&program)))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(DemoError::Command { what: what.to_owned(), said })
}

/// Storage, and the namespaces of networks, are mounted below the folder.
async fn unmount_below(folder: &Path) -> Result<(), DemoError> {
    const MOUNT_POINT: usize = 4;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(DemoError::file("read", "/proc/self/mountinfo"))?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(MOUNT_POINT));
    let mut points: Vec<&str> = points.filter(|point| Path::new(point).starts_with(folder)).collect();
    // What is mounted last lies on top.
    points.reverse();
    for point in points {
        finish("unmount what is below the folder", Command::new("umount").args(["--lazy", point])).await?;
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), DemoError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DemoError::file("remove", path)(error)),
        _ => Ok(()),
    }
}
