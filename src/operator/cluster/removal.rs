//! Waits for a deleted resource's scale sets to be taken out, but not for ever (`design.md` 3.2, finalizer).
//!
//! Busy runners are waited for as long as they are busy. Without one, GitHub, the API server and nodes get a bounded time;
//! after it the resource goes, and what was left is said.

use std::future::pending;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::controller::{RunnerPhase, ScaleSetStatus};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is gone.
    Gone,
    /// Something could not be taken out, in words by scale set; trying again may help.
    Left(Vec<(String, String)>),
    /// No runner was busy for the whole limit, and still it was not done.
    OutOfTime,
}

/// Waits for the removal's end; also says when a runner was last seen busy, if one was.
pub(super) async fn wait(
    removal: impl Future<Output = Vec<(String, String)>>,
    mut statuses: Vec<watch::Receiver<ScaleSetStatus>>,
    limit: Duration,
) -> (Outcome, Option<Instant>) {
    tokio::pin!(removal);
    let (begun, mut busy_until) = (Instant::now(), None);
    loop {
        let busy = statuses.iter_mut().any(|status| is_busy(&status.borrow_and_update()));
        let change = async {
            if statuses.is_empty() {
                return pending().await;
            }
            select_all(statuses.iter_mut().map(|status| changed(status).boxed())).await;
        };
        tokio::select! {
            left = &mut removal => {
                return (if left.is_empty() { Outcome::Gone } else { Outcome::Left(left) }, busy_until);
            }
            () = sleep_until(busy_until.unwrap_or(begun) + limit), if !busy => return (Outcome::OutOfTime, busy_until),
            // It was busy until now.
            () = change => if busy { busy_until = Some(Instant::now()) },
        }
    }
}

fn is_busy(status: &ScaleSetStatus) -> bool {
    status.runners.iter().any(|runner| runner.phase == RunnerPhase::Busy)
}

async fn changed(status: &mut watch::Receiver<ScaleSetStatus>) {
    if status.changed().await.is_err() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::RunnerStatus;

    fn status(phase: RunnerPhase) -> ScaleSetStatus {
        let runner = RunnerStatus {
            name: "ws-a".to_owned(),
            phase,
            slot: 0,
            job: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            manifest: None,
            reason: None,
        };
        ScaleSetStatus { runners: vec![runner], ..ScaleSetStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_runner_is_waited_for_and_a_dead_github_is_not() {
        let limit = Duration::from_mins(5);
        let (out, statuses) = watch::channel(status(RunnerPhase::Busy));
        let begun = Instant::now();
        let waiting = tokio::spawn(wait(pending(), vec![statuses], limit));
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(!waiting.is_finished(), "a busy runner was given up");
        out.send_replace(status(RunnerPhase::Removing));
        let (outcome, busy_until) = waiting.await.unwrap();
        let busy_for = busy_until.map(|until| until.duration_since(begun).as_secs());
        assert_eq!((outcome, busy_for), (Outcome::OutOfTime, Some(2 * 3600)));
        assert_eq!(begun.elapsed().as_secs(), 2 * 3600 + 300);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_is_passed_on() {
        let left = vec![("ws".to_owned(), "GitHub said 500".to_owned())];
        let outcome = async |left| wait(std::future::ready(left), Vec::new(), Duration::from_secs(1)).await.0;
        assert_eq!(outcome(left.clone()).await, Outcome::Left(left));
        assert_eq!(outcome(Vec::new()).await, Outcome::Gone);
    }
}
