//! What the demo plays in: a Podman of its own, a simulated GitHub in this process, the controller as a process. All of it
//! is taken away at the end, and what is left is said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::cli::Printer;
use crate::demo::PrivatePodman;
use crate::simulator::{Line, LineListener, Options, Simulator};
use crate::yaml;

/// Only the simulator sees it; there it stands for a token.
const TOKEN: &str = "demo";
const TOKEN_VARIABLE: &str = "DESKRUN_DEMO_TOKEN";
/// The controller drains in at most half a minute.
const DRAIN: Duration = Duration::from_mins(1);
const LOG_LINES: usize = 20;

pub(super) struct Scene {
    pub(super) simulator: Simulator,
    podman: PrivatePodman,
    controller: Child,
    folder: PathBuf,
    program: PathBuf,
    control_url: String,
}

/// A folder of its own for every demo.
pub(super) fn default_folder() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("DESKRUN_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|base| base.join("deskrun")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/deskrun")))
        .context("there is no home folder: give `--folder FOLDER`")?;
    Ok(cache.join(format!("demo-{}", std::process::id())))
}

impl Scene {
    pub(super) async fn set(folder: &Path, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        printer.note("demo", "starting a Podman of its own; yours is not touched")?;
        let podman = PrivatePodman::start(&folder.join("podman")).await?;
        match Self::continue_with(&folder, &program, &podman, printer).await {
            Ok((simulator, control_url, controller)) => {
                Ok(Self { simulator, podman, controller, folder, program, control_url })
            }
            Err(error) => {
                podman.stop().await?;
                Err(error)
            }
        }
    }

    async fn continue_with(
        folder: &Path,
        program: &Path,
        podman: &PrivatePodman,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<(Simulator, String, Child)> {
        printer.note("demo", "making the runner's image of this program and busybox")?;
        let image = podman.image(program).await?;
        printer.note("demo", "starting the simulated GitHub and the controller")?;
        let simulator = Simulator::new(Options { pat: Some(TOKEN.to_owned()), ..Options::default() })?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on this machine")?;
        let address = listener.local_addr().context("cannot tell the address")?;
        let service = simulator.router().into_make_service_with_connect_info::<Line>();
        tokio::spawn(async move { axum::serve(LineListener(listener), service).await });
        let manifest = folder.join("rubionic-workspace.yaml");
        let text = specification(folder, &format!("http://{address}/acme"), image, podman)?;
        std::fs::write(&manifest, text).with_context(|| format!("cannot write {}", manifest.display()))?;
        let log = folder.join("controller.log");
        let log = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--file").arg(&manifest).arg("--state").arg(folder.join("state"));
        command.arg("--socket").arg(folder.join("deskrun.sock")).env(TOKEN_VARIABLE, TOKEN);
        // Ctrl-C at the terminal is ours to pass on.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true);
        let controller = command.spawn().context("cannot start the controller")?;
        Ok((simulator, format!("http://{address}/control"), controller))
    }

    /// Fails if the controller has ended.
    pub(super) fn check_controller(&mut self) -> anyhow::Result<()> {
        match self.controller.try_wait().context("cannot look after the controller")? {
            Some(status) => bail!("the controller ended with {status}"),
            None => Ok(()),
        }
    }

    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("controller.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// How to look around while everything is kept.
    pub(super) fn directions(&self) -> String {
        let (program, folder, control) = (self.program.display(), self.folder.display(), &self.control_url);
        format!(
            "everything is kept until Ctrl-C. Look around:\n  \
             {program} status --socket {folder}/deskrun.sock\n  \
             {program} simulator queue --url {control} --runs-on {} --run 'echo hello' --wait\n  \
             {program} simulator state --url {control}\n  \
             cat {folder}/rubionic-workspace.yaml\n  \
             tail -f {folder}/controller.log",
            super::RUNS_ON
        )
    }

    /// Ends everything in good order; whether nothing was left behind by the controller.
    pub(super) async fn strike(mut self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<bool> {
        let mut left = self.end_controller().await.map_or_else(|error| vec![format!("{error:#}")], |()| Vec::new());
        match self.podman.leftovers().await {
            Ok(things) => left.extend(things),
            Err(error) => left.push(format!("what is left is not known: {error}")),
        }
        let ledger = self.simulator.ledger();
        for kind in ["runners", "sessions"] {
            let things = ledger[kind].as_array().map(Vec::as_slice).unwrap_or_default();
            left.extend(things.iter().map(|thing| format!("{kind} at GitHub: {thing}")));
        }
        for thing in &left {
            printer.note("left behind", thing)?;
        }
        self.podman.stop().await?;
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))?;
        Ok(left.is_empty())
    }

    async fn end_controller(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.controller.id() else { bail!("the controller had ended before") };
        let told = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await;
        anyhow::ensure!(told.context("cannot run `kill`")?.success(), "the controller cannot be told to end");
        let ended = tokio::time::timeout(DRAIN, self.controller.wait()).await.context("the controller does not end")?;
        let status = ended.context("cannot wait for the controller")?;
        anyhow::ensure!(status.success(), "the controller ended with {status}");
        Ok(())
    }
}

/// The flagship, with caches in the demo's folder. The stand-in must reach the simulator on this machine, and this machine
/// may have no Nix: that is what `template` is for.
fn specification(folder: &Path, url: &str, image: &str, podman: &PrivatePodman) -> anyhow::Result<String> {
    let nvme = folder.join("nvme");
    for name in ["nix-store", "nix-daemon", "nix-profiles"] {
        let path = nvme.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let at = |name: &str| nvme.join(name).display().to_string();
    let scale_set = json!({
        "apiVersion": "deskrun.dev/v1alpha1",
        "kind": "RunnerScaleSet",
        "metadata": {"name": "rubionic-workspace"},
        "spec": {
            "githubConfigUrl": url,
            "credentials": {"patEnv": TOKEN_VARIABLE},
            "instances": 1,
            "maxRunners": 4,
            "containerMode": "cached-privileged-kubernetes",
            "image": image,
            "cachePaths": [
                {"source": at("nix-store"), "target": "/nix/store-host"},
                {"source": at("nix-daemon"), "target": "/nix/var/nix/daemon-socket-host"},
                {"source": at("docker-cache"), "target": "/var/lib/docker"},
                {"source": at("cargo-cache"), "target": "/home/runner/.cargo"},
                {"source": "", "target": "/tmp/builds"},
            ],
            "template": {"spec": {
                "hostNetwork": true,
                "volumes": [{"name": "nix-profiles", "hostPath": {"path": at("nix-profiles")}}],
            }},
        },
    });
    let url = format!("unix://{}", podman.socket().display());
    let host = json!({
        "apiVersion": "deskrun.dev/v1alpha1",
        "kind": "PodmanHost",
        "metadata": {"name": "this-host"},
        "spec": {"url": url, "onThisHost": true},
    });
    Ok(format!("{}---\n{}", yaml::write(&scale_set), yaml::write(&host)))
}
