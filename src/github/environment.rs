//! Clock and randomness, as arguments.

use std::fmt;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What the client takes from the world around it beside the network.
#[derive(Clone)]
pub struct Environment {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    random: Arc<Mutex<StdRng>>,
}

impl Environment {
    /// The real world: the system's clock and randomness.
    pub fn system() -> Self {
        Self::new(Timestamp::now, StdRng::from_rng(&mut rand::rng()))
    }

    /// A clock and a source of randomness of the caller's.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static, random: StdRng) -> Self {
        Self { now: Arc::new(now), random: Arc::new(Mutex::new(random)) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A number from 0 (inclusive) to 1 (exclusive), for jitter.
    pub fn fraction(&self) -> f64 {
        match self.random.lock() {
            Ok(mut random) => random.random_range(0.0..1.0),
            // Whoever panicked while holding the lock did not harm the generator.
            Err(poisoned) => poisoned.into_inner().random_range(0.0..1.0),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Environment")
    }
}
