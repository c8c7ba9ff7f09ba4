//! `deskrun run` as a process, a simulated GitHub as another, and the real Podman: what lives is what `deskrun render`
//! prints, and a controller that is killed costs no job.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use deskrun::crd::PodmanHostSpec;
use deskrun::demo::IMAGE;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::bench::Bench;
use crate::inspected::compare;
use crate::podman_bench::PodmanBench;
use crate::ssh_server::SshServer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_deskrun");
const PATIENCE: Duration = Duration::from_mins(3);

pub fn trials(bench: Option<&Arc<PodmanBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let local = |bench: Arc<PodmanBench>| async move {
        let host = bench.podman.host();
        what_lives_is_what_render_prints(&bench, "here", host).await;
    };
    let remote = |bench: Arc<PodmanBench>| async move {
        let server = SshServer::new(bench.folder.path().join("ssh-served")).await;
        server.know("host");
        let host = server.host(&bench.podman.socket(), "client");
        what_lives_is_what_render_prints(&bench, "afar", host).await;
    };
    let killed = |bench: Arc<PodmanBench>| async move { a_controller_killed_with_signal_9_costs_no_job(&bench).await };
    vec![
        crate::trial("what_lives_is_what_render_prints", "podman", bench.cloned(), runtime, local),
        crate::trial("what_lives_is_what_render_prints_through_ssh", "podman", bench.cloned(), runtime, remote),
        crate::trial("a_controller_killed_with_signal_9_costs_no_job", "podman", bench.cloned(), runtime, killed),
    ]
}

/// A simulated GitHub, and what `deskrun run` needs to serve it.
struct Scene {
    folder: PathBuf,
    file: PathBuf,
    simulator: Child,
    control: String,
    runs_on: String,
}

