//! Connections through a proxy that says by the PROXY protocol whose they are.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use rustls::version::TLS13;

use crate::client::{Client, binding, decode, is_closed, mapped, tls};
use crate::rig::Server;

const FAILURES: &str = "hairpin_proxy_protocol_failures_total";
const CLIENT: &str = "198.51.100.7:40000";

/// A header of version 2 with a TLV behind the addresses, for IPv4.
pub fn version_2(command: u8, kind: u8, client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let std::net::IpAddr::V4(ip) = client.ip() else {
        panic!("IPv4 only");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, kind, 0, 12 + 7]);
    header.extend(ip.octets());
    header.extend([203, 0, 113, 1]);
    header.extend(client.port().to_be_bytes());
    header.extend(3478_u16.to_be_bytes());
    header.extend([4, 0, 4, 1, 2, 3, 4]);
    header
}

fn with_header(server: &Server, port: u16, header: &[u8]) -> TcpStream {
    let mut stream = server.connect(port);
    stream.write_all(header).unwrap();
    stream
}

#[test]
fn a_client_is_told_the_address_its_proxy_names() {
    let server = Server::behind("127.0.0.0/8");
    let v6 = "[2001:db8::7]:40000";
    for (header, expected) in [
        (
            b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 3478\r\n".to_vec(),
            CLIENT,
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 3478\r\n".to_vec(),
            v6,
        ),
        (version_2(1, 0x11, CLIENT), CLIENT),
    ] {
        let expected: SocketAddr = expected.parse().unwrap();
        for port in [3478, 443] {
            let stream = with_header(&server, port, &header);
            assert_eq!(Client { stream }.binding(), expected);
        }
        for port in [5349, 443] {
            let stream = with_header(&server, port, &header);
            let mut client = tls(stream, server.trust(&[&TLS13]), "localhost");
            assert_eq!(client.binding(), expected);
        }
    }
}

#[test]
fn header_and_first_request_may_come_at_once_or_byte_by_byte() {
    let server = Server::behind("127.0.0.0/8");
    for header in [
        b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 3478\r\n".to_vec(),
        version_2(1, 0x11, CLIENT),
    ] {
        let request = binding();
        let all = [&header[..], &request.raw].concat();
        for piece in [all.len(), 1] {
            for port in [3478, 443] {
                let mut stream = server.connect(port);
                for bytes in all.chunks(piece) {
                    stream.write_all(bytes).unwrap();
                }
                let answer = decode(&Client { stream }.frame());
                assert_eq!(mapped(&answer), CLIENT.parse().unwrap());
            }
        }
    }
}

#[test]
fn a_header_that_names_nobody_leaves_the_address_of_the_connection() {
    let server = Server::behind("127.0.0.0/8");
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN whatever this is\r\n".to_vec(),
        version_2(0, 0x00, CLIENT),
        version_2(0, 0x11, CLIENT),
        version_2(1, 0x00, CLIENT),
    ] {
        let stream = with_header(&server, 3478, &header);
        let local = stream.local_addr().unwrap();
        assert_eq!(Client { stream }.binding(), local);
    }
}

#[test]
fn an_allocation_belongs_to_the_named_client() {
    let server = Server::behind("127.0.0.0/8");
    let stream = with_header(&server, 3478, &version_2(1, 0x11, CLIENT));
    let mut client = Client { stream };
    client.allocate();
    server.expect_in_log(CLIENT);
}

#[test]
fn without_a_header_a_connection_is_closed() {
    let server = Server::behind("127.0.0.0/8");
    for (port, bytes) in [
        (3478, binding().raw),
        (443, binding().raw),
        (5349, vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]),
        (443, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        let mut stream = with_header(&server, port, &bytes);
        assert!(is_closed(&mut stream));
    }
    server.counts(&format!("{FAILURES}{{reason=\"missing\"}}"), 4);
    let mut silent = server.connect(3478);
    assert!(is_closed(&mut silent));
    server.counts(&format!("{FAILURES}{{reason=\"timeout\"}}"), 1);
    drop(server.connect(3478));
    server.counts(&format!("{FAILURES}{{reason=\"closed\"}}"), 1);
    assert_eq!(
        server.metric("hairpin_connections_total{transport=\"tcp\"}"),
        0
    );
}

#[test]
fn a_malformed_header_closes_the_connection() {
    let server = Server::behind("127.0.0.0/8");
    let mut too_short = version_2(1, 0x11, CLIENT);
    too_short[15] = 11;
    for header in [
        b"PROXY TCP4 198.51.100.7 203.0.113.1 40000\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 3478\r\n".to_vec(),
        b"PROXY UDP4 198.51.100.7 203.0.113.1 40000 3478\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 120]].concat(),
        version_2(2, 0x11, CLIENT),
        version_2(1, 0x51, CLIENT),
        too_short,
    ] {
        let mut stream = with_header(&server, 3478, &header);
        assert!(is_closed(&mut stream), "{header:?}");
    }
    server.counts(&format!("{FAILURES}{{reason=\"malformed\"}}"), 7);
}

#[test]
fn t_mux_05_nobody_but_the_proxies_is_served_with_a_header_or_without() {
    let server = Server::behind("10.0.0.0/8");
    for header in [version_2(1, 0x11, CLIENT), binding().raw] {
        for port in [3478, 443, 5349] {
            let mut stream = server.connect(port);
            let _ = stream.write_all(&header);
            assert!(is_closed(&mut stream));
        }
    }
    server.counts(&format!("{FAILURES}{{reason=\"untrusted\"}}"), 6);
}

#[test]
fn t_mux_05_a_listener_without_proxies_takes_a_header_for_what_it_is_not() {
    let server = Server::plain();
    let mut stream = with_header(&server, 3478, &version_2(1, 0x11, CLIENT));
    assert!(is_closed(&mut stream));
}
