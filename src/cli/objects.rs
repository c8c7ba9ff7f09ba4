//! Objects of a cluster as commands handle them: whatever kind they are, by server-side apply, with one field manager.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use serde_json::Value;

use super::Printer;
use super::cluster::Cluster;

/// Who applies, in `metadata.managedFields`.
pub(super) const FIELD_MANAGER: &str = "deskrun";

/// How often a call is made that the API server asks to repeat.
const ATTEMPTS: u32 = 10;

/// What became of an object that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    Created,
    Changed,
    Unchanged,
}

impl fmt::Display for Applied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        })
    }
}

/// A reference that is printed as `kubectl` prints it.
pub(super) fn shown(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default().to_ascii_lowercase();
    let name = text("/metadata/name").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind}/{name} in {namespace}"),
        None => format!("{kind}/{name}"),
    }
}

/// An answer of the API server in its own words, without their programmer's form.
pub(super) fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", status.message),
        other => other.into(),
    }
}

/// Why a watch stands still, for now.
pub(super) fn watch_words(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => format!("{:#}", plain(error)),
        watcher::Error::WatchError(status) => status.message,
        other @ watcher::Error::NoResourceVersion => other.to_string(),
    }
}

/// Makes a call that the API server may ask to repeat: when it is full, and while it gets ready to serve a new kind.
pub(super) async fn patiently<T, F>(call: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(kube::Error::Api(status)) if [429, 503].contains(&status.code) => {}
            other => return other,
        }
        // As the API server says in such answers.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    call().await
}

/// The part of the API that objects of a kind are in: the namespace's, or that of the whole cluster.
pub(super) fn api(client: &Client, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn place(client: &Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(name)) = (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    else {
        return Err(anyhow!("an object without `apiVersion`, `kind` or `metadata.name`"));
    };
    Ok((api(client, api_version, kind, text("/metadata/namespace")), name.to_owned()))
}

/// Applies an object. What other managers set in our fields becomes ours again. With `dry_run` the API server says what
/// it would do; where its namespace or definition is not there yet, it cannot know more than we do.
pub(super) async fn apply(client: &Client, object: &Value, dry_run: bool) -> anyhow::Result<Applied> {
    let attempt = || format!("cannot apply {}", shown(object));
    let (api, name) = place(client, object).with_context(attempt)?;
    let before = match patiently(|| api.get_opt(&name)).await {
        Ok(before) => before,
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return Err(plain(error)).with_context(attempt),
    };
    let parameters = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
    let patch = Patch::Apply(object);
    match patiently(|| api.patch(&name, &parameters, &patch)).await {
        Ok(after) => Ok(match before.map(content) {
            None => Applied::Created,
            Some(before) if before == content(after) => Applied::Unchanged,
            Some(_) => Applied::Changed,
        }),
        Err(kube::Error::Api(status)) if dry_run && status.code == 404 => Ok(Applied::Created),
        Err(error) => Err(plain(error)).with_context(attempt),
    }
}

/// The object of that kind and name in the cluster. One whose kind the cluster does not know is not there.
pub(super) async fn get(client: &Client, object: &Value) -> anyhow::Result<Option<DynamicObject>> {
    let attempt = || format!("cannot read {}", shown(object));
    let (api, name) = place(client, object).with_context(attempt)?;
    patiently(|| api.get_opt(&name)).await.map_err(plain).with_context(attempt)
}

/// An object without what every write changes.
fn content(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    object.metadata.resource_version = None;
    object.metadata.generation = None;
    if let Some(fields) = object.data.as_object_mut() {
        fields.remove("status");
    }
    serde_json::to_value(object).unwrap_or_default()
}

/// Deletes an object; whether there was one.
pub(super) async fn delete(client: &Client, object: &Value) -> anyhow::Result<bool> {
    let attempt = || format!("cannot delete {}", shown(object));
    let (api, name) = place(client, object).with_context(attempt)?;
    let parameters = DeleteParams::background();
    match patiently(|| api.delete(&name, &parameters)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(plain(error)).with_context(attempt),
    }
}

/// Deletes an object and says so; whether there was one.
pub(super) async fn delete_and_say(
    cluster: &Cluster,
    object: &Value,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<bool> {
    let was_there = delete(&cluster.client, object).await?;
    if was_there {
        printer.data(&format!("{} deleted\n", shown(object)))?;
    }
    Ok(was_there)
}
