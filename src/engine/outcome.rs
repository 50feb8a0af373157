//! What the engine hands out: an [`Outcome`] for each input, and [`Event`]s beside it. All are plain values.

use super::connections::ConnectionId;
use super::letters::Letter;
use super::path::{ClientPath, FiveTuple, Link};
use super::relays::RelayedAddress;
use super::time::Instant;
use crate::wire::ChannelNumber;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A worker of this process, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u32);

/// A relay of one worker: a small number that is used again once the relay is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// A request that waits for a relay to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// The name of an allocation in logs: random, and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllocationId(pub u64);

impl fmt::Display for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one input led to. Ranges are of the input's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing leaves; the reason is counted.
    Nothing,
    /// So many bytes of the reply buffer go back to where the input came from.
    Reply(usize),
    /// So many bytes of the reply buffer go to the host the input came from, but from another listener or to another
    /// port (RFC 5780 §6.1).
    ReplyFrom {
        /// The address of the UDP listener to send from.
        from: SocketAddr,
        /// Where to: the client's address, with the port it asked for.
        to: SocketAddr,
        /// How many bytes.
        length: usize,
    },
    /// A payload leaves through a relay.
    ToPeer {
        /// The relay to send from.
        relay: RelayId,
        /// Where to.
        peer: SocketAddr,
        /// The payload.
        payload: Range<usize>,
        /// Set the Don't Fragment bit (RFC 8656 §14).
        dont_fragment: bool,
    },
    /// A payload goes to a client.
    ToClient(ToClient),
    /// A payload goes to an allocation of another worker: [`super::Engine::from_worker`] there takes it.
    ToWorker(ToWorker),
    /// A relay is to be bound: [`super::Engine::relay_opened`] wants to hear how that went, before any other input.
    OpenRelay(OpenRelay),
}

/// A payload on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToClient {
    /// The way to the client.
    pub link: Link,
    /// The client's 5-tuple; datagrams go from its server address to its client address.
    pub tuple: FiveTuple,
    /// What to send in front of the payload.
    pub header: Header,
    /// The payload.
    pub payload: Range<usize>,
    /// How many zero bytes to send behind it.
    pub padding: u8,
}

/// The bytes in front of a payload: a ChannelData header or a Data indication up to its DATA value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Header::MAX_LENGTH],
    length: u8,
}

impl Header {
    /// The longest: STUN header, XOR-PEER-ADDRESS with an IPv6 address, and ICMP.
    pub const MAX_LENGTH: usize = 20 + 24 + 12;

    pub(super) fn new(length: usize, bytes: [u8; Header::MAX_LENGTH]) -> Self {
        Header {
            bytes,
            length: length.min(Header::MAX_LENGTH) as u8,
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({} bytes)", self.length)
    }
}

/// An ICMP error about a datagram that a relay sent (RFC 8656 §11.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP or ICMPv6 type, by the family of the peer.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The next hop's MTU where the error tells it, otherwise anything.
    pub data: u32,
}

/// A payload on its way to another worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToWorker {
    /// The worker.
    pub worker: WorkerId,
    /// What to hand it along with the payload.
    pub delivery: Delivery,
    /// The payload.
    pub payload: Range<usize>,
}

/// The addresses of a payload that goes from relay to relay inside the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The receiving worker's relay.
    pub relay: RelayId,
    /// The relayed transport address it was sent to.
    pub to: SocketAddr,
    /// The relayed transport address it was sent from, as clients know it.
    pub from: SocketAddr,
}

/// What a relay speaks with peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayProtocol {
    /// Datagrams.
    Udp,
    /// Connections (RFC 6062).
    Tcp,
}

/// Asks for a socket bound to an address: of datagrams, or listening for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRelay {
    /// What to name in the answer.
    pub ticket: Ticket,
    /// What the socket is called from now on.
    pub relay: RelayId,
    /// What kind of socket.
    pub protocol: RelayProtocol,
    /// The address to bind.
    pub address: SocketAddr,
}

/// Why a relay could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// Another program has the port: the engine tries another one.
    #[error("the port is in use")]
    PortInUse,
    /// Descriptors, memory or rights are missing, or the address is gone: the client is told 508.
    #[error("the system has no socket to give")]
    Unavailable,
}

/// Asks for a TCP connection with a peer (RFC 6062 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// What to name in [`super::Engine::peer_connected`], which wants to hear how it went.
    pub connection: ConnectionId,
    /// The relay's address, which the connection comes from.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
}

/// Why there is no connection with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The peer refused, or cannot be reached: the client is told 447.
    #[error("the peer cannot be connected")]
    Failed,
    /// Descriptors or memory are missing: the client is told 508.
    #[error("the system has no socket to give")]
    NoSocket,
}

/// A client's connection carries a peer's bytes from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The connection the ConnectionBind came on. What the client sends behind the request is for the peer.
    pub client: ClientPath,
    /// The connection with the peer.
    pub connection: ConnectionId,
}

/// A message to a client that is not the answer to what it just sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The client.
    pub client: ClientPath,
    /// The message.
    pub bytes: Box<[u8]>,
}

