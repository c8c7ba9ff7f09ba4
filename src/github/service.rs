//! The Actions service's admin calls: scale sets, runner groups, JIT configs, runners (`scale-set-protocol.md` 3.3–3.6).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::changes::Changes;
use super::config_url::ConfigUrl;
use super::connection::Connection;
use super::credentials::Credentials;
use super::environment::Environment;
use super::error::{Exception, GitHubError, RequestIds};
use super::exchange::{Call, Exchange};
use super::transport::{Response, Transport};
use super::wire::{self, JitConfig, List, Runner, RunnerGroup, ScaleSet};
use crate::secret::Secret;

/// The default group, which is never looked up (3.3).
const DEFAULT_GROUP: i64 = 1;
const SCALE_SETS: &str = "_apis/runtime/runnerscalesets";
const RUNNERS: &str = "_apis/distributedtask/pools/0/agents";
pub(super) const API_VERSION: &str = "6.0-preview";

/// Who calls, for GitHub's logs (6.4).
#[derive(Clone, Debug)]
pub struct Identity {
    /// `listener`, `controller`.
    pub subsystem: &'static str,
    /// The scale set; 0 until it is known.
    pub scale_set_id: i64,
}

/// A scale set to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewScaleSet {
    /// Name.
    pub name: String,
    /// Runner group.
    pub runner_group_id: i64,
    /// Labels beside the name.
    pub labels: Vec<String>,
}

/// The client of one scope. Clones share the connection, and go another way together; calls go in parallel.
#[derive(Clone, Debug)]
pub struct ActionsService {
    way: Arc<watch::Sender<Way>>,
}

/// How GitHub is reached, and who asks.
#[derive(Clone, Debug)]
pub(super) struct Way {
    exchange: Exchange,
    pub(super) connection: Connection,
}

impl ActionsService {
    /// A client; nothing is sent before the first call.
    pub fn new(
        config_url: ConfigUrl,
        credentials: Credentials,
        transport: Transport,
        environment: Environment,
        identity: &Identity,
    ) -> Self {
        let exchange = Exchange { transport, environment, user_agent: user_agent(identity) };
        let connection = Connection::new(exchange.clone(), config_url, credentials);
        Self { way: Arc::new(watch::Sender::new(Way { exchange, connection })) }
    }

    /// Takes other credentials, for everyone who shares the connection: the next call uses them, and who waits because the
    /// old ones were refused hears of it ([`Self::changes`]). The same ones change nothing. False if they are the same.
    pub fn renew_credentials(&self, credentials: Credentials) -> bool {
        self.way().connection.renew_credentials(credentials)
    }

    /// A client that shares the connection until it alone [follows](Self::follow) another one.
    #[must_use]
    pub fn on_its_own(&self) -> Self {
        Self { way: Arc::new(watch::Sender::new(self.way())) }
    }

    /// From now on this client and its clones go the other one's way: over its transport, with its credentials. Calls that
    /// are under way end on the old one.
    pub fn follow(&self, other: &Self) {
        let new = other.way();
        self.way.send_if_modified(|way| {
            let differs = !way.connection.is(&new.connection);
            if differs {
                *way = new;
            }
            differs
        });
    }

    /// Tells of other credentials and other ways.
    pub fn changes(&self) -> Changes {
        Changes::new(self.way.subscribe())
    }

    /// Keeps the token for the service fresh as long as it is polled, so that no call has to wait for a new one. Many may do
    /// this for one connection: one of them renews. Nothing is sent before a first call.
    pub async fn keep_fresh(&self) -> Infallible {
        let mut ways = self.way.subscribe();
        let mut connection = ways.borrow_and_update().connection.clone();
        loop {
            tokio::select! {
                never = connection.keep_fresh() => return never,
                Ok(()) = ways.changed() => {}
            }
            let next = ways.borrow_and_update().connection.clone();
            if connection.is_in_use() && !next.is_in_use() {
                next.use_soon();
            }
            connection = next;
        }
    }

    pub(super) fn exchange(&self) -> Exchange {
        self.way.borrow().exchange.clone()
    }

    fn way(&self) -> Way {
        self.way.borrow().clone()
    }

    /// The id of a runner group; `default` is known without asking.
    pub async fn runner_group(&self, name: &str) -> Result<Option<i64>, GitHubError> {
        if name.eq_ignore_ascii_case("default") {
            return Ok(Some(DEFAULT_GROUP));
        }
        let query = [("groupName", name)];
        let groups: List<RunnerGroup> =
            self.read("find a runner group", Method::GET, "_apis/runtime/runnergroups/", &query, None).await?;
        Ok(first(groups).map(|group| group.id))
    }

    /// The scale set of a name in a group.
    pub async fn find_scale_set(&self, group: i64, name: &str) -> Result<Option<ScaleSet>, GitHubError> {
        let group = group.to_string();
        let query = [("runnerGroupId", group.as_str()), ("name", name)];
        let found: List<ScaleSet> = self.read("find the scale set", Method::GET, SCALE_SETS, &query, None).await?;
        Ok(first(found))
    }

