//! Users whose allocations are for trying the server out: what they send goes to relayed addresses of their own on this very
//! server and nowhere else, they hold few of them, and their allocations end with their credential.
//!
//! The tester gives such names to whoever opens its page, so that a credential anybody can have is no relay for anybody: not
//! even for two strangers who each begin a test. The confinement hangs on the name, whoever made it. Main items:
//! [`TESTERS`], [`is_confined`], [`Circle`].

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;

/// The group they are; their names begin with it, and a colon.
pub const TESTERS: &str = "tester";

/// How many allocations one of them may have at a time: two clients, each with some interfaces, and what a bad line left
/// over.
pub const CONFINED_ALLOCATIONS: u32 = 16;

/// Whether a user is one of them; by the name that quotas go by.
#[must_use]
pub fn is_confined(user: &str) -> bool {
    let group = user.split_once(':').map(|(group, _)| group);
    group == Some(TESTERS)
}

/// Of what all of them may hold together, 0 for no bound, what those of one [network](network_of) may: a third, so that no
/// network keeps the others out, and no less than one user may.
pub(super) fn share_of_network(all: u32) -> u32 {
    match all {
        0 => 0,
        _ => (all / 3).max(CONFINED_ALLOCATIONS),
    }
}

/// The network they are counted by: an IPv4 address, or an IPv6 /56, which one line is given as a rule.
#[must_use]
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 72 << 72).into(),
    }
}

/// Whose relayed addresses an allocation reaches inside the server, and is reached from: those of its own circle. All users
/// are of one, but confined ones, who are each of a circle of their own.
/// [`RelayPool::circle`](crate::engine::relays::RelayPool::circle) makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circle(pub(crate) Option<NonZeroU64>);

impl Circle {
    /// Whether it is a confined user's.
    #[must_use]
    #[inline]
    pub fn is_confined(self) -> bool {
        self.0.is_some()
    }
}
