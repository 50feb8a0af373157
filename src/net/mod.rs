//! Sockets: workers, batched UDP, streams and relay sockets.
//!
//! A [`Server`] binds everything first and only then starts its workers, so that it runs whole or not at all. A worker
//! is one thread with a runtime and an engine of its own; workers share nothing but what [`crate::engine::Shared`]
//! names and the rings between them.
//!
//! # The path of a packet and what it costs
//!
//! From a client to a peer: the worker rests (`pace`), the runtime's epoll says that the listener is readable, `receiver`
//! takes up to 128 messages with one recvmmsg, the engine says of each datagram where it goes, `outbox` chains those of
//! one flow, and a sendmmsg a relay sends them, several of one flow as one segmented send; a lone one leaves by sendto.
//! Back it is the same with the relays' own epoll set (`relay_set`) in front. No step takes memory of the heap (`tests/heap.rs`).
//!
//! Measured with 160-byte payloads on one core of an AMD EPYC, kernel 6.18, over loopback, as CPU time of the server
//! for a packet, by `benches/compare.sh`. Nearly all of it is the kernel's; `benches/instructions` counts what the
//! engine adds.
//!
//! | load | us a packet | what pays for it |
//! |---|---|---|
//! | as many as 16 clients can send | 2.2 | long batches, so that a flow's packets leave as one |
//! | bursts of 8 x 1200 bytes | 1.4 | GRO in, GSO out: one way through the kernel for eight packets |
//! | 100,000 a second, to clients | 3.3 | no second look at a relay that was read (EPOLLET) |
//! | 50,000 a second, one at a time | 4.3 | resting; 10 us without |
//! | 200 and 2,000 clients, 40,000 a second | 7.7, 7.9 | resting; each packet still is a send of its own |
//! | relay to relay, 60,000 a second | 3.1 | the hairpin: no relay socket is touched |
//! | 1200 bytes over TCP and TLS, 30,000 a second | 6.0, 7.0 | a longer rest, so that frames share a read and a send |
//!
//! What was tried beside, and did not pay, is in `docs/performance.md`: io_uring, connected relay sockets, longer rests.
//!
//! This is the only room with `unsafe`: system calls the standard library does not have, each block with its reason.

pub mod addresses;
pub mod authorities;
mod backlog;
mod carrier;
pub mod clock;
mod connection_gate;
pub mod control;
pub mod descriptors;
pub mod dtls;
mod entrance;
mod epoll;
pub mod handed;
mod icmp;
pub mod ledger;
mod life;
mod mailbox;
mod nudge;
mod outbox;
pub mod outgoing;
mod pace;
pub mod peer_groups;
pub(crate) mod places;
mod proxy;
mod receiver;
pub mod refusals;
mod relay_set;
mod report;
mod send_queue;
mod sockaddr;
pub mod socket;
mod stream;
mod tasks;
mod tcp_relay;
pub mod tls;
pub mod volley;
mod worker;

use crate::config::{Listener, Transport};
use crate::engine::{Counters, Shared, WorkerId};
use crate::policy::Prefixes;
use arc_swap::ArcSwap;
use clock::Clock;
use connection_gate::ConnectionGate;
use control::{Control, Desk, Standing};
use dtls::Dtls;
use entrance::Entrance;
use handed::{Handed, HandedError};
use ledger::Ledger;
use life::Life;
use socket::Buffers;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tcp_relay::PeerSockets;
use tls::Tls;
use tokio::sync::{Notify, watch};

/// How stream connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long a new connection may take to prove a credential, and any to finish a frame it began.
    pub auth_timeout: Duration,
    /// How long a connection that had an allocation may be silent.
    pub idle_timeout: Duration,
    /// How many connections the process has at most.
    pub max_connections: usize,
    /// How many of one network.
    pub max_connections_per_prefix: usize,
    /// How many that have not proved a credential.
    pub max_unproved: usize,
    /// How many of one network that have not.
    pub max_unproved_per_prefix: usize,
    /// How many messages one may send until it has.
    pub max_unproved_requests: usize,
    /// How many bytes of media wait for a slow client; the oldest go first.
    pub send_buffer: usize,
    /// How old media may become while it waits for a slow client; what is older goes.
    pub max_queue_age: Duration,
    /// How long a busy worker rests before it reads, where nearly all media is that of clients on streams; at least
    /// [`NetSettings::rest`] is taken.
    pub rest: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            auth_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            max_connections: 10_000,
            max_connections_per_prefix: 2_000,
            max_unproved: 5_000,
            max_unproved_per_prefix: 500,
            max_unproved_requests: 256,
            send_buffer: 512 << 10,
            max_queue_age: Duration::from_millis(500),
            rest: Duration::from_millis(1),
        }
    }
}

