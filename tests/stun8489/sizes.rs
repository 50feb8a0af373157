//! How long challenges are: they go to addresses that nobody proved (RFC 8489 §16.1.2).

use crate::world::{Client, Setup, World};
use hairpin::wire::Method;

fn challenge(setup: &Setup) -> (usize, usize) {
    let mut world = World::with(setup);
    let mut client = Client::legacy();
    let request = client.bare();
    (request.len(), client.send(&mut world, &request).0.len())
}

#[test]
fn x_sec_11_a_challenge_is_short() {
    // The numbers in the documentation of `auth::nonce`.
    let hairpin = Setup {
        realm: "hairpin".into(),
        ..Setup::default()
    };
    assert_eq!(challenge(&hairpin), (28, 100));
    let plain = Setup {
        algorithms: Vec::new(),
        ..hairpin.clone()
    };
    assert_eq!(challenge(&plain), (28, 88));
    let longer = Setup::default();
    assert_eq!(challenge(&longer), (28, 104));
}

#[test]
fn s_hdr_15_the_longest_challenge_needs_no_path_mtu() {
    let (_, length) = challenge(&Setup {
        realm: "r".repeat(127),
        ..Setup::default()
    });
    assert!(length <= 548, "{length}");
}

#[test]
fn x_sec_11_438_and_401_to_a_signed_request_are_shorter_than_the_request() {
    let mut world = World::new();
    for mut client in [Client::legacy(), Client::modern()] {
        client.challenged(&mut world);
        client.nonce.fill(b'x');
        let request = client.request(Method::ALLOCATE);
        let reply = client.send(&mut world, &request);
        assert_eq!(reply.code(), 438);
        assert!(reply.0.len() < request.len());
        client.password = "wrong".into();
        let request = client.request(Method::ALLOCATE);
        let reply = client.send(&mut world, &request);
        assert_eq!(reply.code(), 401);
        assert!(reply.0.len() < request.len());
    }
}
