//! The App's key: verifies the JWT that a GitHub App signs for itself.

use std::fmt;

use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode};
use serde::Deserialize;

use crate::simulator::ControlError;

/// Longer lives than this are refused.
const LONGEST_LIFE: i64 = 10 * 60;

/// A key that App JWTs must be signed with.
pub(in crate::simulator) struct AppKey(DecodingKey);

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    #[serde(default)]
    iss: serde_json::Value,
}

impl AppKey {
    /// Reads a public or a private key: the latter is what GitHub hands out.
    pub(in crate::simulator) fn read(pem: &str) -> Result<Self, ControlError> {
        // The private half first: the library would take its PEM for a public key, and then verify nothing.
        EncodingKey::from_rsa_pem(pem.as_bytes())
            .and_then(|private| DecodingKey::from_jwk(&Jwk::from_encoding_key(&private, Algorithm::RS256)?))
            .or_else(|_| DecodingKey::from_rsa_pem(pem.as_bytes()))
            .map(Self)
            .map_err(|source| ControlError::AppKey { source })
    }

    /// Whether a JWT is signed with the key and lives now, for at most ten minutes, and names its issuer.
    pub(super) fn accepts(&self, token: &str, now: Timestamp) -> bool {
        let mut validation = Validation::new(Algorithm::RS256);
        // The time is the simulated one.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let Ok(decoded) = decode::<Claims>(token, &self.0, &validation) else { return false };
        let Claims { iat, exp, iss } = decoded.claims;
        let now = now.as_second();
        let issuer = iss.is_number() || iss.as_str().is_some_and(|iss| !iss.is_empty());
        issuer && iat <= now && now < exp && exp <= now + LONGEST_LIFE
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey")
    }
}
