//! The listener's loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff;
use super::book::Book;
use super::demand::{Demand, JobNews, Phase};
use super::session_memory::SessionMemory;
use crate::causes::in_one_line;
use crate::github::{
    ActionsService, Envelope, Environment, Exception, GitHubError, JobEvent, MessageSession, Poll, Statistics,
};

/// How long closing the session may take when the process ends (`scale-set-protocol.md` 4.10).
const CLOSING: Duration = Duration::from_secs(30);
/// After so many failures in a row the session is renewed, in case it is the session that is broken.
const FAILURES_BEFORE_REFRESH: u32 = 3;

/// One scale set's listener.
#[derive(Debug)]
pub struct Listener {
    service: ActionsService,
    environment: Environment,
    scale_set: i64,
    owner: String,
    memory: Arc<dyn SessionMemory>,
    outlets: Outlets,
    book: Book,
    demand: Demand,
    /// Whether the demand has changed since it was published.
    dirty: bool,
    /// The highest delivery that was handled; older ones are replays.
    handled: i64,
    /// Handled deliveries whose acknowledgement has not come through yet.
    unacknowledged: Vec<i64>,
}

/// Where a listener gets its orders, and where its results go.
#[derive(Debug)]
pub struct Outlets {
    /// How many jobs the scale set may own; read anew for every poll.
    pub capacity: watch::Receiver<u32>,
    /// The latest demand.
    pub demand: watch::Sender<Demand>,
    /// What happened to jobs, each once.
    pub news: mpsc::UnboundedSender<JobNews>,
    /// Becomes true when the listener shall end.
    pub stop: watch::Receiver<bool>,
}

/// Why a session is not polled any more.
enum End {
    Stopped,
    /// The session is gone: a new one is needed.
    Lost,
}

impl Listener {
    /// A listener of a scale set. `owner` is shown by GitHub in conflicts.
    pub fn new(
        service: ActionsService,
        environment: Environment,
        scale_set: i64,
        owner: String,
        memory: Arc<dyn SessionMemory>,
        outlets: Outlets,
    ) -> Self {
        let (book, demand) = (Book::default(), Demand::default());
        Self {
            service,
            environment,
            scale_set,
            owner,
            memory,
            outlets,
            book,
            demand,
            dirty: false,
            handled: 0,
            unacknowledged: Vec::new(),
        }
    }

    /// Listens until it is told to stop; then the session is closed. No error of GitHub's ends it.
    pub async fn run(mut self) {
        self.close_predecessor().await;
        while let Some(mut session) = self.open().await {
            match self.listen(&mut session).await {
                End::Lost => self.memory.keep(None),
                End::Stopped => {
                    self.close(&session).await;
                    break;
                }
            }
        }
        self.publish_phase(Phase::Closed);
    }

    /// A session that this controller left behind when it died would block it for a minute and a half.
    async fn close_predecessor(&self) {
        let Some(id) = self.memory.recall() else { return };
        match timeout(CLOSING, MessageSession::close_by_id(&self.service, self.scale_set, &id)).await {
            Ok(Ok(())) => self.memory.keep(None),
            Ok(Err(error)) => {
                tracing::warn!(error = in_one_line(&error), "cannot close the session of the previous run")
            }
            Err(_) => tracing::warn!("closing the session of the previous run took too long"),
        }
    }

