//! Where the API server asks for containers' logs: a kubelet's HTTPS port.

use std::net::SocketAddr;
use std::sync::{PoisonError, Weak};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::Inner;

/// Made for tests; the API server does not look whose it is.
const CERTIFICATE: &str = include_str!("../../../github/localhost.pem");
const KEY: &str = include_str!("../../../github/localhost-key.pem");

/// A listener that speaks TLS.
pub(super) struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
}

impl Listener {
    pub(super) async fn bind() -> std::io::Result<Self> {
        let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).map_err(std::io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).map_err(std::io::Error::other)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key));
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config.map_err(std::io::Error::other)?));
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        Ok(Self { tcp, acceptor, address })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}

pub(super) async fn serve(kubelet: Weak<Inner>, listener: Listener) {
    let router = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(logs)).with_state(kubelet);
    let _ = axum::serve(listener, router).await;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    tail_lines: Option<usize>,
}

async fn logs(
    State(kubelet): State<Weak<Inner>>,
    Path((namespace, pod, _container)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<String, StatusCode> {
    let kubelet = kubelet.upgrade().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let log = kubelet.state().pods.get(&(namespace, pod)).map(|played| std::sync::Arc::clone(&played.log));
    let log = log.ok_or(StatusCode::NOT_FOUND)?;
    let lines = log.lock().unwrap_or_else(PoisonError::into_inner);
    let first = wanted.tail_lines.map_or(0, |wanted| lines.len().saturating_sub(wanted));
    Ok(lines[first..].iter().map(|line| format!("{line}\n")).collect())
}
