//! What a listener does with a delivery: it is handled, published, and acknowledged last.

use super::demand::{Demand, JobNews, Phase};
use super::listen::Listener;
use super::trouble::is_final;
use crate::causes::in_one_line;
use crate::github::{Envelope, GitHubError, JobEvent, MessageSession, Statistics};

/// An offer that GitHub refused to hand over so often is let go, with the next deliveries waiting behind it. GitHub makes it
/// again.
const OFFER_ATTEMPTS: u32 = 5;

impl Listener {
    /// Acquires what is offered and publishes the new demand. Acknowledging comes after: a crash in between repeats the
    /// delivery, and nothing is lost.
    pub(super) async fn handle(&mut self, session: &mut MessageSession, envelope: Envelope) -> Result<(), GitHubError> {
        let offered: Vec<i64> = envelope
            .messages
            .iter()
            .filter(|message| message.event == JobEvent::Available)
            .map(|message| message.request_id)
            .collect();
        let acquired = self.acquire(session, &offered).await?;
        if envelope.unknown > 0 {
            tracing::warn!(delivery = envelope.id, unknown = envelope.unknown, "messages of an unknown kind");
        }
        let is_replay = envelope.id <= self.handled;
        let statistics = envelope.statistics.filter(|_| !is_replay);
        let assigns =
            envelope.messages.iter().any(|message| message.event == JobEvent::Assigned && self.book.is_news(message));
        let doubtful = assigns && statistics.is_none_or(|statistics| statistics.assigned_jobs == 0);
        if doubtful {
            // Seen in production: a job is assigned and the totals say nothing. The session knows better. Before anything
            // is noted: should this fail, the delivery is handled again.
            session.refresh().await?;
        }
        for message in envelope.messages {
            if self.book.note(&message) && !is_replay {
                // Nobody listening any more is not this delivery's fault.
                let _ = self.outlets.news.send(JobNews { delivery: envelope.id, message });
            }
        }
        if doubtful {
            self.learn(session.statistics);
        } else {
            self.learn(statistics);
            if !is_replay {
                // The numbers are older than the acquisition; waiting for the next ones would cost the jobs a round trip.
                // An offer that is delivered again may be ours already, and is in them then: what was not on offer any
                // more is not counted.
                let offered = statistics.map_or(i64::MAX, |statistics| statistics.available_jobs);
                let acquired = i64::try_from(acquired).unwrap_or(i64::MAX).min(offered.max(0));
                self.demand.acquired = self.demand.acquired.saturating_add(acquired);
            }
        }
        self.handled = self.handled.max(envelope.id);
        self.demand.delivery = self.handled;
        self.dirty = true;
        self.publish_phase(Phase::Listening);
        self.unacknowledged.push(envelope.id);
        Ok(())
    }

    /// Acknowledges what was handled, the oldest first; what fails is tried again after the next poll.
    pub(super) async fn acknowledge(&mut self, session: &mut MessageSession) -> Result<(), GitHubError> {
        while let Some(id) = self.unacknowledged.first().copied() {
            session.acknowledge(id).await?;
            self.unacknowledged.remove(0);
        }
        Ok(())
    }

    /// Takes what is offered; how much we got.
    async fn acquire(&mut self, session: &mut MessageSession, offered: &[i64]) -> Result<usize, GitHubError> {
        if offered.is_empty() {
            return Ok(0);
        }
        let error = match session.acquire(offered).await {
            Ok(got) => {
                self.refused_offers = 0;
                return Ok(got.len());
            }
            Err(error) => error,
        };
        if !is_final(&error) {
            return Err(error);
        }
        self.refused_offers += 1;
        if self.refused_offers < OFFER_ATTEMPTS {
            return Err(error);
        }
        tracing::error!(error = in_one_line(&error), jobs = offered.len(), "an offer of jobs is let go");
        self.refused_offers = 0;
        Ok(0)
    }

    pub(super) fn learn(&mut self, statistics: Option<Statistics>) {
        let Some(statistics) = statistics else { return };
        self.book.reconcile(statistics.assigned_jobs, statistics.available_jobs);
        self.demand.statistics = Some(statistics);
        self.demand.acquired = statistics.acquired_jobs;
        self.dirty = true;
        self.demand.observed_at = Some(self.environment.now());
        self.demand.heard_at = self.demand.observed_at;
    }

    pub(super) fn publish_phase(&mut self, phase: Phase) {
        let (waiting, oldest_queued_at) = self.book.waiting();
        let demand = Demand { waiting, oldest_queued_at, phase, ..self.demand.clone() };
        if std::mem::take(&mut self.dirty) || demand != self.demand {
            self.demand = demand.clone();
            self.outlets.demand.send_replace(demand);
        }
    }
}
