//! `DeskRun` turns bare-metal machines with fast `NVMe` into GitHub Actions runners that start warm.
//!
//! How a runner looks, from left to right; each arrow is one function, and the type changes at every door:
//!
//! ```text
//! YAML -> crd::Document -> scale_set::ScaleSet -> layers::LayerStack -> render::PreparedRunner -> RunnerManifest
//!         crd::read        scale_set::validate    layers::stack         render::prepare           PreparedRunner::fill
//! ```
//!
//! Rooms that decide do no I/O: of the above only [`cli`] reads files and prints. See `AGENTS.md` for the map.

#![warn(missing_docs, unreachable_pub)]
// Output goes through the printer, and a failure is a value: what tests may do, the program may not.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

pub mod causes;
pub mod cli;
pub mod controller;
pub mod crd;
pub mod demo;
pub mod engine;
pub mod github;
pub mod installation;
pub mod layers;
pub mod listener;
pub mod manifest;
pub mod metrics;
pub mod operator;
pub mod problem;
pub mod render;
pub mod scale_set;
pub mod scaling;
pub mod schema;
pub mod secret;
pub mod simulator;
pub mod telemetry;
pub mod yaml;
