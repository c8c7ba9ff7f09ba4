//! Serves one scale set: the loop, and what keeps it supplied. What the plan becomes is in `act.rs`, the end in `leave.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::at_github::AtGitHub;
use super::audit;
use super::events::Event;
use super::hands::{CALLS_AT_A_TIME, Hands};
use super::record::{Job, Record, Verdict};
use super::rehearsal::Rehearsal;
use super::slots::{NoSlot, Slots};
use super::specification::Specification;
use super::status::ScaleSetStatus;
use super::stock::Stock;
use crate::engine::{Engine, Observation};
use crate::github::{ActionsService, Changes, Environment, NewScaleSet};
use crate::listener::{Memory, Phase};
use crate::metrics::Metrics;
use crate::render::RunnerIdentity;
use crate::scale_set::RunnerName;
use crate::scaling::{self, Creation as MayCreate, FailureHistory, Limits, Plan, Remains, Stage, plan};

/// How long a controller that shall end waits for what is under way.
const DRAIN: SignedDuration = SignedDuration::from_secs(30);
/// The same for one whose successor waits: what is then under way is found by its first look around.
const HAND_OVER: SignedDuration = SignedDuration::from_secs(2);
/// Late news of a runner whose record is closed are ignored for so long.
const BURIED: SignedDuration = SignedDuration::from_mins(10);
/// Without anything to wait for: look at the world now and then all the same.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// A look at everything costs time for each record. With many of them news are taken together for so long for each, so that
/// a burst is not looked at once for every event in it.
const GATHER: Duration = Duration::from_micros(40);
/// Below this it is not worth a pause.
const GATHER_AT_LEAST: Duration = Duration::from_millis(1);
/// A list of registrations that failed is asked for again after this.
const LIST_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What all scale sets of a process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Runs the runners.
    pub engine: Arc<dyn Engine>,
    /// Clock and randomness.
    pub environment: Environment,
    /// Leases of directories.
    pub slots: Slots,
    /// What is counted.
    pub metrics: Metrics,
    /// Bounds the calls for JIT configs that are under way at a time.
    pub calls: Arc<Semaphore>,
    /// Whom GitHub shows as the owner of message sessions.
    pub owner: String,
    /// Whether a JIT config is kept in stock.
    pub keeps_stock: bool,
}

impl Shared {
    /// How many calls for JIT configs may be under way at a time.
    pub fn calls() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(CALLS_AT_A_TIME))
    }
}

/// What a controller is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    #[default]
    Serve,
    /// End: close the session, take idle runners out, leave busy ones to the next start.
    Drain,
    /// End at once, with a successor at the door: close the session, and leave all runners to it, idle ones as well.
    HandOver,
    /// End for good: wait for busy runners as well, then delete the scale set at GitHub.
    Remove,
    /// The same from the beginning, for a scale set that a former process registered: without having served it.
    TakeOut,
}

/// Serves one scale set.
#[derive(Debug)]
pub struct ScaleSetController {
    pub(super) shared: Shared,
    pub(super) hands: Hands,
    pub(super) specification: Arc<Specification>,
    specifications: watch::Receiver<Arc<Specification>>,
    observations: mpsc::UnboundedReceiver<Observation>,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) status: watch::Sender<ScaleSetStatus>,
    pub(super) memory: Arc<dyn Memory>,
    events: mpsc::UnboundedReceiver<Event>,
    slots_bell: watch::Receiver<u64>,
    /// Other credentials, or another way to GitHub.
    changes: Changes,
    /// Dropping the controller ends all of them.
    pub(super) tasks: JoinSet<()>,
    pub(super) github: AtGitHub,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) buried: BTreeMap<String, Timestamp>,
    pub(super) failures: FailureHistory,
    pub(super) stock: Stock,
    pub(super) rehearsal: Rehearsal,
    pub(super) engine_trouble: Option<String>,
    /// Whether the engine has shown what there is.
    pub(super) has_seen_engine: bool,
    pub(super) listing: Listing,
    /// Registrations without a runner that are being given up.
    pub(super) forgetting: usize,
    surplus_since: Option<Timestamp>,
    pub(super) no_slot: Option<NoSlot>,
    pub(super) last_plan: Plan,
    pub(super) drain_until: Option<Timestamp>,
    draining_for: Option<Order>,
}

