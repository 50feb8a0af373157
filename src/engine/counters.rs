//! What a worker counts. One thread writes, any thread reads.
//!
//! Nothing a client can choose becomes a label, so the memory of all counters is fixed when the program is compiled.

use super::histogram::{Histogram, Lifetimes, SetUps};
use super::path::Transport;
use crate::wire::{ErrorCode, Method};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number only one thread adds to, so that adding is a plain load and store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning worker may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    /// The value so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $name:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$vdoc])* $name,)* }

        impl $enum {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [$enum] = &[$($enum::$name),*];

            /// The label's value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($enum::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// Neither STUN nor ChannelData.
        NotStun => "not_stun",
        /// STUN or ChannelData that is malformed.
        Malformed => "malformed",
        /// A method this server does not know, or a class its method does not have.
        UnknownMethod => "unknown_method",
        /// A response nobody asked for.
        UnexpectedResponse => "unexpected_response",
        /// ChannelData or a Send indication without an allocation that relays datagrams.
        NoAllocation => "no_allocation",
        /// ChannelData on a channel that is not bound.
        NoChannel => "no_channel",
        /// To or from a peer without a permission.
        NoPermission => "no_permission",
        /// To or from a peer the filter denies.
        PeerDenied => "peer_denied",
        /// An indication with a comprehension-required attribute that is not understood.
        UnknownAttribute => "unknown_attribute",
        /// A payload that does not fit one datagram with its framing.
        TooLarge => "too_large",
        /// To the client of a mobile allocation whose connection closed, and who has not come back.
        ClientAway => "client_away",
        /// For a relayed address that was given up meanwhile.
        StaleRelay => "stale_relay",
        /// The operating system would not send it.
        SendFailed => "send_failed",
        /// The socket's send buffer was full.
        SendBufferFull => "send_buffer_full",
        /// A stream client read too slowly.
        SlowClient => "slow_client",
        /// Another worker could not keep up.
        WorkerBusy => "worker_busy",
        /// From an address no answer may go to: port 0, multicast, broadcast.
        BadSource => "bad_source",
        /// Beyond the bandwidth of its allocation, its user or the server.
        Bandwidth => "bandwidth",
        /// An ICMP error that is not for clients, or one of too many.
        IcmpIgnored => "icmp_ignored",
        /// To a DTLS listener, from an address without an association, and not the beginning of one.
        NoAssociation => "no_dtls_association",
    }
}

reasons! {
    /// Why a request was not authenticated. The client only learns 400, 401 or 438.
    AuthFailureReason {
        /// USERNAME, REALM or NONCE is missing beside an integrity attribute.
        Incomplete => "incomplete",
        /// USERNAME and USERHASH at once, or a USERHASH that is not 32 bytes long.
        MalformedUserHash => "malformed_user_hash",
        /// PASSWORD-ALGORITHM or PASSWORD-ALGORITHMS is missing beside the other, not what was offered, or unknown:
        /// somebody may have tampered with the challenge.
        BadAlgorithms => "bad_algorithms",
        /// The settings do not allow the password algorithm, or none was named and they do not allow MD5.
        AlgorithmNotAllowed => "algorithm_not_allowed",
        /// Another realm than the server's.
        WrongRealm => "wrong_realm",
        /// Nobody of that name, and no ephemeral user name either.
        UnknownUser => "unknown_user",
        /// A user name that is not text.
        MalformedUser => "malformed_user",
        /// The ephemeral credential is over its time.
        Expired => "expired",
        /// The user may not relay any more.
        Revoked => "revoked",
        /// The integrity check failed.
        WrongPassword => "wrong_password",
        /// The key id of an access token is not known.
        UnknownTokenKey => "unknown_token_key",
        /// The key of an access token is not used yet, or not any more.
        InactiveTokenKey => "inactive_token_key",
        /// An access token that is malformed, sealed with another key or for another server.
        BadToken => "bad_token",
        /// An access token that is over its time, or made in the future.
        TokenExpired => "token_expired",
        /// The nonce is old, of another client, or made up.
        StaleNonce => "stale_nonce",
        /// The allocation belongs to another user, or to one who proved it by other means.
        WrongUser => "wrong_user",
    }
}

reasons! {
    /// Why a request of a stranger, which is neither wrong nor right yet, was not answered.
    SuppressedReason {
        /// The network it seems to come from was sent enough.
        Prefix => "prefix",
        /// All strangers together were sent enough.
        Total => "total",
        /// The worker had so much to read that it left out what is not about an allocation.
        Busy => "busy",
    }
}

