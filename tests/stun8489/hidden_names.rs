//! USERHASH in place of USERNAME (RFC 8489 §14.4).

use crate::world::{Client, SECRET, Setup, UNIX, World};
use hairpin::auth::mint_ephemeral;
use hairpin::engine::counters::AuthFailureReason;
use hairpin::wire::{AttributeType, Mac, Method};

fn hidden() -> Client {
    Client {
        hidden: true,
        ..Client::modern()
    }
}

#[test]
fn s_pwa_11_a_user_is_found_by_the_digest_of_its_name() {
    let mut world = World::new();
    let mut client = hidden();
    let reply = client.allocate(&mut world);
    assert_eq!(reply.code(), 0);
    assert!(client.is_signed(&reply, Mac::Sha256));
    // S-MI-12
    assert_eq!(reply.value(AttributeType::USERHASH), None);
}

#[test]
fn t_gen_06_name_and_digest_are_the_same_user() {
    for first in [false, true] {
        let mut world = World::new();
        let mut client = hidden();
        client.hidden = first;
        assert_eq!(client.allocate(&mut world).code(), 0);
        client.hidden = !first;
        assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 0);
        client.user = "bob".into();
        client.password = "hunter2".into();
        for hidden in [false, true] {
            client.hidden = hidden;
            let reply = client.ask(&mut world, Method::REFRESH);
            assert_eq!(reply.code(), 441);
            assert!(client.is_signed(&reply, Mac::Sha256));
        }
    }
}

#[test]
fn s_pwa_12_d13_malformed_digests_are_400_and_unknown_ones_401() {
    let mut world = World::new();
    let mut client = hidden();
    client.challenged(&mut world);
    client.user = "nobody".into();
    let reply = client.ask(&mut world, Method::ALLOCATE);
    assert_eq!(reply.code(), 401);
    assert!(reply.value(AttributeType::NONCE).is_some());

    let mut client = Client::modern();
    client.challenged(&mut world);
    client.extra = vec![(AttributeType::USERHASH, vec![0; 32])];
    let both = client.ask(&mut world, Method::ALLOCATE);
    assert_eq!(both.code(), 400);
    assert_eq!(both.kinds(), [AttributeType::ERROR_CODE]);

    for length in [0, 20, 31, 33, 64] {
        let mut client = hidden();
        client.challenged(&mut world);
        let bytes = client.request(Method::ALLOCATE);
        // USERHASH stands behind REQUESTED-TRANSPORT.
        let digest = vec![7; length];
        let mut padded = digest.clone();
        padded.resize(length.next_multiple_of(4), 0);
        let head = [0, 0x1E, 0, length as u8];
        let mut odd = [&bytes[..28], &head, &padded, &bytes[64..]].concat();
        let body = (odd.len() - 20) as u16;
        odd[2..4].copy_from_slice(&body.to_be_bytes());
        assert_eq!(client.send(&mut world, &odd).code(), 400, "{length}");
    }
    assert_eq!(world.failures(AuthFailureReason::MalformedUserHash), 6);
}

#[test]
fn s_pwa_13_ephemeral_names_cannot_be_hidden_and_the_challenge_says_so() {
    let mut world = World::with(&Setup::ephemeral());
    let (user, password) = mint_ephemeral(SECRET.as_bytes(), Some("carol"), UNIX + 5000);
    let mut client = Client {
        user,
        password,
        ..hidden()
    };
    assert_eq!(client.allocate(&mut world).code(), 401);
    assert!(client.nonce.starts_with(b"obMatJos2gAAA"));
    client.hidden = false;
    assert_eq!(client.allocate(&mut world).code(), 0);
}

#[test]
fn s_pwa_11_a_client_of_rfc_5389_could_hide_its_name_too() {
    let mut world = World::new();
    let mut client = Client {
        hidden: true,
        ..Client::legacy()
    };
    let reply = client.allocate(&mut world);
    assert_eq!(reply.code(), 0);
    assert!(client.is_signed(&reply, Mac::Sha1));
}

#[test]
fn the_log_shows_an_unknown_digest_in_hexadecimal() {
    let mut world = World::new();
    let mut client = hidden();
    client.user = "nobody".into();
    client.allocate(&mut world);
    let shown = &world.failed[0];
    assert_eq!(shown.len(), 64);
    assert!(shown.bytes().all(|byte| byte.is_ascii_hexdigit()));
}
