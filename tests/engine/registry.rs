//! Which addresses nobody may be relayed to, as IANA and the clouds list them: a second hand's reading, which shares
//! nothing with the server's own table and judges addresses in the plainest way.
//!
//! Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6, the multicast and the global unicast
//! ones, and the documentation of cloud providers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4: first address and length.
#[rustfmt::skip]
pub const V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8), ([0, 0, 0, 0], 32), ([10, 0, 0, 0], 8), ([100, 64, 0, 0], 10), ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16), ([172, 16, 0, 0], 12), ([192, 0, 0, 0], 24), ([192, 0, 0, 0], 29),
    ([192, 0, 0, 8], 32), ([192, 0, 0, 9], 32), ([192, 0, 0, 10], 32), ([192, 0, 0, 170], 31),
    ([192, 0, 2, 0], 24), ([192, 31, 196, 0], 24), ([192, 52, 193, 0], 24), ([192, 88, 99, 0], 24),
    ([192, 88, 99, 2], 32), ([192, 168, 0, 0], 16), ([192, 175, 48, 0], 24), ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24), ([203, 0, 113, 0], 24), ([224, 0, 0, 0], 4), ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// The same of IPv6. What lies outside 2000::/3 is closed besides, but for the NAT64 prefix.
#[rustfmt::skip]
pub const V6: &[([u16; 8], u32)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 1], 128), ([0; 8], 128), ([0; 8], 96), ([0, 0, 0, 0, 0, 0xFFFF, 0, 0], 96),
    ([0, 0, 0, 0, 0xFFFF, 0, 0, 0], 96), ([0x64, 0xFF9B, 1, 0, 0, 0, 0, 0], 48), ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64), ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    ([0x2001, 1, 0, 0, 0, 0, 0, 1], 128), ([0x2001, 1, 0, 0, 0, 0, 0, 2], 128), ([0x2001, 1, 0, 0, 0, 0, 0, 3], 128),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), ([0x2001, 3, 0, 0, 0, 0, 0, 0], 32), ([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48),
    ([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), ([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28),
    ([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28), ([0x2001, 0xDB8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), ([0x2620, 0x4F, 0x8000, 0, 0, 0, 0, 0], 48),
    ([0x3FFF, 0, 0, 0, 0, 0, 0, 0], 20), ([0x5F00, 0, 0, 0, 0, 0, 0, 0], 16), ([0xFC00, 0, 0, 0, 0, 0, 0, 0], 7),
    ([0xFE80, 0, 0, 0, 0, 0, 0, 0], 10), ([0xFEC0, 0, 0, 0, 0, 0, 0, 0], 10), ([0xFF00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Where clouds tell a machine its credentials, and services beside them.
pub const METADATA: &[&str] = &[
    "169.254.169.254", // most of them
    "169.254.169.253", // Amazon, DNS
    "169.254.169.123", // Amazon, time
    "169.254.170.2",   // Amazon ECS
    "169.254.170.23",  // Amazon EKS
    "169.254.42.42",   // Scaleway
    "169.254.0.23",    // Tencent
    "100.100.100.200", // Alibaba
    "168.63.129.16",   // Azure, in a range that is public
    "192.0.0.192",     // Oracle
    "fd00:ec2::254",   // Amazon
    "fd00:ec2::253",
    "fd00:ec2::123",
    "fd00:ec2::23",
    "fd00:42::42",     // Scaleway
    "fd20:ce::254",    // Google
    "fe80::a9fe:a9fe", // OpenStack
];

fn mask(length: u32, bits: u32) -> u128 {
    match bits - length {
        128 => 0,
        host => u128::MAX << host,
    }
}

fn closed_v4(ip: Ipv4Addr) -> bool {
    let bits = u128::from(ip.to_bits());
    ip == Ipv4Addr::new(168, 63, 129, 16)
        || V4.iter().any(|(net, length)| {
            let net = u128::from(Ipv4Addr::from(*net).to_bits());
            (bits ^ net) & mask(*length, 32) & 0xFFFF_FFFF == 0
        })
}

fn last_four(ip: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() as u32)
}

fn closed_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    if segments[..6] == [0x64, 0xFF9B, 0, 0, 0, 0] {
        return closed_v4(last_four(ip));
    }
    let is_isatap = segments[5] == 0x5EFE && segments[4] & !0x0200 == 0;
    segments[0] >> 13 != 1
        || is_isatap && closed_v4(last_four(ip))
        || V6.iter().any(|(net, length)| {
            let net = Ipv6Addr::from(*net).to_bits();
            (ip.to_bits() ^ net) & mask(*length, 128) == 0
        })
}

/// Whether nobody may be relayed to an address, whatever it belongs to.
pub fn is_closed(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => closed_v4(ip),
        IpAddr::V6(ip) => closed_v6(ip),
    }
}
