//! The real transport: a host that cannot be reached, a certificate authority that is not trusted, and one that is.

use std::sync::Arc;

use deskrun::github::{HttpOptions, TransportFault, over_http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::ServiceExt;

/// An authority made for these tests, and a certificate of it for `localhost`.
const AUTHORITY: &str = include_str!("authority.pem");
const CERTIFICATE: &str = include_str!("localhost.pem");
const KEY: &str = include_str!("localhost-key.pem");

async fn get(url: &str, options: &HttpOptions) -> Result<u16, TransportFault> {
    let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
    let answered = over_http(options).unwrap().oneshot(request).await;
    answered.map(|response| response.status().as_u16()).map_err(|error| error.fault)
}

/// Answers every connection with 204.
async fn serve() -> String {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_certificate_authority_of_ones_own_is_trusted_only_when_it_is_given() {
    let url = serve().await;
    assert_eq!(get(&url, &HttpOptions::default()).await, Err(TransportFault::Certificate));
    let options = HttpOptions { certificate_authorities: vec![AUTHORITY.to_owned()], ..HttpOptions::default() };
    assert_eq!(get(&url, &options).await, Ok(204));
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_told_apart_from_a_broken_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    assert_eq!(get(&url, &HttpOptions::default()).await, Err(TransportFault::Unreachable));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    assert_eq!(get(&url, &HttpOptions::default()).await, Err(TransportFault::Interrupted));
}

#[test]
fn a_certificate_authority_that_is_none_is_refused_at_once() {
    let options = HttpOptions {
        certificate_authorities: vec!["-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n".to_owned()],
        ..HttpOptions::default()
    };
    assert_eq!(over_http(&options).err().map(|error| error.fault), Some(TransportFault::Unusable));
}
