//! The addresses that answers carry, as the caller sees the simulator.

use super::options::Generation;

/// Where one tenant's Actions service is.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// Scheme, host and port.
    pub(super) origin: String,
    pub(super) generation: Generation,
    /// The tenant's id in the path of the pipelines back end.
    pub(super) tenant: String,
}

impl Links {
    /// The base that an admin connection names. Broker has a path without a final slash, pipelines one with it.
    pub(super) fn service(&self) -> String {
        match self.generation {
            Generation::Broker => format!("{}/rest", self.origin),
            Generation::Pipelines => format!("{}/_services/pipelines/{}/", self.origin, self.tenant),
        }
    }

    /// An address below the service.
    pub(super) fn api(&self, path: &str) -> String {
        format!("{}/_apis/{path}", self.service().trim_end_matches('/'))
    }

    /// Where a session polls. On broker the token alone says for which scale set.
    pub(super) fn queue(&self, scale_set: i64, session: &str) -> String {
        match self.generation {
            Generation::Broker => format!("{}/scalesets/message", self.origin),
            Generation::Pipelines => self.api(&format!("runtime/messagequeue/{scale_set}?sid={session}")),
        }
    }
}
