//! The scale set at GitHub, and the listener of its messages.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::events::NotFound;
use super::specification::Specification;
use crate::github::{ActionsService, Environment, ScaleSet};
use crate::listener::{Demand, JobNews, Listener, Memory, Outlets, Phase};

/// GitHub says "not found" in outages as well: only after so long is the scale set looked for anew.
const MISSING_FOR: SignedDuration = SignedDuration::from_secs(60);
/// Waits before the scale set is looked for again: doubled each time, up to this.
const MOST_WAIT: u64 = 300;

/// How far a controller is with GitHub.
#[derive(Debug, Default)]
pub(super) struct AtGitHub {
    /// The scale set, once it is found.
    pub(super) scale_set: Option<ScaleSet>,
    /// Being looked for.
    pub(super) looking: bool,
    /// Why it could not be found.
    pub(super) trouble: Option<String>,
    /// Looking for it failed so often …
    failures: u32,
    /// … and is tried again then.
    pub(super) look_at: Option<Timestamp>,
    /// The listener, while there is one.
    pub(super) listener: Option<Line>,
    missing_since: Option<Timestamp>,
    /// It is not there any more, and is not to be made again.
    pub(super) is_gone: bool,
    /// Whether its session was ours at least once.
    pub(super) was_held: bool,
}

/// The line to a listener.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) demand: watch::Receiver<Demand>,
    news: mpsc::UnboundedReceiver<JobNews>,
    /// News whose numbers are not published yet.
    early: VecDeque<JobNews>,
    capacity: watch::Sender<u32>,
    stop: watch::Sender<bool>,
}

impl AtGitHub {
    pub(super) fn found(&mut self, scale_set: ScaleSet) {
        self.scale_set = Some(scale_set);
        (self.looking, self.failures, self.trouble, self.look_at) = (false, 0, None, None);
    }

    pub(super) fn gone(&mut self) {
        (self.looking, self.is_gone, self.trouble) = (false, true, None);
    }

    /// `fraction` is the jitter, 0 to 1.
    pub(super) fn not_found(&mut self, why: NotFound, now: Timestamp, fraction: f64) {
        self.looking = false;
        self.failures += 1;
        let seconds = 1u64.checked_shl(self.failures).unwrap_or(MOST_WAIT).min(MOST_WAIT);
        let wait = std::time::Duration::from_secs(seconds).mul_f64(0.5 + fraction / 2.0);
        self.look_at = why.not_before.or(now.checked_add(wait).ok());
        self.trouble = Some(why.words);
    }

    /// There are other credentials: whatever was refused is tried at once.
    pub(super) fn look_now(&mut self) {
        (self.failures, self.look_at) = (0, None);
    }

    /// Whether it shall be looked for now.
    pub(super) fn wants_to_look(&self, now: Timestamp) -> bool {
        self.scale_set.is_none() && !self.looking && self.look_at.is_none_or(|at| at <= now)
    }

    /// The latest demand.
    pub(super) fn demand(&self) -> Demand {
        self.listener.as_ref().map(|line| line.demand.borrow().clone()).unwrap_or_default()
    }

    /// Notes that the service says there is no such scale set; true when that has lasted.
    pub(super) fn is_missing(&mut self, demand: &Demand, now: Timestamp) -> bool {
        if !matches!(demand.phase, Phase::Missing(_)) {
            self.missing_since = None;
            return false;
        }
        now.duration_since(*self.missing_since.get_or_insert(now)) >= MISSING_FOR
    }

    /// When a missing scale set is believed to be gone.
    pub(super) fn missing_until(&self) -> Option<Timestamp> {
        self.missing_since?.checked_add(MISSING_FOR).ok()
    }

    /// Looks for the scale set anew.
    pub(super) fn start_over(&mut self) {
        self.stop_listening();
        (self.listener, self.scale_set, self.missing_since) = (None, None, None);
    }

    pub(super) fn stop_listening(&self) {
        if let Some(line) = &self.listener {
            line.stop.send_replace(true);
        }
    }

    /// Keeps listening, and takes no further jobs.
    pub(super) fn take_no_jobs(&self) {
        if let Some(line) = &self.listener {
            line.capacity.send_if_modified(|capacity| std::mem::take(capacity) != 0);
        }
    }

    /// Whether the listener has closed its session, or there is none.
    pub(super) fn is_closed(&self) -> bool {
        self.listener.as_ref().is_none_or(|line| line.demand.borrow().phase == Phase::Closed)
    }

    /// Starts to listen, as a task of `tasks`.
    pub(super) fn listen(
        &mut self,
        tasks: &mut JoinSet<()>,
        service: ActionsService,
        environment: Environment,
        owner: &str,
        memory: Arc<dyn Memory>,
        specification: &Specification,
    ) {
        let Some(scale_set) = &self.scale_set else { return };
        let (capacity, capacity_in) = watch::channel(specification.limits.max);
        let (demand_out, demand) = watch::channel(Demand::default());
        let (news_out, news) = mpsc::unbounded_channel();
        let (stop, stop_in) = watch::channel(false);
        let outlets = Outlets { capacity: capacity_in, demand: demand_out, news: news_out, stop: stop_in };
        let listener = Listener::new(service, environment, scale_set.id, owner.to_owned(), memory, outlets);
        tasks.spawn(listener.run());
        self.listener = Some(Line { demand, news, early: VecDeque::new(), capacity, stop });
    }
}

impl Line {
    pub(super) fn set_capacity(&self, capacity: u32) {
        self.capacity.send_replace(capacity);
    }

    /// The demand, and the news that it takes into account. News of later deliveries wait for their numbers.
    pub(super) fn read(&mut self) -> (Demand, Vec<JobNews>) {
        let demand = self.demand.borrow_and_update().clone();
        while let Ok(news) = self.news.try_recv() {
            self.early.push_back(news);
        }
        let known = self.early.iter().take_while(|news| news.delivery <= demand.delivery).count();
        (demand, self.early.drain(..known).collect())
    }
}
