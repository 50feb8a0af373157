//! The built-in table: address ranges that no peer of a relay has any business in.
//!
//! It holds the IANA special-purpose registries of both families, multicast, everything of IPv6 outside the
//! global unicast block 2000::/3, and the addresses where clouds hand out instance credentials. Ranges that the
//! registries call globally reachable but that name an anycast service and not a host (AS112, AMT) are in it too. It
//! is data and a longest-prefix look-up; the rules that weigh it against the operator's lists are in
//! [`super::PeerFilter`].
//!
//! Its main types are [`SpecialRange`] and [`Class`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use Class::*;

/// What kind of addresses a built-in range holds. Its [`name`](Class::name) is fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 0.0.0.0 and ::, which an operating system may take for loopback.
    Unspecified,
    /// The machine itself.
    Loopback,
    /// Private networks: RFC 1918, unique local, site-local.
    Private,
    /// Behind carrier-grade NAT: 100.64.0.0/10.
    Shared,
    /// Link-local.
    LinkLocal,
    /// Cloud services that trust whoever can reach them.
    Metadata,
    /// Multicast and broadcast.
    Multicast,
    /// Documentation and benchmarking.
    Documentation,
    /// Protocol assignments and anycast services.
    Protocol,
    /// Transition mechanisms that unpack the packet elsewhere: 6to4, Teredo, local-use NAT64.
    Transition,
    /// IPv4 addresses written as IPv6 ones.
    Ipv4InIpv6,
    /// Reserved and not allocated.
    Reserved,
}

impl Class {
    /// Stable name in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Protocol => "protocol",
            Self::Transition => "transition",
            Self::Ipv4InIpv6 => "ipv4_in_ipv6",
            Self::Reserved => "reserved",
        }
    }

    /// Whether hosts of one site use such addresses among themselves, so that opening a range of them is an
    /// ordinary wish.
    pub(super) fn is_local(self) -> bool {
        matches!(
            self,
            Self::Loopback | Self::Private | Self::Shared | Self::LinkLocal
        )
    }
}

/// One built-in range.
#[derive(Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The addresses in it.
    pub net: IpNet,
    /// What kind of range it is.
    pub class: Class,
    /// What it is for, as an operator would call it.
    pub title: &'static str,
    /// Whether an operator's allow entry can open it.
    pub can_open: bool,
}

/// All built-in ranges, IPv4 first.
pub fn special_ranges() -> impl Iterator<Item = &'static SpecialRange> {
    V4.iter().chain(V6)
}

/// The longest built-in range that holds `ip`, or nothing for a global unicast address.
///
/// The NAT64 well-known prefix 64:ff9b::/96 is in no range: only the IPv4 address inside counts (RFC 6052 §3.1).
pub(super) fn longest(ip: IpAddr) -> Option<&'static SpecialRange> {
    let table = match ip {
        IpAddr::V4(_) => V4,
        IpAddr::V6(v6) if is_nat64_well_known(v6) => return None,
        IpAddr::V6(_) => V6,
    };
    table
        .iter()
        .filter(|range| range.net.contains(&ip))
        .max_by_key(|range| range.net.prefix_len())
}

/// The longest built-in range that holds all of `net`.
pub(super) fn longest_around(net: &IpNet) -> Option<&'static SpecialRange> {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && is_nat64_well_known(v6.network())
    {
        return None;
    }
    special_ranges()
        .filter(|range| range.net.contains(net))
        .max_by_key(|range| range.net.prefix_len())
}

/// 64:ff9b::/96.
pub(super) const fn nat64_well_known() -> IpNet {
    IpNet::new_assert(
        IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)),
        96,
    )
}

fn is_nat64_well_known(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _])
}

const fn v4(octets: [u8; 4], length: u8, class: Class, title: &'static str) -> SpecialRange {
    let [a, b, c, d] = octets;
    SpecialRange {
        net: IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length),
        class,
        title,
        can_open: true,
    }
}

const fn v6(segments: [u16; 8], length: u8, class: Class, title: &'static str) -> SpecialRange {
    let [a, b, c, d, e, f, g, h] = segments;
    SpecialRange {
        net: IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), length),
        class,
        title,
        can_open: true,
    }
}

const fn sealed(range: SpecialRange) -> SpecialRange {
    SpecialRange {
        can_open: false,
        ..range
    }
}

