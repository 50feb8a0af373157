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
use crate::net::authorities;
use hickory_resolver::TokioResolver;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::Sha256;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
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
    host: String,
    port: u16,
    secret: Option<Secret>,
    tls: Option<Arc<ClientConfig>>,
    resolver: Option<TokioResolver>,
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
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let tls = is_https.then(|| authorities::client(None)).transpose()?;
        let is_name = host.parse::<std::net::IpAddr>().is_err();
        let resolver = is_name
            .then(|| TokioResolver::builder_tokio().and_then(|builder| builder.build()))
            .transpose()
            .map_err(|error| format!("the accounting webhook cannot be looked up: {error}"))?;
        Ok(Webhook {
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            host,
            uri,
            secret: settings.secret.clone(),
            tls: tls.map(Arc::new),
            resolver,
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
        let later = |error: io::Error| Failure::Later(error.to_string());
        let stream = self.connect().await.map_err(later)?;
        match &self.tls {
            None => self.send(stream, body).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|error| Failure::Later(error.to_string()))?;
                let connector = TlsConnector::from(tls.clone());
                let stream = connector.connect(name, stream).await.map_err(later)?;
                self.send(stream, body).await
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let Some(resolver) = &self.resolver else {
            return TcpStream::connect((self.host.as_str(), self.port)).await;
        };
        let found = resolver.lookup_ip(self.host.as_str()).await;
        let found = found.map_err(|error| io::Error::other(error.to_string()))?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in found.iter() {
            match TcpStream::connect((address, self.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        body: Bytes,
    ) -> Result<(), Failure> {
        let later = |error: hyper::Error| Failure::Later(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(later)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header("host", authority)
            .header("content-type", "application/json")
            .header("user-agent", concat!("hairpin/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = &self.secret {
            request = request.header("x-hairpin-signature", signature(secret, now(), &body));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::Later(error.to_string()))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(later)?;
            let status = answer.status();
            // Read, so that the other side is not cut off in the middle of it.
            let _ = Limited::new(answer.into_body(), LONGEST_ANSWER)
                .collect()
                .await;
            Ok(status)
        };
        let status = beside(connection, answer).await?;
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

/// Waits for the answer while the connection is driven.
async fn beside<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::pin!(connection, answer);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(Failure::Later(error.to_string())),
        },
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
