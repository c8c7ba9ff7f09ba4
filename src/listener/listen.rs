//! The listener's loop: a session is opened, polled, and given up when it is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff;
use super::book::Book;
use super::demand::{Demand, JobNews, Phase};
use super::memory::Memory;
use super::trouble::{self, Verdict};
use crate::causes::in_one_line;
use crate::github::{ActionsService, Changes, Environment, Exception, GitHubError, MessageSession, Poll};

/// How long closing the session may take when the process ends (`scale-set-protocol.md` 4.10).
const CLOSING: Duration = Duration::from_secs(30);
/// After so many failures in a row the session is renewed, in case it is the session that is broken.
const FAILURES_BEFORE_REFRESH: u32 = 3;
/// A session that was in doubt so often in a row is closed for a new one.
const DOUBTS: u32 = 3;
/// Sessions that end sooner than this one after the other are opened ever more rarely.
const LIVED: Duration = Duration::from_mins(1);
/// A poll that brings nothing sooner than this was not held.
const HELD: Duration = Duration::from_secs(1);

/// One scale set's listener.
#[derive(Debug)]
pub struct Listener {
    service: ActionsService,
    changes: Changes,
    pub(super) environment: Environment,
    scale_set: i64,
    owner: String,
    memory: Arc<dyn Memory>,
    pub(super) outlets: Outlets,
    pub(super) book: Book,
    pub(super) demand: Demand,
    /// Whether the demand has changed since it was published.
    pub(super) dirty: bool,
    /// The highest delivery that was handled; older ones are replays.
    pub(super) handled: i64,
    /// Handled deliveries whose acknowledgement has not come through yet.
    pub(super) unacknowledged: Vec<i64>,
    /// How often in a row an offer was refused.
    pub(super) refused_offers: u32,
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
    /// It is gone, for this reason.
    Gone(GitHubError),
    /// It may be gone or broken, for this reason; a new one helps.
    GivenUp(GitHubError),
}

impl Listener {
    /// A listener of a scale set. `owner` is shown by GitHub in conflicts.
    pub fn new(
        service: ActionsService,
        environment: Environment,
        scale_set: i64,
        owner: String,
        memory: Arc<dyn Memory>,
        outlets: Outlets,
    ) -> Self {
        let (changes, book, demand) = (service.changes(), Book::default(), Demand::default());
        Self {
            service,
            changes,
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
            refused_offers: 0,
        }
    }

    /// Listens until it is told to stop; then the session is closed. No error of GitHub's ends it. Meanwhile the client's
    /// token is kept fresh: a job that comes need not wait for a new one.
    pub async fn run(self) {
        let service = self.service.clone();
        let never: Infallible = tokio::select! {
            () = self.serve() => return,
            never = service.keep_fresh() => never,
        };
        match never {}
    }

    /// One session after the other, until told to stop.
    async fn serve(mut self) {
        let mut lost = 0;
        while let Some(mut session) = self.open().await {
            let opened = Instant::now();
            let error = match self.listen(&mut session).await {
                End::Stopped => {
                    self.close(&session.id).await;
                    return self.publish_phase(Phase::Closed);
                }
                End::Gone(error) => {
                    self.memory.keep_session(None);
                    error
                }
                // Its id is kept: before a new one is opened it is closed, if it is still there.
                End::GivenUp(error) => error,
            };
            let words = in_one_line(&error);
            tracing::info!(
                scale_set = self.scale_set,
                error = words,
                "the message session is lost; a new one is opened"
            );
            lost = if opened.elapsed() < LIVED { lost + 1 } else { 0 };
            // One that lived is replaced at once, and so is the first that did not.
            if lost > 1 && self.wait(&error, lost - 1).await.is_none() {
                break;
            }
        }
        self.close_predecessor().await;
        self.publish_phase(Phase::Closed);
    }

    /// A session that this controller left behind would block it for a minute and a half.
    async fn close_predecessor(&self) {
        if let Some(id) = self.memory.session() {
            self.close(&id).await;
        }
    }

