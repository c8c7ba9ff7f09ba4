//! What GitHub says when it says no (`scale-set-protocol.md` 3.2).
//!
//! Errors are told apart by the exception's name, never by the status alone: the same exception comes with different
//! ones. They carry the ids by which GitHub's support finds a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use super::transport::{Response, TransportError, TransportFault};
use super::wire;
use crate::causes;

/// A call that failed. `call` says in words what was attempted.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// There was no answer.
    #[error("cannot {call}")]
    Transport {
        /// What was attempted.
        call: &'static str,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The answer did not come in time.
    #[error("cannot {call}: no answer within {} s", after.as_secs())]
    TimedOut {
        /// What was attempted.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// GitHub refused.
    #[error("cannot {call}: {status} {message}{ids}")]
    Refused {
        /// What was attempted.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// Which exception, where one was named.
        exception: Exception,
        /// GitHub's words.
        message: String,
        /// How long GitHub wants to be left alone.
        retry_after: Option<Duration>,
        /// The request's ids.
        ids: RequestIds,
    },
    /// The answer is not what the protocol says.
    #[error("cannot {call}: the answer cannot be read: {message}{ids}")]
    Unreadable {
        /// What was attempted.
        call: &'static str,
        /// What is wrong with it.
        message: String,
        /// The request's ids.
        ids: RequestIds,
    },
    /// The credentials cannot be used at all.
    #[error("cannot {call}: {message}")]
    Credentials {
        /// What was attempted.
        call: &'static str,
        /// What is wrong with them.
        message: String,
    },
    /// GitHub let no one in when it was last asked. All calls of a connection hear the same, without asking again.
    #[error(transparent)]
    NoWayIn(Arc<NoWayIn>),
}

/// Why GitHub did not let us in, and how long it is not asked again.
#[derive(Debug)]
pub struct NoWayIn {
    /// What it said.
    pub error: GitHubError,
    /// Until then the answer is taken to be the same, unless there are new credentials.
    pub until: Timestamp,
}

impl fmt::Display for NoWayIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for NoWayIn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// The exceptions that make a difference (`scale-set-protocol.md` 3.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The runner's name is taken.
    RunnerExists,
    /// The registration is gone.
    RunnerNotFound,
    /// The runner is busy and stays.
    JobStillRunning,
    /// There is no such scale set (also seen for a moment in outages).
    ScaleSetNotFound,
    /// Someone made a scale set of this name.
    ScaleSetExists,
    /// Another message session lives.
    SessionConflict,
    /// The message session is gone.
    SessionGone,
    /// The admin or queue token is not valid (any more).
    InvalidToken,
    /// Another one, by its short name.
    Other(String),
    /// None was named.
    None,
}

/// The ids by which GitHub finds a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// `X-GitHub-Request-Id`.
    pub request: Option<String>,
    /// `ActivityId`.
    pub activity: Option<String>,
}

impl fmt::Display for RequestIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = [("request", &self.request), ("activity", &self.activity)];
        let known: Vec<String> = ids.iter().filter_map(|(n, id)| id.as_ref().map(|id| format!("{n} {id}"))).collect();
        if known.is_empty() { Ok(()) } else { write!(formatter, " ({})", known.join(", ")) }
    }
}

impl RequestIds {
    /// Leaves the ids out of a text that an error was put into: they differ each time, and where a text is kept, a new one
    /// would look like news.
    pub fn left_out(text: &str) -> String {
        let mut rest = text;
        let mut kept = String::new();
        while let Some(start) = [" (request ", " (activity "].iter().filter_map(|mark| rest.find(mark)).min() {
            let Some(length) = rest[start..].find(')') else { break };
            kept.push_str(&rest[..start]);
            rest = &rest[start + length + 1..];
        }
        kept + rest
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        Self { request: text("x-github-request-id"), activity: text("activityid") }
    }
}

impl Exception {
    fn of(type_name: &str) -> Self {
        const KNOWN: &[(&str, Exception)] = &[
            ("AgentExistsException", Exception::RunnerExists),
            ("AgentNotFoundException", Exception::RunnerNotFound),
            ("JobStillRunningException", Exception::JobStillRunning),
            ("RunnerScaleSetNotFoundException", Exception::ScaleSetNotFound),
            ("RunnerScaleSetExistsException", Exception::ScaleSetExists),
            ("RunnerScaleSetSessionConflictException", Exception::SessionConflict),
            ("RunnerScaleSetSessionExpiredException", Exception::SessionGone),
            ("RunnerAdminException", Exception::SessionGone),
            ("InvalidTokenException", Exception::InvalidToken),
        ];
        let known = KNOWN.iter().find(|(name, _)| type_name.contains(name)).map(|(_, exception)| exception.clone());
        let short = || type_name.split(',').next().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        known.unwrap_or_else(|| Exception::Other(short().to_owned()))
    }
}

impl GitHubError {
    /// The refusal that an answer other than success is.
    pub(super) fn refused(call: &'static str, response: &Response) -> Self {
        let said = wire::refusal(response.body());
        let exception = said.type_name.as_deref().map_or(Exception::None, Exception::of);
        Self::Refused {
            call,
            status: response.status().as_u16(),
            exception,
            message: said.message,
            retry_after: retry_after(response.headers()),
            ids: RequestIds::of(response.headers()),
        }
    }

    /// GitHub's exception, if it named one.
    pub fn exception(&self) -> &Exception {
        match self {
            Self::Refused { exception, .. } => exception,
            Self::NoWayIn(shut) => shut.error.exception(),
            _ => &Exception::None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoWayIn(shut) => shut.error.status(),
            _ => None,
        }
    }

