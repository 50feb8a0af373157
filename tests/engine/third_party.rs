//! Credentials of an authorization server (RFC 7635): a token opens the door, and its key keeps it open.

use crate::client::{Ask, Client, allocate, bind, permit, refresh};
use crate::mobility::{allocate_mobile, refresh_with};
use crate::tcp_relay::{allocate_tcp, connected, connection_bind};
use crate::world::{REALM, Setup, UNIX_START, World, peer};
use hairpin::auth::{
    AccessToken, Secret, ThirdPartySettings, TokenAlgorithm, TokenCipher, TokenKey,
};
use hairpin::engine::{CloseReason, TcpRules};
use hairpin::policy::Limits;
use hairpin::wire::integrity::userhash;
use hairpin::wire::{AttributeType, Class, Key, Mac, Message, Method, Writer};

const SERVER_NAME: &str = "turn.example.org";
const NORTH: [u8; 32] = *b"01234567890123456789012345678901";
const UNION: [u8; 16] = *b"1234567890123456";

fn key(id: &str, algorithm: TokenAlgorithm, secret: &[u8]) -> TokenKey {
    TokenKey {
        id: id.into(),
        algorithm,
        secret: Secret::new(secret.to_vec()),
        not_before: None,
        not_after: None,
    }
}

pub fn setup() -> Setup {
    Setup {
        third_party: ThirdPartySettings {
            server_name: SERVER_NAME.into(),
            keys: vec![
                key("north", TokenAlgorithm::Aes256Gcm, &NORTH),
                key("union", TokenAlgorithm::Aes128Gcm, &UNION),
                // Somebody else has a password under this name.
                key("alice", TokenAlgorithm::Aes256Gcm, &[9; 32]),
            ],
            truncated_mac_keys: false,
        },
        ..Setup::default()
    }
}

fn cipher(id: &str) -> TokenCipher {
    let cipher = match id {
        "north" => TokenCipher::new(TokenAlgorithm::Aes256Gcm, &NORTH),
        "union" => TokenCipher::new(TokenAlgorithm::Aes128Gcm, &UNION),
        _ => TokenCipher::new(TokenAlgorithm::Aes256Gcm, &[9; 32]),
    };
    cipher.unwrap()
}

/// What an authorization server gives a client: the id, the `mac_key` and the token.
pub struct Grant {
    id: &'static str,
    mac_key: [u8; 20],
    token: Vec<u8>,
}

impl Grant {
    pub fn new(id: &'static str, number: u8, unix_made: u64, lifetime: u32) -> Self {
        let mac_key = [number; 20];
        let token = AccessToken::new(&mac_key, unix_made, lifetime).unwrap();
        Grant {
            id,
            mac_key,
            token: token.seal(&cipher(id), SERVER_NAME, [number; 12]).unwrap(),
        }
    }

    /// The client goes by this grant from here on.
    pub fn give(&self, client: &mut Client) {
        client.login.user = self.id.into();
        client.login.mac_key = Key::from_bytes(&self.mac_key);
    }

    pub fn client(&self, world: &World, host: u8) -> Client {
        let mut client = world.client(host);
        self.give(&mut client);
        client
    }

    pub fn shown(&self, ask: Ask) -> Ask {
        ask.raw(AttributeType::ACCESS_TOKEN, &self.token)
    }
}

pub fn grant(number: u8) -> Grant {
    Grant::new("north", number, UNIX_START, 3600)
}

