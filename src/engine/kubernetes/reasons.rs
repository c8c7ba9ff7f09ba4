//! Why runners do not start, where only events say it: volumes that cannot be mounted, sandboxes that cannot be made.
//!
//! Events are read for runners that have been starting for a while without saying why, and less and less often. While
//! nothing starts, nothing is read.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use tokio::time::Instant;

use super::companions::Companions;
use super::failure::is_missing_companion;
use super::judge;
use super::known::Known;
use super::pods::RunnerPod;
use super::service::Service;

/// A start that takes no longer needs no explanation.
const FIRST: Duration = Duration::from_secs(4);
/// Each wait is twice the one before, up to this.
const LONGEST: Duration = Duration::from_mins(1);
/// Runners about which is asked at a time: in a burst the same is wrong with all.
const AT_A_TIME: usize = 8;

/// When a runner is asked about next, and how long after that.
type Due = BTreeMap<String, (Instant, Duration)>;

/// Explains starting runners, for ever.
pub(super) async fn explain(service: &Service, known: &Known, companions: &Companions) {
    let mut bell = known.bell();
    let mut due = Due::new();
    loop {
        bell.borrow_and_update();
        let starting = known.unexplained();
        let now = Instant::now();
        due.retain(|uid, _| starting.contains(uid));
        for uid in starting {
            due.entry(uid).or_insert((now + FIRST, FIRST));
        }
        let asked: Vec<String> =
            due.iter().filter(|(_, (at, _))| *at <= now).take(AT_A_TIME).map(|(uid, _)| uid.clone()).collect();
        for uid in asked {
            if let Some((at, wait)) = due.get_mut(&uid) {
                *wait = (*wait * 2).min(LONGEST);
                *at = now + *wait;
            }
            if let Some(runner) = known.of_uid(&uid) {
                ask(service, known, companions, &runner).await;
            }
        }
        let Some(next) = due.values().map(|(at, _)| *at).min() else {
            if bell.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Changes wait for it: there may be many, and none is urgent.
        tokio::time::sleep_until(next.max(Instant::now() + Duration::from_millis(500))).await;
    }
}

async fn ask(service: &Service, known: &Known, companions: &Companions, runner: &RunnerPod) {
    match service.warnings(&runner.namespace, &runner.uid).await {
        Ok(events) => {
            if let Some(words) = latest(&events) {
                if is_missing_companion(&words) {
                    companions.doubt(&runner.namespace);
                }
                known.explain(&runner.uid, &words);
            }
        }
        Err(error) => tracing::debug!(runner = runner.observed.name, ?error, "events cannot be read"),
    }
}

/// The words of the event that happened last.
fn latest(events: &[Event]) -> Option<String> {
    let at = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let counted = event.last_timestamp.as_ref().map(|time| time.0);
        let once = event.event_time.as_ref().map(|time| time.0);
        series.or(counted).or(once).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
    };
    let last = events.iter().max_by_key(|event| at(event))?;
    judge::words(last.reason.as_deref(), last.message.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_event_that_happened_last_is_the_reason() {
        let event = |reason: &str, second: u8| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {}, "reason": reason, "message": "no such directory\n",
                "lastTimestamp": format!("2026-11-21T15:31:{second}Z"),
            }))
            .unwrap()
        };
        let events = [event("FailedScheduling", 10), event("FailedMount", 30), event("BackOff", 20)];
        assert_eq!(latest(&events), Some("FailedMount: no such directory".to_owned()));
        assert_eq!(latest(&[]), None);
    }
}
