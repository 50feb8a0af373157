//! Binding: telling clients their reflexive address, and how the NAT in front of them behaves (RFC 5780).
//!
//! Plain Binding is on at every listener. NAT behaviour discovery is on where a [`Site`] is given, over UDP alone, and
//! only for requests that reach one of the site's four addresses; everywhere else its attributes are unknown ones.
//! An answer never goes to another host than the one that asked, whatever the request says. Main types: [`Discovery`]
//! and [`Site`].

use super::requests::is_understood;
use super::respond::Asked;
use super::{ClientPath, Engine, Link, Outcome, Transport};
use crate::wire::attribute::Malformed;
use crate::wire::{AttributeType, ErrorCode, Message};
use std::net::{IpAddr, SocketAddr};

/// The longest PADDING in an answer, in bytes: the MTU of an Ethernet, so that the answer as a whole is fragmented
/// (RFC 5780 §7.6). It is also never longer than the request's own, so that nobody gains by asking in another's name.
pub const MAX_PADDING: usize = 1500;

static ZEROS: [u8; MAX_PADDING] = [0; MAX_PADDING];

/// Ports below this one are given out by nobody's NAT, but are where services live.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Where NAT behaviour discovery is offered: one site a family, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    v4: Option<Site>,
    v6: Option<Site>,
}

impl Discovery {
    /// Offers discovery on these sites; of two of one family the last counts.
    #[must_use]
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Self {
        let mut discovery = Discovery::default();
        for site in sites {
            match site.local[0].ip() {
                IpAddr::V4(_) => discovery.v4 = Some(site),
                IpAddr::V6(_) => discovery.v6 = Some(site),
            }
        }
        discovery
    }

    /// Which of the addresses of discovery a datagram came to, if any. One that a proxy passed on came to the proxy's,
    /// and only the proxy's socket leads back.
    #[inline]
    fn reached(&self, client: &ClientPath) -> Option<(&Site, Corner)> {
        let server = client.tuple.server();
        let site = match server {
            SocketAddr::V4(_) => self.v4.as_ref()?,
            SocketAddr::V6(_) => self.v6.as_ref()?,
        };
        let plain =
            client.tuple.transport() == Transport::Udp && matches!(client.link, Link::Datagram(_));
        if !plain {
            return None;
        }
        Some((site, site.corner(server)?))
    }
}

/// Two IP addresses and two ports of one family, of which every combination is a UDP listener of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The first address with the first port, and the second with the second.
    local: [SocketAddr; 2],
    /// What the world calls the two addresses.
    public: [IpAddr; 2],
}

/// One of a site's four addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Corner {
    second_ip: bool,
    second_port: bool,
}

impl Corner {
    const fn opposite(self) -> Corner {
        self.changed(true, true)
    }

    const fn changed(self, ip: bool, port: bool) -> Corner {
        Corner {
            second_ip: self.second_ip != ip,
            second_port: self.second_port != port,
        }
    }
}

impl Site {
    /// A site of two addresses of one family that differ in both IP address and port; `None` where they do not.
    #[must_use]
    pub fn new(primary: SocketAddr, alternate: SocketAddr) -> Option<Site> {
        let fits = primary.is_ipv4() == alternate.is_ipv4()
            && primary.ip() != alternate.ip()
            && primary.port() != alternate.port();
        fits.then_some(Site {
            local: [primary, alternate],
            public: [primary.ip(), alternate.ip()],
        })
    }

    /// The same site as it is seen from outside of a 1:1 NAT, which changes addresses and keeps ports.
    #[must_use]
    pub fn known_as(self, primary: IpAddr, alternate: IpAddr) -> Site {
        Site {
            public: [primary, alternate],
            ..self
        }
    }

    fn corner(&self, address: SocketAddr) -> Option<Corner> {
        let [primary, alternate] = &self.local;
        let second = |first: bool, second: bool| match (first, second) {
            (true, _) => Some(false),
            (_, true) => Some(true),
            _ => None,
        };
        let (ip, port) = (address.ip(), address.port());
        Some(Corner {
            second_ip: second(ip == primary.ip(), ip == alternate.ip())?,
            second_port: second(port == primary.port(), port == alternate.port())?,
        })
    }

