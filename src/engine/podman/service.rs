//! The routes of libpod that the engine uses, one function each. What a failure means is judged by the caller.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::address::PodmanAddress;
use super::connection::{Answer, ConnectError, Connections};
use super::version::Version;
use super::wire::{Complaint, Container, Inspected, Labels, Pod, Processes, StoredSecret, Volume};
use crate::secret::Secret;

/// For calls that only ask or do a small thing.
const SHORT: Duration = Duration::from_secs(30);
/// For calls that may pull an image or run init containers.
const LONG: Duration = Duration::from_mins(10);

/// How often a list is asked for that something interferes with.
const LISTINGS: usize = 10;

/// A call that had no success.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{message}")]
    Said { status: StatusCode, message: String },
    #[error("Podman's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

impl CallError {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Said { status, .. } => Some(*status),
            Self::Connect(_) | Self::Answer(_) => None,
        }
    }

    /// Whether something is not there. What goes while it is asked for is reported as a failure of Podman's own.
    fn is_gone(&self) -> bool {
        const GONE: [&str; 4] = ["no such pod", "no such container", "no such volume", "no such secret"];
        self.status() == Some(StatusCode::NOT_FOUND) || GONE.iter().any(|words| self.says(words))
    }

    pub(super) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Said { message, .. } if message.contains(words))
    }
}

/// libpod's API at one address.
#[derive(Debug)]
pub(super) struct Service {
    connections: Connections,
}

impl Service {
    pub(super) fn new(address: &PodmanAddress) -> Self {
        Self { connections: Connections::new(address) }
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.connections.version()
    }

    pub(super) async fn pod_exists(&self, name: &str) -> Result<bool, CallError> {
        Ok(found(self.get(&format!("pods/{}/exists", encode(name))).await)?.is_some())
    }

    /// Makes what the documents describe and starts nothing.
    pub(super) async fn play(&self, documents: String) -> Result<(), CallError> {
        self.call(Method::POST, "play/kube?start=false", documents.into(), LONG).await.map(drop)
    }

    /// Returns when its init containers have ended and its containers run.
    pub(super) async fn start_pod(&self, name: &str) -> Result<(), CallError> {
        self.call(Method::POST, &format!("pods/{}/start", encode(name)), Bytes::new(), LONG).await.map(drop)
    }

    /// The containers of a pod that may be running.
    pub(super) async fn running_in_pod(&self, name: &str) -> Result<Vec<Container>, CallError> {
        let filters = filters(&json!({"pod": [name]}));
        let all: Vec<Container> = self.list(&format!("containers/json?filters={filters}")).await?;
        Ok(all.into_iter().filter(|container| container.state == "running").collect())
    }