#[rustfmt::skip]
static V4: &[SpecialRange] = &[
    sealed(v4([0, 0, 0, 0], 32, Unspecified, "the unspecified address")),
    v4([0, 0, 0, 0], 8, Reserved, "this network, RFC 791"),
    v4([10, 0, 0, 0], 8, Private, "private use, RFC 1918"),
    v4([100, 64, 0, 0], 10, Shared, "carrier-grade NAT, RFC 6598"),
    v4([100, 100, 100, 200], 32, Metadata, "Alibaba Cloud instance metadata"),
    v4([127, 0, 0, 0], 8, Loopback, "loopback"),
    v4([168, 63, 129, 16], 32, Metadata, "Azure platform services"),
    v4([169, 254, 0, 0], 16, LinkLocal, "link-local, RFC 3927"),
    v4([169, 254, 0, 23], 32, Metadata, "Tencent Cloud instance metadata"),
    v4([169, 254, 42, 42], 32, Metadata, "Scaleway instance metadata"),
    v4([169, 254, 169, 254], 32, Metadata, "cloud instance metadata"),
    v4([169, 254, 170, 2], 32, Metadata, "Amazon ECS task credentials"),
    v4([169, 254, 170, 23], 32, Metadata, "Amazon EKS pod credentials"),
    v4([172, 16, 0, 0], 12, Private, "private use, RFC 1918"),
    v4([192, 0, 0, 0], 24, Protocol, "IETF protocol assignments, RFC 6890"),
    v4([192, 0, 0, 192], 32, Metadata, "Oracle Cloud instance metadata"),
    v4([192, 0, 2, 0], 24, Documentation, "documentation, RFC 5737"),
    v4([192, 31, 196, 0], 24, Protocol, "AS112, RFC 7535"),
    v4([192, 52, 193, 0], 24, Protocol, "AMT, RFC 7450"),
    v4([192, 88, 99, 0], 24, Transition, "6to4 relay anycast, RFC 7526"),
    v4([192, 168, 0, 0], 16, Private, "private use, RFC 1918"),
    v4([192, 175, 48, 0], 24, Protocol, "AS112, RFC 7534"),
    v4([198, 18, 0, 0], 15, Documentation, "benchmarking, RFC 2544"),
    v4([198, 51, 100, 0], 24, Documentation, "documentation, RFC 5737"),
    v4([203, 0, 113, 0], 24, Documentation, "documentation, RFC 5737"),
    v4([224, 0, 0, 0], 4, Multicast, "multicast, RFC 5771"),
    v4([240, 0, 0, 0], 4, Reserved, "reserved, RFC 1112"),
    v4([255, 255, 255, 255], 32, Multicast, "limited broadcast"),
];

#[rustfmt::skip]
static V6: &[SpecialRange] = &[
    // All that lies outside 2000::/3, in pieces, so that no allow entry for ::/0 is as long as one of them.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, Reserved, "outside the global unicast block 2000::/3"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, Reserved, "outside the global unicast block 2000::/3"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, Reserved, "outside the global unicast block 2000::/3"),
    sealed(v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Unspecified, "the unspecified address")),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Loopback, "loopback"),
    sealed(v6([0, 0, 0, 0, 0, 0, 0, 0], 96, Ipv4InIpv6, "IPv4-compatible, RFC 4291")),
    sealed(v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, Ipv4InIpv6, "IPv4-mapped, RFC 4291")),
    sealed(v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Ipv4InIpv6, "IPv4-translated, RFC 2765")),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Transition, "local-use NAT64, RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Reserved, "discard-only, RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Reserved, "dummy prefix, RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Protocol, "IETF protocol assignments, RFC 2928"),
    sealed(v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Transition, "Teredo, closed by RFC 8656 §21.4")),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Documentation, "benchmarking, RFC 5180"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Documentation, "documentation, RFC 3849"),
    sealed(v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Transition, "6to4, closed by RFC 8656 §21.4")),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Protocol, "AS112, RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Documentation, "documentation, RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Protocol, "segment routing, RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Private, "unique local, RFC 4193"),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, Metadata, "Scaleway instance metadata"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128, Metadata, "Amazon EKS pod credentials"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Metadata, "Amazon EC2 instance metadata"),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Metadata, "Google Cloud instance metadata"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LinkLocal, "link-local, RFC 4291"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Metadata, "OpenStack instance metadata"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Private, "site-local, RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Multicast, "multicast, RFC 4291"),
];
