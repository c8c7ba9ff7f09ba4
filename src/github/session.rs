//! A message session: the one live connection of a scale set's listener (`scale-set-protocol.md` 3.7–3.9).

use http::Method;
use serde_json::json;

use super::error::{Exception, GitHubError, RequestIds};
use super::exchange::{Call, POLL};
use super::service::{API_VERSION, ActionsService};
use super::transport::Response;
use super::wire::{self, Envelope, List, Statistics};
use crate::secret::Secret;

const POLL_CALL: &str = "poll the message queue";
const ACKNOWLEDGE: &str = "acknowledge a message";
const ACQUIRE: &str = "acquire jobs";
const NO_SESSION: &str = "00000000-0000-0000-0000-000000000000";

/// An open session.
#[derive(Clone, Debug)]
pub struct MessageSession {
    service: ActionsService,
    scale_set: i64,
    /// Its id; kept across restarts so that a successor can close it.
    pub id: String,
    queue_url: String,
    queue_token: Secret,
    /// The numbers when it was opened or last renewed.
    pub statistics: Option<Statistics>,
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// A delivery.
    Message(Envelope),
    /// Nothing arrived while the poll was held.
    Nothing,
    /// An answer without content, as happens in production: poll again after a moment.
    Empty,
}

impl MessageSession {
    /// Opens a session; [`Exception::SessionConflict`] while another lives, also one of our own that died.
    pub async fn open(service: &ActionsService, scale_set: i64, owner: &str) -> Result<Self, GitHubError> {
        const CALL: &str = "open a message session";
        let body = json!({"sessionId": NO_SESSION, "ownerName": owner});
        let path = sessions(scale_set);
        let opened: wire::Session = service.read(CALL, Method::POST, &path, &[], Some(body)).await?;
        let session = Self {
            service: service.clone(),
            scale_set,
            id: String::new(),
            queue_url: String::new(),
            queue_token: Secret::new(""),
            statistics: None,
        };
        session.taken_from(CALL, opened).await
    }

