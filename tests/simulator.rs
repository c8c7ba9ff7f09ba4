//! The simulator as clients meet it: in process, with a clock that only moves when told.
//!
//! Requests are written out here, byte for byte where it matters; nothing of the simulator's own types is used but its
//! options and its ledger.

#[path = "simulator/auth.rs"]
mod auth;
#[path = "simulator/client.rs"]
mod client;
#[path = "simulator/command.rs"]
mod command;
#[path = "simulator/faults.rs"]
mod faults;
#[path = "simulator/jobs.rs"]
mod jobs;
#[path = "simulator/queue.rs"]
mod queue;
#[path = "simulator/runners.rs"]
mod runners;
#[path = "simulator/scale_sets.rs"]
mod scale_sets;
#[path = "simulator/worked_example.rs"]
mod worked_example;
