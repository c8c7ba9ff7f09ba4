//! The operator as a pod of its own image, installed by its chart, and flagship runners beside it: jobs that do well, that
//! fail, and one whose processes are killed on its node. Nothing is left afterwards.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use deskrun::demo::PrivatePodman;
use deskrun::simulator::{JobRequest, Levers, Line, LineListener, Options, Simulator};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::Machine;
use crate::cluster::{free_port, helm};
use crate::flagship::{compare, host_folder, scale_set};
use crate::operator_image;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/deskrun");
const SYSTEM: &str = "deskrun-system";
const RUNNERS: &str = "deskrun-runners";
const NAME: &str = "metal";
const TOKEN: &str = "ghp_kubelet";
const PATIENCE: Duration = Duration::from_mins(4);

pub fn trials(machine: Option<&Arc<Machine>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let test = |machine: Arc<Machine>| async move { twenty_jobs(&machine).await };
    vec![crate::trial("the_operator_as_a_pod_runs_twenty_jobs_and_leaves_nothing", machine, runtime, test)]
}

/// The cluster's and GitHub's side of one installation.
struct Scene<'a> {
    machine: &'a Machine,
    simulator: Simulator,
    serving: tokio::task::JoinHandle<()>,
    host: PathBuf,
    url: String,
    rendering: String,
}

async fn twenty_jobs(machine: &Machine) {
    let scene = Scene::install(machine).await;
    scene.serve();
    let go = scene.host.join("new/cargo/go");
    let look = "cat /proc/self/mountinfo >/home/runner/.cargo/new; mv /home/runner/.cargo/new /home/runner/.cargo/mounts; \
                while ! test -e /home/runner/.cargo/go; do sleep 0.1; done";
    let looks = scene.queue(look, 1).remove(0);
    let doomed = scene.queue("sleep 600", 1).remove(0);
    let runner = scene.until_running(&looks).await;
    let pod = scene.pods().get(&runner).await.expect("the runner's pod");
    let written = scene.host.join("new/cargo/mounts");
    scene.until("what the job writes", |_| written.exists()).await;
    let mounts = std::fs::read_to_string(written).expect("it is there");
    compare(&json!(pod), &mounts.lines().collect::<Vec<_>>());

    let runner = scene.until_running(&doomed).await;
    machine.kubelet.kill_pod(&scene.pods().get(&runner).await.expect("the runner's pod"));
    let well = scene.queue("echo ran >>/home/runner/.cargo/$DESKRUN_JOB_ID", 16);
    let failing = scene.queue("exit 1", 2);
    std::fs::write(go, "").expect("a file");
    let all = |ledger: &Value| list(&ledger["jobs"]).iter().all(|job| job["status"] == "completed");
    let ledger = scene.until("the end of all jobs", all).await;

    assert_eq!(list(&ledger["jobs"]).len(), 20);
    for job in list(&ledger["jobs"]) {
        let id = job["id"].as_str().expect("an id").to_owned();
        let fails = failing.contains(&id) || id == doomed;
        assert_eq!(job["conclusion"], if fails { "failure" } else { "success" }, "{job}");
        if well.contains(&id) {
            let ran = std::fs::read_to_string(scene.host.join("new/cargo").join(&id)).expect("it ran");
            assert_eq!(ran, "ran\n", "job {id} ran once");
        }
    }
    scene.remove().await;
}

impl<'a> Scene<'a> {
    /// GitHub's side, and the operator as its chart describes it.
    async fn install(machine: &'a Machine) -> Self {
        let levers = Levers { lost_runner_seconds: 20, ..Levers::default() };
        let options = Options { pat: Some(TOKEN.to_owned()), levers, ..Options::default() };
        let simulator = Simulator::new(options).expect("the options are right");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = simulator.router().into_make_service_with_connect_info::<Line>();
        let serving = tokio::spawn(async move {
            axum::serve(LineListener(listener), service).await.expect("it serves");
        });
        import(machine).await.expect("the operator's image");
        let rendering = rendering();
        let host = host_folder(&machine.kubelet.folder().join("served"));
        let scene = Self { machine, simulator, serving, host, url, rendering };
        scene.kubectl(&["create", "namespace", SYSTEM], None);
        scene.kubectl(&["apply", "--server-side", "-f", "-"], Some(&scene.rendering));
        let crd = "crd/runnerscalesets.deskrun.dev";
        scene.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=60s"], None);
        scene
    }

