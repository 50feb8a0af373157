//! PASSWORD-ALGORITHMS, PASSWORD-ALGORITHM and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §9.2.4).

use crate::vector_file;
use crate::world::{BOTH, Client, Named, Reply, Setup, World};
use hairpin::auth::{Credential, Nonce, Secret, User};
use hairpin::engine::Transport;
use hairpin::engine::counters::AuthFailureReason;
use hairpin::wire::{AttributeType, Mac, Message, Method, PasswordAlgorithm};

#[test]
fn s_pwa_01_02_03_d5_a_challenge_offers_sha256_then_md5_and_says_so_in_the_nonce() {
    let mut world = World::new();
    let reply = Client::modern().challenged(&mut world);
    let algorithms = reply.value(AttributeType::PASSWORD_ALGORITHMS).unwrap();
    assert_eq!(algorithms, BOTH);
    let nonce = reply.value(AttributeType::NONCE).unwrap();
    assert!(nonce.starts_with(b"obMatJos2wAAA"));
    assert_eq!(reply.mac(), None);

    let mut world = World::with(&Setup::ephemeral());
    let reply = Client::modern().challenged(&mut world);
    let nonce = reply.value(AttributeType::NONCE).unwrap();
    assert!(nonce.starts_with(b"obMatJos2gAAA"));
}

#[test]
fn s_pwa_08_09_s_mi_09_11_a_sha256_key_is_accepted_and_answers_carry_sha256() {
    let mut world = World::new();
    let mut client = Client::modern();
    let reply = client.allocate(&mut world);
    assert_eq!(reply.code(), 0);
    assert!(client.is_signed(&reply, Mac::Sha256));
    let both = Message::parse(&reply.0).unwrap();
    assert!(both.attribute(AttributeType::MESSAGE_INTEGRITY).is_none());
    for (method, code) in [
        (Method::REFRESH, 0),
        (Method::ALLOCATE, 437),
        (Method::CREATE_PERMISSION, 400),
    ] {
        let reply = client.ask(&mut world, method);
        assert_eq!(reply.code(), code);
        assert!(client.is_signed(&reply, Mac::Sha256), "{method:?}");
    }
}

#[test]
fn s_pwa_08_the_key_of_the_named_algorithm_makes_both_integrity_attributes() {
    use PasswordAlgorithm::{Md5, Sha256};
    for (chosen, key, accepted) in [
        (2, Sha256, true),
        (2, Md5, false),
        (1, Md5, true),
        (1, Sha256, false),
    ] {
        for macs in [
            vec![Mac::Sha256],
            vec![Mac::Sha1],
            vec![Mac::Sha1, Mac::Sha256],
        ] {
            let mut world = World::new();
            let mut client = Client::modern();
            client.named.chosen = Some(vec![0, chosen, 0, 0]);
            client.algorithm = key;
            client.macs = macs;
            let reply = client.allocate(&mut world);
            assert_eq!(reply.code(), if accepted { 0 } else { 401 });
            // S-PWA-09: SHA-256 for explicit MD5 too, but not for a client that signs like one of RFC 5389.
            let mac = if chosen == 1 && client.macs == [Mac::Sha1] {
                Mac::Sha1
            } else {
                Mac::Sha256
            };
            assert_eq!(client.is_signed(&reply, mac), accepted);
        }
    }
    // The same on an allocation whose key is known.
    let mut world = World::new();
    let mut client = Client::modern();
    assert_eq!(client.allocate(&mut world).code(), 0);
    client.named.chosen = Some(vec![0, 1, 0, 0]);
    assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 401);
    client.algorithm = Md5;
    assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 0);
}

#[test]
fn s_pwa_05_06_07_algorithms_that_are_not_what_was_offered_are_400() {
    let mut world = World::new();
    let mut client = Client::modern();
    client.challenged(&mut world);
    let sha256 = Some(vec![0, 2, 0, 0]);
    let md5 = Some(vec![0, 1, 0, 0]);
    let wrong = [
        // One without the other.
        (sha256.clone(), None),
        (md5.clone(), None),
        (None, Some(BOTH.to_vec())),
        // Stripped, turned round, extended, empty.
        (md5.clone(), md5.clone()),
        (sha256.clone(), sha256.clone()),
        (sha256.clone(), Some(vec![0, 1, 0, 0, 0, 2, 0, 0])),
        (
            sha256.clone(),
            Some([BOTH, [0, 3, 0, 0].as_slice()].concat()),
        ),
        (sha256, Some(Vec::new())),
        // Not in the list, with parameters, malformed.
        (Some(vec![0, 3, 0, 0]), Some(BOTH.to_vec())),
        (Some(vec![0, 0, 0, 0]), Some(BOTH.to_vec())),
        (Some(vec![0, 2, 0, 4, 1, 2, 3, 4]), Some(BOTH.to_vec())),
        (Some(vec![0, 2]), Some(BOTH.to_vec())),
        (Some(Vec::new()), Some(BOTH.to_vec())),
    ];
    let count = wrong.len() as u64;
    for (chosen, repeated) in wrong {
        client.named = Named { chosen, repeated };
        for key in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
            client.algorithm = key;
            let reply = client.ask(&mut world, Method::ALLOCATE);
            assert_eq!(reply.code(), 400, "{:?}", client.named);
            assert_eq!(reply.kinds(), [AttributeType::ERROR_CODE]);
        }
    }
    assert_eq!(world.failures(AuthFailureReason::BadAlgorithms), 2 * count);
    assert_eq!(world.engine.allocation_count(), 0);
}

