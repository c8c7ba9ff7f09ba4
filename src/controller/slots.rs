//! Leases of slots: a directory that only one live runner may hold is held by at most one.
//!
//! What is leased is a number in every pool that a runner uses; a pool is a directory, whichever scale set names it
//! (`design.md` 3.10). A slot is taken as long as this process leases it, or the engine shows a runner that holds it,
//! ours or another controller's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::{Observation, ObservedRunner};

/// The leases of one engine. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Slots {
    ledger: Arc<Mutex<Ledger>>,
    /// Rings when a slot has become free.
    bell: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Numbers in each pool, and who leased them here.
    leased: BTreeMap<String, Holding>,
    /// What the engine shows.
    shown: BTreeMap<String, Holding>,
    /// Leases of runners that no one waits for any more, and that the engine may still show.
    abandoned: BTreeSet<String>,
    /// How many numbers each pool has.
    sizes: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holding {
    pools: Vec<String>,
    slot: u32,
}

/// Why there is no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSlot {
    /// The pool without a free number.
    pub pool: String,
    /// Who holds its numbers.
    pub holders: Vec<String>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { ledger: Arc::default(), bell: Arc::new(watch::Sender::new(0)) }
    }
}

impl Slots {
    /// Says how many numbers each pool has: as many as the scale sets that use it may have runners.
    pub fn set_sizes(&self, sizes: BTreeMap<String, u32>) {
        self.ledger().sizes = sizes;
        self.ring();
    }

    /// Leases the smallest number that is free in every pool. Without pools there is nothing to lease: slot 0.
    pub fn lease(&self, runner: &str, pools: &[String]) -> Result<u32, NoSlot> {
        let mut ledger = self.ledger();
        let slot = if pools.is_empty() { 0 } else { ledger.free(pools)? };
        ledger.leased.insert(runner.to_owned(), Holding { pools: pools.to_vec(), slot });
        Ok(slot)
    }

    /// Leases what a runner of a former process holds already.
    pub fn adopt(&self, runner: &ObservedRunner) {
        let holding = Holding { pools: runner.owner.slot_pools.clone(), slot: runner.owner.slot };
        let mut ledger = self.ledger();
        ledger.abandoned.remove(&runner.name);
        ledger.leased.insert(runner.name.clone(), holding);
    }

    /// Gives a lease back, when nothing of the runner lives any more.
    pub fn release(&self, runner: &str) {
        if self.ledger().leased.remove(runner).is_some() {
            self.ring();
        }
    }

    /// Says that no one waits for this runner any more, though an engine may be making it. Its lease ends when the engine shows
    /// it, for then it holds the slot itself, or with [`Self::give_up`].
    pub fn abandon(&self, runner: &str) {
        let mut ledger = self.ledger();
        if ledger.leased.contains_key(runner) {
            ledger.abandoned.insert(runner.to_owned());
            ledger.leave_to_engine();
        }
    }

