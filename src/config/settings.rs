//! The settings hairpin runs with: typed, checked, every default in one place.
//!
//! Nothing here reads a file or looks at the machine; see [`super::load`] for that. Main type: [`Settings`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::acme::Acme;
use super::certificate::Certificate;
use super::host::Host;
use super::view;
use crate::auth::{Secret, ThirdPartySettings, User};
use crate::sandbox::NOBODY;

/// The port of STUN and TURN over UDP and TCP (RFC 8656, section 4).
pub const PORT: u16 = 3478;

/// The port of STUN and TURN over TLS (RFC 8656, section 5).
pub const TLS_PORT: u16 = 5349;

/// Where operators are served if nothing else is said, and if there is such a directory.
pub const ADMIN_SOCKET: &str = "/run/hairpin/hairpin.sock";

/// Everything an operator can set. [`Settings::default`] is what an empty file means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[[listener]]`: where clients come in; never empty.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// `[[discovery]]`: one a family at most.
    pub discovery: Vec<Discovery>,
    /// `[tcp]`
    pub tcp: Tcp,
    /// `[tls]`
    pub tls: Tls,
    /// `[dtls]`
    pub dtls: Dtls,
    /// `[sockets]`
    pub sockets: Sockets,
    /// `[relay]`
    pub relay: Relay,
    /// `[tcp_relay]`
    pub tcp_relay: TcpRelay,
    /// `[allocation]`
    pub allocation: Allocation,
    /// `[auth]`
    pub auth: Auth,
    /// `[oauth]`: credentials that authorization servers give out (RFC 7635); off without keys.
    pub oauth: ThirdPartySettings,
    /// `[[alternate]]`: other servers clients can be sent to.
    #[serde(rename = "alternate")]
    pub alternates: Vec<Alternate>,
    /// `[stun]`
    pub stun: Stun,
    /// `[peers]`
    pub peers: Peers,
    /// `[strangers]`
    pub strangers: Strangers,
    /// `[limits]`
    pub limits: Limits,
    /// `[bandwidth]`
    pub bandwidth: Bandwidth,
    /// `[reload]`
    pub reload: Reload,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[accounting]`
    pub accounting: Accounting,
    /// `[admin]`
    pub admin: Admin,
    /// `[credentials]`
    pub credentials: Credentials,
}

/// `[server]`: the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Worker threads; `None` means one a core.
    pub workers: Option<NonZeroUsize>,
    /// How long a busy worker rests before it reads; zero for not at all.
    #[serde(serialize_with = "view::duration")]
    pub busy_rest: Duration,
    /// Value of the SOFTWARE attribute (RFC 8489, section 14.14); `None` means it is not sent.
    pub software: Option<String>,
    /// Whether clients that ask for an allocation are sent to one of the alternates.
    pub redirect: bool,
    /// Who the process becomes once its sockets are open, if it is started as root: a name or a number.
    pub user: String,
    /// With which group; `None` means the user's own.
    pub group: Option<String>,
    /// Whether the process closes files and system calls to itself.
    pub sandbox: bool,
    /// How long sessions may go on once the server was told to stop.
    #[serde(serialize_with = "view::duration")]
    pub drain: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: None,
            busy_rest: Duration::from_micros(300),
            software: None,
            redirect: false,
            user: NOBODY.to_owned(),
            group: None,
            sandbox: true,
            drain: Duration::from_secs(30),
        }
    }
}

/// How clients reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// STUN and TURN over UDP.
    Udp,
    /// STUN and TURN over TCP.
    Tcp,
    /// STUN and TURN over TLS over TCP.
    Tls,
    /// Over TCP and over TLS on one port, told apart by a connection's first byte.
    Auto,
    /// STUN and TURN over DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Whether clients connect, over TCP.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp | Self::Dtls)
    }

    /// Whether clients may speak TLS over TCP, for which there has to be a certificate.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Auto)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Auto => "auto",
            Self::Dtls => "dtls",
        })
    }
}

/// `[[listener]]`: one address clients come in on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Listener {
    /// How clients reach it.
    pub transport: Transport,
    /// Where to listen. `[::]` means IPv6 only, never IPv4 as well.
    pub address: SocketAddr,
    /// The proxies that say by the PROXY protocol whose bytes they pass on. Where there are any, they alone are
    /// served, and none without a header.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Listener {
    /// A listener without a proxy in front of it.
    pub const fn direct(transport: Transport, address: SocketAddr) -> Self {
        Self {
            transport,
            address,
            proxy_protocol_from: Vec::new(),
        }
    }
}

/// `[[discovery]]`: two addresses and two ports by which clients find out how their NAT behaves (RFC 5780).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// The address and port that clients are told.
    pub primary: SocketAddr,
    /// Another address of this host, of the same family, and another port.
    pub alternate: SocketAddr,
    /// What clients know the primary address by, behind 1:1 NAT.
    pub primary_external: Option<IpAddr>,
    /// What clients know the alternate address by, behind 1:1 NAT.
    pub alternate_external: Option<IpAddr>,
}

impl Discovery {
    /// The four sockets: each address with each port.
    pub const fn sockets(&self) -> [SocketAddr; 4] {
        let (one, other) = (self.primary, self.alternate);
        [
            one,
            SocketAddr::new(one.ip(), other.port()),
            SocketAddr::new(other.ip(), one.port()),
            other,
        ]
    }
}

/// `[tcp]`: connections of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// How long a connection may take until it has proved a credential, and to finish any frame it began.
    #[serde(serialize_with = "view::duration")]
    pub auth_timeout: Duration,
    /// How long a connection without an allocation may go without a frame.
    #[serde(serialize_with = "view::duration")]
    pub idle_timeout: Duration,
    /// Connections at one time in this process.
    pub max_connections: usize,
    /// The same from one network.
    pub max_connections_per_prefix: usize,
    /// Connections at one time that have not proved a credential, in this process.
    pub max_unproved: usize,
    /// The same from one network.
    pub max_unproved_per_prefix: usize,
    /// Messages of one connection until it has proved a credential.
    pub max_unproved_requests: usize,
    /// Bytes of relayed data queued for one connection before the oldest is dropped.
    pub send_buffer: usize,
    /// How long relayed data may wait for one connection before it is dropped.
    #[serde(serialize_with = "view::duration")]
    pub max_queue_age: Duration,
    /// How long a worker that is busy with TCP clients rests before it reads what has come in.
    #[serde(serialize_with = "view::duration")]
    pub busy_rest: Duration,
}

/// `[tls]`: connections of clients that speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Tls {
    /// `[[tls.certificate]]`; the first is for clients that name none of them.
    #[serde(rename = "certificate")]
    pub certificates: Vec<Certificate>,
    /// `[tls.acme]`: one that an authority is asked for.
    pub acme: Option<Acme>,
}

impl Tls {
    /// All certificates that clients may be shown: those of files, and then that of an authority, if it is there yet.
    pub fn shown(&self) -> impl Iterator<Item = &Certificate> {
        let asked_for = self
            .acme
            .iter()
            .filter_map(|acme| acme.certificate.as_ref());
        self.certificates.iter().chain(asked_for)
    }
}

/// `[dtls]`: associations of clients that speak DTLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dtls {
    /// Handshakes at one time, in this process.
    pub max_half_open: usize,
    /// Handshakes at one time from one /24 of IPv4 or one /56 of IPv6.
    pub max_half_open_per_prefix: usize,
    /// Associations at one time in this process, handshakes included.
    pub max_associations: usize,
    /// How long a handshake may take.
    #[serde(serialize_with = "view::duration")]
    pub handshake_timeout: Duration,
    /// How long an association without an allocation may stay silent.
    #[serde(serialize_with = "view::duration")]
    pub idle_timeout: Duration,
}

/// `[sockets]`: kernel buffers, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sockets {
    /// SO_RCVBUF of a listener.
    pub receive_buffer: usize,
    /// SO_SNDBUF of a listener.
    pub send_buffer: usize,
    /// SO_RCVBUF of a relay socket.
    pub relay_receive_buffer: usize,
    /// SO_SNDBUF of a relay socket.
    pub relay_send_buffer: usize,
}

/// Ports from `first` to `last`, both included; never upside down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// A range, or `None` where `first` is above `last`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports there are, at least one.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Whether `port` is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `[relay]`: where peers see clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relay {
    /// Ports relayed addresses are taken from.
    pub ports: PortRange,
    /// How long a released port stays unused.
    #[serde(serialize_with = "view::duration")]
    pub quarantine: Duration,
    /// `[[relay.address]]`; empty means found by itself, one a family.
    #[serde(rename = "address")]
    pub addresses: Vec<RelayAddress>,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family an address belongs to.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Where relay sockets are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum RelayHost {
    /// The address of this family that leads out, found at the start.
    Found(Family),
    /// This address of this host.
    Address(IpAddr),
}

impl From<RelayHost> for String {
    fn from(host: RelayHost) -> String {
        match host {
            RelayHost::Found(Family::V4) => "ipv4".to_owned(),
            RelayHost::Found(Family::V6) => "ipv6".to_owned(),
            RelayHost::Address(address) => address.to_string(),
        }
    }
}

impl RelayHost {
    /// The family of the relayed addresses.
    pub const fn family(self) -> Family {
        match self {
            Self::Found(family) => family,
            Self::Address(address) => Family::of(address),
        }
    }
}

/// `[[relay.address]]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RelayAddress {
    /// Where relay sockets are bound.
    pub host: RelayHost,
    /// What clients are told instead, behind 1:1 NAT; of the same family.
    pub external: Option<IpAddr>,
}