#[test]
fn t_oauth_01_12_a_401_names_the_server_beside_realm_and_nonce() {
    let mut world = World::with(setup());
    let mut client = world.client(1);
    let reply = client.ask_unsigned(&mut world, &allocate()).unwrap();
    assert_eq!(reply.code(), 401);
    assert!(reply.is_challenge());
    let value = |kind| reply.value(kind).unwrap();
    assert_eq!(value(AttributeType::REALM), REALM.as_bytes());
    let name = value(AttributeType::THIRD_PARTY_AUTHORIZATION);
    assert_eq!(name, SERVER_NAME.as_bytes());
    // So does one for a wrong password, and none where it is off.
    client.login.password = "wrong".into();
    let reply = client.ask(&mut world, &allocate());
    assert_eq!(reply.code(), 401);
    assert!(reply.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
    let mut world = World::new();
    let reply = client.ask_unsigned(&mut world, &allocate()).unwrap();
    assert!(!reply.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
}

#[test]
fn t_oauth_12_users_with_a_password_get_in_beside_those_with_a_token() {
    let mut world = World::with(setup());
    world.client(1).allocated(&mut world);
    let grant = grant(1);
    let mut client = grant.client(&world, 2);
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 0);
}

#[test]
fn t_oauth_02_a_token_is_not_understood_where_it_is_not_offered() {
    let mut world = World::new();
    let grant = grant(1);
    for ask in [allocate(), refresh(), permit(&[peer(1, 1)])] {
        let reply = world.client(1).ask(&mut world, &grant.shown(ask));
        assert_eq!(reply.code(), 420);
        let unknown = reply.value(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
        assert_eq!(unknown, [0x00, 0x1B]);
    }
    // Authentication comes before (RFC 8489 §6.3), and the id of a key is no user.
    let mut client = grant.client(&world, 2);
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
    assert_eq!(world.auth_failures, ["north unknown_user"]);
}

#[test]
fn t_oauth_03_08_11_tokens_of_both_algorithms_open_allocations_signed_with_the_mac_key() {
    let mut world = World::with(setup());
    for (host, id) in [(1, "north"), (2, "union")] {
        let grant = Grant::new(id, host, UNIX_START, 3600);
        let mut client = grant.client(&world, host);
        let reply = client.ask(&mut world, &grant.shown(allocate()));
        assert_eq!(reply.code(), 0);
        // With MESSAGE-INTEGRITY, made with the key that is in the token and nowhere else.
        let message = reply.message();
        assert_eq!(message.mac(), Some(Mac::Sha1));
        assert!(message.authenticate(&client.login.key()).is_some());
    }
}

#[test]
fn t_oauth_08_whoever_names_an_algorithm_signs_and_is_answered_with_sha256() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.get_nonce(&mut world);
    client.login.mac = Mac::Sha256;
    // The offer in the nonce has to be repeated, whatever credential follows.
    let names = |ask: Ask| {
        ask.raw(
            AttributeType::PASSWORD_ALGORITHMS,
            &[0, 2, 0, 0, 0, 1, 0, 0],
        )
        .raw(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
    };
    let reply = client.ask(&mut world, &names(grant.shown(allocate())));
    assert_eq!(reply.code(), 0);
    assert_eq!(reply.message().mac(), Some(Mac::Sha256));
    assert!(reply.message().authenticate(&client.login.key()).is_some());
    let reply = client.ask(&mut world, &names(permit(&[peer(1, 1)])));
    assert_eq!(reply.code(), 0);
    assert_eq!(reply.message().mac(), Some(Mac::Sha256));
    // One that does not is a client of RFC 7635: MESSAGE-INTEGRITY, whatever it sent.
    let reply = client.ask(&mut world, &permit(&[peer(1, 1)]));
    assert_eq!((reply.code(), reply.message().mac()), (0, Some(Mac::Sha1)));
}

#[test]
fn t_oauth_04_x_cve_07_tokens_with_lengths_that_lie_get_a_401() {
    let mut world = World::with(setup());
    let good = grant(1);
    let mut tokens: Vec<Vec<u8>> = [0_u16, 11, 13, 0xFFFF]
        .iter()
        .map(|length| [&length.to_be_bytes()[..], &good.token[2..]].concat())
        .collect();
    for key_length in [0_u16, 19, 21, 32, 0x7FFF, 0xFFFF] {
        let block = [&key_length.to_be_bytes()[..], &[0; 32]].concat();
        tokens.push(cipher("north").seal(SERVER_NAME, [1; 12], &block).unwrap());
    }
    tokens.extend((0..good.token.len()).map(|length| good.token[..length].to_vec()));
    tokens.push([&good.token[..], &[0; 1000]].concat());
    for token in tokens {
        let mut client = good.client(&world, 1);
        let ask = allocate().raw(AttributeType::ACCESS_TOKEN, &token);
        let reply = client.ask(&mut world, &ask);
        assert_eq!(reply.code(), 401);
        assert!(reply.is_challenge());
        assert_eq!(world.auth_failures.pop().unwrap(), "north bad_token");
    }
    assert!(world.live.is_empty());
}

#[test]
fn t_oauth_05_an_unknown_key_id_gets_a_401() {
    let mut world = World::with(setup());
    let grant = grant(1);
    for id in ["south", "", "North", "north "] {
        let mut client = grant.client(&world, 1);
        client.login.user = id.into();
        let reply = client.ask(&mut world, &grant.shown(allocate()));
        assert_eq!(reply.code(), 401);
        let told = format!("{id} unknown_token_key");
        assert_eq!(world.auth_failures.pop().unwrap(), told);
    }
    // A known one of another key.
    let mut client = grant.client(&world, 2);
    client.login.user = "union".into();
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
    assert_eq!(world.auth_failures, ["union bad_token"]);
}

#[test]
fn t_oauth_05_a_key_counts_from_its_beginning_to_its_end() {
    let mut setup = setup();
    setup.third_party.keys[0].not_before = Some(UNIX_START + 100);
    setup.third_party.keys[0].not_after = Some(UNIX_START + 200);
    let mut world = World::with(setup);
    let grant = grant(1);
    for (at, code) in [(99, 401), (100, 0), (200, 0), (201, 401)] {
        world.advance(UNIX_START + at - world.now().unix);
        let mut client = grant.client(&world, at as u8);
        assert_eq!(client.code(&mut world, &grant.shown(allocate())), code);
    }
    let told = "north inactive_token_key";
    assert_eq!(world.auth_failures, [told, told]);
}

#[test]
fn t_oauth_06_a_bit_that_flipped_and_another_server_s_token_get_a_401() {
    let mut world = World::with(setup());
    let good = grant(1);
    let elsewhere = AccessToken::new(&good.mac_key, UNIX_START, 3600).unwrap();
    let elsewhere = elsewhere.seal(&cipher("north"), "other.example.org", [1; 12]);
    let mut tokens = vec![elsewhere.unwrap()];
    for at in 0..good.token.len() {
        let mut token = good.token.clone();
        token[at] ^= 0x10;
        tokens.push(token);
    }
    for token in tokens {
        let mut client = good.client(&world, 1);
        let ask = allocate().raw(AttributeType::ACCESS_TOKEN, &token);
        assert_eq!(client.code(&mut world, &ask), 401);
        assert_eq!(world.auth_failures.pop().unwrap(), "north bad_token");
    }
}

#[test]
fn t_oauth_06_a_token_without_its_key_is_worth_nothing() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.login.mac_key = Key::from_bytes(&[2; 20]);
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
    assert_eq!(world.auth_failures, ["north wrong_password"]);
    // No integrity at all is a first request.
    let reply = client.ask_unsigned(&mut world, &grant.shown(allocate()));
    assert_eq!(reply.unwrap().code(), 401);
}

/// What coturn and its clients do.
#[test]
fn t_oauth_08_the_first_16_bytes_of_the_key_will_do_only_where_the_rules_say_so() {
    for truncated_mac_keys in [false, true] {
        let mut setup = setup();
        setup.third_party.truncated_mac_keys = truncated_mac_keys;
        let mut world = World::with(setup);
        let grant = grant(1);
        let mut client = grant.client(&world, 1);
        client.login.mac_key = Key::from_bytes(&grant.mac_key[..16]);
        let reply = client.ask(&mut world, &grant.shown(allocate()));
        if truncated_mac_keys {
            assert_eq!(reply.code(), 0);
            // Answered and gone on with in the same way.
            assert!(reply.message().authenticate(&client.login.key()).is_some());
            assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
            assert_eq!(client.code(&mut world, &grant.shown(refresh())), 0);
        } else {
            assert_eq!(reply.code(), 401);
            assert_eq!(world.auth_failures, ["north wrong_password"]);
        }
        // With the whole key as always.
        let mut client = grant.client(&world, 2);
        assert_eq!(client.code(&mut world, &grant.shown(allocate())), 0);
        for length in [15, 17, 19] {
            let mut client = grant.client(&world, 3);
            client.login.mac_key = Key::from_bytes(&grant.mac_key[..length]);
            assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
        }
    }
}

#[test]
fn t_oauth_07_tokens_from_too_far_in_the_past_or_the_future_get_a_401() {
    let mut world = World::with(setup());
    for (host, made, code) in [
        (1, UNIX_START - 104, 0),
        (2, UNIX_START - 105, 401),
        (3, UNIX_START + 104, 0),
        (4, UNIX_START + 105, 401),
        (5, 0, 401),
        (6, (1 << 48) - 1, 401),
    ] {
        let grant = Grant::new("north", host, made, 100);
        let mut client = grant.client(&world, host);
        let reply = client.ask(&mut world, &grant.shown(allocate()));
        assert_eq!(reply.code(), code, "{made}");
        if code != 0 {
            assert_eq!(world.auth_failures.pop().unwrap(), "north token_expired");
        }
    }
}

#[test]
fn t_oauth_09_an_allocation_lives_no_longer_than_the_token() {
    let mut world = World::with(setup());
    let grant = Grant::new("north", 1, UNIX_START, 100);
    let mut client = grant.client(&world, 1);
    let reply = client.ask(&mut world, &grant.shown(allocate().lifetime(3600)));
    assert_eq!((reply.code(), reply.lifetime()), (0, 105));
    world.advance(104);
    assert!(client.is_allocated(&world));
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    world.advance(1);
    assert!(!client.is_allocated(&world));
    assert_eq!(world.closed[0].reason, CloseReason::Expired);
    // Nor does it open another one.
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
}

#[test]
fn t_oauth_09_a_long_token_leaves_lifetimes_as_they_are() {
    let mut world = World::with(setup());
    let grant = Grant::new("north", 1, UNIX_START, u32::MAX);
    let mut client = grant.client(&world, 1);
    let reply = client.ask(&mut world, &grant.shown(allocate()));
    assert_eq!(reply.lifetime(), 600);
    let reply = client.ask(&mut world, &grant.shown(refresh().lifetime(u32::MAX)));
    assert_eq!(reply.lifetime(), 3600);
}

#[test]
fn t_refr_13_a_refresh_is_bounded_by_the_token() {
    let mut world = World::with(setup());
    let grant = Grant::new("north", 1, UNIX_START, 1000);
    let mut client = grant.client(&world, 1);
    client.ask(&mut world, &grant.shown(allocate()));
    for (at, with_token, lifetime) in [
        (0, false, 1005),
        (300, true, 705),
        (400, false, 605),
        (900, true, 105),
        (1004, false, 1),
    ] {
        world.advance(UNIX_START + at - world.now().unix);
        let ask = refresh().lifetime(3600);
        let ask = if with_token { grant.shown(ask) } else { ask };
        let reply = client.ask(&mut world, &ask);
        assert_eq!((reply.code(), reply.lifetime()), (0, lifetime), "{at}");
    }
    // Half a second before the end there is more than nothing left.
    world.advance_millis(500);
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 1);
    world.advance_millis(500);
    assert!(!client.is_allocated(&world));
}

