//! A cluster on the bench: a real API server, and a node that is played. No container runs.

use std::sync::Arc;

use deskrun::engine::Engine;
use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::manifest::RunnerManifest;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};
use serde_json::json;

use crate::bench::{Bench, Breakable, Runner};
use crate::cluster::{ControlPlane, FakeKubelet, Fate, Node, Options};
use crate::podman_bench;

const BEHAVIOUR: &str = "test/behaviour";

pub struct KubernetesBench {
    pub control_plane: ControlPlane,
    pub kubelet: FakeKubelet,
    /// Where the suite's runners live.
    pub namespace: String,
}

impl KubernetesBench {
    pub async fn start() -> Result<Self, String> {
        let control_plane = ControlPlane::start(Options { audit: true, ..Options::default() }).await?;
        let kubelet = FakeKubelet::start(control_plane.client()).await?;
        kubelet.add_node(Node::new("node-1")).await;
        let namespace = control_plane.namespace(&[]).await;
        let bench = Self { control_plane, kubelet, namespace };
        bench.behave(&bench.namespace);
        Ok(bench)
    }

    /// From now on pods of this namespace do what their annotation says.
    pub fn behave(&self, namespace: &str) {
        self.kubelet.behave(namespace, |pod| {
            let annotations = pod.metadata.annotations.as_ref();
            match annotations.and_then(|annotations| annotations.get(BEHAVIOUR)).map(String::as_str) {
                Some("IgnoresTerm") => Fate::ignores_term(),
                Some("PreparationFails") => Fate::InitFails { code: 3, says: "prepared nothing" },
                Some("Speaks") => Fate::exits(0, &["line 1", "line 2", "line 3"]),
                Some("CannotPull") => Fate::CannotPull,
                Some("CannotMount") => Fate::CannotMount("hostPath type check failed: /nvme is not a directory"),
                _ => Fate::waits(),
            }
        });
    }

    /// An engine for runners of one namespace.
    pub fn engine_in(&self, namespace: &str) -> KubernetesEngine {
        KubernetesEngine::standalone(self.control_plane.client(), Scope::Namespace(namespace.to_owned()))
    }

    /// A client whose requests are told from others' in the audit log.
    pub async fn client_called(&self, name: &str) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(self.control_plane.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.expect("a configuration");
        config.headers.push((USER_AGENT, HeaderValue::from_str(name).expect("a name")));
        kube::Client::try_from(config).expect("a client")
    }

    /// What a client of this name asked for so far, watches aside: `create pods`.
    pub fn requests_of(&self, name: &str) -> Vec<String> {
        let audit = self.control_plane.audit();
        let own = audit.iter().filter(|event| event["userAgent"] == name && event["verb"] != "watch");
        own.map(|event| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}", text(&event["verb"]), text(&event["objectRef"]["resource"]))
        })
        .collect()
    }

    /// Names of all objects of a namespace that engines make, with their kinds.
    pub async fn objects(&self, namespace: &str) -> Vec<String> {
        let client = self.control_plane.client();
        let all = ListParams::default();
        let pods = Api::<Pod>::namespaced(client.clone(), namespace).list_metadata(&all).await.expect("pods");
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace).list_metadata(&all).await.expect("secrets");
        let maps = Api::<ConfigMap>::namespaced(client, namespace).list_metadata(&all).await.expect("maps");
        let named = |kind: &str, names: Vec<Option<String>>| -> Vec<String> {
            names.into_iter().flatten().map(|name| format!("{kind} {name}")).collect()
        };
        let mut objects = named("pod", pods.items.into_iter().map(|object| object.metadata.name).collect());
        objects.extend(named("secret", secrets.items.into_iter().map(|object| object.metadata.name).collect()));
        objects.extend(named("configmap", maps.items.into_iter().map(|object| object.metadata.name).collect()));
        // The control plane's own.
        objects.retain(|object| object != "configmap kube-root-ca.crt");
        objects
    }
}

impl Bench for KubernetesBench {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine_in(&self.namespace))
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        manifest_in(&self.namespace, runner)
    }

    fn end<'a>(&'a self, runner: &'a str, code: u8) -> BoxFuture<'a, ()> {
        async move { self.kubelet.end(&self.namespace, runner, i32::from(code)) }.boxed()
    }

    fn leftovers<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Vec<String>> {
        let objects = self.objects(&self.namespace);
        objects.map(move |objects| objects.into_iter().filter(|object| object.contains(text)).collect()).boxed()
    }

    fn abandon<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, ()> {
        async move {
            let client = self.control_plane.client();
            let map = &manifest.companions[0];
            let shared = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": map["metadata"]["name"]}]);
            let secret = serde_json::from_value(json!({"metadata": {
                "name": manifest.name,
                "labels": manifest.pod["metadata"]["labels"],
                "annotations": {"deskrun.dev/companions": shared.to_string()},
            }}));
            let secret = secret.expect("a secret");
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
            secrets.create(&PostParams::default(), &secret).await.expect("the secret can be made");
            let map = serde_json::from_value(map.clone()).expect("a map");
            let maps: Api<ConfigMap> = Api::namespaced(client, &self.namespace);
            maps.create(&PostParams::default(), &map).await.expect("the map can be made");
        }
        .boxed()
    }

    fn breakable(&self) -> BoxFuture<'_, Box<dyn Breakable>> {
        async { Box::new(Self::start().await.expect("a second cluster")) as Box<dyn Breakable> }.boxed()
    }
}

impl Breakable for KubernetesBench {
    fn engine(&self) -> Arc<dyn Engine> {
        Bench::engine(self)
    }

    fn manifest(&self, runner: &Runner) -> RunnerManifest {
        Bench::manifest(self, runner)
    }

    fn break_down(&mut self) -> BoxFuture<'_, ()> {
        self.control_plane.stop_api_server().boxed()
    }

    fn mend(&mut self) -> BoxFuture<'_, ()> {
        self.control_plane.start_api_server().boxed()
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        async { drop(self) }.boxed()
    }
}

/// The bench's pod, in a namespace, with a note of what it does.
pub fn manifest_in(namespace: &str, runner: &Runner) -> RunnerManifest {
    let mut manifest = podman_bench::manifest(runner);
    Arc::make_mut(&mut manifest.pod)["metadata"]["namespace"] = json!(namespace);
    Arc::make_mut(&mut manifest.pod)["metadata"]["annotations"][BEHAVIOUR] = json!(format!("{:?}", runner.behaviour));
    let mut files = manifest.companions[0].clone();
    files["metadata"]["namespace"] = json!(namespace);
    manifest.companions = [files].into();
    manifest
}
