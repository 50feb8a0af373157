//! Long-term credentials, in the order of RFC 8489 §9.2.4.

use crate::client::{Ask, Client, Login, allocate, bind, permit, refresh};
use crate::world::{SERVER, Setup, World, address, peer};
use hairpin::engine::Transport;
use hairpin::engine::counters::AuthFailureReason;
use hairpin::wire::{AttributeType, Method};
use std::collections::HashSet;
use std::net::SocketAddr;

fn failures(world: &World, reason: AuthFailureReason) -> u64 {
    let mut all = world.counters[0].auth_failures();
    all.find(|(r, _)| *r == reason).unwrap().1
}

fn every_request() -> [Ask; 4] {
    [
        allocate(),
        refresh(),
        permit(&[peer(1, 1)]),
        bind(0x4000, peer(1, 1)),
    ]
}

#[test]
fn s_auth_01_18_t_alloc_01_x_sec_01_without_integrity_there_is_a_challenge() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for ask in every_request() {
        let reply = client.ask_unsigned(&mut world, &ask).unwrap();
        assert_eq!(reply.code(), 401);
        assert!(reply.is_challenge());
        assert_eq!(reply.value(AttributeType::REALM).unwrap(), b"example.org");
    }
    assert_eq!(world.counters[0].challenges.get(), 5);
    assert!(world.auth_failures.is_empty(), "the first 401 is protocol");
}

#[test]
fn x_sec_11_the_challenge_is_short() {
    let mut world = World::new();
    let mut client = world.client(1);
    let bytes = client.unsigned(&allocate());
    assert_eq!(bytes.len(), 28);
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert!(reply.0.len() <= 120, "{}", reply.0.len());
}

#[test]
fn s_auth_02_03_integrity_without_user_realm_or_nonce_is_400_without_a_challenge() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let nonce = client.nonce.clone();
    let parts = [
        (AttributeType::USERNAME, b"alice".to_vec()),
        (AttributeType::REALM, b"example.org".to_vec()),
        (AttributeType::NONCE, nonce),
    ];
    for missing in 0..3 {
        let ask = parts
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .fold(allocate(), |ask, (_, (kind, value))| ask.raw(*kind, value))
            .raw(AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
        let reply = client.ask_unsigned(&mut world, &ask).unwrap();
        assert_eq!(reply.code(), 400);
        assert_eq!(reply.kinds(), [AttributeType::ERROR_CODE]);
    }
    assert_eq!(failures(&world, AuthFailureReason::Incomplete), 3);
}

#[test]
fn s_auth_04_05_06_17_a_wrong_user_password_or_realm_look_the_same() {
    let mut world = World::new();
    let mut answers = HashSet::new();
    for (user, password, realm) in [
        ("nobody", "s3cret", "example.org"),
        ("alice", "wrong", "example.org"),
        ("alice", "s3cret", "other.example"),
        ("Alice", "s3cret", "example.org"),
        ("alice\0x", "s3cret", "example.org"),
        ("' OR 1=1--", "s3cret", "example.org"),
        ("1:alice", "s3cret", "example.org"),
        ("", "", "example.org"),
    ] {
        let mut client = world.client(1);
        client.get_nonce(&mut world);
        client.login.user = user.into();
        client.login.password = password.into();
        client.login.realm = realm.into();
        let reply = client.ask_once(&mut world, &allocate());
        assert_eq!(reply.code(), 401);
        assert!(reply.is_challenge());
        assert_eq!(reply.value(AttributeType::REALM).unwrap(), b"example.org");
        let mut shape = reply.0.clone();
        shape[8..20].fill(0);
        let nonce_length = reply.value(AttributeType::NONCE).unwrap().len();
        let end = shape.len();
        shape[end - nonce_length..].fill(0);
        answers.insert(shape);
    }
    assert_eq!(answers.len(), 1, "all look the same");
    assert_eq!(failures(&world, AuthFailureReason::UnknownUser), 5);
    assert_eq!(failures(&world, AuthFailureReason::WrongPassword), 2);
    assert_eq!(failures(&world, AuthFailureReason::WrongRealm), 1);
    assert_eq!(world.auth_failures.len(), 8);
}