#[test]
fn t_refr_13_a_refresh_without_a_lifetime_is_bounded_too_and_one_of_zero_releases() {
    let mut world = World::with(setup());
    let grant = Grant::new("north", 1, UNIX_START, 50);
    let mut client = grant.client(&world, 1);
    client.ask(&mut world, &grant.shown(allocate()));
    world.advance(20);
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 35);
    let reply = client.ask(&mut world, &refresh().lifetime(0));
    assert_eq!((reply.code(), reply.lifetime()), (0, 0));
    assert!(!client.is_allocated(&world));
    world.expect_nothing_left();
}

#[test]
fn t_oauth_09_t_refr_13_a_new_token_extends_and_its_key_takes_over() {
    let mut world = World::with(setup());
    let first = Grant::new("north", 1, UNIX_START, 100);
    let mut client = first.client(&world, 1);
    client.ask(&mut world, &first.shown(allocate()));
    world.advance(90);
    let second = Grant::new("north", 2, UNIX_START + 90, 1000);
    second.give(&mut client);
    // Its key alone is not known yet.
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 401);
    let reply = client.ask(&mut world, &second.shown(refresh()));
    assert_eq!((reply.code(), reply.lifetime()), (0, 600));
    assert!(reply.message().authenticate(&client.login.key()).is_some());
    world.advance(500);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    // The former key is forgotten.
    first.give(&mut client);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 401);
}