    /// The scale set of an id; `None` if there is none, or none that these credentials may see: whoever remembers an id has
    /// the name as well, and a look for that tells an outage apart.
    pub async fn scale_set(&self, id: i64) -> Result<Option<ScaleSet>, GitHubError> {
        let found = self.read("look up the scale set", Method::GET, &format!("{SCALE_SETS}/{id}"), &[], None).await;
        match found {
            Err(error) if error.status() == Some(404) => Ok(None),
            // `null` as well is none (3.4).
            other => other,
        }
    }

    /// Makes a scale set; if someone else was faster, theirs is taken.
    pub async fn create_scale_set(&self, new: &NewScaleSet) -> Result<ScaleSet, GitHubError> {
        let labels: Vec<Value> = std::iter::once(&new.name)
            .chain(new.labels.iter().filter(|label| **label != new.name))
            .map(|name| json!({"type": "System", "name": name}))
            .collect();
        let body = json!({
            "name": new.name,
            "runnerGroupId": new.runner_group_id,
            "labels": labels,
            // Images are updated by tag, never by the runner itself.
            "RunnerSetting": {"disableUpdate": true},
        });
        let created = self.read("create the scale set", Method::POST, SCALE_SETS, &[], Some(body)).await;
        match created {
            Err(error) if *error.exception() == Exception::ScaleSetExists => {
                self.find_scale_set(new.runner_group_id, &new.name).await?.ok_or(error)
            }
            other => other,
        }
    }

    /// Moves or renames a scale set. Labels cannot be changed (3.4).
    pub async fn update_scale_set(
        &self,
        id: i64,
        name: Option<&str>,
        group: Option<i64>,
    ) -> Result<ScaleSet, GitHubError> {
        let mut body = serde_json::Map::new();
        body.extend(name.map(|name| ("name".to_owned(), json!(name))));
        body.extend(group.map(|group| ("runnerGroupId".to_owned(), json!(group))));
        let path = format!("{SCALE_SETS}/{id}");
        self.read("change the scale set", Method::PATCH, &path, &[], Some(Value::Object(body))).await
    }

    /// Removes a scale set; whether it was there. One that is gone is no error.
    pub async fn delete_scale_set(&self, id: i64) -> Result<bool, GitHubError> {
        let path = format!("{SCALE_SETS}/{id}");
        match self.call("delete the scale set", Method::DELETE, &path, &[], None).await {
            Err(error) if *error.exception() == Exception::ScaleSetNotFound => Ok(false),
            Err(error) => Err(error),
            Ok(_) => Ok(true),
        }
    }

    /// Makes a scale set anew under other labels, which is the only way to change them (3.4). `None` while the service
    /// refuses, for a job is attached to one of its runners: then it stays as it is.
    pub async fn recreate_scale_set(&self, id: i64, new: &NewScaleSet) -> Result<Option<ScaleSet>, GitHubError> {
        match self.delete_scale_set(id).await {
            Err(error) if *error.exception() == Exception::JobStillRunning => Ok(None),
            Err(error) => Err(error),
            Ok(_) => self.create_scale_set(new).await.map(Some),
        }
    }

    /// Registers a runner and gets what its process needs. The registration exists as soon as this was sent, so a
    /// name that is "taken" may be our own attempt whose answer was lost: then it is removed and made again (5.2).
    pub async fn register_runner(&self, scale_set: i64, name: &str) -> Result<JitConfig, GitHubError> {
        /// An attempt, one after our own leftover was removed, and one more for a name that vanished in between.
        const ATTEMPTS: u32 = 3;
        let mut attempt = 1;
        loop {
            let error = match self.generate_jit_config(scale_set, name).await {
                Err(error) if *error.exception() == Exception::RunnerExists && attempt < ATTEMPTS => error,
                other => return other,
            };
            match self.find_runner(name).await? {
                None => {}
                Some(runner) if runner.scale_set_id == scale_set => self.remove_runner(runner.id).await?,
                Some(_) => return Err(error),
            }
            attempt += 1;
        }
    }

    async fn generate_jit_config(&self, scale_set: i64, name: &str) -> Result<JitConfig, GitHubError> {
        const CALL: &str = "get a runner's JIT config";
        let body = json!({"name": name, "workFolder": "_work"});
        let path = format!("{SCALE_SETS}/{scale_set}/generatejitconfig");
        let answer: wire::NewJitConfig = self.read(CALL, Method::POST, &path, &[], Some(body)).await?;
        if answer.encoded.is_empty() || answer.runner.id == 0 {
            let message = "the runner's id or its config is missing".to_owned();
            return Err(GitHubError::Unreadable { call: CALL, message, ids: RequestIds::default() });
        }
        Ok(JitConfig { runner: answer.runner, encoded: Secret::new(&answer.encoded) })
    }

    /// The registration of an id; `None` when it is gone.
    pub async fn runner(&self, id: i64) -> Result<Option<Runner>, GitHubError> {
        let found = self.read("look up a runner", Method::GET, &format!("{RUNNERS}/{id}"), &[], None).await;
        match found {
            Err(error) if *error.exception() == Exception::RunnerNotFound => Ok(None),
            Err(error) => Err(error),
            Ok(runner) => Ok(Some(runner)),
        }
    }

