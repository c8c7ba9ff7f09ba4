//! A Podman on the bench: real, private, with the stand-in's image.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use deskrun::demo::{IMAGE, PrivatePodman};
use deskrun::engine::Engine;
use deskrun::engine::podman::{PodmanAddress, PodmanEngine};
use deskrun::manifest::{JIT_CONFIG_KEY, RunnerManifest, SecretKey};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::bench::{Behaviour, Bench, Breakable, Runner};
use crate::conformance::secret;

const LOG: &str = "log";
const PROGRAM: &str = env!("CARGO_BIN_EXE_deskrun");

pub struct PodmanBench {
    pub podman: PrivatePodman,
    pub folder: tempfile::TempDir,
}

impl PodmanBench {
    pub async fn start() -> Result<Self, String> {
        let folder = folder();
        let log = std::fs::File::create(folder.path().join(LOG)).map_err(|error| error.to_string())?;
        // Everything that this program and its libraries can log.
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(Mutex::new(log)).init();
        let podman = start(folder.path()).await?;
        Ok(Self { podman, folder })
    }

    /// A second Podman beside the first, whose service and locks are its own.
    pub async fn another(&self) -> Result<Self, String> {
        let folder = folder();
        // Looked through at the end like the first one's.
        std::fs::write(folder.path().join(LOG), "").map_err(|error| error.to_string())?;
        let podman = start(folder.path()).await?;
        Ok(Self { podman, folder })
    }

    /// Stops Podman; with `check`, nothing may be left of what the tests made. No log may hold a JIT config.
    pub async fn stop(self, check: bool) -> Result<(), String> {
        let log = std::fs::read_to_string(self.folder.path().join(LOG)).map_err(|error| error.to_string())?;
        let stored = base64::engine::general_purpose::STANDARD.encode(secret().expose());
        if log.contains(secret().expose()) || log.contains(&stored) {
            return Err("a JIT config stands in a log".to_owned());
        }
        let left = self.podman.leftovers().await.map_err(|error| error.to_string())?;
        let root = self.folder.path().join("podman");
        self.podman.stop().await.map_err(|error| error.to_string())?;
        if root.exists() {
            return Err(format!("{} is still there", root.display()));
        }
        if check && !left.is_empty() {
            return Err(format!("the tests left {left:?}"));
        }
        Ok(())
    }

    /// Another handle, as another process would have it.
    pub fn podman_engine(&self) -> PodmanEngine {
        engine(&self.podman)
    }

    /// What Podman's inspect says of a runner's container.
    pub async fn inspect(&self, runner: &str) -> Value {
        let text = self.podman.run("inspect", &["inspect", &format!("{runner}-runner")]).await.expect("a container");
        serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
    }

    /// Runs a command in a runner's container.
    pub async fn execute(&self, runner: &str, script: &str) -> Result<String, String> {
        self.execute_as("0", runner, script).await
    }

    /// The same as its user.
    pub async fn execute_as(&self, user: &str, runner: &str, script: &str) -> Result<String, String> {
        let container = format!("{runner}-runner");
        let ran = self.podman.run("execute", &["exec", "--user", user, &container, "/bin/sh", "-c", script]).await;
        ran.map_err(|error| error.to_string())
    }
}

/// A folder that need not be small and whose path is short: a socket's address has no room for a long one.
fn folder() -> tempfile::TempDir {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("DESKRUN_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("deskrun")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/deskrun")))
        .expect("HOME is set");
    std::fs::create_dir_all(&cache).expect("a cache folder");
    tempfile::Builder::new().prefix("engine-").tempdir_in(cache).expect("a folder")
}

async fn start(folder: &Path) -> Result<PrivatePodman, String> {
    let podman = PrivatePodman::start(&folder.join("podman")).await.map_err(|error| error.to_string())?;
    podman.image(Path::new(PROGRAM)).await.map_err(|error| error.to_string())?;
    Ok(podman)
}

fn engine(podman: &PrivatePodman) -> PodmanEngine {
    PodmanEngine::new(&PodmanAddress::new(&podman.host(), None).expect("an address"))
}

