//! What is to be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::controller::Specification;
use crate::github::ActionsService;
use crate::listener::Memory;

/// A scale set to be served, and the way to GitHub.
#[derive(Debug)]
pub struct Desired {
    /// How many runners, and what one looks like.
    pub specification: Specification,
    /// The client; scale sets of one scope share its connection.
    pub service: ActionsService,
    /// Remembers ids across restarts.
    pub memory: Arc<dyn Memory>,
}

impl Desired {
    /// What its scale set is known by.
    pub fn key(&self) -> String {
        self.specification.key()
    }
}

/// How many slots each pool has: as many as the scale sets that use it may have runners, all together.
pub fn slot_sizes<'a>(specifications: impl Iterator<Item = &'a Specification>) -> BTreeMap<String, u32> {
    let mut sizes: BTreeMap<String, u32> = BTreeMap::new();
    for specification in specifications {
        for pool in &specification.slot_pools {
            let size = sizes.entry(pool.clone()).or_default();
            *size = size.saturating_add(specification.limits.max);
        }
    }
    sizes
}
