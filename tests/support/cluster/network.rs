//! The addresses of a real node's pods and of services, which lead to this machine and nowhere else.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Addresses of one cluster. Those of two that run at once differ, most likely.
#[derive(Clone, Debug)]
pub struct Network {
    second: u8,
    third: u8,
}

impl Network {
    /// Chosen at random from the private ones.
    pub fn new() -> Self {
        // The upper half: the lower one is what networks at home and at work begin with.
        Self { second: 128 | rand::random::<u8>(), third: rand::random::<u8>() & 0xfe }
    }

    /// The addresses of pods.
    pub fn pods(&self) -> String {
        format!("10.{}.{}.0/24", self.second, self.third)
    }

    /// This machine, as pods see it.
    pub fn host(&self) -> String {
        format!("10.{}.{}.1", self.second, self.third)
    }

    /// The addresses of services.
    pub fn services(&self) -> String {
        format!("10.{}.{}.0/24", self.second, self.third | 1)
    }

    /// The first of them: what pods are told is the API server.
    pub fn api_server(&self) -> String {
        format!("10.{}.{}.1", self.second, self.third | 1)
    }
}

/// Does for one service what kube-proxy does: hands connections on to this machine's loopback.
pub async fn forward(from: (String, u16), to: u16) -> Result<tokio::task::JoinHandle<()>, String> {
    let listener = TcpListener::bind(&from).await.map_err(|error| format!("cannot listen on {}: {error}", from.0))?;
    Ok(tokio::spawn(async move {
        while let Ok((mut incoming, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut outgoing) = TcpStream::connect(("127.0.0.1", to)).await {
                    let _ = copy_bidirectional(&mut incoming, &mut outgoing).await;
                }
            });
        }
    }))
}
