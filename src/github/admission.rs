//! The way in: from credentials to a short-lived admin token and the service's URL (`scale-set-protocol.md` 2.3–2.5).
//!
//! Remembers nothing; when it is gone is `connection.rs`'s business.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::config_url::{ConfigUrl, Scope};
use super::credentials::{Credentials, CredentialsError, app_token};
use super::error::{GET_INSTALLATION_TOKEN, GET_REGISTRATION_TOKEN, GitHubError, RequestIds};
use super::exchange::{Call, Exchange};
use super::wire;
use crate::secret::Secret;

const CONNECT: &str = "connect to the Actions service";

/// What GitHub hands out for credentials.
pub(super) struct Admission {
    /// Base URL, with or without a path and a final slash.
    pub(super) url: String,
    pub(super) token: Secret,
    pub(super) ends: Timestamp,
}

/// Who asks, and where.
pub(super) struct Applicant<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) config_url: &'a ConfigUrl,
    pub(super) credentials: &'a Credentials,
}

impl Applicant<'_> {
    /// Two or three round trips; what may pass is tried again for a while.
    pub(super) async fn connect(&self) -> Result<Admission, GitHubError> {
        let bearer = self.bearer().await?;
        let registration = self.registration_token(bearer).await?;
        let body = json!({"url": self.config_url.as_str(), "runner_event": "register"});
        let headers = [("content-type", "application/json".to_owned())];
        let authorization = Secret::new(&format!("RemoteAuth {}", registration.expose()));
        let url = self.config_url.api("/actions/runner-registration");
        let call = Call {
            body: Bytes::from(body.to_string()),
            // A registration token is not known everywhere at once (2.5).
            also_retry: &[401, 403],
            ..Call::new(CONNECT, Method::POST, url, authorization).with_headers(&headers)
        };
        let response = self.exchange.run(&call).await?;
        let unreadable = |message: &str| GitHubError::Unreadable {
            call: CONNECT,
            message: message.to_owned(),
            ids: RequestIds::of(response.headers()),
        };
        let answer: wire::Token = wire::read(response.body()).map_err(|error| unreadable(&error))?;
        if answer.token.is_empty() || answer.url.is_empty() {
            return Err(unreadable("`url` or `token` is missing"));
        }
        let ends = end_of(&answer.token).ok_or_else(|| unreadable("the token does not say when it ends"))?;
        Ok(Admission { url: answer.url, token: Secret::new(&answer.token), ends })
    }

    /// The token for the REST call: the user's, or one of the App's installation.
    async fn bearer(&self) -> Result<Secret, GitHubError> {
        let (issuer, installation_id, key) = match self.credentials {
            Credentials::Token(token) => return Ok(token.clone()),
            Credentials::App { issuer, installation_id, private_key } => (issuer, installation_id, private_key),
        };
        let unusable = |error: CredentialsError| GitHubError::Credentials {
            call: GET_INSTALLATION_TOKEN,
            message: error.to_string(),
        };
        if matches!(self.config_url.scope, Scope::Enterprise(_)) {
            return Err(unusable(CredentialsError::Enterprise));
        }
        let jwt = app_token(issuer, key, self.exchange.environment.now()).map_err(unusable)?;
        let url = self.config_url.api(&format!("/app/installations/{installation_id}/access_tokens"));
        self.token(GET_INSTALLATION_TOKEN, url, &jwt, "application/vnd.github+json").await
    }

    async fn registration_token(&self, bearer: Secret) -> Result<Secret, GitHubError> {
        let url = self.config_url.api(&self.config_url.registration_token_path());
        self.token(GET_REGISTRATION_TOKEN, url, &bearer, "application/vnd.github.v3+json").await
    }

    async fn token(
        &self,
        name: &'static str,
        url: String,
        bearer: &Secret,
        content_type: &str,
    ) -> Result<Secret, GitHubError> {
        let headers = [("content-type", content_type.to_owned())];
        let authorization = Secret::new(&format!("Bearer {}", bearer.expose()));
        let call = Call::new(name, Method::POST, url, authorization).with_headers(&headers);
        let response = self.exchange.run(&call).await?;
        let answer: Result<wire::Token, String> = wire::read(response.body());
        match answer {
            Ok(answer) if !answer.token.is_empty() => Ok(Secret::new(&answer.token)),
            Ok(_) => Err("`token` is missing".to_owned()),
            Err(error) => Err(error),
        }
        .map_err(|message| GitHubError::Unreadable {
            call: name,
            message,
            ids: RequestIds::of(response.headers()),
        })
    }
}

/// The `exp` of a token. The signature is the service's own business.
fn end_of(token: &str) -> Option<Timestamp> {
    let payload = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let end = claims.get("exp")?;
    #[expect(clippy::cast_possible_truncation, reason = "a time with a fraction is cut to whole seconds")]
    let seconds = end.as_i64().or_else(|| end.as_f64().map(|end| end as i64))?;
    Timestamp::from_second(seconds).ok()
}