#[test]
fn s_auth_07_08_09_11_t_refr_11_w_rtc_07_a_stale_nonce_is_438_with_one_that_is_good_at_once() {
    let mut world = World::with(Setup {
        nonce_lifetime: 60,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    world.advance(130);
    for ask in every_request().into_iter().skip(1) {
        let stale = client.nonce.clone();
        let reply = client.ask_once(&mut world, &ask);
        assert_eq!(reply.code(), 438);
        assert!(reply.is_challenge());
        client.nonce = reply.value(AttributeType::NONCE).unwrap();
        assert_eq!(client.ask_once(&mut world, &ask).code(), 0);
        // A stale nonce beside a wrong password: the password is what is wrong.
        client.nonce = stale.clone();
        let password = std::mem::replace(&mut client.login.password, "wrong".into());
        assert_eq!(client.ask_once(&mut world, &ask).code(), 401);
        client.login.password = password;
    }
    assert!(client.is_allocated(&world));
    assert_eq!(failures(&world, AuthFailureReason::StaleNonce), 3);
}

#[test]
fn t_refr_11_a_refused_refresh_does_not_touch_the_lifetime() {
    let mut world = World::with(Setup {
        nonce_lifetime: 60,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    world.advance(300);
    assert_eq!(
        client
            .ask_once(&mut world, &refresh().lifetime(3600))
            .code(),
        438
    );
    assert_eq!(
        client.ask_once(&mut world, &refresh().lifetime(0)).code(),
        438
    );
    assert!(client.is_allocated(&world));
    world.advance(299);
    assert!(client.is_allocated(&world));
    world.advance(1);
    assert!(!client.is_allocated(&world));
}

#[test]
fn s_auth_10_12_13_14_each_nonce_is_new_and_made_for_one_client() {
    let mut world = World::new();
    let mut client = world.client(1);
    let mut other = world.client(2);
    let mut nonces = HashSet::new();
    for _ in 0..500 {
        world.advance_millis(1000);
        for client in [&mut client, &mut other] {
            client.get_nonce(&mut world);
            let nonce = client.nonce.clone();
            assert!(nonce.len() >= 16 && nonce.len() <= 127);
            assert!(nonce.iter().all(|byte| byte.is_ascii_graphic()));
            assert!(!nonce.contains(&b'"') && !nonce.contains(&b'\\'));
            assert!(nonces.insert(nonce));
        }
    }
    other.nonce = client.nonce.clone();
    let reply = other.ask_once(&mut world, &allocate());
    assert_eq!(reply.code(), 438);
    // Nor does it hold on another transport from the same address.
    let mut tcp = world.tcp_client(1);
    tcp.nonce = client.nonce.clone();
    assert_eq!(tcp.ask_once(&mut world, &allocate()).code(), 438);
    assert_eq!(client.ask_once(&mut world, &allocate()).code(), 0);
}

#[test]
fn s_auth_11_a_nonce_holds_on_all_connections_of_a_host_and_on_no_other_transport() {
    let mut world = World::new();
    let mut first = world.tcp_client(1);
    first.get_nonce(&mut world);
    let from = SocketAddr::new(first.path.tuple.client().ip(), 7777);
    let client = |transport| {
        let login = Login::new("alice", "s3cret");
        let mut client = Client::new(from, address(SERVER), transport, login);
        client.nonce = first.nonce.clone();
        client
    };
    for (transport, code) in [
        (Transport::Tcp, 0),
        (Transport::Tls, 438),
        (Transport::Udp, 438),
    ] {
        let reply = client(transport).ask_once(&mut world, &allocate());
        assert_eq!(reply.code(), code, "{transport:?}");
    }
    let mut elsewhere = world.tcp_client(2);
    elsewhere.nonce = first.nonce.clone();
    assert_eq!(elsewhere.ask_once(&mut world, &allocate()).code(), 438);
}

#[test]
fn s_auth_12_16_nonces_end_within_the_hour_and_made_up_ones_are_stale() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let good = client.nonce.clone();
    let mut wrong: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\"".to_vec(),
        b"a\0b".to_vec(),
        vec![b'x'; 763],
        good[..good.len() - 1].to_vec(),
    ];
    for at in 0..good.len() {
        let mut nonce = good.clone();
        nonce[at] = if nonce[at] == b'A' { b'B' } else { b'A' };
        wrong.push(nonce);
    }
    for nonce in wrong {
        client.nonce = nonce;
        assert_eq!(client.ask_once(&mut world, &allocate()).code(), 438);
    }
    client.nonce = good;
    world.advance(3601);
    assert_eq!(client.ask_once(&mut world, &allocate()).code(), 438);
}

#[test]
fn s_auth_15_x_cve_13_sources_without_credentials_leave_nothing_behind() {
    let mut world = World::new();
    for host in 0..=255 {
        world.advance_millis(1000);
        let mut client = world.client(host);
        for ask in every_request() {
            client.ask_unsigned(&mut world, &ask);
            client.nonce = b"made up".to_vec();
            client.login.password = "guess".into();
            client.ask_once(&mut world, &ask);
        }
    }
    assert_eq!(world.engines[0].next_deadline(), None);
    assert_eq!(world.shared.quotas.holders(), (0, 0));
    assert_eq!(world.shared.relays.counts(world.now().instant).used, 0);
}

#[test]
fn x_cve_10_a_refused_request_does_not_pin_a_user_to_a_5_tuple() {
    let mut world = World::new();
    let mut client = world.client(1);
    let mut attacker = world.bob(1);
    attacker.get_nonce(&mut world);
    attacker.login.password = "wrong".into();
    assert_eq!(attacker.ask_once(&mut world, &allocate()).code(), 401);
    client.allocated(&mut world);
    assert_eq!(attacker.ask_once(&mut world, &refresh()).code(), 401);
    assert_eq!(client.code(&mut world, &refresh()), 0);
}

#[test]
fn s_att_17_18_x_cve_06_user_names_of_any_bytes_up_to_763_are_unknown_users() {
    let mut world = World::new();
    for name in [
        vec![b'u'; 508],
        vec![b'u'; 763],
        vec![0xFF, 0xFE, 0x00, 0x0A],
        b"\x1b[31mred".to_vec(),
    ] {
        let mut client = world.client(1);
        client.get_nonce(&mut world);
        client.login.user = name;
        assert_eq!(client.ask_once(&mut world, &allocate()).code(), 401);
    }
    for text in &world.auth_failures {
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
        assert!(text.len() < 300);
    }
}

#[test]
fn t_gen_05_t_perm_17_t_chan_15_another_user_on_the_same_5_tuple_gets_441() {
    let mut world = World::new();
    let mut alice = world.client(1);
    let mut bob = world.bob(1);
    alice.allocated(&mut world);
    bob.get_nonce(&mut world);
    for ask in every_request().into_iter().skip(1) {
        let reply = bob.ask(&mut world, &ask);
        assert_eq!(reply.code(), 441);
        assert!(reply.message().authenticate(&bob.login.key()).is_some());
    }
    assert_eq!(bob.code(&mut world, &refresh().lifetime(0)), 441);
    // Allocate is about the 5-tuple, whoever asks.
    assert_eq!(bob.code(&mut world, &allocate()), 437);
    assert!(alice.is_allocated(&world));
    assert_eq!(failures(&world, AuthFailureReason::WrongUser), 4);
    assert_eq!(alice.code(&mut world, &refresh()), 0);
}

#[test]
fn t_gen_03_t_refr_05_t_perm_17_t_chan_15_without_an_allocation_there_is_437() {
    let mut world = World::new();
    let mut client = world.client(1);
    for ask in every_request().into_iter().skip(1) {
        let reply = client.ask(&mut world, &ask);
        assert_eq!(reply.code(), 437);
        assert!(reply.is_signed());
    }
}

#[test]
fn x_sec_02_a_captured_request_has_no_effect_from_another_source() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let delete = client.signed(&refresh().lifetime(0));
    let mut attacker = world.client(2);
    let reply = attacker.send_bytes(&mut world, &delete).unwrap();
    assert_eq!(reply.code(), 438);
    attacker.allocated(&mut world);
    let reply = attacker.send_bytes(&mut world, &delete).unwrap();
    assert_eq!(reply.code(), 438);
    assert_eq!(world.live.len(), 2);
}

#[test]
fn requests_of_methods_this_server_does_not_have_are_not_answered() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for method in [
        Method::CONNECT,
        Method::CONNECTION_BIND,
        Method::GOOG_PING,
        Method::SEND,
        Method::DATA,
    ] {
        let bytes = client.signed(&Ask::new(method));
        assert_eq!(client.send_bytes(&mut world, &bytes), None);
    }
}

#[test]
fn s_mi_06_the_key_of_an_allocation_signs_for_its_own_user_only() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let key = client.login.key();
    for name in ["bob", "nobody", "alicf"] {
        let mut bytes = [0; 300];
        let kind = hairpin::wire::MessageType::new(Method::REFRESH, hairpin::wire::Class::Request);
        let transaction = client.next_transaction();
        let mut writer = hairpin::wire::Writer::new(&mut bytes, kind, transaction);
        writer
            .attribute(AttributeType::USERNAME, name.as_bytes())
            .attribute(AttributeType::REALM, b"example.org")
            .attribute(AttributeType::NONCE, &client.nonce)
            .integrity(hairpin::wire::Mac::Sha1, &key);
        let length = writer.finish().unwrap();
        let reply = client.send_bytes(&mut world, &bytes[..length]).unwrap();
        assert_eq!(reply.code(), 401, "{name}");
    }
}
