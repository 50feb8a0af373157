//! What clients may use up: `[strangers]`, `[limits]`, `[bandwidth]`.

use std::time::Duration;

use toml::Spanned;

use super::super::document::{self, Given, Rate, Read};
use super::super::settings as to;
use super::super::units::show_rate;
use super::Problems;

/// A hundred times what a fast machine relays.
const FASTEST: u64 = 10_000_000_000_000;

pub(super) fn strangers(
    given: document::Strangers,
    default: to::Strangers,
    problems: &mut Problems,
) -> to::Strangers {
    let mut prefix = |key, given, range, default: u8| {
        let bits = problems.count(key, given, range, default.into());
        u8::try_from(bits).unwrap_or(default)
    };
    let prefix_ipv4 = prefix(
        "prefix_ipv4",
        given.prefix_ipv4,
        8..=32,
        default.prefix_ipv4,
    );
    let prefix_ipv6 = prefix(
        "prefix_ipv6",
        given.prefix_ipv6,
        16..=64,
        default.prefix_ipv6,
    );
    let mut size = |key, given, default: u32| {
        let bytes = problems.size(key, given, 0..=1 << 30, default as usize);
        u32::try_from(bytes).unwrap_or(default)
    };
    to::Strangers {
        prefix_ipv4,
        prefix_ipv6,
        answers_per_prefix: size(
            "answers_per_prefix",
            given.answers_per_prefix,
            default.answers_per_prefix,
        ),
        answers_burst: size("answers_burst", given.answers_burst, default.answers_burst),
        answers_total: size("answers_total", given.answers_total, default.answers_total),
    }
}

pub(super) fn limits(
    given: document::Limits,
    default: to::Limits,
    problems: &mut Problems,
) -> to::Limits {
    let permissions = default.permissions_per_allocation;
    let channels = default.channels_per_allocation;
    to::Limits {
        allocations: limit(given.allocations, default.allocations),
        allocations_per_user: limit(given.allocations_per_user, default.allocations_per_user),
        allocations_per_source: limit(given.allocations_per_source, default.allocations_per_source),
        permissions_per_allocation: problems.count(
            "permissions_per_allocation",
            given.permissions_per_allocation,
            1..=65_536,
            permissions,
        ),
        // RFC 8656, section 12: channel numbers 0x4000 to 0x4FFF.
        channels_per_allocation: problems.count(
            "channels_per_allocation",
            given.channels_per_allocation,
            1..=4096,
            channels,
        ),
        new_peers_per_second: limit(given.new_peers_per_second, default.new_peers_per_second),
        quarantine_per_user: problems.count(
            "quarantine_per_user",
            given.quarantine_per_user,
            1..=100,
            default.quarantine_per_user,
        ),
    }
}

/// A number, of which 0 means none.
pub(super) fn limit(given: Given<u32>, default: Option<u32>) -> Option<u32> {
    match given.map(Spanned::into_inner) {
        Some(0) => None,
        Some(limit) => Some(limit),
        None => default,
    }
}

/// Bits a second, of which 0 means no limit.
pub(super) fn rate(
    key: &str,
    given: Given<Read<Rate>>,
    default: u64,
    problems: &mut Problems,
) -> u64 {
    let given = given.map(|given| (given.span(), given.into_inner().0.0));
    match given {
        Some((_, 0)) => 0,
        // Less than one packet a second relays nothing.
        given => problems.within(key, given, 16_000..=FASTEST, default, |value| {
            format!("\"{}\"", show_rate(value))
        }),
    }
}

pub(super) fn bandwidth(
    given: document::Bandwidth,
    default: to::Bandwidth,
    problems: &mut Problems,
) -> to::Bandwidth {
    let mut of = |key, given, default| rate(key, given, default, problems);
    to::Bandwidth {
        per_allocation: of(
            "per_allocation",
            given.per_allocation,
            default.per_allocation,
        ),
        per_user: of("per_user", given.per_user, default.per_user),
        total: of("total", given.total, default.total),
        burst: problems.duration(
            "burst",
            given.burst,
            Duration::from_millis(10)..=Duration::from_secs(10),
            default.burst,
        ),
    }
}
