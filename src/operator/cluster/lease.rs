//! Leadership by a `Lease`: one process works for a controller at a time (`crates-notes.md` 4.5).
//!
//! Clocks of other hosts are never compared with ours: what counts is how long we have seen a record unchanged. Every
//! write carries the resource version it was decided on, and a leader that cannot renew in time stands down by itself,
//! whether the API server answers or not. What leading means is not decided here.

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::causes::in_one_line;
use crate::github::Environment;

/// How long a record that does not change is believed.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that has not renewed for so long is none any more: well before anyone else may believe so.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a leader renews.
const RENEW: Duration = Duration::from_secs(4);
/// Waits between attempts that failed, and the most that one may take.
const AGAIN: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_secs(3);

/// One who wants to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The leases of its namespace.
    pub leases: Api<Lease>,
    /// Name of the lease.
    pub name: String,
    /// Who it is: one process at a time has this name.
    pub identity: String,
    /// The clock that is written down for people.
    pub environment: Environment,
}

/// Leads, until [`Leadership::lost`] or [`Leadership::release`]. Dropped, the lease runs out.
#[derive(Debug)]
pub struct Leadership {
    candidate: Candidate,
    /// The record as it was written last; `None` once leadership is lost.
    held: watch::Receiver<Option<Lease>>,
    renewing: JoinHandle<()>,
}

/// What a look at the record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// No one leads, or no one has renewed for too long.
    Take,
    /// We lead.
    Renew,
    /// Someone leads; the record is believed until then.
    WaitUntil(Instant),
}

/// `seen` is when we saw the record change last.
fn decide(identity: &str, spec: Option<&LeaseSpec>, seen: Instant, now: Instant) -> Step {
    let Some(spec) = spec else { return Step::Take };
    match spec.holder_identity.as_deref() {
        None | Some("") => Step::Take,
        Some(holder) if holder == identity => Step::Renew,
        Some(_) => {
            let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
            let end = seen + Duration::from_secs(seconds);
            if end <= now { Step::Take } else { Step::WaitUntil(end) }
        }
    }
}

impl Candidate {
    /// Waits until it leads. A lease that is given back is taken at once: it is watched, not polled.
    pub async fn lead(&self) -> Leadership {
        let changes = self.changes();
        tokio::pin!(changes);
        let mut last: Option<LeaseSpec> = None;
        let mut seen = Instant::now();
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                Some(()) = changes.next() => {}
                () = sleep_until(look_at) => {}
            }
            match timeout(CALL, self.attempt(&mut last, &mut seen)).await {
                Ok(Ok(Ok(lease))) => return self.begin(lease),
                Ok(Ok(Err(until))) => look_at = until,
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, error = in_one_line(&error), "cannot try to lead");
                    look_at = Instant::now() + AGAIN;
                }
                Err(_) => look_at = Instant::now() + AGAIN,
            }
        }
    }

    fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let only_ours = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.leases.clone(), only_ours)
            .default_backoff()
            .filter_map(async |event| matches!(event, Ok(Event::Apply(_) | Event::Delete(_))).then_some(()))
    }

    /// Leads now, or says until when not.
    async fn attempt(
        &self,
        last: &mut Option<LeaseSpec>,
        seen: &mut Instant,
    ) -> Result<Result<Lease, Instant>, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        if *last != spec {
            (*last, *seen) = (spec.clone(), Instant::now());
        }
        let step = decide(&self.identity, spec.as_ref(), *seen, Instant::now());
        if let Step::WaitUntil(until) = step {
            return Ok(Err(until));
        }
        let spec = self.taken(spec.unwrap_or_default(), step);
        let written = if let Some(lease) = lease {
            let lease = Lease { spec: Some(spec), ..lease };
            self.leases.replace(&self.name, &PostParams::default(), &lease).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
        };
        match written {
            Ok(lease) => Ok(Ok(lease)),
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Err(Instant::now() + AGAIN))
            }
            Err(error) => Err(error),
        }
    }

    fn taken(&self, spec: LeaseSpec, step: Step) -> LeaseSpec {
        let now = MicroTime(self.environment.now());
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(step == Step::Take);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if step == Step::Take { Some(now.clone()) } else { spec.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..spec
        }
    }

    fn begin(&self, lease: Lease) -> Leadership {
        let (held_out, held) = watch::channel(Some(lease));
        let renewing = tokio::spawn(self.clone().keep(held_out));
        Leadership { candidate: self.clone(), held, renewing }
    }

    /// Renews until that fails for too long, or someone else has it.
    async fn keep(self, held: watch::Sender<Option<Lease>>) {
        let mut renewed = Instant::now();
        let mut wait = RENEW;
        loop {
            sleep(wait).await;
            let begun = Instant::now();
            let Some(lease) = held.borrow().clone() else { return };
            let until = renewed + DEADLINE;
            match tokio::time::timeout_at(until.min(begun + CALL), self.renew(lease)).await {
                Ok(Ok(lease)) => {
                    held.send_replace(Some(lease));
                    (renewed, wait) = (begun, RENEW);
                    continue;
                }
                Ok(Err(RenewError::Lost)) => break,
                Ok(Err(RenewError::Failed(error))) => {
                    tracing::warn!(lease = self.name, error = in_one_line(&error), "cannot renew the lease");
                }
                Err(_) => tracing::warn!(lease = self.name, "renewing the lease takes too long"),
            }
            wait = AGAIN;
            if Instant::now() + wait >= until {
                sleep_until(until).await;
                break;
            }
        }
        held.send_replace(None);
    }

    async fn renew(&self, mut lease: Lease) -> Result<Lease, RenewError> {
        // Someone else may have written a label to it: then the second attempt is on what is there now.
        for _ in 0..2 {
            let spec = lease.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
                return Err(RenewError::Lost);
            }
            let next = Lease { spec: Some(self.taken(spec, Step::Renew)), ..lease.clone() };
            match self.leases.replace(&self.name, &PostParams::default(), &next).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                written => return written.map_err(RenewError::Failed),
            }
            match self.leases.get_opt(&self.name).await.map_err(RenewError::Failed)? {
                Some(found) => lease = found,
                None => return Err(RenewError::Lost),
            }
        }
        Err(RenewError::Lost)
    }
}

