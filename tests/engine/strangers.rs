//! What is answered to whoever has not proved a credential, counted in bytes over virtual time.

use crate::client::{Ask, Client, Login, allocate, binding, refresh};
use crate::world::{SERVER, SERVER_V6, Setup, World, address};
use hairpin::engine::Transport;
use hairpin::engine::counters::SuppressedReason;
use hairpin::policy::{Prefixes, StrangerLimits, Strangers, Suppressed};
use std::net::SocketAddr;

fn world(strangers: StrangerLimits) -> World {
    World::with(Setup {
        strangers,
        ..Setup::default()
    })
}

fn at(from: SocketAddr) -> Client {
    let server = if from.is_ipv4() { SERVER } else { SERVER_V6 };
    let login = Login::new("alice", "s3cret");
    Client::new(from, address(server), Transport::Udp, login)
}

fn suppressed(world: &World, reason: SuppressedReason) -> u64 {
    let all = world.counters.iter().flat_map(|c| c.suppressed_answers());
    all.filter(|(r, _)| *r == reason).map(|(_, n)| n).sum()
}

/// Sends `per_second` requests a second for ten seconds, each from where `source` says: bytes in and out.
fn flood(
    world: &mut World,
    per_second: u64,
    ask: &Ask,
    source: impl Fn(u64) -> SocketAddr,
) -> (usize, usize) {
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let bytes = at(source(0)).unsigned(ask);
    let start = world.millis;
    for number in 0..10 * per_second {
        let due = start + number * 1000 / per_second;
        world.advance_millis(due.saturating_sub(world.millis));
        let client = at(source(number));
        bytes_in += bytes.len();
        if let Some(reply) = client.send_bytes(world, &bytes) {
            bytes_out += reply.0.len();
        }
    }
    (bytes_in, bytes_out)
}

/// Another address and port of 51.0.0.0/24 each time.
fn of_one_network(number: u64) -> SocketAddr {
    SocketAddr::from(([51, 0, 0, number as u8], 1024 + (number % 50_000) as u16))
}

/// Another address of the whole internet each time.
fn of_everywhere(number: u64) -> SocketAddr {
    let [_, a, b, c] = (number as u32).wrapping_mul(2_654_435_761).to_be_bytes();
    SocketAddr::from(([52, a, b, c], 5000))
}

#[test]
fn x_sec_11_a_flood_in_the_name_of_one_network_sends_it_no_more_bytes_than_came() {
    for ask in [allocate(), binding()] {
        for per_second in [100, 700, 10_000] {
            let mut world = World::new();
            for _ in 0..if per_second > 100 { 1 } else { 3 } {
                let (bytes_in, bytes_out) = flood(&mut world, per_second, &ask, of_one_network);
                let factor = bytes_out as f64 / bytes_in as f64;
                assert!(factor > 0.7, "{factor} at {per_second} a second is too few");
                assert!(factor <= 1.0, "{factor} at {per_second} a second");
            }
            assert!(suppressed(&world, SuppressedReason::Prefix) > 0);
        }
    }
}

#[test]
fn x_sec_11_a_flood_with_pauses_sends_no_more_than_the_burst_and_the_rate_beyond_it() {
    let mut world = World::new();
    let bytes = at(of_one_network(0)).unsigned(&allocate());
    let (mut bytes_in, mut bytes_out, mut number) = (0, 0, 0);
    for _ in 0..10 {
        for _ in 0..4000 {
            number += 1;
            bytes_in += bytes.len();
            let reply = at(of_one_network(number)).send_bytes(&mut world, &bytes);
            bytes_out += reply.map_or(0, |reply| reply.0.len());
        }
        world.advance(2);
    }
    let limits = StrangerLimits::default();
    let most = bytes_in + (limits.burst + 20 * limits.rate) as usize + 100;
    assert!(bytes_out <= most, "{bytes_out} for {bytes_in}");
    // It could have been more.
    assert!(bytes_out > bytes_in && suppressed(&world, SuppressedReason::Prefix) > 0);
}

