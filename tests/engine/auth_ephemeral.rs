//! Ephemeral credentials: good until they expire, and a call that is up goes on.

use crate::client::{Client, allocate, bind, permit, refresh};
use crate::world::{SECRET, Setup, UNIX_START, World, peer};
use hairpin::auth::mint_ephemeral;
use hairpin::engine::CloseReason;
use hairpin::engine::counters::RefusalReason;
use hairpin::policy::Limits;

fn with_credential(world: &World, host: u8, secret: &str, user: &str, expiry: u64) -> Client {
    let (name, password) = mint_ephemeral(secret.as_bytes(), Some(user), expiry);
    let mut client = world.client(host);
    client.login.user = name.into();
    client.login.password = password;
    client
}

#[test]
fn t_rest_01_05_07_credentials_of_every_secret_and_users_work_side_by_side() {
    let mut world = World::with(Setup {
        secrets: vec![SECRET, "the older one"],
        ..Setup::default()
    });
    let expiry = UNIX_START + 60;
    with_credential(&world, 1, SECRET, "carol", expiry).allocated(&mut world);
    with_credential(&world, 2, "the older one", "carol", expiry).allocated(&mut world);
    world.client(3).allocated(&mut world);
    let mut client = with_credential(&world, 4, "not a secret", "carol", expiry);
    assert_eq!(client.code(&mut world, &allocate()), 401);
}

#[test]
fn t_rest_02_an_expired_credential_opens_nothing() {
    let mut world = World::new();
    let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START);
    let mut late = with_credential(&world, 2, SECRET, "carol", UNIX_START);
    client.allocated(&mut world);
    world.advance(1);
    assert_eq!(late.code(&mut world, &allocate()), 401);
    assert_eq!(world.auth_failures, [format!("{UNIX_START}:carol expired")]);
}

#[test]
fn users_of_one_key_hold_so_many_allocations_together() {
    let mut world = World::with(Setup {
        limits: Limits::default(),
        ..Setup::default()
    });
    world.shared.quotas.set_groups([("shop", 2)]);
    let expiry = UNIX_START + 3600;
    let mut first = with_credential(&world, 1, SECRET, "shop:a", expiry);
    first.allocated(&mut world);
    with_credential(&world, 2, SECRET, "shop:b", expiry + 1).allocated(&mut world);
    let mut third = with_credential(&world, 3, SECRET, "shop:c", expiry + 2);
    assert_eq!(third.code(&mut world, &allocate()), 486);
    let refusals = world.counters[0].refusals();
    let of_key = |(reason, count)| (reason == RefusalReason::KeyQuota).then_some(count);
    assert_eq!(refusals.filter_map(of_key).sum::<u64>(), 1);
    // Not of that key: another's, no key's, and one who only looks like it.
    for (host, user) in [(4, "game:a"), (5, "shop"), (6, "shopping:a")] {
        with_credential(&world, host, SECRET, user, expiry).allocated(&mut world);
    }
    assert_eq!(first.code(&mut world, &refresh().lifetime(0)), 0);
    third.allocated(&mut world);
    world.expect_nothing_left();
    assert_eq!(world.shared.quotas.in_use_by("shop"), 0);
}

#[test]
fn t_rest_03_a_call_goes_on_until_the_refresh_after_its_credential_expired() {
    let mut world = World::new();
    let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START + 300);
    let relayed = client.allocated(&mut world);
    for _ in 0..2 {
        world.advance(240);
        assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
        assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    }
    client.push(&mut world, 0x4000, b"still here");
    assert_eq!(world.take_sent().len(), 1);
    world.peer_sends(peer(1, 1), relayed, b"so am I");
    assert_eq!(client.received(&mut world).len(), 1);
    // But the credential opens nothing new, and is not enough for a longer life.
    let mut other = with_credential(&world, 2, SECRET, "carol", UNIX_START + 300);
    assert_eq!(other.code(&mut world, &allocate()), 401);
    let refused = client.ask(&mut world, &refresh());
    assert!(refused.code() == 401 && refused.is_challenge());
    assert!(!client.is_allocated(&world));
    assert_eq!(world.closed[0].reason, CloseReason::CredentialExpired);
    assert_eq!(client.code(&mut world, &allocate()), 401);
}

#[test]
fn an_expired_credential_is_good_enough_to_give_the_allocation_back() {
    let mut world = World::new();
    let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START + 10);
    client.allocated(&mut world);
    world.advance(60);
    assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
    assert_eq!(world.closed[0].reason, CloseReason::Released);
}

#[test]
fn strict_expiry_ends_a_session_when_its_credential_does() {
    let mut world = World::with(Setup {
        strict_expiry: true,
        ..Setup::default()
    });
    let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START + 900);
    let mut lasting = world.client(2);
    assert_eq!(client.ask(&mut world, &allocate()).lifetime(), 600);
    lasting.allocated(&mut world);
    world.advance(500);
    // No promise is longer than the credential.
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 401);
    assert_eq!(lasting.ask(&mut world, &refresh()).lifetime(), 600);
    world.advance(400);
    assert!(client.is_allocated(&world));
    world.advance(1);
    assert!(!client.is_allocated(&world) && lasting.is_allocated(&world));
    assert_eq!(world.closed[0].reason, CloseReason::CredentialExpired);
}