    /// Sends a signal to a container; one that has ended meanwhile is no error.
    pub(super) async fn signal(&self, container: &str, signal: &str) -> Result<(), CallError> {
        let path = format!("containers/{}/kill?signal={signal}", encode(container));
        match self.call(Method::POST, &path, Bytes::new(), SHORT).await {
            Ok(_) | Err(CallError::Said { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for a container's end; whether it came in time.
    pub(super) async fn wait_for_end(&self, container: &str, limit: Duration) -> bool {
        let path = format!("containers/{}/wait?condition=stopped&condition=exited&interval=100ms", encode(container));
        self.call(Method::POST, &path, Bytes::new(), limit).await.is_ok()
    }

    /// Removes a pod with its containers; whether there was one.
    pub(super) async fn remove_pod(&self, name: &str) -> Result<bool, CallError> {
        Ok(found(self.delete(&format!("pods/{}?force=true", encode(name))).await)?.is_some())
    }

    /// Removes a pod of which nothing runs; whether that was so.
    pub(super) async fn remove_unstarted_pod(&self, name: &str) -> Result<bool, CallError> {
        match found(self.delete(&format!("pods/{}?force=false", encode(name))).await) {
            Ok(found) => Ok(found.is_some()),
            // It has started meanwhile.
            Err(CallError::Said { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn pod_labels(&self, name: &str) -> Result<Option<Labels>, CallError> {
        let answer = found(self.get(&format!("pods/{}/json", encode(name))).await)?;
        let read = |answer: Answer| {
            let pod: Value = read(&answer)?;
            serde_json::from_value::<Option<Labels>>(pod["Labels"].clone()).map_err(CallError::Answer)
        };
        answer.map(read).transpose().map(|labels| labels.map(Option::unwrap_or_default))
    }

    pub(super) async fn pods(&self, label: &str) -> Result<Vec<Pod>, CallError> {
        self.list(&format!("pods/json?filters={}", filters(&json!({"label": [label]})))).await
    }

    pub(super) async fn containers(&self, label: &str) -> Result<Vec<Container>, CallError> {
        self.list(&format!("containers/json?all=true&filters={}", filters(&json!({"label": [label]})))).await
    }

    /// What the host says of itself.
    pub(super) async fn info(&self) -> Result<Value, CallError> {
        read(&self.get("info").await?)
    }

    pub(super) async fn image_exists(&self, image: &str) -> Result<bool, CallError> {
        // The route takes the slashes of an image's name as they are.
        let image = encode(image).replace("%2F", "/").replace("%3A", ":").replace("%40", "@");
        Ok(found(self.get(&format!("images/{image}/exists")).await)?.is_some())
    }

    /// Makes a container outside of any pod; its id.
    pub(super) async fn create_container(&self, specification: &Value) -> Result<String, CallError> {
        let answer = self.call(Method::POST, "containers/create", specification.to_string().into(), SHORT).await?;
        let made: Value = read(&answer)?;
        Ok(made["Id"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) async fn start_container(&self, container: &str) -> Result<(), CallError> {
        let path = format!("containers/{}/start", encode(container));
        self.call(Method::POST, &path, Bytes::new(), SHORT).await.map(drop)
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<bool, CallError> {
        Ok(found(self.delete(&format!("containers/{}?force=true&v=true", encode(id))).await)?.is_some())
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<Option<Inspected>, CallError> {
        let answer = found(self.get(&format!("containers/{}/json", encode(container))).await)?;
        answer.as_ref().map(read).transpose()
    }

    /// Whether any process of a container lives. Asked of the kernel, not of Podman's books.
    pub(super) async fn has_processes(&self, container: &str) -> Result<bool, CallError> {
        let answer = self.get(&format!("containers/{}/top?stream=false&ps_args=pid", encode(container))).await?;
        let processes = if answer.body.is_empty() { Processes::default() } else { read::<Processes>(&answer)? };
        Ok(!processes.processes.is_empty())
    }

    /// The last lines of both outputs, still in frames.
    pub(super) async fn logs(&self, container: &str, lines: usize) -> Result<Option<Bytes>, CallError> {
        let path = format!("containers/{}/logs?stdout=true&stderr=true&tail={lines}", encode(container));
        Ok(found(self.get(&path).await)?.map(|answer| answer.body))
    }

    pub(super) async fn create_volume(&self, name: &str, labels: &Labels) -> Result<(), CallError> {
        let body = json!({"Name": name, "Label": labels}).to_string();
        match self.call(Method::POST, "volumes/create", body.into(), SHORT).await {
            Err(error) if error.says("already exists") => Ok(()),
            other => other.map(drop),
        }
    }

    /// All volumes with a label of this name. Podman 4.3 mixes up several filters in one call, so there is one.
    pub(super) async fn volumes(&self, label: &str) -> Result<Vec<Volume>, CallError> {
        self.list(&format!("volumes/json?filters={}", filters(&json!({"label": [label]})))).await
    }

    /// Removes a volume that no container uses; whether it did.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<bool, CallError> {
        match found(self.delete(&format!("volumes/{}", encode(name))).await) {
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok(false),
            other => Ok(other?.is_some()),
        }
    }

    /// Stores a secret. Podman 4.3 has no labels for them, but keeps options that its driver does not know; later
    /// versions have both.
    pub(super) async fn create_secret(&self, name: &str, content: &Secret, labels: &Labels) -> Result<(), CallError> {
        let labels = encode(&json!(labels).to_string());
        let path = format!("secrets/create?name={}&driver=file&driveropts={labels}&labels={labels}", encode(name));
        self.call(Method::POST, &path, content.expose().to_owned().into(), SHORT).await.map(drop)
    }

    pub(super) async fn secret(&self, name: &str) -> Result<Option<StoredSecret>, CallError> {
        let answer = found(self.get(&format!("secrets/{}/json", encode(name))).await)?;
        answer.as_ref().map(read).transpose()
    }

    pub(super) async fn secrets(&self) -> Result<Vec<StoredSecret>, CallError> {
        self.list("secrets/json").await
    }

    pub(super) async fn remove_secret(&self, name: &str) -> Result<bool, CallError> {
        Ok(found(self.delete(&format!("secrets/{}", encode(name))).await)?.is_some())
    }

    /// A line for each event of a container or pod, from now on. `None` if this Podman keeps no events.
    pub(super) async fn events(&self) -> Result<Option<http::Response<hyper::body::Incoming>>, CallError> {
        let path = format!("events?stream=true&filters={}", filters(&json!({"type": ["container", "pod"]})));
        let response = self.connections.stream(request(&Method::GET, &path, Bytes::new())?, SHORT).await?;
        Ok(response.status().is_success().then_some(response))
    }

    async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::GET, path, Bytes::new(), SHORT).await
    }

    async fn delete(&self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::DELETE, path, Bytes::new(), SHORT).await
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, CallError> {
        let mut answer = self.get(path).await;
        for _ in 1..LISTINGS {
            // Podman gives up a whole list when one of its things goes meanwhile.
            if !answer.as_ref().is_err_and(CallError::is_gone) {
                break;
            }
            answer = self.get(path).await;
        }
        Ok(read::<Option<Vec<T>>>(&answer?)?.unwrap_or_default())
    }

    async fn call(&self, method: Method, path: &str, body: Bytes, limit: Duration) -> Result<Answer, CallError> {
        let answer = self.connections.call(request(&method, path, body)?, limit).await?;
        // 304: it was so already.
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let Complaint { message, errors } = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = if message.is_empty() { errors.join("; ") } else { message };
        let message = if message.is_empty() { format!("Podman answers {}", answer.status) } else { message };
        Err(CallError::Said { status: answer.status, message })
    }
}

fn request(method: &Method, path: &str, body: Bytes) -> Result<Request<Bytes>, ConnectError> {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v4.0.0/libpod/{path}"))
        .header(http::header::HOST, "podman")
        // Podman 5 wants to be told a type that it takes for text; 4.3 does not look.
        .header(http::header::CONTENT_TYPE, "application/json");
    Ok(request.body(body)?)
}

/// What is not there is an answer, not a failure.
fn found<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, CallError> {
    serde_json::from_slice(&answer.body).map_err(CallError::Answer)
}

fn filters(filters: &Value) -> String {
    encode(&filters.to_string())
}

/// Percent-encodes for a path segment or a value in a query.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
