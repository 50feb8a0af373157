//! Connections: accepted, bounded in number ([`crate::net::places`]), time and size, and handed to the router.
//!
//! Whoever comes in by a unix socket and may not is turned away here, since the system says who it is. What a request has
//! to show is [`super::guard`]'s concern. Main items: [`Door`], [`serve_tcp`], [`serve_unix`].

use super::answer::Refusal;
use super::office::Office;
use crate::net::peer_groups;
use crate::net::places::{Place, Places, Source};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// How many connections one door has at a time, and how many of them one network or one user has.
const CONNECTIONS: usize = 128;
const CONNECTIONS_OF_SOURCE: usize = 64;

/// How long a TLS handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the head of the first request may take, from when the connection was made, or the handshake done.
const FIRST: Duration = Duration::from_secs(10);

/// How long the head of each other request may take, from when the answer before it was handed to the system, or lies ready for
/// a slow reader.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection lives; what is under way then has the time of a request more. Somebody who does not read what it
/// asked for would have the place for ever.
const LIFE: Duration = Duration::from_secs(120);

/// How long a request may take, body and all. Workers that are stuck are waited for no longer than half of this.
const REQUEST: Duration = Duration::from_secs(15);

/// How many bytes and lines the head of a request has at most.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_LINES: usize = 64;

/// How long accepting rests after a failure, as when there are no descriptors.
const REST: Duration = Duration::from_millis(100);

/// How a request came in.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// By the unix socket, from a process of this user, who may do everything.
    Socket {
        /// Its number.
        user: u32,
    },
    /// Over TCP, from anybody.
    Network {
        /// Where from.
        from: IpAddr,
    },
}

/// Serves a TCP listener, with TLS by the certificates in force if it has that.
pub(super) async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    office: Arc<Office>,
    has_tls: bool,
) -> io::Result<()> {
    let places = places(&office);
    loop {
        let Some((stream, address)) = accepted(listener.accept()).await else {
            continue;
        };
        let control = office.service.control();
        let network = control.settings().prefixes.of(address.ip());
        let Some(place) = places.take(Source::Network(network)) else {
            continue;
        };
        let door = Door::Network { from: address.ip() };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let tls = if has_tls {
            control.settings().tls.clone()
        } else {
            None
        };
        tokio::spawn(async move {
            let served = async {
                match tls {
                    // No certificate, no plain text in its place.
                    None if has_tls => {}
                    None => serve_connection(stream, router, door, &place).await,
                    Some(tls) => {
                        let acceptor = TlsAcceptor::from(tls.for_http());
                        if let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await {
                            serve_connection(stream, router, door, &place).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = place.lost() => {}
            }
        });
    }
}

/// Serves a unix socket whose file is of a group.
pub(super) async fn serve_unix(
    listener: UnixListener,
    router: Router,
    office: Arc<Office>,
    group: u32,
) -> io::Result<()> {
    let places = places(&office);
    loop {
        let Some((stream, _)) = accepted(listener.accept()).await else {
            continue;
        };
        let Some(user) = admitted(&stream, group) else {
            continue;
        };
        let Some(place) = places.take(Source::User(user)) else {
            continue;
        };
        place.standing().is_known();
        let router = router.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = serve_connection(stream, router, Door::Socket { user }, &place) => {}
                () = place.lost() => {}
            }
        });
    }
}

fn places(office: &Office) -> Arc<Places> {
    Places::new(
        CONNECTIONS,
        CONNECTIONS_OF_SOURCE,
        office.closed_connections.clone(),
    )
}

/// The next connection; `None` where it could not be accepted.
async fn accepted<S, A>(accept: impl Future<Output = io::Result<(S, A)>>) -> Option<(S, A)> {
    match accept.await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "a connection of an operator could not be accepted");
            tokio::time::sleep(REST).await;
            None
        }
    }
}

/// The user at the other end, if it may come in: root, this process's own, or one of the socket's group.
fn admitted(stream: &UnixStream, group: u32) -> Option<u32> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => {
            warn!(%error, "it is not to be had who is at the other end of the unix socket");
            return None;
        }
    };
    let user = peer.uid();
    let is_admitted = user == 0
        || user == nix::unistd::geteuid().as_raw()
        || peer.gid() == group
        || peer_groups::of(stream).is_ok_and(|groups| groups.contains(&group));
    if !is_admitted {
        warn!(
            user,
            "a user who is not in the group of the unix socket was turned away"
        );
    }
    is_admitted.then_some(user)
}

async fn serve_connection<S>(stream: S, router: Router, door: Door, place: &Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let standing = place.standing();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let standing = standing.clone();
        standing.is_served(true);
        request.extensions_mut().insert(door.clone());
        request.extensions_mut().insert(standing.clone());
        let answer = router.call(request.map(Body::new));
        async move {
            let answer = timeout(REQUEST, answer).await;
            standing.is_served(false);
            Ok::<Response, Infallible>(answer.map_or_else(|_| too_late(), |Ok(answer)| answer))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let is_silent = async {
        tokio::time::sleep(FIRST).await;
        if standing.has_asked() {
            std::future::pending().await
        }
    };
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = is_silent => return,
        () = tokio::time::sleep(LIFE) => {
            served.as_mut().graceful_shutdown();
            match timeout(REQUEST, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection of an operator failed");
    }
}

fn too_late() -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refusal::new(status, "this took too long and was given up").into_response()
}
