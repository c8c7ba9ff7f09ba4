//! Assembles the long-running process: one controller per scale set, one observer of the engine, the drain at the end.
//!
//! It decides nothing about runners and reads no files; what is to be served comes in as [`Desired`].

mod admin;
pub mod cluster;
mod plans;
mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, select_all};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

pub use admin::{
    Handle, LeftBehind, Reload, ReloadRequest, Removed, Report, STATUS_VERSION, admin_router, status_router,
};
pub use plans::{Desired, slot_sizes};
use removal::Removal;

use crate::causes::in_one_line;
use crate::controller::{Observer, Order, RunnerPhase, ScaleSetController, ScaleSetStatus, Shared, Specification};
use crate::engine::{Engine, Owner};
use crate::github::ActionsService;

/// Serves scale sets.
#[derive(Debug)]
pub struct Operator {
    shared: Shared,
    observer: Observer,
    controller: String,
    /// Observing and sweeping.
    background: [JoinHandle<()>; 2],
    served: BTreeMap<String, Served>,
    /// Ends of scale sets that are being taken out.
    leaving: Vec<Served>,
    /// Rings when scale sets come or go.
    served_changed: watch::Sender<()>,
    /// Rings when a controller has ended.
    ended: watch::Sender<()>,
    /// Resources that are taken out for good; they are not served again, whatever the files say meanwhile.
    removals: BTreeMap<String, Removal>,
}

#[derive(Debug)]
struct Served {
    specifications: watch::Sender<Arc<Specification>>,
    /// Its controller's own, which follows the one that is desired.
    service: ActionsService,
    orders: watch::Sender<Order>,
    status: watch::Receiver<ScaleSetStatus>,
    /// Until someone waits for its end.
    task: Option<JoinHandle<Result<(), String>>>,
    abort: AbortHandle,
}

impl Served {
    /// Its controller holds the other end of the status until it has ended, however it ends.
    fn is_at_work(&self) -> bool {
        self.status.has_changed().is_ok()
    }

    fn resource(&self) -> String {
        self.specifications.borrow().resource.clone()
    }

    /// False for one of this resource, which is ended.
    fn is_kept(&self, resource: &str) -> bool {
        let is_its = self.resource() == resource;
        if is_its {
            self.abort.abort();
        }
        !is_its
    }

    /// Ends soon: what it was to take out is wanted again. Its status ends with it.
    fn make_way(&self) -> watch::Receiver<ScaleSetStatus> {
        self.orders.send_if_modified(|order| {
            let takes_out = matches!(order, Order::Remove | Order::TakeOut);
            if takes_out {
                *order = Order::Drain;
            }
            takes_out
        });
        self.status.clone()
    }

    fn name(&self) -> String {
        self.specifications.borrow().name.clone()
    }
}

impl Operator {
    /// Starts to observe the engine, and to remove what a dead process of this controller left there without a runner.
    pub fn start(shared: Shared, controller: String) -> Self {
        let sweeping = tokio::spawn(sweep(Arc::clone(&shared.engine), controller.clone()));
        let observer = Observer::new(shared.slots.clone(), controller.clone());
        let observing = tokio::spawn(observer.clone().run(Arc::clone(&shared.engine)));
        let (served, leaving, removals) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let background = [observing, sweeping];
        let (served_changed, ended) = (watch::Sender::new(()), watch::Sender::new(()));
        Self { shared, observer, controller, background, served, leaving, served_changed, ended, removals }
    }

    /// Serves these scale sets from now on: new ones are started, changed ones respecified, missing ones let go as `order`
    /// says, or taken out if their resource is still wanted. One that is on its way out is served again when it is out.
    /// Resources that [`Self::remove`] took out stay out until they are missing here once, or until their removal has failed.
    pub fn apply(&mut self, mut desired: Vec<Desired>, order: Order) {
        self.removals.retain(|resource, removal| {
            let wanted = desired.iter().any(|desired| desired.specification.resource == *resource);
            removal.keeps_out(wanted)
        });
        // Those on their way out go the way that GitHub is reached by now.
        for desired in &desired {
            let its = self.leaving.iter().filter(|served| served.resource() == desired.specification.resource);
            its.for_each(|served| served.service.follow(&desired.service));
        }
        desired.retain(|desired| !self.removals.contains_key(&desired.specification.resource));
        self.shared.slots.set_sizes(slot_sizes(desired.iter().map(|desired| &desired.specification)));
        let mut missing = std::mem::take(&mut self.served);
        let wanted: BTreeSet<String> = desired.iter().map(|desired| desired.specification.resource.clone()).collect();
        for desired in desired {
            let key = desired.key();
            if self.served.contains_key(&key) {
                tracing::error!(scale_set = key, "wanted twice; it is served once");
                continue;
            }
            let served = match missing.remove(&key) {
                Some(served) if served.is_at_work() => {
                    served.service.follow(&desired.service);
                    served.specifications.send_if_modified(|known| {
                        let changed = **known != desired.specification;
                        if changed {
                            *known = Arc::new(desired.specification);
                        }
                        changed
                    });
                    served
                }
                _ => self.serve(desired, Order::Serve),
            };
            self.served.insert(key, served);
        }
        for (_, served) in missing {
            // Of a resource that is still there, one that is not named any more is of no use to anyone.
            let order = if wanted.contains(&served.resource()) { Order::Remove } else { order };
            served.orders.send_replace(order);
            self.leaving.push(served);
        }
        self.leaving.retain(Served::is_at_work);
        self.observer.all_are_subscribed();
        self.served_changed.send_replace(());
    }

