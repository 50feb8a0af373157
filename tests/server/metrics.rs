//! `/metrics` after known traffic.

use crate::client::{Client, Incoming, receive_from, socket};
use crate::server::{Metrics, PASSWORD, Setup, USER, V4};
use hairpin::auth::mint_ephemeral;
use hairpin::wire::attribute::Family;
use std::collections::BTreeSet;
use std::time::Duration;

/// The series of a family that are not zero.
fn counted(metrics: &Metrics, family: &str) -> Vec<String> {
    let prefix = format!("{family}{{");
    let series = metrics.series().into_iter();
    series
        .filter(|(name, value)| name.starts_with(&prefix) && *value > 0)
        .map(|(name, value)| format!("{} {value}", &name[prefix.len()..name.len() - 1]))
        .collect()
}

#[test]
fn known_traffic_gives_exact_numbers() {
    let server = Setup::new()
        .set("server", "workers = 2")
        .set("relay", "quarantine = \"10m\"")
        .start();
    let peer = socket(V4);
    let peer_address = peer.local_addr().unwrap();
    let mut client = Client::udp(server.address());
    client.binding();
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer_address);
    for size in [100, 200, 300] {
        client.send_channel(0x4000, &vec![0; size]);
        receive_from(&peer);
    }
    client.send_indication(peer_address, &[0; 50]);
    receive_from(&peer);
    for size in [1000, 11] {
        peer.send_to(&vec![0; size], relayed).unwrap();
        assert!(matches!(client.receive(), Incoming::Channel(..)));
    }
    // Dropped: no STUN, no channel, no permission (both ways).
    client.send(&[0xFF; 4]);
    client.send_channel(0x4001, b"no channel");
    client.send_channel(0x4002, b"no channel");
    client.send_indication("127.0.0.9:9".parse().unwrap(), b"no permission");
    let stranger = socket([127, 0, 0, 2].into());
    stranger.send_to(b"no permission", relayed).unwrap();
    // Refused: a denied peer, a wrong password, a name nobody has, a nonce made up.
    let response = client.request(hairpin::wire::Method::CREATE_PERMISSION, |writer| {
        let denied = "10.0.0.1:9".parse().unwrap();
        writer.xor_address(hairpin::wire::AttributeType::XOR_PEER_ADDRESS, denied);
    });
    assert_eq!(response.code, Some(403));
    let mut other = Client::tcp(server.address());
    other.password = "wrong".to_owned();
    assert_eq!(other.try_allocate(Family::V4).code, Some(401));
    other.user = "nobody".to_owned();
    assert_eq!(other.try_allocate(Family::V4).code, Some(401));
    (other.user, other.password) = (USER.to_owned(), PASSWORD.to_owned());
    other.nonce = b"made-up".to_vec();
    assert_eq!(
        other
            .request_once(hairpin::wire::Method::REFRESH, |_| {})
            .code,
        Some(438)
    );
    assert_eq!(client.refresh(0).code, None);
    client.allocate();

    server.wait_for_metric("hairpin_dropped_packets_total{reason=\"no_permission\"}", 2);
    let metrics = server.metrics();
    let get = |series: &str| metrics.get(series);
    assert_eq!(
        counted(&metrics, "hairpin_requests_total"),
        [
            "method=\"allocate\" 6",
            "method=\"binding\" 1",
            "method=\"channel_bind\" 1",
            "method=\"create_permission\" 1",
            "method=\"refresh\" 2",
        ]
    );
    assert_eq!(
        counted(&metrics, "hairpin_responses_total"),
        [
            "code=\"401\",method=\"allocate\" 4",
            "code=\"403\",method=\"create_permission\" 1",
            "code=\"438\",method=\"refresh\" 1",
            "code=\"success\",method=\"allocate\" 2",
            "code=\"success\",method=\"binding\" 1",
            "code=\"success\",method=\"channel_bind\" 1",
            "code=\"success\",method=\"refresh\" 1",
        ]
    );
    assert_eq!(
        counted(&metrics, "hairpin_relayed_packets_total"),
        ["direction=\"to_client\" 2", "direction=\"to_peer\" 4"]
    );
    assert_eq!(
        counted(&metrics, "hairpin_relayed_bytes_total"),
        ["direction=\"to_client\" 1011", "direction=\"to_peer\" 650"]
    );
    assert_eq!(
        counted(&metrics, "hairpin_auth_failures_total"),
        [
            "reason=\"stale_nonce\" 1",
            "reason=\"unknown_user\" 1",
            "reason=\"wrong_password\" 1",
        ]
    );
    assert_eq!(get("hairpin_auth_challenges_total"), 2);
    assert_eq!(
        counted(&metrics, "hairpin_dropped_packets_total"),
        [
            "reason=\"no_channel\" 2",
            "reason=\"no_permission\" 2",
            "reason=\"not_stun\" 1",
        ]
    );
    assert_eq!(counted(&metrics, "hairpin_refusals_total"), [""; 0]);
    assert_eq!(
        counted(&metrics, "hairpin_relay_ports"),
        [
            "state=\"free\" 98",
            "state=\"quarantined\" 1",
            "state=\"used\" 1"
        ]
    );
    assert_eq!(
        (get("hairpin_allocations"), get("hairpin_allocations_total")),
        (1, 2)
    );
    assert_eq!(
        (
            get("hairpin_connections{transport=\"tcp\"}"),
            get("hairpin_connections_total{transport=\"tcp\"}")
        ),
        (1, 1)
    );
    assert_eq!(get("hairpin_workers"), 2);
    assert_eq!(get("hairpin_internal_packets_total"), 0);
}

