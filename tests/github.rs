//! Our client and listener against the simulator: the worked example, every call under every fault, conflicts,
//! restarts, wrong credentials, and random runs.

#[path = "github/admin_faults.rs"]
mod admin_faults;
#[path = "github/credentials.rs"]
mod credentials;
#[path = "github/faults.rs"]
mod faults;
#[path = "github/lasting.rs"]
mod lasting;
#[path = "github/random.rs"]
mod random;
#[path = "github/renewal.rs"]
mod renewal;
#[path = "github/sessions.rs"]
mod sessions;
mod support;
#[path = "github/tls.rs"]
mod tls;
#[path = "github/worked_example.rs"]
mod worked_example;
#[path = "github/world.rs"]
mod world;
