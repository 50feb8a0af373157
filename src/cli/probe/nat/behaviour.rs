//! What a NAT does, in the terms of RFC 4787 and in words: the names it has, and what they mean for a call.
//!
//! The main types are [`Mapping`], [`Filtering`] and [`Behaviour`].

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

/// How public ports are given to a client's packets (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// The client has the address that the world sees.
    NoNat,
    /// One public address for all destinations.
    EndpointIndependent,
    /// Another one for each destination address.
    AddressDependent,
    /// Another one for each destination address and port.
    AddressAndPortDependent,
}

/// Which packets from outside reach the client (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// All.
    EndpointIndependent,
    /// Those from addresses that it sent to.
    AddressDependent,
    /// Those from addresses and ports that it sent to.
    AddressAndPortDependent,
}

/// How long a mapping lives without packets, in seconds; as sure as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lifetime {
    /// It lived after so long.
    pub at_least: f64,
    /// It was gone after so long; nothing where it outlived the measurement.
    pub gone_by: Option<f64>,
}

/// What was found out. What could not be is `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Behaviour {
    /// The server's other address and port.
    pub other_address: Option<SocketAddr>,
    /// The mapped addresses that different addresses of the server saw one socket come from.
    pub mapped_addresses: Vec<SocketAddr>,
    /// Mapping.
    pub mapping: Option<Mapping>,
    /// Filtering.
    pub filtering: Option<Filtering>,
    /// What such a NAT is commonly called.
    pub kind: Option<&'static str>,
    /// What follows for calls.
    pub webrtc: Option<&'static str>,
    /// Whether the public port was the client's own.
    pub port_preserved: Option<bool>,
    /// Whether two clients behind this NAT reach each other by their public addresses.
    pub hairpinning: Option<bool>,
    /// Whether fragmented packets pass, both ways.
    pub fragments_pass: Option<bool>,
    /// Whether a gateway changes addresses inside of packets.
    pub addresses_rewritten: Option<bool>,
    /// How long a mapping lives without packets.
    pub binding_lifetime_seconds: Option<Lifetime>,
}

impl Mapping {
    /// Its name in RFC 4787.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mapping::NoNat => "no NAT",
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressDependent => "address-dependent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Mapping::NoNat => "the world sees this machine's own address",
            Mapping::EndpointIndependent => "one public address for all destinations",
            Mapping::AddressDependent => "another public port for each destination address",
            Mapping::AddressAndPortDependent => {
                "another public port for each destination address and port"
            }
        };
        write!(f, "{}: {meaning}", self.name())
    }
}

impl Filtering {
    /// Its name in RFC 4787.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Filtering::EndpointIndependent => "packets from anybody come in",
            Filtering::AddressDependent => "packets come in from addresses that were sent to",
            Filtering::AddressAndPortDependent => {
                "packets come in from addresses and ports that were sent to"
            }
        };
        write!(f, "{}: {meaning}", self.name())
    }
}

/// What a NAT of this behaviour is commonly called.
#[must_use]
pub const fn kind(mapping: Mapping, filtering: Filtering) -> &'static str {
    match (mapping, filtering) {
        (Mapping::NoNat, Filtering::EndpointIndependent) => "none: open internet",
        (Mapping::NoNat, _) => "none, but a firewall that lets in answers only",
        (Mapping::EndpointIndependent, Filtering::EndpointIndependent) => "full cone NAT",
        (Mapping::EndpointIndependent, Filtering::AddressDependent) => {
            "address-restricted cone NAT"
        }
        (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
            "port-restricted cone NAT"
        }
        (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => "symmetric NAT",
    }
}

/// With whom a WebRTC call needs TURN. Two ends meet directly when one's packets go where the other expects them from:
/// an end whose public port changes with the destination meets only those that do not look at the port.
#[must_use]
pub const fn webrtc(mapping: Mapping, filtering: Filtering) -> &'static str {
    match (mapping, filtering) {
        (
            Mapping::NoNat | Mapping::EndpointIndependent,
            Filtering::EndpointIndependent | Filtering::AddressDependent,
        ) => "direct calls with everybody; needs TURN only where one end's network blocks UDP",
        (Mapping::NoNat | Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
            "direct calls with most; needs TURN with peers behind symmetric NATs, many mobile and office networks among them"
        }
        (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => {
            "needs TURN with most: with all peers behind symmetric NATs and port-restricted NATs or firewalls"
        }
    }
}
