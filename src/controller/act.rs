//! What the plan becomes: names, slots and configs are chosen, and a task is started for each thing to do.
//!
//! What a task does is in `hands.rs`; how many runners and which is in `scaling/`.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::Instrument;

use super::audit;
use super::hands::{Creation, Manifest, Retirement};
use super::record::Record;
use super::serve::{Listing, ScaleSetController};
use super::slots::NoSlot;
use super::stock::Stock;
use crate::listener::Phase;
use crate::render::RunnerIdentity;
use crate::scale_set::RunnerName;
use crate::scaling::{Creation as MayCreate, Plan, Registration, Removal, Stage};

/// Random characters at the end of a runner's name, without those that are easily confused or form words.
const NAME_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
const NAME_RANDOM: usize = 6;

impl ScaleSetController {
    pub(super) fn carry_out(&mut self, plan: &Plan, now: Timestamp) {
        for removal in &plan.remove {
            self.retire(removal);
        }
        for runner in &plan.ask {
            let Some(record) = self.records.get_mut(runner) else { continue };
            record.registration = Registration::Asking;
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
        self.shared.metrics.runner_created(&self.specification.metric_labels());
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
        self.shared.metrics.runner_removed(&self.specification.metric_labels(), reason);
        let retirement = Retirement {
            runner: removal.runner.clone(),
            registration: record.registration_id,
            // What it once said of a runner is no leave to end it: one that has a job after all is kept.
            github_first: removal.reason.asks_github_first() && record.registration != Registration::GivenUp,
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
    pub(super) fn keep_stock(&mut self, now: Timestamp) {
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
}
