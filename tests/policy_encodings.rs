//! No way to write an address gets around the peer filter.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hairpin::policy::{Canonical, PeerFilter, PeerRules, Verdict, is_nat64_length, special_ranges};
use ipnet::{IpNet, Ipv6Net};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn filter(allow: &[&str], deny: &[&str]) -> PeerFilter {
    PeerFilter::new(PeerRules {
        allow: nets(allow),
        deny: nets(deny),
        ..PeerRules::default()
    })
}

fn allows(filter: &PeerFilter, address: &str) -> bool {
    filter.judge_address(ip(address)) == Verdict::Allow
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::HairpinOnly => "hairpin_only",
        Verdict::Deny(reason) => reason.name(),
    }
}

/// An IPv4 address with `v4` packed behind `prefix` as RFC 6052 §2.2 draws it.
fn nat64(prefix: Ipv6Net, v4: Ipv4Addr) -> Ipv6Addr {
    let mut octets = prefix.network().octets();
    let start = usize::from(prefix.prefix_len() / 8);
    let places = (start..16).filter(|place| *place != 8);
    for (place, octet) in places.zip(v4.octets()) {
        octets[place] = octet;
    }
    Ipv6Addr::from(octets)
}

const NAT64: [&str; 6] = [
    "2a00:1::/32",
    "2a00:2:100::/40",
    "2a00:3:3::/48",
    "2a00:4:4:100::/56",
    "2a00:5:5:5::/64",
    "2a00:6:6:6:0:6::/96",
];

fn nat64_prefixes() -> Vec<Ipv6Net> {
    NAT64.iter().map(|text| text.parse().unwrap()).collect()
}

/// Every IPv6 form that carries `v4`.
fn encodings(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets();
    let high = u16::from_be_bytes([a, b]);
    let low = u16::from_be_bytes([c, d]);
    let fixed = [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0xffff, 0xf7f7, 0xf7f7),
        Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0xffff, !high, !low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        nat64("64:ff9b:1::/48".parse().unwrap(), v4),
        Ipv6Addr::new(0x2600, 1, 2, 3, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2600, 1, 2, 3, 0x200, 0x5efe, high, low),
    ];
    let configured = nat64_prefixes().into_iter().map(|prefix| nat64(prefix, v4));
    fixed.into_iter().chain(configured).collect()
}

/// Addresses of all families with a bias to the ranges that matter.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let ranges: Vec<(u32, u32)> = special_ranges()
        .filter_map(|range| match range.net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(_) => None,
        })
        .collect();
    prop_oneof![
        any::<u32>(),
        proptest::sample::select(ranges).prop_flat_map(|(first, last)| first..=last),
    ]
    .prop_map(Ipv4Addr::from_bits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn x_sec_04_every_encoding_of_a_denied_ipv4_address_is_denied(v4 in any_v4()) {
        let filter = PeerFilter::new(PeerRules {
            nat64_prefixes: nat64_prefixes(),
            deny: nets(&["8.8.0.0/16"]),
            ..PeerRules::default()
        });
        if let Verdict::Deny(_) = filter.judge_address(IpAddr::V4(v4)) {
            for form in encodings(v4) {
                prop_assert!(
                    matches!(filter.judge_address(IpAddr::V6(form)), Verdict::Deny(_)),
                    "{form} opens {v4}"
                );
            }
        }
    }

    #[test]
    fn x_sec_04_no_allow_list_opens_an_encoding_of_what_it_leaves_closed(
        v4 in any_v4(),
        length in 0u8..=32,
    ) {
        // The operator opens all of IPv6 that can be opened, and an IPv4 network around the address.
        let mut allow = nets(&["::/1", "8000::/1", "64:ff9b:1::/48"]);
        allow.push(IpNet::new(IpAddr::V4(v4), length).unwrap());
        let filter = PeerFilter::new(PeerRules {
            allow,
            nat64_prefixes: nat64_prefixes(),
            ..PeerRules::default()
        });
        if let Verdict::Deny(_) = filter.judge_address(IpAddr::V4(v4)) {
            for form in encodings(v4) {
                prop_assert!(
                    matches!(filter.judge_address(IpAddr::V6(form)), Verdict::Deny(_)),
                    "{form} opens {v4}"
                );
            }
        }
    }

    #[test]
    fn the_address_is_found_again_in_every_encoding(v4 in any::<u32>().prop_map(Ipv4Addr::from_bits)) {
        prop_assume!(v4.to_bits() > 1);
        for form in encodings(v4) {
            let canonical = Canonical::of(IpAddr::V6(form), &nat64_prefixes());
            prop_assert!(canonical.embedded().contains(&v4), "{form} hides {v4}");
        }
    }

    #[test]
    fn own_sockets_are_denied_in_every_encoding_whatever_is_allowed(
        v4 in any_v4(),
        port in 1u16..,
        wildcard in any::<bool>(),
    ) {
        prop_assume!(!v4.is_unspecified());
        let listener = if wildcard { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::V4(v4) };
        let mut allow = nets(&["::/1", "8000::/1"]);
        allow.push(IpNet::from(IpAddr::V4(v4)));
        let filter = PeerFilter::new(PeerRules {
            allow,
            nat64_prefixes: nat64_prefixes(),
            own_addresses: vec![IpAddr::V4(v4)],
            relay_addresses: vec![IpAddr::V4(v4)],
            relay_ports: 1..=65535,
            own_sockets: vec![SocketAddr::new(listener, port)],
            ..PeerRules::default()
        });
        let forms = encodings(v4).into_iter().map(IpAddr::V6).chain([IpAddr::V4(v4)]);
        for form in forms {
            let verdict = filter.judge(SocketAddr::new(form, port));
            prop_assert!(matches!(verdict, Verdict::Deny(_)), "{form} port {port}: {verdict:?}");
        }
    }

    #[test]
    fn any_address_at_all_gets_a_verdict_and_port_zero_is_denied(bits in any::<u128>()) {
        let filter = PeerFilter::new(PeerRules {
            nat64_prefixes: nat64_prefixes(),
            ..PeerRules::default()
        });
        let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
        let by_address = filter.judge_address(address);
        prop_assert_eq!(filter.judge(SocketAddr::new(address, 9)), by_address);
        prop_assert_eq!(name(filter.judge(SocketAddr::new(address, 0))), "port_zero");
        if by_address == Verdict::Allow && bits >> 125 != 1 {
            prop_assert!(matches!(address, IpAddr::V6(v6) if v6.segments()[..2] == [0x64, 0xff9b]));
        }
    }
}

