//! Which addresses the rules close, worked out once: addresses between two neighbouring bounds of the rules' ranges fare
//! alike, so a judgement is a binary search.
//!
//! It says of an address taken by itself what [`super::filter`] describes; what an address carries inside, and ports, are
//! not its concern. Main type: [`ClosedRanges`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::filter::{PeerRules, Rule};
use super::special::{self, SpecialRange};

/// For each family the ranges in order, each from its first address on up to the next range.
#[derive(Debug, Clone)]
pub(super) struct ClosedRanges {
    v4: Vec<(u32, Option<Rule>)>,
    v6: Vec<(u128, Option<Rule>)>,
}

impl ClosedRanges {
    /// The ranges of these rules.
    pub fn new(rules: &PeerRules) -> Self {
        let ranges = |is_ipv4, all_of: IpNet| {
            let nets: Vec<IpNet> = special::special_ranges()
                .map(|range| range.net)
                .chain([special::nat64_well_known()])
                .chain(rules.own_addresses.iter().map(|ip| IpNet::from(*ip)))
                .chain(rules.allow.iter().copied())
                .chain(rules.deny.iter().copied())
                .chain([all_of])
                .filter(|net| net.addr().is_ipv4() == is_ipv4)
                .collect();
            let mut allow = Nested::new(&rules.allow, is_ipv4);
            let mut deny = Nested::new(&rules.deny, is_ipv4);
            let mut ranges: Vec<(u128, Option<Rule>)> = Vec::new();
            for start in bounds(&nets) {
                let ip = address(start, is_ipv4);
                let rule = rule(rules, ip, allow.longest(start), deny.longest(start));
                if ranges.last().is_none_or(|(_, former)| *former != rule) {
                    ranges.push((start, rule));
                }
            }
            ranges.shrink_to_fit();
            ranges
        };
        let v4 = ranges(true, IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0));
        Self {
            v4: v4.into_iter().map(|(at, rule)| (at as u32, rule)).collect(),
            v6: ranges(false, IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0)),
        }
    }

    /// The rule that closes an address, taken by itself.
    pub fn rule(&self, ip: IpAddr) -> Option<Rule> {
        match ip {
            IpAddr::V4(ip) => last_up_to(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => last_up_to(&self.v6, ip.to_bits()),
        }
    }
}

fn last_up_to<T: Ord + Copy>(ranges: &[(T, Option<Rule>)], at: T) -> Option<Rule> {
    let place = ranges.partition_point(|(start, _)| *start <= at);
    // The first range starts at the first address.
    ranges
        .get(place.checked_sub(1)?)
        .and_then(|(_, rule)| *rule)
}

/// The definition: which rule closes an address, given the longest entries of both lists that hold it.
fn rule(rules: &PeerRules, ip: IpAddr, allow: Option<IpNet>, deny: Option<IpNet>) -> Option<Rule> {
    let special: Option<&'static SpecialRange> = special::longest(ip);
    if let Some(range) = special.filter(|range| !range.can_open) {
        return Some(Rule::BuiltIn(range));
    }
    let allow = allow.map(|net| net.prefix_len());
    if let Some(deny) = deny
        && allow <= Some(deny.prefix_len())
    {
        return Some(Rule::OperatorDeny(deny));
    }
    let opens_with_its_range = special.is_some_and(|range| range.class.is_local());
    if !opens_with_its_range && rules.own_addresses.contains(&ip) {
        let full_length = if ip.is_ipv4() { 32 } else { 128 };
        return (allow < Some(full_length)).then_some(Rule::OwnAddress);
    }
    special
        .filter(|range| allow < Some(range.net.prefix_len()))
        .map(Rule::BuiltIn)
}