    /// Opens a session, however long it takes; `None` when told to stop.
    async fn open(&mut self) -> Option<MessageSession> {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let opened = tokio::select! {
                opened = self.try_to_open() => opened,
                () = stopped(self.outlets.stop.clone()) => return None,
            };
            let error = match opened {
                Ok(session) => {
                    self.memory.keep_session(Some(&session.id));
                    self.learn(session.statistics);
                    self.publish_phase(Phase::Listening);
                    return Some(session);
                }
                Err(error) => error,
            };
            failures += 1;
            if *error.exception() == Exception::SessionConflict {
                let wait = backoff::conflict(started.elapsed(), self.environment.fraction());
                self.wait_in(trouble::conflict(&error, started.elapsed()), wait).await?;
            } else {
                self.wait(&error, failures).await?;
            }
        }
    }

    async fn try_to_open(&self) -> Result<MessageSession, GitHubError> {
        self.close_predecessor().await;
        MessageSession::open(&self.service, self.scale_set, &self.owner).await
    }

    async fn listen(&mut self, session: &mut MessageSession) -> End {
        let (mut last, mut failures, mut doubts) = (0, 0, 0);
        loop {
            let (capacity, asked) = (*self.outlets.capacity.borrow(), Instant::now());
            let polled = tokio::select! {
                polled = session.poll(last, capacity) => polled,
                () = stopped(self.outlets.stop.clone()) => return End::Stopped,
            };
            let has_answered = polled.is_ok();
            let brought_nothing = match &polled {
                Ok(Poll::Nothing) => asked.elapsed() < HELD,
                Ok(Poll::Message(envelope)) => envelope.id <= last,
                Ok(Poll::Empty) | Err(_) => true,
            };
            let result = match polled {
                Ok(Poll::Nothing) => {
                    self.demand.heard_at = Some(self.environment.now());
                    self.dirty = true;
                    Ok(())
                }
                Ok(Poll::Empty) => Ok(()),
                // What was received is handled to its end, also when the listener is told to stop meanwhile.
                Ok(Poll::Message(envelope)) => {
                    let id = envelope.id;
                    self.handle(session, envelope).await.map(|()| last = last.max(id))
                }
                Err(error) => Err(error),
            };
            let result = match result {
                Ok(()) => self.acknowledge(session).await,
                failed => failed,
            };
            let error = match result {
                Ok(()) => {
                    (failures, doubts) = (0, 0);
                    self.publish_phase(Phase::Listening);
                    if brought_nothing && self.pause(backoff::after(1, self.environment.fraction())).await.is_none() {
                        return End::Stopped;
                    }
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            let verdict = if has_answered { Verdict::of(&error) } else { Verdict::of_poll(&error) };
            if verdict == Verdict::Gone {
                return End::Gone(error);
            }
            let waited = if failures == 1 && trouble::may_pass(&error) {
                self.wait_out(&error).await
            } else {
                self.wait(&error, failures).await
            };
            if waited.is_none() {
                return End::Stopped;
            }
            if verdict != Verdict::Unrelated || failures % FAILURES_BEFORE_REFRESH == 0 {
                let renewed = self.renew(session).await;
                doubts += u32::from(verdict == Verdict::Doubtful || renewed == Verdict::Doubtful);
                match renewed {
                    Verdict::Gone => return End::Gone(error),
                    Verdict::Missing => return End::GivenUp(error),
                    Verdict::Doubtful | Verdict::Unrelated if doubts >= DOUBTS => return End::GivenUp(error),
                    Verdict::Doubtful | Verdict::Unrelated => {}
                }
            }
        }
    }

    /// Renews the session; what a failure says of it.
    async fn renew(&mut self, session: &mut MessageSession) -> Verdict {
        match session.refresh().await {
            Ok(()) => {
                self.learn(session.statistics);
                Verdict::Unrelated
            }
            Err(error) => Verdict::of_poll(&error),
        }
    }

    /// Says what it waits for after so many failures, and waits: for the time that does GitHub no harm, or for other
    /// credentials. `None` when told to stop.
    async fn wait(&mut self, error: &GitHubError, failures: u32) -> Option<()> {
        let wait = trouble::wait(error, failures, self.environment.now(), self.environment.fraction());
        self.wait_in(trouble::phase(error), wait).await
    }

    /// Waits after a failure that most likely is a single one. It is not published: that all is well again is known only
    /// after the next answer, and a poll without news is held for most of a minute.
    async fn wait_out(&mut self, error: &GitHubError) -> Option<()> {
        let wait = trouble::wait(error, 1, self.environment.now(), self.environment.fraction());
        tracing::info!(
            scale_set = self.scale_set,
            ?wait,
            error = in_one_line(error),
            "a call failed, and is made again"
        );
        self.pause(wait).await
    }

    async fn wait_in(&mut self, phase: Phase, wait: Duration) -> Option<()> {
        if let Phase::Waiting(words) | Phase::Missing(words) = &phase {
            tracing::warn!(scale_set = self.scale_set, ?wait, "{words}");
        }
        self.publish_phase(phase);
        self.pause(wait).await
    }

    async fn pause(&mut self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = sleep(wait) => Some(()),
            () = self.changes.next() => Some(()),
            () = stopped(self.outlets.stop.clone()) => None,
        }
    }

    async fn close(&self, id: &str) {
        match timeout(CLOSING, MessageSession::close_by_id(&self.service, self.scale_set, id)).await {
            Ok(Ok(())) => self.memory.keep_session(None),
            Ok(Err(error)) => {
                tracing::warn!(error = in_one_line(&error), "a message session could not be closed; it is tried again");
            }
            Err(_) => tracing::warn!("closing a message session took too long; it is tried again"),
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever could say so being gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