/// What the sockets are like.
#[derive(Clone, Debug)]
pub struct NetSettings {
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// What is shown to TLS clients; listeners for them need it.
    pub tls: Option<Arc<Tls>>,
    /// How DTLS is spoken; listeners for it need it.
    pub dtls: Option<Arc<Dtls>>,
    /// How many workers; at least one.
    pub workers: usize,
    /// The buffers of UDP listeners.
    pub listener_buffers: Buffers,
    /// The buffers of relays.
    pub relay_buffers: Buffers,
    /// How long a busy worker waits for more packets before it reads those that are there; zero for not at all.
    pub rest: Duration,
    /// Stream connections.
    pub stream: StreamSettings,
    /// Which clients are counted together.
    pub prefixes: Prefixes,
    /// Where allocations are noted, if anywhere.
    pub ledger: Option<Ledger>,
}

impl NetSettings {
    /// One worker on these listeners, without TLS, with buffers of 4 MiB for listeners and 1 MiB for relays.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        let buffers = |size| Buffers {
            receive: size,
            send: size,
        };
        NetSettings {
            listeners,
            tls: None,
            dtls: None,
            workers: 1,
            listener_buffers: buffers(4 << 20),
            relay_buffers: buffers(1 << 20),
            rest: Duration::from_micros(300),
            stream: StreamSettings::default(),
            prefixes: Prefixes::default(),
            ledger: None,
        }
    }
}

/// Why a server did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address could not be had.
    #[error("cannot listen on {address} ({}): {}", .transport, Explained(.error))]
    Listen {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A listener for TLS or DTLS without a certificate to show.
    #[error("cannot listen on {address} ({transport}): there is no certificate for that")]
    NoCertificate {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
    },
    /// A relay address is not one of this host.
    #[error("cannot relay from {address}: {}", Explained(.error))]
    Relay {
        /// The address.
        address: IpAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system has no thread or no descriptor to start with.
    #[error("cannot start a worker: {}", Explained(.0))]
    Worker(io::Error),
    /// What the service manager handed over is not what the listeners need.
    #[error(transparent)]
    Handed(#[from] HandedError),
    /// No random numbers.
    #[error("the system has no random numbers to give")]
    Random,
}

/// An error of the system with what it mostly means here.
struct Explained<'a>(&'a io::Error);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("the address is in use; is another server running on it?")
            }
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("no interface of this host has that address")
            }
            io::ErrorKind::PermissionDenied => {
                f.write_str("permission denied; ports below 1024 need root, CAP_NET_BIND_SERVICE or a socket unit")
            }
            _ if matches!(self.0.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => f.write_str(
                "there are too few file descriptors; `ulimit -n` or LimitNOFILE= allows more",
            ),
            _ => self.0.fmt(f),
        }
    }
}

/// A server whose sockets are open and that serves nobody yet: the moment to give up the rights that opening them took.
pub struct Bound {
    settings: Arc<NetSettings>,
    listeners: Vec<Listener>,
    prepared: Vec<Prepared>,
    receive_buffer: Option<usize>,
    watched: Vec<Watched>,
    gate: Arc<ConnectionGate>,
}

/// The sockets of one worker, and its mailbox.
struct Prepared {
    udp: Vec<worker::Listener>,
    tcp: Vec<(TcpListener, Entrance)>,
    mailbox: (mailbox::Post, mailbox::Inbox),
}

/// The TCP listeners of one worker, and how many UDP listeners it has.
struct WorkerSockets {
    udp_count: usize,
    tcp: Vec<(TcpListener, Rc<Entrance>)>,
}