#[test]
fn x_sec_11_the_network_of_ipv6_is_a_56() {
    let mut world = World::new();
    let of_one = |number: u64| {
        let [a, b] = (number as u16).to_be_bytes();
        SocketAddr::from((
            [0x2a00, 1, 2, 0x300 | u16::from(a), 0, 0, 0, u16::from(b)],
            9,
        ))
    };
    let (bytes_in, bytes_out) = flood(&mut world, 2000, &allocate(), of_one);
    assert!(bytes_out <= bytes_in, "{bytes_out} for {bytes_in}");
    // Its neighbour knows nothing of it.
    let other = "[2a00:1:2:400::1]:9".parse().unwrap();
    at(other).get_nonce(&mut world);
}

#[test]
fn x_sec_11_answers_to_all_networks_together_are_bounded() {
    let total = 50_000;
    let mut world = world(StrangerLimits {
        total,
        ..StrangerLimits::default()
    });
    let (_, bytes_out) = flood(&mut world, 2000, &allocate(), of_everywhere);
    assert!(bytes_out <= 11 * total as usize + 200, "{bytes_out}");
    assert!(suppressed(&world, SuppressedReason::Total) > 0);
    assert_eq!(suppressed(&world, SuppressedReason::Prefix), 0);
}

#[test]
fn clients_with_an_allocation_are_served_while_their_own_network_is_flooded() {
    let mut world = world(StrangerLimits {
        total: 50_000,
        ..StrangerLimits::default()
    });
    let mut client = at("51.0.0.9:7000".parse().unwrap());
    client.allocated(&mut world);
    let mut late = at("51.0.0.10:7000".parse().unwrap());
    late.get_nonce(&mut world);
    for source in [of_one_network as fn(u64) -> SocketAddr, of_everywhere] {
        flood(&mut world, 2000, &allocate(), source);
        assert_eq!(client.code(&mut world, &refresh()), 0);
        client.ask_unsigned(&mut world, &binding()).unwrap();
        // A stale nonce is theirs to know of, too.
        client.nonce = b"obMatJos2AAAAnonsense".to_vec();
        assert_eq!(client.ask_once(&mut world, &refresh()).code(), 438);
        client.nonce.clear();
        assert!(
            client
                .ask_unsigned(&mut world, &allocate())
                .unwrap()
                .is_challenge()
        );
        client.get_nonce(&mut world);
    }
    // Nor does it keep those waiting who bring a good nonce and a good integrity.
    assert_eq!(late.ask_once(&mut world, &allocate()).code(), 0);
}

#[test]
fn s_auth_25_a_credential_that_is_wrong_is_a_stranger_s() {
    let mut world = world(StrangerLimits {
        total: 50_000,
        ..StrangerLimits::default()
    });
    let mut client = at("51.0.0.9:7000".parse().unwrap());
    client.get_nonce(&mut world);
    client.login.password = "guess".into();
    let mut answers = 0;
    for _ in 0..5000 {
        let bytes = client.signed(&allocate());
        answers += usize::from(client.send_bytes(&mut world, &bytes).is_some());
    }
    assert!(answers < 5000, "nobody guesses for ever");
}

#[test]
fn a_site_full_of_clients_behind_one_address_is_held_up_by_nothing() {
    let mut world = World::new();
    // 500 browsers at the same moment, each with four Bindings and four allocations; none hears of its nonce before all
    // have asked for one.
    let mut clients: Vec<_> = (0..2000_u16)
        .map(|number| at(SocketAddr::from(([51, 0, 0, 1], 2000 + number))))
        .collect();
    for client in &mut clients {
        client.ask_unsigned(&mut world, &binding()).unwrap();
        client.get_nonce(&mut world);
    }
    world.advance_millis(400);
    // Some of them go to another server.
    for client in clients.iter_mut().step_by(5) {
        assert_eq!(client.ask_once(&mut world, &allocate()).code(), 0);
    }
    assert_eq!(suppressed(&world, SuppressedReason::Prefix), 0);
}

