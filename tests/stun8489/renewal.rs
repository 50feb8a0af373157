//! A client that renews its ephemeral credential during a call, and credentials signed with HMAC-SHA256.

use crate::world::{Client, SECRET, Setup, UNIX, World};
use hairpin::auth::{Credential, SigningAlgorithm, User, mint_ephemeral_with};
use hairpin::wire::{Mac, Method};

fn client(user: Option<&str>, expiry: u64, signing: SigningAlgorithm, modern: bool) -> Client {
    let (user, password) = mint_ephemeral_with(signing, SECRET.as_bytes(), user, expiry);
    let base = if modern {
        Client::modern()
    } else {
        Client::legacy()
    };
    Client {
        user,
        password,
        ..base
    }
}

fn renew(of: &Client, user: Option<&str>, expiry: u64) -> Client {
    Client {
        nonce: of.nonce.clone(),
        transaction: of.transaction,
        ..client(user, expiry, SigningAlgorithm::Sha1, false)
    }
}

#[test]
fn credentials_of_either_signature_work_with_clients_of_either_rfc() {
    for signing in [SigningAlgorithm::Sha1, SigningAlgorithm::Sha256] {
        for modern in [false, true] {
            let mut world = World::with(&Setup::ephemeral());
            let mut client = client(Some("carol"), UNIX + 2000, signing, modern);
            let reply = client.allocate(&mut world);
            assert_eq!(reply.code(), 0);
            let mac = if modern { Mac::Sha256 } else { Mac::Sha1 };
            assert!(client.is_signed(&reply, mac));
        }
    }
}

#[test]
fn t_gen_07_d14_a_renewed_credential_is_another_user_by_default() {
    let mut world = World::with(&Setup::ephemeral());
    let mut first = client(Some("carol"), UNIX + 2000, SigningAlgorithm::Sha1, false);
    assert_eq!(first.allocate(&mut world).code(), 0);
    let mut second = renew(&first, Some("carol"), UNIX + 3000);
    assert_eq!(second.ask(&mut world, Method::REFRESH).code(), 441);
}

#[test]
fn t_gen_07_d14_the_option_makes_it_the_same_user_and_the_call_outlives_the_first() {
    let mut world = World::with(&Setup {
        match_user_part: true,
        ..Setup::ephemeral()
    });
    let mut first = client(Some("carol"), UNIX + 1100, SigningAlgorithm::Sha1, false);
    assert_eq!(first.allocate(&mut world).code(), 0);
    let mut second = renew(&first, Some("carol"), UNIX + 1200);
    let reply = second.ask(&mut world, Method::REFRESH);
    assert_eq!(reply.code(), 0);
    assert!(second.is_signed(&reply, Mac::Sha1));
    // The first is over now; the one the allocation goes by keeps it alive, until it is over too.
    world.seconds += 150;
    first.transaction = 100;
    assert_eq!(first.ask(&mut world, Method::REFRESH).code(), 401);
    assert_eq!(second.ask(&mut world, Method::REFRESH).code(), 0);
    world.seconds += 100;
    assert_eq!(second.ask(&mut world, Method::REFRESH).code(), 401);
    assert_eq!(second.ask(&mut world, Method::REFRESH).code(), 401);
}

#[test]
fn d14_only_the_same_user_part_of_ephemeral_credentials_matches() {
    let lasting = |name: &str| User {
        name: name.into(),
        credential: Credential::Password("s3cret".into()),
    };
    let mut world = World::with(&Setup {
        match_user_part: true,
        users: vec![lasting("carol"), lasting("1700009999:carol")],
        ..Setup::ephemeral()
    });
    let mut first = client(Some("carol"), UNIX + 2000, SigningAlgorithm::Sha1, false);
    assert_eq!(first.allocate(&mut world).code(), 0);
    for user in [Some("dave"), Some("Carol"), Some(""), None] {
        let mut other = renew(&first, user, UNIX + 3000);
        assert_eq!(
            other.ask(&mut world, Method::REFRESH).code(),
            441,
            "{user:?}"
        );
    }
    // Users with lasting credentials are who their whole name says.
    for name in ["carol", "1700009999:carol"] {
        let mut other = renew(&first, None, 0);
        other.user = name.into();
        other.password = "s3cret".into();
        assert_eq!(other.ask(&mut world, Method::REFRESH).code(), 441, "{name}");
    }
    // Names without a user part are nobody's.
    let mut world = World::with(&Setup {
        match_user_part: true,
        ..Setup::ephemeral()
    });
    for user in [None, Some("")] {
        let mut bare = client(user, UNIX + 2000, SigningAlgorithm::Sha1, false);
        bare.from.set_port(if user.is_some() { 1 } else { 2 });
        assert_eq!(bare.allocate(&mut world).code(), 0);
        let mut other = renew(&bare, user, UNIX + 3000);
        other.from = bare.from;
        assert_eq!(other.ask(&mut world, Method::REFRESH).code(), 441);
    }
}
