//! The HTTP side: the page, its parts, and the door to the sockets.
//!
//! Everything is in the program, so that there is no file to find and no path to climb out of. The headers let the page
//! load and run what comes from here and nothing else. Main items: [`serve`], [`Door`], [`Bounds`].

use crate::messages::MAX_MESSAGE;
use crate::signalling::{self, Clerk};
use axum::Router;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Sockets at one time; more are refused. Some beyond what all seats of all rooms need.
const SOCKETS: usize = 1500;

/// For a request to be there as a whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections fetch files, and for how long. Sockets count no more: they are the business of [`crate::signalling`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At one time; more wait until one ends.
    pub connections: usize,
    /// Of one network at one time; more are closed. A proxy in front is one network.
    pub of_network: usize,
    /// For each, from its beginning: whoever asks and does not read the answers would stay for ever.
    pub life: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 500,
            of_network: 250,
            life: Duration::from_secs(60),
        }
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// What is served, by path.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/style.css", CSS, include_str!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/call.js", JS, include_str!("page/call.js")),
    ("/signalling.js", JS, include_str!("page/signalling.js")),
    ("/media.js", JS, include_str!("page/media.js")),
    ("/peer.js", JS, include_str!("page/peer.js")),
    ("/path.js", JS, include_str!("page/path.js")),
];

/// With each answer. `'self'` in `connect-src` is the socket; there is no exception for anything else, and since the page
/// takes no HTML out of messages, it can do without the functions that would (`require-trusted-types-for`).
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), geolocation=(), usb=(), serial=(), hid=()",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Who may come in, and to whom they are led.
#[derive(Debug)]
pub struct Door {
    /// Origins whose pages may open a socket, as browsers write them: `https://call.example.org`. A WebSocket is not held
    /// back by the same-origin policy; without this, every page in the world could speak here through its visitors.
    origins: Vec<String>,
    /// Behind the door.
    clerk: Clerk,
    bounds: Bounds,
    sockets: Arc<Semaphore>,
}

impl Door {
    /// For pages of these origins.
    pub fn new(origins: Vec<String>, clerk: Clerk, bounds: Bounds) -> Self {
        Self {
            origins,
            clerk,
            bounds,
            sockets: Arc::new(Semaphore::new(SOCKETS)),
        }
    }
}

/// Serves the page and its sockets until it is dropped.
pub async fn serve(listener: TcpListener, door: Door) {
    let door = Arc::new(door);
    let sweeping = async {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            door.clerk.rooms().sweep(Instant::now());
        }
    };
    tokio::select! {
        () = accept(listener, router(door.clone()), door.bounds) => {}
        () = sweeping => {}
    }
}

/// As `axum::serve`, but with bounds on connections, and a time for requests.
async fn accept(listener: TcpListener, router: Router, bounds: Bounds) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let networks = Arc::new(Networks::default());
    loop {
        let place = places.clone().acquire_owned().await;
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Some(share) = networks.take(from.ip(), bounds.of_network) else {
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // An upgraded connection goes on in a task of its own, and counts as a socket from then on.
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = tokio::time::timeout(bounds.life, connection).await;
            drop((place, share));
        });
    }
}

/// How many connections each network has.
#[derive(Debug, Default)]
struct Networks(Mutex<HashMap<IpAddr, usize>>);

/// One of a network's connections, until it is dropped.
struct Share {
    networks: Arc<Networks>,
    network: IpAddr,
}

impl Networks {
    /// `None` where the network of this address has `most` already.
    fn take(self: &Arc<Self>, from: IpAddr, most: usize) -> Option<Share> {
        let network = network(from);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        let networks = self.clone();
        Some(Share { networks, network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let counts = self.networks.0.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.network)),
        }
    }
}

/// What one subscriber has: an IPv4 address, or a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> 64)).into(),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

fn router(door: Arc<Door>) -> Router {
    let mut router = Router::new().route("/signal", get(signal));
    for (path, kind, text) in FILES {
        router = router.route(
            path,
            get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }),
        );
    }
    router
        .layer(axum::middleware::map_response(guarded))
        .with_state(door)
}

async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn signal(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = headers.get(header::ORIGIN).and_then(|it| it.to_str().ok());
    if !origin.is_some_and(|origin| door.origins.iter().any(|known| known == origin)) {
        let reason = "This page may not call here: see --origin.\n";
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let Ok(socket_place) = door.sockets.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "All sockets are taken.\n").into_response();
    };
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(async move |socket| {
            signalling::serve(socket, &door.clerk).await;
            drop(socket_place);
        })
}