#[test]
fn t_oauth_09_a_new_token_may_be_of_another_key() {
    let mut world = World::with(setup());
    let north = Grant::new("north", 1, UNIX_START, 700);
    let mut client = north.client(&world, 1);
    client.ask(&mut world, &north.shown(allocate()));
    world.advance(60);
    let union = Grant::new("union", 2, UNIX_START + 60, 2000);
    union.give(&mut client);
    let reply = client.ask(&mut world, &union.shown(refresh().lifetime(3600)));
    assert_eq!((reply.code(), reply.lifetime()), (0, 2005));
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    // The name of the session is the new one's.
    client.login.user = "north".into();
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 441);
}

#[test]
fn t_oauth_09_a_bad_token_in_a_refresh_changes_nothing() {
    let mut world = World::with(setup());
    let first = Grant::new("north", 1, UNIX_START, 100);
    let mut client = first.client(&world, 1);
    client.ask(&mut world, &first.shown(allocate()));
    let old = Grant::new("north", 2, UNIX_START - 1000, 100);
    old.give(&mut client);
    assert_eq!(client.code(&mut world, &old.shown(refresh())), 401);
    first.give(&mut client);
    assert_eq!(client.code(&mut world, &refresh()), 0);
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 105);
}

#[test]
fn t_oauth_10_tokens_are_looked_at_in_allocate_and_refresh_only() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.ask(&mut world, &grant.shown(allocate()));
    // None is needed anywhere else, and what is there is not looked at.
    let asks = [permit(&[peer(1, 1)]), bind(0x4000, peer(1, 1)), refresh()];
    for ask in &asks {
        assert_eq!(client.code(&mut world, ask), 0);
    }
    for ask in &asks[..2] {
        let ask = ask.clone().raw(AttributeType::ACCESS_TOKEN, b"rubbish");
        assert_eq!(client.code(&mut world, &ask), 0);
    }
    let ask = refresh().raw(AttributeType::ACCESS_TOKEN, b"rubbish");
    assert_eq!(client.code(&mut world, &ask), 401);
    // A token does not open the door to anything else.
    let mut stranger = grant.client(&world, 2);
    let ask = grant.shown(permit(&[peer(1, 1)]));
    assert_eq!(stranger.code(&mut world, &ask), 401);
    assert_eq!(stranger.code(&mut world, &allocate()), 401);
}

