//! How requests travel: any tower service, and the one that speaks HTTP.
//!
//! A transport sends one request and gives one whole answer. It does not retry, follow redirects or know tokens.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryFutureExt};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::causes;

use crate::secret::Secret;

/// A request with its whole body.
pub type Request = http::Request<Bytes>;
/// An answer with its whole body.
pub type Response = http::Response<Bytes>;
/// Anything that answers requests; cloned for every call, so that calls go in parallel.
pub type Transport = BoxCloneSyncService<Request, Response, TransportError>;

/// An answer larger than this is not one of GitHub's.
const MAX_BODY: usize = 8 << 20;
/// How long a connection may take (`scale-set-protocol.md` 6.2).
const CONNECT: Duration = Duration::from_secs(10);
/// Keeps a held poll's connection alive through routers that forget quiet ones.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A request that got no whole answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// What happened.
    pub fault: TransportFault,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failures that make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// No connection came about: nothing was sent.
    Unreachable,
    /// The server's certificate is not trusted.
    Certificate,
    /// The connection broke: the request may have had its effect.
    Interrupted,
    /// The answer is not one of GitHub's.
    Unusable,
}

impl TransportError {
    /// A failure without a cause in another library.
    pub fn new(fault: TransportFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), source: None }
    }

    fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let chain = causes::in_one_line(&error);
        let certificate = ["certificate", "UnknownIssuer", "invalid peer"].iter().any(|mark| chain.contains(mark));
        let (fault, message) = match (error.is_connect(), certificate) {
            (_, true) => (TransportFault::Certificate, "the server's certificate is not trusted"),
            (true, false) => (TransportFault::Unreachable, "the server cannot be reached"),
            (false, false) => (TransportFault::Interrupted, "the connection broke"),
        };
        Self { fault, message: message.to_owned(), source: Some(Box::new(error)) }
    }
}

/// What a request is for, in words that follow "cannot"; one of a fixed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallName(pub &'static str);

/// A transport that tells of every request what it is for.
pub fn counted(transport: Transport, count: impl Fn(&'static str) + Clone + Send + Sync + 'static) -> Transport {
    BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
        if let Some(CallName(name)) = request.extensions().get() {
            count(name);
        }
        transport.clone().oneshot(request)
    }))
}

/// The way to GitHub.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpOptions {
    /// Without any the environment decides.
    pub proxies: Option<Proxies>,
    /// Certificate authorities beside the system's, in PEM form.
    pub certificate_authorities: Vec<String>,
}

/// Proxies, as the environment variables of the same names have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proxies {
    /// The URL of the one for `http://`, without user and password.
    pub http: Option<String>,
    /// The URL of the one for `https://`, without user and password.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly.
    pub no_proxy: Vec<String>,
    /// User and password, both percent-encoded.
    pub credentials: Option<(Secret, Secret)>,
}

impl Proxies {
    fn all(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let no_proxy = || reqwest::NoProxy::from_string(&self.no_proxy.join(","));
        let url = |text: &String| match (&self.credentials, text.split_once("://")) {
            (Some((user, password)), Some((scheme, rest))) => {
                format!("{scheme}://{}:{}@{rest}", user.expose(), password.expose())
            }
            _ => text.clone(),
        };
        let http = self.http.as_ref().map(|text| reqwest::Proxy::http(url(text)));
        let https = self.https.as_ref().map(|text| reqwest::Proxy::https(url(text)));
        http.into_iter().chain(https).map(|proxy| Ok(proxy?.no_proxy(no_proxy()))).collect()
    }
}

/// A transport that speaks HTTP. Fails if a certificate or the proxy cannot be read.
pub fn over_http(options: &HttpOptions) -> Result<Transport, TransportError> {
    let unusable = |error: reqwest::Error| TransportError {
        fault: TransportFault::Unusable,
        message: "the proxy or a certificate authority cannot be used".to_owned(),
        source: Some(Box::new(error.without_url())),
    };
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEP_ALIVE)
        .redirect(reqwest::redirect::Policy::none());
    for proxy in options.proxies.as_ref().map(Proxies::all).transpose().map_err(unusable)?.into_iter().flatten() {
        builder = builder.proxy(proxy);
    }
    for pem in &options.certificate_authorities {
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unusable)?;
        builder = builder.tls_certs_merge(certificates);
    }
    let client = builder.build().map_err(unusable)?;
    Ok(BoxCloneSyncService::new(tower::service_fn(move |request: Request| send(client.clone(), request))))
}

async fn send(client: reqwest::Client, request: Request) -> Result<Response, TransportError> {
    let request = request.map(reqwest::Body::from);
    let request = reqwest::Request::try_from(request).map_err(TransportError::of)?;
    let response = client.execute(request).map_err(TransportError::of).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(TransportError::of)?;
        if body.len() + chunk.len() > MAX_BODY {
            return Err(TransportError::new(TransportFault::Unusable, "the answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = http::Response::new(body.freeze());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}
