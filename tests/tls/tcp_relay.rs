//! TCP relays (RFC 6062) for clients that come in over TLS: a peer's plain bytes in and out of a client's records.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use stun::attributes::{ATTR_CONNECTION_ID, AttrType};
use stun::message::{
    CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, Message, MessageType, Method, Setter,
};
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;
use turn::proto::{PROTO_TCP, Protocol};

use crate::client::{TlsClient, decode, nonce, relayed, request, tls};
use crate::rig::{PATIENCE, Server, certificate};

const CONNECT: u16 = 0x00A;
const CONNECTION_BIND: u16 = 0x00B;

/// A method that the crate has no name for; the type of its request is the same number.
fn method(number: u16) -> Method {
    let mut kind = MessageType::default();
    kind.read_value(number);
    kind.method
}

struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

fn server() -> Server {
    Server::start(
        vec![certificate(&["localhost"])],
        "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n[tcp_relay]\nenabled = true\n",
    )
}

fn connection(server: &Server, version: &'static SupportedProtocolVersion) -> TlsClient {
    tls(server.connect(5349), server.trust(&[version]), "localhost")
}

fn allocate_tcp() -> Vec<Box<dyn Setter>> {
    let protocol: Protocol = PROTO_TCP;
    vec![Box::new(RequestedTransport { protocol })]
}

/// A client's control connection, its data connection with bytes sent in one record with the ConnectionBind, and the
/// peer, which sent its banner before.
fn connected(
    server: &Server,
    version: &'static SupportedProtocolVersion,
    pipelined: &[u8],
) -> (TlsClient, TlsClient, TcpStream) {
    let mut control = connection(server, version);
    let challenge = control.ask(&request(METHOD_ALLOCATE, allocate_tcp(), None));
    let nonce_here = nonce(&challenge);
    let answer = control.ask(&request(METHOD_ALLOCATE, allocate_tcp(), Some(&nonce_here)));
    let at = relayed(&answer);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(peer) = listener.local_addr().unwrap() else {
        panic!("not IPv4");
    };
    let peer = PeerAddress {
        ip: (*peer.ip()).into(),
        port: peer.port(),
    };
    let answer = control.ask(&request(
        method(CONNECT),
        vec![Box::new(peer)],
        Some(&nonce_here),
    ));
    assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
    let id = answer.get(ATTR_CONNECTION_ID).unwrap();
    let (mut peer, from) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(from, at);
    peer.write_all(b"banner").unwrap();

    let mut data = connection(server, version);
    let challenge = data.ask(&request(method(CONNECTION_BIND), vec![], None));
    let id = Raw(ATTR_CONNECTION_ID, id);
    let bind = request(
        method(CONNECTION_BIND),
        vec![Box::new(id)],
        Some(&nonce(&challenge)),
    );
    data.send(&[&bind.raw[..], pipelined].concat());
    let answer = decode(&data.frame());
    assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
    let mut banner = [0; 6];
    data.stream.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"banner");
    (control, data, peer)
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8)
        .collect()
}

#[test]
fn t_tcp_01_17_18_bytes_flow_both_ways_over_tls() {
    let server = server();
    for version in [&TLS12, &TLS13] {
        let pipelined = pattern(10_000);
        let (_control, mut data, mut peer) = connected(&server, version, &pipelined);
        let mut there = vec![0; pipelined.len()];
        peer.read_exact(&mut there).unwrap();
        assert_eq!(there, pipelined);

        let bytes = pattern(3 << 20);
        let mut reader = peer.try_clone().unwrap();
        let sent = bytes.clone();
        let receiving = std::thread::spawn(move || {
            // The sender has to wait for it.
            std::thread::sleep(std::time::Duration::from_millis(300));
            let mut got = vec![0; sent.len()];
            reader.read_exact(&mut got).unwrap();
            got == sent
        });
        data.send(&bytes);
        assert!(receiving.join().unwrap());

        let sent = bytes.clone();
        let mut writer = peer.try_clone().unwrap();
        let sending = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mut got = vec![0; bytes.len()];
        data.stream.read_exact(&mut got).unwrap();
        sending.join().unwrap();
        assert!(got == bytes);
    }
}

#[test]
fn t_tcp_20_21_each_direction_ends_for_itself_over_tls() {
    let server = server();
    // The client first, with TLS's own word for it.
    let (_control, mut data, mut peer) = connected(&server, &TLS13, b"question");
    data.stream.conn.send_close_notify();
    data.stream.flush().unwrap();
    let mut question = String::new();
    peer.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    peer.write_all(&pattern(200_000)).unwrap();
    drop(peer);
    let mut answer = Vec::new();
    // To its end, which is told properly: anything else is an error of rustls.
    data.stream.read_to_end(&mut answer).unwrap();
    assert!(answer == pattern(200_000));

    // Then the peer first.
    let (control, mut data, mut peer) = connected(&server, &TLS13, b"");
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(data.stream.read(&mut [0; 8]).unwrap(), 0);
    data.send(b"still here");
    let mut last = [0; 10];
    peer.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"still here");
    // And the allocation's end is everybody's.
    drop(control);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}
