//! An answer before it becomes a response: status, headers and body as values that faults can still bend.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::simulator::state::{ListEnvelope, Refusal, Shape};

/// A body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Empty,
    Json(Value),
    Text(String),
    Html(String),
}

/// A status with a body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) retry_after: Option<u64>,
    /// A byte-order mark before the body.
    pub(super) mark: bool,
}

impl Answer {
    pub(super) fn new(status: u16, content: Content) -> Self {
        Self { status, content, retry_after: None, mark: false }
    }

    /// 200 with an object.
    pub(super) fn json(value: Value) -> Self {
        Self::new(200, Content::Json(value))
    }

    /// 200 with a list.
    pub(super) fn list(list: ListEnvelope) -> Self {
        Self::json(list.0)
    }

    /// A status alone.
    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::Empty)
    }

    /// The body's bytes and what the header calls them.
    pub(super) fn body(&self) -> (Vec<u8>, Option<&'static str>) {
        let (text, kind) = match &self.content {
            Content::Empty => return (Vec::new(), None),
            Content::Json(value) => (value.to_string(), "application/json; charset=utf-8"),
            Content::Text(text) => (text.clone(), "text/plain; charset=utf-8"),
            Content::Html(text) => (text.clone(), "text/html; charset=utf-8"),
        };
        let mut bytes = if self.mark { vec![0xEF, 0xBB, 0xBF] } else { Vec::new() };
        bytes.extend(text.into_bytes());
        (bytes, Some(kind))
    }

    /// The response with these bytes as its body.
    pub(super) fn response(&self, body: Body, kind: Option<&'static str>, request_id: &str) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("X-GitHub-Request-Id", id.clone());
            headers.insert("ActivityId", id);
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let (status, message) = (refusal.status(), refusal.to_string());
        let content = match refusal.shape() {
            Shape::Empty => Content::Empty,
            Shape::Text => Content::Text(message),
            Shape::Rest => Content::Json(json!({
                "message": message,
                "documentation_url": "https://docs.github.com/rest",
                "status": status.to_string(),
            })),
            Shape::Exception(namespace, name) => Content::Json(json!({
                "$id": "1",
                "innerException": null,
                "message": message,
                "typeName": format!("{namespace}.{name}, {namespace}"),
                "typeKey": name,
                "errorCode": 0,
                "eventId": 3000,
            })),
        };
        Self::new(status, content)
    }
}
