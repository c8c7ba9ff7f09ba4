//! The routes of the API server that the engine uses, each with a limit of its own.
//!
//! Writes ask for the metadata of what they wrote: nothing else is wanted of it, and the answer to a Secret's POST holds no
//! secret then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch, PatchParams,
    Preconditions,
};
use kube::runtime::watcher;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Scope;
use super::watched::WatchedPod;

/// Under this name server-side apply remembers what is ours.
const FIELD_MANAGER: &str = "deskrun";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// A server that has not answered until then is away.
const LIMIT: Duration = Duration::from_secs(30);
/// Writes that are under way at a time: a burst of a thousand runners must not become a thousand connections.
const WRITES_AT_A_TIME: usize = 48;
/// Waits before a write is repeated that the server asked to repeat.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// The server ends a watch after so many seconds, and it is begun anew: so a connection that died silently is noticed.
const WATCH_SECONDS: u32 = 110;
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Groups whose kinds have the plurals that everyone expects. Others are asked for, once.
const WELL_KNOWN: [&str; 5] = ["", "apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io"];

/// What an engine makes and removes under a runner's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Secret,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the call failed")]
    Kube(#[from] kube::Error),
    #[error("there was no answer within {} s", LIMIT.as_secs())]
    Slow,
}

/// An API server.
pub(super) struct Service {
    client: kube::Client,
    scope: Scope,
    writes: Semaphore,
    resources: Mutex<BTreeMap<(String, String), ApiResource>>,
}

/// What of an object's metadata is asked for. The rest is not even read: who wrote which field is most of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Answers {
    #[serde(default)]
    metadata: ListMetadata,
    /// An API server writes a list without items as `null`.
    items: Option<Vec<Answer>>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Secret => "secrets",
        }
    }
}

impl CallError {
    /// The server's words, if it had any.
    pub(super) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// Whether the same may go well a little later: the server does too much at once, counts a quota, or has just started and
    /// has not read yet who may do what.
    pub(super) fn is_passing(&self) -> bool {
        self.status().is_some_and(|status| match status.code {
            401 | 429 | 503 => true,
            403 => status.message.contains(" cannot ") && status.message.contains("RBAC: "),
            409 => status.message.contains("resourcequotas") && status.message.contains("has been modified"),
            _ => false,
        })
    }

    fn has_code(&self, code: u16) -> bool {
        self.status().is_some_and(|status| status.code == code)
    }
}

impl Service {
    pub(super) fn new(client: kube::Client, scope: Scope) -> Self {
        Self { client, scope, writes: Semaphore::new(WRITES_AT_A_TIME), resources: Mutex::default() }
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Makes an object of a new name. What the server does not know in it is refused, not dropped.
    pub(super) async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        object: &Value,
        tried_only: bool,
    ) -> Result<Metadata, CallError> {
        let tried = if tried_only { "&dryRun=All" } else { "" };
        let uri = format!("{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{tried}", path(kind, Some(namespace)));
        let answer: Answer = self.write(Method::POST, &uri, "application/json", object).await?;
        Ok(answer.metadata)
    }

    /// Begins to delete an object, only that of this uid where one is given. Whether there was one.
    pub(super) async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<bool, CallError> {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(uid) = uid {
            options["preconditions"] = json!({"uid": uid});
        }
        if let Some(grace) = grace {
            options["gracePeriodSeconds"] = json!(grace.as_secs());
        }
        let uri = format!("{}/{name}", path(kind, Some(namespace)));
        let deleted: Result<Value, CallError> = self.write(Method::DELETE, &uri, "application/json", &options).await;
        there(deleted.map(drop))
    }

    /// Sets an annotation of a pod; whether there is one.
    pub(super) async fn annotate(
        &self,
        namespace: &str,
        pod: &str,
        name: &str,
        value: &str,
    ) -> Result<bool, CallError> {
        let patch = json!({"metadata": {"annotations": {name: value}}});
        let uri = format!("{}/{pod}?fieldManager={FIELD_MANAGER}", path(Kind::Pod, Some(namespace)));
        let patched: Result<Value, CallError> =
            self.write(Method::PATCH, &uri, "application/merge-patch+json", &patch).await;
        there(patched.map(drop))
    }