    /// The Secret and the scale set of a user; Ready when this returns.
    fn serve(&self) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "github"}, "stringData": {"github_token": TOKEN},
        });
        let mut scale_set = scale_set(NAME, RUNNERS, &self.host);
        scale_set["spec"]["githubConfigUrl"] = json!(format!("{}/acme", self.url));
        scale_set["spec"]["githubConfigSecret"] = json!("github");
        scale_set["spec"]["maxRunners"] = json!(4);
        // As the operator: tokens go without encryption to loopback only, so that is where the simulator is.
        scale_set["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        let stream = json!({"apiVersion": "v1", "kind": "List", "items": [secret, scale_set]}).to_string();
        self.kubectl(&["--namespace", RUNNERS, "apply", "--server-side", "-f", "-"], Some(&stream));
        let wait = ["--namespace", RUNNERS, "wait", "--for=condition=Ready", "rss/metal", "--timeout=120s"];
        self.kubectl(&wait, None);
    }

    /// Takes the scale set out, then the operator; nothing of either may be left.
    async fn remove(&self) {
        self.kubectl(&["--namespace", RUNNERS, "delete", "rss", NAME, "--timeout=120s"], None);
        let ledger = self.simulator.ledger();
        for kind in ["runners", "sessions", "scaleSets"] {
            assert_eq!(ledger[kind], json!([]), "{kind}");
        }
        self.until_left(&["pod", "secret github", "configmap kube-root-ca.crt", "account default"]).await;
        self.kubectl(&["delete", "--timeout=120s", "-f", "-"], Some(&self.rendering));
        let started = tokio::time::Instant::now();
        // Its pod goes a moment after its Deployment, and the container after the pod.
        while !self.machine.kubelet.containers().is_empty() {
            assert!(started.elapsed() < PATIENCE, "containers stay: {:?}", self.machine.kubelet.containers());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.serving.abort();
    }

    /// Waits until nothing is in the runners' namespace but this: what has an owner goes a moment after it.
    async fn until_left(&self, expected: &[&str]) {
        let started = tokio::time::Instant::now();
        loop {
            let mut left = self.names::<Pod>("pod").await;
            left.extend(self.names::<Secret>("secret").await);
            left.extend(self.names::<ConfigMap>("configmap").await);
            left.extend(self.names::<ServiceAccount>("account").await);
            left.retain(|name| !expected.contains(&name.as_str()));
            if left.is_empty() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "left over: {left:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn names<K>(&self, kind: &str) -> Vec<String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.machine.control_plane.client(), RUNNERS);
        let objects = api.list(&ListParams::default()).await.expect("a list");
        objects.iter().map(|object| format!("{kind} {}", object.name_any())).collect()
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.machine.control_plane.client(), RUNNERS)
    }

    fn queue(&self, script: &str, count: u32) -> Vec<String> {
        self.simulator.queue(&JobRequest {
            labels: vec![NAME.to_owned()],
            count: Some(count),
            script: Some(script.to_owned()),
            ..JobRequest::default()
        })
    }

    /// Waits until a job runs; its runner.
    async fn until_running(&self, job: &str) -> String {
        let found =
            |ledger: &Value| list(&ledger["jobs"]).into_iter().find(|one| one["id"] == *job).unwrap_or_default();
        let ledger = self.until("a running job", |ledger| found(ledger)["status"] == "running").await;
        found(&ledger)["runner"].as_str().expect("a runner").to_owned()
    }

    async fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let started = tokio::time::Instant::now();
        loop {
            let ledger = self.simulator.ledger();
            if so(&ledger) {
                return ledger;
            }
            assert!(started.elapsed() < PATIENCE, "{what} never came: {ledger:#}\n{}", self.report());
            // The ledger is a program's memory: there is nothing to be waited for.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How things stand, for a test that fails.
    fn report(&self) -> String {
        let questions: [&[&str]; 4] = [
            &["get", "pods", "--all-namespaces", "-o", "wide"],
            &["--namespace", RUNNERS, "get", "rss", "-o", "yaml"],
            &["get", "events", "--all-namespaces"],
            &["--namespace", SYSTEM, "logs", "deploy/deskrun", "--tail=60"],
        ];
        let answers = questions.map(|question| self.ask(question, "").unwrap_or_else(|error| error));
        format!("{}\n{}", answers.join("\n"), self.machine.kubelet.last_words())
    }

    fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> String {
        let answer = self.ask(arguments, input.unwrap_or_default());
        answer.unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", self.report()))
    }

    fn ask(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.machine.control_plane.kubeconfig()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl");
        let mut pipe = child.stdin.take().expect("piped");
        pipe.write_all(input.as_bytes()).expect("it reads");
        drop(pipe);
        let output = child.wait_with_output().expect("it ends");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Makes the image of the project's `Containerfile` known to the node.
async fn import(machine: &Machine) -> Result<(), String> {
    let folder = machine.kubelet.folder().join("build");
    let podman = PrivatePodman::start(&folder.join("podman")).await.map_err(|error| error.to_string())?;
    let image = operator_image::build(&podman, &folder).await?;
    let archive = folder.join("operator.tar");
    let to = archive.display().to_string();
    let saved = podman.run("save the image", &["save", "--quiet", "--output", &to, image]).await;
    saved.map_err(|error| error.to_string())?;
    podman.stop().await.map_err(|error| error.to_string())?;
    machine.kubelet.import_archive(&archive)
}

/// What the chart prints, as a list of objects; the operator's pods are on the machine's own network.
fn rendering() -> String {
    let mut command = Command::new(helm().expect("Helm"));
    let port = format!("metrics.port={}", free_port());
    command.args(["template", "deskrun", CHART, "--namespace", SYSTEM, "--set", &port]);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = deskrun::yaml::read(&String::from_utf8_lossy(&output.stdout)).expect("YAML");
    let mut objects: Vec<Value> = objects.iter().map(deskrun::yaml::Tree::to_json).collect();
    for deployment in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        deployment["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
