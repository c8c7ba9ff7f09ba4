//! A stand-in for GitHub's side: the REST calls that lead to an admin connection, the Actions service with scale sets,
//! message sessions and JIT configs, and the queue; for tests, demos and trying templates out under load.
//!
//! [`Simulator::new`] makes one, [`Simulator::router`] serves it, over sockets or in process. What GitHub would decide is
//! decided by a pure state machine (`state/`): time, randomness and requests are its arguments. `router/` translates
//! HTTP into calls of it and back, holds polls, and breaks answers where a fault rule says so.
//!
//! It deliberately shares no types with any client: were the structs the same, a misspelt field would pass every test. It
//! does not run jobs: a stand-in runner does, over routes of its own (see `router/runner.rs`), and it does not speak the
//! protocol of GitHub's real runner.

mod clock;
mod control;
mod links;
mod options;
mod router;
mod simulation;
pub mod stand_in;
mod state;

pub use control::{ControlError, FaultsFile};
pub use options::{ClockMode, Generation, Levers, Options, RunnerOrder};
pub use router::{Dropped, Line, LineListener};
pub use simulation::Simulator;
pub use state::{Action, JobRequest, Rule, Trigger};
