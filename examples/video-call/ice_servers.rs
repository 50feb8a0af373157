//! Where the `iceServers` come from that pages put into `RTCPeerConnection`.
//!
//! A TURN server relays for those with a credential only, and a credential in a page is a credential in everybody's
//! hands. So the application has hairpin make one for each member, good for some hours, over HTTP. Only the application has
//! the key for that; pages have what came of it.
//!
//! Main types: [`Api`], [`IceServer`].

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a credential is good, in seconds. A call that has begun goes on beyond it, up to a refresh of its relay; the
/// page asks for a new one when it starts ICE anew.
pub const LIFETIME: u64 = 6 * 3600;

/// How long hairpin may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// One entry of `iceServers`.
#[derive(Clone, Deserialize, Serialize)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// For TURN: the name, which says until when it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// And the password that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceServer({:?}, ***)", self.urls)
    }
}

/// hairpin's API for credentials, and the key that makes this program known there.
pub struct Api {
    at: At,
    key: String,
    token: String,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Tcp(host) => write!(f, "http://{host}"),
            At::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({:?}, ***)", self.at)
    }
}

#[derive(Debug)]
enum At {
    Tcp(String),
    Unix(PathBuf),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    ttl: u64,
    custom_identifier: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ice_servers: Vec<IceServer>,
}

impl Api {
    /// `url` is `http://HOST:PORT` or `unix:PATH`, one of hairpin's `address` under `[credentials]` and `socket` or `address`
    /// under `[admin]`: for this machine or a network of one's own, and a proxy with TLS can stand before it. `key` is the key's name, `token` its secret.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(url: &str, key: &str, token: &str) -> Result<Self, String> {
        let at = if let Some(path) = url.strip_prefix("unix:") {
            At::Unix(PathBuf::from(path))
        } else if let Some(host) = url.strip_prefix("http://") {
            At::Tcp(host.trim_end_matches('/').to_owned())
        } else {
            return Err(format!("{url:?} is neither http://HOST:PORT nor unix:PATH"));
        };
        let is_name = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if key.is_empty() || !key.bytes().all(is_name) {
            return Err(format!("{key:?} is not the name of a key"));
        }
        Ok(Self {
            at,
            key: key.to_owned(),
            token: token.to_owned(),
        })
    }

    /// The servers for one member. `member` is what hairpin's quotas and log know them by: a number, not a name.
    ///
    /// # Errors
    /// A sentence for the log, where hairpin does not give any.
    pub async fn ice_servers(&self, member: &str) -> Result<Vec<IceServer>, String> {
        tokio::time::timeout(PATIENCE, self.ask(member))
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn ask(&self, member: &str) -> Result<Vec<IceServer>, String> {
        let unreachable = |error| format!("hairpin cannot be reached at {self}: {error}");
        match &self.at {
            At::Tcp(host) => {
                let stream = TcpStream::connect(host).await.map_err(unreachable)?;
                self.ask_over(stream, host, member).await
            }
            At::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                self.ask_over(stream, "localhost", member).await
            }
        }
    }

    /// One request on a connection of its own: members join seldom.
    async fn ask_over<S>(
        &self,
        stream: S,
        host: &str,
        member: &str,
    ) -> Result<Vec<IceServer>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let body = serde_json::to_vec(&Request {
            ttl: LIFETIME,
            custom_identifier: member,
        })
        .map_err(say)?;
        let path = format!(
            "/v1/turn/keys/{}/credentials/generate-ice-servers",
            self.key
        );
        let request = hyper::Request::post(path)
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(say)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(say)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(say)?;
            let status = answer.status();
            if !status.is_success() {
                return Err(format!("hairpin answers {status}"));
            }
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let answer: Answer = serde_json::from_slice(&body.map_err(say)?.to_bytes())
                .map_err(|error| format!("hairpin's answer is not understood: {error}"))?;
            Ok(answer.ice_servers)
        };
        tokio::pin!(exchange, connection);
        // The connection does the reading and writing; it may be over before the answer is understood.
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = &mut connection => {
                ended.map_err(say)?;
                exchange.await
            }
        }
    }
}

fn say(error: impl fmt::Display) -> String {
    error.to_string()
}
