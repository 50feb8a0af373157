//! The peer filter: what is closed by default, what the operator's lists change, and that no encoding gets around it.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hairpin::policy::{
    Canonical, Class, PeerFilter, PeerRules, Rule, Verdict, is_nat64_length, special_ranges,
};
use ipnet::{IpNet, Ipv6Net};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn socket(text: &str) -> SocketAddr {
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

/// An IPv4 address with `v4` packed behind `prefix` as RFC 6052 section 2.2 draws it.
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

    #[test]
    fn the_rule_of_longest_prefixes_holds(
        v4 in any_v4(),
        allow in proptest::collection::vec(0u8..=32, 0..3),
        deny in proptest::collection::vec(0u8..=32, 0..3),
    ) {
        let address = IpAddr::V4(v4);
        let around = |lengths: &[u8]| -> Vec<IpNet> {
            lengths.iter().map(|length| IpNet::new(address, *length).unwrap().trunc()).collect()
        };
        let filter = PeerFilter::new(PeerRules {
            allow: around(&allow),
            deny: around(&deny),
            ..PeerRules::default()
        });
        let a = allow.iter().max();
        let d = deny.iter().max();
        let built_in = special_ranges()
            .filter(|range| range.net.contains(&address))
            .max_by_key(|range| range.net.prefix_len());
        let b = built_in.map(|range| range.net.prefix_len());
        let openable = built_in.is_none_or(|range| range.can_open);
        let expected = openable && (d.is_none() || a > d) && (b.is_none() || a >= b.as_ref());
        prop_assert_eq!(filter.judge_address(address) == Verdict::Allow, expected);
    }
}

