//! Allocate: the checks of RFC 8656 §7.2, ports and quotas.

use crate::client::{Ask, Client, Login, allocate, refresh};
use crate::world::{RELAY, RELAY_V6, SERVER, SERVER_V6, Setup, World, address};
use hairpin::engine::counters::RefusalReason;
use hairpin::engine::{Outcome, REPLY_LENGTH, Transport};
use hairpin::policy::Limits;
use hairpin::wire::{AttributeType, Method};

fn refusals(world: &World, reason: RefusalReason) -> u64 {
    let mut all = world.counters[0].refusals();
    all.find(|(r, _)| *r == reason).unwrap().1
}

#[test]
fn t_alloc_02_w_rtc_08_a_second_allocate_on_a_5_tuple_is_437() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    let reply = client.ask(&mut world, &allocate());
    assert_eq!(reply.code(), 437);
    assert!(reply.is_signed());
    // The 5-tuple is looked at before anything else of the request.
    assert_eq!(client.code(&mut world, &Ask::new(Method::ALLOCATE)), 437);
    assert_eq!(client.code(&mut world, &allocate().family(9)), 437);
    assert_eq!(world.live[&client.path.tuple].relayed.advertised, relayed);
}

#[test]
fn t_alloc_05_06_07_only_udp_is_relayed() {
    let mut world = World::new();
    let mut client = world.client(1);
    let with =
        |value: &[u8]| Ask::new(Method::ALLOCATE).raw(AttributeType::REQUESTED_TRANSPORT, value);
    assert_eq!(client.code(&mut world, &Ask::new(Method::ALLOCATE)), 400);
    for value in [&[17_u8][..], &[], &[17, 0, 0], &[17, 0, 0, 0, 0]] {
        assert_eq!(client.code(&mut world, &with(value)), 400);
    }
    for protocol in [132, 1, 0, 255, 6] {
        assert_eq!(client.code(&mut world, &with(&[protocol, 0, 0, 0])), 442);
    }
    assert_eq!(client.code(&mut world, &with(&[17, 0, 0, 0])), 0);
}

#[test]
fn t_alloc_09_dont_fragment_is_supported() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate().raw(AttributeType::DONT_FRAGMENT, b"");
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn t_alloc_12_two_family_attributes_are_400() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate()
        .family(1)
        .raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(client.code(&mut world, &ask), 400);
}

#[test]
fn t_alloc_13_14_15_the_family_is_ipv4_unless_asked_otherwise() {
    let mut world = World::new();
    let relay = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    let mut v4 = world.client(1);
    let mut v6 = world.v6_client(2);
    assert_eq!(v4.allocated(&mut world).ip(), relay(RELAY));
    assert_eq!(v6.allocated(&mut world).ip(), relay(RELAY));
    for mut client in [world.client(3), world.v6_client(4)] {
        let reply = client.ask(&mut world, &allocate().family(2));
        assert_eq!(reply.relayed().ip(), relay(RELAY_V6));
    }
    let mut client = world.client(5);
    for family in [0, 3, 255] {
        assert_eq!(client.code(&mut world, &allocate().family(family)), 440);
    }

    for (has_v4, has_v6) in [(true, false), (false, true)] {
        let mut world = World::with(Setup {
            has_v4,
            has_v6,
            ..Setup::default()
        });
        let code = |has| if has { 0 } else { 440 };
        for (host, ask, expected) in [
            (1, allocate(), code(has_v4)),
            (2, allocate().family(1), code(has_v4)),
            (3, allocate().family(2), code(has_v6)),
        ] {
            let mut client = world.client(host);
            assert_eq!(client.code(&mut world, &ask), expected);
        }
    }
}

