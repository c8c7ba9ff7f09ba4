//! A resource on its way out for good: how far it is, and what came of it.
//!
//! It waits for controllers that have their order already; it gives none.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wait_for;
use crate::controller::Order;

/// What was left behind, by scale set; `None` while the removal is under way.
type Outcome = Option<Vec<(String, String)>>;

/// The removal of one resource. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    outcome: watch::Receiver<Outcome>,
    /// Its resource is gone, and another of that name is no business of this removal's.
    is_forgotten: bool,
}

/// A controller that was ordered to remove its scale set: the name, the task, the line its orders come by.
pub(super) type Leaving = (String, JoinHandle<Result<(), String>>, watch::Sender<Order>);

impl Removal {
    /// Waits for these in a task of its own: whoever asked may go away.
    pub(super) fn begin(leaving: Vec<Leaving>) -> Self {
        let (done, outcome) = watch::channel(None);
        tokio::spawn(async move {
            let mut left = Vec::new();
            for (name, task, orders) in leaving {
                left.extend(wait_for(vec![(name.clone(), task)]).await);
                // Told otherwise on the way, it has ended without taking anything out of GitHub.
                if *orders.borrow() != Order::Remove {
                    left.push((name, "the controller was ended before the removal was done".to_owned()));
                }
            }
            done.send_replace(Some(left));
        });
        Self { outcome, is_forgotten: false }
    }

    pub(super) fn forget(&mut self) {
        self.is_forgotten = true;
    }

    /// Whether a resource of this name is to stay out.
    pub(super) fn keeps_out(&self, is_wanted: bool) -> bool {
        self.is_under_way() || is_wanted && !self.has_failed() && !self.is_forgotten
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.outcome.borrow().is_none()
    }

    fn has_failed(&self) -> bool {
        self.outcome.borrow().as_ref().is_some_and(|left| !left.is_empty())
    }

    /// Waits for the end; what was left behind.
    pub(super) async fn outcome(mut self) -> Vec<(String, String)> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_default(),
            Err(_) => vec![("its controller".to_owned(), "the removal broke off".to_owned())],
        }
    }
}