    /// Opens a session, however long it takes; `None` when told to stop.
    async fn open(&mut self) -> Option<MessageSession> {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let error = tokio::select! {
                opened = MessageSession::open(&self.service, self.scale_set, &self.owner) => match opened {
                    Ok(session) => {
                        self.memory.keep(Some(&session.id));
                        self.learn(session.statistics);
                        self.publish_phase(Phase::Listening);
                        return Some(session);
                    }
                    Err(error) => error,
                },
                () = stopped(self.outlets.stop.clone()) => return None,
            };
            failures += 1;
            let fraction = self.environment.fraction();
            let wait = if *error.exception() == Exception::SessionConflict {
                backoff::conflict(started.elapsed(), fraction)
            } else {
                backoff::after(failures, fraction)
            };
            let words = words(&error, started.elapsed());
            let missing = *error.exception() == Exception::ScaleSetNotFound;
            let phase = if missing { Phase::Missing(words) } else { Phase::Waiting(words) };
            self.wait(phase, wait).await?;
        }
    }

    async fn listen(&mut self, session: &mut MessageSession) -> End {
        let (mut last, mut failures) = (0, 0);
        loop {
            let capacity = *self.outlets.capacity.borrow();
            let polled = tokio::select! {
                polled = session.poll(last, capacity) => polled,
                () = stopped(self.outlets.stop.clone()) => return End::Stopped,
            };
            let result = match polled {
                Ok(Poll::Nothing) => {
                    self.demand.heard_at = Some(self.environment.now());
                    self.dirty = true;
                    Ok(())
                }
                Ok(Poll::Empty) => {
                    sleep(backoff::after(1, self.environment.fraction())).await;
                    Ok(())
                }
                // What was received is handled to its end, also when the listener is told to stop meanwhile.
                Ok(Poll::Message(envelope)) => {
                    let id = envelope.id;
                    self.handle(session, envelope).await.map(|()| last = id)
                }
                Err(error) => Err(error),
            };
            let result = match result {
                Ok(()) => self.acknowledge(session).await,
                failed => failed,
            };
            match result {
                Ok(()) => {
                    failures = 0;
                    self.publish_phase(Phase::Listening);
                }
                Err(error) if is_lost(&error) => return End::Lost,
                Err(error) => {
                    failures += 1;
                    let wait = backoff::after(failures, self.environment.fraction());
                    if self.wait(Phase::Waiting(words(&error, Duration::ZERO)), wait).await.is_none() {
                        return End::Stopped;
                    }
                    if failures % FAILURES_BEFORE_REFRESH == 0 && self.renew(session).await {
                        return End::Lost;
                    }
                }
            }
        }
    }

    /// Acquires what is offered and publishes the new demand. Acknowledging comes after: a crash in between repeats the
    /// delivery, and nothing is lost.
    async fn handle(&mut self, session: &mut MessageSession, envelope: Envelope) -> Result<(), GitHubError> {
        let offered: Vec<i64> = envelope
            .messages
            .iter()
            .filter(|message| message.event == JobEvent::Available)
            .map(|message| message.request_id)
            .collect();
        let mut acquired = 0;
        if !offered.is_empty() {
            acquired = session.acquire(&offered).await?.len();
        }
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
    async fn acknowledge(&mut self, session: &mut MessageSession) -> Result<(), GitHubError> {
        while let Some(id) = self.unacknowledged.first().copied() {
            session.acknowledge(id).await?;
            self.unacknowledged.remove(0);
        }
        Ok(())
    }

    /// Renews the session; true if it is gone.
    async fn renew(&mut self, session: &mut MessageSession) -> bool {
        match session.refresh().await {
            Ok(()) => {
                self.learn(session.statistics);
                false
            }
            Err(error) => is_lost(&error),
        }
    }

    fn learn(&mut self, statistics: Option<Statistics>) {
        let Some(statistics) = statistics else { return };
        self.book.reconcile(statistics.assigned_jobs, statistics.available_jobs);
        self.demand.statistics = Some(statistics);
        self.demand.acquired = statistics.acquired_jobs;
        self.dirty = true;
        self.demand.observed_at = Some(self.environment.now());
        self.demand.heard_at = self.demand.observed_at;
    }

    /// Says what it waits for, and waits; `None` when told to stop.
    async fn wait(&mut self, phase: Phase, wait: Duration) -> Option<()> {
        if let Phase::Waiting(words) | Phase::Missing(words) = &phase {
            tracing::warn!(scale_set = self.scale_set, ?wait, "{words}");
        }
        self.publish_phase(phase);
        tokio::select! {
            () = sleep(wait) => Some(()),
            () = stopped(self.outlets.stop.clone()) => None,
        }
    }

    fn publish_phase(&mut self, phase: Phase) {
        let (waiting, oldest_queued_at) = self.book.waiting();
        let demand = Demand { waiting, oldest_queued_at, phase, ..self.demand.clone() };
        if std::mem::take(&mut self.dirty) || demand != self.demand {
            self.demand = demand.clone();
            self.outlets.demand.send_replace(demand);
        }
    }

    async fn close(&self, session: &MessageSession) {
        match timeout(CLOSING, session.close()).await {
            Ok(Ok(())) => self.memory.keep(None),
            Ok(Err(error)) => {
                tracing::warn!(error = in_one_line(&error), "the session could not be closed; the next start closes it")
            }
            Err(_) => tracing::warn!("closing the session took too long; the next start closes it"),
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever could say so being gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether only a new session can help.
fn is_lost(error: &GitHubError) -> bool {
    matches!(error.exception(), Exception::SessionGone | Exception::ScaleSetNotFound) || error.status() == Some(404)
}

fn words(error: &GitHubError, waited: Duration) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    match error.exception() {
        Exception::SessionConflict if waited < backoff::PATIENCE => {
            format!("waiting for a previous message session of this scale set to end: {error}")
        }
        Exception::SessionConflict => {
            format!("another controller seems to serve this scale set: {error} (stop it, or rename one of the two)")
        }
        _ => format!("waiting for GitHub: {error}{hint}"),
    }
}
