//! Sockets that the service manager opened before the server started (`LISTEN_FDS`, see sd_listen_fds(3)).
//!
//! They are there when the server is not: nobody is turned away while it starts again, and ports below 1024 need no
//! right. Which listener a socket is for is seen from its kind and its address alone. A TCP socket is shared by the
//! workers; a UDP socket has one worker, so that there has to be one for each. Main type: [`Handed`].

use crate::config::Listener;
use socket2::{Socket, Type};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Sockets that nobody has taken yet; none by default.
#[derive(Debug, Default)]
pub struct Handed(Vec<One>);

#[derive(Debug)]
struct One {
    socket: Socket,
    address: SocketAddr,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

impl Kind {
    const fn of(listener: &Listener) -> Kind {
        if listener.transport.is_stream() {
            Kind::Tcp
        } else {
            Kind::Udp
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "TCP",
            Kind::Udp => "UDP",
        }
    }

    /// The setting of a socket unit that opens one.
    const fn setting(self) -> &'static str {
        match self {
            Kind::Tcp => "ListenStream",
            Kind::Udp => "ListenDatagram",
        }
    }
}

/// Sockets were handed over that cannot be served: what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("the service manager {0}")]
pub struct HandedError(String);

impl Handed {
    /// The sockets this process was started with; none where there was no service manager, and for the second who asks.
    /// To be called before anything else is opened: descriptors are known by their numbers alone.
    ///
    /// # Errors
    /// Where something else than listening TCP sockets and UDP sockets was handed over.
    pub fn take() -> Result<Handed, HandedError> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        if IS_TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(Handed::default());
        }
        let numbers = sd_notify::listen_fds().map_err(|error| {
            HandedError(format!("hands over sockets that are not there: {error}"))
        })?;
        let all: Result<_, _> = numbers.map(One::adopt).collect();
        all.map(Handed)
    }

    /// Takes what is there for a listener: a socket for each worker, or `None` where it has to open its own.
    pub(super) fn claim(
        &mut self,
        listener: &Listener,
        workers: usize,
    ) -> Result<Option<Vec<Socket>>, HandedError> {
        let (address, kind) = (listener.address, Kind::of(listener));
        let is_its = |one: &mut One| (one.address, one.kind) == (address, kind);
        let sockets: Vec<Socket> = self
            .0
            .extract_if(.., is_its)
            .map(|one| one.socket)
            .collect();
        let count = sockets.len();
        if count == 0 {
            return Ok(None);
        }
        if kind == Kind::Udp && count != workers || count > workers {
            return Err(wrong_count(address, kind, count, workers));
        }
        let copies = (0..workers - count).map(|at| sockets[at % count].try_clone());
        let copies: io::Result<Vec<Socket>> = copies.collect();
        let copies = copies.map_err(|error| {
            let name = kind.name();
            HandedError(format!(
                "handed over a {name} socket for {address}, which cannot be shared by the workers: {error}"
            ))
        })?;
        Ok(Some(sockets.into_iter().chain(copies).collect()))
    }

    /// Takes what is there for a TCP address on which no workers listen; `None` where that is to be opened.
    ///
    /// # Errors
    /// Where it was handed over more than once.
    pub fn claim_stream(&mut self, address: SocketAddr) -> Result<Option<Socket>, HandedError> {
        let is_its = |one: &mut One| (one.address, one.kind) == (address, Kind::Tcp);
        let mut sockets = self.0.extract_if(.., is_its).map(|one| one.socket);
        let socket = sockets.next();
        match sockets.count() {
            0 => Ok(socket),
            more => Err(HandedError(format!(
                "handed over {} TCP sockets for {address}, and one is wanted: write `ListenStream={address}` once in the \
                 socket unit",
                more + 1
            ))),
        }
    }

    /// Whether all were taken.
    ///
    /// # Errors
    /// Names the first that no listener wants.
    pub(super) fn is_all(&self, listeners: &[Listener]) -> Result<(), HandedError> {
        let Some(One { address, kind, .. }) = self.0.first() else {
            return Ok(());
        };
        let (name, setting) = (kind.name(), kind.setting());
        let or_http = match kind {
            Kind::Tcp => {
                ", or that as `address` under [metrics], [admin], [admin.tester] or [credentials]"
            }
            Kind::Udp => "",
        };
        let mut reason = format!(
            "handed over a {name} socket for {address}, which no listener is for: write a [[listener]] with that \
             address{or_http}, or take `{setting}={address}` out of the socket unit; the listeners are"
        );
        for listener in listeners {
            let kind = Kind::of(listener).name();
            // Writing to a String cannot fail.
            let _ = write!(
                reason,
                " {} ({}, {kind})",
                listener.address, listener.transport
            );
        }
        Err(HandedError(reason))
    }
}

impl One {
    fn adopt(number: RawFd) -> Result<One, HandedError> {
        // SAFETY: the number is one of those that the process was given for its own, which `listen_fds` has found open,
        // and `take` asks for them once.
        #[allow(unsafe_code)]
        let socket = unsafe { Socket::from_raw_fd(number) };
        let unusable =
            |reason: &str| HandedError(format!("handed over descriptor {number}, {reason}"));
        let neither = || unusable("which is neither a listening TCP socket nor a UDP socket");
        let address = socket.local_addr().ok().and_then(|at| at.as_socket());
        let address = address.ok_or_else(neither)?;
        let is_listening = socket.is_listener().unwrap_or(false);
        let kind = match socket.r#type() {
            Ok(Type::STREAM) if is_listening => Kind::Tcp,
            Ok(Type::DGRAM) => Kind::Udp,
            _ => return Err(neither()),
        };
        let takes_both = address.is_ipv6() && !socket.only_v6().unwrap_or(false);
        if takes_both && address.ip().is_unspecified() {
            return Err(unusable(&format!(
                "a {} socket for {address} that takes IPv4 as well: write `BindIPv6Only=ipv6-only` in the socket unit",
                kind.name()
            )));
        }
        let is_set = socket.set_nonblocking(true);
        is_set.map_err(|error| unusable(&format!("which cannot be used: {error}")))?;
        Ok(One {
            socket,
            address,
            kind,
        })
    }
}

fn wrong_count(address: SocketAddr, kind: Kind, count: usize, workers: usize) -> HandedError {
    let (name, setting) = (kind.name(), kind.setting());
    let sockets = if count == 1 { "socket" } else { "sockets" };
    let are = if workers == 1 {
        "there is one worker"
    } else {
        &format!("there are {workers} workers")
    };
    let mend = match kind {
        Kind::Tcp => {
            format!("write `{setting}={address}` once in the socket unit, since workers share it")
        }
        Kind::Udp => {
            let unit = match workers {
                1 => format!("`{setting}={address}` once"),
                _ => format!("`ReusePort=yes`, and `{setting}={address}` {workers} times"),
            };
            format!(
                "each needs its own: write `workers = {count}` under [server], or {unit} in the socket unit"
            )
        }
    };
    HandedError(format!(
        "handed over {count} {name} {sockets} for {address}, and {are}: {mend}"
    ))
}
