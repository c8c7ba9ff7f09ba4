//! GitHub's side as a pure state machine: no I/O, no clock and no randomness of its own.
//!
//! Requests are method calls, time is [`State::advance`], randomness is seeded. `revision` grows with every change that
//! someone who waits might want to see.

mod assignment;
mod error;
mod fault;
mod jit;
mod job;
mod json;
mod ledger;
mod log;
mod runner;
mod scale_set;
mod session;
mod statistics;
mod tenant;
#[cfg(test)]
mod tests;
mod timer;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::options::{Generation, Levers, Options, RunnerOrder};

pub(crate) use error::{Refusal, Shape};
pub(crate) use fault::Faults;
pub use fault::{Action, Rule, Trigger};
pub(crate) use job::Conclusion;
pub use job::JobRequest;
pub(crate) use json::{ListEnvelope, date, list};
pub(crate) use log::Envelope;
pub(crate) use runner::Work;
pub(crate) use scale_set::{NewScaleSet, ScaleSetChange};
pub(crate) use tenant::{Group, Scope};
pub(crate) use token::Grant;

/// Everything GitHub knows.
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) levers: Levers,
    pub(crate) generation: Generation,
    pub(crate) faults: Faults,
    rng: StdRng,
    signing_key: [u8; 32],
    revision: u64,
    tenants: BTreeMap<String, tenant::Tenant>,
    tokens: BTreeMap<String, token::Token>,
    scale_sets: BTreeMap<i64, scale_set::ScaleSet>,
    runners: BTreeMap<i64, runner::Runner>,
    gone_runners: BTreeSet<i64>,
    jobs: Vec<job::Job>,
    calls: Vec<ledger::Call>,
    last_id: i64,
    last_label: i64,
    last_runner: i64,
}

impl State {
    /// A GitHub where nothing has happened yet.
    pub(crate) fn new(options: &Options, now: Timestamp) -> Self {
        let mut rng = StdRng::seed_from_u64(options.seed);
        let signing_key = rng.random();
        Self {
            now,
            levers: options.levers.clone(),
            generation: options.generation,
            faults: Faults::default(),
            rng,
            signing_key,
            revision: 0,
            tenants: BTreeMap::new(),
            tokens: BTreeMap::new(),
            scale_sets: BTreeMap::new(),
            runners: BTreeMap::new(),
            gone_runners: BTreeSet::new(),
            jobs: Vec::new(),
            calls: Vec::new(),
            last_id: 0,
            last_label: 9000,
            last_runner: 1200,
        }
    }

    /// Grows with every change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The service restarts: sessions and tokens are void, everything else is kept.
    pub(crate) fn restart(&mut self) {
        self.tokens.clear();
        self.scale_sets.values_mut().for_each(|set| set.session = None);
        self.changed();
    }

    /// A UUID of the fourth kind, by the seeded randomness.
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes: [u8; 16] = self.rng.random();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    fn random_text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        (0..length).map(|_| char::from(ALPHABET[self.rng.random_range(0..ALPHABET.len())])).collect()
    }

    fn changed(&mut self) {
        self.revision += 1;
    }

    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn next_label_id(&mut self) -> i64 {
        self.last_label += 1;
        self.last_label
    }

    /// A request id and a run id.
    fn next_request(&self) -> (i64, i64) {
        let number = i64::try_from(self.jobs.len()).unwrap_or(i64::MAX / 2);
        (70_311 + number, 17_440_012_345 + number)
    }
}

/// `at` plus seconds, at most the end of time.
fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}
