//! Clients of RFC 5389 get what they got before: nothing in an answer that they would have to understand.

use crate::vector_file;
use crate::world::{Client, Reply, Setup, World};
use hairpin::auth::{Credential, User};
use hairpin::engine::Transport;
use hairpin::wire::{AttributeType, Class, Mac, Message, Method};

/// Whether a client that knows RFC 5389 and 5766 only can read an answer.
fn is_readable(reply: &Reply) -> bool {
    let known = [
        AttributeType::MAPPED_ADDRESS,
        AttributeType::ERROR_CODE,
        AttributeType::LIFETIME,
        AttributeType::REALM,
        AttributeType::NONCE,
        AttributeType::XOR_RELAYED_ADDRESS,
        AttributeType::XOR_MAPPED_ADDRESS,
        AttributeType::RESERVATION_TOKEN,
    ];
    reply.mac() != Some(Mac::Sha256)
        && reply
            .kinds()
            .iter()
            .all(|kind| known.contains(kind) || !kind.is_comprehension_required())
}

#[test]
fn s_pwa_04_s_mi_10_a_client_that_names_no_algorithm_is_answered_with_sha1() {
    let mut world = World::new();
    let mut client = Client::legacy();
    assert!(is_readable(&client.challenged(&mut world)));
    for (method, code) in [
        (Method::ALLOCATE, 0),
        (Method::REFRESH, 0),
        (Method::CREATE_PERMISSION, 400),
        (Method::ALLOCATE, 437),
    ] {
        let reply = client.ask(&mut world, method);
        assert_eq!(reply.code(), code);
        assert!(client.is_signed(&reply, Mac::Sha1));
        assert!(is_readable(&reply));
    }
    // RFC 8489 §9.2.4: even if it signs with SHA-256.
    client.macs = vec![Mac::Sha1, Mac::Sha256];
    let reply = client.ask(&mut world, Method::REFRESH);
    assert_eq!(reply.code(), 0);
    assert!(client.is_signed(&reply, Mac::Sha1));
}

#[test]
fn w_rtc_every_captured_request_of_a_browser_gets_an_answer_it_can_read() {
    let mut answered = 0;
    for name in vector_file::names() {
        if !name.starts_with("captured-") {
            continue;
        }
        for (label, bytes) in vector_file::open(&name).messages {
            let Ok(message) = Message::parse(&bytes) else {
                continue;
            };
            if message.class() != Class::Request {
                continue;
            }
            // The realm and a user of the capture, so that the integrity is looked at.
            let text = |kind| {
                message
                    .attribute(kind)
                    .map(|a| String::from_utf8(a.value.to_vec()).unwrap())
            };
            let mut setup = Setup::default();
            if let (Some(realm), Some(user)) =
                (text(AttributeType::REALM), text(AttributeType::USERNAME))
            {
                setup.realm = realm;
                setup.users = vec![User {
                    name: user,
                    credential: Credential::Password("unknown".into()),
                }];
            }
            let mut world = World::with(&setup);
            let reply = world.send("8.8.8.8:1".parse().unwrap(), Transport::Udp, &bytes);
            let reply = Reply(reply.unwrap());
            assert!(is_readable(&reply), "{name} {label}");
            assert_eq!(reply.message().transaction(), message.transaction());
            let expected = if message.method() == Method::BINDING {
                0
            } else {
                401
            };
            assert_eq!(reply.code(), expected, "{name} {label}");
            answered += 1;
        }
    }
    assert!(answered >= 10, "{answered}");
}
