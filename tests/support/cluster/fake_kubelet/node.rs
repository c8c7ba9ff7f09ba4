//! Node objects and their heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Inner;

/// As a real kubelet's.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Where kubelets keep their leases.
const LEASES: &str = "kube-node-lease";

/// A node to be played.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// As in a Node's spec.
    pub taints: Vec<Value>,
    /// How many pods have room.
    pub pods: u32,
}

impl Node {
    /// A node with room for all.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: BTreeMap::new(), taints: Vec::new(), pods: 100_000 }
    }

    /// With a label, to be selected by.
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With a taint, so that only pods come that tolerate it.
    pub fn tainted(mut self, key: &str, value: &str) -> Self {
        self.taints.push(json!({"key": key, "value": value, "effect": "NoSchedule"}));
        self
    }
}

/// A node that is played.
pub(super) struct Played {
    /// Its heart beats.
    alive: bool,
}

pub(super) async fn add(kubelet: &Inner, node: Node) {
    let nodes: Api<NodeObject> = Api::all(kubelet.client.clone());
    let Node { name, mut labels, taints, pods } = node;
    labels.insert("kubernetes.io/hostname".to_owned(), name.clone());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    labels.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
    let object = json!({"metadata": {"name": name, "labels": labels}});
    let object = serde_json::from_value(object).expect("a node");
    nodes.create(&PostParams::default(), &object).await.expect("the node can be made");
    let room = json!({"cpu": "100000", "memory": "1000Ti", "ephemeral-storage": "1000Ti", "pods": pods.to_string()});
    let status = json!({"status": {
        "capacity": room,
        "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.log_port}},
        "nodeInfo": {"kubeletVersion": "v1.34.4", "containerRuntimeVersion": "played://1"},
        "conditions": [ready("True")],
    }});
    patch_status(kubelet, &name, &status).await;
    kubelet.state().nodes.insert(name.clone(), Played { alive: true });
    renew(kubelet, &name).await;
    // A new node is tainted as not ready; its own controller would find out in its time.
    let taints = json!({"spec": {"taints": taints}});
    nodes.patch(&name, &PatchParams::default(), &Patch::Merge(taints)).await.expect("the node is there");
}

pub(super) async fn set_ready(kubelet: &Inner, name: &str, value: &str) {
    if let Some(node) = kubelet.state().nodes.get_mut(name) {
        node.alive = value == "True";
    }
    if value == "True" {
        renew(kubelet, name).await;
    }
    patch_status(kubelet, name, &json!({"status": {"conditions": [ready(value)]}})).await;
}

/// Keeps the leases of living nodes.
pub(super) async fn beat(kubelet: Arc<Inner>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let alive: Vec<String> = {
            let state = kubelet.state();
            state.nodes.iter().filter(|(_, node)| node.alive).map(|(name, _)| name.clone()).collect()
        };
        for name in alive {
            renew(&kubelet, &name).await;
        }
    }
}

fn ready(value: &str) -> Value {
    let now = Timestamp::now();
    let reason = if value == "True" { "KubeletReady" } else { "NodeStatusUnknown" };
    json!({"type": "Ready", "status": value, "reason": reason, "message": "played", "lastHeartbeatTime": now, "lastTransitionTime": now})
}

async fn patch_status(kubelet: &Inner, name: &str, status: &Value) {
    let nodes: Api<NodeObject> = Api::all(kubelet.client.clone());
    let parameters = PatchParams::default();
    let patch = Patch::Strategic(status);
    kubelet.write(|| nodes.patch_status(name, &parameters, &patch)).await;
}

async fn renew(kubelet: &Inner, name: &str) {
    let leases: Api<Lease> = Api::namespaced(kubelet.client.clone(), LEASES);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro(Timestamp::now())},
    });
    let parameters = PatchParams::apply("fake-kubelet").force();
    let patch = Patch::Apply(lease);
    kubelet.write(|| leases.patch(name, &parameters, &patch)).await;
}

/// A `MicroTime`: with six digits, no more, no less.
fn micro(time: Timestamp) -> String {
    format!("{time:.6}")
}
