//! Nodes that are played: pods that are bound to them live as a script says.
//!
//! One fake kubelet plays all nodes of a control plane; tests tell it by namespace what becomes of pods
//! ([`FakeKubelet::behave`]). It writes little: a pod that does well costs two status writes and, once it is told to go, its
//! removal. Volumes, images, probes and networks are not played.

mod environment;
mod fate;
mod life;
mod logs;
mod node;
mod status;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::{Semaphore, watch as channel};

use deskrun::engine::memory::Signal;
pub use deskrun::engine::memory::{Log, Process, Start};
pub use fate::{Fate, process};
pub use node::Node;

/// Writes at once: more only make the API server's queue longer.
const WRITES: usize = 64;

type Decide = Arc<dyn Fn(&Pod) -> Fate + Send + Sync>;
/// Namespace and name.
type Key = (String, String);

/// The kubelet of all nodes of a cluster. It ends with its last handle.
#[derive(Clone)]
pub struct FakeKubelet {
    inner: Arc<Inner>,
    /// Its tasks end when no handle is left.
    _alive: Arc<Tasks>,
}

struct Inner {
    client: Client,
    /// Binds pods itself, where no scheduler runs.
    binds: bool,
    /// Where the API server asks for logs.
    log_port: u16,
    writes: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, node::Played>,
    behaviours: HashMap<String, Decide>,
    pods: HashMap<Key, Played>,
    bound: usize,
}

/// A pod that is played.
struct Played {
    uid: String,
    node: String,
    orders: channel::Sender<Orders>,
    log: Arc<Mutex<Vec<String>>>,
}

/// What a pod is told, by the API server and by tests.
#[derive(Clone, Debug, Default)]
struct Orders {
    /// It is to go, with this grace.
    deletion: Option<Duration>,
    /// Its object is gone.
    gone: bool,
    /// Its process ends with this code now.
    end: Option<(i32, &'static str)>,
    /// It is evicted, with these words.
    evicted: Option<String>,
    /// Its node is lost: nothing is written. When it is back, it has forgotten its containers.
    lost: bool,
}

struct Tasks(Mutex<Vec<tokio::task::JoinHandle<()>>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl FakeKubelet {
    /// Starts it, without nodes.
    pub async fn start(client: Client) -> Result<Self, String> {
        Self::new(client, false).await
    }

    /// The same for a control plane without a scheduler: pods are bound to its nodes in turn.
    pub async fn binding(client: Client) -> Result<Self, String> {
        Self::new(client, true).await
    }

    async fn new(client: Client, binds: bool) -> Result<Self, String> {
        let listener = logs::Listener::bind().await.map_err(|error| format!("cannot serve logs: {error}"))?;
        let log_port = listener.port();
        let inner =
            Inner { client, binds, log_port, writes: Semaphore::new(WRITES), state: Mutex::new(State::default()) };
        let inner = Arc::new(inner);
        let tasks = vec![
            tokio::spawn(watch::run(Arc::clone(&inner))),
            tokio::spawn(node::beat(Arc::clone(&inner))),
            tokio::spawn(logs::serve(Arc::downgrade(&inner), listener)),
        ];
        Ok(Self { inner, _alive: Arc::new(Tasks(Mutex::new(tasks))) })
    }

    /// Adds a node that is ready.
    pub async fn add_node(&self, node: Node) {
        node::add(&self.inner, node).await;
    }

    /// A node stops: its pods' processes are gone, and nothing is heard of it any more. What the control plane would say
    /// after most of a minute is said at once: the node is unknown, its pods are not ready. Pods are deleted after
    /// [`Options::lost_after`](super::Options::lost_after).
    pub async fn lose_node(&self, name: &str) {
        let lost = self.each_pod_of(name, |orders| orders.lost = true);
        node::set_ready(&self.inner, name, "Unknown").await;
        let patch = Patch::Strategic(status::not_ready(Timestamp::now()));
        let parameters = PatchParams::default();
        for (namespace, pod) in lost {
            let pods: Api<Pod> = Api::namespaced(self.inner.client.clone(), &namespace);
            self.inner.write(|| pods.patch_status(&pod, &parameters, &patch)).await;
        }
    }

    /// A lost node is back. Of its containers it knows only that they ended.
    pub async fn return_node(&self, name: &str) {
        node::set_ready(&self.inner, name, "True").await;
        self.each_pod_of(name, |orders| orders.lost = false);
    }

    /// What becomes of pods of a namespace from now on. Where nothing is said, they run until they are told to end.
    pub fn behave(&self, namespace: &str, decide: impl Fn(&Pod) -> Fate + Send + Sync + 'static) {
        self.inner.state().behaviours.insert(namespace.to_owned(), Arc::new(decide));
    }

    /// The process of a pod ends with a code, now.
    pub fn end(&self, namespace: &str, pod: &str, code: i32) {
        self.order(namespace, pod, |orders| orders.end = Some((code, if code == 0 { "Completed" } else { "Error" })));
    }

    /// The kernel kills the process of a pod for its memory.
    pub fn out_of_memory(&self, namespace: &str, pod: &str) {
        self.order(namespace, pod, |orders| orders.end = Some((137, "OOMKilled")));
    }

    /// A pod is evicted for lack of something.
    pub fn evict(&self, namespace: &str, pod: &str, words: &str) {
        self.order(namespace, pod, |orders| orders.evicted = Some(words.to_owned()));
    }

    /// Namespace and name of all pods whose process may run.
    pub fn pods(&self) -> Vec<(String, String)> {
        let mut pods: Vec<Key> = self.inner.state().pods.keys().cloned().collect();
        pods.sort();
        pods
    }

    fn order(&self, namespace: &str, pod: &str, change: impl FnOnce(&mut Orders)) {
        let state = self.inner.state();
        let played = state.pods.get(&(namespace.to_owned(), pod.to_owned()));
        played.unwrap_or_else(|| panic!("{namespace}/{pod} is on no node")).orders.send_modify(change);
    }

    fn each_pod_of(&self, node: &str, change: impl Fn(&mut Orders)) -> Vec<Key> {
        let state = self.inner.state();
        let pods = state.pods.iter().filter(|(_, played)| played.node == node);
        pods.inspect(|(_, played)| played.orders.send_modify(&change)).map(|(key, _)| key.clone()).collect()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats a write until it succeeds or its object is gone: the API server may be away for a while.
    async fn write<T, F>(&self, write: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let _permit = self.writes.acquire().await.ok()?;
        loop {
            match write().await {
                Ok(done) => return Some(done),
                Err(kube::Error::Api(status)) if [400, 403, 404, 409, 422].contains(&status.code) => return None,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}
