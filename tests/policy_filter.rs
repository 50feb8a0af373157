//! The peer filter: what is closed by default and what the lists of an operator change.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hairpin::policy::{Class, PeerFilter, PeerRules, Rule, Verdict, special_ranges};
use ipnet::IpNet;
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
        "always closed: 2002::/16 (6to4, closed by RFC 8656 §21.4)"
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