impl Bench for PodmanBench {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.podman_engine())
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        manifest(runner)
    }

    fn end<'a>(&'a self, runner: &'a str, code: u8) -> BoxFuture<'a, ()> {
        let script = format!("echo {code} >/tmp/end.new; mv /tmp/end.new /tmp/end");
        async move { drop(self.execute(runner, &script).await.expect("it runs")) }.boxed()
    }

    fn leftovers<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Vec<String>> {
        let left = async move { self.podman.leftovers().await.expect("a list") };
        left.map(move |left| left.into_iter().filter(|thing| thing.contains(text)).collect()).boxed()
    }

    fn abandon<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, ()> {
        let controller = manifest.pod["metadata"]["labels"]["deskrun.dev/controller"].as_str().expect("a controller");
        let name = manifest.name.as_str();
        async move {
            let option = format!("deskrun.dev/controller={controller}");
            let content = self.folder.path().join(format!("{name}.json"));
            std::fs::write(&content, "{}").expect("a file");
            let file = content.to_str().expect("text");
            let secret = ["secret", "create", "--driver-opts", &option, name, file];
            self.podman.run("abandon", &secret).await.expect("a secret");
            let runner = format!("deskrun.dev/runner={name}");
            let volume = format!("work-{name}");
            let volume = ["volume", "create", "--label", &option, "--label", &runner, &volume];
            self.podman.run("abandon", &volume).await.expect("a volume");
            let shared = format!("files-{name}");
            let shared = ["volume", "create", "--label", &option, &shared];
            self.podman.run("abandon", &shared).await.expect("a volume");
        }
        .boxed()
    }

    fn breakable(&self) -> BoxFuture<'_, Box<dyn Breakable>> {
        async {
            let podman = start(&self.folder.path().join("second")).await.expect("a second Podman");
            Box::new(BreakablePodman { podman }) as Box<dyn Breakable>
        }
        .boxed()
    }
}

struct BreakablePodman {
    podman: PrivatePodman,
}

impl Breakable for BreakablePodman {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(engine(&self.podman))
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        manifest(runner)
    }

    fn break_down(&mut self) -> BoxFuture<'_, ()> {
        async { self.podman.interrupt().await.expect("it ends") }.boxed()
    }

    fn mend(&mut self) -> BoxFuture<'_, ()> {
        async { self.podman.serve().await.expect("it starts") }.boxed()
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        async { self.podman.stop().await.expect("it stops") }.boxed()
    }
}

/// A pod as `render` would translate it, with a shell instead of the stand-in: it ends when and how a test says.
pub fn manifest(runner: &Runner) -> RunnerManifest {
    let Runner { name, controller, slot, behaviour } = runner;
    let wait = "while ! test -e /tmp/end; do sleep 0.05; done; exit $(cat /tmp/end)";
    let script = match behaviour {
        Behaviour::Waits => format!("trap 'exit 143' TERM; {wait}"),
        Behaviour::IgnoresTerm => format!("trap '' TERM; {wait}"),
        Behaviour::Speaks => "for n in 1 2 3; do echo line $n; done".to_owned(),
        Behaviour::PreparationFails => "echo never".to_owned(),
    };
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/instance": "metal",
                "deskrun.dev/controller": controller,
                "deskrun.dev/config-url": "0a1b2c3d",
                "deskrun.dev/scale-set": "metal-1",
                "deskrun.dev/runner": name,
                "deskrun.dev/runner-id": "7",
                "deskrun.dev/slot": slot.to_string(),
                "deskrun.dev/manifest": "4e5f",
            },
            "annotations": {"deskrun.dev/slot-pools": json!(["/nvme/docker cache"]).to_string()},
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "runner",
                "image": IMAGE,
                "command": ["/bin/sh", "-c", script],
                "env": [{
                    "name": "ACTIONS_RUNNER_INPUT_JITCONFIG",
                    "valueFrom": {"secretKeyRef": {"name": name, "key": JIT_CONFIG_KEY}},
                }],
                "volumeMounts": [
                    {"name": format!("work-{name}"), "mountPath": "/home/runner/_work"},
                    {"name": "files", "mountPath": "/etc/files", "readOnly": true},
                ],
            }],
            "volumes": [
                {"name": format!("work-{name}"), "emptyDir": {}},
                {"name": "files", "configMap": {"name": format!("files-{name}")}},
            ],
        },
    });
    if matches!(behaviour, Behaviour::PreparationFails) {
        let command = ["/bin/sh", "-c", "echo prepared nothing; exit 3"];
        pod["spec"]["initContainers"] = json!([{"name": "prepare", "image": IMAGE, "command": command}]);
    }
    let files = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": format!("files-{name}"), "labels": {"deskrun.dev/controller": controller}},
        "data": {"greeting": "hello\n"},
    });
    RunnerManifest {
        name: name.clone(),
        slot: *slot,
        pod: pod.into(),
        companions: [files].into(),
        jit_config: SecretKey { name: name.clone(), key: JIT_CONFIG_KEY },
    }
}
