//! Socket addresses in the system's form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    pub const SIZE: libc::socklen_t = size_of::<RawAddress>() as libc::socklen_t;

    /// An address of no family.
    pub const fn none() -> Self {
        // The largest variant, so that every byte has a value.
        RawAddress {
            v6: libc::sockaddr_in6 {
                sin6_family: libc::AF_UNSPEC as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        }
    }

    /// The system's form of an address, and its length.
    pub fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) => {
                let mut raw = RawAddress::none();
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: in_addr(*v4.ip()),
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                let raw = RawAddress {
                    v6: libc::sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as libc::sa_family_t,
                        sin6_port: v6.port().to_be(),
                        sin6_flowinfo: v6.flowinfo(),
                        sin6_addr: in6_addr(*v6.ip()),
                        sin6_scope_id: v6.scope_id(),
                    },
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address, if it is one of the internet.
    #[allow(unsafe_code)]
    pub fn get(&self) -> Option<SocketAddr> {
        // SAFETY: every byte of the union has a value from `none` on, all bit patterns of its fields are valid, and
        // the family says which of the two structures the system wrote.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET => Some(SocketAddr::new(
                    IpAddr::V4(ipv4(self.v4.sin_addr)),
                    u16::from_be(self.v4.sin_port),
                )),
                libc::AF_INET6 => Some(SocketAddr::V6(std::net::SocketAddrV6::new(
                    ipv6(self.v6.sin6_addr),
                    u16::from_be(self.v6.sin6_port),
                    0,
                    self.v6.sin6_scope_id,
                ))),
                _ => None,
            }
        }
    }
}

pub(super) fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

pub(super) fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: ip.octets(),
    }
}

pub(super) fn ipv4(raw: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(raw.s_addr.to_ne_bytes())
}

pub(super) fn ipv6(raw: libc::in6_addr) -> Ipv6Addr {
    Ipv6Addr::from(raw.s6_addr)
}