    /// The registration of a name.
    pub async fn find_runner(&self, name: &str) -> Result<Option<Runner>, GitHubError> {
        let query = [("agentName", name)];
        let found: List<Runner> = self.read("find a runner", Method::GET, RUNNERS, &query, None).await?;
        Ok(first(found))
    }

    /// All registrations of the scope.
    pub async fn runners(&self) -> Result<Vec<Runner>, GitHubError> {
        let found: List<Runner> = self.read("list the runners", Method::GET, RUNNERS, &[], None).await?;
        Ok(found.value)
    }

    /// Removes a registration; one that is gone is no error, a busy one is [`Exception::JobStillRunning`].
    pub async fn remove_runner(&self, id: i64) -> Result<(), GitHubError> {
        let result = self.call("remove a runner", Method::DELETE, &format!("{RUNNERS}/{id}"), &[], None).await;
        tolerate(result, &[Exception::RunnerNotFound])
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, GitHubError> {
        let response = self.call(name, method, path, query, body).await?;
        wire::read(response.body()).map_err(|message| GitHubError::Unreadable {
            call: name,
            message,
            ids: RequestIds::of(response.headers()),
        })
    }

    /// An admin call; a token that is refused before its time is renewed once.
    pub(super) async fn call(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Response, GitHubError> {
        let mut stale = None;
        let Way { exchange, connection } = self.way();
        loop {
            let admin = connection.admin(stale).await?;
            let authorization = Secret::new(&format!("Bearer {}", admin.token.expose()));
            let headers = [("content-type", "application/json".to_owned())];
            let call = Call {
                body: body.as_ref().map_or_else(Bytes::new, |body| Bytes::from(body.to_string())),
                ..Call::new(name, method.clone(), service_url(&admin.url, path, query), authorization)
                    .with_headers(&headers)
            };
            match exchange.run(&call).await {
                Err(error) if stale.is_none() && error.status() == Some(401) => stale = Some(admin.generation),
                other => return other,
            }
        }
    }

    /// An admin call's URL with another token: acquiring jobs uses the queue's (3.9).
    pub(super) async fn call_with(
        &self,
        name: &'static str,
        path: &str,
        token: &Secret,
        body: &Value,
    ) -> Result<Response, GitHubError> {
        let Way { exchange, connection } = self.way();
        let admin = connection.admin(None).await?;
        let authorization = Secret::new(&format!("Bearer {}", token.expose()));
        let headers = [("content-type", "application/json".to_owned())];
        let call = Call {
            body: Bytes::from(body.to_string()),
            ..Call::new(name, Method::POST, service_url(&admin.url, path, &[]), authorization).with_headers(&headers)
        };
        exchange.run(&call).await
    }
}

/// Joins without losing the base's path or query (3.1).
fn service_url(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    let (base, given) = base.split_once('?').map_or((base, None), |(base, query)| (base, Some(query)));
    let mut parameters: Vec<String> = given.filter(|given| !given.is_empty()).map(str::to_owned).into_iter().collect();
    parameters.extend(query.iter().map(|(name, value)| format!("{name}={}", percent_encode(value))));
    if !parameters.iter().any(|parameter| parameter.contains("api-version=")) {
        parameters.push(format!("api-version={API_VERSION}"));
    }
    format!("{}/{path}?{}", base.trim_end_matches('/'), parameters.join("&"))
}

/// Everything but letters, digits and `-._~`.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The first of a list; its `count` decides, not its items (3.4).
fn first<T: Default>(list: List<T>) -> Option<T> {
    list.value.into_iter().next().filter(|_| list.count > 0)
}

fn tolerate(result: Result<Response, GitHubError>, gone: &[Exception]) -> Result<(), GitHubError> {
    match result {
        Err(error) if gone.contains(error.exception()) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn user_agent(identity: &Identity) -> String {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "system": "deskrun",
        "version": version,
        "commit_sha": "unknown",
        "scale_set_id": identity.scale_set_id,
        "subsystem": identity.subsystem,
        "build_version": version,
        "build_commit_sha": "unknown",
        "kind": "scaleset",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_urls_keep_the_bases_path_and_query() {
        for (base, url) in [
            ("https://b/rest", "https://b/rest/_apis/x?name=a%26b&api-version=6.0-preview"),
            ("https://b/t/1/", "https://b/t/1/_apis/x?name=a%26b&api-version=6.0-preview"),
            ("https://b", "https://b/_apis/x?name=a%26b&api-version=6.0-preview"),
            ("https://b/?k=v", "https://b/_apis/x?k=v&name=a%26b&api-version=6.0-preview"),
            ("https://b/?api-version=7", "https://b/_apis/x?api-version=7&name=a%26b"),
        ] {
            assert_eq!(service_url(base, "_apis/x", &[("name", "a&b")]), url);
        }
    }

    #[test]
    fn a_list_is_believed_by_its_count() {
        let list = |count| List { count, value: vec![1] };
        assert_eq!((first(list(0)), first(list(1))), (None, Some(1)));
    }
}