/// The list of registrations that a start compares with what the engine shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Not asked for before this time.
    NotBefore(Timestamp),
    Asked,
    Done,
}

impl ScaleSetController {
    /// A controller of one scale set. `observations` are of its own runners ([`super::Observer::subscribe`]); `status` is
    /// where it says how things are.
    pub fn new(
        shared: Shared,
        service: ActionsService,
        specifications: watch::Receiver<Arc<Specification>>,
        observations: mpsc::UnboundedReceiver<Observation>,
        orders: watch::Receiver<Order>,
        status: watch::Sender<ScaleSetStatus>,
        memory: Arc<dyn Memory>,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let hands = Hands {
            service,
            engine: Arc::clone(&shared.engine),
            environment: shared.environment.clone(),
            calls: Arc::clone(&shared.calls),
            events: sender,
        };
        let specification = specifications.borrow().clone();
        let slots_bell = shared.slots.bell();
        let changes = hands.service.changes();
        Self {
            shared,
            hands,
            specification,
            specifications,
            observations,
            orders,
            status,
            memory,
            events,
            slots_bell,
            changes,
            tasks: JoinSet::new(),
            github: AtGitHub::default(),
            records: BTreeMap::new(),
            buried: BTreeMap::new(),
            failures: FailureHistory::default(),
            stock: Stock::default(),
            rehearsal: Rehearsal::default(),
            engine_trouble: None,
            has_seen_engine: false,
            listing: Listing::NotBefore(Timestamp::MIN),
            forgetting: 0,
            surplus_since: None,
            no_slot: None,
            last_plan: Plan::default(),
            drain_until: None,
            draining_for: None,
        }
    }