#[derive(Debug)]
enum RenewError {
    Lost,
    Failed(kube::Error),
}

impl Leadership {
    /// Waits until it leads no more.
    pub async fn lost(&mut self) {
        // The sender is gone only if the task is: that is no leadership either.
        let _ = self.held.wait_for(Option::is_none).await;
    }

    /// Gives the lease back, so that a successor begins at once. What fails costs the successor the lease's duration.
    pub async fn release(self) {
        self.renewing.abort();
        let Some(lease) = self.held.borrow().clone() else { return };
        let name = &self.candidate.name;
        match timeout(CALL, self.give_back(lease)).await {
            Ok(Ok(())) => tracing::info!(lease = name, "the lease is given back"),
            Ok(Err(error)) => tracing::warn!(lease = name, error = in_one_line(&error), "the lease runs out by itself"),
            Err(_) => tracing::warn!(lease = name, "the lease runs out by itself"),
        }
    }

    async fn give_back(&self, mut lease: Lease) -> Result<(), kube::Error> {
        let Candidate { leases, name, identity, environment } = &self.candidate;
        loop {
            let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(identity)) else {
                return Ok(());
            };
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(environment.now()));
            match leases.replace(name, &PostParams::default(), &lease).await {
                // A renewal that was under way has had its effect.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                written => return written.map(drop),
            }
            let Some(found) = leases.get_opt(name).await? else { return Ok(()) };
            lease = found;
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_believed_as_long_as_it_says_counted_from_when_we_saw_it() {
        let start = Instant::now();
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let after = |seconds| start + Duration::from_secs(seconds);
        let rows = [
            (None, 0, Step::Take),
            (Some(spec("")), 0, Step::Take),
            (Some(spec("we")), 0, Step::Renew),
            (Some(spec("they")), 0, Step::WaitUntil(after(15))),
            (Some(spec("they")), 14, Step::WaitUntil(after(15))),
            (Some(spec("they")), 15, Step::Take),
        ];
        for (spec, seconds, step) in rows {
            assert_eq!(decide("we", spec.as_ref(), start, after(seconds)), step, "{spec:?} after {seconds} s");
        }
    }
}