    /// Abandons a runner, and gives it up when making it has had its time.
    pub fn abandon_for(&self, runner: &str, time: Duration) {
        self.abandon(runner);
        let (slots, runner) = (self.clone(), runner.to_owned());
        // On its own: whoever is left of its controller is forgotten with the process.
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            slots.give_up(&runner);
        });
    }

    /// Gives the lease of an abandoned runner back: the engine has not made it.
    pub fn give_up(&self, runner: &str) {
        let was_abandoned = self.ledger().abandoned.remove(runner);
        if was_abandoned {
            self.release(runner);
        }
    }

    /// Learns what the engine shows.
    pub fn observe(&self, observation: &Observation) {
        let mut ledger = self.ledger();
        let holding =
            |runner: &ObservedRunner| Holding { pools: runner.owner.slot_pools.clone(), slot: runner.owner.slot };
        let before = ledger.shown.len();
        match observation {
            Observation::Snapshot(runners) => {
                ledger.shown = runners.iter().map(|runner| (runner.name.clone(), holding(runner))).collect();
            }
            Observation::Changed(runner) => {
                ledger.shown.insert(runner.name.clone(), holding(runner));
            }
            Observation::Gone(runner) => {
                ledger.shown.remove(runner);
            }
            Observation::Unreachable(_) => {}
        }
        ledger.leave_to_engine();
        let fewer = ledger.shown.len() < before;
        drop(ledger);
        if fewer {
            self.ring();
        }
    }

    /// Changes whenever a slot may have become free.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Who holds which number of each pool.
    pub fn holders(&self) -> BTreeMap<String, BTreeMap<u32, String>> {
        let ledger = self.ledger();
        let mut pools: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
        for (runner, holding) in ledger.all() {
            for pool in &holding.pools {
                pools.entry(pool.clone()).or_default().insert(holding.slot, runner.clone());
            }
        }
        pools
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing that holds the lock panics half-way through a change.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Ledger {
    fn all(&self) -> impl Iterator<Item = (&String, &Holding)> {
        self.shown.iter().filter(|(runner, _)| !self.leased.contains_key(*runner)).chain(&self.leased)
    }

    /// Ends the leases of abandoned runners that the engine shows.
    fn leave_to_engine(&mut self) {
        let Self { leased, shown, abandoned, .. } = self;
        abandoned.retain(|runner| {
            let is_shown = shown.contains_key(runner);
            if is_shown {
                leased.remove(runner);
            }
            !is_shown
        });
    }

    fn free(&self, pools: &[String]) -> Result<u32, NoSlot> {
        let uses = |holding: &Holding| pools.iter().any(|pool| holding.pools.contains(pool));
        let taken: BTreeSet<u32> =
            self.all().filter(|(_, holding)| uses(holding)).map(|(_, holding)| holding.slot).collect();
        let slot = (0..=u32::MAX).find(|slot| !taken.contains(slot)).unwrap_or(u32::MAX);
        let full = pools.iter().find(|pool| self.sizes.get(*pool).is_some_and(|size| slot >= *size));
        match full {
            None => Ok(slot),
            Some(pool) => {
                let holds = |holding: &Holding| holding.pools.contains(pool);
                let holders = self.all().filter(|(_, holding)| holds(holding)).map(|(runner, _)| runner.clone());
                Err(NoSlot { pool: pool.clone(), holders: holders.collect() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{Owner, RunnerPhase};

    fn pools(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn shown(name: &str, slot: u32, names: &[&str]) -> ObservedRunner {
        let owner = Owner { slot, slot_pools: pools(names), ..Owner::default() };
        let phase = RunnerPhase::Starting { waiting: None };
        ObservedRunner { name: name.to_owned(), owner, created_at: jiff::Timestamp::UNIX_EPOCH, phase }
    }

    #[test]
    fn a_runner_gets_the_smallest_number_that_is_free_in_every_pool_it_uses() {
        let slots = Slots::default();
        assert_eq!(slots.lease("a", &pools(&["docker"])), Ok(0));
        assert_eq!(slots.lease("b", &pools(&["gradle"])), Ok(0));
        assert_eq!(slots.lease("c", &pools(&["docker", "gradle"])), Ok(1));
        slots.release("a");
        assert_eq!(slots.lease("d", &pools(&["docker"])), Ok(0));
        assert_eq!(slots.lease("e", &[]), Ok(0), "without pools nothing is shared");
    }

    #[test]
    fn a_slot_stays_taken_while_the_engine_shows_its_runner_whoever_made_it() {
        let slots = Slots::default();
        slots.observe(&Observation::Snapshot(vec![shown("other", 0, &["docker"])]));
        assert_eq!(slots.lease("a", &pools(&["docker"])), Ok(1));
        slots.observe(&Observation::Changed(shown("a", 1, &["docker"])));
        slots.release("a");
        assert_eq!(slots.lease("b", &pools(&["docker"])), Ok(2), "its pod is still there");
        let bell = slots.bell();
        slots.observe(&Observation::Gone("other".to_owned()));
        assert!(bell.has_changed().unwrap());
        assert_eq!(slots.lease("c", &pools(&["docker"])), Ok(0));
    }

    #[test]
    fn an_abandoned_runner_holds_its_slot_until_the_engine_shows_it_or_has_had_the_time_to() {
        let slots = Slots::default();
        assert_eq!(slots.lease("made", &pools(&["docker"])), Ok(0));
        assert_eq!(slots.lease("not made", &pools(&["docker"])), Ok(1));
        slots.abandon("made");
        slots.abandon("not made");
        assert_eq!(slots.lease("a", &pools(&["docker"])), Ok(2), "both may still come");
        slots.observe(&Observation::Changed(shown("made", 0, &["docker"])));
        slots.observe(&Observation::Gone("made".to_owned()));
        assert_eq!(slots.lease("b", &pools(&["docker"])), Ok(0), "it came and went");
        let bell = slots.bell();
        slots.give_up("made");
        slots.give_up("not made");
        assert!(bell.has_changed().unwrap());
        assert_eq!(slots.lease("c", &pools(&["docker"])), Ok(1));
        slots.give_up("c");
        assert_eq!(slots.lease("d", &pools(&["docker"])), Ok(3), "whoever is waited for keeps its lease");
    }

    #[test]
    fn a_full_pool_says_who_holds_it() {
        let slots = Slots::default();
        slots.set_sizes(BTreeMap::from([("docker".to_owned(), 1)]));
        assert_eq!(slots.lease("a", &pools(&["docker"])), Ok(0));
        let none = slots.lease("b", &pools(&["docker"]));
        assert_eq!(none, Err(NoSlot { pool: "docker".to_owned(), holders: vec!["a".to_owned()] }));
    }

    proptest! {
        #[test]
        fn no_directory_is_ever_held_twice(steps in proptest::collection::vec((0u8..3, 0usize..8, 0u8..4), 1..60)) {
            let slots = Slots::default();
            let all = [pools(&["p"]), pools(&["q"]), pools(&["p", "q"]), pools(&[])];
            for (step, runner, which) in steps {
                let name = format!("r{runner}");
                match step {
                    0 => {
                        let known = slots.ledger().all().any(|(known, _)| *known == name);
                        if !known {
                            slots.lease(&name, &all[usize::from(which)]).unwrap();
                        }
                    }
                    1 => slots.release(&name),
                    _ => slots.observe(&Observation::Gone(name)),
                }
                let mut held = BTreeSet::new();
                for (runner, holding) in slots.ledger().all() {
                    for pool in &holding.pools {
                        prop_assert!(held.insert((pool.clone(), holding.slot)), "{runner} shares a slot of {pool}");
                    }
                }
            }
        }
    }
}
