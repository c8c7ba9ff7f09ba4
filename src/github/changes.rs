//! News that make a refused call worth another try.

use tokio::sync::watch;

use super::connection::Given;
use super::service::Way;

/// Tells when a client has other credentials or another way to GitHub. What changed since it was made or last asked is told
/// as well, so nothing is missed between a failed call and the wait after it.
#[derive(Debug)]
pub struct Changes {
    way: watch::Receiver<Way>,
    given: watch::Receiver<Given>,
}

impl Changes {
    pub(super) fn new(mut way: watch::Receiver<Way>) -> Self {
        let given = way.borrow_and_update().connection.given();
        Self { way, given }
    }

    /// Waits for the next change; for ever if the client is gone.
    pub async fn next(&mut self) {
        let changed = tokio::select! {
            changed = self.way.changed() => {
                self.given = self.way.borrow_and_update().connection.given();
                changed
            }
            changed = self.given.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
