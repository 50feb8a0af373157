//! Records for somebody who listens to HTTP: batches, signed, sent again until they are taken.
//!
//! A batch is a POST of `{"records": […]}`. With a secret its header `X-Hairpin-Signature` is `t=TIME,v1=MAC`, where TIME
//! is Unix time and MAC the HMAC-SHA256, in hex, of TIME, a dot and the body: whoever listens knows whom it is from, and
//! that it is not an old one. An answer of 2xx takes a batch; after 408, 429, 5xx and none at all it is sent again, later
//! and later; any other answer loses it. Main type: [`Webhook`].

use super::Losses;
use super::destination::{AT_ONCE, LONGEST_REST, Queue, SHORTEST_REST};
use crate::auth::Secret;
use crate::config;
use crate::net::outgoing::Outgoing;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use sha2::Sha256;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How long records are gathered for a batch.
const GATHERING: Duration = Duration::from_secs(1);

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// Who listens, and how he is reached.
pub(super) struct Webhook {
    uri: Uri,
    secret: Option<Secret>,
    http: Outgoing,
}

/// Why a batch was not taken.
enum Failure {
    /// It may be taken later.
    Later(String),
    /// It never will be.
    Never(StatusCode),
}

impl Webhook {
    /// Reads what is needed of the system's files.
    pub fn new(settings: &config::Webhook) -> Result<Self, String> {
        let uri: Uri = settings
            .url
            .parse()
            .map_err(|error| format!("the accounting webhook is no URL: {error}"))?;
        let http = Outgoing::new(&uri, None);
        Ok(Webhook {
            http: http.map_err(|why| format!("the accounting webhook cannot be reached: {why}"))?,
            uri,
            secret: settings.secret.clone(),
        })
    }

    pub async fn run(self, queue: &Queue, losses: &Losses) {
        let mut rest = SHORTEST_REST;
        loop {
            let records = queue.take().await;
            let body = body(&records);
            let answered = timeout(PATIENCE, self.post(body)).await;
            match answered.unwrap_or_else(|_| Err(Failure::Later("no answer in time".to_owned()))) {
                Ok(()) => {
                    rest = SHORTEST_REST;
                    if records.len() < AT_ONCE {
                        queue.gather(GATHERING).await;
                    }
                }
                Err(Failure::Never(status)) => {
                    warn!(%status, records = records.len(), "the accounting webhook does not want these records");
                    losses
                        .refused
                        .fetch_add(records.len() as u64, Ordering::Relaxed);
                }
                Err(Failure::Later(error)) => {
                    warn!(%error, again_in = ?rest, "the accounting webhook is not reached");
                    queue.put_back(records);
                    sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Failure> {
        let mut request =
            Request::post(self.uri.clone()).header("content-type", "application/json");
        if let Some(secret) = &self.secret {
            request = request.header("x-hairpin-signature", signature(secret, now(), &body));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::Later(error.to_string()))?;
        // The answer is read, so that the other side is not cut off in the middle of it.
        let answer = self.http.send(request, LONGEST_ANSWER).await;
        let status = answer
            .map_err(|error| Failure::Later(error.to_string()))?
            .status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Later(status.to_string()))
            }
            status if status.is_server_error() => Err(Failure::Later(status.to_string())),
            status => Err(Failure::Never(status)),
        }
    }
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.unwrap_or_default().as_secs()
}

fn body(records: &[Arc<str>]) -> Bytes {
    let mut text = String::from("{\"records\":[");
    for (place, record) in records.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(record);
    }
    text.push_str("]}");
    text.into()
}

/// The value of the signature's header.
fn signature(secret: &Secret, time: u64, body: &[u8]) -> String {
    let mut text = format!("t={time},v1=");
    // A key may have any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) {
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}
