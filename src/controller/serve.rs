//! Serves one scale set: the loop, and what the plan becomes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::Instrument;

use super::at_github::AtGitHub;
use super::audit;
use super::events::Event;
use super::hands::{CALLS_AT_A_TIME, Creation, Hands, Manifest, Retirement};
use super::record::{Record, Verdict};
use super::slots::{NoSlot, Slots};
use super::specification::Specification;
use super::status::ScaleSetStatus;
use super::stock::Stock;
use crate::engine::{Engine, Observation};
use crate::github::{ActionsService, Environment, NewScaleSet};
use crate::listener::{Phase, SessionMemory};
use crate::metrics::Metrics;
use crate::render::RunnerIdentity;
use crate::scale_set::RunnerName;
use crate::scaling::{self, Creation as MayCreate, FailureHistory, Limits, Plan, Remains, Removal, Stage, plan};

/// How long a controller that shall end waits for what is under way.
const DRAIN: SignedDuration = SignedDuration::from_secs(30);
/// Late news of a runner whose record is closed are ignored for so long.
const BURIED: SignedDuration = SignedDuration::from_mins(10);
/// Without anything to wait for: look at the world now and then all the same.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// A list of registrations that failed is asked for again after this.
const LIST_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Random characters at the end of a runner's name, without those that are easily confused or form words.
const NAME_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
const NAME_RANDOM: usize = 6;

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
    /// End for good: wait for busy runners as well, then delete the scale set at GitHub.
    Remove,
}

