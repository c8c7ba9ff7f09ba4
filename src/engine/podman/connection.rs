//! HTTP/1.1 to the service, over whatever stream leads there. Connections are kept and used again.
//!
//! A connection whose first answer does not say that a Podman that we know is behind it is not used.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::address::{PodmanAddress, Way};
use super::ssh::SshWay;
use super::version::Version;

/// Larger answers are none of Podman's: a list of a thousand runners has about two megabytes.
const MAX_ANSWER: usize = 64 << 20;
/// More idle connections than calls that usually run at once are of no use.
const KEPT: usize = 8;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(20);

pub(super) type BoxedStream = Box<dyn Stream>;

/// Bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why no connection came about, or why it broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect to {path}")]
    Local { path: PathBuf, source: std::io::Error },
    #[error("the SSH connection failed")]
    Ssh(#[from] russh::Error),
    /// The SSH server is there, the socket behind it is not: that may change by itself.
    #[error("{0}")]
    Far(String),
    /// Only a person can change it.
    #[error("{0}")]
    Refused(String),
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    #[error("the answer broke off or was too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("a request cannot be written")]
    Request(#[from] http::Error),
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// All connections to one service.
pub(super) struct Connections {
    way: Arc<Dial>,
    idle: Mutex<Vec<Sender>>,
    version: Mutex<Option<Version>>,
}

enum Dial {
    Local(PathBuf),
    Ssh(SshWay),
}

type Sender = SendRequest<Full<Bytes>>;

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn new(address: &PodmanAddress) -> Self {
        let way = match &address.way {
            Way::Local(path) => Dial::Local(path.clone()),
            Way::Ssh(target) => Dial::Ssh(SshWay::new(target.clone())),
        };
        Self { way: Arc::new(way), idle: Mutex::default(), version: Mutex::default() }
    }

    /// What the service last said that it is.
    pub(super) fn version(&self) -> Option<Version> {
        *lock(&self.version)
    }

    /// Sends a request and reads the whole answer, within the limit.
    pub(super) async fn call(&self, request: Request<Bytes>, limit: Duration) -> Result<Answer, ConnectError> {
        let call = async {
            let (response, sender) = self.send(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ConnectError::Body)?;
            let mut idle = lock(&self.idle);
            if idle.len() < KEPT {
                idle.push(sender);
            }
            Ok(Answer { status, body: body.to_bytes() })
        };
        tokio::time::timeout(limit, call).await.unwrap_or(Err(ConnectError::Slow(limit)))
    }

    /// Sends a request and hands out the answer as it comes. The limit holds for its beginning.
    pub(super) async fn stream(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<Incoming>, ConnectError> {
        let sent = tokio::time::timeout(limit, self.send(request)).await.unwrap_or(Err(ConnectError::Slow(limit)));
        Ok(sent?.0)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<(Response<Incoming>, Sender), ConnectError> {
        let request = request.map(Full::new);
        loop {
            let kept = lock(&self.idle).pop();
            let Some(mut sender) = kept else { break };
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request.clone()).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => {
                    // A quiet service closes its connections. What was not sent may be sent again.
                    if error.take_message().is_none() {
                        return Err(error.into_error().into());
                    }
                }
            }
        }
        let mut sender = self.dial().await?;
        // The connection first has to notice that the answer to the ping has ended.
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        Ok((response, sender))
    }

    async fn dial(&self) -> Result<Sender, ConnectError> {
        let dial = async {
            let stream: BoxedStream = match &*self.way {
                Dial::Local(path) => match UnixStream::connect(path).await {
                    Ok(stream) => Box::new(stream),
                    Err(source) => return Err(ConnectError::Local { path: path.clone(), source }),
                },
                Dial::Ssh(way) => way.open().await?,
            };
            let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
            // It ends with the last request, or when the sender is dropped.
            tokio::spawn(connection);
            let ping = Request::get("/v4.0.0/libpod/_ping").header(http::header::HOST, "podman");
            let response = sender.send_request(ping.body(Full::default())?).await?;
            let said = response.headers().get("Libpod-Api-Version").and_then(|value| value.to_str().ok());
            let version = Version::supported(said).map_err(ConnectError::Refused)?;
            response.into_body().collect().await?;
            *lock(&self.version) = Some(version);
            Ok(sender)
        };
        tokio::time::timeout(CONNECT, dial).await.unwrap_or(Err(ConnectError::Slow(CONNECT)))
    }
}

/// A panic elsewhere does not make a list of connections wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
