//! What specs refer to by name: Secrets with credentials, ConfigMaps with layers and certificates.
//!
//! Each is watched by its name alone: of a namespace's other Secrets nothing is read. A change rings the bell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{Config, Event};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::watch::Watch;
use crate::secret::Secret;

/// An object that a spec names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    Secret { namespace: String, name: String },
    ConfigMap { namespace: String, name: String },
}

/// The data of an object; texts of ConfigMaps are kept like secrets, which costs nothing.
pub(super) type Data = Arc<BTreeMap<String, Secret>>;

/// What is known of a reference.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lookup {
    /// The API server has not answered yet.
    Pending,
    /// There is no such object.
    Missing,
    /// Its data.
    Found(Data),
    /// The API server will not say, in its words.
    Refused(String),
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { name, .. } => write!(formatter, "Secret `{name}`"),
            Self::ConfigMap { name, .. } => write!(formatter, "ConfigMap `{name}`"),
        }
    }
}

/// Everything that is referred to now.
pub(super) struct References {
    client: Client,
    bell: Arc<Notify>,
    watched: BTreeMap<Reference, Watched>,
}

#[derive(Debug)]
struct Watched {
    known: Arc<Mutex<Lookup>>,
    watching: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl References {
    pub(super) fn new(client: Client, bell: Arc<Notify>) -> Self {
        Self { client, bell, watched: BTreeMap::new() }
    }

    /// Watches these and no others.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<Reference>) {
        self.watched.retain(|reference, _| wanted.contains(reference));
        for reference in wanted {
            if !self.watched.contains_key(reference) {
                let watched = self.watch(reference);
                self.watched.insert(reference.clone(), watched);
            }
        }
    }

    pub(super) fn look_up(&self, reference: &Reference) -> Lookup {
        self.watched.get(reference).map_or(Lookup::Pending, |watched| locked(&watched.known).clone())
    }

    fn watch(&self, reference: &Reference) -> Watched {
        let known = Arc::new(Mutex::new(Lookup::Pending));
        let (client, bell, shared) = (self.client.clone(), Arc::clone(&self.bell), Arc::clone(&known));
        let watching = match reference {
            Reference::Secret { namespace, name } => {
                let api: Api<SecretObject> = Api::namespaced(client, namespace);
                tokio::spawn(follow(api, name.clone(), secret_data, shared, bell)).abort_handle()
            }
            Reference::ConfigMap { namespace, name } => {
                let api: Api<ConfigMap> = Api::namespaced(client, namespace);
                tokio::spawn(follow(api, name.clone(), config_map_data, shared, bell)).abort_handle()
            }
        };
        Watched { known, watching }
    }
}

async fn follow<K>(
    api: Api<K>,
    name: String,
    data: fn(K) -> BTreeMap<String, Secret>,
    known: Arc<Mutex<Lookup>>,
    bell: Arc<Notify>,
) where
    K: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let mut watch = Watch::new(api, Config::default().fields(&format!("metadata.name={name}")));
    let mut found = Lookup::Missing;
    loop {
        let next = match watch.next().await {
            Ok(Event::Init) => {
                found = Lookup::Missing;
                continue;
            }
            Ok(Event::InitApply(object)) => {
                found = Lookup::Found(Arc::new(data(object)));
                continue;
            }
            Ok(Event::InitDone) => found.clone(),
            Ok(Event::Apply(object)) => Lookup::Found(Arc::new(data(object))),
            Ok(Event::Delete(_)) => Lookup::Missing,
            Err(words) => {
                tracing::warn!(kind = %K::kind(&()), name, error = words, "cannot watch");
                let mut known = locked(&known);
                // What was read stays good while the API server is away.
                if matches!(*known, Lookup::Pending | Lookup::Refused(_)) {
                    let refused = Lookup::Refused(words);
                    if *known != refused {
                        *known = refused;
                        bell.notify_one();
                    }
                }
                continue;
            }
        };
        let mut known = locked(&known);
        if *known != next {
            *known = next;
            bell.notify_one();
        }
    }
}

fn secret_data(secret: SecretObject) -> BTreeMap<String, Secret> {
    let bytes = secret.data.unwrap_or_default();
    bytes.into_iter().map(|(key, value)| (key, Secret::new(&String::from_utf8_lossy(&value.0)))).collect()
}

fn config_map_data(config_map: ConfigMap) -> BTreeMap<String, Secret> {
    config_map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, Secret::new(&value))).collect()
}

fn locked(known: &Mutex<Lookup>) -> std::sync::MutexGuard<'_, Lookup> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
