//! A namespace with everything an operator needs: GitHub's side simulated behind a socket, the custom resource's
//! definition, a Secret, and nodes that run the stand-in for GitHub's runner.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use deskrun::crd;
use deskrun::engine::Engine;
use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::github::Environment;
use deskrun::metrics::Metrics;
use deskrun::operator::cluster::{Admin, Candidate, Settings, run};
use deskrun::simulator::{JobRequest, Line, LineListener, Options, Simulator};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Cluster;
use crate::cluster::Fate;
use crate::permissions::operator_client;
use crate::support::simulated::{Manner, TaskRunner};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The Secret with credentials.
pub const SECRET: &str = "github";
/// The token that the simulator accepts.
pub const TOKEN: &str = "ghp_cluster";

pub struct World {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
    pub simulator: Simulator,
    pub runner: TaskRunner,
    /// Below it any organisation or repository can be named.
    pub url: String,
    /// As whom operators work.
    pub client: Client,
    serving: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An operator in this process. Dropped, it is killed.
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// As SIGTERM does.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.task).await.expect("it ends").expect("it does not panic");
    }

    /// As SIGKILL does.
    pub async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.expect_err("it was killed").is_cancelled());
    }
}

impl World {
    pub async fn new(cluster: Arc<Cluster>) -> Self {
        Self::with(cluster, Options::default(), Manner::default()).await
    }

    pub async fn with(cluster: Arc<Cluster>, options: Options, manner: Manner) -> Self {
        if let Ok(filter) = std::env::var("DESKRUN_LOG") {
            deskrun::telemetry::start(deskrun::telemetry::LogForm::Text, &filter);
        }
        let namespace = cluster.control_plane.namespace(&[]).await;
        let options = Options { pat: Some(TOKEN.to_owned()), ..options };
        let simulator = Simulator::new(options).expect("the options are right");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = simulator.router().into_make_service_with_connect_info::<Line>();
        let serving = tokio::spawn(async move {
            axum::serve(LineListener(listener), service).await.expect("it serves");
        });
        let runner = TaskRunner::new(&simulator, manner);
        let process: Arc<dyn deskrun::engine::memory::Process> = Arc::new(runner.clone());
        cluster.kubelet.behave(&namespace, move |_| Fate::Runs(Arc::clone(&process)));
        let client = operator_client(&cluster.control_plane, &namespace).await;
        let world = Self { cluster, namespace, simulator, runner, url, client, serving };
        world.set_token(TOKEN).await;
        world
    }

    /// Puts a token into the Secret.
    pub async fn set_token(&self, token: &str) {
        let secret = json!({"metadata": {"name": SECRET}, "stringData": {"github_token": token}});
        let patch = Patch::Apply(typed(&secret, "v1", "Secret"));
        let secrets: Api<Secret> = self.api();
        secrets.patch(SECRET, &PatchParams::apply("test").force(), &patch).await.expect("the Secret is written");
    }

    /// Makes an object with these fields.
    pub async fn make<K>(&self, name: &str, fields: &Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + serde::Serialize,
    {
        let mut object = fields.clone();
        object["metadata"]["name"] = json!(name);
        let object: K = serde_json::from_value(object).expect("an object");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("it can be made");
    }

    /// Objects of a kind in the namespace, for the test itself.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.control_plane.client(), &self.namespace)
    }