#[test]
fn s_pwa_06_d2_a_client_is_compared_with_what_its_own_nonce_was_sent_with() {
    let setup = Setup::default();
    let mut world = World::with(&setup);
    let mut client = Client::modern();
    assert_eq!(client.allocate(&mut world).code(), 0);
    world.change(&Setup {
        algorithms: vec![PasswordAlgorithm::Md5],
        ..setup
    });
    // It repeats what it was told, so nobody tampered; but it needs a nonce with the new offer.
    let reply = client.ask(&mut world, Method::REFRESH);
    assert_eq!(reply.code(), 438);
    let now = reply.value(AttributeType::PASSWORD_ALGORITHMS).unwrap();
    assert_eq!(now, [0, 1, 0, 0]);
    client.nonce = reply.value(AttributeType::NONCE).unwrap();
    assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 400);
    client.named = Named {
        chosen: Some(now.clone()),
        repeated: Some(now),
    };
    client.algorithm = PasswordAlgorithm::Md5;
    assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 0);
}

#[test]
fn s_pwa_10_a_nonce_whose_feature_bits_were_stripped_is_stale() {
    let mut world = World::new();
    for mut client in [Client::legacy(), Client::modern()] {
        for bits in ["AAAA", "gAAA", "QAAA"] {
            client.challenged(&mut world);
            client.nonce[9..13].copy_from_slice(bits.as_bytes());
            let reply = client.ask(&mut world, Method::ALLOCATE);
            assert_eq!(reply.code(), 438, "{bits}");
            assert_eq!(
                reply.value(AttributeType::PASSWORD_ALGORITHMS).unwrap(),
                BOTH
            );
            client.nonce = reply.value(AttributeType::NONCE).unwrap();
        }
        // S-AUTH-07, S-AUTH-09: the new one is good at once.
        assert_eq!(client.ask(&mut world, Method::ALLOCATE).code(), 0);
        world = World::new();
    }
}

#[test]
fn s_mi_08_sha256_is_the_one_that_is_verified_where_both_are_there() {
    let mut world = World::new();
    let mut client = Client::modern();
    client.macs = vec![Mac::Sha1, Mac::Sha256];
    client.challenged(&mut world);
    let mut bytes = client.request(Method::ALLOCATE);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(client.send(&mut world, &bytes).code(), 401);
    let mut bytes = client.request(Method::ALLOCATE);
    let sha256 = bytes.len() - 36;
    // A wrong SHA-1 under a right SHA-256.
    bytes[sha256 - 1] ^= 1;
    let mut covered = bytes[..sha256].to_vec();
    let end = (covered.len() - 20) as u16;
    covered[2..4].copy_from_slice(&end.to_be_bytes());
    let signed = resign(&covered, &client);
    assert_eq!(client.send(&mut world, &signed).code(), 0);
}

/// Puts MESSAGE-INTEGRITY-SHA256 behind raw bytes.
fn resign(covered: &[u8], client: &Client) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac as _};
    let mut bytes = covered.to_vec();
    let length = (covered.len() + 36 - 20) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let mac = Hmac::<sha2::Sha256>::new_from_slice(client.key().as_bytes())
        .unwrap()
        .chain_update(&bytes)
        .finalize()
        .into_bytes();
    bytes.extend_from_slice(&[0, 0x1C, 0, 32]);
    bytes.extend_from_slice(&mac);
    bytes
}

#[test]
fn s_mi_07_d12_a_truncated_sha256_is_401() {
    let mut world = World::new();
    let mut client = Client::modern();
    client.challenged(&mut world);
    for length in [16, 20, 24, 28] {
        let mut bytes = client.request(Method::ALLOCATE);
        let value = bytes.len() - 32;
        bytes.truncate(value + length);
        bytes[value - 1] = length as u8;
        let body = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&body.to_be_bytes());
        assert_eq!(client.send(&mut world, &bytes).code(), 401, "{length}");
    }
}

