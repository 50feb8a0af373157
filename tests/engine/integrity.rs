//! Message integrity: what it covers counts, and answers carry their own.

use crate::client::{Client, allocate, bind, permit, refresh, send};
use crate::world::{World, peer};
use hairpin::wire::{AttributeType, Mac, Message};

#[test]
fn s_mi_01_02_flipping_any_bit_of_a_request_never_gets_it_accepted() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let request = client.signed(&allocate());
    for bit in 0..request.len() * 8 {
        let mut bytes = request.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(reply) = client.send_bytes(&mut world, &bytes) {
            let is_binding = bytes[..2] == [0, 1];
            assert!(is_binding || reply.code() != 0, "bit {bit}");
        }
        assert!(world.live.is_empty(), "bit {bit}");
    }
    assert_eq!(client.send_bytes(&mut world, &request).unwrap().code(), 0);
}

#[test]
fn s_mi_02_an_integrity_of_another_length_is_never_accepted() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    for length in [0, 4, 16, 19, 24, 32] {
        let ask = allocate()
            .raw(AttributeType::USERNAME, b"alice")
            .raw(AttributeType::REALM, b"example.org")
            .raw(AttributeType::NONCE, &client.nonce.clone())
            .raw(AttributeType::MESSAGE_INTEGRITY, &vec![0; length]);
        assert_eq!(client.ask_unsigned(&mut world, &ask), None);
    }
}

#[test]
fn s_mi_03_04_w_rtc_02_attributes_behind_the_integrity_do_not_exist() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate()
        .behind(AttributeType::TURN_LOGGING_ID, b"KESO")
        .behind(AttributeType::EVEN_PORT, &[0x80])
        .behind(AttributeType::LIFETIME, &1800_u32.to_be_bytes())
        .behind(AttributeType(0x7001), b"unknown and required");
    let reply = client.ask(&mut world, &ask);
    assert_eq!(reply.code(), 0);
    assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
    assert_eq!(reply.lifetime(), 600);
    let ask = permit(&[]).behind(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 0, 0, 1, 2, 3, 4]);
    assert_eq!(client.code(&mut world, &ask), 400);
}

#[test]
fn s_mi_07_a_truncated_sha256_integrity_is_refused() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.login.mac = Mac::Sha256;
    client.get_nonce(&mut world);
    let whole = client.signed(&allocate());
    let reply = client.send_bytes(&mut world, &whole).unwrap();
    assert_eq!(reply.code(), 0);

    let mut other = world.client(2);
    other.login.mac = Mac::Sha256;
    other.get_nonce(&mut world);
    for length in [16, 20, 24, 28] {
        // The MAC is made as if the attribute had its whole length; it stays wrong whichever way it is cut.
        let mut bytes = other.signed(&allocate());
        let end = bytes.len() - 32;
        bytes.truncate(end + length);
        bytes[end - 1] = length as u8;
        let body = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&body.to_be_bytes());
        let reply = other.send_bytes(&mut world, &bytes).unwrap();
        assert_eq!(reply.code(), 401, "{length}");
        assert!(reply.is_challenge());
    }
}

/// A request with both integrity attributes.
fn doubly_signed(client: &mut Client) -> Vec<u8> {
    let login = client.login.clone();
    let key = login.key();
    let transaction = client.next_transaction();
    let mut buffer = vec![0; 600];
    let kind = hairpin::wire::MessageType::new(
        hairpin::wire::Method::ALLOCATE,
        hairpin::wire::Class::Request,
    );
    let length = hairpin::wire::Writer::new(&mut buffer, kind, transaction)
        .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(AttributeType::USERNAME, &login.user)
        .attribute(AttributeType::REALM, login.realm.as_bytes())
        .attribute(AttributeType::NONCE, &client.nonce)
        .attribute(
            AttributeType::PASSWORD_ALGORITHMS,
            &[0, 2, 0, 0, 0, 1, 0, 0],
        )
        .attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 1, 0, 0])
        .integrity(Mac::Sha1, &key)
        .integrity(Mac::Sha256, &key)
        .finish()
        .unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn s_mi_08_09_sha256_decides_where_both_are_present() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);

    let mut bytes = doubly_signed(&mut client);
    *bytes.last_mut().unwrap() ^= 1;
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.code(), 401);

    // The SHA-1 before it is covered by the SHA-256, so it is corrupted before that is made.
    let bytes = doubly_signed(&mut client);
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.code(), 0);
    assert!(reply.has(AttributeType::MESSAGE_INTEGRITY_SHA256));
    assert!(!reply.has(AttributeType::MESSAGE_INTEGRITY));
    assert!(reply.message().authenticate(&client.login.key()).is_some());
}

