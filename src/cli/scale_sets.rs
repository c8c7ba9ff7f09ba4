//! The `RunnerScaleSet`s of a cluster as commands see them: listed, watched, deleted.

use anyhow::{Context, bail};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::{api, patiently, plain};
use crate::crd::{API_VERSION, RunnerScaleSetStatus};

/// Our finalizers begin with this.
const OURS: &str = "deskrun.dev/";

/// One of a namespace, or of all.
pub(super) fn scale_sets(cluster: &Cluster, namespace: Option<&str>) -> Api<DynamicObject> {
    api(&cluster.client, API_VERSION, "RunnerScaleSet", namespace)
}

/// All of them, by namespace and name; none where the cluster does not know the kind.
pub(super) async fn list(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Vec<Found>> {
    let (api, all) = (scale_sets(cluster, namespace), ListParams::default());
    let listed = match patiently(|| api.list(&all)).await {
        Ok(listed) => listed.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => {
            return Err(plain(error)).with_context(|| format!("the cluster at {} cannot be asked", cluster.url));
        }
    };
    let mut found: Vec<Found> = listed.into_iter().map(Found).collect();
    found.sort_by_key(|found| (found.namespace().to_owned(), found.name().to_owned()));
    Ok(found)
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Found(DynamicObject);

impl Found {
    pub(super) fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.0.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn created_at(&self) -> jiff::Timestamp {
        self.0.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default()
    }

    pub(super) fn is_going(&self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// Whether an operator has to let it go.
    pub(super) fn is_held(&self) -> bool {
        self.0.metadata.finalizers.iter().flatten().any(|finalizer| finalizer.starts_with(OURS))
    }

    pub(super) fn spec(&self) -> &Value {
        &self.0.data["spec"]
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.spec()[field].as_str().unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> Option<u32> {
        self.spec()[field].as_u64().and_then(|number| u32::try_from(number).ok())
    }

    /// The names at GitHub.
    pub(super) fn instances(&self) -> Vec<String> {
        match self.number("instances") {
            None => vec![self.name().to_owned()],
            Some(count) => (1..=count).map(|number| format!("{}-{number}", self.name())).collect(),
        }
    }

    /// The document that a user would have written.
    pub(super) fn document(&self) -> String {
        let metadata = json!({"name": self.name(), "namespace": self.namespace()});
        json!({"apiVersion": API_VERSION, "kind": "RunnerScaleSet", "metadata": metadata, "spec": self.spec()})
            .to_string()
    }

    /// What the operator says; nothing where none has said anything.
    pub(super) fn status(&self) -> RunnerScaleSetStatus {
        serde_json::from_value(self.0.data["status"].clone()).unwrap_or_default()
    }

    /// The object as commands judge it.
    pub(super) fn json(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }

    /// Asks for its deletion; what it owns goes with it, when it goes.
    pub(super) async fn delete(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let (api, parameters) = (scale_sets(cluster, Some(self.namespace())), DeleteParams::background());
        match patiently(|| api.delete(self.name(), &parameters)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(plain(error)).with_context(|| format!("cannot delete runnerscaleset/{}", self.name())),
        }
    }

    /// Takes our finalizers away: whatever an operator would have taken out at GitHub stays there.
    pub(super) async fn let_go(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let kept: Vec<&String> =
            self.0.metadata.finalizers.iter().flatten().filter(|finalizer| !finalizer.starts_with(OURS)).collect();
        let patch = Patch::Merge(json!({"metadata": {"finalizers": kept, "uid": self.uid()}}));
        let api = scale_sets(cluster, Some(self.namespace()));
        match api.patch(self.name(), &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(plain(error)).with_context(|| format!("cannot let runnerscaleset/{} go", self.name())),
        }
    }
}

/// The one of a name.
pub(super) fn named(found: Vec<Found>, name: &str, namespace: &str) -> anyhow::Result<Found> {
    let names: Vec<String> = found.iter().map(|found| found.name().to_owned()).collect();
    match found.into_iter().find(|found| found.name() == name) {
        Some(found) => Ok(found),
        None if names.is_empty() => bail!("there is no RunnerScaleSet in {namespace}"),
        None => bail!("there is no RunnerScaleSet `{name}` in {namespace}; there are: {}", names.join(", ")),
    }
}

/// Rings whenever one of them changes, and once for each that is there.
pub(super) fn changes(cluster: &Cluster, namespace: &str) -> impl futures::Stream<Item = ()> + use<> {
    use futures::StreamExt;
    let watched =
        kube::runtime::watcher(scale_sets(cluster, Some(namespace)), kube::runtime::watcher::Config::default());
    watched.default_backoff().map(drop)
}
