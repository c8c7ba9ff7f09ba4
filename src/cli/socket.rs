//! Asks a running controller over its Unix socket. That none answers is an answer too; what to make of it is the
//! commands' business.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use notify::{RecursiveMode, Watcher};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::run::socket_path;
use crate::operator::{Removed, Report, STATUS_VERSION};

/// Larger answers are no controller's: a thousand runners have about half a megabyte.
const MAX_ANSWER: usize = 32 << 20;
/// It is on this machine, and only has to say what it knows.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a controller is looked for that gives no sign of coming.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

/// Where a controller may be.
#[derive(Debug)]
pub(super) struct Controller {
    socket: PathBuf,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// Reports as they come.
pub(super) struct Reports {
    place: String,
    body: Incoming,
    /// What was read of the next one.
    read: Vec<u8>,
}

impl Reports {
    /// The next one; `None` if the controller has ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Report>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let report = versioned(&line);
                return report.map(Some).with_context(|| format!("an answer of {} cannot be used", self.place));
            }
            ensure!(self.read.len() < MAX_ANSWER, "a report of {} is longer than any", self.place);
            // Whether it ends its answer or its life, it has ended.
            let Some(Ok(frame)) = self.body.frame().await else { return Ok(None) };
            self.read.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        }
    }
}

impl Controller {
    /// The one of a socket, or of the default one.
    pub(super) fn at(socket: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self { socket: socket_path(socket, None)? })
    }

    /// The socket, for messages.
    pub(super) fn place(&self) -> String {
        self.socket.display().to_string()
    }

    /// How things are; `None` if no controller answers.
    pub(super) async fn status(&self) -> anyhow::Result<Option<Report>> {
        let Some(answer) = self.soon(Method::GET, "/v1/status").await? else { return Ok(None) };
        self.read(&answer).map(Some)
    }

    /// How things are, now and whenever they change; `None` if no controller answers.
    pub(super) async fn watch(&self) -> anyhow::Result<Option<Reports>> {
        let Some(response) = self.open(Method::GET, "/v1/status/watch").await? else { return Ok(None) };
        let place = self.place();
        ensure!(
            response.status() == StatusCode::OK,
            "the controller at {place} cannot tell of changes: use the `deskrun` that it was started with, or restart it \
             with this one"
        );
        Ok(Some(Reports { place, body: response.into_body(), read: Vec::new() }))
    }

    /// Waits until a controller may have come; returns now and then without one.
    pub(super) async fn comes(&self) {
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| ring.notify_one());
        let folder = self.socket.parent().unwrap_or(Path::new("."));
        // Dropped, it would watch no more.
        let _watcher = watcher.and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        // The socket may have come before the watch; where the folder is missing there is nothing to watch.
        drop(tokio::time::timeout(NOW_AND_THEN, bell.notified()).await);
    }

    /// Has the files read anew; the inner error says why they are not served. `None` if no controller answers.
    pub(super) async fn reload(&self) -> anyhow::Result<Option<Result<(), String>>> {
        let Some(answer) = self.soon(Method::POST, "/v1/reload").await? else { return Ok(None) };
        Ok(Some(match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(String::from_utf8_lossy(&answer.body).into_owned()),
        }))
    }

    /// Has a resource removed, and waits for that as long as it takes; `None` if the controller does not serve it.
    pub(super) async fn remove(&self, name: &str) -> anyhow::Result<Option<Removed>> {
        let answer = self.call(Method::POST, &format!("/v1/remove/{name}")).await?;
        let answer = answer.ok_or_else(|| anyhow!("no controller answers at {} any more", self.place()))?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(&answer).map(Some)
    }

    async fn soon(&self, method: Method, route: &str) -> anyhow::Result<Option<Answer>> {
        match tokio::time::timeout(PATIENCE, self.call(method, route)).await {
            Ok(answer) => answer,
            Err(_) => bail!("the controller at {} has not answered for {} s", self.place(), PATIENCE.as_secs()),
        }
    }

    async fn call(&self, method: Method, route: &str) -> anyhow::Result<Option<Answer>> {
        let Some(response) = self.open(method, route).await? else { return Ok(None) };
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| anyhow!(error));
        let body = body.with_context(|| self.broke_off())?;
        Ok(Some(Answer { status, body: body.to_bytes() }))
    }

    /// The beginning of an answer.
    async fn open(&self, method: Method, route: &str) -> anyhow::Result<Option<Response<Incoming>>> {
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot connect to {}", self.place())),
        };
        let exchange = async {
            let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
            // It ends with the answer.
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri(route).header(http::header::HOST, "deskrun");
            Ok(sender.send_request(request.body(Empty::<Bytes>::new())?).await?)
        };
        let response: anyhow::Result<Response<Incoming>> = exchange.await;
        response.map(Some).with_context(|| self.broke_off())
    }

    fn broke_off(&self) -> String {
        format!("the controller at {} broke off its answer", self.place())
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> anyhow::Result<T> {
        versioned(&answer.body).with_context(|| format!("the answer of {} cannot be used", self.place()))
    }
}

/// Reads an answer of our version, and no other: its fields may mean something else.
fn versioned<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    let value: Value = serde_json::from_slice(body).context("it is not JSON: is that a controller's socket?")?;
    match value["version"].as_u64() {
        Some(version) if version == u64::from(STATUS_VERSION) => {}
        Some(version) => bail!(
            "it has version {version}, and this program reads version {STATUS_VERSION}: use the `deskrun` that the \
             controller was started with, or restart it with this one"
        ),
        None => bail!("it has no version: is that a controller's socket?"),
    }
    serde_json::from_value(value).context("it is not what version 1 looks like")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_version_is_refused_with_the_way_out() {
        let refused = |body: &str| format!("{:#}", versioned::<Removed>(body.as_bytes()).unwrap_err());
        assert!(refused(r#"{"version": 2, "leftBehind": []}"#).contains("version 2, and this program reads version 1"));
        assert!(refused("{}").contains("no version"));
        assert!(refused("<html>").contains("not JSON"));
        let read: Removed = versioned(br#"{"version": 1, "leftBehind": []}"#).unwrap();
        assert_eq!(read, Removed::new(Vec::new()));
    }
}
