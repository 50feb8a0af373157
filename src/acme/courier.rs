//! Takes the protocol's messages to the authority, by hairpin's own HTTP, and hears how long it wants to be left alone.

use super::schedule::LONGEST_TOLD;
use crate::net::outgoing::Outgoing;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may be: a chain of certificates is the longest.
const LONGEST_ANSWER: usize = 256 << 10;

/// The authority is not reached, or something else answers in its place: what happened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreached(String);

/// One order's way to the authority.
#[derive(Clone)]
pub(super) struct Courier {
    http: Arc<Outgoing>,
    /// Seconds for which the authority wants to be left alone.
    wait: Arc<AtomicU64>,
}

impl Courier {
    pub fn new(http: Arc<Outgoing>) -> Self {
        Courier {
            http,
            wait: Arc::default(),
        }
    }

    /// How long the authority wants to be left alone, if it said so when it refused something.
    pub fn wait(&self) -> Option<Duration> {
        match self.wait.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    async fn take(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Unreached> {
        let (head, body) = request.into_parts();
        let url = head.uri.to_string();
        let lost = |why: &dyn std::fmt::Display| Unreached(format!("{url}: {why}"));
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(head, Full::new(body.to_bytes()));
        let answer = timeout(PATIENCE, self.http.send(request, LONGEST_ANSWER)).await;
        let answer = answer.map_err(|_| lost(&"no answer in time"))?;
        let (mut head, body) = answer.map_err(|error| lost(&error))?.into_parts();
        let body = body.map_err(|error| lost(&error))?;
        bound_wait(&mut head.headers);
        if matches!(
            head.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let seconds = retry_after(&head.headers).map_or(0, |wait| wait.as_secs());
            self.wait.fetch_max(seconds, Ordering::Relaxed);
        }
        if !head.status.is_success() && !is_problem(&head.headers) {
            return Err(lost(&head.status));
        }
        Ok(Response::from_parts(head, Full::new(body)).into())
    }
}

impl HttpClient for Courier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let courier = self.clone();
        Box::pin(async move {
            let answer = courier.take(request).await;
            answer.map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

/// Whether the authority says what is wrong, in a form that is understood (RFC 7807); some call it by a shorter name.
fn is_problem(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|of| of.to_str().ok());
    kind.is_some_and(|kind| kind.contains("json"))
}

/// Writes the longest wait that is kept in the place of a longer one: whoever adds the seconds of some to a clock has more
/// than it can show.
fn bound_wait(headers: &mut HeaderMap) {
    if retry_after(headers).is_some_and(|wait| wait > LONGEST_TOLD) {
        headers.insert(RETRY_AFTER, HeaderValue::from(LONGEST_TOLD.as_secs()));
    }
}

/// In seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(SystemTime::now()).ok()
}