#[test]
fn x_sec_05_transition_forms_stay_closed_whatever_is_allowed() {
    for address in [
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "0.0.0.0",
        "::",
    ] {
        let own_entry = IpNet::from(ip(address)).to_string();
        assert!(!allows(&filter(&[&own_entry], &[]), address), "{address}");
    }
}

#[test]
fn isatap_with_a_public_address_inside_is_an_ordinary_peer() {
    let default = filter(&[], &[]);
    assert!(allows(&default, "2600:1::5efe:8.8.8.8"));
    assert!(!allows(&default, "2600:1::5efe:10.0.0.1"));
    assert!(!allows(&default, "2600:1::200:5efe:10.0.0.1"));
}

#[test]
fn a_local_use_nat64_prefix_is_usable_once_its_length_is_configured() {
    let rules = PeerRules {
        allow: nets(&["64:ff9b:1::/48"]),
        nat64_prefixes: vec!["64:ff9b:1:fffe::/96".parse().unwrap()],
        ..PeerRules::default()
    };
    let unconfigured = PeerFilter::new(PeerRules {
        nat64_prefixes: Vec::new(),
        ..rules.clone()
    });
    let configured = PeerFilter::new(rules);
    assert!(allows(&configured, "64:ff9b:1:fffe::8.8.8.8"));
    assert!(!allows(&configured, "64:ff9b:1:fffe::10.0.0.1"));
    assert!(!allows(&unconfigured, "64:ff9b:1:fffe::8.8.8.8"));
}

#[test]
fn a_nat64_prefix_of_an_undefined_length_closes_its_range() {
    let odd = PeerFilter::new(PeerRules {
        nat64_prefixes: vec!["2a00:1::/44".parse().unwrap()],
        ..PeerRules::default()
    });
    assert!(!allows(&odd, "2a00:1::8.8.8.8"));
    assert!(allows(&odd, "2a00:2::8.8.8.8"));
    let defined: Vec<u8> = (0..=128)
        .filter(|length| is_nat64_length(*length))
        .collect();
    assert_eq!(defined, [32, 40, 48, 56, 64, 96]);
}

#[test]
fn nat64_examples_of_rfc_6052_section_2_4_are_read() {
    for (prefix, address) in [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ] {
        let canonical = Canonical::of(ip(address), &[prefix.parse().unwrap()]);
        assert_eq!(
            canonical.embedded(),
            [Ipv4Addr::new(192, 0, 2, 33)],
            "{prefix}"
        );
    }
}