#[test]
fn t_oauth_10_another_user_name_with_the_right_key_gets_a_441() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.ask(&mut world, &grant.shown(allocate()));
    for name in ["union", "somebody"] {
        client.login.user = name.into();
        for ask in [permit(&[peer(1, 1)]), refresh(), refresh().lifetime(0)] {
            assert_eq!(client.code(&mut world, &ask), 441);
            let told = format!("{name} wrong_user");
            assert_eq!(world.auth_failures.pop().unwrap(), told);
        }
    }
    assert!(client.is_allocated(&world));
}

#[test]
fn t_oauth_10_users_and_tokens_of_one_name_are_not_the_same() {
    let mut world = World::with(setup());
    // alice's allocation, and a token of a key called alice.
    let grant = Grant::new("alice", 1, UNIX_START, 3600);
    let mut client = world.client(1);
    client.allocated(&mut world);
    grant.give(&mut client);
    assert_eq!(client.code(&mut world, &grant.shown(refresh())), 441);
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 437);
    // And the other way round.
    let mut client = grant.client(&world, 2);
    client.ask(&mut world, &grant.shown(allocate()));
    client.login.mac_key = None;
    assert_eq!(client.code(&mut world, &refresh()), 441);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 441);
    assert_eq!(client.code(&mut world, &allocate()), 437);
}

