//! Assembles the long-running process: one controller per scale set, one observer of the engine, the drain at the end.
//!
//! It decides nothing about runners and reads no files; what is to be served comes in as [`Desired`].

mod admin;
mod plans;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use admin::{Handle, Report, STATUS_VERSION, admin_router, status_router};
pub use plans::{Desired, slot_sizes};

use crate::controller::{Observer, Order, ScaleSetController, ScaleSetStatus, Shared, Specification};
use crate::engine::Engine;

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
}

#[derive(Debug)]
struct Served {
    specifications: watch::Sender<Arc<Specification>>,
    orders: watch::Sender<Order>,
    status: watch::Receiver<ScaleSetStatus>,
    task: Option<JoinHandle<Result<(), String>>>,
}

impl Served {
    fn is_at_work(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }
}

impl Operator {
    /// Starts to observe the engine, and to remove what a dead process of this controller left there without a runner.
    pub fn start(shared: Shared, controller: String) -> Self {
        let sweeping = tokio::spawn(sweep(Arc::clone(&shared.engine), controller.clone()));
        let observer = Observer::new(shared.slots.clone(), controller.clone());
        let observing = tokio::spawn(observer.clone().run(Arc::clone(&shared.engine)));
        Self {
            shared,
            observer,
            controller,
            background: [observing, sweeping],
            served: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }

    /// Serves these scale sets from now on: new ones are started, changed ones respecified, missing ones let go as
    /// `order` says.
    pub fn apply(&mut self, desired: Vec<Desired>, order: Order) {
        self.shared.slots.set_sizes(slot_sizes(desired.iter().map(|desired| &desired.specification)));
        let mut missing = std::mem::take(&mut self.served);
        for desired in desired {
            let key = desired.key();
            let served = match missing.remove(&key) {
                Some(served) if served.is_at_work() => {
                    served.specifications.send_if_modified(|known| {
                        let changed = **known != desired.specification;
                        if changed {
                            *known = Arc::new(desired.specification);
                        }
                        changed
                    });
                    served
                }
                _ => self.serve(desired),
            };
            self.served.insert(key, served);
        }
        for (_, served) in missing {
            served.orders.send_replace(order);
            self.leaving.push(served);
        }
        self.leaving.retain(Served::is_at_work);
    }

    fn serve(&self, desired: Desired) -> Served {
        let Desired { specification, service, memory } = desired;
        let observations = self.observer.subscribe(subscription(&specification));
        let (specifications, specifications_in) = watch::channel(Arc::new(specification));
        let (orders, orders_in) = watch::channel(Order::Serve);
        let (status_out, status) = watch::channel(ScaleSetStatus::default());
        let shared = self.shared.clone();
        let controller =
            ScaleSetController::new(shared, service, specifications_in, observations, orders_in, status_out, memory);
        Served { specifications, orders, status, task: Some(tokio::spawn(controller.run())) }
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
            let name = served.status.borrow().name.clone();
            tasks.extend(served.task.take().map(|task| (name, task)));
        }
        wait_for(tasks)
    }

    /// Takes one scale set out for good: waits for its busy runners, then deletes it at GitHub. `None` if there is none of
    /// that resource.
    pub fn remove(&mut self, resource: &str) -> Option<impl Future<Output = Vec<(String, String)>> + use<>> {
        let keys: Vec<String> = self
            .served
            .iter()
            .filter(|(_, served)| served.status.borrow().resource == resource)
            .map(|(key, _)| key.clone())
            .collect();
        let mut tasks = Vec::new();
        for key in &keys {
            let Some(mut served) = self.served.remove(key) else { continue };
            served.orders.send_replace(Order::Remove);
            let name = served.status.borrow().name.clone();
            tasks.extend(served.task.take().map(|task| (name, task)));
            self.leaving.push(served);
        }
        (!keys.is_empty()).then(|| wait_for(tasks))
    }
}

/// Removes what a dead process left behind, however often that fails.
async fn sweep(engine: Arc<dyn Engine>, controller: String) {
    let mut wait = Duration::from_secs(1);
    loop {
        match engine.sweep(&controller).await {
            Ok(0) => return,
            Ok(swept) => {
                tracing::info!(swept, "leftovers of a former process are removed");
                return;
            }
            Err(error) => tracing::warn!(%error, ?wait, "leftovers of a former process stay for now"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_mins(1));
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
            if let Some(task) = &served.task {
                task.abort();
            }
        }
    }
}

/// Whose runners a specification is about, as labels say it.
fn subscription(specification: &Specification) -> crate::controller::Subscription {
    (specification.config_url_label().to_owned(), specification.name.clone())
}