/// `[tcp_relay]`: relays that connect clients and peers over TCP (RFC 6062).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TcpRelay {
    /// Whether clients may have any.
    pub enabled: bool,
    /// Ports of peers that are never connected to and never accepted from.
    pub denied_ports: Vec<u16>,
    /// Connections with peers of one allocation.
    pub connections_per_allocation: u32,
}

/// `[allocation]`: lifetimes of allocations (RFC 8656, section 7.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// Lifetime of an allocation that asks for none, or for less.
    #[serde(serialize_with = "view::duration")]
    pub default_lifetime: Duration,
    /// Longest lifetime granted at once.
    #[serde(serialize_with = "view::duration")]
    pub max_lifetime: Duration,
    /// Whether channel numbers that RFC 5766 allowed and RFC 8656 reserves are accepted.
    pub rfc5766_channels: bool,
    /// Whether clients may take their allocations along to other addresses (RFC 8016).
    pub mobility: bool,
}

/// `[auth]`: who may relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// The realm (RFC 8489, section 14.9).
    pub realm: String,
    /// How long a nonce is accepted.
    #[serde(serialize_with = "view::duration")]
    pub nonce_lifetime: Duration,
    /// Secret that nonces are made with, where several servers have to accept each other's; `None` means a random one.
    pub nonce_key: Option<Secret>,
    /// What clients are offered, best first; empty means nothing beyond RFC 5389.
    pub password_algorithms: Vec<PasswordAlgorithm>,
    /// Whether an ephemeral user name with another expiry is the same user for an allocation.
    pub match_user_part: bool,
    /// Whether a session ends at the moment its ephemeral credential expires, and not at the Refresh after it.
    pub strict_expiry: bool,
    /// Users who may not relay any more.
    pub revoked: Vec<String>,
    /// Whether secrets that anybody could guess are taken.
    pub allow_weak: bool,
    /// Shared secrets for ephemeral credentials, newest first.
    pub secrets: Vec<Secret>,
    /// `[[auth.user]]`
    #[serde(rename = "user")]
    pub users: Vec<User>,
}