#[test]
fn hairpins_are_counted_once_as_such() {
    let server = Setup::new().start();
    let (mut a, mut b) = (Client::udp(server.address()), Client::tcp(server.address()));
    let (relayed_a, relayed_b) = (a.allocate(), b.allocate());
    a.bind_channel(0x4000, relayed_b);
    b.permit(relayed_a);
    for _ in 0..5 {
        a.send_channel(0x4000, &[0; 20]);
        assert_eq!(b.receive(), Incoming::Data(relayed_a, vec![0; 20]));
    }
    let metrics = server.metrics();
    assert_eq!(metrics.get("hairpin_internal_packets_total"), 5);
    assert_eq!(metrics.get("hairpin_internal_bytes_total"), 100);
    let both = ["direction=\"to_client\" 5", "direction=\"to_peer\" 5"];
    assert_eq!(counted(&metrics, "hairpin_relayed_packets_total"), both);
}

#[test]
fn a_scrape_is_prometheus_text() {
    let server = Setup::new().start();
    let metrics = server.metrics();
    let head = metrics.head.to_lowercase();
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let is_name = |name: &str| {
        (name.starts_with("hairpin_") || name.starts_with("process_"))
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let (mut family, mut kind) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    for line in metrics.body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(seen.insert(name.to_owned()), "{name} comes twice");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, what) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            kind = what.to_owned();
            assert!(["counter", "gauge", "histogram"].contains(&what), "{line}");
            // https://prometheus.io/docs/practices/naming: what only grows is a total.
            assert_eq!(what == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
                None => (series, ""),
            };
            let name = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap(),
                _ => name,
            };
            assert_eq!(name, family, "{line}");
            assert!(!kind.is_empty());
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(key.bytes().all(|b| b.is_ascii_lowercase()), "{line}");
                assert!(value.ends_with('"'), "{line}");
            }
        }
    }
    assert!(seen.len() > 10);
}

#[test]
fn a_scrape_costs_no_more_with_thousands_of_sessions() {
    let _ = hairpin::net::descriptors::raise_limit();
    // Before Linux 6.2 open descriptors have to be counted one by one.
    if std::fs::metadata("/proc/self/fd").unwrap().len() == 0 {
        return;
    }
    let server = Setup::new()
        .set("limits", "allocations_per_user = 0")
        .set("limits", "allocations_per_source = 0")
        .set("relay", "ports = \"20000-32000\"")
        .start();
    // Nanoseconds of the thread that serves operators, which is the process's first.
    let cost = || {
        let spent = || {
            let path = format!("/proc/{}/schedstat", server.id());
            let text = std::fs::read_to_string(path).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let before = spent();
        for _ in 0..20 {
            server.metrics();
        }
        Duration::from_nanos((spent() - before) / 20)
    };
    let without = cost();
    let mut clients: Vec<Client> = (0..3000).map(|_| Client::udp(server.address())).collect();
    for client in &mut clients {
        client.allocate();
    }
    assert_eq!(server.metrics().get("hairpin_allocations"), 3000);
    let with = cost();
    let more = with.saturating_sub(without);
    assert!(
        more < Duration::from_millis(1),
        "{with:?} after {without:?}"
    );
}

#[test]
fn user_names_make_no_series() {
    let server = Setup::new()
        .set("auth", "secrets = [\"a shared secret of some length\"]")
        .start();
    let session = |number: u32| {
        // One that is nobody, one that is proved.
        let mut client = Client::udp(server.address());
        client.user = format!("nobody-{number}");
        assert_eq!(client.try_allocate(Family::V4).code, Some(401));
        let name = format!("somebody-{number}");
        let secret = b"a shared secret of some length";
        (client.user, client.password) = mint_ephemeral(secret, Some(&name), 4_000_000_000);
        client.allocate();
        assert_eq!(client.refresh(0).code, None);
    };
    session(0);
    let before: Vec<_> = server.metrics().series().into_keys().collect();
    (1..100).for_each(session);
    let metrics = server.metrics();
    let after: Vec<_> = metrics.series().into_keys().collect();
    assert_eq!(before, after);
    assert!(!metrics.body.contains("body-"));
    assert_eq!(metrics.get("hairpin_allocations_total"), 100);
    assert_eq!(
        metrics.get("hairpin_auth_failures_total{reason=\"unknown_user\"}"),
        100
    );
}