#[test]
fn s_pwa_14_15_stores_that_lack_a_key_do_not_offer_its_algorithm() {
    let keyed = |md5: Option<[u8; 16]>, sha256: Option<[u8; 32]>| Setup {
        users: vec![User {
            name: "alice".into(),
            credential: Credential::Keys {
                md5: md5.map(Secret::new),
                sha256: sha256.map(Secret::new),
            },
        }],
        ..Setup::default()
    };
    let key = |client: &Client| client.key().as_bytes().to_vec();
    let (mut legacy, mut modern) = (Client::legacy(), Client::modern());

    let md5 = key(&legacy).try_into().unwrap();
    let mut world = World::with(&keyed(Some(md5), None));
    let reply = legacy.challenged(&mut world);
    assert_eq!(
        reply.value(AttributeType::PASSWORD_ALGORITHMS).unwrap(),
        [0, 1, 0, 0]
    );
    assert_eq!(legacy.allocate(&mut world).code(), 0);
    // What a client may not choose, it cannot get by choosing it all the same.
    assert_eq!(modern.allocate(&mut world).code(), 400);

    let sha256 = key(&modern).try_into().unwrap();
    let mut world = World::with(&keyed(None, Some(sha256)));
    let reply = legacy.allocate(&mut world);
    assert_eq!(reply.code(), 401);
    assert_eq!(
        reply.value(AttributeType::PASSWORD_ALGORITHMS).unwrap(),
        [0, 2, 0, 0]
    );
    modern.named.repeated = Some(vec![0, 2, 0, 0]);
    assert_eq!(modern.allocate(&mut world).code(), 0);
}

#[test]
fn settings_without_algorithms_make_a_server_of_rfc_5389() {
    let mut world = World::with(&Setup {
        algorithms: Vec::new(),
        secrets: vec!["north by northwest"],
        ..Setup::default()
    });
    let mut client = Client::legacy();
    let reply = client.challenged(&mut world);
    assert!(client.nonce.starts_with(b"obMatJos2AAAA"));
    assert_eq!(
        reply.kinds(),
        [
            AttributeType::ERROR_CODE,
            AttributeType::REALM,
            AttributeType::NONCE
        ]
    );
    let reply = client.allocate(&mut world);
    assert_eq!(reply.code(), 0);
    assert!(client.is_signed(&reply, Mac::Sha1));
    // What nobody offered cannot be chosen, not even by repeating nothing.
    let mut client = Client::modern();
    client.from.set_port(1);
    for repeated in [BOTH.to_vec(), Vec::new()] {
        client.named.repeated = Some(repeated);
        assert_eq!(client.allocate(&mut world).code(), 400);
    }
}

#[test]
fn settings_without_md5_refuse_clients_of_rfc_5389_like_wrong_passwords() {
    let mut world = World::with(&Setup {
        algorithms: vec![PasswordAlgorithm::Sha256],
        ..Setup::default()
    });
    let mut client = Client::legacy();
    let refused = client.allocate(&mut world);
    assert_eq!(refused.code(), 401);
    let counted = world.failures(AuthFailureReason::AlgorithmNotAllowed);
    assert_eq!(counted, 1);
    client.user = "nobody".into();
    let unknown = client.ask(&mut world, Method::ALLOCATE);
    assert_eq!(shape(&refused), shape(&unknown));
}

#[test]
fn s_auth_04_05_06_wrong_users_passwords_and_algorithms_look_the_same_to_modern_clients() {
    let mut shapes = Vec::new();
    for (user, password, hidden) in [
        ("nobody", "s3cret", false),
        ("alice", "wrong", false),
        ("nobody", "s3cret", true),
        ("alice", "wrong", true),
    ] {
        let mut world = World::new();
        let mut client = Client::modern();
        client.user = user.into();
        client.password = password.into();
        client.hidden = hidden;
        let reply = client.allocate(&mut world);
        assert_eq!(reply.code(), 401);
        assert_eq!(world.failed.len(), 1);
        shapes.push(shape(&reply));
    }
    shapes.dedup();
    assert_eq!(shapes.len(), 1);
}

/// An answer without transaction id and the text of its nonce, which differ each time.
fn shape(reply: &Reply) -> Vec<u8> {
    let mut bytes = reply.0.clone();
    bytes[8..20].fill(0);
    let nonce = reply.message().attribute(AttributeType::NONCE).unwrap();
    let (start, length) = (nonce.offset, nonce.value.len());
    bytes[start..start + length].fill(0);
    bytes
}

#[test]
fn s_pwa_04_05_06_16_the_vectors_get_as_far_as_their_nonce() {
    // Their nonce is not one of ours, so what would be accepted is 438 here: everything before it was right.
    let file = vector_file::open("derived-rfc8489-auth");
    let mut codes = Vec::new();
    for (label, bytes) in &file.messages {
        let message = Message::parse(bytes).unwrap();
        if message.method() != Method::ALLOCATE || label.contains("challenge") {
            continue;
        }
        assert_eq!(
            Nonce::offer_of(message.attribute(AttributeType::NONCE).unwrap().value),
            None
        );
        let mut world = World::new();
        let reply = world
            .send("8.8.8.8:1".parse().unwrap(), Transport::Udp, bytes)
            .unwrap();
        codes.push(Reply(reply).code());
    }
    // USERHASH, legacy, explicit MD5, then one attribute missing, then bid-down.
    assert_eq!(codes, [438, 438, 438, 400, 400]);
}

#[test]
fn s_pwa_16_d5_the_published_example_of_appendix_b_1_is_malformed_and_the_corrected_one_is_not() {
    let published = vector_file::open("rfc8489-B1-as-published-INVALID");
    assert!(Message::parse(&published.messages[0].1).is_err());
    let corrected = vector_file::open("rfc8489-B1-erratum6268");
    assert!(Message::parse(&corrected.messages[0].1).is_ok());
}