/// How a key is made of a password (RFC 8489, section 18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordAlgorithm {
    /// What clients of RFC 5389 use.
    Md5,
    /// Of RFC 8489.
    Sha256,
}

impl fmt::Display for PasswordAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
        })
    }
}

/// `[[alternate]]`: another server (RFC 8489, section 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alternate {
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where clients of TLS and DTLS reach it, if elsewhere.
    pub tls_address: Option<SocketAddr>,
    /// The name in its certificate.
    pub domain: Option<String>,
}

/// `[stun]`
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Stun {
    /// Whether Binding requests of RFC 3489, without magic cookie, are answered over UDP.
    pub classic: bool,
}

/// `[peers]`: whom clients may reach.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Peers {
    /// Prefixes allowed though they are denied by default.
    pub allow: Vec<IpNet>,
    /// Prefixes denied though they are allowed by default.
    pub deny: Vec<IpNet>,
    /// NAT64 prefixes of this network (RFC 6052), of 32, 40, 48, 56, 64 or 96 bits.
    pub nat64_prefixes: Vec<Ipv6Net>,
}

/// `[limits]`; `None` means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Allocations in total.
    pub allocations: Option<u32>,
    /// Allocations of one user name.
    pub allocations_per_user: Option<u32>,
    /// Allocations from one source address.
    pub allocations_per_source: Option<u32>,
    /// Permissions of one allocation.
    pub permissions_per_allocation: u32,
    /// Channels of one allocation.
    pub channels_per_allocation: u32,
    /// New peers a second of one allocation; `None` means no limit.
    pub new_peers_per_second: Option<u32>,
    /// How many of all relay ports may be in quarantine on account of one user, in percent.
    pub quarantine_per_user: u32,
}