/// A running server.
pub struct Server {
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: watch::Sender<bool>,
    faults: Vec<Arc<Notify>>,
    counters: Vec<Arc<Counters>>,
    listeners: Vec<Listener>,
    control: Control,
    watched: Vec<Watched>,
}

/// The sockets of a UDP listener, one for each worker, to see what the kernel dropped.
#[derive(Debug)]
pub struct Watched {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it serves.
    pub transport: Transport,
    sockets: Vec<UdpSocket>,
}

impl Watched {
    /// How many datagrams the kernel dropped since the start, since the buffers were full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sockets.iter().map(socket::kernel_drops).sum()
    }
}

impl Server {
    /// Binds all sockets and starts the workers.
    ///
    /// # Errors
    /// A [`StartError`] that names the first address that could not be had.
    pub fn start(
        settings: NetSettings,
        shared: &Shared,
        clock: Clock,
    ) -> Result<Server, StartError> {
        Self::bind(settings, shared, Handed::default())?.start(shared, clock)
    }

    /// Binds all sockets that were not handed over, and starts no thread.
    ///
    /// # Errors
    /// A [`StartError`] that names the first address that could not be had.
    pub fn bind(
        settings: NetSettings,
        shared: &Shared,
        mut handed: Handed,
    ) -> Result<Bound, StartError> {
        for relay in shared.relays.addresses() {
            socket::check_free(SocketAddr::new(relay.local, 0), false).map_err(|error| {
                StartError::Relay {
                    address: relay.local,
                    error,
                }
            })?;
        }
        let count = settings.workers.max(1);
        let mut listeners = settings.listeners.clone();
        let mut claimed = Vec::new();
        for listener in &settings.listeners {
            let (transport, address) = (listener.transport, listener.address);
            let has_none = transport.has_tls() && settings.tls.is_none()
                || transport == Transport::Dtls && settings.dtls.is_none();
            if has_none {
                return Err(StartError::NoCertificate { transport, address });
            }
            let sockets = handed.claim(listener, count)?;
            if sockets.is_none() && address.port() != 0 {
                let is_stream = listener.transport.is_stream();
                socket::check_free(listener.address, is_stream)
                    .map_err(|error| failed(listener, error))?;
            }
            claimed.push(sockets.unwrap_or_default());
        }
        handed.is_all(&listeners)?;
        let gate = Arc::new(ConnectionGate::new(settings.stream, settings.prefixes));
        let mut prepared = Vec::new();
        let mut receive_buffer = None;
        let mut watched: Vec<Watched> = Vec::new();
        for mailbox in mailbox::mailboxes(count) {
            let mut udp = Vec::new();
            let mut tcp = Vec::new();
            for (listener, claimed) in listeners.iter_mut().zip(&mut claimed) {
                let (address, buffers) = (listener.address, settings.listener_buffers);
                let claimed = claimed.pop();
                let bound = if listener.transport.is_stream() {
                    let socket = match claimed {
                        Some(socket) => Ok(socket.into()),
                        None => socket::tcp_listener(address),
                    };
                    socket.and_then(|socket: TcpListener| {
                        let bound = socket.local_addr()?;
                        let entrance =
                            Entrance::new(listener, bound, settings.tls.clone(), gate.clone());
                        tcp.push((socket, entrance));
                        Ok(bound)
                    })
                } else {
                    let socket = match claimed {
                        Some(socket) => {
                            socket::hear_clients(&socket, address, buffers).map(|()| socket.into())
                        }
                        None => socket::udp_listener(address, buffers),
                    };
                    socket.and_then(|socket: UdpSocket| {
                        let bound = socket.local_addr()?;
                        receive_buffer = Some(socket::granted_receive_buffer(&socket));
                        let copy = socket.try_clone()?;
                        match watched.iter_mut().find(|of| of.address == bound) {
                            Some(of) => of.sockets.push(copy),
                            None => watched.push(Watched {
                                address: bound,
                                transport: listener.transport,
                                sockets: vec![copy],
                            }),
                        }
                        udp.push(worker::Listener {
                            socket,
                            address: bound,
                            is_dtls: listener.transport == Transport::Dtls,
                            proxies: listener.proxy_protocol_from.clone(),
                        });
                        Ok(bound)
                    })
                };
                // Where the system chose the port, the other workers need the same.
                listener.address = bound.map_err(|error| failed(listener, error))?;
            }
            prepared.push(Prepared { udp, tcp, mailbox });
        }
        Ok(Bound {
            settings: Arc::new(settings),
            listeners,
            prepared,
            receive_buffer,
            watched,
            gate,
        })
    }
}

