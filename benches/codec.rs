//! What reading and writing cost: the messages every client sends, and the frame most of its traffic is made of.
//!
//! `cargo bench --bench codec`

#![allow(missing_docs, clippy::unwrap_used)]

use divan::{Bencher, black_box};
use hairpin::wire::stream::next_frame;
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm,
    TransactionId, Writer, channel_data,
};
use std::net::SocketAddr;

fn main() {
    divan::main();
}

const TRANSACTION: TransactionId = TransactionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);

fn key() -> Key {
    Key::long_term(
        PasswordAlgorithm::Md5,
        b"1893456000:alice",
        "example.org",
        b"MME/7rvfb/gOjpkB59+7AxlCLvk=",
    )
}

fn relayed() -> SocketAddr {
    ([192, 0, 2, 1], 50_000).into()
}

fn request(kind: MessageType, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = vec![0; 1500];
    let mut writer = Writer::new(&mut buffer, kind, TRANSACTION);
    fill(&mut writer);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

fn binding() -> Vec<u8> {
    request(MessageType::new(Method::BINDING, Class::Request), |_| ())
}

/// As libwebrtc sends it once it has been challenged.
fn allocate(mac: Mac) -> Vec<u8> {
    request(
        MessageType::new(Method::ALLOCATE, Class::Request),
        |writer| {
            writer
                .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attribute(AttributeType::USERNAME, b"1893456000:alice")
                .attribute(AttributeType::REALM, b"example.org")
                .attribute(AttributeType::NONCE, b"obMatJos2wAAAdl7W7PeDU4hKE72jda")
                .integrity(mac, &key());
        },
    )
}

fn frame() -> Vec<u8> {
    let mut frame = channel_data::header(ChannelNumber::MIN, 1200)
        .unwrap()
        .to_vec();
    frame.resize(1204, 0xAB);
    frame
}

#[divan::bench]
fn parse_binding(bencher: Bencher) {
    let bytes = binding();
    bencher.bench_local(|| Message::parse(black_box(&bytes)).is_ok());
}

#[divan::bench]
fn parse_binding_with_fingerprint(bencher: Bencher) {
    let bytes = request(
        MessageType::new(Method::BINDING, Class::Request),
        |writer| {
            writer.fingerprint();
        },
    );
    bencher.bench_local(|| Message::parse(black_box(&bytes)).is_ok());
}

#[divan::bench]
fn parse_authenticated_allocate(bencher: Bencher) {
    let bytes = allocate(Mac::Sha1);
    bencher.bench_local(|| {
        let message = Message::parse(black_box(&bytes)).unwrap();
        message.attribute(AttributeType::NONCE).is_some()
    });
}

#[divan::bench(args = [Mac::Sha1, Mac::Sha256])]
fn verify_allocate(bencher: Bencher, mac: Mac) {
    let (bytes, key) = (allocate(mac), key());
    let message = Message::parse(&bytes).unwrap();
    assert!(message.authenticate(&key).is_some());
    bencher.bench_local(|| black_box(&message).authenticate(black_box(&key)).is_some());
}

#[divan::bench]
fn derive_long_term_key(bencher: Bencher) {
    bencher.bench_local(key);
}

#[divan::bench]
fn parse_channel_data(bencher: Bencher) {
    let bytes = frame();
    bencher.bench_local(|| channel_data::parse(black_box(&bytes)));
}

#[divan::bench]
fn frame_channel_data_on_a_stream(bencher: Bencher) {
    let bytes = frame();
    bencher.bench_local(|| next_frame(black_box(&bytes)));
}

#[divan::bench(args = [Mac::Sha1, Mac::Sha256])]
fn write_allocate_success(bencher: Bencher, mac: Mac) {
    let (mut buffer, key) = ([0; 548], key());
    let kind = MessageType::new(Method::ALLOCATE, Class::Success);
    bencher.bench_local(|| {
        Writer::new(black_box(&mut buffer), kind, TRANSACTION)
            .xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed())
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, relayed())
            .number(AttributeType::LIFETIME, 600)
            .integrity(mac, &key)
            .finish()
    });
}

#[divan::bench]
fn write_head_of_data_indication(bencher: Bencher) {
    let mut buffer = [0; 64];
    let kind = MessageType::new(Method::DATA, Class::Indication);
    bencher.bench_local(|| {
        Writer::new(black_box(&mut buffer), kind, TRANSACTION)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, relayed())
            .data_head(1200)
            .finish()
    });
}
