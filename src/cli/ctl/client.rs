//! One request and its answer, over the unix socket or the network. Main type: [`Client`].

use super::ServerArgs;
use crate::auth::Secret;
use crate::cli::Failure;
use crate::cli::probe::trust::Trust;
use crate::cli::probe::url::Host;
use crate::config::{self, ADMIN_SOCKET};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer: a page of sessions has some 600 KB.
const LONGEST: usize = 64 << 20;

/// A way to a server.
pub(super) enum Client {
    Socket(PathBuf),
    Network {
        is_tls: bool,
        host: String,
        port: u16,
        token: Secret,
        trust: Trust,
    },
}

impl Client {
    /// The way to the server that is meant.
    pub fn find(args: &ServerArgs) -> Result<Client, Failure> {
        if let Some(url) = &args.url {
            return Self::network(url, args);
        }
        if let Some(path) = &args.socket {
            return Ok(Client::Socket(path.clone()));
        }
        let Some(file) = &args.config else {
            return Ok(Client::Socket(ADMIN_SOCKET.into()));
        };
        let socket = crate::cli::load(file)?.settings.admin.socket;
        socket.map(Client::Socket).ok_or_else(|| {
            Failure::usage("this configuration has no `socket` under [admin]; give --url")
        })
    }

    fn network(url: &str, args: &ServerArgs) -> Result<Client, Failure> {
        let expected = || {
            Failure::usage(format!(
                "`{url}` is not an address such as https://turn.example.org:9642"
            ))
        };
        let uri: Uri = url.parse().map_err(|_| expected())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(expected()),
        };
        let host = uri.host().ok_or_else(expected)?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let is_here = bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        if !is_tls && !is_here {
            return Err(Failure::usage(
                "a token is not sent without TLS, but on this machine; use https",
            ));
        }
        let file = args.token_file.as_deref().ok_or_else(expected)?;
        let token = config::read_secret_file(file).map_err(Failure::usage)?;
        let trust = match is_tls {
            false => Trust::Nobody,
            true => match Trust::load(args.ca.as_deref()).map_err(Failure::usage)? {
                Trust::Authorities(config) => {
                    let mut config = (*config).clone();
                    config.alpn_protocols = vec![b"http/1.1".to_vec()];
                    Trust::Authorities(Arc::new(config))
                }
                Trust::Nobody => Trust::Nobody,
            },
        };
        Ok(Client::Network {
            is_tls,
            host,
            port,
            token,
            trust,
        })
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.order("GET", path, None)
    }

    /// Asks for something to be done.
    pub fn order(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        let answer =
            runtime.block_on(async { timeout(PATIENCE, self.exchange(method, path, body)).await });
        let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let (status, text) =
            answer.map_err(|why| Failure::new(format!("{}: {why}", self.name())))?;
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        if status / 100 == 2 {
            return Ok(value);
        }
        let why = value.get("error").and_then(Value::as_str);
        Err(Failure::new(why.map_or_else(
            || format!("{}: it answers {status}", self.name()),
            str::to_owned,
        )))
    }

    fn name(&self) -> String {
        match self {
            Client::Socket(path) => format!("the server at {}", path.display()),
            Client::Network { host, port, .. } => format!("the server at {host}:{port}"),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Bytes), String> {
        match self {
            Client::Socket(socket) => {
                let stream = UnixStream::connect(socket).await;
                let stream = stream.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        format!("{error}; does it run, and has it a `socket` there under [admin]?")
                    }
                    io::ErrorKind::PermissionDenied => {
                        format!("{error}; only root, its own user and the socket's group may ask")
                    }
                    _ => error.to_string(),
                })?;
                send(stream, "localhost", None, method, path, body).await
            }
            Client::Network {
                is_tls,
                host,
                port,
                token,
                trust,
            } => {
                let bare = host.trim_matches(['[', ']']);
                let stream = TcpStream::connect((bare, *port)).await;
                let stream = stream.map_err(|error| error.to_string())?;
                if !is_tls {
                    return send(stream, host, Some(token), method, path, body).await;
                }
                let name = match bare.parse() {
                    Ok(ip) => Host::Ip(ip),
                    Err(_) => Host::Name(bare.to_owned()),
                };
                let stream = trust.connect(stream, &name).await;
                let stream = stream.map_err(|error| error.to_string())?;
                send(stream, host, Some(token), method, path, body).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    token: Option<&Secret>,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<(u16, Bytes), String> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header("X-Hairpin", "1");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

/// A text as it stands in a path or a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