#[test]
fn t_alloc_25_26_t_gen_12_a_user_has_so_many_allocations_and_another_has_its_own() {
    let mut world = World::with(Setup {
        limits: Limits {
            per_user: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut clients: Vec<_> = (0..3).map(|host| world.client(host)).collect();
    for client in &mut clients[..2] {
        client.allocated(&mut world);
    }
    let reply = clients[2].ask(&mut world, &allocate());
    assert_eq!(reply.code(), 486);
    assert!(reply.is_signed());
    // Another user behind the same address.
    let mut bob = world.bob(1);
    bob.path = Client::new(
        "30.0.0.1:7777".parse().unwrap(),
        address(SERVER),
        Transport::Udp,
        Login::new("bob", ""),
    )
    .path;
    bob.allocated(&mut world);
    // A wrong password finds out nothing about quotas.
    let password = std::mem::replace(&mut clients[2].login.password, "wrong".into());
    assert_eq!(clients[2].code(&mut world, &allocate()), 401);
    clients[2].login.password = password;
    assert_eq!(clients[0].code(&mut world, &refresh().lifetime(0)), 0);
    assert_eq!(clients[2].code(&mut world, &allocate()), 0);
    assert_eq!(refusals(&world, RefusalReason::UserQuota), 1);
    world.expect_nothing_left();
}

#[test]
fn x_sec_08_sources_and_the_server_have_their_limits_too() {
    let mut world = World::with(Setup {
        limits: Limits {
            per_source: 1,
            total: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    world.client(1).allocated(&mut world);
    assert_eq!(world.tcp_client(1).code(&mut world, &allocate()), 486);
    world.client(2).allocated(&mut world);
    assert_eq!(world.client(3).code(&mut world, &allocate()), 508);
    assert_eq!(refusals(&world, RefusalReason::SourceQuota), 1);
    assert_eq!(refusals(&world, RefusalReason::TotalQuota), 1);
}

#[test]
fn t_alloc_27_s_err_04_without_a_free_port_there_is_508_and_then_recovery() {
    let mut world = World::with(Setup {
        ports: 50000..=50001,
        quarantine: 5,
        ..Setup::default()
    });
    let mut clients: Vec<_> = (0..3).map(|host| world.client(host)).collect();
    clients[0].allocated(&mut world);
    clients[1].allocated(&mut world);
    assert_eq!(clients[2].code(&mut world, &allocate()), 508);
    assert_eq!(clients[0].code(&mut world, &refresh().lifetime(0)), 0);
    // Late packets for the former owner are still under way.
    assert_eq!(clients[2].code(&mut world, &allocate()), 508);
    world.advance(5);
    assert_eq!(clients[2].code(&mut world, &allocate()), 0);
    assert_eq!(refusals(&world, RefusalReason::NoPort), 2);
}

#[test]
fn t_alloc_28_29_t_gen_08_ports_are_in_range_unique_and_not_in_sequence() {
    let mut world = World::new();
    let mut ports = Vec::new();
    for host in 0..250 {
        ports.push(f64::from(world.client(host).allocated(&mut world).port()));
    }
    assert!(ports.iter().all(|port| *port >= 49152.0));
    let mean = ports.iter().sum::<f64>() / ports.len() as f64;
    let variance: f64 = ports.iter().map(|p| (p - mean).powi(2)).sum();
    let serial: f64 = ports
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    assert!((serial / variance).abs() < 0.25, "{}", serial / variance);
    assert!((mean - 57344.0).abs() < 1200.0, "{mean}");
}

#[test]
fn t_alloc_37_a_5_tuple_can_be_used_again_at_once() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &refresh().lifetime(0)), 0);
    client.allocated(&mut world);
    world.advance(600);
    client.allocated(&mut world);
    // Also when the timer is late.
    world.sleep_through(601);
    client.allocated(&mut world);
    assert_eq!(world.closed.len(), 3);
}

#[test]
fn t_alloc_38_a_failing_allocate_leaves_nothing_behind() {
    let mut world = World::with(Setup {
        ports: 50000..=50009,
        quarantine: 1,
        ..Setup::default()
    });
    let mut client = world.client(1);
    let wrong = [
        Ask::new(Method::ALLOCATE),
        allocate().family(9),
        allocate().token(&[1; 8]),
        allocate().raw(AttributeType(0x7001), b""),
        allocate().raw(AttributeType::EVEN_PORT, b""),
    ];
    for round in 0..100 {
        world.no_sockets = round % 2 == 0;
        for ask in &wrong {
            assert_ne!(client.code(&mut world, ask), 0);
        }
        if world.no_sockets {
            assert_eq!(client.code(&mut world, &allocate()), 508);
            assert_eq!(client.code(&mut world, &allocate().even_port(true)), 508);
            world.advance(1);
        }
    }
    world.no_sockets = false;
    client.allocated(&mut world);
    // Nor are relay numbers used up.
    assert_eq!(world.live[&client.path.tuple].relays[0].0.0, 0);
    assert_eq!(refusals(&world, RefusalReason::NoSocket), 100);
    world.expect_nothing_left();
}

#[test]
fn s_err_04_ports_that_other_programs_have_are_passed_over() {
    let mut world = World::with(Setup {
        ports: 50000..=50003,
        quarantine: 1,
        ..Setup::default()
    });
    world.ports_in_use = (50000..50003).collect();
    let mut client = world.client(1);
    assert_eq!(client.allocated(&mut world).port(), 50003);
    let mut other = world.client(2);
    world.advance(2);
    assert_eq!(other.code(&mut world, &allocate()), 508);
    world.ports_in_use.clear();
    world.advance(2);
    other.allocated(&mut world);
    world.expect_nothing_left();
}

#[test]
fn t_alloc_40_x_sec_05_clients_in_transition_prefixes_are_refused() {
    let mut world = World::new();
    for from in ["[2002:1e00:1::1]:99", "[2001:0:1::1]:99"] {
        let login = Login::new("alice", "s3cret");
        let mut client = Client::new(address(from), address(SERVER_V6), Transport::Udp, login);
        assert_eq!(client.code(&mut world, &allocate()), 403);
    }
}

#[test]
fn t_gen_01_02_s_tcp_08_allocations_go_by_5_tuple() {
    let mut world = World::new();
    let udp = world.client(1);
    let tcp = world.tcp_client(1);
    let mut second_address = udp.clone();
    second_address.path = Client::new(
        udp.path.tuple.client(),
        address("20.0.0.2:3478"),
        Transport::Udp,
        udp.login.clone(),
    )
    .path;
    let mut second_port = udp.clone();
    second_port.path = Client::new(
        address("30.0.0.1:4444"),
        address(SERVER),
        Transport::Udp,
        udp.login.clone(),
    )
    .path;
    for mut client in [udp.clone(), tcp.clone(), second_address, second_port] {
        client.nonce.clear();
        client.allocated(&mut world);
    }
    assert_eq!(world.live.len(), 4);
    world.client_gone(&tcp);
    assert_eq!(world.live.len(), 3);
    assert!(udp.is_allocated(&world) && !tcp.is_allocated(&world));
}

#[test]
fn w_rtc_22_a_hundred_allocations_of_one_user_at_once_succeed() {
    let mut world = World::new();
    for host in 0..100 {
        world.client(host).allocated(&mut world);
    }
    assert_eq!(world.live.len(), 100);
}

#[test]
fn ports_that_were_about_to_be_opened_go_back_where_a_worker_fails() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let bytes = client.signed(&allocate().even_port(true));
    let mut reply = vec![0; REPLY_LENGTH];
    let now = world.now();
    let outcome = world.engines[0].from_client(now, &client.path, &bytes, &mut reply);
    assert!(matches!(outcome, Outcome::OpenRelay(_)));
    assert_eq!(world.shared.relays.counts(now.instant).used, 2);
    drop(world.engines.remove(0));
    let counts = world.shared.relays.counts(now.instant);
    assert_eq!(
        (counts.used, counts.quarantined, counts.reserved),
        (0, 1, 0)
    );
    assert_eq!(world.shared.quotas.in_use(), 0);
}
