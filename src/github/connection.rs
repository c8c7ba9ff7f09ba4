//! The admin connection: from credentials to a short-lived token and the service's URL (`scale-set-protocol.md` 2.3–2.6).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::Mutex;

use super::config_url::{ConfigUrl, Scope};
use super::credentials::{Credentials, CredentialsError, app_token};
use super::error::{GET_INSTALLATION_TOKEN, GET_REGISTRATION_TOKEN, GitHubError, RequestIds};
use super::exchange::{Call, Exchange};
use super::wire;
use crate::secret::Secret;

const CONNECT: &str = "connect to the Actions service";
/// A token is renewed this long before it ends.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// Where the service is, and what lets us in.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    /// Base URL, with or without a path and a final slash.
    pub(super) url: String,
    pub(super) token: Secret,
    ends: Timestamp,
    /// Counts renewals, so that two calls that fail together renew once.
    pub(super) generation: u64,
}

/// Keeps an [`Admin`] fresh. Renewals are lazy and made once for all who wait.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    exchange: Exchange,
    config_url: ConfigUrl,
    credentials: Credentials,
    current: Arc<Mutex<Option<Admin>>>,
}

impl Connection {
    pub(super) fn new(exchange: Exchange, config_url: ConfigUrl, credentials: Credentials) -> Self {
        Self { exchange, config_url, credentials, current: Arc::default() }
    }

    /// A connection that is good for the next call. `stale` is the generation that was just refused.
    pub(super) async fn admin(&self, stale: Option<u64>) -> Result<Admin, GitHubError> {
        let mut current = self.current.lock().await;
        let now = self.exchange.environment.now();
        let good = |admin: &&Admin| {
            stale != Some(admin.generation) && now.checked_add(MARGIN).is_ok_and(|soon| soon <= admin.ends)
        };
        if let Some(admin) = current.as_ref().filter(good) {
            return Ok(admin.clone());
        }
        let generation = current.as_ref().map_or(0, |admin| admin.generation) + 1;
        let admin = self.connect(generation).await?;
        *current = Some(admin.clone());
        Ok(admin)
    }

    async fn connect(&self, generation: u64) -> Result<Admin, GitHubError> {
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
        Ok(Admin { url: answer.url, token: Secret::new(&answer.token), ends, generation })
    }

    /// The token for the REST call: the user's, or one of the App's installation.
    async fn bearer(&self) -> Result<Secret, GitHubError> {
        let (issuer, installation_id, key) = match &self.credentials {
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
