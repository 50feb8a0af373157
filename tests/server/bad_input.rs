//! Any bytes on any socket: no panic, no growth, no answer to what the RFCs say to discard.

use crate::client::{Client, Incoming, socket};
use crate::server::{Server, Setup, V4};
use crate::vector_file;
use hairpin::wire::attribute::Family;
use hairpin::wire::{AttributeType, Class, Method};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::io::Write;
use std::net::Shutdown;

/// What is no mistake, or a mistake the RFCs want answered.
const ANSWERED: [&str; 5] = [
    "unknown comprehension-required 0x7001",
    "unknown comprehension-optional 0xFF05 TURN_LOGGING_ID",
    "XOR-PEER-ADDRESS family 3",
    "XOR-PEER-ADDRESS IPv4 length 12",
    "XOR-PEER-ADDRESS IPv6 family length 8",
];

fn negative_vectors() -> Vec<(String, Vec<u8>)> {
    let mut vectors = vector_file::open("derived-negative-stun").messages;
    vectors.extend(vector_file::open("derived-channeldata-frames").messages);
    assert!(vectors.len() > 25);
    vectors
}

/// On a stream frames follow each other, so that these hold a whole request.
const ANSWERED_ON_STREAMS: [&str; 2] = [
    "stream: two frames + STUN Binding request back to back",
    "length 0 with 4 trailing bytes (UDP)",
];

fn is_answered(label: &str) -> bool {
    ANSWERED.contains(&label) || ANSWERED_ON_STREAMS.contains(&label)
}

fn assert_sound(server: &Server) {
    for mut client in Client::each(server.address()) {
        client.binding();
        client.allocate();
        assert_eq!(client.refresh(0).code, None);
    }
    let panicked = server.log().into_iter().find(|line| line.contains("panic"));
    assert_eq!(panicked, None);
}

#[test]
fn s_hdr_malformed_datagrams_get_no_answer() {
    let server = Setup::new().start();
    for (label, bytes) in negative_vectors() {
        for with_allocation in [false, true] {
            let mut client = Client::udp(server.address());
            if with_allocation {
                client.allocate();
            }
            client.send(&bytes);
            // Nothing is in front of the answer to the next request.
            let request = client.plain(Method::BINDING, Class::Request, |_| {});
            client.send(&request);
            let next = client.response();
            let is_own = next.transaction.0 == request[8..20];
            // Frames and a request in one datagram are no answerable datagram.
            assert_eq!(!is_own, ANSWERED.contains(&label.as_str()), "{label}");
        }
    }
    assert_sound(&server);
}

#[test]
fn s_hdr_malformed_streams_get_no_answer() {
    let server = Setup::new().start();
    for (label, bytes) in negative_vectors() {
        let mut client = Client::tcp(server.address());
        client.send(&bytes);
        client.stream().shutdown(Shutdown::Write).unwrap();
        let answers = std::iter::from_fn(|| match client.receive() {
            Incoming::End => None,
            answer => Some(answer),
        });
        let count = answers.count();
        assert_eq!(count, usize::from(is_answered(&label)), "{label}");
    }
    assert_sound(&server);
}

#[test]
fn s_hdr_07_08_09_10_methods_and_classes_nobody_may_send_get_no_answer() {
    let server = Setup::new().start();
    let mut client = Client::udp(server.address());
    client.allocate();
    let mut discarded = Vec::new();
    for bits in [
        0x0006, 0x0007, 0x000C, 0x000D, 0x0011, 0x0013, 0x0014, 0x0018, 0x0019, 0x0101, 0x0103,
        0x0111, 0x0113, 0x0117, 0x0017, 0x3EEF,
    ] {
        let mut message = client.plain(Method::BINDING, Class::Request, |_| {});
        message[..2].copy_from_slice(&u16::to_be_bytes(bits));
        discarded.push(message);
    }
    for class in [Class::Indication, Class::Success, Class::Error] {
        discarded.push(client.plain(Method::BINDING, class, |writer| {
            writer.attribute(AttributeType(0x7001), &[]);
        }));
    }
    for message in discarded {
        client.send(&message);
        let request = client.plain(Method::BINDING, Class::Request, |_| {});
        client.send(&request);
        let next = client.response();
        assert_eq!(next.transaction.0, request[8..20], "{:x?}", &message[..2]);
    }
}

