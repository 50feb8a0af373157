//! One reading of a peer address: the address and every IPv4 address it carries inside.
//!
//! An IPv6 address can smuggle an IPv4 address past a filter that looks at IPv6 prefixes only: a translator or a
//! tunnel on the way unpacks it and delivers to the IPv4 host. This is the only place that unpacks
//! them; it does not judge (see [`super::PeerFilter`]).
//!
//! Its main type is [`Canonical`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// Prefix lengths, in bits, that RFC 6052 §2.2 allows for a NAT64 prefix.
const NAT64_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// Lengths at which 64:ff9b:1::/48 can be carved up by a network that does not say how (RFC 8215).
const LOCAL_USE_LENGTHS: [u8; 4] = [48, 56, 64, 96];

/// The most IPv4 addresses one IPv6 address can carry: one for each NAT64 length (and one for an unreadable prefix),
/// four readings of the local-use prefix, one of a fixed /96 form, one 6to4, two Teredo, one ISATAP.
const MOST_EMBEDDED: usize = 16;

/// Whether `length` (in bits) is a NAT64 prefix length that RFC 6052 §2.2 defines.
///
/// The configuration checks its prefixes with this. A prefix of another length that gets as far as the
/// filter closes its whole range, since nobody can tell what an address in it leads to.
pub fn is_nat64_length(length: u8) -> bool {
    NAT64_LENGTHS.contains(&length)
}

/// A peer address and the IPv4 addresses embedded in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canonical {
    address: IpAddr,
    embedded: [Ipv4Addr; MOST_EMBEDDED],
    count: usize,
}

impl Canonical {
    /// Unpacks `address`. `nat64_prefixes` are the operator's own NAT64 prefixes (RFC 6052 §2.2).
    ///
    /// Recognised: IPv4-mapped, IPv4-compatible (RFC 4291 §2.5.5), IPv4-translated (RFC 2765 §2.1),
    /// the NAT64 well-known prefix (RFC 6052), the local-use prefix (RFC 8215), 6to4 (RFC 3056), both addresses of
    /// Teredo (RFC 4380 §4), and ISATAP interface identifiers (RFC 5214 §6.1).
    ///
    /// Inside the local-use prefix a configured prefix says where the IPv4 address is. Without one, every
    /// possible place is read.
    pub fn of(address: IpAddr, nat64_prefixes: &[Ipv6Net]) -> Self {
        let mut canonical = Self {
            address,
            embedded: [Ipv4Addr::UNSPECIFIED; MOST_EMBEDDED],
            count: 0,
        };
        if let IpAddr::V6(v6) = address {
            canonical.unpack(v6, nat64_prefixes);
        }
        canonical
    }

    /// The address as it was given.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The IPv4 addresses inside, without repetition; empty for an IPv4 address.
    pub fn embedded(&self) -> &[Ipv4Addr] {
        self.embedded.get(..self.count).unwrap_or(&self.embedded)
    }

    fn add(&mut self, v4: Ipv4Addr) {
        if self.embedded().contains(&v4) {
            return;
        }
        if let Some(slot) = self.embedded.get_mut(self.count) {
            *slot = v4;
            self.count += 1;
        }
    }

    fn unpack(&mut self, v6: Ipv6Addr, nat64_prefixes: &[Ipv6Net]) {
        let octets = v6.octets();
        let [
            _,
            _,
            b2,
            b3,
            b4,
            b5,
            b6,
            b7,
            b8,
            b9,
            b10,
            b11,
            b12,
            b13,
            b14,
            b15,
        ] = octets;
        let last = Ipv4Addr::new(b12, b13, b14, b15);

        let mut configured = false;
        for prefix in nat64_prefixes.iter().filter(|prefix| prefix.contains(&v6)) {
            configured = true;
            self.add(embedded_at(&octets, prefix.prefix_len()));
        }
        match v6.segments() {
            // `::` and `::1` lie in the IPv4-compatible block but are addresses of their own.
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => {}
            [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => self.add(last),
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => self.add(last),
            [0x64, 0xff9b, 1, ..] if !configured => {
                for length in LOCAL_USE_LENGTHS {
                    self.add(embedded_at(&octets, length));
                }
            }
            [0x2002, ..] => self.add(Ipv4Addr::new(b2, b3, b4, b5)),
            [0x2001, 0, ..] => {
                self.add(Ipv4Addr::new(b4, b5, b6, b7));
                self.add(Ipv4Addr::new(!b12, !b13, !b14, !b15));
            }
            _ => {}
        }
        // The universal/local bit says whether the IPv4 address is globally unique; both forms are in use.
        if matches!([b8, b9, b10, b11], [0 | 2, 0, 0x5e, 0xfe]) {
            self.add(last);
        }
    }
}

/// The IPv4 address behind a NAT64 prefix of `length` bits; bits 64 to 71, the "u" octet, are skipped.
///
/// A length that RFC 6052 does not define gives 0.0.0.0, which no rule can open.
fn embedded_at(octets: &[u8; 16], length: u8) -> Ipv4Addr {
    let [
        _,
        _,
        _,
        _,
        b4,
        b5,
        b6,
        b7,
        _,
        b9,
        b10,
        b11,
        b12,
        b13,
        b14,
        b15,
    ] = *octets;
    match length {
        32 => Ipv4Addr::new(b4, b5, b6, b7),
        40 => Ipv4Addr::new(b5, b6, b7, b9),
        48 => Ipv4Addr::new(b6, b7, b9, b10),
        56 => Ipv4Addr::new(b7, b9, b10, b11),
        64 => Ipv4Addr::new(b9, b10, b11, b12),
        96 => Ipv4Addr::new(b12, b13, b14, b15),
        _ => Ipv4Addr::UNSPECIFIED,
    }
}
