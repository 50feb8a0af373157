//! Versions, ALPN, and handshakes that come to nothing.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::client::{is_closed, tls};
use crate::rig::{Server, certificate, trust};

const FAILURES: &str = "hairpin_tls_handshake_failures_total";

#[test]
fn s_tls_02_tls_1_2_and_1_3_clients_learn_their_address() {
    let server = Server::plain();
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let stream = server.connect(5349);
        let local = stream.local_addr().unwrap();
        let mut client = tls(stream, server.trust(&[version]), "localhost");
        assert_eq!(client.binding(), local);
        assert_eq!(client.stream.conn.protocol_version(), Some(expected));
        assert_eq!(client.binding(), local, "and once more");
    }
    server.counts("hairpin_connections_total{transport=\"tls\"}", 2);
    server.counts("hairpin_connections{transport=\"tls\"}", 0);
    assert_eq!(
        server.metric("hairpin_connections_total{transport=\"tcp\"}"),
        0
    );
}

#[test]
fn s_tls_09_a_client_gets_the_protocol_it_asks_for_by_alpn_and_is_let_in_without() {
    let server = Server::plain();
    let offers: [(&[&str], Option<&str>); 5] = [
        (&[], None),
        (&["stun.turn"], Some("stun.turn")),
        (&["stun.nat-discovery"], Some("stun.nat-discovery")),
        (&["h2", "stun.turn"], Some("stun.turn")),
        (&["h2", "http/1.1"], None),
    ];
    for version in [&TLS12, &TLS13] {
        for (offered, expected) in offers {
            let mut config = server.trust(&[version]);
            config.alpn_protocols = offered
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            let mut client = tls(server.connect(5349), config, "localhost");
            client.binding();
            let selected = client.stream.conn.alpn_protocol();
            assert_eq!(selected, expected.map(str::as_bytes), "{offered:?}");
        }
    }
}

#[test]
fn s_tls_13_a_session_is_resumed_by_a_ticket_and_early_data_is_not_offered() {
    let server = Server::plain();
    for version in [&TLS12, &TLS13] {
        let mut config = server.trust(&[version]);
        config.enable_early_data = true;
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = tls(server.connect(5349), config.clone(), "localhost");
            assert!(client.stream.conn.early_data().is_none());
            client.binding();
            kinds.push(client.stream.conn.handshake_kind().unwrap());
        }
        assert_eq!(
            kinds,
            [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]
        );
    }
}

/// A ClientHello of TLS 1.1 as it stood before there were extensions for versions.
fn hello_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.push(0);
    // TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA and TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    body.extend([0, 4, 0xC0, 0x13, 0, 0x2F, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[test]
fn s_tls_02_tls_1_1_is_refused_with_an_alert() {
    let server = Server::plain();
    let mut stream = server.connect(5349);
    stream.write_all(&hello_1_1()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A fatal alert, protocol_version or handshake_failure, and nothing else.
    let [0x15, _, _, 0, 2, 2, 70 | 40] = answer[..] else {
        panic!("{answer:?}");
    };
    server.counts(&format!("{FAILURES}{{reason=\"version\"}}"), 1);
}

#[test]
fn what_is_not_tls_is_closed_on_a_tls_port() {
    let server = Server::plain();
    let stun = crate::client::binding().raw;
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        stun,
        vec![0xFF; 100],
    ] {
        let mut stream = server.connect(5349);
        stream.write_all(&bytes).unwrap();
        assert!(is_closed(&mut stream));
    }
    server.counts(&format!("{FAILURES}{{reason=\"not_tls\"}}"), 3);
    assert!(
        !server.log().contains("WARN hairpin::net"),
        "{}",
        server.log()
    );
}

#[test]
fn a_slow_handshake_is_closed_after_the_time_limit() {
    let server = Server::plain();
    let started = Instant::now();
    let mut silent = server.connect(5349);
    let mut slow = server.connect(5349);
    slow.write_all(&hello_1_1()[..20]).unwrap();
    assert!(is_closed(&mut silent));
    assert!(is_closed(&mut slow));
    assert!(started.elapsed() >= Duration::from_millis(900));
    assert!(started.elapsed() < Duration::from_secs(5));
    server.counts(&format!("{FAILURES}{{reason=\"timeout\"}}"), 2);
    drop(server.connect(5349));
    server.counts(&format!("{FAILURES}{{reason=\"closed\"}}"), 1);
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_counted_as_having_refused() {
    let server = Server::plain();
    let other = certificate(&["localhost"]);
    let config = trust([&other.der].into_iter(), &[&TLS13]);
    let mut client = tls(server.connect(5349), config, "localhost");
    let request = crate::client::binding().raw;
    assert!(client.stream.write_all(&request).is_err());
    server.counts(&format!("{FAILURES}{{reason=\"refused_by_client\"}}"), 1);
}

#[test]
fn a_connection_that_says_nothing_behind_its_handshake_is_closed_with_a_word() {
    let server = Server::plain();
    let mut client = tls(server.connect(5349), server.trust(&[&TLS13]), "localhost");
    let mut nothing = [0; 1];
    // The end by a close_notify is no error; without one it would be.
    assert_eq!(client.stream.read(&mut nothing).unwrap(), 0);
}
