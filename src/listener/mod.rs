//! Holds one message session per scale set: poll, publish the latest [`Demand`], acknowledge last.
//!
//! A listener survives every error of GitHub's side and says in words what it waits for. "Handled" means that offered
//! jobs are acquired and the new demand is published; it never waits for an engine. How many runners that means is
//! not decided here.

mod backoff;
mod book;
mod demand;
mod handle;
mod listen;
mod memory;
mod trouble;

pub use demand::{Demand, JobNews, Phase};
pub use listen::{Listener, Outlets};
pub(crate) use memory::is_session_id;
pub use memory::{FileMemory, Memory, Volatile};