/// RFC 6062's ConnectionBind comes on a connection of its own, to whichever worker, and shows no token.
#[test]
fn t_oauth_10_connections_are_bound_with_the_key_of_the_allocation() {
    let mut world = World::with(Setup {
        workers: 2,
        tcp: TcpRules {
            enabled: true,
            max_connections: 4,
            ..TcpRules::default()
        },
        ..setup()
    });
    let first = grant(1);
    let mut client = world.tcp_client(1);
    first.give(&mut client);
    let ask = first.shown(allocate_tcp());
    assert_eq!(client.code(&mut world, &ask), 0);
    let one = connected(&mut world, &mut client, peer(1, 80));
    let two = connected(&mut world, &mut client, peer(2, 80));

    let mut data = world.tcp_client(2);
    data.worker = 1;
    assert_eq!(data.code(&mut world, &connection_bind(one)), 441, "alice");
    grant(2).give(&mut data);
    assert_eq!(data.code(&mut world, &connection_bind(one)), 401);
    first.give(&mut data);
    data.login.user = "union".into();
    assert_eq!(data.code(&mut world, &connection_bind(one)), 441);
    first.give(&mut data);
    assert_eq!(data.code(&mut world, &connection_bind(one)), 0);

    // A new token before the other one is bound.
    let second = Grant::new("union", 3, UNIX_START, 3600);
    second.give(&mut client);
    assert_eq!(client.code(&mut world, &second.shown(refresh())), 0);
    let mut data = world.tcp_client(3);
    first.give(&mut data);
    assert_eq!(data.code(&mut world, &connection_bind(two)), 401);
    second.give(&mut data);
    assert_eq!(data.code(&mut world, &connection_bind(two)), 0);
}

#[test]
fn t_oauth_10_nonces_age_as_they_do_for_everybody() {
    let mut world = World::with(Setup {
        nonce_lifetime: 60,
        ..setup()
    });
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.ask(&mut world, &grant.shown(allocate()));
    world.advance(61);
    let reply = client.ask_once(&mut world, &permit(&[peer(1, 1)]));
    assert_eq!(reply.code(), 438);
    assert!(!reply.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
    assert_eq!(
        client.code(&mut world, &grant.shown(refresh())),
        0,
        "with the fresh one"
    );
}

#[test]
fn t_oauth_10_an_allocate_that_comes_again_gets_the_same_answer() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.get_nonce(&mut world);
    let bytes = client.signed(&grant.shown(allocate()));
    let first = client.send_bytes(&mut world, &bytes).unwrap();
    let second = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(first.code(), 0);
    assert_eq!(first, second);
}

#[test]
fn t_oauth_10_another_bearer_s_allocate_with_the_same_transaction_id_is_no_retransmission() {
    let mut world = World::with(setup());
    let (first, second) = (grant(1), grant(2));
    let mut client = first.client(&world, 1);
    client.get_nonce(&mut world);
    let transactions = client.transactions;
    assert_eq!(client.code(&mut world, &first.shown(allocate())), 0);
    second.give(&mut client);
    client.transactions = transactions;
    let reply = client.ask_once(&mut world, &second.shown(allocate()));
    assert_eq!(reply.code(), 437);
    assert!(!reply.has(AttributeType::XOR_RELAYED_ADDRESS));
    first.give(&mut client);
    client.transactions = transactions;
    let reply = client.ask_once(&mut world, &first.shown(allocate()));
    assert_eq!(reply.code(), 0);
}

#[test]
fn t_oauth_12_a_token_needs_realm_and_nonce_like_any_credential() {
    let mut world = World::with(setup());
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.get_nonce(&mut world);
    let mut buffer = [0; 512];
    let kind = hairpin::wire::MessageType::new(Method::ALLOCATE, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, client.next_transaction());
    writer
        .attribute(AttributeType::ACCESS_TOKEN, &grant.token)
        .attribute(AttributeType::USERNAME, b"north")
        .integrity(Mac::Sha1, &client.login.key());
    let length = writer.finish().unwrap();
    let reply = client.send_bytes(&mut world, &buffer[..length]).unwrap();
    assert_eq!(reply.code(), 400);
    client.login.realm = "elsewhere.example".into();
    assert_eq!(client.code(&mut world, &grant.shown(allocate())), 401);
    assert_eq!(world.auth_failures, ["north wrong_realm"]);
}