#[test]
fn a_renewed_credential_moves_the_end() {
    for strict_expiry in [false, true] {
        let setup = || Setup {
            strict_expiry,
            match_user_part: true,
            ..Setup::default()
        };
        let mut world = World::with(setup());
        let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START + 300);
        client.allocated(&mut world);
        world.advance(200);
        let renewed = with_credential(&world, 1, SECRET, "carol", UNIX_START + 3000);
        client.login = renewed.login;
        for _ in 0..4 {
            assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 600);
            world.advance(500);
        }
        assert!(client.is_allocated(&world));
    }
}

#[test]
fn rules_that_become_strict_hold_for_sessions_that_live() {
    let mut world = World::new();
    let expiry = [100, 300];
    let mut clients = [1, 2].map(|host| {
        let expiry = UNIX_START + expiry[usize::from(host) - 1];
        with_credential(&world, host, SECRET, "carol", expiry)
    });
    for client in &mut clients {
        client.allocated(&mut world);
    }
    world.advance(200);
    world.set_rules(Setup {
        strict_expiry: true,
        ..Setup::default()
    });
    assert!(!clients[0].is_allocated(&world) && clients[1].is_allocated(&world));
    world.advance(101);
    assert!(!clients[1].is_allocated(&world));
}

#[test]
fn revoked_users_lose_what_they_have_at_once_and_get_nothing_more() {
    let mut world = World::new();
    let whole = UNIX_START + 7000;
    let mut clients = [
        with_credential(&world, 1, SECRET, "carol", UNIX_START + 6000),
        with_credential(&world, 2, SECRET, "dave", whole),
        world.bob(3),
    ];
    let mut others = [
        with_credential(&world, 4, SECRET, "dave", UNIX_START + 6001),
        world.client(5),
    ];
    for client in clients.iter_mut().chain(&mut others) {
        client.allocated(&mut world);
    }
    let name: &'static str = Box::leak(format!("{whole}:dave").into_boxed_str());
    world.set_rules(Setup {
        revoked: vec!["bob", "carol", name],
        ..Setup::default()
    });
    for client in &mut clients {
        assert!(!client.is_allocated(&world));
        let refused = client.ask(&mut world, &allocate());
        assert!(refused.code() == 401 && refused.is_challenge());
    }
    assert_eq!(world.auth_failures.len(), 3);
    assert!(
        world
            .auth_failures
            .iter()
            .all(|line| line.ends_with(" revoked"))
    );
    assert!(
        world
            .closed
            .iter()
            .all(|c| c.reason == CloseReason::Revoked)
    );
    for client in &mut others {
        assert_eq!(client.code(&mut world, &refresh()), 0);
    }
    // Who guesses the password of somebody who is revoked learns nothing, nor does the log say it was right.
    let mut guess = world.bob(7);
    guess.login.password = "guess".into();
    assert_eq!(guess.code(&mut world, &allocate()), 401);
    assert_eq!(world.auth_failures[3], "bob wrong_password");
}

#[test]
fn t_rest_04_an_expiry_that_is_no_time_is_refused() {
    let mut world = World::new();
    for name in ["99999999999999999999:x", "-1:x", "abc:x", ":x", "1e9:x"] {
        let mut client = world.client(1);
        let (_, password) = mint_ephemeral(SECRET.as_bytes(), Some("x"), 1);
        client.login.user = name.into();
        client.login.password = password;
        client.get_nonce(&mut world);
        assert_eq!(client.ask_once(&mut world, &allocate()).code(), 401);
    }
}

#[test]
fn t_rest_06_quotas_go_by_the_user_and_not_by_the_expiry() {
    let mut world = World::with(Setup {
        limits: Limits {
            per_user: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    for number in 0..3 {
        let expiry = UNIX_START + 100 + u64::from(number);
        let mut client = with_credential(&world, number, SECRET, "carol", expiry);
        let expected = if number < 2 { 0 } else { 486 };
        assert_eq!(client.code(&mut world, &allocate()), expected);
    }
    with_credential(&world, 9, SECRET, "dave", UNIX_START + 100).allocated(&mut world);
}

#[test]
fn t_gen_07_a_renewed_user_name_is_another_user() {
    let mut world = World::new();
    let mut client = with_credential(&world, 1, SECRET, "carol", UNIX_START + 100);
    client.allocated(&mut world);
    let renewed = with_credential(&world, 1, SECRET, "carol", UNIX_START + 200);
    let former = std::mem::replace(&mut client.login, renewed.login);
    assert_eq!(client.code(&mut world, &refresh()), 441);
    client.login = former;
    assert_eq!(client.code(&mut world, &refresh()), 0);
}

#[test]
fn t_gen_13_setting_the_wall_clock_ends_and_extends_no_allocation() {
    for jump in [-7200, 7200] {
        let mut world = World::new();
        let mut client = world.client(1);
        let mut ephemeral = with_credential(&world, 2, SECRET, "carol", UNIX_START + 600);
        client.allocated(&mut world);
        world.wall_jump = jump;
        world.advance(599);
        assert!(client.is_allocated(&world));
        // What is written in a credential is wall clock time.
        let expected = if jump > 0 { 401 } else { 0 };
        assert_eq!(ephemeral.code(&mut world, &allocate()), expected);
        world.advance(1);
        assert!(!client.is_allocated(&world));
    }
}
