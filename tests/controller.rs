//! The controller against the simulator and the engine in memory, in one process with one clock that stands still unless
//! everyone waits: a job from its queueing to nothing left, the races that break others, crashes at every call.

#[path = "controller/basics.rs"]
mod basics;
#[path = "controller/crashes.rs"]
mod crashes;
#[path = "controller/credentials.rs"]
mod credentials;
#[path = "controller/freshness.rs"]
mod freshness;
#[path = "controller/races.rs"]
mod races;
#[path = "controller/removal.rs"]
mod removal;
#[path = "controller/world.rs"]
mod world;

mod support;