#[test]
fn s_mi_10_w_rtc_03_04_a_sha1_request_is_answered_with_sha1() {
    let mut world = World::new();
    let mut client = world.client(1);
    let asks = [
        allocate(),
        refresh(),
        permit(&[peer(1, 1)]),
        bind(0x4000, peer(1, 1)),
    ];
    for ask in asks {
        let reply = client.ask(&mut world, &ask);
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.message().mac(), Some(Mac::Sha1));
        assert!(reply.message().authenticate(&client.login.key()).is_some());
    }
}

#[test]
fn s_mi_11_every_error_after_authentication_is_signed_with_the_requests_key() {
    let mut world = World::new();
    let mut alice = world.client(1);
    let mut bob = world.bob(1);
    let key = alice.login.key();
    let errors = [
        (refresh(), 437),
        (allocate().family(7), 440),
        (allocate().token(&[0; 8]), 508),
    ];
    for (ask, code) in errors {
        let reply = alice.ask(&mut world, &ask);
        assert_eq!(reply.code(), code);
        assert!(reply.message().authenticate(&key).is_some());
    }
    alice.allocated(&mut world);
    let errors = [
        (permit(&[]), 400),
        (permit(&["127.0.0.1:1".parse().unwrap()]), 403),
        (refresh().raw(AttributeType(0x7001), b""), 420),
        (allocate(), 437),
        (refresh().family(2), 443),
    ];
    for (ask, code) in errors {
        let reply = alice.ask(&mut world, &ask);
        assert_eq!(reply.code(), code);
        assert!(reply.message().authenticate(&key).is_some());
        // People can read what it was.
        let value = reply.value(AttributeType::ERROR_CODE).unwrap();
        assert!(value.len() > 4);
    }
    let reply = bob.ask(&mut world, &refresh());
    assert_eq!(reply.code(), 441);
    assert!(reply.message().authenticate(&bob.login.key()).is_some());
}

#[test]
fn s_mi_12_success_answers_repeat_no_credentials() {
    // `client_sends` checks it for every success; these are the attributes of one.
    let mut world = World::new();
    let mut client = world.client(1);
    let kinds = client.ask(&mut world, &allocate()).kinds();
    assert_eq!(
        kinds,
        [
            AttributeType::XOR_RELAYED_ADDRESS,
            AttributeType::LIFETIME,
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::MESSAGE_INTEGRITY
        ]
    );
}

#[test]
fn s_mi_14_an_integrity_in_a_send_indication_changes_nothing() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(1, 1)]));
    client.login.password = "wrong".into();
    let bytes = client.signed(&send(peer(1, 1), b"data"));
    assert!(Message::parse(&bytes).unwrap().mac().is_some());
    assert_eq!(client.send_bytes(&mut world, &bytes), None);
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn s_fp_06_integrity_and_fingerprint_of_an_answer_both_hold() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.fingerprint = true;
    let reply = client.ask(&mut world, &allocate());
    // Parsing verified the fingerprint.
    assert!(reply.message().has_fingerprint());
    assert!(reply.message().authenticate(&client.login.key()).is_some());
    let kinds = reply.kinds();
    assert_eq!(kinds.last(), Some(&AttributeType::FINGERPRINT));
}

#[test]
fn s_err_01_03_error_codes_are_well_formed() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let reply = client.ask(&mut world, &permit(&[]));
    let value = reply.value(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(value, b"\0\0\x04\0Bad Request");
    let bare = client.ask_unsigned(&mut world, &refresh()).unwrap();
    assert_eq!(bare.value(AttributeType::ERROR_CODE).unwrap(), [0, 0, 4, 1]);
}
