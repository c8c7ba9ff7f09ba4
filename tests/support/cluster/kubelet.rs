//! A real node: kubelet and containerd, with all their files in one folder.
//!
//! The images it knows are those that a test imports. Pods have a bridge that leads nowhere but to this machine, where the
//! API server is found at its service's address, as in any cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::image::run;
use super::part::{Part, free_port};
use super::programs::Programs;
use super::{ControlPlane, Network, folder, image, network, node_traces};

/// Names the API server calls the node's kubelet by; an address would have to be another one than loopback.
pub const NODE: &str = "localhost";
const PAUSE: &str = "localhost/pause:test";
const PATIENCE: Duration = Duration::from_mins(2);

/// A node of this machine. [`Kubelet::stop`] takes away what it leaves.
pub struct Kubelet {
    // Before the folder, so that nothing writes into it when it goes.
    agent: Part,
    api_server: tokio::task::JoinHandle<()>,
    containerd: Part,
    traces: Traces,
    folder: tempfile::TempDir,
}

/// Cleared away also when a test fails: what is mounted in the folder must not be removed with it.
struct Traces(PathBuf);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = node_traces::clear(&self.0) {
            eprintln!("the node is not cleared away: {error}");
        }
    }
}

impl Kubelet {
    /// Starts one for a control plane with this network; it is ready for pods when this returns.
    pub async fn start(control_plane: &ControlPlane, network: &Network) -> Result<Self, String> {
        let folder = folder::make_clearing("kubelet", node_traces::clear)?;
        let path = folder.path();
        for name in ["cni", "manifests"] {
            std::fs::create_dir_all(path.join(name)).map_err(|error| error.to_string())?;
        }
        let file = |name: &str, text: String| {
            std::fs::write(path.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
        };
        file("containerd.toml", containerd_configuration(path))?;
        file("cni/10-deskrun.conflist", conflist(path, network).to_string())?;
        file("kubelet.yaml", kubelet_configuration(path).to_string())?;
        let traces = Traces(path.to_owned());
        node_traces::make_cgroup(path)?;
        let addresses = [network.host(), network.api_server()];
        node_traces::make_bridge(path, &addresses.map(|address| format!("{address}/24")))?;
        let api_server = network::forward((network.api_server(), 443), control_plane.port()).await?;
        let mut containerd = Command::new("containerd");
        containerd.arg("--config").arg(path.join("containerd.toml"));
        let mut containerd = Part::start("containerd", &mut containerd, path)?;
        containerd.until(|| async { ctr(path, &["version"]).is_ok() }).await?;
        import_pause(path)?;
        let mut command = Programs::find()?.command("kubelet");
        command.arg("--kubeconfig").arg(control_plane.kubeconfig());
        command.arg("--config").arg(path.join("kubelet.yaml"));
        command.arg("--root-dir").arg(path.join("kubelet")).arg("--cert-dir").arg(path.join("certificates"));
        command.args(["--hostname-override", NODE]);
        let mut agent = Part::start("kubelet", &mut command, path)?;
        let nodes: Api<Node> = Api::all(control_plane.client());
        agent.until(|| async { nodes.get_opt(NODE).await.is_ok_and(|node| node.is_some_and(takes_pods)) }).await?;
        Ok(Self { agent, api_server, containerd, traces, folder })
    }

    /// A folder of this machine that goes with the node, for what pods mount.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an image from the files below `root` known to the node.
    pub fn import(&self, root: &Path, name: &str, settings: &Value) -> Result<(), String> {
        import(self.folder.path(), root, name, settings)
    }

    /// The same with an archive, such as `podman save` writes.
    pub fn import_archive(&self, archive: &Path) -> Result<(), String> {
        ctr(self.folder.path(), &["images", "import", &archive.display().to_string()]).map(drop)
    }

    /// Kills all processes of a pod, as when the machine's memory is gone.
    pub fn kill_pod(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().expect("it is in the cluster");
        for process in node_traces::processes(self.folder.path(), uid) {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).output();
        }
    }