/// Serves one scale set.
#[derive(Debug)]
pub struct ScaleSetController {
    pub(super) shared: Shared,
    pub(super) hands: Hands,
    pub(super) specification: Arc<Specification>,
    specifications: watch::Receiver<Arc<Specification>>,
    observations: mpsc::UnboundedReceiver<Observation>,
    orders: watch::Receiver<Order>,
    pub(super) status: watch::Sender<ScaleSetStatus>,
    memory: Arc<dyn SessionMemory>,
    events: mpsc::UnboundedReceiver<Event>,
    slots_bell: watch::Receiver<u64>,
    /// Dropping the controller ends all of them.
    tasks: JoinSet<()>,
    pub(super) github: AtGitHub,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) buried: BTreeMap<String, Timestamp>,
    pub(super) failures: FailureHistory,
    pub(super) stock: Stock,
    pub(super) engine_trouble: Option<String>,
    /// Whether the engine has shown what there is.
    pub(super) has_seen_engine: bool,
    pub(super) listing: Listing,
    /// Registrations without a runner that are being given up.
    pub(super) forgetting: usize,
    surplus_since: Option<Timestamp>,
    pub(super) no_slot: Option<NoSlot>,
    pub(super) last_plan: Plan,
    drain_until: Option<Timestamp>,
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
        memory: Arc<dyn SessionMemory>,
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
            tasks: JoinSet::new(),
            github: AtGitHub::default(),
            records: BTreeMap::new(),
            buried: BTreeMap::new(),
            failures: FailureHistory::default(),
            stock: Stock::default(),
            engine_trouble: None,
            has_seen_engine: false,
            listing: Listing::NotBefore(Timestamp::MIN),
            forgetting: 0,
            surplus_since: None,
            no_slot: None,
            last_plan: Plan::default(),
            drain_until: None,
        }
    }

    /// Serves until it is ordered to end and has ended. The error says what was left behind and why.
    pub async fn run(mut self) -> Result<(), String> {
        loop {
            self.read_messages();
            let now = self.now();
            self.close_records(now);
            self.keep_line(now);
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
            () = sleep(wake) => {}
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
            self.github.look_at,
            self.github.missing_until(),
            self.drain_until,
            listing,
        ];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Closes the records of runners of which nothing is left, and learns from their ends.
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
            match record.verdict() {
                Verdict::Fine => {}
                Verdict::Failed(words) => {
                    tracing::warn!(
                        scale_set = self.specification.name,
                        runner = name,
                        reason = words,
                        "a runner failed"
                    );
                    self.shared.metrics.runner_failed(&self.specification.name);
                    self.failures.failed(record.milestones.created, now, &words);
                }
                Verdict::Hopeless(words) => {
                    tracing::error!(
                        scale_set = self.specification.name,
                        runner = name,
                        reason = words,
                        "no more runners"
                    );
                    self.shared.metrics.runner_failed(&self.specification.name);
                    self.failures.stop(&words);
                }
            }
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
        if self.is_draining() {
            let until = now.checked_add(DRAIN).unwrap_or(Timestamp::MAX);
            // A removal waits for busy runners as long as it takes; what there is to do after the last one is bounded.
            let waits = self.order() == Order::Remove && !self.records.is_empty();
            self.drain_until = self.drain_until.filter(|_| !waits).or(Some(until));
            self.github.stop_listening();
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
            self.tasks.spawn(self.hands.clone().find_scale_set(self.specification.runner_group.clone(), new));
        }
        if self.github.scale_set.is_some() && self.github.listener.is_none() {
            let (service, environment) = (self.hands.service.clone(), self.shared.environment.clone());
            let memory = Arc::clone(&self.memory);
            self.github.listen(&mut self.tasks, service, environment, &self.shared.owner, memory, &self.specification);
        }
        // Only whoever holds the session may judge registrations: they may be another process's a moment before.
        let due = matches!(self.listing, Listing::NotBefore(at) if at <= now);
        if due && self.has_seen_engine && demand.phase == Phase::Listening {
            self.listing = Listing::Asked;
            self.tasks.spawn(self.hands.clone().list());
        }
    }

    fn plan(&mut self, now: Timestamp) -> Plan {
        let demand = self.github.demand();
        let demand = scaling::Demand { jobs: demand.owned_jobs(), heard_at: demand.heard_at };
        let manifest = self.specification.prepared.hash();
        let runners: Vec<scaling::Runner> = self.records.values().map(|record| record.view(manifest)).collect();
        let limits = Limits { draining: self.is_draining(), ..self.specification.limits };
        let creation = match &self.engine_trouble {
            Some(words) => MayCreate::Unreachable(words.clone()),
            None if !self.has_seen_engine => MayCreate::Unreachable("the engine has not answered yet".to_owned()),
            None => self.failures.creation(now),
        };
        let plan = plan(demand, &runners, &limits, &creation, self.surplus_since, now);
        self.surplus_since = if plan.surplus == 0 { None } else { self.surplus_since.or(Some(now)) };
        plan
    }

    fn carry_out(&mut self, plan: &Plan, now: Timestamp) {
        for removal in &plan.remove {
            self.retire(removal);
        }
        for runner in &plan.ask {
            let Some(record) = self.records.get_mut(runner) else { continue };
            record.registration = scaling::Registration::Asking;
            self.tasks.spawn(self.hands.clone().ask(runner.clone(), record.registration_id));
        }
        self.no_slot = None;
        for _ in 0..plan.create {
            if let Err(no_slot) = self.create(now) {
                self.no_slot = Some(no_slot);
                break;
            }
        }
    }

    /// Decides on a runner: its name, its slot, its config if one is in stock.
    fn create(&mut self, now: Timestamp) -> Result<(), NoSlot> {
        let Some(scale_set) = self.github.scale_set.as_ref().map(|scale_set| scale_set.id) else { return Ok(()) };
        let prepared =
            self.stock.name().filter(|_| self.stock.is_ready()).and_then(|name| RunnerName::parse(name).ok());
        let Some(name) = prepared.clone().or_else(|| self.new_name()) else { return Ok(()) };
        let slot = self.shared.slots.lease(name.as_str(), &self.specification.slot_pools)?;
        let config = if prepared.is_some() { self.stock.take() } else { None };
        let runner = name.as_str().to_owned();
        tracing::info!(
            scale_set = self.specification.name,
            runner,
            slot,
            prepared = config.is_some(),
            "a runner is made"
        );
        self.shared.metrics.runner_created(&self.specification.name);
        let hash = self.specification.prepared.hash().to_owned();
        self.records.insert(runner.clone(), Record::new(runner.clone(), slot, hash, now));
        let (specification, environment) = (Arc::clone(&self.specification), self.shared.environment.clone());
        let manifest = Manifest(Box::new(move |id| {
            let identity = RunnerIdentity { name: name.clone(), id: u64::try_from(id).unwrap_or_default(), slot };
            let manifest = specification.prepared.fill(&identity);
            audit::begins(&specification, &manifest, environment.now());
            manifest
        }));
        let span = self.runner_span(&runner);
        let creation = Creation { runner, scale_set, prepared: config, manifest };
        self.tasks.spawn(self.hands.clone().create(creation).instrument(span));
        Ok(())
    }

    fn retire(&mut self, removal: &Removal) {
        let Some(record) = self.records.get_mut(&removal.runner) else { return };
        let scale_set = &self.specification.name;
        let reason = removal.reason.name();
        tracing::info!(scale_set, runner = removal.runner, reason, "a runner is removed");
        self.shared.metrics.runner_removed(scale_set, reason);
        let retirement = Retirement {
            runner: removal.runner.clone(),
            registration: record.registration_id,
            github_first: removal.reason.asks_github_first() && !record.is_given_up(),
            grace: self.specification.grace,
            show_log: record.ended_badly(),
        };
        record.removal_begins(removal.reason);
        let span = self.runner_span(&removal.runner);
        self.tasks.spawn(self.hands.clone().retire(retirement).instrument(span));
    }

    /// What is done for a runner is logged under its name, whoever logs it.
    fn runner_span(&self, runner: &str) -> tracing::Span {
        tracing::info_span!("runner", scale_set = self.specification.name, name = runner)
    }

    /// Keeps a JIT config in stock while nothing more urgent is to be asked of GitHub.
    fn keep_stock(&mut self, now: Timestamp) {
        let old = if self.is_draining() { self.stock.take() } else { self.stock.take_old(now) };
        if let Some(old) = old {
            self.forget(old.runner.name.clone(), Some(old.runner.id));
        }
        let Some(scale_set) = self.github.scale_set.as_ref().map(|scale_set| scale_set.id) else { return };
        let creating = self.records.values().any(|record| record.stage() == Stage::Creating);
        let calm = self.shared.keeps_stock
            && !self.is_draining()
            && !creating
            && self.listing == Listing::Done
            && self.specification.limits.max > 0
            && self.failures.creation(now) == MayCreate::Free
            && self.github.demand().phase == Phase::Listening;
        if calm
            && self.stock.wants(now)
            && let Some(name) = self.new_name()
        {
            self.stock = Stock::Asking(name.as_str().to_owned());
            self.tasks.spawn(self.hands.clone().prepare(scale_set, name.as_str().to_owned()));
        }
    }

    /// A registration without a runner is given up in the background.
    pub(super) fn forget(&mut self, name: String, registration: Option<i64>) {
        self.forgetting += 1;
        self.buried.insert(name.clone(), self.now());
        self.tasks.spawn(self.hands.clone().forget(name, registration));
    }

    /// A name that no runner of ours has or had a moment ago.
    fn new_name(&self) -> Option<RunnerName> {
        loop {
            let random: String = (0..NAME_RANDOM).map(|_| self.random_letter()).collect();
            let name = RunnerName::new(&self.specification.name, &random).ok()?;
            let known = |name: &str| {
                self.records.contains_key(name) || self.buried.contains_key(name) || self.stock.name() == Some(name)
            };
            if !known(name.as_str()) {
                return Some(name);
            }
        }
    }

    fn random_letter(&self) -> char {
        let fraction = self.shared.environment.fraction();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below 27"
        )]
        let index = (fraction * NAME_LETTERS.len() as f64) as usize;
        char::from(NAME_LETTERS.get(index).copied().unwrap_or(b'x'))
    }

    /// Takes over a changed specification: idle runners of the old one are rolled, busy ones end.
    fn respecify(&mut self) {
        let new = self.specifications.borrow_and_update().clone();
        let old = std::mem::replace(&mut self.specification, new);
        self.failures.clear();
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

    /// Whether everything has ended that can; a bounded time for what is in the way, except for busy runners that are to
    /// be waited for.
    fn has_drained(&self, now: Timestamp) -> bool {
        let is_left_alone = |record: &Record| {
            let busy = matches!(record.job, super::record::Job::Running(_));
            let stays = matches!(record.stage(), Stage::Running { .. } | Stage::Unknown | Stage::Starting);
            self.order() == Order::Drain && busy && stays
        };
        let quiet = self.forgetting == 0 && self.github.is_closed();
        let done = quiet && self.records.values().all(is_left_alone) && !matches!(self.stock, Stock::Asking(_));
        let out_of_time = self.drain_until.is_some_and(|until| until <= now);
        match self.order() {
            Order::Serve => false,
            Order::Drain => done || out_of_time,
            // Before the engine has shown what there is, an empty book means nothing; and a scale set that is being made
            // would come after its own removal.
            Order::Remove => {
                let known = self.has_seen_engine && !self.github.looking;
                done && known || out_of_time && self.records.is_empty()
            }
        }
    }

    /// The last steps; says what is left behind.
    async fn leave(mut self) -> Result<(), String> {
        let mut left = Vec::new();
        if !self.github.is_closed() {
            left.push("the message session could not be closed; it ends by itself".to_owned());
        }
        if self.forgetting > 0 {
            left.push(format!("{} registrations could not be given up; the next start does it", self.forgetting));
        }
        let coming = self.records.values().filter(|record| !matches!(record.stage(), Stage::Running { .. })).count();
        if coming > 0 {
            left.push(format!("{coming} runners were being made or removed; the next start goes on with them"));
        }
        if self.order() == Order::Remove {
            if !self.has_seen_engine {
                let words = self.engine_trouble.as_deref().unwrap_or("the engine has not answered");
                left.push(format!("there may be runners: {words}"));
            } else if let Err(words) = self.delete_at_github().await {
                left.push(format!("the scale set could not be deleted: {words}"));
            }
        }
        // What the engine shows keeps its slot all the same; what is just being made is not shown yet.
        for record in self.records.values().filter(|record| record.stage() != Stage::Creating) {
            self.shared.slots.release(&record.name);
        }
        self.tasks.abort_all();
        self.publish_end();
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }

    /// Deletes the scale set, unless something else is ordered meanwhile.
    async fn delete_at_github(&mut self) -> Result<(), String> {
        let known = self.github.scale_set.as_ref().map(|scale_set| scale_set.id);
        let Specification { name, runner_group, .. } = &*self.specification;
        tokio::select! {
            deleted = self.hands.delete_scale_set(known, runner_group, name) => deleted,
            () = revoked(&mut self.orders) => Err("the controller was ended first".to_owned()),
        }
    }

    pub(super) fn list_again(&mut self, now: Timestamp) {
        self.listing = Listing::NotBefore(now.checked_add(LIST_AGAIN).unwrap_or(Timestamp::MAX));
    }
}

/// Waits until the order to remove does not hold any more.
async fn revoked(orders: &mut watch::Receiver<Order>) {
    if orders.wait_for(|order| *order != Order::Remove).await.is_err() {
        std::future::pending::<()>().await;
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
