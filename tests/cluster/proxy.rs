//! A proxy as companies have one: it tunnels what `CONNECT` asks for and passes everything else on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Dropped, it is gone.
pub struct Proxy {
    pub url: String,
    /// The heads of requests: of each connection the first.
    pub heads: mpsc::UnboundedReceiver<String>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (told, heads) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                tokio::spawn(pass(near, told.clone()));
            }
        });
        Self { url, heads, serving }
    }
}

/// Where a connection ends, the other does.
async fn pass(mut near: TcpStream, told: mpsc::UnboundedSender<String>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head.clone()).ok()?;
    let target = text.split(' ').nth(1)?;
    let is_tunnel = text.starts_with("CONNECT ");
    let host = target.strip_prefix("http://").unwrap_or(target).split('/').next()?.to_owned();
    let mut far = TcpStream::connect(&host).await.ok()?;
    told.send(text).ok()?;
    if is_tunnel {
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    } else {
        far.write_all(&head).await.ok()?;
    }
    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok().map(drop)
}
