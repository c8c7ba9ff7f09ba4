//! What faults do to a call: instead of it, to its effect, to its answer, or to the connection.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Content};
use super::{Call, Dropped, Line, Route, dispatch};
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{Action, Refusal};

/// Pieces that a slow body comes in.
const PIECES: usize = 4;

/// The faults of one call.
pub(super) struct Faulty {
    actions: Vec<Action>,
}

impl Faulty {
    pub(super) fn new(actions: Vec<Action>) -> Self {
        Self { actions }
    }

    fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    pub(super) fn drops_labels(&self) -> bool {
        self.has(&Action::DropLabels)
    }

    pub(super) fn holds_nothing(&self) -> bool {
        self.has(&Action::NoHold)
    }

    pub(super) fn keeps_message(&self) -> bool {
        self.has(&Action::KeepMessage)
    }

    /// The answer of the call; none where the connection is to be dropped.
    pub(super) async fn answer(&self, simulator: &Simulator, call: &Call) -> Option<Answer> {
        if self.has(&Action::DropBefore) {
            return None;
        }
        if self.has(&Action::Restart) {
            simulator.restart();
        }
        if let Some(answer) = self.actions.iter().find_map(|action| instead(action, call)) {
            return Some(answer);
        }
        let mut answer = dispatch(simulator, call, self).await;
        if self.has(&Action::Duplicate) {
            answer = dispatch(simulator, call, self).await;
        }
        for action in &self.actions {
            if let Action::Delay(seconds) = action {
                tokio::time::sleep(duration(*seconds)).await;
            }
        }
        if self.has(&Action::DropAfter) {
            return None;
        }
        Some(self.actions.iter().fold(answer, bend))
    }

    /// The response, in whatever pieces.
    pub(super) fn respond(&self, answer: &Answer, request_id: &str) -> Response {
        let (bytes, kind) = answer.body();
        let length = bytes.len();
        let slow =
            self.actions.iter().find_map(|action| if let Action::Slow(pause) = action { Some(*pause) } else { None });
        if self.has(&Action::Truncate) && length > 0 {
            let mut response = answer.response(truncated(&bytes), kind, request_id);
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            return response;
        }
        let body = match slow {
            Some(pause) => slowly(&bytes, duration(pause)),
            None => Body::from(bytes),
        };
        answer.response(body, kind, request_id)
    }
}

/// Ends a connection without an answer; without connections, a response that says so and whose body breaks.
pub(super) fn drop_connection(line: Option<Line>) -> Response {
    if let Some(line) = line {
        line.cut();
    }
    let broken = stream::iter([Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]);
    let mut response = Response::new(Body::from_stream(broken));
    response.extensions_mut().insert(Dropped);
    response
}

/// An answer without the call's effect.
fn instead(action: &Action, call: &Call) -> Option<Answer> {
    match (action, &call.route) {
        (Action::Status { after_effect: false, .. }, _) => Some(bend(Answer::empty(200), action)),
        (Action::SessionConflict, Route::SessionCreate(set)) => {
            Some(Refusal::SessionConflict { set: set.to_string(), owner: "someone else".to_owned() }.into())
        }
        (Action::RefreshNotFound, Route::SessionRefresh(_, id)) => Some(Refusal::SessionLost(id.clone()).into()),
        (Action::ScaleSetNotFound, Route::ScaleSetList) => Some(Answer::json(json!({ "count": 0, "value": [] }))),
        (
            Action::ScaleSetNotFound,
            Route::ScaleSetGet(set)
            | Route::ScaleSetUpdate(set)
            | Route::ScaleSetDelete(set)
            | Route::JitConfig(set)
            | Route::SessionCreate(set)
            | Route::SessionRefresh(set, _)
            | Route::SessionDelete(set, _)
            | Route::Acquirable(set),
        ) => Some(Refusal::ScaleSetNotFound(*set).into()),
        (Action::Unauthorized, Route::InstallationToken | Route::RegistrationToken(_) | Route::RunnerRegistration) => {
            Some(Refusal::BadCredentials.into())
        }
        (Action::Unauthorized, Route::Poll(_) | Route::Acknowledge(..) | Route::Acquire(_)) => {
            Some(Refusal::Unauthorized.into())
        }
        (Action::Unauthorized, _) => Some(Refusal::InvalidToken.into()),
        _ => None,
    }
}

/// The answer after one fault.
fn bend(mut answer: Answer, action: &Action) -> Answer {
    match action {
        Action::Status { code, retry_after, body, .. } => {
            answer = Answer::new(*code, content(body.as_deref()));
            answer.retry_after = *retry_after;
        }
        Action::Bom => answer.mark = true,
        Action::EmptyBody => answer.content = Content::Empty,
        Action::NullBody => answer.content = Content::Json(Value::Null),
        Action::OddCasing => change(&mut answer, capitalised),
        Action::UnknownFields => change(&mut answer, |value| set(value, "futureField", json!({ "nested": [1, null] }))),
        Action::ZeroCount => change(&mut answer, |value| replace(value, "count", 0.into())),
        Action::GarbageToken => change(&mut answer, |value| {
            replace(replace(value, "token", "garbage".into()), "messageQueueAccessToken", "garbage".into())
        }),
        Action::NullStatistics => change(&mut answer, |value| replace(value, "statistics", Value::Null)),
        Action::ZeroTotals => change(&mut answer, zero_totals),
        Action::EmptyQueueUrl => change(&mut answer, |value| replace(value, "messageQueueUrl", "".into())),
        Action::UnknownMessageType => change(&mut answer, |value| replace(value, "messageType", "Unheard".into())),
        Action::UnknownEntryType => change(&mut answer, more_entries),
        _ => {}
    }
    answer
}

fn content(body: Option<&str>) -> Content {
    match body {
        None | Some("") => Content::Empty,
        Some("null") => Content::Json(Value::Null),
        Some(html) if html.starts_with("<html") => Content::Html(html.to_owned()),
        Some(text) => Content::Text(text.to_owned()),
    }
}

fn change(answer: &mut Answer, step: impl FnOnce(Value) -> Value) {
    if let Content::Json(value) = &mut answer.content {
        *value = step(value.take());
    }
}

fn set(mut value: Value, name: &str, to: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(name.to_owned(), to);
    }
    value
}

/// Sets a field that is there.
fn replace(value: Value, name: &str, to: Value) -> Value {
    if value.get(name).is_some() { set(value, name, to) } else { value }
}

fn zero_totals(mut value: Value) -> Value {
    let totals = value.get_mut("statistics").and_then(Value::as_object_mut);
    totals.into_iter().flatten().for_each(|(_, total)| *total = 0.into());
    value
}

fn more_entries(value: Value) -> Value {
    let entries = value.get("body").and_then(Value::as_str).and_then(|body| serde_json::from_str(body).ok());
    let Some(Value::Array(mut entries)) = entries else { return value };
    entries.push(json!({ "messageType": "JobTeleported", "runnerRequestId": 0, "jobId": "" }));
    replace(value, "body", Value::Array(entries).to_string().into())
}

fn capitalised(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let rename = |(name, value): (String, Value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                (first.into_iter().chain(letters).collect(), capitalised(value))
            };
            Value::Object(fields.into_iter().map(rename).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(capitalised).collect(),
        other => other,
    }
}

fn truncated(bytes: &[u8]) -> Body {
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    Body::from_stream(stream::iter([Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]))
}

fn slowly(bytes: &[u8], pause: Duration) -> Body {
    let size = bytes.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::io::Error>(piece), pieces))
    }))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
