//! One call: sent, waited for, tried again, refused or read.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use tower::ServiceExt;

use super::environment::Environment;
use super::error::GitHubError;
use super::retry;
use super::transport::{CallName, Response, Transport};
use crate::secret::Secret;

/// How long a short call may take (`scale-set-protocol.md` 6.2).
pub(super) const SHORT: Duration = Duration::from_secs(30);
/// How long a held poll may take: holds of 88 s were measured.
pub(super) const POLL: Duration = Duration::from_mins(2);

/// Sends calls over a transport.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) environment: Environment,
    pub(super) user_agent: String,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// What is attempted, in words that follow "cannot".
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) url: String,
    /// The whole value of `Authorization`.
    pub(super) authorization: Secret,
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: Bytes,
    pub(super) limit: Duration,
    /// Further statuses that are tried again; 401 and 403 of a token that GitHub does not know everywhere yet.
    pub(super) also_retry: &'static [u16],
    /// Whether failures are tried again here at all; the listener does that itself.
    pub(super) retries: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(name: &'static str, method: Method, url: String, authorization: Secret) -> Self {
        Self {
            name,
            method,
            url,
            authorization,
            headers: &[],
            body: Bytes::new(),
            limit: SHORT,
            also_retry: &[],
            retries: true,
        }
    }

    pub(super) fn with_headers(self, headers: &'a [(&'static str, String)]) -> Self {
        Self { headers, ..self }
    }
}

impl Exchange {
    /// Makes the call until it succeeds or there is no point in trying again. Success is any 2xx.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Response, GitHubError> {
        let mut attempt = 1;
        loop {
            let error = match self.once(call).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => GitHubError::refused(call.name, &response),
                Err(error) => error,
            };
            let also = error.status().is_some_and(|status| call.also_retry.contains(&status));
            let wait = if also && attempt < retry::ATTEMPTS {
                Some(Duration::from_secs(1 << (attempt - 1)).mul_f64(0.5 + self.environment.fraction()))
            } else {
                retry::wait(attempt, &error, self.environment.fraction())
            };
            let Some(wait) = wait.filter(|_| call.retries) else { return Err(error) };
            tracing::debug!(call = call.name, attempt, ?wait, %error, "trying again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn once(&self, call: &Call<'_>) -> Result<Response, GitHubError> {
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(&call.url)
            .extension(CallName(call.name))
            .header(header::USER_AGENT, &self.user_agent)
            .header(header::AUTHORIZATION, call.authorization.expose());
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let request = request.body(call.body.clone()).map_err(|_| GitHubError::Credentials {
            call: call.name,
            // The builder's own error would show the header's text.
            message: "a URL or token contains characters that HTTP cannot carry".to_owned(),
        })?;
        match tokio::time::timeout(call.limit, self.transport.clone().oneshot(request)).await {
            Err(_) => Err(GitHubError::TimedOut { call: call.name, after: call.limit }),
            Ok(Err(source)) => Err(GitHubError::Transport { call: call.name, source }),
            Ok(Ok(response)) => Ok(response),
        }
    }
}
