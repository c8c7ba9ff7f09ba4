//! Serves scale sets: from GitHub's demand to running runners, and back to nothing.
//!
//! One [`ScaleSetController`] per scale set. It keeps a record per runner, asks [`crate::scaling::plan`] what to do and
//! starts a task for each thing to do; whatever tasks, engine and listener tell goes into the records, and the plan is
//! made anew. What there is, is rebuilt from the engine and GitHub at the start: this room keeps no files. It decides
//! nothing about numbers, and knows no engine and no transport.

mod act;
mod at_github;
mod audit;
mod events;
mod hands;
mod learn;
mod leave;
mod observer;
mod publish;
mod record;
mod rehearsal;
mod serve;
mod slots;
mod specification;
mod status;
mod stock;
mod take_out;

pub use audit::TARGET as AUDIT_TARGET;
pub use observer::{Observer, Subscription};
pub use serve::{Order, ScaleSetController, Shared};
pub use slots::{NoSlot, Slots};
pub use specification::{AuditFacts, Specification};
pub use status::{RunnerPhase, RunnerStatus, ScaleSetStatus, ServingPhase};
