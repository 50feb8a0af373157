//! TCP relays (RFC 6062): sockets that listen at relayed addresses, connections with peers, and the passing of bytes.
//!
//! Which connections there are is the engine's decision. A connection that waits for its client lies idle and unread in
//! [`PeerSockets`], where every worker finds it, so that the worker the client's ConnectionBind came to takes it over;
//! until then the peer's bytes wait in the system and its sender is held back. Bytes are passed on by [`splice`], the
//! task of the client's connection.
//!
//! Main types: [`PeerSockets`], [`TcpRelays`].

use super::socket;
use super::tasks::{Alarm, Shared};
use super::worker::Worker;
use crate::engine::{Connect, ConnectionId, RelayId};
use crate::policy::Direction;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Weak;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How many bytes of one direction are in hands at one time. More wait in the system, up to its limits, and then at the
/// sender.
const BUFFER: usize = 16 << 10;

/// How long accepting rests when the system has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The connections with peers of all workers.
#[derive(Debug, Default)]
pub(super) struct PeerSockets(Mutex<HashMap<ConnectionId, Place>>);

#[derive(Debug)]
enum Place {
    /// A task has it, or is making it, and stops when it is told.
    Busy(Arc<Notify>),
    /// It waits for the client.
    Idle(std::net::TcpStream),
}

impl PeerSockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Place>> {
        // Each operation is one change of the map, so a poisoned lock holds a good map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for a connection in the making; what tells that nobody wants it any more.
    fn expect(&self, id: ConnectionId) -> Arc<Notify> {
        let stop = Arc::new(Notify::new());
        self.lock().insert(id, Place::Busy(stop.clone()));
        stop
    }

    /// Lets a connection wait for its client.
    pub fn park(&self, id: ConnectionId, stream: std::net::TcpStream) {
        self.lock().insert(id, Place::Idle(stream));
    }

    /// Takes a connection that waits; what tells its new owner to stop.
    fn take(&self, id: ConnectionId) -> Option<(std::net::TcpStream, Arc<Notify>)> {
        let mut places = self.lock();
        let place = places.get_mut(&id)?;
        if matches!(place, Place::Busy(_)) {
            return None;
        }
        let stop = Arc::new(Notify::new());
        match std::mem::replace(place, Place::Busy(stop.clone())) {
            Place::Idle(stream) => Some((stream, stop)),
            Place::Busy(_) => None,
        }
    }

    /// Closes a connection, or tells whoever has it to.
    pub fn close(&self, id: ConnectionId) {
        if let Some(Place::Busy(stop)) = self.lock().remove(&id) {
            stop.notify_one();
        }
    }
}

/// The TCP relays of one worker.
pub(super) struct TcpRelays {
    worker: Weak<RefCell<Worker>>,
    listeners: HashMap<RelayId, AbortHandle>,
    pub alarm: Alarm,
    pub sockets: Arc<PeerSockets>,
}

impl TcpRelays {
    pub fn new(sockets: Arc<PeerSockets>) -> Self {
        TcpRelays {
            worker: Weak::new(),
            listeners: HashMap::new(),
            alarm: Alarm::default(),
            sockets,
        }
    }

    /// Names the worker that tasks call into.
    pub fn attach(&mut self, worker: Weak<RefCell<Worker>>) {
        self.worker = worker;
    }

    /// Listens at a relayed address.
    pub fn open(&mut self, relay: RelayId, address: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::from_std(socket::tcp_relay(address)?)?;
        let task = self
            .alarm
            .spawn(accept(self.worker.clone(), relay, listener));
        self.listeners.insert(relay, task.abort_handle());
        Ok(())
    }

    /// Stops listening; the connections stay.
    pub fn close(&mut self, relay: RelayId) {
        if let Some(task) = self.listeners.remove(&relay) {
            task.abort();
        }
    }

    /// Starts to connect a peer; [`Worker::peer_connected`] hears how it went.
    pub fn connect(&self, connect: Connect) {
        let stop = self.sockets.expect(connect.connection);
        let worker = self.worker.clone();
        self.alarm.spawn(async move {
            let result = tokio::select! {
                biased;
                () = stop.notified() => return,
                result = open_connection(connect.from, connect.to) => result,
            };
            if let Some(worker) = worker.upgrade() {
                worker
                    .borrow_mut()
                    .peer_connected(connect.connection, result);
            }
        });
    }
}

async fn open_connection(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(socket::tcp_towards_peer(from)?);
    let stream = socket.connect(to).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn accept(worker: Weak<RefCell<Worker>>, relay: RelayId, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let Some(worker) = worker.upgrade() else {
            return;
        };
        let error = match accepted {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                worker.borrow_mut().peer_accepted(relay, stream, from);
                continue;
            }
            Err(error) => error,
        };
        let is_peers_fault = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
        );
        if !is_peers_fault {
            worker.borrow_mut().reporter().accept_failed(&error);
            drop(worker);
            tokio::time::sleep(ACCEPT_REST).await;
        }
    }
}

/// Passes bytes between a client's connection and a peer's until both sides have ended, one has failed, or the
/// connection is closed by the engine. `first` came from the client already.
///
/// Each direction ends for itself: who stops sending can go on to receive.
pub(super) async fn splice(
    worker: &Shared,
    client: impl AsyncRead + AsyncWrite,
    first: Vec<u8>,
    id: ConnectionId,
) {
    // Where the worker fails, this task just stops somewhere below.
    let _end = EndOfConnection(worker, id);
    let taken = worker.borrow().sockets().take(id);
    let connection = worker.borrow().tcp_connection(id);
    if let (Some((peer, stop)), Some(connection)) = (taken, connection)
        && let Ok(mut peer) = TcpStream::from_std(peer)
    {
        let counters = worker.borrow().counters().clone();
        let (client_in, client_out) = tokio::io::split(client);
        let (peer_in, peer_out) = peer.split();
        let now = || worker.borrow().now().instant;
        let to_peer = pass(client_in, peer_out, first, |bytes| {
            counters.tcp_to_peers.add(bytes as u64);
            connection.sent(now, Direction::ToPeer, bytes)
        });
        let to_client = pass(peer_in, client_out, Vec::new(), |bytes| {
            counters.tcp_to_clients.add(bytes as u64);
            connection.sent(now, Direction::ToClient, bytes)
        });
        tokio::select! {
            biased;
            () = stop.notified() => {}
            _ = async { tokio::try_join!(to_peer, to_client) } => {}
        }
    }
}

/// Ends a connection when it is dropped.
struct EndOfConnection<'a>(&'a Shared, ConnectionId);

impl Drop for EndOfConnection<'_> {
    fn drop(&mut self) {
        if let Ok(mut worker) = self.0.try_borrow_mut() {
            worker.connection_ended(self.1);
        }
    }
}

/// Passes bytes one way until their end, which is passed on too. `count` says how long to wait before more are read.
async fn pass(
    from: impl AsyncRead,
    to: impl AsyncWrite,
    first: Vec<u8>,
    count: impl Fn(usize) -> Duration,
) -> io::Result<()> {
    tokio::pin!(from, to);
    to.write_all(&first).await?;
    rest(count(first.len())).await;
    drop(first);
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        // A carrier with a buffer of its own, as TLS has, must not keep the end of what was said.
        to.flush().await?;
        rest(count(length)).await;
    }
}

async fn rest(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}