    /// Whether the same call may succeed when it is made again (`scale-set-protocol.md` 6.1).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { source, .. } => {
                matches!(source.fault, TransportFault::Unreachable | TransportFault::Interrupted)
            }
            Self::TimedOut { .. } => true,
            Self::Refused { status, retry_after, .. } => {
                *status == 429 || (*status == 403 && retry_after.is_some()) || (*status >= 500 && *status != 501)
            }
            Self::Unreadable { .. } | Self::Credentials { .. } => false,
            Self::NoWayIn(shut) => shut.error.is_retryable(),
        }
    }

    /// Before this the same call need not be made again, unless there are new credentials.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self {
            Self::NoWayIn(shut) => Some(shut.until),
            _ => None,
        }
    }

    /// The error for people, with causes and the way out, and without the request's ids: words that stay the same as long
    /// as nothing changes.
    pub fn in_words(&self) -> String {
        let words = match self {
            Self::NoWayIn(shut) => return shut.error.in_words(),
            Self::Refused { call, status, message, .. } => format!("cannot {call}: {status} {message}"),
            Self::Unreadable { call, message, .. } => format!("cannot {call}: the answer cannot be read: {message}"),
            Self::Transport { .. } | Self::TimedOut { .. } | Self::Credentials { .. } => causes::in_one_line(self),
        };
        match self.hint() {
            Some(hint) => format!("{words} ({hint})"),
            None => words,
        }
    }

    /// The way out, where there is an obvious one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transport { source, .. } => Some(match source.fault {
                TransportFault::Certificate => {
                    "give the server's certificate authority as `tls.certificateAuthority`".to_owned()
                }
                _ => "check the URL, the network and the proxy".to_owned(),
            }),
            Self::Refused { call, status, message, .. } => refusal_hint(call, *status, message),
            Self::TimedOut { .. } | Self::Unreadable { .. } | Self::Credentials { .. } => None,
            Self::NoWayIn(shut) => shut.error.hint(),
        }
    }
}

/// Names of the calls whose refusals say something about the credentials.
pub(super) const GET_INSTALLATION_TOKEN: &str = "get a token of the GitHub App's installation";
pub(super) const GET_REGISTRATION_TOKEN: &str = "get a registration token";

fn refusal_hint(call: &str, status: u16, message: &str) -> Option<String> {
    let hint = match (call, status) {
        (GET_INSTALLATION_TOKEN, 401) if message.contains("Issued at") || message.contains("Expiration time") => {
            "set the clock of this machine: GitHub compares it with its own"
        }
        (GET_INSTALLATION_TOKEN, 401) => "the private key does not belong to this App, or the App's id is another",
        (GET_INSTALLATION_TOKEN, 403 | 404) => {
            "the App is not installed there (any more), or the installation's id is another"
        }
        (GET_REGISTRATION_TOKEN, 401) => "the token is wrong, expired or revoked",
        (GET_REGISTRATION_TOKEN, 403) => {
            "the token lacks permission: `repo` for a repository, `admin:org` for an organisation"
        }
        (GET_REGISTRATION_TOKEN, 404) => {
            "the URL names nothing that the token may see; it needs `repo`, `admin:org` or `manage_runners:enterprise`"
        }
        (_, 403) => "the credentials lack the permission for this",
        (_, 429) => "GitHub limits the rate of calls; they are made again later",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// `Retry-After` in seconds. A date is not used by GitHub and read as "soon".
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    /// Longer is an outage, and then asking now and then does no harm.
    const MOST: u64 = 300;
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().unwrap_or(1).min(MOST)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn refused(status: u16, body: &'static str) -> GitHubError {
        let response = http::Response::builder().status(status).header("ActivityId", "a-1").body(Bytes::from(body));
        GitHubError::refused("remove a runner", &response.unwrap())
    }

    #[test]
    fn a_text_without_ids_is_the_same_each_time() {
        let ids = |request: &str| RequestIds { request: Some(request.to_owned()), activity: Some("b".to_owned()) };
        let words = |request| format!("cannot list: 401 Bad credentials{} (the token is wrong)", ids(request));
        assert_eq!(RequestIds::left_out(&words("1")), "cannot list: 401 Bad credentials (the token is wrong)");
        assert_eq!(RequestIds::left_out(&words("1")), RequestIds::left_out(&words("2")));
        assert_eq!(RequestIds::left_out("plain (request"), "plain (request");
    }

    #[test]
    fn exceptions_are_told_apart_by_name_whatever_the_status() {
        let body = r#"{"typeName":"GitHub.DistributedTask.WebApi.JobStillRunningException, GitHub.DistributedTask.WebApi","message":"busy"}"#;
        for status in [400, 409] {
            let error = refused(status, body);
            assert_eq!(*error.exception(), Exception::JobStillRunning);
            assert_eq!(error.to_string(), format!("cannot remove a runner: {status} busy (activity a-1)"));
            assert_eq!(error.in_words(), format!("cannot remove a runner: {status} busy"));
        }
    }

    #[test]
    fn every_shape_of_a_refusal_gives_its_words() {
        for (body, words) in [
            ("404 page not found", "404 page not found"),
            ("", "no explanation"),
            ("\u{feff}{\"message\":\"Bad credentials\"}", "Bad credentials"),
            (r#"{"source":"actions-broker-listener","errorMessage":"runner gone","statusCode":404}"#, "runner gone"),
            ("<html><body>Bad gateway</body></html>", "<html><body>Bad gateway</body></html>"),
        ] {
            assert!(refused(502, body).to_string().contains(words), "{body}");
        }
    }
}