#[test]
fn x_sec_03_every_special_purpose_range_is_closed_from_end_to_end() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("0.0.0.0", "0.0.0.0", "unspecified"),
        ("0.0.0.1", "0.255.255.255", "reserved"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "shared"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "link_local"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "protocol"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.31.196.0", "192.31.196.255", "protocol"),
        ("192.52.193.0", "192.52.193.255", "protocol"),
        ("192.88.99.0", "192.88.99.255", "transition"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("192.175.48.0", "192.175.48.255", "protocol"),
        ("198.18.0.0", "198.19.255.255", "documentation"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.254", "reserved"),
        ("255.255.255.255", "255.255.255.255", "multicast"),
        ("::", "::", "unspecified"),
        ("::1", "::1", "loopback"),
        ("::2", "::ffff:ffff", "ipv4_in_ipv6"),
        ("::ffff:0:0", "::ffff:ffff:ffff", "ipv4_in_ipv6"),
        ("::ffff:0:0:0", "::ffff:0:ffff:ffff", "ipv4_in_ipv6"),
        ("::1:0:0:0:0", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "transition"),
        ("64:ff9b:2::", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("100::", "100::ffff:ffff:ffff:ffff", "reserved"),
        ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", "reserved"),
        ("1fff:ffff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "transition"),
        ("2001:1::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:1::1", "2001:1::3", "protocol"),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:1ff::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "transition"),
        ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "protocol"),
        ("5f01::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
        ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link_local"),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
    ];
    let default = filter(&[], &[]);
    let wide_open = filter(&["0.0.0.0/0", "::/0"], &[]);
    for (first, last, class) in table {
        for end in [first, last] {
            assert_eq!(name(default.judge_address(ip(end))), *class, "{end}");
            assert_eq!(name(wide_open.judge_address(ip(end))), *class, "{end}");
        }
    }
}

#[test]
fn neighbours_of_special_ranges_are_open() {
    let default = filter(&[], &[]);
    for address in [
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2a00:1450:4001::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
        "64:ff9b::8.8.8.8",
    ] {
        assert!(allows(&default, address), "{address}");
    }
}

#[test]
fn metadata_addresses_open_only_by_an_entry_of_their_own() {
    let addresses = [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    ];
    let by_range = filter(
        &[
            "169.254.0.0/16",
            "169.254.169.254/31",
            "168.63.0.0/16",
            "100.64.0.0/10",
            "192.0.0.0/24",
            "fd00::/8",
        ],
        &[],
    );
    for address in addresses {
        assert_eq!(name(by_range.judge_address(ip(address))), "metadata");
        let own_entry = IpNet::from(ip(address)).to_string();
        assert!(allows(&filter(&[&own_entry], &[]), address), "{address}");
    }
    assert!(allows(&by_range, "169.254.1.1"));
}

#[test]
fn an_allow_entry_opens_the_range_it_names_and_no_other() {
    let private = filter(&["10.0.0.0/8"], &[]);
    assert!(allows(&private, "10.1.2.3"));
    assert!(!allows(&private, "192.168.1.1"));
    assert!(allows(&private, "64:ff9b::10.1.2.3"));
    assert!(!allows(&private, "::ffff:10.1.2.3"));
    let part = filter(&["10.5.0.0/16"], &[]);
    assert!(allows(&part, "10.5.0.1"));
    assert!(!allows(&part, "10.6.0.1"));
    let wider = filter(&["10.0.0.0/7"], &[]);
    assert!(!allows(&wider, "10.1.2.3"));
    assert!(allows(&wider, "11.1.2.3"));
}

#[test]
fn deny_wins_a_tie_and_a_longer_allow_wins_over_deny() {
    assert!(!allows(
        &filter(&["10.0.0.0/8"], &["10.0.0.0/8"]),
        "10.0.0.1"
    ));
    assert!(!allows(
        &filter(&["10.0.0.0/8"], &["10.0.0.0/16"]),
        "10.0.0.1"
    ));
    assert!(allows(
        &filter(&["10.0.0.0/8"], &["10.0.0.0/16"]),
        "10.1.0.1"
    ));
    let hole = filter(&["198.97.190.53/32"], &["198.97.0.0/16"]);
    assert!(allows(&hole, "198.97.190.53"));
    assert!(!allows(&hole, "198.97.190.54"));
    let closed = filter(&[], &["0.0.0.0/0", "::/0"]);
    assert!(!allows(&closed, "8.8.8.8"));
    assert!(!allows(&closed, "2a00::1"));
}

#[test]
fn deny_reaches_a_peer_behind_a_translator() {
    let lists = filter(&[], &["8.8.0.0/16"]);
    let verdict = lists.judge_address(ip("64:ff9b::8.8.8.8"));
    let Verdict::Deny(reason) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(reason.name(), "translated_ipv4");
    assert_eq!(
        reason.to_string(),
        "it carries the IPv4 address 8.8.8.8: the deny entry 8.8.0.0/16"
    );
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

fn server() -> PeerRules {
    PeerRules {
        own_addresses: vec![ip("127.0.0.1"), ip("10.0.0.5"), ip("198.97.190.53")],
        own_sockets: vec![
            socket("0.0.0.0:3478"),
            socket("127.0.0.1:9641"),
            socket("10.0.0.5:50000"),
        ],
        relay_addresses: vec![ip("10.0.0.5"), ip("198.97.190.53")],
        relay_ports: 49152..=65535,
        ..PeerRules::default()
    }
}

#[test]
fn x_sec_06_own_addresses_are_closed_and_own_relays_are_for_the_hairpin_only() {
    let filter = PeerFilter::new(server());
    for address in ["10.0.0.5", "198.97.190.53"] {
        assert_eq!(filter.judge_address(ip(address)), Verdict::HairpinOnly);
        let at = |port| filter.judge(SocketAddr::new(ip(address), port));
        assert_eq!(at(60000), Verdict::HairpinOnly);
        assert_eq!(name(at(3478)), "own_socket");
        assert_eq!(name(at(0)), "port_zero");
        assert!(matches!(at(22), Verdict::Deny(_)));
    }
    assert_eq!(name(filter.judge(socket("10.0.0.5:22"))), "private");
    assert_eq!(
        name(filter.judge(socket("198.97.190.53:22"))),
        "own_address"
    );
    assert_eq!(name(filter.judge(socket("10.0.0.5:50000"))), "own_socket");
    assert_eq!(
        filter.judge(socket("198.97.190.53:50000")),
        Verdict::HairpinOnly
    );
    assert!(matches!(
        filter.judge_address(ip("64:ff9b::198.97.190.53")),
        Verdict::Deny(_)
    ));
    assert!(matches!(
        filter.judge(socket("[::ffff:10.0.0.5]:60000")),
        Verdict::Deny(_)
    ));
}

#[test]
fn a_global_own_address_opens_only_by_an_entry_of_full_length() {
    let with = |entry: &str| {
        PeerFilter::new(PeerRules {
            allow: nets(&[entry]),
            relay_addresses: Vec::new(),
            ..server()
        })
    };
    assert!(!allows(&with("198.97.190.0/24"), "198.97.190.53"));
    assert!(!allows(&with("198.97.190.52/31"), "198.97.190.53"));
    assert!(allows(&with("198.97.190.53/32"), "198.97.190.53"));
    assert_eq!(
        name(with("198.97.190.53/32").judge(socket("198.97.190.53:3478"))),
        "own_socket"
    );
}

#[test]
fn a_trial_on_one_machine_works_by_allowing_its_range() {
    let filter = PeerFilter::new(PeerRules {
        allow: nets(&["127.0.0.0/8", "10.0.0.0/8"]),
        ..server()
    });
    assert_eq!(filter.judge(socket("127.0.0.1:5000")), Verdict::Allow);
    assert_eq!(filter.judge(socket("10.0.0.5:60000")), Verdict::Allow);
    assert_eq!(filter.judge_address(ip("10.0.0.5")), Verdict::Allow);
    assert_eq!(name(filter.judge(socket("127.0.0.1:9641"))), "own_socket");
    assert_eq!(name(filter.judge(socket("127.9.9.9:3478"))), "own_socket");
    assert_eq!(name(filter.judge(socket("10.0.0.5:3478"))), "own_socket");
}

#[test]
fn own_addresses_given_in_mapped_form_count_as_ipv4() {
    let filter = PeerFilter::new(PeerRules {
        own_addresses: vec![ip("::ffff:198.97.190.53")],
        own_sockets: vec![socket("[::ffff:8.8.8.8]:53")],
        ..PeerRules::default()
    });
    assert_eq!(
        name(filter.judge_address(ip("198.97.190.53"))),
        "own_address"
    );
    assert_eq!(name(filter.judge(socket("8.8.8.8:53"))), "own_socket");
    assert_eq!(filter.judge(socket("8.8.8.8:54")), Verdict::Allow);
}

#[test]
fn a_relay_address_that_can_never_be_a_peer_is_not_opened_by_the_hairpin() {
    let filter = PeerFilter::new(PeerRules {
        relay_addresses: vec![ip("0.0.0.0"), ip("2002:808:808::1")],
        ..PeerRules::default()
    });
    assert_eq!(name(filter.judge_address(ip("0.0.0.0"))), "unspecified");
    assert_eq!(
        name(filter.judge_address(ip("2002:808:808::1"))),
        "transition"
    );
}

#[test]
fn the_operator_is_told_which_rule_decided() {
    let told = |filter: &PeerFilter, address: &str| match filter.judge_address(ip(address)) {
        Verdict::Deny(reason) => reason.to_string(),
        verdict => panic!("{verdict:?}"),
    };
    let lists = filter(&[], &["8.8.8.0/24"]);
    assert_eq!(told(&lists, "8.8.8.8"), "the deny entry 8.8.8.0/24");
    assert_eq!(
        told(&lists, "10.0.0.1"),
        "closed by default: 10.0.0.0/8 (private use, RFC 1918)"
    );
    assert_eq!(
        told(&lists, "2002::1"),
        "always closed: 2002::/16 (6to4, closed by RFC 8656 section 21.4)"
    );
    assert_eq!(
        told(&lists, "64:ff9b::127.0.0.1"),
        "it carries the IPv4 address 127.0.0.1: closed by default: 127.0.0.0/8 (loopback)"
    );
    let Verdict::Deny(reason) = lists.judge_address(ip("10.0.0.1")) else {
        panic!("open");
    };
    assert!(matches!(reason.rule, Rule::BuiltIn(range) if range.class == Class::Private));
}

#[test]
fn entries_that_open_special_ranges_are_listed_for_a_warning() {
    let opened = |allow: &[&str]| -> Vec<String> {
        filter(allow, &[])
            .opened_ranges()
            .map(|opened| format!("{} in {}", opened.entry, opened.range.net))
            .collect()
    };
    assert_eq!(
        opened(&[
            "10.1.0.0/16",
            "8.8.8.0/24",
            "0.0.0.0/0",
            "0.0.0.0/8",
            "169.254.169.254/32",
            "::ffff:0:0/96",
            "64:ff9b::/96",
            "fd00::/8"
        ]),
        [
            "10.1.0.0/16 in 10.0.0.0/8",
            "0.0.0.0/8 in 0.0.0.0/8",
            "169.254.169.254/32 in 169.254.169.254/32",
            "fd00::/8 in fc00::/7"
        ]
    );
}
