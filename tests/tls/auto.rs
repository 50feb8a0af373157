//! TCP with TLS and without on one port.

use std::io::Write as _;

use rustls::version::TLS13;

use crate::client::{Client, is_closed, tls};
use crate::rig::Server;

#[test]
fn s_tls_03_t_mux_04_one_port_takes_plain_tcp_and_tls() {
    let server = Server::plain();
    let stream = server.connect(443);
    let local = stream.local_addr().unwrap();
    assert_eq!(Client { stream }.binding(), local);

    let stream = server.connect(443);
    let local = stream.local_addr().unwrap();
    let mut client = tls(stream, server.trust(&[&TLS13]), "localhost");
    assert_eq!(client.binding(), local);

    server.counts("hairpin_connections_total{transport=\"tcp\"}", 1);
    server.counts("hairpin_connections_total{transport=\"tls\"}", 1);
}

#[test]
fn requests_that_come_byte_by_byte_are_told_apart_too() {
    let server = Server::plain();
    let mut stream = server.connect(443);
    let local = stream.local_addr().unwrap();
    let request = crate::client::binding();
    for byte in &request.raw {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut client = Client { stream };
    let answer = crate::client::decode(&client.frame());
    assert_eq!(crate::client::mapped(&answer), local);
}

#[test]
fn t_mux_04_what_is_neither_is_closed() {
    let server = Server::plain();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x80; 64], &[0x17; 64]] {
        let mut stream = server.connect(443);
        stream.write_all(bytes).unwrap();
        assert!(is_closed(&mut stream));
    }
    let mut silent = server.connect(443);
    assert!(is_closed(&mut silent), "after the time limit");
}
