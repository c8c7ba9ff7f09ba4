//! Which pods there are on the nodes that are played: one watch of all, a task for each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use super::{Inner, Key, Orders, Played, life};

/// Runs for ever. The tasks of pods end with it.
pub(super) async fn run(kubelet: Arc<Inner>) {
    let pods: Api<Pod> = Api::all(kubelet.client.clone());
    let mut events = watcher::watcher(pods, watcher::Config::default()).default_backoff().boxed();
    let mut lives = tokio::task::JoinSet::new();
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.insert(pod.metadata.uid.clone().unwrap_or_default());
                seen(&kubelet, pod, &mut lives);
            }
            Ok(Event::InitDone) => kubelet.state().pods.retain(|_, played| {
                let there = listed.contains(&played.uid);
                if !there {
                    played.orders.send_modify(|orders| orders.gone = true);
                }
                there
            }),
            Ok(Event::Apply(pod)) => seen(&kubelet, pod, &mut lives),
            Ok(Event::Delete(pod)) => gone(&kubelet, &pod),
            // The API server is away; the stream tries again.
            Err(_) => {}
        }
        while lives.try_join_next().is_some() {}
    }
}

fn seen(kubelet: &Arc<Inner>, pod: Pod, lives: &mut tokio::task::JoinSet<()>) {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let Some(node) = node else {
        if kubelet.binds {
            lives.spawn(bind(Arc::clone(kubelet), pod));
        }
        return;
    };
    let key = key(&pod);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
    let deletion = pod.metadata.deletion_timestamp.as_ref().map(|_| grace);
    let mut state = kubelet.state();
    if !state.nodes.contains_key(&node) {
        return;
    }
    match state.pods.get(&key) {
        Some(played) if played.uid == uid => {
            played.orders.send_if_modified(|orders| {
                let changed = orders.deletion != deletion;
                orders.deletion = deletion;
                changed
            });
            return;
        }
        // Another of the same name was there.
        Some(played) => played.orders.send_modify(|orders| orders.gone = true),
        None => {}
    }
    let (orders, ordered) = channel::channel(Orders { deletion, ..Orders::default() });
    let log = Arc::new(Mutex::new(Vec::new()));
    let fate = state.behaviours.get(&key.0).cloned();
    state.pods.insert(key, Played { uid, node, orders, log: Arc::clone(&log) });
    drop(state);
    lives.spawn(life::live(Arc::clone(kubelet), Arc::new(pod), fate, ordered, log));
}

fn gone(kubelet: &Inner, pod: &Pod) {
    let key = key(pod);
    let mut state = kubelet.state();
    if state.pods.get(&key).is_some_and(|played| Some(&played.uid) == pod.metadata.uid.as_ref())
        && let Some(played) = state.pods.remove(&key)
    {
        played.orders.send_modify(|orders| orders.gone = true);
    }
}

/// What a scheduler does, without looking.
async fn bind(kubelet: Arc<Inner>, pod: Pod) {
    let (namespace, name) = key(&pod);
    let node = {
        let mut state = kubelet.state();
        state.bound += 1;
        let number = state.bound % state.nodes.len().max(1);
        state.nodes.keys().nth(number).cloned()
    };
    let Some(node) = node else { return };
    let pods: Api<Pod> = Api::namespaced(kubelet.client.clone(), &namespace);
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let parameters = PostParams::default();
    kubelet.write(|| pods.create_subresource::<Value, Value>("binding", &name, &parameters, &binding)).await;
}

fn key(pod: &Pod) -> Key {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&pod.metadata.namespace), text(&pod.metadata.name))
}