reasons! {
    /// Why an Allocate request of a proved user was refused for want of room.
    RefusalReason {
        /// The user has as many allocations as allowed.
        UserQuota => "user_quota",
        /// As many relay ports as allowed rest on account of the user.
        UserQuarantine => "user_quarantine",
        /// Users whose credentials one key made have as many together as allowed.
        KeyQuota => "key_quota",
        /// The source address has as many as allowed.
        SourceQuota => "source_quota",
        /// The server has as many as allowed.
        TotalQuota => "total_quota",
        /// The server is about to stop.
        Draining => "draining",
        /// No relay port is free.
        NoPort => "no_port",
        /// No socket: descriptors or memory are missing.
        NoSocket => "no_socket",
        /// The allocation has as many permissions as allowed.
        PermissionLimit => "permission_limit",
        /// The allocation has as many channels as allowed.
        ChannelLimit => "channel_limit",
        /// The allocation met more new peers than allowed in its time.
        NewPeers => "new_peers",
        /// The allocation has as many TCP connections with peers as allowed.
        ConnectionLimit => "connection_limit",
    }
}

reasons! {
    /// What became of a TCP connection with a peer (RFC 6062). One that comes about and is used counts twice, first as
    /// connected or accepted, later as bound.
    ConnectionOutcome {
        /// The client asked for it, and the peer took it.
        Connected => "connected",
        /// The peer made it, and has a permission.
        Accepted => "accepted",
        /// The client bound it.
        Bound => "bound",
        /// The client did not bind it in time.
        NeverBound => "never_bound",
        /// The peer refused, did not answer in time or cannot be reached.
        Failed => "failed",
        /// A peer without a permission made it.
        NoPermission => "no_permission",
        /// The peer filter or `denied_ports` forbids it.
        PeerDenied => "peer_denied",
        /// The allocation had as many as allowed when a peer made it.
        Limit => "limit",
    }
}

reasons! {
    /// Why a connection of a client was closed: as soon as it came in, to make room for one that came later, or as it asked
    /// too much.
    ConnectionRefusal {
        /// The process has as many as allowed.
        Total => "total",
        /// One network has as many as allowed.
        Prefix => "prefix",
        /// More than allowed had not proved a credential yet, and this one for the longest time.
        Unproved => "unproved",
        /// The same among those of one network.
        UnprovedOfPrefix => "unproved_of_prefix",
        /// It sent as many messages as allowed, and proved no credential.
        Requests => "requests",
    }
}

reasons! {
    /// Why a TLS connection was not made.
    TlsFailureReason {
        /// The client took too long.
        Timeout => "timeout",
        /// The client went away.
        Closed => "closed",
        /// What it sent is not TLS: plain STUN, or HTTP.
        NotTls => "not_tls",
        /// It speaks only versions older than TLS 1.2.
        Version => "version",
        /// No cipher suite, group or signature scheme in common.
        NothingInCommon => "nothing_in_common",
        /// It did not like our certificate, or something else, and said so.
        Refused => "refused_by_client",
        /// It broke the protocol.
        Protocol => "protocol",
        /// There is no certificate to show yet.
        NoCertificate => "no_certificate",
    }
}

reasons! {
    /// Why what came from behind a proxy was not let in.
    ProxyFailureReason {
        /// It does not come from a trusted proxy.
        Untrusted => "untrusted",
        /// It does not start with a PROXY header.
        Missing => "missing",
        /// The header is malformed.
        Malformed => "malformed",
        /// The header took too long.
        Timeout => "timeout",
        /// The connection ended before the header did.
        Closed => "closed",
    }
}

reasons! {
    /// How a DTLS handshake ended, counted from the moment the client has shown its address with a cookie.
    DtlsHandshake {
        /// With an association.
        Completed => "completed",
        /// With an error of either side, such as no cipher suite in common.
        Failed => "failed",
        /// The client fell silent.
        TimedOut => "timed_out",
        /// It was not begun: too many associations, or too many handshakes at a time.
        Suppressed => "suppressed",
    }
}

impl DropReason {
    /// Whether the packet was somebody's media, which the server was asked to relay and had no room for.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        matches!(
            self,
            Self::SendFailed
                | Self::SendBufferFull
                | Self::SlowClient
                | Self::WorkerBusy
                | Self::Bandwidth
        )
    }
}

/// The methods that are counted by name; the last one stands for all others.
pub const METHODS: [Method; 9] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::SEND,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
    Method::GOOG_PING,
];

const CODES: usize = ErrorCode::ALL.len();

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes of payload.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet.
    #[inline]
    pub fn add(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }
}

/// Packets by the transport of the client they are from or for.
#[derive(Debug, Default)]
pub struct ByTransport([Traffic; Transport::ALL.len()]);

impl ByTransport {
    /// Those of one transport.
    #[must_use]
    #[inline]
    pub const fn of(&self, transport: Transport) -> &Traffic {
        let [udp, tcp, tls, dtls] = &self.0;
        match transport {
            Transport::Udp => udp,
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Dtls => dtls,
        }
    }