#[test]
fn t_oauth_05_a_key_id_may_be_sent_hashed_where_user_names_may() {
    let mut world = World::with(Setup {
        secrets: Vec::new(),
        ..setup()
    });
    let grant = grant(1);
    let mut client = grant.client(&world, 1);
    client.get_nonce(&mut world);
    let hash = userhash(b"north", REALM);
    let mut ask = |ask: Ask| {
        // With USERHASH in place of USERNAME.
        let mut buffer = [0; 512];
        let kind = hairpin::wire::MessageType::new(ask.method, Class::Request);
        let mut writer = Writer::new(&mut buffer, kind, client.next_transaction());
        for part in &ask.parts {
            match part {
                crate::client::Part::Raw(kind, value) => writer.attribute(*kind, value),
                crate::client::Part::Xor(kind, address) => writer.xor_address(*kind, *address),
            };
        }
        writer
            .attribute(AttributeType::USERHASH, &hash)
            .attribute(AttributeType::REALM, REALM.as_bytes())
            .attribute(AttributeType::NONCE, &client.nonce)
            .integrity(Mac::Sha1, &client.login.key());
        let length = writer.finish().unwrap();
        assert!(Message::parse(&buffer[..length]).is_ok());
        client
            .send_bytes(&mut world, &buffer[..length])
            .unwrap()
            .code()
    };
    assert_eq!(ask(grant.shown(allocate())), 0);
    assert_eq!(ask(permit(&[peer(1, 1)])), 0);
    assert_eq!(ask(grant.shown(refresh())), 0);
}

/// The id of a key is common to many clients, so quotas go by the token.
#[test]
fn quotas_count_a_token_s_allocations_and_not_those_of_its_key_id() {
    let mut world = World::with(Setup {
        limits: Limits {
            per_user: 2,
            ..Limits::default()
        },
        ..setup()
    });
    let (one, other) = (grant(1), grant(2));
    for (host, grant, code) in [
        (1, &one, 0),
        (2, &one, 0),
        (3, &one, 486),
        (4, &other, 0),
        (5, &other, 0),
        (6, &other, 486),
    ] {
        let mut client = grant.client(&world, host);
        assert_eq!(client.code(&mut world, &grant.shown(allocate())), code);
    }
    world.expect_nothing_left();
}

#[test]
fn x_cve_11_t_mob_03_a_ticket_moves_with_the_key_of_its_own_token_only() {
    for worker in [0, 1] {
        let mut world = World::with(Setup {
            workers: 2,
            mobility: true,
            ..setup()
        });
        let own = Grant::new("north", 1, UNIX_START, 1000);
        let strange = grant(2);
        let mut client = own.client(&world, 1);
        let reply = client.ask(&mut world, &own.shown(allocate_mobile()));
        let ticket = reply.value(AttributeType::MOBILITY_TICKET).unwrap();

        // The same key of tokens, but another client's token: and to take the ticket is easy, it goes in the clear.
        let mut thief = Client {
            worker,
            ..strange.client(&world, 2)
        };
        let stolen = refresh_with(&ticket);
        assert_eq!(thief.code(&mut world, &strange.shown(stolen.clone())), 441);
        assert_eq!(thief.code(&mut world, &stolen), 401);

        // With its own it moves, and lives no longer than that.
        let mut moved = Client {
            worker,
            ..own.client(&world, 3)
        };
        let reply = moved.ask(&mut world, &own.shown(refresh_with(&ticket).lifetime(7200)));
        assert_eq!((reply.code(), reply.lifetime()), (0, 1005));
        let ticket = reply.value(AttributeType::MOBILITY_TICKET).unwrap();
        assert_eq!(moved.code(&mut world, &permit(&[peer(1, 1)])), 0);
        let mut moved = own.client(&world, 4);
        let again = own.shown(refresh_with(&ticket));
        assert_eq!(moved.code(&mut world, &again), 0);
        assert_eq!(moved.code(&mut world, &permit(&[peer(1, 2)])), 0);

        // Another token takes over here, and is what the next move needs.
        strange.give(&mut moved);
        let reply = moved.ask(&mut world, &strange.shown(refresh()));
        assert_eq!(reply.code(), 0);
        world.advance(4000);
        world.expect_nothing_left();
    }
}
