//! Which sources are counted together: networks, since who has one address of a network mostly has many.
//!
//! Main type: [`Prefixes`].

use std::net::IpAddr;

/// The lengths of the networks, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4, at most 32.
    pub v4: u8,
    /// Of IPv6, at most 64.
    pub v6: u8,
}

impl Default for Prefixes {
    /// /24 and /56: what one site has.
    fn default() -> Self {
        Self { v4: 24, v6: 56 }
    }
}

/// A network, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(u128);

impl Prefixes {
    /// The network an address is counted with.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> Prefix {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = u32::from(self.v4.min(32));
                let network = ip.to_bits().checked_shr(32 - bits).unwrap_or(0);
                Prefix(u128::from(network))
            }
            // The length above all other bits, so that no network of one family is one of the other.
            IpAddr::V6(ip) => {
                let bits = u32::from(self.v6.min(64));
                let network = ip.to_bits().checked_shr(128 - bits).unwrap_or(0);
                Prefix(1 << 64 | network)
            }
        }
    }
}