    /// Packets of all transports.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.0.iter().map(|traffic| traffic.packets.get()).sum()
    }

    /// Bytes of all transports.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|traffic| traffic.bytes.get()).sum()
    }
}

/// Stream connections of one kind.
#[derive(Debug, Default)]
pub struct Connections {
    /// Those that came, behind their handshake.
    pub opened: Counter,
    /// Those that ended; with the above this gives the number open.
    pub closed: Counter,
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [Counter; METHODS.len()],
    successes: [Counter; METHODS.len()],
    errors: [[Counter; CODES]; METHODS.len()],
    drops: [Counter; DropReason::ALL.len()],
    auth_failures: [Counter; AuthFailureReason::ALL.len()],
    refusals: [Counter; RefusalReason::ALL.len()],
    suppressed: [Counter; SuppressedReason::ALL.len()],
    dtls_handshakes: [Counter; DtlsHandshake::ALL.len()],
    /// ClientHellos that were answered with a cookie and forgotten.
    pub dtls_cookies: Counter,
    /// DTLS associations ended, of those whose handshake completed.
    pub dtls_closed: Counter,
    tcp_connections: [Counter; ConnectionOutcome::ALL.len()],
    /// Allocations ended since they scanned.
    pub scanners_ended: Counter,
    /// How often the worker was started again after a failure.
    pub worker_restarts: Counter,
    /// DTLS associations that ended by a panic.
    pub dtls_panics: Counter,
    /// First requests without credentials: the start of every session, not a failure.
    pub challenges: Counter,
    /// Allocations created.
    pub allocations_opened: Counter,
    /// Allocations that went to another 5-tuple (RFC 8016), counted where they went to.
    pub allocations_moved: Counter,
    /// Allocations ended; with those created this gives the number alive.
    pub allocations_closed: Counter,
    /// The thread that writes them, by the system's number; 0 before it runs.
    pub thread: Counter,
    /// How long allocations lived.
    pub lifetimes: Histogram<Lifetimes>,
    /// How long it took to make them once their user was known.
    pub set_ups: Histogram<SetUps>,
    /// Relayed from clients to peers, hairpins included.
    pub to_peers: ByTransport,
    /// Relayed from peers to clients, hairpins included.
    pub to_clients: ByTransport,
    /// Relayed between two allocations of this server without touching the network; counted at the receiver.
    pub hairpin: Traffic,
    /// Bytes from clients to peers on TCP connections.
    pub tcp_to_peers: Counter,
    /// Bytes from peers to clients on TCP connections.
    pub tcp_to_clients: Counter,
    tcp: Connections,
    tls: Connections,
    connection_refusals: [Counter; ConnectionRefusal::ALL.len()],
    tls_failures: [Counter; TlsFailureReason::ALL.len()],
    proxy_failures: [Counter; ProxyFailureReason::ALL.len()],
}

fn method_index(method: Method) -> usize {
    METHODS
        .iter()
        .position(|m| *m == method)
        .unwrap_or(METHODS.len() - 1)
}

impl Counters {
    pub(super) fn request(&self, method: Method) {
        if let Some(counter) = self.requests.get(method_index(method)) {
            counter.add(1);
        }
    }

    pub(super) fn success(&self, method: Method) {
        if let Some(counter) = self.successes.get(method_index(method)) {
            counter.add(1);
        }
    }

    pub(super) fn error(&self, method: Method, code: ErrorCode) {
        if let Some(counter) = self
            .errors
            .get(method_index(method))
            .and_then(|codes| codes.get(code as usize))
        {
            counter.add(1);
        }
    }

    /// Counts as closed what was open: after a failure of the worker nothing is, and not all of it could say so.
    pub fn settle(&self) {
        let settle =
            |opened: u64, closed: &Counter| closed.add(opened.saturating_sub(closed.get()));
        settle(self.allocations_opened.get(), &self.allocations_closed);
        settle(self.tcp.opened.get(), &self.tcp.closed);
        settle(self.tls.opened.get(), &self.tls.closed);
        let handshakes = self.dtls_handshakes.get(DtlsHandshake::Completed as usize);
        settle(handshakes.map_or(0, Counter::get), &self.dtls_closed);
    }

    /// Counts a dropped packet.
    pub fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    /// Counts dropped packets.
    pub fn dropped_many(&self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.drops.get(reason as usize) {
            counter.add(packets);
        }
    }

    pub(super) fn auth_failure(&self, reason: AuthFailureReason) {
        if let Some(counter) = self.auth_failures.get(reason as usize) {
            counter.add(1);
        }
    }

    pub(super) fn suppressed(&self, reason: SuppressedReason) {
        if let Some(counter) = self.suppressed.get(reason as usize) {
            counter.add(1);
        }
    }