    /// Closes the session of an id; one that is gone is no error.
    pub async fn close_by_id(service: &ActionsService, scale_set: i64, id: &str) -> Result<(), GitHubError> {
        let path = format!("{}/{id}", sessions(scale_set));
        match service.call("close the message session", Method::DELETE, &path, &[], None).await {
            Err(error) if *error.exception() == Exception::SessionGone => Ok(()),
            // A bare 404 may be a route that is missing for a moment, and scale sets are "not found" in outages.
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Closes this session.
    pub async fn close(&self) -> Result<(), GitHubError> {
        Self::close_by_id(&self.service, self.scale_set, &self.id).await
    }

    /// Renews the queue token and the numbers; [`Exception::SessionGone`] if a new session is needed.
    pub async fn refresh(&mut self) -> Result<(), GitHubError> {
        const CALL: &str = "renew the message session";
        let path = format!("{}/{}", sessions(self.scale_set), self.id);
        let renewed: wire::Session = self.service.read(CALL, Method::PATCH, &path, &[], None).await?;
        *self = self.clone().taken_from(CALL, renewed).await?;
        Ok(())
    }

    /// Waits for the next delivery after `last`. `capacity` is how many jobs the scale set may own.
    pub async fn poll(&mut self, last: i64, capacity: u32) -> Result<Poll, GitHubError> {
        let url = poll_url(&self.queue_url, last);
        let headers = [
            ("accept", format!("application/json; api-version={API_VERSION}")),
            ("x-scalesetmaxcapacity", capacity.to_string()),
        ];
        let response = self.queue_call(POLL_CALL, Method::GET, &url, &headers).await?;
        if response.status() == http::StatusCode::ACCEPTED {
            return Ok(Poll::Nothing);
        }
        let envelope = wire::envelope(response.body()).map_err(|message| GitHubError::Unreadable {
            call: POLL_CALL,
            message,
            ids: RequestIds::of(response.headers()),
        })?;
        Ok(envelope.map_or(Poll::Empty, Poll::Message))
    }

    /// Says that a delivery was handled; one that is gone is no error.
    pub async fn acknowledge(&mut self, message: i64) -> Result<(), GitHubError> {
        let (path, query) = self.queue_url.split_once('?').unwrap_or((&self.queue_url, ""));
        let separator = if query.is_empty() { "" } else { "?" };
        let url = format!("{}/{message}{separator}{query}", path.trim_end_matches('/'));
        let headers = [("content-type", "application/json".to_owned())];
        match self.queue_call(ACKNOWLEDGE, Method::DELETE, &url, &headers).await {
            // Only this call's own 404: where renewing the token finds the session gone, the message is still there.
            Err(GitHubError::Refused { call: ACKNOWLEDGE, status: 404 | 410, exception, .. })
                if exception != Exception::SessionGone =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Takes offered jobs; the result are those we got. Only for jobs that arrived as available (0.4).
    pub async fn acquire(&mut self, request_ids: &[i64]) -> Result<Vec<i64>, GitHubError> {
        let path = format!("_apis/runtime/runnerscalesets/{}/acquirejobs", self.scale_set);
        let body = json!(request_ids);
        let mut renewed = false;
        let response = loop {
            match self.service.call_with(ACQUIRE, &path, &self.queue_token, &body).await {
                Err(error) if error.status() == Some(401) && !renewed => {
                    self.refresh().await?;
                    renewed = true;
                }
                other => break other?,
            }
        };
        let got: List<i64> = wire::read(response.body()).map_err(|message| GitHubError::Unreadable {
            call: ACQUIRE,
            message,
            ids: RequestIds::of(response.headers()),
        })?;
        Ok(got.value)
    }

    /// A call on the queue; a token that has ended is renewed once. Other failures are the listener's to repeat, so
    /// that a shutdown is prompt.
    async fn queue_call(
        &mut self,
        name: &'static str,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Response, GitHubError> {
        let mut renewed = false;
        loop {
            let authorization = Secret::new(&format!("Bearer {}", self.queue_token.expose()));
            let call = Call {
                limit: POLL,
                retries: false,
                ..Call::new(name, method.clone(), url.to_owned(), authorization).with_headers(headers)
            };
            match self.service.exchange().run(&call).await {
                Err(error) if error.status() == Some(401) && !renewed => {
                    self.refresh().await?;
                    renewed = true;
                }
                other => return other,
            }
        }
    }

    /// The session as the service describes it now. One without a queue is useless, and closed again (ARC #4370).
    async fn taken_from(self, call: &'static str, said: wire::Session) -> Result<Self, GitHubError> {
        if said.queue_url.is_empty() || said.id.is_empty() || said.id == NO_SESSION {
            if !said.id.is_empty() && said.id != NO_SESSION {
                Self::close_by_id(&self.service, self.scale_set, &said.id).await?;
            }
            let message = "the session has no id or no queue".to_owned();
            return Err(GitHubError::Unreadable { call, message, ids: RequestIds::default() });
        }
        Ok(Self {
            id: said.id,
            queue_url: said.queue_url,
            queue_token: Secret::new(&said.queue_token),
            statistics: said.statistics.or(self.statistics),
            ..self
        })
    }
}

fn sessions(scale_set: i64) -> String {
    format!("_apis/runtime/runnerscalesets/{scale_set}/sessions")
}

/// The queue's own query stays; the cursor is sent only once there is one.
fn poll_url(queue: &str, last: i64) -> String {
    match (last > 0, queue.contains('?')) {
        (false, _) => queue.to_owned(),
        (true, true) => format!("{queue}&lastMessageId={last}"),
        (true, false) => format!("{queue}?lastMessageId={last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_joins_whatever_the_queues_url_carries() {
        assert_eq!(poll_url("https://q/m", 0), "https://q/m");
        assert_eq!(poll_url("https://q/m", 7), "https://q/m?lastMessageId=7");
        assert_eq!(poll_url("https://q/m?sid=1", 7), "https://q/m?sid=1&lastMessageId=7");
    }
}