/// `[strangers]`: what is given to whoever has not proved a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Strangers {
    /// Bits of the IPv4 networks that are counted together.
    pub prefix_ipv4: u8,
    /// Bits of the IPv6 networks that are counted together.
    pub prefix_ipv6: u8,
    /// Bytes a second that one network is answered beyond those of its requests.
    pub answers_per_prefix: u32,
    /// Bytes that one network is answered at once beyond those of its requests; 0 means no limit for networks.
    pub answers_burst: u32,
    /// Bytes a second that all of them are answered; 0 means no limit.
    pub answers_total: u32,
}

/// `[bandwidth]`, each way; rates in bits a second, of which 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bandwidth {
    /// Of one allocation.
    #[serde(serialize_with = "view::rate")]
    pub per_allocation: u64,
    /// Of one user.
    #[serde(serialize_with = "view::rate")]
    pub per_user: u64,
    /// Of the whole server.
    #[serde(serialize_with = "view::rate")]
    pub total: u64,
    /// How much may pass at once, as time at the full rate.
    #[serde(serialize_with = "view::duration")]
    pub burst: Duration,
}

/// Which files are looked at again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// None.
    Nothing,
    /// Those of certificates and their keys.
    Certificates,
    /// Those, the configuration file, and the files of secrets.
    Everything,
}

/// `[reload]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reload {
    /// Which files are read again when they change.
    pub watch: Watch,
    /// How often is looked whether they did.
    #[serde(serialize_with = "view::duration")]
    pub interval: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Self {
            watch: Watch::Certificates,
            interval: Duration::from_secs(10),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Entries of systemd's journal.
    Journald,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// A level, or levels by module: `info,hairpin::net=debug`.
    pub level: String,
    /// Text, JSON or the journal.
    pub format: LogFormat,
}

/// `[accounting]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accounting {
    /// A file that records are appended to.
    pub file: Option<PathBuf>,
    /// A unix stream socket that they are written to.
    pub socket: Option<PathBuf>,
    /// Somebody who is sent them over HTTP.
    pub webhook: Option<Webhook>,
    /// How often is told of allocations that live; zero means never.
    #[serde(serialize_with = "view::duration")]
    pub interim: Duration,
    /// How many records wait for a destination that is away.
    pub queue: usize,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            file: None,
            socket: None,
            webhook: None,
            interim: Duration::from_secs(300),
            queue: 10_000,
        }
    }
}