    pub(super) fn refused(&self, reason: RefusalReason) {
        if let Some(counter) = self.refusals.get(reason as usize) {
            counter.add(1);
        }
    }

    pub(super) fn tcp_connection(&self, outcome: ConnectionOutcome) {
        if let Some(counter) = self.tcp_connections.get(outcome as usize) {
            counter.add(1);
        }
    }

    /// The connections over a transport: TLS, or plain TCP.
    #[must_use]
    pub const fn connections(&self, transport: Transport) -> &Connections {
        match transport {
            Transport::Tls => &self.tls,
            _ => &self.tcp,
        }
    }

    /// Counts a connection that was closed for want of room.
    pub fn connection_refused(&self, reason: ConnectionRefusal) {
        if let Some(counter) = self.connection_refusals.get(reason as usize) {
            counter.add(1);
        }
    }

    /// Connections that were closed for want of room, by reason.
    pub fn connection_refusals(&self) -> impl Iterator<Item = (ConnectionRefusal, u64)> + '_ {
        ConnectionRefusal::ALL
            .iter()
            .copied()
            .zip(self.connection_refusals.iter().map(Counter::get))
    }

    /// Counts a TLS connection that was not made.
    pub fn tls_failure(&self, reason: TlsFailureReason) {
        if let Some(counter) = self.tls_failures.get(reason as usize) {
            counter.add(1);
        }
    }

    /// Counts the end of a DTLS handshake.
    pub fn dtls_handshake(&self, outcome: DtlsHandshake) {
        if let Some(counter) = self.dtls_handshakes.get(outcome as usize) {
            counter.add(1);
        }
    }

    /// Counts a connection or a datagram that was not let in.
    pub fn proxy_failure(&self, reason: ProxyFailureReason) {
        if let Some(counter) = self.proxy_failures.get(reason as usize) {
            counter.add(1);
        }
    }

    /// TLS connections that were not made, by reason.
    pub fn tls_failures(&self) -> impl Iterator<Item = (TlsFailureReason, u64)> + '_ {
        TlsFailureReason::ALL
            .iter()
            .copied()
            .zip(self.tls_failures.iter().map(Counter::get))
    }

    /// DTLS handshakes by outcome.
    pub fn dtls_handshakes(&self) -> impl Iterator<Item = (DtlsHandshake, u64)> + '_ {
        DtlsHandshake::ALL
            .iter()
            .copied()
            .zip(self.dtls_handshakes.iter().map(Counter::get))
    }

    /// Connections and datagrams that were not let in for want of a PROXY header, by reason.
    pub fn proxy_failures(&self) -> impl Iterator<Item = (ProxyFailureReason, u64)> + '_ {
        ProxyFailureReason::ALL
            .iter()
            .copied()
            .zip(self.proxy_failures.iter().map(Counter::get))
    }

    /// TCP connections with peers, by what became of them.
    pub fn tcp_connections(&self) -> impl Iterator<Item = (ConnectionOutcome, u64)> + '_ {
        ConnectionOutcome::ALL
            .iter()
            .copied()
            .zip(self.tcp_connections.iter().map(Counter::get))
    }

    /// Requests by method.
    pub fn requests(&self) -> impl Iterator<Item = (Method, u64)> + '_ {
        METHODS
            .into_iter()
            .zip(self.requests.iter().map(Counter::get))
    }

    /// Responses by method and code; `None` is success.
    pub fn responses(&self) -> impl Iterator<Item = (Method, Option<ErrorCode>, u64)> + '_ {
        let successes = METHODS
            .into_iter()
            .zip(&self.successes)
            .map(|(method, counter)| (method, None, counter.get()));
        let errors = METHODS
            .into_iter()
            .zip(&self.errors)
            .flat_map(|(method, codes)| {
                ErrorCode::ALL
                    .iter()
                    .zip(codes)
                    .map(move |(code, counter)| (method, Some(*code), counter.get()))
            });
        successes.chain(errors)
    }

    /// Dropped packets by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .copied()
            .zip(self.drops.iter().map(Counter::get))
    }

    /// Failed authentications by reason.
    pub fn auth_failures(&self) -> impl Iterator<Item = (AuthFailureReason, u64)> + '_ {
        AuthFailureReason::ALL
            .iter()
            .copied()
            .zip(self.auth_failures.iter().map(Counter::get))
    }

    /// Requests of strangers that were not answered, by reason.
    pub fn suppressed_answers(&self) -> impl Iterator<Item = (SuppressedReason, u64)> + '_ {
        SuppressedReason::ALL
            .iter()
            .copied()
            .zip(self.suppressed.iter().map(Counter::get))
    }

    /// Refusals for want of room by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (RefusalReason, u64)> + '_ {
        RefusalReason::ALL
            .iter()
            .copied()
            .zip(self.refusals.iter().map(Counter::get))
    }
}
