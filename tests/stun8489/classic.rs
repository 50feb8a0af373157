//! Binding requests of RFC 3489, which have no magic cookie.

use crate::world::{Setup, World, address};
use hairpin::engine::Transport;

const ID: [u8; 16] = *b"sixteen byte id!";

fn request(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&ID);
    bytes.extend_from_slice(attributes);
    bytes
}

fn world(classic: bool) -> World {
    World::with(&Setup {
        classic,
        ..Setup::default()
    })
}

fn ask(world: &mut World, bytes: &[u8]) -> Option<Vec<u8>> {
    world.send(address("8.8.8.8:5000"), Transport::Udp, bytes)
}

#[test]
fn s_3489_01_the_answer_echoes_128_bits_and_has_a_plain_mapped_address() {
    let mut world = world(true);
    let expected = [
        &[1, 1, 0, 12][..],
        &ID,
        &[0, 1, 0, 8, 0, 1, 0x13, 0x88, 8, 8, 8, 8],
    ]
    .concat();
    assert_eq!(ask(&mut world, &request(1, &[])), Some(expected.clone()));
    // A CHANGE-REQUEST for no change, as old clients send it, and a user name.
    let harmless = [0, 3, 0, 4, 0, 0, 0, 0, 0, 6, 0, 4, b'u', b's', b'e', b'r'];
    assert_eq!(ask(&mut world, &request(1, &harmless)), Some(expected));
    let v6 = world
        .send(address("[2600::1]:5000"), Transport::Udp, &request(1, &[]))
        .unwrap();
    assert_eq!(v6[20..26], [0, 1, 0, 20, 0, 2]);
}

#[test]
fn s_3489_03_s_hdr_02_it_is_off_by_default_and_never_on_streams() {
    assert_eq!(ask(&mut world(false), &request(1, &[])), None);
    // Over DTLS the answer is 500 (S-TLS-07).
    for over in [Transport::Tcp, Transport::Tls] {
        let reply = world(true).send(address("8.8.8.8:5000"), over, &request(1, &[]));
        assert_eq!(reply, None, "{over:?}");
    }
}

#[test]
fn s_3489_02_t_gen_15_nothing_but_a_binding_request_is_understood() {
    let mut world = world(true);
    for kind in [
        0x0003, 0x0004, 0x0008, 0x0009, 0x0011, 0x0101, 0x0111, 0x0002, 0x0016,
    ] {
        assert_eq!(ask(&mut world, &request(kind, &[])), None, "{kind:04x}");
    }
    assert_eq!(world.engine.allocation_count(), 0);
    // Nor anything malformed.
    for bytes in [
        &request(1, &[0, 6, 0, 9])[..],
        &request(1, &[0, 6])[..],
        &request(1, &[])[..19],
        &[request(1, &[]), vec![0; 4]].concat()[..],
    ] {
        assert_eq!(ask(&mut world, bytes), None);
    }
    // Nor to addresses no answer may go to.
    let nowhere = world.send(address("8.8.8.8:0"), Transport::Udp, &request(1, &[]));
    assert_eq!(nowhere, None);
}

#[test]
fn s_3489_04_response_address_and_a_wanted_change_are_420() {
    let mut world = world(true);
    let response_address = [0, 2, 0, 8, 0, 1, 0, 80, 9, 9, 9, 9];
    let refusal = |kinds: &[u8]| {
        [
            &[1, 0x11, 0, 16][..],
            &ID,
            &[0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 4],
            kinds,
        ]
        .concat()
    };
    // An odd list is filled with a repetition (RFC 3489 §11.2.10).
    assert_eq!(
        ask(&mut world, &request(1, &response_address)),
        Some(refusal(&[0, 2, 0, 2]))
    );
    for flags in [2, 4, 6] {
        let change = [0, 3, 0, 4, 0, 0, 0, flags];
        assert_eq!(
            ask(&mut world, &request(1, &change)),
            Some(refusal(&[0, 3, 0, 3]))
        );
        let both = [&change[..], &response_address].concat();
        assert_eq!(
            ask(&mut world, &request(1, &both)),
            Some(refusal(&[0, 3, 0, 2]))
        );
    }
}

#[test]
fn s_3489_04_with_a_cookie_response_address_is_420_as_well() {
    for classic in [false, true] {
        let mut world = world(classic);
        let mut bytes = request(1, &[0, 2, 0, 8, 0, 1, 0, 80, 9, 9, 9, 9]);
        bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        let reply = ask(&mut world, &bytes).unwrap();
        assert_eq!(reply[..2], [1, 0x11]);
    }
}