    const fn port(&self, corner: Corner) -> u16 {
        let [primary, alternate] = &self.local;
        if corner.second_port {
            alternate.port()
        } else {
            primary.port()
        }
    }

    /// The listener.
    fn local(&self, corner: Corner) -> SocketAddr {
        let [primary, alternate] = &self.local;
        let ip = if corner.second_ip { alternate } else { primary }.ip();
        SocketAddr::new(ip, self.port(corner))
    }

    /// The listener as clients know it.
    fn public(&self, corner: Corner) -> SocketAddr {
        let [primary, alternate] = self.public;
        let ip = if corner.second_ip { alternate } else { primary };
        SocketAddr::new(ip, self.port(corner))
    }
}

/// What a request wants beyond its reflexive address.
#[derive(Debug)]
struct Wishes {
    change_ip: bool,
    change_port: bool,
    response_port: Option<u16>,
    /// The length of PADDING.
    padding: Option<usize>,
}

impl Wishes {
    fn of(message: &Message<'_>, client: SocketAddr) -> Result<Wishes, Malformed> {
        let change = message.attribute(AttributeType::CHANGE_REQUEST);
        let change = change.map(|attribute| attribute.change_request());
        let (change_ip, change_port) = change.transpose()?.unwrap_or_default();
        let port = message.attribute(AttributeType::RESPONSE_PORT);
        let response_port = port.map(|a| a.response_port()).transpose()?;
        let padding = message.attribute(AttributeType::PADDING);
        let padding = padding.map(|attribute| attribute.value.len());
        // An answer to a system port would reach a service that never asked.
        let port_allowed = response_port
            .is_none_or(|port| port >= FIRST_UNPRIVILEGED_PORT || port == client.port());
        // A padded answer to another port would be a fragment storm for whoever sits there (RFC 5780 §6.1).
        if !port_allowed || (padding.is_some() && response_port.is_some()) {
            return Err(Malformed);
        }
        Ok(Wishes {
            change_ip,
            change_port,
            response_port,
            padding,
        })
    }
}

impl Engine {
    pub(super) fn binding(
        &self,
        client: &ClientPath,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        if let Some((site, corner)) = self.rules().discovery.reached(client) {
            return self.discovery(client, site, corner, message, reply);
        }
        let asked = Asked::unsigned(message);
        if let Some(refused) = self.refuse_unknown(message, &asked, reply) {
            return refused;
        }
        self.succeed(&asked, reply, |writer| {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, client.tuple.client());
        })
    }

    /// RFC 5780 §6.1.
    fn discovery(
        &self,
        client: &ClientPath,
        site: &Site,
        corner: Corner,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Outcome {
        let asked = Asked::unsigned(message);
        let understood = |kind| is_understood(kind) || is_of_discovery(kind);
        if let Some(refused) = self.refuse_unless(understood, message, &asked, reply) {
            return refused;
        }
        let source = client.tuple.client();
        let Ok(wishes) = Wishes::of(message, source) else {
            return self.fail(&asked, ErrorCode::BadRequest, reply);
        };
        let from = corner.changed(wishes.change_ip, wishes.change_port);
        let outcome = self.succeed(&asked, reply, |writer| {
            writer
                .address(AttributeType::MAPPED_ADDRESS, source)
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, source)
                .address(AttributeType::RESPONSE_ORIGIN, site.public(from))
                .address(AttributeType::OTHER_ADDRESS, site.public(corner.opposite()));
            if let Some(length) = wishes.padding {
                let length = length.next_multiple_of(4).min(MAX_PADDING);
                let zeros = ZEROS.get(..length).unwrap_or_default();
                writer.attribute(AttributeType::PADDING, zeros);
            }
        });
        match outcome {
            Outcome::Reply(length) if from != corner || wishes.response_port.is_some() => {
                let port = wishes.response_port.unwrap_or(source.port());
                Outcome::ReplyFrom {
                    from: site.local(from),
                    to: SocketAddr::new(source.ip(), port),
                    length,
                }
            }
            outcome => outcome,
        }
    }
}

fn is_of_discovery(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::CHANGE_REQUEST | AttributeType::PADDING | AttributeType::RESPONSE_PORT
    )
}