impl Scene {
    async fn new(bench: &PodmanBench, name: &str, host: &PodmanHostSpec) -> Self {
        let folder = bench.folder.path().join(format!("served-{name}"));
        for path in ["nvme/nix-store", "nvme/nix-daemon", "nvme/nix-profiles"] {
            std::fs::create_dir_all(folder.join(path)).unwrap();
        }
        let mut command = Command::new(PROGRAM);
        command.args(["simulator", "serve", "--listen", "127.0.0.1:0", "--pat", "ghp_example"]);
        let mut simulator = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(simulator.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let url = addresses["configUrl"].as_str().unwrap();
        std::fs::write(folder.join("token"), "ghp_example\n").unwrap();
        let file = folder.join("spec.yaml");
        std::fs::write(&file, spec(&folder, name, url, host)).unwrap();
        let control = addresses["controlUrl"].as_str().unwrap().to_owned();
        Self { folder, file, simulator, control, runs_on: name.to_owned() }
    }

    /// A controller; always with the same state.
    fn controller(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--file").arg(&self.file).arg("--state").arg(self.folder.join("state"));
        command.arg("--socket").arg(self.folder.join("s"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap()
    }

    async fn call(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        command.arg("simulator").args(arguments).args(["--url", &self.control]);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").unwrap();
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn ledger(&self) -> Value {
        serde_json::from_str(&self.call(&["state"]).await).unwrap()
    }

    async fn queue(&self, script: &str, count: &str) {
        self.call(&["queue", "--runs-on", &self.runs_on, "--run", script, "--count", count]).await;
    }

    /// Looks until something is so.
    async fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let started = tokio::time::Instant::now();
        loop {
            let ledger = self.ledger().await;
            if so(&ledger) {
                return ledger;
            }
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "{what} never came: {ledger:#}\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the controller in good order; nothing of it may be left, and no secret stands in its log.
    async fn end(mut self, bench: &PodmanBench, mut controller: Child) {
        // All jobs are done, so all runners go. A controller that is told to end waits half a minute for that, and on a machine
        // that does much else Podman takes longer.
        let (prefix, started) = (format!("{}-", self.runs_on), tokio::time::Instant::now());
        while bench.leftovers(&prefix).await.iter().any(|left| left.starts_with("pod ")) {
            assert!(started.elapsed() < PATIENCE, "runners stay");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let id = controller.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, controller.wait()).await.expect("in time").unwrap();
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
        assert!(ended.success(), "{log}");
        let ledger = self.ledger().await;
        assert_eq!((&ledger["runners"], &ledger["sessions"]), (&json!([]), &json!([])), "{log}");
        assert_eq!(bench.leftovers(&format!("{}-", self.runs_on)).await, Vec::<String>::new(), "{log}");
        assert!(!log.contains("ghp_example"), "a token stands in the log");
        self.simulator.kill().await.unwrap();
    }
}

fn spec(folder: &Path, name: &str, url: &str, host: &PodmanHostSpec) -> String {
    let at = |path: &str| folder.join("nvme").join(path).display().to_string();
    let scale_set = json!({
        "apiVersion": "deskrun.dev/v1alpha1",
        "kind": "RunnerScaleSet",
        "metadata": {"name": name},
        "spec": {
            "githubConfigUrl": url,
            "credentials": {"patFile": "token"},
            "maxRunners": 10,
            "containerMode": "cached-privileged-kubernetes",
            "image": IMAGE,
            "cachePaths": [
                {"source": at("nix-store"), "target": "/nix/store-host"},
                {"source": at("nix-daemon"), "target": "/nix/var/nix/daemon-socket-host"},
                {"source": at("docker"), "target": "/var/lib/docker"},
                {"source": at("cargo"), "target": "/home/runner/.cargo"},
                {"source": "", "target": "/tmp/builds"},
            ],
            // The stand-in must reach the simulator, and this machine may have no Nix.
            "template": {"spec": {
                "hostNetwork": true,
                "volumes": [{"name": "nix-profiles", "hostPath": {"path": at("nix-profiles")}}],
            }},
        },
    });
    let host = json!({
        "apiVersion": "deskrun.dev/v1alpha1",
        "kind": "PodmanHost",
        "metadata": {"name": "host"},
        "spec": {
            "url": host.url,
            "identityFile": host.identity_file,
            "knownHosts": host.known_hosts,
            "onThisHost": host.on_this_host,
        },
    });
    format!("{scale_set}\n---\n{host}\n")
}

async fn what_lives_is_what_render_prints(bench: &PodmanBench, name: &str, host: PodmanHostSpec) {
    let scene = Scene::new(bench, name, &host).await;
    let controller = scene.controller();
    let go = "while ! test -e /home/runner/.cargo/go; do sleep 0.05; done; echo kept >/home/runner/.cargo/crate";
    scene.queue(go, "1").await;
    let ledger = scene.until("a running job", |ledger| ledger["jobs"][0]["status"] == "running").await;
    let runner = ledger["jobs"][0]["runner"].as_str().unwrap().to_owned();

    let mut render = Command::new(PROGRAM);
    render.args(["render", "--engine", "podman", "--runner", &runner, "--slot", "0", "-o", "json"]).arg(&scene.file);
    let printed = render.output().await.unwrap();
    let said = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{said}");
    let objects: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let pod = objects["items"].as_array().or(objects.as_array()).expect("a list");
    let pod = pod.iter().find(|object| object["kind"] == "Pod").expect("a pod");
    let inspected = bench.inspect(&runner).await;
    let environment = inspected["Config"]["Env"].as_array().unwrap();
    let config = environment.iter().find_map(|item| item.as_str()?.strip_prefix("ACTIONS_RUNNER_INPUT_JITCONFIG="));
    compare(pod, &inspected, config.expect("a JIT config"));

    std::fs::write(scene.folder.join("nvme/cargo/go"), "").unwrap();
    scene.until("the job's end", |ledger| ledger["jobs"][0]["conclusion"] == "success").await;
    assert_eq!(std::fs::read_to_string(scene.folder.join("nvme/cargo/crate")).unwrap(), "kept\n");
    scene.end(bench, controller).await;
}

async fn a_controller_killed_with_signal_9_costs_no_job(bench: &PodmanBench) {
    let scene = Scene::new(bench, "killed", &bench.podman.host()).await;
    let mut first = scene.controller();
    let script = "echo ran >>/home/runner/.cargo/$DESKRUN_JOB_ID; sleep 1";
    scene.queue(script, "10").await;
    let running = |ledger: &Value| ledger["jobs"].as_array().unwrap().iter().any(|job| job["status"] == "running");
    scene.until("a first running job", running).await;
    first.kill().await.unwrap();
    let registered = |ledger: &Value| -> Vec<Value> {
        ledger["runners"].as_array().unwrap().iter().map(|runner| runner["name"].clone()).collect()
    };
    let former = registered(&scene.ledger().await);
    let second = scene.controller();
    let all = |ledger: &Value| ledger["jobs"].as_array().unwrap().iter().all(|job| job["conclusion"] == "success");
    let ledger = scene.until("the success of all jobs", all).await;
    for job in ledger["jobs"].as_array().unwrap() {
        let file = scene.folder.join("nvme/cargo").join(job["id"].as_str().unwrap());
        assert_eq!(std::fs::read_to_string(file).unwrap(), "ran\n", "{job}");
    }
    // Among them is a config that was in stock: the next start gives it up when it has looked around.
    let are_gone = |ledger: &Value| registered(ledger).iter().all(|name| !former.contains(name));
    scene.until("the end of all that was registered", are_gone).await;
    scene.end(bench, second).await;
}
