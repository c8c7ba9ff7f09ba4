//! The life of one pod: it is prepared, its process runs, its status says how it ended, and it goes when it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deskrun::secret::Secret;
use deskrun::simulator::stand_in::JIT_CONFIG;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use super::status::{self, End};
use super::{Decide, Fate, Inner, Log, Orders, Process, Signal, Start, environment};

/// How often a kubelet looks for a secret that is missing; a real one takes longer.
const RETRY: Duration = Duration::from_millis(200);
/// A container that was killed.
const KILLED: i32 = 137;

/// Plays a pod until its object is gone.
pub(super) async fn live(
    kubelet: Arc<Inner>,
    pod: Arc<Pod>,
    decide: Option<Decide>,
    mut orders: channel::Receiver<Orders>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let fate = decide.map_or_else(Fate::waits, |decide| decide(&pod));
    let life = Life { kubelet, pod, log };
    let told = orders.clone();
    tokio::select! {
        () = life.play(fate, told) => {}
        _ = orders.wait_for(|orders| orders.gone) => {}
    }
}

struct Life {
    kubelet: Arc<Inner>,
    pod: Arc<Pod>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Life {
    async fn play(&self, fate: Fate, mut orders: channel::Receiver<Orders>) {
        let told = orders.clone();
        let status = tokio::select! {
            status = self.until_end(fate, told) => Some(status),
            _ = orders.wait_for(|orders| orders.lost) => None,
        };
        let _ = orders.wait_for(|orders| !orders.lost).await;
        self.patch(&status.unwrap_or_else(|| self.forgotten())).await;
        let _ = orders.wait_for(|orders| orders.deletion.is_some() && !orders.lost).await;
        self.remove().await;
    }

    /// Its last status.
    async fn until_end(&self, fate: Fate, mut orders: channel::Receiver<Orders>) -> Value {
        let ready = tokio::select! {
            ready = self.prepare(fate) => ready,
            _ = orders.wait_for(|orders| orders.deletion.is_some()) => return self.forgotten(),
        };
        match ready {
            Ok((process, start, signal)) => self.run(&*process, start, signal, orders).await,
            Err(status) => status,
        }
    }

    /// Everything before the process; the error is the status of a pod that never gets so far.
    async fn prepare(
        &self,
        mut fate: Fate,
    ) -> Result<(Arc<dyn Process>, Start, channel::Sender<Option<Signal>>), Value> {
        let pod = &*self.pod;
        let waiting = |reason: &str, message: &str| status::waiting(pod, Timestamp::now(), reason, message);
        loop {
            match fate {
                Fate::Late(after, then) => {
                    tokio::time::sleep(after).await;
                    fate = *then;
                }
                Fate::Ignored => return std::future::pending().await,
                Fate::Refused(reason, message) => return Err(status::put_out(reason, message, Timestamp::now())),
                Fate::InitFails { code, says } => {
                    self.write(says);
                    return Err(status::init_failed(pod, code, Timestamp::now()));
                }
                Fate::CannotMount(message) => {
                    self.patch(&waiting("ContainerCreating", "")).await;
                    self.event("FailedMount", message).await;
                    return std::future::pending().await;
                }
                Fate::CannotPull => {
                    let image = status::main_container(pod).and_then(|container| container.image.clone());
                    let image = image.unwrap_or_default();
                    self.event("Failed", &format!("Failed to pull image \"{image}\": not found")).await;
                    self.patch(&waiting("ErrImagePull", &format!("failed to pull \"{image}\": not found"))).await;
                    self.patch(&waiting("ImagePullBackOff", &format!("Back-off pulling image \"{image}\""))).await;
                    return std::future::pending().await;
                }
                Fate::Runs(process) => {
                    let (start, signal) = self.start().await;
                    return Ok((process, start, signal));
                }
            }
        }
    }

    /// What the process is started with, once all that it refers to is there.
    async fn start(&self) -> (Start, channel::Sender<Option<Signal>>) {
        let mut said = String::new();
        let mut environment = loop {
            let Some(container) = status::main_container(&self.pod) else { return std::future::pending().await };
            match environment::resolve(&self.kubelet.client, &self.pod, container).await {
                Ok(environment) => break environment,
                Err(words) if words != said => {
                    let now = Timestamp::now();
                    self.patch(&status::waiting(&self.pod, now, "CreateContainerConfigError", &words)).await;
                    said = words;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        };
        let (signal, signals) = channel::channel(None);
        let log = Arc::clone(&self.log);
        let start = Start {
            runner: self.pod.metadata.name.clone().unwrap_or_default(),
            jit_config: Secret::new(&environment.remove(JIT_CONFIG).unwrap_or_default()),
            environment,
            signals,
            log: Log::new(move |line| log.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned())),
        };
        (start, signal)
    }

    async fn run(
        &self,
        process: &dyn Process,
        start: Start,
        signal: channel::Sender<Option<Signal>>,
        orders: channel::Receiver<Orders>,
    ) -> Value {
        let started = Timestamp::now();
        self.patch(&status::running(&self.pod, started)).await;
        let (mut ends, mut evictions) = (orders.clone(), orders.clone());
        let (code, reason) = tokio::select! {
            code = process.run(start) => (code, if code == 0 { "Completed" } else { "Error" }),
            end = ends.wait_for(|orders| orders.end.is_some()) => {
                end.ok().and_then(|orders| orders.end).unwrap_or((KILLED, "Error"))
            }
            evicted = evictions.wait_for(|orders| orders.evicted.is_some()) => {
                let words = evicted.ok().and_then(|orders| orders.evicted.clone()).unwrap_or_default();
                return status::put_out("Evicted", &words, Timestamp::now());
            }
            () = grace(orders, &signal) => (KILLED, "Error"),
        };
        status::ended(&self.pod, End { code, reason, started, at: Timestamp::now() })
    }

    /// Of its container nothing is known but that it is not there.
    fn forgotten(&self) -> Value {
        let now = Timestamp::now();
        status::ended(&self.pod, End { code: KILLED, reason: "ContainerStatusUnknown", started: now, at: now })
    }

    fn write(&self, line: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.kubelet.client.clone(), namespace)
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    async fn patch(&self, status: &Value) {
        let (api, parameters, patch) = (self.api(), PatchParams::default(), Patch::Merge(status));
        self.kubelet.write(|| api.patch_status(self.name(), &parameters, &patch)).await;
    }

    async fn remove(&self) {
        let uid = self.pod.metadata.uid.clone();
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let api = self.api();
        self.kubelet.write(|| api.delete(self.name(), &parameters)).await;
    }

    async fn event(&self, reason: &str, message: &str) {
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let now = format!("{:.0}", Timestamp::now());
        let event = json!({
            "metadata": {"generateName": format!("{}.", self.name()), "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": self.name(), "namespace": namespace,
                "uid": self.pod.metadata.uid,
            },
            "type": "Warning", "reason": reason, "message": message,
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet", "reportingInstance": node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let event: Event = serde_json::from_value(event).expect("an event");
        let events: Api<Event> = Api::namespaced(self.kubelet.client.clone(), &namespace);
        let parameters = PostParams::default();
        self.kubelet.write(|| events.create(&parameters, &event)).await;
    }
}

/// Tells the process to end when the pod is told to go; returns when the grace is over.
async fn grace(mut orders: channel::Receiver<Orders>, signal: &channel::Sender<Option<Signal>>) {
    loop {
        let deletion = orders.wait_for(|orders| orders.deletion.is_some()).await;
        let Some(grace) = deletion.ok().and_then(|orders| orders.deletion) else {
            return std::future::pending().await;
        };
        signal.send_replace(Some(Signal::Terminate));
        // A second removal may give less grace.
        let shorter = orders.wait_for(|orders| orders.deletion != Some(grace));
        if tokio::time::timeout(grace, shorter).await.is_err() {
            return;
        }
    }
}
