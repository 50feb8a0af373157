//! Where a client is: its 5-tuple and the socket that leads back to it.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// The transport between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream.
    Tcp,
    /// A byte stream under TLS.
    Tls,
    /// Datagrams under DTLS.
    Dtls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 4] = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Dtls,
    ];

    /// The name used in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        }
    }

    /// Whether frames are padded to four bytes and delivery is reliable (RFC 8656 §12.5).
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}

/// The key of an allocation: client address, server address and transport (RFC 8656 §2). Addresses are canonical:
/// an IPv4-mapped address is an IPv4 address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    client: SocketAddr,
    server: SocketAddr,
    transport: Transport,
}

impl Hash for FiveTuple {
    /// A word an address where it is IPv4, since every packet of a client is looked up by this.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (address, low) in [(self.client, 0), (self.server, self.transport as u8)] {
            let low = u64::from(address.port()) << 8 | u64::from(low);
            match address {
                SocketAddr::V4(v4) => state.write_u64(u64::from(v4.ip().to_bits()) << 24 | low),
                SocketAddr::V6(v6) => {
                    state.write_u128(v6.ip().to_bits());
                    state.write_u64(u64::from(v6.scope_id()) << 32 | low);
                }
            }
        }
    }
}

impl FiveTuple {
    /// Makes the key of what a socket saw.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr, transport: Transport) -> Self {
        FiveTuple {
            client: canonical_with_scope(client),
            server: canonical(server),
            transport,
        }
    }

    /// The client's address as this server sees it: its reflexive transport address.
    #[must_use]
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// The address the client reached.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The transport.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }
}

/// An address without IPv4-mapped form, flow label and scope, so that equal addresses are equal values.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            None => SocketAddr::new(IpAddr::V6(*v6.ip()), v6.port()),
        },
    }
}

/// The way back to a client, in the words of whoever owns the sockets; the engine only stores and returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// A listener's datagram socket, by its number.
    Datagram(u32),
    /// A proxy's socket beyond a listener's: the client is known by a PROXY header, and reached through the proxy.
    Proxied {
        /// The listener's socket, by its number.
        listener: u32,
        /// The proxy's address, where answers go.
        proxy: SocketAddr,
        /// The address the proxy sent to, where answers come from.
        local: IpAddr,
    },
    /// A connection, by its number.
    Stream(u32),
    /// A DTLS association, by its number.
    Dtls(u32),
}

/// A client: who it is, and how to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPath {
    /// The 5-tuple.
    pub tuple: FiveTuple,
    /// The way back.
    pub link: Link,
}

fn canonical_with_scope(address: SocketAddr) -> SocketAddr {
    match (canonical(address), address) {
        (SocketAddr::V6(mut plain), SocketAddr::V6(given)) => {
            plain.set_scope_id(given.scope_id());
            SocketAddr::V6(plain)
        }
        (plain, _) => plain,
    }
}
