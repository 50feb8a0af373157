//! A range of addresses as the fewest prefixes that are exactly it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The prefixes from one address to another, both included; `None` where they are not in order or of two families.
pub(super) fn prefixes(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let parts = parts(u32::from(first).into(), u32::from(last).into(), 32)?;
            let net = |(start, length): (u128, u8)| {
                let start = u32::try_from(start).ok()?;
                Some(IpNet::V4(Ipv4Net::new(Ipv4Addr::from(start), length).ok()?))
            };
            parts.into_iter().map(net).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let parts = parts(first.into(), last.into(), 128)?;
            let net = |(start, length): (u128, u8)| {
                Some(IpNet::V6(Ipv6Net::new(Ipv6Addr::from(start), length).ok()?))
            };
            parts.into_iter().map(net).collect()
        }
        _ => None,
    }
}

/// Where each prefix starts, and how long it is.
fn parts(first: u128, last: u128, bits: u8) -> Option<Vec<(u128, u8)>> {
    if first > last {
        return None;
    }
    let mut parts = Vec::new();
    let mut start = first;
    loop {
        // The largest block that begins here, and does not reach beyond the end.
        let mut size = (start.trailing_zeros() as u8).min(bits);
        let end = |size: u8| {
            let others = if size == 128 {
                u128::MAX
            } else {
                (1 << size) - 1
            };
            start | others
        };
        while end(size) > last {
            size -= 1;
        }
        parts.push((start, bits - size));
        match end(size).checked_add(1) {
            Some(next) if next <= last => start = next,
            _ => return Some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn splits(first: &str, last: &str, expected: &[&str]) {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let found = prefixes(ip(first), ip(last)).unwrap();
        let found: Vec<_> = found.iter().map(IpNet::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_range_becomes_exactly_its_prefixes() {
        splits("83.166.64.0", "83.166.95.255", &["83.166.64.0/19"]);
        splits("10.0.0.1", "10.0.0.1", &["10.0.0.1/32"]);
        splits(
            "10.0.0.1",
            "10.0.0.6",
            &["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"],
        );
        splits("0.0.0.0", "255.255.255.255", &["0.0.0.0/0"]);
        splits(
            "255.255.255.254",
            "255.255.255.255",
            &["255.255.255.254/31"],
        );
        splits("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["::/0"]);
        splits(
            "fc00::",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            &["fc00::/7"],
        );
        splits("::1", "::2", &["::1/128", "::2/128"]);
    }

    #[test]
    fn a_range_upside_down_or_of_two_families_is_none() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(prefixes(ip("10.0.0.2"), ip("10.0.0.1")), None);
        assert_eq!(prefixes(ip("10.0.0.2"), ip("::1")), None);
    }
}
