//! The small HTTP server that authorities look at (RFC 8555, section 8.3): it knows the tokens of the order under way,
//! and nothing else.

use super::proofs::Proofs;
use crate::net::handed::Handed;
use crate::net::places::{Places, Source};
use crate::net::socket;
use crate::policy::Prefixes;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How many connections there are at one time, and how many of them one network has; who has been there longest makes room
/// for the next. All are one network's where a web server passes them on.
const CONNECTIONS: usize = 64;
const CONNECTIONS_OF_SOURCE: usize = 32;

/// How long one may take, from its first byte to its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting rests after a failure, as when there are no descriptors.
const REST: Duration = Duration::from_millis(100);

/// How many bytes and lines the head of a request has at most.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_LINES: usize = 64;

const FOLDER: &str = "/.well-known/acme-challenge/";

/// Opens a listener, or takes the one that was `handed` over.
pub(super) fn listen(address: SocketAddr, handed: &mut Handed) -> Result<TcpListener, String> {
    let claimed = handed.claim_stream(address);
    if let Some(socket) = claimed.map_err(|error| error.to_string())? {
        return TcpListener::from_std(socket.into()).map_err(|error| error.to_string());
    }
    socket::tcp_door(address).map_err(|error| {
        let mend = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; where a web server has it, let that pass /.well-known/acme-challenge/ on to another address, and set \
                 `http_addresses` under [tls.acme] to that"
            }
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 take root or CAP_NET_BIND_SERVICE"
            }
            _ => "",
        };
        format!("cannot answer authorities on {address}: {error}{mend}")
    })
}

/// Serves for as long as it is polled.
pub(super) async fn serve(listeners: &[Arc<TcpListener>], proofs: &Arc<Proofs>) {
    let places = Places::new(CONNECTIONS, CONNECTIONS_OF_SOURCE, Arc::default());
    let mut all = JoinSet::new();
    for listener in listeners {
        all.spawn(accept(listener.clone(), places.clone(), proofs.clone()));
    }
    while all.join_next().await.is_some() {}
    std::future::pending().await
}

async fn accept(listener: Arc<TcpListener>, places: Arc<Places>, proofs: Arc<Proofs>) {
    let mut is_failing = false;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once is enough: it may fail for as long as descriptors are short.
                if !is_failing {
                    warn!(%error, "authorities that look over HTTP are not let in");
                }
                is_failing = true;
                sleep(REST).await;
                continue;
            }
        };
        is_failing = false;
        let network = Prefixes::default().of(from.ip());
        let Some(place) = places.take(Source::Network(network)) else {
            continue;
        };
        let proofs = proofs.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Whoever takes longer is no authority.
                _ = timeout(PATIENCE, connection(stream, &proofs)) => {}
                () = place.lost() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, proofs: &Proofs) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, proofs)) });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, proofs: &Proofs) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix(FOLDER);
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let text = token
        .filter(|_| is_reading)
        .and_then(|token| proofs.text(token));
    match text {
        Some(text) => {
            let mut answer = Response::new(Full::new(Bytes::from(text)));
            let kind = hyper::header::HeaderValue::from_static("application/octet-stream");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        None => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        }
    }
}
