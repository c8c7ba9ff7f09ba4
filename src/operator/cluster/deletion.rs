//! What a leader does about deleted resources: their scale sets are taken out, then the finalizer goes, or it is said what
//! was left. How long that is waited for is in `removal.rs`.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use kube::api::{Api, DynamicObject};
use kube::runtime::events::EventType;
use tokio::time::{Instant, sleep};

use super::case::{Case, Claims, Removal};
use super::leader::{AGAIN, Done, Leader};
use super::removal::{self, Outcome};
use super::resource::Resource;
use super::wanted::{Fault, Verdict};
use super::{finalizer, publish};
use crate::causes;

impl Leader {
    /// Takes out what belongs to deleted resources.
    pub(super) fn begin_removals(&mut self, verdicts: &BTreeMap<String, Verdict>) {
        let now = Instant::now();
        for (uid, case) in &mut self.cases {
            if case.resource.deleted_at.is_none() || matches!(verdicts.get(uid), Some(Verdict::Pending)) {
                continue;
            }
            if matches!(case.removal, Removal::Pausing(until) if until <= now) {
                // The next pass serves it again, so that it can be removed again.
                case.removal = Removal::No;
                self.bell.notify_one();
                continue;
            }
            if case.removal != Removal::No {
                continue;
            }
            let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
            let key = case.resource.key();
            let statuses = operator.statuses_of(&key);
            let uid = uid.clone();
            if let Some(removal) = operator.remove(&key) {
                let limit = self.settings.removal_limit;
                self.tasks.spawn(async move {
                    let (outcome, busy_until) = removal::wait(removal, statuses, limit).await;
                    Done::Removal(uid, outcome, busy_until)
                });
            } else {
                if !operator.has_seen_engine() {
                    // The time begins when it is known what there is.
                    case.removing_since = Some(now);
                }
                let since = *case.removing_since.get_or_insert(now);
                let in_time = now.duration_since(since) < self.settings.removal_limit;
                // Nobody can ask GitHub about them: whoever is known to have got a job may still have it.
                let is_alive = !operator.has_seen_engine()
                    || operator.has_unclaimed(|runner| {
                        case.is_registered(&runner.scale_set) && (in_time || runner.job.is_some())
                    });
                if is_alive || in_time && case.may_be_registered() {
                    // What is in the way may pass: a Secret that cannot be read now. And jobs may be running.
                    case.removal = Removal::Pausing(now + AGAIN);
                    self.tasks.spawn(look_again());
                    continue;
                }
                let outcome = never_served(&case.resource, case.fault.as_ref());
                self.tasks.spawn(async move { Done::Removal(uid, outcome, None) });
            }
            case.removal = Removal::UnderWay;
            case.removing_since.get_or_insert(now);
        }
    }

    /// Tries the removal again a little later.
    fn pause(&mut self, uid: &str, why: &str) {
        let Some(case) = self.cases.get_mut(uid) else { return };
        tracing::warn!(resource = case.resource.key(), why, "not everything is taken out yet");
        case.removal = Removal::Pausing(Instant::now() + AGAIN);
        self.tasks.spawn(look_again());
    }

