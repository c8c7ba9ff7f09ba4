//! Serves the status socket.

use std::os::unix::net::UnixListener;

use axum::Router;

/// Serves until the process ends.
pub(super) async fn serve(listener: UnixListener, router: Router) {
    match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the status socket does not answer any more");
            }
        }
        Err(error) => tracing::error!(%error, "the status socket cannot be served"),
    }
}