/// `[accounting.webhook]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Where: `https://`, or `http://` on this machine.
    pub url: String,
    /// What its requests are signed with.
    pub secret: Option<Secret>,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Where `/metrics` is served; `None` means nowhere.
    pub address: Option<SocketAddr>,
}

/// `[admin]`: where operators ask and order, over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// A unix socket; `None` means none. [`ADMIN_SOCKET`] is left out where it cannot be had.
    pub socket: Option<PathBuf>,
    /// A TCP address; `None` means none.
    pub address: Option<SocketAddr>,
    /// Whether TLS is spoken on `address`, with the certificates of [`Tls`].
    pub tls: bool,
    /// `[[admin.token]]`: who may ask over TCP.
    #[serde(rename = "token")]
    pub tokens: Vec<AdminToken>,
    /// `[admin.tester]`
    pub tester: Tester,
}

/// `[admin.tester]`: the page by which a user finds out what works from where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tester {
    /// Whether it takes no token.
    pub public: bool,
    /// A TCP address where nothing else is served; `None` means none.
    pub address: Option<SocketAddr>,
    /// Whether TLS is spoken there, with the certificates of [`Tls`].
    pub tls: bool,
    /// How long the credential of a test is good.
    #[serde(serialize_with = "view::duration")]
    pub ttl: Duration,
    /// Tests that one source may begin in an hour without a token; 0 means no limit.
    pub per_source: u32,
    /// Tests that all may begin in an hour without a token; 0 means no limit.
    pub total: u32,
    /// Allocations that the credentials of all tests may hold together; 0 means no limit.
    pub allocations: u32,
    /// Bits a second that all of those may have relayed each way; 0 means no limit.
    #[serde(serialize_with = "view::rate")]
    pub bandwidth: u64,
}

impl Default for Tester {
    /// For operators alone. A test sends 16 MiB within two seconds at most, 67 Mbit/s, which leaves the others enough for
    /// their packets.
    fn default() -> Self {
        Tester {
            public: false,
            address: None,
            tls: false,
            ttl: Duration::from_secs(600),
            per_source: 20,
            total: 1000,
            allocations: 100,
            bandwidth: 100_000_000,
        }
    }
}

/// `[[admin.token]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdminToken {
    /// What the log calls whoever has it.
    pub name: String,
    /// The token.
    pub token: Secret,
    /// What may be done with it.
    pub scope: Scope,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look.
    Read,
    /// Look and change.
    Operate,
}

/// `[credentials]`: credentials for applications, over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Credentials {
    /// A TCP address where nothing else is served; `None` means none.
    pub address: Option<SocketAddr>,
    /// Whether TLS is spoken there, with the certificates of [`Tls`].
    pub tls: bool,
    /// Names and addresses by which clients reach the listeners; empty means the addresses of the listeners.
    pub hosts: Vec<Host>,
    /// `[[credentials.key]]`
    #[serde(rename = "key")]
    pub keys: Vec<CredentialKey>,
}

/// `[[credentials.key]]`: an application that may make credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialKey {
    /// What stands in the path, and in the user names.
    pub name: String,
    /// What the application shows.
    pub token: Secret,
    /// How long a credential is good if the application does not say.
    #[serde(serialize_with = "view::duration")]
    pub ttl: Duration,
    /// How long at most.
    #[serde(serialize_with = "view::duration")]
    pub max_ttl: Duration,
    /// Credentials it may have made each second; `None` means any number.
    pub credentials_per_second: Option<u32>,
    /// Credentials it may have made at once, after it made fewer for a while.
    pub credentials_burst: u32,
    /// Allocations that all its credentials may hold together; `None` means any number.
    pub allocations: Option<u32>,
    /// Bits a second that all of those may have relayed each way; 0 means no limit.
    #[serde(serialize_with = "view::rate")]
    pub bandwidth: u64,
    /// Web pages that may ask by themselves, by their origin.
    pub origins: Vec<String>,
}

