//! Tokens: made, looked up, outlived. A token says whose it is; nothing else does.

use jiff::Timestamp;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::error::Refusal;
use super::{State, after};

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Asking for registration tokens, as an App.
    Installation,
    /// One exchange for an admin connection of a tenant.
    Registration(String),
    /// The Actions service of a tenant.
    Admin(String),
    /// The queue of a scale set, for one session.
    Queue {
        /// The scale set.
        scale_set: i64,
        /// The session.
        session: String,
    },
}

/// A token in circulation.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(super) grant: Grant,
    pub(super) expires: Timestamp,
}

/// REST tokens live for an hour.
const HOUR: u32 = 3600;

impl State {
    /// An installation token and its end.
    pub(crate) fn installation_token(&mut self) -> (String, Timestamp) {
        let text = format!("ghs_{}", self.random_text(36));
        self.keep(text, Grant::Installation, HOUR)
    }

    /// A registration token of a tenant and its end.
    pub(crate) fn registration_token(&mut self, tenant: &str) -> (String, Timestamp) {
        let text = format!("A{}", self.random_text(28).to_uppercase());
        self.keep(text, Grant::Registration(tenant.to_owned()), HOUR)
    }

    /// An admin token of a tenant.
    pub(crate) fn admin_token(&mut self, tenant: &str) -> Result<String, Refusal> {
        self.signed(Grant::Admin(tenant.to_owned()), self.levers.admin_token_seconds, "runner-admin")
    }

    /// A queue token of a session.
    pub(super) fn queue_token(&mut self, scale_set: i64, session: &str) -> Result<String, Refusal> {
        let grant = Grant::Queue { scale_set, session: session.to_owned() };
        self.signed(grant, self.levers.queue_token_seconds, "scaleset-queue")
    }

    /// What a live token is good for.
    pub(crate) fn grant(&self, token: &str) -> Option<&Grant> {
        self.tokens.get(token).filter(|token| self.now < token.expires).map(|token| &token.grant)
    }

    /// The tenant of a live admin token.
    pub(crate) fn admin(&self, token: &str) -> Result<String, Refusal> {
        match self.grant(token) {
            Some(Grant::Admin(tenant)) => Ok(tenant.clone()),
            _ => Err(Refusal::InvalidToken),
        }
    }

    /// The scale set and session of a live queue token whose session lives, too.
    pub(crate) fn queue(&self, token: &str) -> Result<(i64, String), Refusal> {
        let Some(Grant::Queue { scale_set, session }) = self.grant(token) else { return Err(Refusal::Unauthorized) };
        let current = self.scale_sets.get(scale_set).and_then(|set| set.session.as_ref());
        match current {
            Some(current) if current.id == *session => Ok((*scale_set, session.clone())),
            _ => Err(Refusal::Unauthorized),
        }
    }

    /// Voids the queue tokens of a scale set.
    pub(super) fn void_queue_tokens(&mut self, set: i64) {
        self.tokens.retain(|_, token| !matches!(&token.grant, Grant::Queue { scale_set, .. } if *scale_set == set));
    }

    /// Ends the life of all tokens of one kind before their time: `installation`, `registration`, `admin` or `queue`.
    pub(crate) fn expire_tokens(&mut self, kind: &str) {
        self.tokens.retain(|_, token| token.grant.kind() != kind);
        self.changed();
    }

    fn signed(&mut self, grant: Grant, seconds: u32, audience: &str) -> Result<String, Refusal> {
        let issued = self.now.as_second();
        let claims = json!({
            "iss": "https://simulator.deskrun.dev", "aud": audience, "jti": self.uuid(),
            "iat": issued, "nbf": issued, "exp": issued + i64::from(seconds),
        });
        let text = encode(&Header::default(), &claims, &EncodingKey::from_secret(&self.signing_key))?;
        Ok(self.keep(text, grant, seconds).0)
    }

    fn keep(&mut self, text: String, grant: Grant, seconds: u32) -> (String, Timestamp) {
        let expires = after(self.now, seconds);
        self.tokens.retain(|_, token| self.now < token.expires);
        self.tokens.insert(text.clone(), Token { grant, expires });
        (text, expires)
    }
}

impl Grant {
    fn kind(&self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::Registration(_) => "registration",
            Self::Admin(_) => "admin",
            Self::Queue { .. } => "queue",
        }
    }
}