/// The first addresses of all networks and of what follows them, in order.
fn bounds(nets: &[IpNet]) -> Vec<u128> {
    let mut bounds: Vec<u128> = nets.iter().map(|net| bits(net.network())).collect();
    for net in nets {
        let last = bits(net.broadcast());
        let is_end = last == bits(end_of_family(net));
        if !is_end {
            bounds.push(last + 1);
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    bounds
}

fn end_of_family(net: &IpNet) -> IpAddr {
    match net {
        IpNet::V4(_) => Ipv4Addr::BROADCAST.into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(u128::MAX).into(),
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn address(bits: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        Ipv4Addr::from_bits(bits as u32).into()
    } else {
        Ipv6Addr::from_bits(bits).into()
    }
}

/// A list's networks, asked about addresses in rising order: two networks either lie in each other or apart, so those
/// that hold an address are a stack. A list of thousands is then done in no time.
struct Nested {
    /// From the last to the first, the wider of two that start alike last.
    coming: Vec<IpNet>,
    holding: Vec<IpNet>,
}

impl Nested {
    fn new(list: &[IpNet], is_ipv4: bool) -> Self {
        // Of two that are the same the later one counts.
        let family = list
            .iter()
            .rev()
            .filter(|net| net.addr().is_ipv4() == is_ipv4);
        let mut coming: Vec<IpNet> = family.copied().collect();
        coming.sort_by_key(|net| std::cmp::Reverse((bits(net.network()), net.prefix_len())));
        Self {
            coming,
            holding: Vec::new(),
        }
    }

    /// The longest network that holds an address, which is not lower than the last one asked about.
    fn longest(&mut self, at: u128) -> Option<IpNet> {
        while let Some(net) = self.coming.pop_if(|net| bits(net.network()) <= at) {
            self.drop_ended(bits(net.network()));
            self.holding.push(net);
        }
        self.drop_ended(at);
        self.holding.last().copied()
    }

    fn drop_ended(&mut self, at: u128) {
        while let Some(net) = self.holding.last()
            && bits(net.broadcast()) < at
        {
            self.holding.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn longest(list: &[IpNet], ip: IpAddr) -> Option<IpNet> {
        let holding = list.iter().filter(|net| net.contains(&ip));
        holding.max_by_key(|net| net.prefix_len()).copied()
    }

    /// Networks near each other and near the built-in ranges, so that they lie in one another often.
    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (any::<u32>(), any::<u32>(), 0..=32_u8).prop_map(|(pick, bits, length)| {
            let bases = [
                0x0a00_0000,
                0x7f00_0001,
                0xc0a8_0100,
                0xffff_ff00,
                0,
                0x0808_0808,
            ];
            let bits = bases[pick as usize % bases.len()] ^ (bits & 0x0103);
            IpNet::new(Ipv4Addr::from_bits(bits).into(), length)
                .unwrap()
                .trunc()
        });
        let v6 = (any::<u32>(), any::<u128>(), 0..=128_u8).prop_map(|(pick, bits, length)| {
            let bases = [
                0,
                u128::MAX,
                0xfd00 << 112,
                0x64_ff9b << 96,
                0x2001_0db8 << 96,
            ];
            let bits = bases[pick as usize % bases.len()] ^ (bits & (1 << 100 | 1 << 33 | 3));
            IpNet::new(Ipv6Addr::from_bits(bits).into(), length)
                .unwrap()
                .trunc()
        });
        proptest::collection::vec(prop_oneof![v4, v6], 0..12)
    }

    proptest! {
        #[test]
        fn every_address_fares_as_the_rules_say(allow in nets(), deny in nets(), own in nets(), any in any::<u128>()) {
            let rules = PeerRules {
                own_addresses: own.iter().map(IpNet::addr).collect(),
                allow,
                deny,
                ..PeerRules::default()
            };
            let ranges = ClosedRanges::new(&rules);
            let nets = [&rules.allow, &rules.deny, &own].into_iter().flatten().copied();
            let nets = nets.chain(special::special_ranges().map(|range| range.net));
            let nets = nets.chain([special::nat64_well_known()]);
            // The first and the last address of each range and their neighbours, and one at random.
            let tried = nets.flat_map(|net| {
                let is_ipv4 = net.addr().is_ipv4();
                let (first, last) = (bits(net.network()), bits(net.broadcast()));
                let inside = any & (last - first);
                [first.wrapping_sub(1), first, last, last.wrapping_add(1), first ^ inside]
                    .map(|bits| address(bits, is_ipv4))
            });
            for ip in tried.chain([address(any, true), address(any, false)]) {
                let expected = rule(&rules, ip, longest(&rules.allow, ip), longest(&rules.deny, ip));
                prop_assert_eq!(ranges.rule(ip), expected, "{}", ip);
            }
        }
    }
}