    /// A removal has ended: the resource goes, or it is tried again while there is time.
    pub(super) fn removed(&mut self, uid: &str, outcome: Outcome, busy_until: Option<Instant>) {
        let claims = self.claims();
        let has_seen_engine = self.operator.lock().unwrap_or_else(PoisonError::into_inner).has_seen_engine();
        let Some(case) = self.cases.get_mut(uid) else { return };
        // The time in which a runner was busy, or could not be seen, does not count.
        let unseen_until = (!has_seen_engine).then(Instant::now);
        case.removing_since = case.removing_since.max(busy_until).max(unseen_until);
        let out_of_time = case.removing_since.is_none_or(|since| since.elapsed() >= self.settings.removal_limit);
        let left = match outcome {
            Outcome::Gone => not_taken_out(uid, case, &claims),
            // With the resource its pods would go, and nobody knows whether one is busy.
            Outcome::Left(_) | Outcome::OutOfTime if !has_seen_engine => {
                return self.pause(uid, "its pods were never listed");
            }
            Outcome::Left(left) if !out_of_time => return self.pause(uid, &in_words(&left)),
            Outcome::Left(left) => Some(in_words(&left)),
            Outcome::OutOfTime => {
                let statuses = {
                    let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
                    let statuses = operator.statuses_of(&case.resource.key());
                    operator.abandon(&case.resource.key());
                    statuses
                };
                Some(statuses.iter().map(|status| left_at_github(&status.borrow())).collect::<Vec<_>>().join("; "))
            }
        };
        case.removal = Removal::Done;
        let resource = case.resource.clone();
        match &left {
            None => tracing::info!(resource = resource.key(), "taken out"),
            Some(words) => {
                tracing::error!(resource = resource.key(), left = words, "the resource goes, and something is left");
            }
        }
        let (api, recorder) = (self.api(&resource), self.recorder.clone());
        self.tasks.spawn(async move {
            if let Some(words) = left {
                publish::record(&recorder, &resource, EventType::Warning, "LeftBehind", &words, "Remove").await;
            }
            take_finalizer_away(api, resource).await
        });
    }
}

fn in_words(left: &[(String, String)]) -> String {
    left.iter().map(|(name, words)| format!("{name}: {words}")).collect::<Vec<_>>().join("; ")
}

/// Scale sets that its spec did not name any more, and that could not be taken out before it was deleted.
fn not_taken_out(uid: &str, case: &Case, claims: &Claims) -> Option<String> {
    let left = case.ids.scale_sets().into_iter().filter(|(name, id)| !claims.is_anothers(uid, case, name, *id));
    let words =
        left.map(|(name, id)| format!("{name}: the scale set (id {id}) stays at GitHub: it was not taken out in time"));
    Some(words.collect::<Vec<_>>().join("; ")).filter(|words| !words.is_empty())
}

/// What is left of a scale set that could not be taken out in time.
fn left_at_github(status: &crate::controller::ScaleSetStatus) -> String {
    let id = status.scale_set_id.map(|id| format!(" (id {id})")).unwrap_or_default();
    let runners: Vec<&str> = status.runners.iter().map(|runner| runner.name.as_str()).collect();
    let runners = if runners.is_empty() { String::new() } else { format!(", with {}", runners.join(", ")) };
    let reasons = if status.reasons.is_empty() { String::new() } else { format!(": {}", status.reasons.join("; ")) };
    format!(
        "the scale set `{}`{id}{runners} at {} could not be taken out in time{reasons}",
        status.name, status.config_url
    )
}

/// A resource that no spec of could be served since this process leads.
fn never_served(resource: &Resource, fault: Option<&Fault>) -> Outcome {
    let registered = resource.status.instances.iter().filter(|instance| instance.scale_set_id.is_some());
    let why = fault.map_or("its spec cannot be read", |fault| fault.words.as_str());
    let left: Vec<(String, String)> = registered
        .map(|instance| {
            let id = instance.scale_set_id.unwrap_or_default();
            (instance.name.clone(), format!("the scale set (id {id}) stays at GitHub: {why}"))
        })
        .collect();
    if left.is_empty() { Outcome::Gone } else { Outcome::Left(left) }
}

pub(super) async fn look_again() -> Done {
    sleep(AGAIN).await;
    Done::Look
}

async fn take_finalizer_away(api: Api<DynamicObject>, resource: Resource) -> Done {
    while let Err(error) = finalizer::take_away(&api, &resource).await {
        let error = causes::in_one_line(&error);
        tracing::warn!(resource = resource.key(), error, "the finalizer is not taken away yet");
        sleep(AGAIN).await;
    }
    Done::Look
}
