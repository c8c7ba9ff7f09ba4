//! A control plane, GitHub's side and the operator's process.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deskrun::simulator::{JobRequest, Levers, Line, LineListener, Options as SimulatorOptions, Simulator};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::{ControlPlane, Options};

const PATIENCE: Duration = Duration::from_mins(2);
/// The operator's statuses come at most once a second: after twice that without a write there are no more.
const QUIET: Duration = Duration::from_secs(3);
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Place {
    pub control_plane: Arc<ControlPlane>,
    pub namespace: String,
    pub simulator: Simulator,
    pub url: String,
    serving: JoinHandle<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    pub async fn control_plane() -> Arc<ControlPlane> {
        let options = Options { audit: true, scheduler: false, ..Options::default() };
        Arc::new(ControlPlane::start(options).await.expect("a control plane; run `make tools`"))
    }

    /// A namespace of its own, with GitHub's side.
    pub async fn on(control_plane: Arc<ControlPlane>) -> Self {
        let namespace = control_plane.namespace(&[]).await;
        // As GitHub does in a burst: several messages in one envelope.
        let levers = Levers { batch_messages: true, ..Levers::default() };
        let simulator = Simulator::new(SimulatorOptions { levers, ..SimulatorOptions::default() });
        let simulator = simulator.expect("the options are right");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/acme", listener.local_addr().expect("an address"));
        let service = simulator.router().into_make_service_with_connect_info::<Line>();
        let serving = tokio::spawn(async move {
            axum::serve(LineListener(listener), service).await.expect("it serves");
        });
        let place = Self { control_plane, namespace, simulator, url, serving };
        let secret = json!({"metadata": {"name": "github"}, "stringData": {"github_token": "ghp_bench"}});
        let secret: Secret = serde_json::from_value(secret).expect("a Secret");
        let secrets: Api<Secret> = Api::namespaced(place.control_plane.client(), &place.namespace);
        secrets.create(&PostParams::default(), &secret).await.expect("the Secret is made");
        place
    }

    /// Makes so many resources of so many instances each.
    pub async fn scale_sets(&self, resources: u32, instances: u32, max: u32) {
        let kind = GroupVersionKind::gvk("deskrun.dev", "v1alpha1", "RunnerScaleSet");
        let kind = ApiResource::from_gvk_with_plural(&kind, "runnerscalesets");
        let api: Api<DynamicObject> = Api::namespaced_with(self.control_plane.client(), &self.namespace, &kind);
        for number in 0..resources {
            let name = format!("metal-{number}");
            let mut spec = self.spec(max);
            if instances > 1 {
                spec["instances"] = json!(instances);
            }
            let metadata = json!({"name": name});
            let object = json!({
                "apiVersion": "deskrun.dev/v1alpha1", "kind": "RunnerScaleSet", "metadata": metadata, "spec": spec,
            });
            let applied = api.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(object)).await;
            applied.expect("the resource is accepted");
        }
    }

    pub fn spec(&self, max: u32) -> Value {
        json!({
            "githubConfigUrl": self.url,
            "githubConfigSecret": "github",
            "containerMode": "kubernetes-novolume",
            "maxRunners": max,
        })
    }

    pub fn operator(&self) -> Operator {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskrun"));
        command.args(["operator", "--namespace", &self.namespace, "--lease-namespace", &self.namespace, "--no-stock"]);
        command.args(["--log-filter", "error"]).env("KUBECONFIG", self.control_plane.kubeconfig());
        Operator(command.spawn().expect("the operator starts"))
    }

    pub fn sessions(&self) -> usize {
        self.simulator.ledger()["sessions"].as_array().map_or(0, Vec::len)
    }

    pub fn queue(&self, count: u32) {
        let labels = vec!["metal-0".to_owned()];
        self.simulator.queue(&JobRequest { labels, count: Some(count), ..JobRequest::default() });
    }

    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < end, "{what}: not in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until there are so many runner pods; they are watched, so that asking costs the API server nothing.
    pub async fn until_pods(&self, count: usize) {
        let pods: Api<Pod> = Api::namespaced(self.control_plane.client(), &self.namespace);
        let config = watcher::Config::default().labels("deskrun.dev/runner");
        let events = watcher(pods, config).default_backoff().applied_objects();
        futures::pin_mut!(events);
        let mut seen = BTreeSet::new();
        let all = async {
            while seen.len() < count {
                let pod = events.try_next().await.expect("a watch").expect("it does not end");
                seen.insert(pod.name_any());
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("all pods in time");
    }

    /// Takes out what was made, whoever made it.
    pub async fn take_runners_out(&self) {
        let client = self.control_plane.client();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let secrets: Api<Secret> = Api::namespaced(client, &self.namespace);
        let (now, ours) = (DeleteParams::default().grace_period(0), ListParams::default().labels("deskrun.dev/runner"));
        pods.delete_collection(&now, &ours).await.expect("the pods go");
        secrets.delete_collection(&now, &ours).await.expect("the secrets go");
    }

    /// Waits until the operator has not written for a while.
    pub async fn until_quiet(&self) {
        let (mut writes, mut since) = (self.writes(), Instant::now());
        while since.elapsed() < QUIET {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.writes();
            if now != writes {
                (writes, since) = (now, Instant::now());
            }
        }
    }

    /// Writes of the operator so far, but for its lease.
    pub fn writes(&self) -> u32 {
        self.count(|event| event["objectRef"]["resource"] != "leases")
    }

    pub fn lease_writes(&self) -> u32 {
        self.count(|event| event["objectRef"]["resource"] == "leases")
    }

    fn count(&self, counts: impl Fn(&Value) -> bool) -> u32 {
        let is_write = |event: &&Value| {
            let ours = event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("deskrun/"));
            ours && !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default()) && counts(event)
        };
        u32::try_from(self.control_plane.audit().iter().filter(is_write).count()).expect("a number")
    }
}

impl Operator {
    pub fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kilobytes / 1024.0
    }

    /// User and system time; in `stat` they are the 14th and 15th field, and the second is a name that may hold anything.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("Linux");
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }
}

pub fn figure_at_most(name: &str, value: f64, unit: &str, bound: f64) -> bool {
    let holds = value <= bound;
    println!("{name} {value:.2} {unit} <={bound} {}", if holds { "holds" } else { "MISSED" });
    holds
}

pub fn figure_at_least(name: &str, value: f64, unit: &str, bound: f64) -> bool {
    let holds = value >= bound;
    println!("{name} {value:.2} {unit} >={bound} {}", if holds { "holds" } else { "MISSED" });
    holds
}