/// Something to do or to tell besides the outcome. Events are to be handled before the outcome they came with.
#[derive(Debug)]
pub enum Event {
    /// The relay's socket is to be closed.
    CloseRelay(RelayId),
    /// From here on peers may send to the relay; what its socket got before is for nobody.
    HearPeers(RelayId),
    /// A channel can be used: a faster data plane may forward it from here on.
    RouteAdded(Route),
    /// A channel can no longer be used, since it, its permission or its allocation ended.
    RouteRemoved(Route),
    /// A peer is to be connected.
    Connect(Connect),
    /// A client bound a connection with a peer.
    Bound(Bound),
    /// A connection with a peer is over, whether it was being made, waited for the client or was bound on any worker:
    /// both its sockets are to be closed.
    CloseConnection(ConnectionId),
    /// A message is to be sent.
    Tell(Box<Message>),
    /// A letter for another worker, with the sockets of [`Letter::relays`], which are that worker's from here on.
    Letter(Letter),
    /// An allocation went to another 5-tuple, and perhaps to this worker.
    Moved(Box<Moved>),
    /// An allocation was created.
    Opened(Box<Opened>),
    /// An allocation ended.
    Closed(Box<Closed>),
    /// A client failed to authenticate with credentials (a first request without any is not a failure).
    AuthenticationFailed(Box<AuthenticationFailed>),
    /// A request of a proved user was refused. Of many only a few are told of.
    Refused(Box<super::refusals::Refused>),
}

/// A channel in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The client's 5-tuple.
    pub client: FiveTuple,
    /// The channel.
    pub channel: ChannelNumber,
    /// The relay.
    pub relay: RelayId,
    /// The peer.
    pub peer: SocketAddr,
}

/// The relayed transport addresses of an allocation: one, or one a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// The IPv4 one.
    pub v4: Option<RelayedAddress>,
    /// The IPv6 one.
    pub v6: Option<RelayedAddress>,
}

impl Relayed {
    /// Those there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = RelayedAddress> {
        self.v4.into_iter().chain(self.v6)
    }
}

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.iter().enumerate() {
            let gap = if place > 0 { "," } else { "" };
            write!(f, "{gap}{}", address.advertised)?;
        }
        Ok(())
    }
}

/// An allocation as it was created.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its name.
    pub id: AllocationId,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// The client.
    pub client: ClientPath,
    /// The relayed transport addresses.
    pub relayed: Relayed,
    /// Its first lifetime.
    pub lifetime: Duration,
}

/// An allocation that went to another 5-tuple.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Its name.
    pub id: AllocationId,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// The 5-tuple it had.
    pub from: FiveTuple,
    /// The client's new path.
    pub to: ClientPath,
}

/// What came with a letter.
#[derive(Debug, Default)]
pub struct Arrived {
    /// What the relays are called here whose sockets came along, in the order of those.
    pub relays: Vec<RelayId>,
    /// What clients sent before their allocation was here, for [`super::Engine::from_client`].
    pub frames: Vec<Message>,
}

/// What passed through an allocation. Bytes are of payload, without framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets from the client to peers.
    pub packets_to_peers: u64,
    /// Bytes from the client to peers.
    pub bytes_to_peers: u64,
    /// Packets from peers to the client.
    pub packets_to_client: u64,
    /// Bytes from peers to the client.
    pub bytes_to_client: u64,
}

/// An allocation that lives.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Its name.
    pub id: AllocationId,
    /// The user name of the credential.
    pub user: &'a str,
    /// The client.
    pub client: ClientPath,
    /// The relayed transport addresses.
    pub relayed: Relayed,
    /// When it was created.
    pub created: Instant,
    /// What passed through it so far, to the byte.
    pub usage: Usage,
}

/// An allocation as it ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Its name.
    pub id: AllocationId,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// The client.
    pub client: ClientPath,
    /// The relayed transport addresses it had at the end.
    pub relayed: Relayed,
    /// How long it lived.
    pub duration: Duration,
    /// What passed through it.
    pub usage: Usage,
    /// Why it ended.
    pub reason: CloseReason,
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Its lifetime ran out.
    Expired,
    /// The client asked for it: Refresh with lifetime 0.
    Released,
    /// The client's connection closed.
    Disconnected,
    /// Its user's credential expired.
    CredentialExpired,
    /// Its user is revoked.
    Revoked,
    /// It went on to ask for too many new peers, as one does who scans a network.
    Scanning,
    /// An operator ended it.
    Operator,
    /// The server stopped.
    Shutdown,
    /// The worker that had it failed, by a mistake in the server.
    WorkerFailed,
}

impl CloseReason {
    /// The name used in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::Expired => "expired",
            CloseReason::Released => "released",
            CloseReason::Disconnected => "disconnected",
            CloseReason::CredentialExpired => "credential_expired",
            CloseReason::Revoked => "revoked",
            CloseReason::Scanning => "scanning",
            CloseReason::Operator => "operator",
            CloseReason::Shutdown => "shutdown",
            CloseReason::WorkerFailed => "worker_failed",
        }
    }
}

/// A failed authentication, for the operator's eyes: on the wire all of these look the same.
#[derive(Clone, Debug)]
pub struct AuthenticationFailed {
    /// The client.
    pub client: FiveTuple,
    /// The user name it gave, with anything unprintable replaced.
    pub user: String,
    /// What was wrong.
    pub reason: super::counters::AuthFailureReason,
}
