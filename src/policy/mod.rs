//! What an authenticated client may do: which peers it may talk to and how many allocations it may hold.
//!
//! Not here: who the client is (that is the auth room), and anything that touches a socket, a clock or a log. Every
//! answer is a value; a refusal says which rule decided, so that a counter can count it and an operator can
//! be told.
//!
//! Its main types are [`PeerFilter`], which judges peer addresses after one canonicalisation
//! ([`Canonical`]), [`Quotas`], which hands out a [`Lease`] for each allocation, [`Bandwidth`], which hands out a
//! [`Meter`] for each, and [`Strangers`], which bounds what is answered to whoever has proved nothing.

mod bandwidth;
mod bucket;
mod canonical;
mod closed;
mod confined;
mod filter;
mod prefix;
mod quota;
mod special;
mod spell;
mod strangers;

pub use bandwidth::{Bandwidth, BandwidthLimits, Direction, Meter};
pub use canonical::{Canonical, is_nat64_length};
pub use confined::{CONFINED_ALLOCATIONS, Circle, TESTERS, is_confined, network_of};
pub use filter::{DenyReason, OpenedRange, PeerFilter, PeerRules, Reason, Rule, Verdict};
pub use prefix::{Prefix, Prefixes};
pub use quota::{Lease, Limits, QuotaExceeded, Quotas, Resting};
pub use special::{Class, SpecialRange, special_ranges};
pub use strangers::{StrangerLimits, Strangers, Suppressed};