    /// Containers that are there, running or not.
    pub fn containers(&self) -> Vec<String> {
        let list = ctr(self.folder.path(), &["containers", "list", "--quiet"]).expect("containerd answers");
        list.lines().map(str::to_owned).collect()
    }

    /// What its log says last, for a test that fails.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("kubelet.log")).unwrap_or_default();
        // It complains of this machine's disk every ten seconds, and works.
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("mage")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends all pods and the node; the error names what stays on the machine.
    pub async fn stop(self, control_plane: &ControlPlane) -> Result<(), String> {
        let deployments: Api<Deployment> = Api::all(control_plane.client());
        for made in deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())? {
            let namespace = made.metadata.namespace.as_deref().unwrap_or_default();
            let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), namespace);
            let name = made.metadata.name.as_deref().unwrap_or_default();
            // A test that failed has left it, and it would make pods anew.
            let _ = deployments.delete(name, &DeleteParams::foreground()).await;
        }
        let pods: Api<Pod> = Api::all(control_plane.client());
        let started = tokio::time::Instant::now();
        loop {
            let left = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            if left.is_empty() {
                break;
            }
            if started.elapsed() > PATIENCE {
                let names: Vec<_> = left.iter().map(|pod| pod.metadata.name.clone()).collect();
                return Err(format!("pods stay: {names:?}"));
            }
            for pod in left.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                let pods: Api<Pod> = Api::namespaced(control_plane.client(), namespace);
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let _ = pods.delete(name, &DeleteParams::default().grace_period(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let Self { agent, api_server, containerd, traces, folder } = self;
        api_server.abort();
        agent.kill();
        // Sandboxes go a moment after their pods.
        while !ctr(folder.path(), &["tasks", "list", "--quiet"])?.is_empty() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        containerd.kill();
        node_traces::clear(folder.path())?;
        drop(traces);
        folder.close().map_err(|error| format!("the node's folder stays: {error}"))
    }
}

/// Ready, and without the taint that says it is not.
fn takes_pods(node: Node) -> bool {
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && node.spec.and_then(|spec| spec.taints).is_none_or(|taints| taints.is_empty())
}

fn ctr(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("ctr");
    run(command.arg("--address").arg(folder.join("containerd.sock")).args(["--namespace", "k8s.io"]).args(arguments))
}

fn import(folder: &Path, root: &Path, name: &str, settings: &Value) -> Result<(), String> {
    let archive = folder.join("image.tar");
    image::pack(root, name, settings, &archive)?;
    let imported = ctr(folder, &["images", "import", &archive.display().to_string()]);
    std::fs::remove_file(&archive).map_err(|error| error.to_string())?;
    imported.map(drop)
}

/// What holds a pod's namespaces: `catatonit`, which needs no library.
fn import_pause(folder: &Path) -> Result<(), String> {
    let root = folder.join("pause");
    std::fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    let places = ["/usr/bin/catatonit", "/usr/libexec/podman/catatonit"].map(PathBuf::from);
    let program = places.iter().find(|path| path.exists()).ok_or("catatonit is missing: run make tools")?;
    std::fs::copy(program, root.join("catatonit")).map_err(|error| error.to_string())?;
    import(folder, &root, PAUSE, &json!({"Entrypoint": ["/catatonit", "-P"]}))
}

fn containerd_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/images"
state = "{folder}/state"
oom_score = 0
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{folder}/runc"
"#
    )
}

/// Pods see each other and this machine.
fn conflist(folder: &Path, network: &Network) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "deskrun",
        "plugins": [{
            "type": "bridge",
            "bridge": node_traces::bridge(folder),
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("addresses"),
                "ranges": [[{"subnet": network.pods(), "gateway": network.host()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet_configuration(folder: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": free_port(),
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node_traces::cgroup(folder),
        "containerRuntimeEndpoint": format!("unix://{}", folder.join("containerd.sock").display()),
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "maxPods": 500,
        "oomScoreAdj": 0,
        "podLogsDir": folder.join("logs"),
        "resolvConf": "",
        "serializeImagePulls": false,
        "syncFrequency": "10s",
    })
}
