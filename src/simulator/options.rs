//! What a simulator is told when it is made. Decides nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::Rule;

/// Which of GitHub's two back ends is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// github.com today: jobs are assigned without being acquired, request ids are 0.
    #[default]
    Broker,
    /// GHES and older tenants: `JobAvailable`, `acquirejobs`, `JobAssigned`.
    Pipelines,
}

/// Where the time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockMode {
    /// It passes by itself; for people.
    #[default]
    Automatic,
    /// It stands still until it is advanced; for tests.
    Explicit(Timestamp),
}

/// Which idle runner gets an assigned job. Clients must not care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerOrder {
    /// The one that was registered first.
    #[default]
    Oldest,
    /// The one that was registered last.
    Newest,
    /// Any, by the seeded randomness.
    Random,
}

/// Properties of GitHub's side that nobody has written down, each with what was measured or guessed as its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Levers {
    /// A session that has not polled for so long is gone. Measured: more than 60 s, at most 92 s.
    pub session_ttl_seconds: u32,
    /// Life of an admin token. Measured: 17 min.
    pub admin_token_seconds: u32,
    /// Life of a queue token.
    pub queue_token_seconds: u32,
    /// A refresh voids the queue tokens handed out before.
    pub void_old_queue_tokens: bool,
    /// An assignment that no runner takes is withdrawn after so long.
    pub assign_timeout_seconds: u32,
    /// The n-th reassignment waits n times as long.
    pub reassign_delay_seconds: u32,
    /// After the third reassignment the job fails instead of staying in the queue for good.
    pub fail_after_reassignments: bool,
    /// An offer that no one acquires is made again after so long (pipelines).
    pub offer_timeout_seconds: u32,
    /// An acquired job becomes an assigned one after so long (pipelines).
    pub acquire_delay_seconds: u32,
    /// A runner that is silent for so long is lost, and its job failed. Measured: 9.5 to 10 min.
    pub lost_runner_seconds: u32,
    /// How long a registration outlives its job; its name is taken meanwhile, and its deletion refused.
    pub linger_seconds: u32,
    /// Status of the refusal to delete a busy runner: 400 or 409 were both seen.
    pub busy_delete_status: u16,
    /// Which idle runner gets a job.
    pub runner_order: RunnerOrder,
    /// Job messages that no poll has fetched yet share an envelope, up to 50.
    pub batch_messages: bool,
}

impl Default for Levers {
    fn default() -> Self {
        Self {
            session_ttl_seconds: 90,
            admin_token_seconds: 17 * 60,
            queue_token_seconds: 3600,
            void_old_queue_tokens: false,
            assign_timeout_seconds: 300,
            reassign_delay_seconds: 30,
            fail_after_reassignments: false,
            offer_timeout_seconds: 120,
            acquire_delay_seconds: 0,
            lost_runner_seconds: 600,
            linger_seconds: 0,
            busy_delete_status: 400,
            runner_order: RunnerOrder::Oldest,
            batch_messages: false,
        }
    }
}

/// Everything a simulator is made from.
#[derive(Clone, Debug)]
pub struct Options {
    /// The back end to play.
    pub generation: Generation,
    /// Seed of all randomness: tokens, ids, probabilities.
    pub seed: u64,
    /// The only PAT that is accepted. With neither this nor an App key any bearer will do.
    pub pat: Option<String>,
    /// The App's key in PEM, public or private; with it App JWTs are verified.
    pub app_key: Option<String>,
    /// How long a poll is held, in seconds.
    pub hold_seconds: u32,
    /// Added to every call but those of the control API, in milliseconds.
    pub latency_milliseconds: u32,
    /// Where the time comes from.
    pub clock: ClockMode,
    /// Faults from the start.
    pub faults: Vec<Rule>,
    /// What is not known about GitHub.
    pub levers: Levers,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            generation: Generation::default(),
            seed: 0,
            pat: None,
            app_key: None,
            hold_seconds: 50,
            latency_milliseconds: 0,
            clock: ClockMode::default(),
            faults: Vec::new(),
            levers: Levers::default(),
        }
    }
}
