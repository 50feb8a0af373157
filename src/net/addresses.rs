//! This machine's own addresses, and those that lead out of it.
//!
//! Asks the kernel only: no packet is sent and nobody outside is asked. Main items: [`own`], [`interfaces`], [`default_route`],
//! [`relays`], [`RelayAddress`],
//! [`discovery`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::{Discovery, Family, Relay, RelayHost};

/// All addresses of this machine's interfaces, loopback among them, each once.
///
/// # Errors
/// Where the system does not tell.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        if !addresses.contains(&interface.ip()) {
            addresses.push(interface.ip());
        }
    }
    Ok(addresses)
}

/// All addresses of this machine, each with the name of its interface.
///
/// # Errors
/// Where the system does not tell.
pub fn interfaces() -> io::Result<Vec<(String, IpAddr)>> {
    let interfaces = if_addrs::get_if_addrs()?.into_iter();
    Ok(interfaces
        .map(|interface| (interface.name.clone(), interface.ip()))
        .collect())
}

/// The address of a family that packets to the world leave from; else the first that reaches beyond this machine; else
/// loopback; `None` where the family has no address at all.
pub fn default_route(family: Family) -> Option<IpAddr> {
    if let Some(address) = towards_the_world(family) {
        return Some(address);
    }
    let own = own().unwrap_or_default();
    let of_family = || {
        own.iter()
            .copied()
            .filter(|address| Family::of(*address) == family)
    };
    of_family()
        .find(|address| reaches_out(*address))
        .or_else(|| of_family().find(IpAddr::is_loopback))
}

/// Connecting a UDP socket makes the kernel choose a route and a source address, and sends nothing. The destinations
/// are those of RFC 5737 and RFC 3849, which nobody has.
fn towards_the_world(family: Family) -> Option<IpAddr> {
    let (from, to): (IpAddr, IpAddr) = match family {
        Family::V4 => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        Family::V6 => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    reaches_out(address).then_some(address)
}

fn reaches_out(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// An address relay sockets are bound to, as it turned out on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// Where relay sockets are bound.
    pub address: IpAddr,
    /// What clients are told instead, behind 1:1 NAT.
    pub external: Option<IpAddr>,
}

impl RelayAddress {
    /// The address clients and peers know.
    pub fn public(&self) -> IpAddr {
        self.external.unwrap_or(self.address)
    }
}

/// What the world calls the two addresses of discovery: what is set there, else what is set for relaying from the same
/// address.
pub fn discovery(site: &Discovery, relays: &[RelayAddress]) -> [IpAddr; 2] {
    let public = |local: IpAddr, external: Option<IpAddr>| {
        let relay = relays.iter().find(|relay| relay.address == local);
        external.unwrap_or_else(|| relay.map_or(local, RelayAddress::public))
    };
    [
        public(site.primary.ip(), site.primary_external),
        public(site.alternate.ip(), site.alternate_external),
    ]
}

/// Why relay addresses cannot be had on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No address of a family that was asked for, or none at all.
    #[error("this machine has no {0} address to relay from; set one under [[relay.address]]")]
    NoneFound(Family),
    /// An address that is another machine's.
    #[error(
        "relay address {address} is not an address of this machine (it has {own}){hint}",
        hint = " – if it is what a NAT in front of it shows, set it as `external`, with address = \"ipv4\" or \"ipv6\""
    )]
    NotOurs {
        /// The address given.
        address: IpAddr,
        /// The addresses there are, as a list.
        own: String,
    },
    /// An address that cannot be bound for another reason.
    #[error("cannot use relay address {address}: {source}")]
    Unusable {
        /// The address given.
        address: IpAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Two entries that turned out to be one.
    #[error("relay address {0} is there twice: once given, once found by itself")]
    Twice(IpAddr),
}

/// The relay addresses that the settings mean on this machine; never empty. Without `[[relay.address]]` they are found,
/// one a family, leaving out a family that has only loopback unless that is all there is.
///
/// # Errors
/// Where an address is missing or cannot be bound.
pub fn relays(settings: &Relay) -> Result<Vec<RelayAddress>, RelayError> {
    if settings.addresses.is_empty() {
        return found();
    }
    let mut relays: Vec<RelayAddress> = Vec::new();
    for given in &settings.addresses {
        let address = match given.host {
            RelayHost::Found(family) => {
                default_route(family).ok_or(RelayError::NoneFound(family))?
            }
            RelayHost::Address(address) => address,
        };
        bindable(address)?;
        if relays.iter().any(|relay| relay.address == address) {
            return Err(RelayError::Twice(address));
        }
        relays.push(RelayAddress {
            address,
            external: given.external,
        });
    }
    Ok(relays)
}

fn found() -> Result<Vec<RelayAddress>, RelayError> {
    let mut addresses: Vec<_> = [Family::V4, Family::V6]
        .into_iter()
        .filter_map(default_route)
        .collect();
    if addresses.iter().any(|address| !address.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    if addresses.is_empty() {
        return Err(RelayError::NoneFound(Family::V4));
    }
    Ok(addresses
        .into_iter()
        .map(|address| RelayAddress {
            address,
            external: None,
        })
        .collect())
}

/// Binding tells more than the list of interfaces, which does not know `ip_nonlocal_bind` or routes of type local.
fn bindable(address: IpAddr) -> Result<(), RelayError> {
    match UdpSocket::bind(SocketAddr::new(address, 0)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let own: Vec<_> = own()
                .unwrap_or_default()
                .iter()
                .map(IpAddr::to_string)
                .collect();
            Err(RelayError::NotOurs {
                address,
                own: own.join(", "),
            })
        }
        Err(source) => Err(RelayError::Unusable { address, source }),
    }
}
