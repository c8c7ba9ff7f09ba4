//! The end of a controller: when it has drained, and what it says it left behind.

use jiff::Timestamp;
use tokio::sync::watch;

use super::record::{Job, Record};
use super::serve::{Order, ScaleSetController};
use super::specification::Specification;
use super::stock::Stock;
use crate::scaling::Stage;

impl ScaleSetController {
    /// Whether everything has ended that can; a bounded time for what is in the way, except for busy runners that are to
    /// be waited for.
    pub(super) fn has_drained(&self, now: Timestamp) -> bool {
        let is_left_alone = |record: &Record| {
            let busy = matches!(record.job, Job::Running(_));
            let stays = matches!(record.stage(), Stage::Running { .. } | Stage::Unknown | Stage::Starting);
            self.order() == Order::Drain && busy && stays
        };
        let quiet = self.forgetting == 0 && self.github.is_closed();
        let done = quiet && self.records.values().all(is_left_alone) && !matches!(self.stock, Stock::Asking(_));
        let out_of_time = self.drain_until.is_some_and(|until| until <= now);
        match self.order() {
            Order::Serve => false,
            // Before the engine has shown what there is, an empty book means nothing: idle runners would be left to themselves.
            Order::Drain => done && (self.has_seen_engine || self.engine_trouble.is_some()) || out_of_time,
            Order::HandOver => {
                let making = self.records.values().any(|record| record.stage() == Stage::Creating);
                quiet && !making && !matches!(self.stock, Stock::Asking(_)) || out_of_time
            }
            // A scale set that is being made would come after its own removal.
            Order::Remove => {
                let known = self.has_seen_engine && !self.github.looking;
                done && known || out_of_time && self.records.is_empty()
            }
            Order::TakeOut => self.may_be_taken_out(),
        }
    }

    /// The last steps; says what is left behind.
    pub(super) async fn leave(mut self) -> Result<(), String> {
        let (order, mut left, mut taken_out) = (self.order(), Vec::new(), false);
        if !self.github.is_closed() {
            left.push("the message session could not be closed; it ends by itself".to_owned());
        }
        if self.forgetting > 0 {
            left.push(format!("{} registrations could not be given up; the next start does it", self.forgetting));
        }
        let coming = self.records.values().filter(|record| !matches!(record.stage(), Stage::Running { .. })).count();
        if coming > 0 && order != Order::HandOver {
            left.push(format!("{coming} runners were being made or removed; the next start goes on with them"));
        }
        if matches!(order, Order::Remove | Order::TakeOut) {
            if self.has_seen_engine {
                match self.delete_at_github().await {
                    Ok(()) => taken_out = true,
                    Err(words) => left.push(format!("the scale set could not be deleted: {words}")),
                }
            } else {
                let words = self.engine_trouble.as_deref().unwrap_or("the engine has not answered");
                left.push(format!("there may be runners: {words}"));
            }
        }
        if taken_out {
            self.memory.keep_scale_set(None);
        } else if order == Order::TakeOut {
            let left = left.join("; ");
            tracing::warn!(scale_set = self.specification.name, left, "a scale set of a former process stays for now");
        }
        self.tasks.abort_all();
        self.give_slots_back();
        self.publish_end(taken_out);
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }

    /// What the engine shows keeps its slot all the same. What is just being made is not shown yet, and may be made although no
    /// one waits for it: it has as long as a start may take.
    fn give_slots_back(&self) {
        let slots = &self.shared.slots;
        let (coming, others): (Vec<&Record>, Vec<&Record>) =
            self.records.values().partition(|record| record.stage() == Stage::Creating);
        for record in others {
            slots.release(&record.name);
        }
        for record in coming {
            slots.abandon_for(&record.name, self.specification.limits.timers.start);
        }
    }

    /// Deletes the scale set, unless something else is ordered meanwhile.
    async fn delete_at_github(&mut self) -> Result<(), String> {
        // A removal looks for the name as well: a resource still has it.
        if self.github.is_gone && self.order() == Order::TakeOut {
            return Ok(());
        }
        let known = self.github.scale_set.as_ref().map(|scale_set| scale_set.id);
        let Specification { name, runner_group, .. } = &*self.specification;
        tokio::select! {
            deleted = self.hands.delete_scale_set(known, self.memory.scale_set(), runner_group, name) => deleted,
            () = revoked(&mut self.orders) => Err("the controller was ended first".to_owned()),
        }
    }
}

/// Waits until the order to remove does not hold any more.
async fn revoked(orders: &mut watch::Receiver<Order>) {
    if orders.wait_for(|order| !matches!(order, Order::Remove | Order::TakeOut)).await.is_err() {
        std::future::pending::<()>().await;
    }
}