    pub fn resources(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.control_plane.client(), &self.namespace, &api_resource())
    }

    /// An operator for this namespace.
    pub fn operator(&self) -> Running {
        self.operator_called("operator-0", Duration::from_mins(5))
    }

    pub fn operator_called(&self, identity: &str, removal_limit: Duration) -> Running {
        let (client, scope) = (self.client.clone(), Scope::Namespace(self.namespace.clone()));
        let engine = move || Arc::new(KubernetesEngine::new(client.clone(), scope.clone())) as Arc<dyn Engine>;
        self.operator_with(identity, engine, removal_limit)
    }

    /// An operator that is started again whenever it loses its lead, as its pod would be.
    pub fn operator_with(
        &self,
        identity: &str,
        engine: impl Fn() -> Arc<dyn Engine> + Send + 'static,
        removal_limit: Duration,
    ) -> Running {
        let scope = Scope::Namespace(self.namespace.clone());
        run_again_and_again(self.client.clone(), scope, &self.namespace, identity, engine, removal_limit)
    }

    /// The spec that tests begin with.
    pub fn spec(&self) -> Value {
        json!({
            "githubConfigUrl": format!("{}/acme", self.url),
            "githubConfigSecret": SECRET,
            "containerMode": "kubernetes-novolume",
            "maxRunners": 4,
        })
    }

    /// Applies a resource with these fields beside or instead of the usual ones.
    pub async fn apply(&self, name: &str, fields: &Value) {
        let mut spec = self.spec();
        for (field, value) in fields.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        let object = json!({"metadata": {"name": name}, "spec": spec});
        let patch = Patch::Apply(typed(&object, crd::API_VERSION, "RunnerScaleSet"));
        let applied = self.resources().patch(name, &PatchParams::apply("test").force(), &patch).await;
        applied.expect("the resource is accepted");
    }

    /// Waits until a condition of a resource has this status; the condition.
    pub async fn condition(&self, name: &str, type_: &str, status: &str) -> Value {
        let found = |object: &DynamicObject| find(object, type_).filter(|condition| condition["status"] == *status);
        let object = self.resource(name, &format!("{type_} {status}"), |object| found(object).is_some()).await;
        found(&object).expect("it was found")
    }

    /// Waits until a resource is such; it.
    pub async fn resource(&self, name: &str, what: &str, is: impl Fn(&DynamicObject) -> bool) -> DynamicObject {
        let condition = |object: Option<&DynamicObject>| object.is_some_and(&is);
        let waited = tokio::time::timeout(PATIENCE, await_condition(self.resources(), name, condition)).await;
        let Ok(found) = waited else {
            let object = self.resources().get_opt(name).await;
            panic!("{name} never became {what}: {:#}\n{:#}", json!(object.ok()), self.simulator.ledger());
        };
        found.expect("the resource can be watched").expect("it is there")
    }

    /// Deletes a resource and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let resources = self.resources();
        let object = resources.get(name).await.expect("it is there");
        resources.delete(name, &DeleteParams::default()).await.expect("it can be deleted");
        let uid = object.uid().expect("a uid");
        let gone = await_condition(resources, name, conditions::is_deleted(&uid));
        let left = tokio::time::timeout(PATIENCE, gone).await;
        if left.is_err() {
            let object = self.resources().get_opt(name).await;
            panic!("{name} is not gone: {:#}\n{:#}", json!(object.ok()), self.simulator.ledger());
        }
    }

    pub fn queue(&self, label: &str, count: u32, script: &str) -> Vec<String> {
        self.simulator.queue(&JobRequest {
            labels: vec![label.to_owned()],
            count: Some(count),
            script: Some(script.to_owned()),
            ..JobRequest::default()
        })
    }

    /// GitHub's side does not answer any more.
    pub fn go_dark(&self) {
        self.serving.abort();
    }

    pub fn jobs(&self) -> Vec<Value> {
        self.simulator.ledger()["jobs"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for the ledger to be such.
    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            if tokio::time::Instant::now() > end {
                let pods = self.names::<Pod>().await;
                panic!("{what} never came: {:#}\n{pods:?}", self.simulator.ledger());
            }
            // The ledger is a program's memory: there is nothing to be waited for.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_jobs_end(&self) {
        self.until("the end of all jobs", |world| world.jobs().iter().all(|job| job["status"] == "completed")).await;
    }

    /// Waits until there are so many runner pods that are not on their way out; their names.
    pub async fn pods(&self, count: usize) -> Vec<String> {
        let pods: Api<Pod> = self.api();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let list = pods.list(&ListParams::default().labels("deskrun.dev/runner")).await.expect("a list");
            let alive = list.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let names: Vec<String> = alive.map(ResourceExt::name_any).collect();
            if names.len() == count {
                return names;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "there are {names:?}, not {count}: {:#}",
                self.simulator.ledger()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Names of all objects of a kind.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug,
    {
        let list = self.api::<K>().list(&ListParams::default()).await.expect("a list");
        list.items.iter().map(ResourceExt::name_any).collect()
    }

    /// Nothing is left of scale sets that are gone: neither in the cluster nor at GitHub.
    pub async fn assert_nothing_left(&self) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut left = self.names::<Pod>().await;
            left.extend(self.names::<Secret>().await.into_iter().filter(|name| name != SECRET));
            left.extend(self.names::<ConfigMap>().await.into_iter().filter(|name| name != "kube-root-ca.crt"));
            for kind in ["runners", "sessions", "scaleSets"] {
                let ledger = self.simulator.ledger();
                left.extend(ledger[kind].as_array().into_iter().flatten().map(|one| format!("{kind}: {one}")));
            }
            if left.is_empty() {
                return;
            }
            // What has an owner goes a moment after it.
            assert!(tokio::time::Instant::now() < end, "left over: {left:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Every job ran once, and ended as it should.
    pub fn assert_each_ran_once(&self, ids: &[String]) {
        let ran = self.runner.ran.lock().expect("no panic").clone();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for id in &ran {
            *counts.entry(id).or_default() += 1;
        }
        for id in ids {
            assert_eq!(counts.get(id.as_str()), Some(&1), "job {id} ran so often: {:#}", self.simulator.ledger());
        }
    }
}

/// An operator of all namespaces, which lives in this one.
pub fn operator_everywhere(client: Client, namespace: &str) -> Running {
    let clients = client.clone();
    let engine = move || Arc::new(KubernetesEngine::new(clients.clone(), Scope::AllNamespaces)) as Arc<dyn Engine>;
    run_again_and_again(client, Scope::AllNamespaces, namespace, "operator-0", engine, Duration::from_mins(5))
}

/// An operator that is started again whenever it loses its lead, as its pod would be.
fn run_again_and_again(
    client: Client,
    scope: Scope,
    namespace: &str,
    identity: &str,
    engine: impl Fn() -> Arc<dyn Engine> + Send + 'static,
    removal_limit: Duration,
) -> Running {
    let (namespace, identity) = (namespace.to_owned(), identity.to_owned());
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        loop {
            let (environment, metrics) = (Environment::system(), Metrics::default());
            let settings = Settings {
                client: client.clone(),
                engine: engine(),
                scope: scope.clone(),
                controller: format!("{namespace}-deskrun"),
                environment: environment.clone(),
                metrics: metrics.clone(),
                keeps_stock: false,
                removal_limit,
            };
            let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
            let (name, identity) = ("deskrun".to_owned(), identity.clone());
            let candidate = Candidate { leases, name, identity, environment };
            let mut stopped = stopped.clone();
            let told = async move { drop(stopped.wait_for(|stop| *stop).await) };
            if run(settings, candidate, Admin::new(metrics), told).await.is_ok() {
                return;
            }
        }
    });
    Running { stop, task }
}

/// A condition of a resource.
pub fn find(object: &DynamicObject, type_: &str) -> Option<Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_).cloned()
}

fn api_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("deskrun.dev", "v1alpha1", "RunnerScaleSet");
    ApiResource::from_gvk_with_plural(&kind, "runnerscalesets")
}

fn typed(object: &Value, version: &str, kind: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(version);
    object["kind"] = json!(kind);
    object
}