#[test]
fn a_site_whose_clients_come_one_after_the_other_is_held_up_by_nothing() {
    for every in [5, 50, 200] {
        let mut world = World::new();
        let mut former: Option<Client> = None;
        // Each client's credential is on its way while the next one asks, and one in four never has any.
        for number in 0..400_u16 {
            world.advance_millis(every);
            let mut client = at(SocketAddr::from(([51, 0, 0, 1], 2000 + number)));
            client.ask_unsigned(&mut world, &binding()).unwrap();
            client.get_nonce(&mut world);
            if let Some(mut former) = former.replace(client).filter(|_| number % 4 > 0) {
                assert_eq!(former.ask_once(&mut world, &allocate()).code(), 0);
            }
        }
        assert_eq!(suppressed(&world, SuppressedReason::Prefix), 0);
    }
}

#[test]
fn service_is_normal_a_second_after_a_flood() {
    let mut world = World::new();
    flood(&mut world, 2000, &allocate(), of_one_network);
    world.advance(1);
    for port in 0..20 {
        let mut client = at(SocketAddr::from(([51, 0, 0, 77], 3000 + port)));
        client.allocated(&mut world);
    }
}

#[test]
fn s_bind_06_the_limits_are_settings_and_can_be_off() {
    let mut off = world(StrangerLimits {
        burst: 0,
        total: 0,
        ..StrangerLimits::default()
    });
    for _ in 0..5000 {
        at(of_one_network(0)).get_nonce(&mut off);
    }
    let mut narrow = world(StrangerLimits {
        prefixes: Prefixes { v4: 32, v6: 64 },
        burst: 100,
        rate: 1,
        total: 0,
    });
    for number in 0..3 {
        let mut client = at(of_one_network(number));
        client.get_nonce(&mut narrow);
        client.get_nonce(&mut narrow);
        assert_eq!(client.ask_unsigned(&mut narrow, &allocate()), None);
    }
}

#[test]
fn streams_have_proved_where_they_are() {
    let mut world = World::new();
    let mut client = world.tcp_client(1);
    for _ in 0..3000 {
        client.get_nonce(&mut world);
    }
}

#[test]
fn a_worker_that_is_behind_works_on_few_strangers_and_on_everybody_else() {
    let mut world = World::new();
    let mut owner = at(SocketAddr::from(([51, 0, 0, 7], 4000)));
    owner.allocated(&mut world);
    for engine in &mut world.engines {
        engine.limit_strangers(Some(3));
    }
    let mut answered = 0;
    for number in 0..10 {
        let ask = if number % 2 == 0 {
            allocate()
        } else {
            binding()
        };
        let mut stranger = at(of_everywhere(number));
        answered += u32::from(stranger.ask_unsigned(&mut world, &ask).is_some());
    }
    assert_eq!(answered, 3);
    assert_eq!(suppressed(&world, SuppressedReason::Busy), 7);
    assert_eq!(owner.ask(&mut world, &refresh()).code(), 0);
    owner.ask_unsigned(&mut world, &binding()).unwrap();
    let mut stream = world.tcp_client(1);
    stream.get_nonce(&mut world);

    for engine in &mut world.engines {
        engine.limit_strangers(None);
    }
    let mut stranger = at(of_everywhere(99));
    assert!(stranger.ask_unsigned(&mut world, &allocate()).is_some());
}

#[test]
fn other_limits_hold_at_once_and_keep_what_was_counted() {
    let with = |total, burst| StrangerLimits {
        total,
        burst,
        ..StrangerLimits::default()
    };
    let strangers = Strangers::new(with(100, 0));
    let source = "192.0.2.1".parse().unwrap();
    strangers.answered(0, source, 200);
    assert_eq!(strangers.ask(0, source, 28), Err(Suppressed::Total));
    strangers.set_limits(with(0, 0));
    assert_eq!(strangers.ask(0, source, 28), Ok(()));
    strangers.set_limits(with(0, 500));
    for _ in 0..10 {
        strangers.answered(0, source, 100);
    }
    assert_eq!(strangers.ask(0, source, 28), Err(Suppressed::Prefix));
    strangers.set_limits(with(100, 100_000));
    assert_eq!(strangers.ask(0, source, 28), Err(Suppressed::Total));
}