#[test]
fn x_sec_01_02_requests_without_a_right_credential_of_their_own_change_nothing() {
    let server = Setup::new().start();
    let mut client = Client::udp(server.address());
    client.allocate();
    // Captured on its way, and sent from another port.
    let release = client.signed(Method::REFRESH, |writer| {
        writer.number(AttributeType::LIFETIME, 0);
    });
    let mut thief = Client::udp(server.address());
    thief.send(&release);
    assert!(matches!(thief.response().code, Some(437 | 438)));
    // Without integrity, with a wrong password, with another's name.
    let peer = socket(V4).local_addr().unwrap();
    let bare = client.plain(Method::CREATE_PERMISSION, Class::Request, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    client.send(&bare);
    assert_eq!(client.response().code, Some(401));
    for (user, password) in [("user", "wrong"), ("nobody", "wrong"), ("", "")] {
        let mut guesser = Client::udp(server.address());
        (guesser.user, guesser.password) = (user.to_owned(), password.to_owned());
        let response = guesser.try_allocate(Family::V4);
        assert!(matches!(response.code, Some(400 | 401)), "{response:?}");
    }
    assert_eq!(client.refresh(600).code, None);
    assert_eq!(server.metrics().get("hairpin_allocations"), 1);
}

/// Bytes made up, or messages and frames with a few bytes changed, cut off or added.
fn rubbish(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if rng.random_bool(0.2) {
        let mut bytes = vec![0; rng.random_range(0..300)];
        rng.fill_bytes(&mut bytes);
        return bytes;
    }
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..4) {
        match rng.random_range(0..5) {
            0 if !bytes.is_empty() => bytes.truncate(rng.random_range(0..bytes.len())),
            1 => bytes.extend((0..rng.random_range(1..9)).map(|i| i * 31)),
            // The length field.
            2 if bytes.len() > 4 => bytes[3] = rng.random(),
            _ if !bytes.is_empty() => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            _ => {}
        }
    }
    bytes
}

/// Every request a client makes, signed, and its frames.
fn seeds(client: &mut Client) -> Vec<Vec<u8>> {
    let peer = socket(V4).local_addr().unwrap();
    let address = AttributeType::XOR_PEER_ADDRESS;
    let mut seeds = vec![
        client.plain(Method::BINDING, Class::Request, |writer| {
            writer
                .attribute(AttributeType::SOFTWARE, b"rubbish")
                .fingerprint();
        }),
        client.plain(Method::SEND, Class::Indication, |writer| {
            writer
                .xor_address(address, peer)
                .attribute(AttributeType::DATA, b"payload");
        }),
        client.signed(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(address, peer).xor_address(address, peer);
        }),
        client.signed(Method::CHANNEL_BIND, |writer| {
            writer
                .number(AttributeType::CHANNEL_NUMBER, 0x4000_0000)
                .xor_address(address, peer);
        }),
        client.signed(Method::REFRESH, |writer| {
            writer.number(AttributeType::LIFETIME, 700);
        }),
        client.signed(Method::ALLOCATE, |writer| {
            writer
                .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attribute(AttributeType::EVEN_PORT, &[0x80]);
        }),
    ];
    seeds.push(client.channel_frame(0x4000, b"payload"));
    seeds.extend(negative_vectors().into_iter().map(|(_, bytes)| bytes));
    seeds
}

#[test]
fn rubbish_in_datagrams_does_no_harm() {
    let server = Setup::new().set("server", "workers = 2").start();
    let mut rng = StdRng::seed_from_u64(1);
    let mut client = Client::udp(server.address());
    client.allocate();
    let seeds = seeds(&mut client);
    let before = server.memory();
    for _ in 0..200 {
        // From strangers and from an allocation.
        let stranger = Client::udp(server.address());
        for number in 0..100 {
            let bytes = rubbish(&mut rng, &seeds);
            let sender = if number % 2 == 0 { &client } else { &stranger };
            sender.send(&bytes);
        }
        // Its answers come in between; this one shows that the server has come so far.
        let request = client.plain(Method::BINDING, Class::Request, |_| {});
        client.send(&request);
        while client.response().transaction.0 != request[8..20] {}
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    drop(client);
    assert_sound(&server);
}

#[test]
fn rubbish_on_streams_and_relays_does_no_harm() {
    let server = Setup::new().set("server", "workers = 2").start();
    let mut rng = StdRng::seed_from_u64(2);
    let mut client = Client::tcp(server.address());
    let relayed = client.allocate();
    let seeds = seeds(&mut client);
    let before = server.memory();
    let peer = socket(V4);
    for _ in 0..1000 {
        let stranger = Client::tcp(server.address());
        for _ in 0..rng.random_range(1..20) {
            let bytes = rubbish(&mut rng, &seeds);
            peer.send_to(&bytes, relayed).unwrap();
            // The server closes as soon as it has seen enough.
            if stranger.stream().write_all(&bytes).is_err() {
                break;
            }
        }
    }
    client.binding();
    server.wait_for_metric("hairpin_connections{transport=\"tcp\"}", 1);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    assert_sound(&server);
}