    /// Serves until it is ordered to end and has ended. The error says what was left behind and why.
    pub async fn run(mut self) -> Result<(), String> {
        loop {
            self.read_messages();
            let now = self.now();
            self.judge_ends(now);
            self.close_records(now);
            self.keep_line(now);
            self.rehearse(now);
            let plan = self.plan(now);
            self.carry_out(&plan, now);
            self.keep_stock(now);
            self.last_plan = plan;
            self.publish(now);
            if self.has_drained(now) {
                return self.leave().await;
            }
            self.wait(now).await;
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.environment.now()
    }

    pub(super) fn order(&self) -> Order {
        *self.orders.borrow()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.order() != Order::Serve
    }

    /// Waits for anything to happen, and learns of everything that has.
    async fn wait(&mut self, now: Timestamp) {
        let wake = self.wake_at(now).map_or(LOOK_AGAIN, |at| until(now, at)).min(LOOK_AGAIN);
        let demand = self.github.listener.as_mut().map(|line| &mut line.demand);
        tokio::select! {
            Some(event) = self.events.recv() => self.learn(event),
            Some(observation) = self.observations.recv() => self.observe(observation),
            () = changed(demand) => {}
            () = changed(Some(&mut self.orders)) => {}
            () = changed(Some(&mut self.specifications)) => self.respecify(),
            () = changed(Some(&mut self.slots_bell)) => {}
            () = self.changes.next() => self.take_heart(),
            () = sleep(wake) => {}
        }
        let pause = GATHER * u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        if pause > GATHER_AT_LEAST {
            sleep(pause).await;
        }
        while let Ok(event) = self.events.try_recv() {
            self.learn(event);
        }
        while let Ok(observation) = self.observations.try_recv() {
            self.observe(observation);
        }
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, scale_set = self.specification.name, "a task of the controller broke");
            }
        }
    }

    /// When there is something to do even if nothing happens.
    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let listing = if let Listing::NotBefore(at) = self.listing { Some(at) } else { None };
        let times = [
            self.last_plan.wake_at,
            self.stock.due(),
            self.rehearsal.due(),
            self.github.look_at,
            self.github.missing_until(),
            self.drain_until,
            listing,
        ];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Learns from the ends of runners, whatever keeps what is left of them: else one after the other would fail meanwhile.
    fn judge_ends(&mut self, now: Timestamp) {
        let heard_at = self.github.demand().heard_at;
        let manifest = self.specification.prepared.hash().to_owned();
        for record in self.records.values_mut().filter(|record| !record.is_judged) {
            if !record.view(&manifest).has_settled(heard_at, now) {
                continue;
            }
            record.is_judged = true;
            let (scale_set, runner) = (&self.specification.name, &record.name);
            match record.verdict() {
                Verdict::Fine => {}
                Verdict::Failed(words) => {
                    tracing::warn!(scale_set, runner, reason = words, "a runner failed");
                    self.shared.metrics.runner_failed(&self.specification.metric_labels());
                    self.failures.failed(record.milestones.created, now, &words);
                }
                Verdict::Hopeless(words) => {
                    tracing::error!(scale_set, runner, reason = words, "no more runners");
                    self.shared.metrics.runner_failed(&self.specification.metric_labels());
                    self.failures.stop(&words);
                }
            }
        }
    }

    /// Closes the records of runners of which nothing is left.
    fn close_records(&mut self, now: Timestamp) {
        let (draining, heard_at) = (self.is_draining(), self.github.demand().heard_at);
        let manifest = self.specification.prepared.hash().to_owned();
        let is_over = |record: &Record| {
            let nothing_left = matches!(record.stage(), Stage::Ended { remains: Remains::Nothing, .. });
            record.view(&manifest).is_over(heard_at, now) || draining && nothing_left
        };
        let over: Vec<String> =
            self.records.values().filter(|record| is_over(record)).map(|record| record.name.clone()).collect();
        for name in over {
            let Some(record) = self.records.remove(&name) else { continue };
            if record.may_be_registered() {
                self.forget(name.clone(), record.registration_id);
            }
            audit::ends(&self.specification, &record, now);
            self.buried.insert(name, now);
        }
        self.buried.retain(|_, at| now.duration_since(*at) < BURIED);
    }

    /// Keeps the scale set at GitHub known and its listener listening.
    fn keep_line(&mut self, now: Timestamp) {
        if self.order() == Order::TakeOut {
            return self.hold_to_take_out(now);
        }
        if self.is_draining() {
            let order = self.order();
            let time = if order == Order::HandOver { HAND_OVER } else { DRAIN };
            let until = now.checked_add(time).unwrap_or(Timestamp::MAX);
            if self.draining_for.replace(order) != Some(order) {
                self.drain_until = None;
            }
            // A removal waits for busy runners as long as it takes; what there is to do after the last one is bounded.
            let waits = order == Order::Remove && !self.records.is_empty();
            self.drain_until = self.drain_until.filter(|_| !waits).or(Some(until));
            if waits && self.records.values().any(|record| matches!(record.job, Job::Running(_))) {
                self.hold_session(now);
            } else {
                self.github.stop_listening();
            }
            return;
        }
        let demand = self.github.demand();
        if self.github.is_missing(&demand, now) {
            tracing::warn!(scale_set = self.specification.name, "the scale set is gone at GitHub; it is made again");
            self.github.start_over();
            // Whatever was registered with the old one gets none of the new one's jobs.
            if let Some(config) = self.stock.take() {
                self.forget(config.runner.name.clone(), Some(config.runner.id));
            }
            self.records.values_mut().for_each(Record::outlives_scale_set);
        }
        if self.github.wants_to_look(now) {
            self.github.looking = true;
            let new = NewScaleSet {
                name: self.specification.name.clone(),
                runner_group_id: 0,
                labels: self.specification.labels.clone(),
            };
            let (known, group) = (self.memory.scale_set(), self.specification.runner_group.clone());
            self.tasks.spawn(self.hands.clone().find_scale_set(known, group, new));
        }
        if self.github.scale_set.is_some() && self.github.listener.is_none() {
            self.listen();
        }
        // Only whoever holds the session may judge registrations: they may be another process's a moment before.
        let due = matches!(self.listing, Listing::NotBefore(at) if at <= now);
        if due && self.has_seen_engine && demand.phase == Phase::Listening {
            self.listing = Listing::Asked;
            self.tasks.spawn(self.hands.clone().list());
        }
    }

    pub(super) fn listen(&mut self) {
        let (service, environment) = (self.hands.service.clone(), self.shared.environment.clone());
        let memory = Arc::clone(&self.memory);
        self.github.listen(&mut self.tasks, service, environment, &self.shared.owner, memory, &self.specification);
    }

    /// Has the engine asked whether it would take these runners, once it answers at all.
    fn rehearse(&mut self, now: Timestamp) {
        let hash = self.specification.prepared.hash();
        if self.is_draining() || !self.has_seen_engine || !self.rehearsal.is_due(hash, now) {
            return;
        }
        self.rehearsal.begins(hash);
        let Ok(name) = RunnerName::new(&self.specification.name, "rehearsal") else { return };
        let example = self.specification.prepared.fill(&RunnerIdentity { name, id: 0, slot: 0 });
        let was_refused = self.rehearsal.refusal().is_some();
        self.tasks.spawn(self.hands.clone().rehearse(hash.to_owned(), example, was_refused));
    }

    fn plan(&mut self, now: Timestamp) -> Plan {
        if self.order() == Order::HandOver {
            return Plan::default();
        }
        let demand = self.github.demand();
        let demand = scaling::Demand { jobs: demand.owned_jobs(), heard_at: demand.heard_at };
        let manifest = self.specification.prepared.hash();
        let runners: Vec<scaling::Runner> = self.records.values().map(|record| record.view(manifest)).collect();
        let limits = Limits { draining: self.is_draining(), ..self.specification.limits };
        let creation = match &self.engine_trouble {
            Some(words) => MayCreate::Unreachable(words.clone()),
            None if !self.has_seen_engine => MayCreate::Unreachable("the engine has not answered yet".to_owned()),
            None => match self.rehearsal.refusal() {
                Some(words) => MayCreate::Stopped(words.clone()),
                None => self.failures.creation(now),
            },
        };
        let plan = plan(demand, &runners, &limits, &creation, self.surplus_since, now);
        self.surplus_since = if plan.surplus == 0 { None } else { self.surplus_since.or(Some(now)) };
        plan
    }

    /// Takes over a changed specification: idle runners of the old one are rolled, busy ones end.
    fn respecify(&mut self) {
        let new = self.specifications.borrow_and_update().clone();
        let old = std::mem::replace(&mut self.specification, new);
        self.failures.clear(self.now());
        if let Some(line) = &self.github.listener {
            line.set_capacity(self.specification.limits.max);
        }
        // Labels cannot be changed at GitHub: the status says so. A group can, and runners and session stay as they are.
        if old.runner_group != self.specification.runner_group
            && let Some(scale_set) = &self.github.scale_set
        {
            let group = self.specification.runner_group.clone();
            self.tasks.spawn(self.hands.clone().move_scale_set(scale_set.id, group));
        }
    }

    /// What GitHub refused is asked for anew: there are other credentials.
    fn take_heart(&mut self) {
        self.github.look_now();
        self.failures.try_again(self.now());
        self.stock.wait_no_longer();
        if let Listing::NotBefore(at) = &mut self.listing {
            *at = Timestamp::MIN;
        }
    }

    pub(super) fn list_again(&mut self, now: Timestamp) {
        self.listing = Listing::NotBefore(now.checked_add(LIST_AGAIN).unwrap_or(Timestamp::MAX));
    }
}

/// Waits for a change; for ever where there is nothing that could.
async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) {
    match receiver {
        Some(receiver) => {
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