    /// The metadata of an object; `None` if there is none.
    pub(super) async fn metadata(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Metadata>, CallError> {
        let uri = format!("{}/{name}", path(kind, Some(namespace)));
        match self.call::<Answer>(request(Method::GET, &uri, METADATA, None)?).await {
            Ok(answer) => Ok(Some(answer.metadata)),
            Err(error) if error.has_code(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The metadata of all objects with these labels, of one namespace or of the whole scope.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Metadata>, CallError> {
        let path = path(kind, namespace.or(self.scope.namespace()));
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let uri = format!("{path}?limit={PAGE}&labelSelector={}{next}", escaped(labels));
            let answers: Answers = self.call(request(Method::GET, &uri, METADATA_LIST, None)?).await?;
            all.extend(answers.items.into_iter().flatten().map(|answer| answer.metadata));
            match answers.metadata.next.filter(|next| !next.is_empty()) {
                Some(token) => next = format!("&continue={}", escaped(&token)),
                None => return Ok(all),
            }
        }
    }

    /// Brings an object that runners share into the form that is given.
    pub(super) async fn apply(&self, namespace: &str, object: &Value, tried_only: bool) -> Result<(), CallError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let name = text(&object["metadata"]["name"]);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        let api = self.api(namespace, &version, &kind).await?;
        let mut parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        parameters.dry_run = tried_only;
        let patch = Patch::Apply(object);
        self.patiently(|| within(api.patch(&name, &parameters, &patch))).await.map(drop)
    }

    /// Deletes an object that runners shared, if it has this label; whether there was one.
    pub(super) async fn delete_shared(
        &self,
        namespace: &str,
        version: &str,
        kind: &str,
        name: &str,
        (label, value): (&str, &str),
    ) -> Result<bool, CallError> {
        let api = self.api(namespace, version, kind).await?;
        let there = match within(api.get_metadata(name)).await {
            Ok(there) => there.metadata,
            Err(error) if error.has_code(404) => return Ok(false),
            Err(error) => return Err(error),
        };
        if there.labels.as_ref().and_then(|labels| labels.get(label)).is_none_or(|of| of != value) {
            return Ok(false);
        }
        let only = Preconditions { uid: there.uid, resource_version: None };
        let only = DeleteParams::default().preconditions(only);
        self::there(self.patiently(|| within(api.delete(name, &only))).await.map(drop))
    }

    /// Objects of this kind with these labels, in the whole scope.
    pub(super) async fn list_shared(
        &self,
        version: &str,
        kind: &str,
        labels: &str,
    ) -> Result<Vec<ObjectMeta>, CallError> {
        let resource = self.resource(version, kind).await?;
        let api: Api<DynamicObject> = match self.scope.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let listed = within(api.list_metadata(&ListParams::default().labels(labels))).await?;
        Ok(listed.items.into_iter().map(|item| item.metadata).collect())
    }

    /// All pods with this label, and what becomes of them.
    pub(super) fn watch_pods(
        &self,
        labels: &str,
    ) -> impl Stream<Item = watcher::Result<watcher::Event<WatchedPod>>> + use<> {
        let api: Api<WatchedPod> = match self.scope.namespace() {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        watcher(api, watcher::Config::default().labels(labels).timeout(WATCH_SECONDS))
    }

    /// A whole pod.
    pub(super) async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Pod>, CallError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        within(api.get_opt(name)).await
    }

    /// The last lines of a container; nothing if it has not begun.
    pub(super) async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        lines: usize,
    ) -> Result<String, CallError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let tail_lines = Some(i64::try_from(lines).unwrap_or(i64::MAX));
        let parameters = LogParams { container: Some(container.to_owned()), tail_lines, ..LogParams::default() };
        within(api.logs(pod, &parameters)).await
    }

    /// What went wrong with a pod, as kubelet and scheduler told it.
    pub(super) async fn warnings(&self, namespace: &str, uid: &str) -> Result<Vec<Event>, CallError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let listed = within(api.list(&ListParams::default().fields(&fields))).await?;
        Ok(listed.items)
    }

    async fn api(&self, namespace: &str, version: &str, kind: &str) -> Result<Api<DynamicObject>, CallError> {
        let resource = self.resource(version, kind).await?;
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    /// Where the API of a kind is. A user's layers may bring any.
    async fn resource(&self, version: &str, kind: &str) -> Result<ApiResource, CallError> {
        let (group, version_alone) = version.rsplit_once('/').unwrap_or(("", version));
        let wanted = GroupVersionKind::gvk(group, version_alone, kind);
        if WELL_KNOWN.contains(&group) {
            return Ok(ApiResource::from_gvk(&wanted));
        }
        let key = (version.to_owned(), kind.to_owned());
        let known = || self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = known().get(&key) {
            return Ok(resource.clone());
        }
        let (resource, _) = within(kube::discovery::pinned_kind(&self.client, &wanted)).await?;
        known().insert(key, resource.clone());
        Ok(resource)
    }

    async fn write<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        content: &str,
        body: &Value,
    ) -> Result<T, CallError> {
        let request = request(method, uri, METADATA, Some((content, body)))?;
        self.patiently(|| self.call(request.clone())).await
    }

    /// A write, once more and again where the server asks for it.
    async fn patiently<T, F>(&self, write: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        // The semaphore is never closed.
        let _permit = self.writes.acquire().await;
        for wait in WAITS {
            match write().await {
                Err(error) if error.is_passing() => tokio::time::sleep(wait).await,
                written => return written,
            }
        }
        write().await
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, request: Request<Vec<u8>>) -> Result<T, CallError> {
        let text = within(self.client.request_text(request)).await?;
        // Not by the client: it would log a text that it cannot read.
        serde_json::from_str(&text).map_err(|error| CallError::Kube(kube::Error::SerdeError(error)))
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Service").field("scope", &self.scope).finish_non_exhaustive()
    }
}

async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::Slow),
    }
}

/// Whether there was something to change: gone, or another one of that name, is not there.
fn there(changed: Result<(), CallError>) -> Result<bool, CallError> {
    match changed {
        Ok(()) => Ok(true),
        Err(error) if error.has_code(404) || error.has_code(409) => Ok(false),
        Err(error) => Err(error),
    }
}

fn path(kind: Kind, namespace: Option<&str>) -> String {
    let plural = kind.plural();
    namespace
        .map_or_else(|| format!("/api/v1/{plural}"), |namespace| format!("/api/v1/namespaces/{namespace}/{plural}"))
}

fn request(
    method: Method,
    uri: &str,
    accept: &str,
    body: Option<(&str, &Value)>,
) -> Result<Request<Vec<u8>>, CallError> {
    let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, format!("{accept},application/json"));
    let mut bytes = Vec::new();
    if let Some((content, body)) = body {
        request = request.header(CONTENT_TYPE, content);
        bytes = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    }
    Ok(request.body(bytes).map_err(kube::Error::HttpError)?)
}

/// A text in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