impl Bound {
    /// The receive buffer UDP listeners got, in bytes; `None` without such listeners.
    #[must_use]
    pub const fn receive_buffer(&self) -> Option<usize> {
        self.receive_buffer
    }

    /// Lets workers note allocations there.
    pub fn note_in(&mut self, ledger: Option<Ledger>) {
        Arc::make_mut(&mut self.settings).ledger = ledger;
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// [`StartError::Worker`] or [`StartError::Random`].
    pub fn start(self, shared: &Shared, clock: Clock) -> Result<Server, StartError> {
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let peer_sockets = Arc::<PeerSockets>::default();
        let desks: Vec<Arc<Desk>> = self.prepared.iter().map(|_| Arc::default()).collect();
        let standing = Arc::new(Standing {
            rules: ArcSwap::new(shared.rules.clone()),
            relays: ArcSwap::new(shared.relays.clone()),
            settings: ArcSwap::new(self.settings),
            gate: self.gate,
        });
        let mut server = Server {
            watched: self.watched,
            control: Control::new(desks.clone(), standing.clone(), clock),
            threads: Vec::new(),
            stop,
            faults: Vec::new(),
            counters: Vec::new(),
            listeners: self.listeners,
        };
        let mut starts = Vec::new();
        for (number, (prepared, desk)) in self.prepared.into_iter().zip(desks).enumerate() {
            let Prepared { udp, tcp, mailbox } = prepared;
            let counters = Arc::new(Counters::default());
            server.counters.push(counters.clone());
            let fault = Arc::<Notify>::default();
            server.faults.push(fault.clone());
            let (started, start) = mpsc::channel();
            starts.push(start);
            let life = Life {
                id: WorkerId(number as u32),
                shared: shared.clone(),
                counters,
                clock,
                standing: standing.clone(),
                desk,
                peer_sockets: peer_sockets.clone(),
                connections: connections.clone(),
                stop: stopped.clone(),
                fault,
            };
            let run = move || life.live(udp, tcp, mailbox, started);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(run)
                .map_err(StartError::Worker)?;
            server.threads.push(thread);
        }
        // A worker that gave up has dropped its end.
        if starts.iter().any(|start| start.recv().is_err()) {
            let error = server.stop().err();
            let error = error.unwrap_or_else(|| io::Error::other("it ended at once"));
            return Err(StartError::Worker(error));
        }
        Ok(server)
    }
}

impl Server {
    /// Where it listens, with the ports the system chose.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The counters of the workers, in their order.
    #[must_use]
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// The UDP listeners, to see what the kernel dropped. Those of the first call; there are none for another.
    pub fn take_watched(&mut self) -> Vec<Watched> {
        std::mem::take(&mut self.watched)
    }

    /// A handle by which to ask things of it.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Makes a worker panic in the middle of things, to see what becomes of the server. Nothing but tests asks for it.
    #[doc(hidden)]
    pub fn make_worker_panic(&self, worker: usize) {
        if let Some(fault) = self.faults.get(worker) {
            fault.notify_one();
        }
    }

    /// Whether all workers still run. One that panicked is started again, and runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Ends all allocations and stops the workers.
    ///
    /// # Errors
    /// What a worker failed with, if one did.
    pub fn stop(self) -> io::Result<()> {
        // There is no receiver left when all workers have failed already.
        let _ = self.stop.send(true);
        let mut result = Ok(());
        for thread in self.threads {
            let outcome = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(outcome);
        }
        result
    }
}

fn failed(listener: &Listener, error: io::Error) -> StartError {
    StartError::Listen {
        transport: listener.transport,
        address: listener.address,
        error,
    }
}

/// Random numbers of the operating system.
///
/// # Errors
/// [`StartError::Random`] when it has none.
pub fn random_seed() -> Result<[u8; 32], StartError> {
    use rand::TryRng;
    let mut seed = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut seed)
        .map_err(|_| StartError::Random)?;
    Ok(seed)
}