    /// Takes out a scale set that a former process served and that no resource wants any more: no job of it is taken, busy
    /// runners are waited for. One that a controller is at work for is left to that.
    pub fn take_out(&mut self, dropped: Desired) {
        if !self.is_at_work(&dropped.key()) {
            let served = self.serve(dropped, Order::TakeOut);
            self.leaving.push(served);
            self.served_changed.send_replace(());
        }
    }

    /// Whether a controller is at work for the scale set of this key.
    pub fn is_at_work(&self, key: &str) -> bool {
        self.served.contains_key(key) || self.leaving_as(key).next().is_some()
    }

    /// Rings whenever a controller has ended.
    pub fn ends(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    fn serve(&self, desired: Desired, order: Order) -> Served {
        let predecessors: Vec<_> = self.leaving_as(&desired.key()).map(Served::make_way).collect();
        let Desired { specification, service, memory } = desired;
        let service = service.on_its_own();
        let reasons = predecessors.first().map(|_| "the controller that served it before ends first".to_owned());
        let (status_out, status) = watch::channel(ScaleSetStatus {
            name: specification.name.clone(),
            resource: specification.resource.clone(),
            config_url: specification.config_url.clone(),
            reasons: reasons.into_iter().collect(),
            min_runners: specification.limits.min,
            max_runners: specification.limits.max,
            ..ScaleSetStatus::default()
        });
        let (observer, subscription) = (self.observer.clone(), subscription(&specification));
        // At once where no one else hears of its runners: they are no one's otherwise.
        let observations = predecessors.is_empty().then(|| observer.subscribe(subscription.clone()));
        let (specifications, specifications_in) = watch::channel(Arc::new(specification));
        let (orders, orders_in) = watch::channel(order);
        let (shared, its_service, ended_out) = (self.shared.clone(), service.clone(), self.ended.clone());
        let task = tokio::spawn(async move {
            for predecessor in predecessors {
                ended(predecessor).await;
            }
            let observations = observations.unwrap_or_else(|| observer.subscribe(subscription));
            let (service, specifications, orders) = (its_service, specifications_in, orders_in);
            let controller =
                ScaleSetController::new(shared, service, specifications, observations, orders, status_out, memory);
            let left = controller.run().await;
            ended_out.send_replace(());
            left
        });
        Served { specifications, service, orders, status, abort: task.abort_handle(), task: Some(task) }
    }

    /// Controllers of the scale set of this key that have not ended yet.
    fn leaving_as(&self, key: &str) -> impl Iterator<Item = &Served> {
        self.leaving.iter().filter(move |leaving| leaving.is_at_work() && leaving.specifications.borrow().key() == key)
    }

    /// How things are.
    pub fn report(&self) -> Report {
        Report::new(
            &self.controller,
            self.served.values().chain(&self.leaving).map(|served| served.status.borrow().clone()).collect(),
            self.shared.slots.holders(),
            self.observer.unclaimed(),
        )
    }

    /// The statuses, as they change.
    pub fn statuses(&self) -> Vec<watch::Receiver<ScaleSetStatus>> {
        self.served.values().map(|served| served.status.clone()).collect()
    }

    /// Waits until a report would say something else than one that is made after this call.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let statuses = self.served.values().chain(&self.leaving).map(|served| served.status.clone());
        // Those of controllers that have ended do not change any more.
        let mut changes: Vec<_> = statuses.filter(|status| status.has_changed().is_ok()).map(ring).collect();
        let mut served_changed = self.served_changed.subscribe();
        async move {
            changes.push(Box::pin(async move { drop(served_changed.changed().await) }));
            select_all(changes).await;
        }
    }

    /// The statuses of one resource's scale sets, also of those on their way out; of each scale set the latest.
    pub fn statuses_of(&self, resource: &str) -> Vec<watch::Receiver<ScaleSetStatus>> {
        let latest_first = self.served.values().chain(self.leaving.iter().rev().filter(|served| served.is_at_work()));
        let mut named = BTreeMap::new();
        for served in latest_first.filter(|served| served.resource() == resource) {
            named.entry(served.name()).or_insert_with(|| served.status.clone());
        }
        named.into_values().collect()
    }

    /// Lets a resource of this name be served again as soon as an earlier one is out, whatever becomes of that.
    pub fn forget_removal(&mut self, resource: &str) {
        if let Some(removal) = self.removals.get_mut(resource) {
            removal.forget();
        }
    }

    /// Whether the engine has ever shown this process what there is.
    pub fn has_seen_engine(&self) -> bool {
        self.observer.has_seen()
    }

