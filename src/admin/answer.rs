//! Answers in JSON, and what a request is told that cannot be served.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    /// After how many seconds it may be asked again.
    retry_after: Option<u64>,
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Refusal>;

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Refusal {
            status,
            error: error.into(),
            retry_after: None,
        }
    }

    /// Too much was asked for lately.
    pub fn too_soon(wait: Duration, error: impl Into<String>) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Refusal {
            retry_after: u64::try_from(seconds).ok(),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
        }
    }

    /// The request is wrong.
    pub fn bad(error: impl ToString) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error.to_string())
    }

    /// There is no such thing.
    pub fn missing(error: impl Into<String>) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = json(self.status, &serde_json::json!({ "error": self.error }));
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from(seconds);
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        answer
    }
}

/// An answer with a status.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            let head = [
                (header::CONTENT_TYPE, "application/json"),
                // What is answered is of this moment, and may be a credential.
                (header::CACHE_CONTROL, "no-store"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (status, head, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 with a value.
pub(super) fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

/// What a body says; an empty one is as good as `{}`.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| Refusal::bad(format!("the body: {error}")))
}