impl Settings {
    /// All that is to be listened on: the listeners, and then the UDP sockets that discovery needs and none of them
    /// serves; one on a wildcard address serves all addresses of its port.
    pub fn sockets(&self) -> Vec<Listener> {
        let mut sockets = self.listeners.clone();
        for address in self.discovery.iter().flat_map(Discovery::sockets) {
            let serves = |listener: &Listener| {
                let at = listener.address;
                let any =
                    at.ip().is_unspecified() && Family::of(at.ip()) == Family::of(address.ip());
                listener.transport == Transport::Udp
                    && listener.proxy_protocol_from.is_empty()
                    && (at == address || (any && at.port() == address.port()))
            };
            if !sockets.iter().any(serves) {
                sockets.push(Listener::direct(Transport::Udp, address));
            }
        }
        sockets
    }
}

impl Default for Settings {
    fn default() -> Self {
        let any = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        let listeners = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .flat_map(|transport| {
                any.map(|ip| Listener::direct(transport, SocketAddr::new(ip, PORT)))
            });
        Self {
            server: Server::default(),
            listeners: listeners.collect(),
            discovery: Vec::new(),
            tcp: Tcp {
                auth_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(600),
                max_connections: 10_000,
                max_connections_per_prefix: 2_000,
                max_unproved: 5_000,
                max_unproved_per_prefix: 500,
                max_unproved_requests: 256,
                send_buffer: 512 << 10,
                max_queue_age: Duration::from_millis(500),
                busy_rest: Duration::from_micros(1500),
            },
            tls: Tls::default(),
            dtls: Dtls {
                max_half_open: 1000,
                max_half_open_per_prefix: 64,
                max_associations: 10_000,
                handshake_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(60),
            },
            sockets: Sockets {
                receive_buffer: 4 << 20,
                send_buffer: 4 << 20,
                relay_receive_buffer: 1 << 20,
                relay_send_buffer: 1 << 20,
            },
            relay: Relay {
                ports: PortRange {
                    first: 49152,
                    last: 65535,
                },
                quarantine: Duration::from_secs(10),
                addresses: Vec::new(),
            },
            tcp_relay: TcpRelay {
                enabled: false,
                // Mail and DNS: what open relays are abused for first.
                denied_ports: vec![25, 53],
                connections_per_allocation: 16,
            },
            allocation: Allocation {
                default_lifetime: Duration::from_secs(600),
                max_lifetime: Duration::from_secs(3600),
                rfc5766_channels: false,
                mobility: false,
            },
            auth: Auth {
                realm: "hairpin".to_owned(),
                nonce_lifetime: Duration::from_secs(3600),
                nonce_key: None,
                password_algorithms: vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5],
                match_user_part: false,
                strict_expiry: false,
                revoked: Vec::new(),
                allow_weak: false,
                secrets: Vec::new(),
                users: Vec::new(),
            },
            oauth: ThirdPartySettings::default(),
            alternates: Vec::new(),
            stun: Stun::default(),
            peers: Peers::default(),
            strangers: Strangers {
                prefix_ipv4: 24,
                prefix_ipv6: 56,
                answers_per_prefix: 3 << 10,
                answers_burst: 192 << 10,
                answers_total: 4 << 20,
            },
            limits: Limits {
                allocations: None,
                allocations_per_user: Some(1000),
                allocations_per_source: Some(1000),
                permissions_per_allocation: 256,
                channels_per_allocation: 256,
                new_peers_per_second: Some(16),
                quarantine_per_user: 25,
            },
            bandwidth: Bandwidth {
                per_allocation: 0,
                per_user: 0,
                total: 0,
                burst: Duration::from_millis(500),
            },
            reload: Reload::default(),
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
            accounting: Accounting::default(),
            metrics: Metrics {
                address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9641))),
            },
            admin: Admin {
                socket: Some(PathBuf::from(ADMIN_SOCKET)),
                address: None,
                tls: false,
                tokens: Vec::new(),
                tester: Tester::default(),
            },
            credentials: Credentials::default(),
        }
    }
}