    /// Whether there are such live runners that no controller looks after.
    pub fn has_unclaimed(&self, is_meant: impl Fn(&Owner) -> bool) -> bool {
        let runners = self.observer.unclaimed();
        runners.iter().any(|runner| is_meant(&runner.owner) && !runner.phase.has_ended())
    }

    /// Stops serving a resource without taking anything out, as if the process had died.
    pub fn abandon(&mut self, resource: &str) {
        // What the engine shows keeps its slot all the same; what is being made may be made although no one waits for it.
        let slots = &self.shared.slots;
        for served in self.served.values().chain(&self.leaving).filter(|served| served.resource() == resource) {
            let start = served.specifications.borrow().limits.timers.start;
            for runner in &served.status.borrow().runners {
                match runner.phase {
                    RunnerPhase::Creating => slots.abandon_for(&runner.name, start),
                    _ => slots.release(&runner.name),
                }
            }
        }
        self.served.retain(|_, served| served.is_kept(resource));
        self.leaving.retain(|served| served.is_kept(resource));
    }

    /// What is counted.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Orders everything to end; the future waits for it, which is bounded unless busy runners are to be waited for. Its
    /// result says what was left behind, by scale set.
    pub fn end(&mut self, order: Order) -> impl Future<Output = Vec<(String, String)>> + use<> {
        let mut tasks = Vec::new();
        for served in self.served.values_mut().chain(&mut self.leaving) {
            served.orders.send_replace(order);
            let name = served.name();
            tasks.extend(served.task.take().map(|task| (name, task)));
        }
        let removals: Vec<Removal> = self.removals.values().filter(|removal| removal.is_under_way()).cloned().collect();
        async move {
            let mut left = wait_for(tasks).await;
            for removal in removals {
                left.extend(removal.outcome().await);
            }
            left
        }
    }

    /// Takes a resource's scale sets out for good: waits for their busy runners, then deletes them at GitHub. `None` if
    /// there is none of that resource. It goes on when the future is dropped, and whoever asks again hears of the same
    /// removal.
    pub fn remove(&mut self, resource: &str) -> Option<impl Future<Output = Vec<(String, String)>> + use<>> {
        let is_its = |served: &Served| served.specifications.borrow().resource == resource;
        let keys: Vec<String> =
            self.served.iter().filter(|(_, served)| is_its(served)).map(|(key, _)| key.clone()).collect();
        let mut tasks = Vec::new();
        for key in &keys {
            let Some(mut served) = self.served.remove(key) else { continue };
            served.orders.send_replace(Order::Remove);
            tasks.extend(served.task.take().map(|task| (served.name(), task, served.orders.clone())));
            self.leaving.push(served);
        }
        // Those that the resource did without already.
        for served in self.leaving.iter_mut().filter(|served| is_its(served) && served.task.is_some()) {
            served.orders.send_replace(Order::Remove);
            tasks.extend(served.task.take().map(|task| (served.name(), task, served.orders.clone())));
        }
        if !tasks.is_empty() {
            self.removals.insert(resource.to_owned(), Removal::begin(tasks));
            self.served_changed.send_replace(());
        }
        self.removals.get(resource).cloned().map(Removal::outcome)
    }
}

fn ring(mut status: watch::Receiver<ScaleSetStatus>) -> BoxFuture<'static, ()> {
    status.mark_unchanged();
    Box::pin(async move { drop(status.changed().await) })
}

/// Removes what a dead process left behind, however often that fails; and looks again a little later: what that process had
/// asked the engine for may come about after it.
async fn sweep(engine: Arc<dyn Engine>, controller: String) {
    for again in [0, 10, 15, 60].map(Duration::from_secs) {
        tokio::time::sleep(again).await;
        let mut wait = Duration::from_secs(1);
        loop {
            match engine.sweep(&controller).await {
                Ok(0) => break,
                Ok(swept) => {
                    tracing::info!(swept, "leftovers of a former process are removed");
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = in_one_line(&error), ?wait, "leftovers of a former process stay for now");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_mins(1));
        }
    }
}

/// Waits for controllers to end; what they left behind.
async fn wait_for(tasks: Vec<(String, JoinHandle<Result<(), String>>)>) -> Vec<(String, String)> {
    let mut left = Vec::new();
    for (name, task) in tasks {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(words)) => left.push((name, words)),
            Err(error) => left.push((name, format!("its controller broke: {error}"))),
        }
    }
    left
}

impl Drop for Operator {
    /// A killed process does not clean up either: its successor does.
    fn drop(&mut self) {
        self.background.iter().for_each(JoinHandle::abort);
        for served in self.served.values().chain(&self.leaving) {
            served.abort.abort();
        }
    }
}

/// Waits until a controller has ended, however it ends.
async fn ended(mut status: watch::Receiver<ScaleSetStatus>) {
    while status.changed().await.is_ok() {}
}

/// Whose runners a specification is about, as labels say it.
fn subscription(specification: &Specification) -> crate::controller::Subscription {
    (specification.config_url_label().to_owned(), specification.name.clone())
}
