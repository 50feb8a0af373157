//! Mobility (RFC 8016): allocations that follow their client, on one worker and from one to another.

use crate::client::{Ask, Client, allocate, bind, permit, refresh, send};
use crate::world::{Setup, World, peer};
use hairpin::engine::counters::DropReason;
use hairpin::engine::{CloseReason, Transport};
use hairpin::policy::Limits;
use hairpin::wire::{AttributeType, Mac, Method};
use std::net::SocketAddr;

pub const TICKET: AttributeType = AttributeType::MOBILITY_TICKET;

/// A server of three workers whose allocations can move.
pub fn mobile_world() -> World {
    mobile_world_with(Setup::default())
}

fn mobile_world_with(setup: Setup) -> World {
    World::with(Setup {
        workers: 3,
        mobility: true,
        ..setup
    })
}

pub fn allocate_mobile() -> Ask {
    allocate().raw(TICKET, &[])
}

pub fn refresh_with(ticket: &[u8]) -> Ask {
    refresh().raw(TICKET, ticket)
}

/// Allocates; the relayed address and the ticket.
pub fn settle(world: &mut World, client: &mut Client) -> (SocketAddr, Vec<u8>) {
    let reply = client.ask(world, &allocate_mobile());
    assert_eq!(reply.code(), 0);
    let ticket = reply.value(TICKET).expect("there is a ticket");
    (reply.relayed(), ticket)
}

/// Takes the allocation to another 5-tuple; the next ticket.
pub fn move_to(world: &mut World, client: &mut Client, ticket: &[u8]) -> Vec<u8> {
    let reply = client.ask(world, &refresh_with(ticket));
    assert_eq!(reply.code(), 0);
    reply.value(TICKET).expect("there is a new ticket")
}

/// The same client at another address, on a worker.
pub fn at(world: &World, host: u8, worker: usize) -> Client {
    Client {
        worker,
        ..world.client(host)
    }
}

pub fn tcp_at(world: &World, host: u8, worker: usize) -> Client {
    Client {
        worker,
        ..world.tcp_client(host)
    }
}

fn moves(world: &World) -> u64 {
    let all = world.counters.iter();
    all.map(|counters| counters.allocations_moved.get()).sum()
}

fn pushed(world: &mut World) -> Vec<(SocketAddr, Vec<u8>)> {
    let sent = world.take_sent();
    sent.into_iter()
        .map(|sent| (sent.from, sent.data))
        .collect()
}

#[test]
fn t_mob_01_t_alloc_04_an_allocation_that_may_move_has_a_ticket() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let request = client.signed(&allocate_mobile());
    let first = client.send_bytes(&mut world, &request).unwrap();
    let ticket = first.value(TICKET).unwrap();
    assert!(!ticket.is_empty());
    let again = client.send_bytes(&mut world, &request).unwrap();
    assert_eq!(again.value(TICKET).unwrap(), ticket);
    assert_eq!(world.live.len(), 1);

    let mut other = world.client(2);
    let reply = other.ask(&mut world, &allocate());
    assert!(!reply.has(TICKET), "nobody asked for it");
    world.expect_nothing_left();
}

#[test]
fn t_mob_02_a_ticket_in_allocate_is_400_and_forbidden_mobility_405() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (_, ticket) = settle(&mut world, &mut client);
    let mut other = world.client(2);
    for value in [&ticket[..], b"x"] {
        let ask = allocate().raw(TICKET, value);
        assert_eq!(other.code(&mut world, &ask), 400);
    }

    let mut off = World::new();
    let mut client = off.client(1);
    assert_eq!(client.code(&mut off, &allocate_mobile()), 405);
    assert_eq!(client.code(&mut off, &allocate()), 0, "without it, it can");
    assert_eq!(client.code(&mut off, &refresh_with(&ticket)), 405);
    assert_eq!(client.code(&mut off, &refresh()), 0);
}

#[test]
fn t_mob_02_a_tcp_allocation_does_not_move() {
    let mut setup = Setup::default();
    setup.tcp.enabled = true;
    let mut world = mobile_world_with(setup);
    let mut client = world.tcp_client(1);
    let tcp = Ask::new(Method::ALLOCATE).raw(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    assert_eq!(client.code(&mut world, &tcp.clone().raw(TICKET, &[])), 405);
    assert_eq!(client.code(&mut world, &tcp), 0);
}

#[test]
fn t_mob_03_each_refusal_has_its_code() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        let mut moved = at(&world, 2, worker);
        for invalid in [&[][..], b"x", &ticket[1..], &[7; 32]] {
            assert_eq!(moved.code(&mut world, &refresh_with(invalid)), 400);
        }
        // The source has not changed.
        assert_eq!(client.code(&mut world, &refresh_with(&ticket)), 400);
        // The 5-tuple has an allocation of its own.
        let mut settled = at(&world, 3, worker);
        settled.allocated(&mut world);
        assert_eq!(settled.code(&mut world, &refresh_with(&ticket)), 437);
        // There is no such allocation any more.
        client.ask(&mut world, &refresh().lifetime(0));
        assert_eq!(moved.code(&mut world, &refresh_with(&ticket)), 437);
        assert_eq!(moved.code(&mut world, &refresh()), 437);
        assert_eq!(moves(&world), 0);
        world.expect_nothing_left();
    }
}

#[test]
fn x_cve_11_t_mob_03_nobody_moves_the_allocation_of_another_user() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut bob = world.bob(2);
        bob.worker = worker;
        let reply = bob.ask(&mut world, &refresh_with(&ticket));
        assert_eq!(reply.code(), 441);
        assert!(!reply.has(TICKET));
        assert_eq!(
            bob.code(&mut world, &refresh_with(&ticket).lifetime(0)),
            441
        );
        assert_eq!(world.auth_failures, ["bob wrong_user", "bob wrong_user"]);
        bob.push(&mut world, 0x4000, b"mine");
        bob.tell(&mut world, &send(peer(1, 1), b"mine"));
        assert_eq!(world.take_sent(), []);
        assert!(world.peer_sends(peer(1, 1), relayed, b"hers"));
        assert_eq!(client.received(&mut world).len(), 1);
        assert_eq!(bob.received(&mut world), []);
        // It is still hers to move.
        let mut moved = at(&world, 3, worker);
        move_to(&mut world, &mut moved, &ticket);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_04_the_allocation_moves_with_all_it_has() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        client.ask(&mut world, &permit(&[peer(2, 1)]));
        client.push(&mut world, 0x4000, b"before");
        world.advance(100);

        let mut moved = at(&world, 2, worker);
        let reply = moved.ask(&mut world, &refresh_with(&ticket).lifetime(1000));
        assert_eq!((reply.code(), reply.lifetime()), (0, 1000));
        let second = reply.value(TICKET).unwrap();
        assert_ne!(second, ticket);
        moved.push(&mut world, 0x4000, b"after");
        moved.tell(&mut world, &send(peer(2, 1), b"as well"));
        let sent = pushed(&mut world);
        let data: [&[u8]; 3] = [b"before", b"after", b"as well"];
        assert_eq!(sent, data.map(|data| (relayed, data.to_vec())));
        assert_eq!(world.live[&moved.path.tuple].relayed.advertised, relayed);
        assert_eq!(world.live[&moved.path.tuple].worker, worker);
        assert_eq!(moves(&world), 1);

        assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
        assert!(world.peer_sends(peer(2, 1), relayed, b"in"));
        let arrivals = moved.received(&mut world);
        assert_eq!(arrivals[0].channel, Some(0x4000));
        assert_eq!((arrivals[1].channel, arrivals[1].from), (None, peer(2, 1)));
        // The old 5-tuple has no allocation.
        client.push(&mut world, 0x4000, b"stray");
        assert_eq!(world.take_sent(), []);
        assert_eq!(client.code(&mut world, &refresh()), 437);
        assert_eq!(client.code(&mut world, &allocate()), 0);
        client.ask(&mut world, &refresh().lifetime(0));

        // The permission is as old as it was; the lifetime is what the client got.
        world.advance(200);
        moved.tell(&mut world, &send(peer(2, 1), b"late"));
        assert_eq!(world.take_sent(), []);
        world.advance(799);
        assert!(moved.is_allocated(&world));
        world.advance(1);
        assert!(!moved.is_allocated(&world));
        let closed = world.closed.last().unwrap();
        assert_eq!(closed.duration.as_secs(), 1100);
        assert_eq!(closed.usage.packets_to_peers, 3);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_04_it_moves_again_and_again() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (relayed, mut ticket) = settle(&mut world, &mut client);
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    for step in 0..20 {
        // Also back to where it was before, and from and to streams.
        let host = 2 + step % 5;
        let worker = usize::from(step % 3);
        let mut next = if step % 4 == 0 {
            tcp_at(&world, host, worker)
        } else {
            at(&world, host, worker)
        };
        ticket = move_to(&mut world, &mut next, &ticket);
        next.push(&mut world, 0x4000, b"x");
        assert_eq!(pushed(&mut world), [(relayed, b"x".to_vec())]);
        assert!(world.peer_sends(peer(1, 1), relayed, b"y"));
        assert_eq!(next.received(&mut world).len(), 1);
        assert_eq!(next.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
        client = next;
    }
    assert_eq!(moves(&world), 20);
    client.ask(&mut world, &refresh().lifetime(0));
    assert!(world.live.is_empty());
    world.expect_nothing_left();
}

#[test]
fn t_mob_05_the_old_path_works_until_the_new_one_is_used() {
    let uses: [fn(&mut World, &mut Client); 3] = [
        |world, client| client.push(world, 0x4000, b"new"),
        |world, client| client.tell(world, &send(peer(1, 1), b"new")),
        |world, client| assert_eq!(client.code(world, &permit(&[peer(3, 1)])), 0),
    ];
    for worker in [0, 1] {
        for first_use in uses {
            let mut world = mobile_world();
            let mut old = world.client(1);
            let (relayed, ticket) = settle(&mut world, &mut old);
            old.ask(&mut world, &bind(0x4000, peer(1, 1)));
            let mut new = at(&world, 2, worker);
            move_to(&mut world, &mut new, &ticket);
            // Asking where one is uses nothing; nor does data that is nobody's.
            new.ask_unsigned(&mut world, &Ask::new(Method::BINDING))
                .unwrap();
            assert_eq!(
                new.ask_unsigned(&mut world, &refresh()).unwrap().code(),
                401
            );

            old.push(&mut world, 0x4000, b"old");
            assert_eq!(pushed(&mut world), [(relayed, b"old".to_vec())]);
            assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
            assert_eq!(old.received(&mut world).len(), 1);
            assert_eq!(old.code(&mut world, &permit(&[peer(2, 1)])), 0);
            assert_eq!(new.received(&mut world), []);

            first_use(&mut world, &mut new);
            assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
            assert_eq!(new.received(&mut world).len(), 1);
            assert_eq!(old.received(&mut world), []);
            world.take_sent();
            old.push(&mut world, 0x4000, b"old");
            assert_eq!(world.take_sent(), []);
            world.expect_nothing_left();
        }
    }
}

#[test]
fn t_mob_05_the_allocation_goes_when_the_old_connection_closes() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut old = world.tcp_client(1);
        let (relayed, ticket) = settle(&mut world, &mut old);
        old.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut new = at(&world, 2, worker);
        move_to(&mut world, &mut new, &ticket);
        world.client_gone(&old);
        assert!(new.is_allocated(&world));
        assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
        assert_eq!(new.received(&mut world).len(), 1);
        world.expect_nothing_left();
    }
}

#[test]
fn s_tcp_08_t_mob_05_an_allocation_waits_for_its_client_until_its_lifetime_is_over() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut old = world.tcp_client(1);
        let (relayed, ticket) = settle(&mut world, &mut old);
        old.ask(&mut world, &bind(0x4000, peer(1, 1)));
        world.client_gone(&old);
        assert_eq!(world.routes.len(), 0);
        // Nobody is there to be told.
        assert!(world.peer_sends(peer(1, 1), relayed, b"lost"));
        assert_eq!(world.drops(DropReason::ClientAway), 1);
        // Whoever connects from the same address has to bring the ticket.
        assert_eq!(old.code(&mut world, &refresh()), 437);
        world.advance(200);
        let mut new = tcp_at(&world, 2, worker);
        let ticket = move_to(&mut world, &mut new, &ticket);
        assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
        assert_eq!(new.received(&mut world).len(), 1, "it need not send first");
        assert_eq!(world.routes.len(), 1);

        world.client_gone(&new);
        world.advance(599);
        assert_eq!(world.all_live().count(), 1);
        world.advance(1);
        assert_eq!(world.all_live().count(), 0);
        assert_eq!(world.closed[0].reason, CloseReason::Expired);
        assert_eq!(old.code(&mut world, &refresh_with(&ticket)), 437);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_05_a_connection_with_the_addresses_of_the_one_that_closed_is_a_new_path() {
    let mut world = mobile_world();
    let mut client = world.tcp_client(1);
    let (_, ticket) = settle(&mut world, &mut client);
    world.client_gone(&client);
    move_to(&mut world, &mut client, &ticket);
    assert_eq!(client.code(&mut world, &refresh()), 0);
    world.expect_nothing_left();
}

#[test]
fn s_tcp_08_an_allocation_that_cannot_move_ends_with_its_connection() {
    let mut world = mobile_world();
    let mut client = world.tcp_client(1);
    client.allocated(&mut world);
    world.client_gone(&client);
    assert_eq!(world.closed[0].reason, CloseReason::Disconnected);
}

#[test]
fn t_mob_06_an_old_ticket_is_good_for_the_same_refresh_only_and_for_30_seconds() {
    for worker in [0, 1] {
        for is_used in [false, true] {
            let mut world = mobile_world();
            let mut client = world.client(1);
            let (_, ticket) = settle(&mut world, &mut client);
            client.ask(&mut world, &bind(0x4000, peer(1, 1)));
            let mut new = at(&world, 2, worker);
            new.get_nonce(&mut world);
            let request = new.signed(&refresh_with(&ticket).lifetime(700));
            let first = new.send_bytes(&mut world, &request).unwrap();
            assert_eq!(first.code(), 0);
            if is_used {
                new.push(&mut world, 0x4000, b"x");
            }
            for _ in 0..3 {
                world.advance(10);
                let again = new.send_bytes(&mut world, &request).unwrap();
                assert_eq!(again.0, first.0);
            }
            // Another request with it, or the same from elsewhere.
            let other = refresh_with(&ticket).lifetime(700);
            assert_eq!(new.code(&mut world, &other), 400);
            let mut elsewhere = at(&world, 3, worker);
            assert_eq!(elsewhere.code(&mut world, &other), 400);
            world.advance(1);
            let late = new.send_bytes(&mut world, &request).unwrap();
            assert_eq!(late.code(), 400);
            // It was not extended by what was repeated.
            world.advance(700 - 32);
            assert_eq!(world.live.len(), 1);
            world.advance(1);
            assert_eq!(world.live.len(), 0);
            world.expect_nothing_left();
        }
    }
}

#[test]
fn t_mob_07_any_change_of_a_ticket_spoils_it() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (_, ticket) = settle(&mut world, &mut client);
    assert!(ticket.len() <= 200);
    let mut moved = at(&world, 2, 1);
    for bit in 0..ticket.len() * 8 {
        let mut changed = ticket.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(moved.code(&mut world, &refresh_with(&changed)), 400);
    }
    for length in 0..ticket.len() {
        let cut = &ticket[..length];
        assert_eq!(moved.code(&mut world, &refresh_with(cut)), 400);
    }
    let longer = [&ticket[..], &[0]].concat();
    assert_eq!(moved.code(&mut world, &refresh_with(&longer)), 400);
    move_to(&mut world, &mut moved, &ticket);
}

#[test]
fn t_mob_07_tickets_of_one_allocation_have_nothing_in_common() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (_, mut ticket) = settle(&mut world, &mut client);
    let mut seen = vec![ticket.clone()];
    assert!(
        ticket.len() <= 32 && !ticket.contains(&0),
        "coturn's client takes no other"
    );
    for step in 0..50 {
        let mut next = at(&world, 2 + step % 2, usize::from(step % 3));
        ticket = move_to(&mut world, &mut next, &ticket);
        next.ask(&mut world, &permit(&[peer(1, 1)]));
        seen.push(ticket.clone());
    }
    // By chance, two random bytes are the same once in 256 times.
    for place in 0..ticket.len() {
        let values: std::collections::HashSet<u8> = seen.iter().map(|t| t[place]).collect();
        assert!(values.len() > 25, "byte {place} hardly changes");
    }
}

#[test]
fn t_mob_08_a_ticket_without_a_credential_is_worth_nothing() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        let mut moved = at(&world, 2, worker);
        let reply = moved
            .ask_unsigned(&mut world, &refresh_with(&ticket))
            .unwrap();
        assert_eq!(reply.code(), 401);
        assert!(reply.is_challenge());
        // Nor is one that the integrity does not cover.
        let behind = refresh().behind(TICKET, &ticket);
        assert_eq!(moved.code(&mut world, &behind), 437);
    }
}

#[test]
fn t_mob_09_the_nonce_of_the_old_address_costs_one_more_round_trip() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        let mut moved = at(&world, 2, worker);
        moved.nonce = client.nonce.clone();
        let reply = moved.ask_once(&mut world, &refresh_with(&ticket));
        assert_eq!(reply.code(), 438);
        moved.nonce = reply.value(AttributeType::NONCE).unwrap();
        let reply = moved.ask_once(&mut world, &refresh_with(&ticket));
        assert_eq!(reply.code(), 0);
        assert!(reply.has(TICKET));
    }
}

#[test]
fn t_mob_04_answers_are_signed_as_the_request_was() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        let mut moved = at(&world, 2, worker);
        moved.fingerprint = true;
        let reply = moved.ask(&mut world, &refresh_with(&ticket));
        assert!(reply.message().has_fingerprint());
        assert_eq!(reply.message().mac(), Some(Mac::Sha1));
        assert!(reply.message().authenticate(&moved.login.key()).is_some());
    }
}

#[test]
fn x_cve_11_a_move_counts_at_the_new_source_and_no_more_than_that_may_have() {
    for worker in [0, 1] {
        let mut world = mobile_world_with(Setup {
            limits: Limits {
                per_source: 1,
                ..Limits::default()
            },
            ..Setup::default()
        });
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut bob = world.bob(2);
        bob.allocated(&mut world);
        // Bob's address is full, whoever comes there.
        let tuple = bob.path.tuple;
        let beside = SocketAddr::new(tuple.client().ip(), 4242);
        let mut moved = Client::new(beside, tuple.server(), Transport::Udp, client.login.clone());
        moved.worker = worker;
        let reply = moved.ask(&mut world, &refresh_with(&ticket).lifetime(3600));
        assert_eq!(reply.code(), 486);
        moved.push(&mut world, 0x4000, b"x");
        assert_eq!(world.take_sent(), []);
        assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
        assert_eq!(
            client.received(&mut world).len(),
            1,
            "it stays where it was"
        );
        // The ticket is still good, when there is room.
        bob.ask(&mut world, &refresh().lifetime(0));
        let ticket = move_to(&mut world, &mut moved, &ticket);
        assert_eq!(bob.code(&mut world, &allocate()), 486);
        assert_eq!(world.shared.quotas.in_use(), 1);
        // The former source has room now.
        let mut other = world.bob(1);
        let tuple = other.path.tuple;
        let beside = SocketAddr::new(tuple.client().ip(), 4243);
        other = Client::new(beside, tuple.server(), Transport::Udp, other.login);
        other.allocated(&mut world);
        // To end it, there need be no room.
        let reply = client.ask(&mut world, &refresh_with(&ticket).lifetime(0));
        assert_eq!((reply.code(), reply.lifetime()), (0, 0));
        assert!(!reply.has(TICKET));
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_03_a_transition_address_gets_no_allocation_by_moving_either() {
    let mut world = mobile_world();
    let mut client = world.v6_client(1);
    let (_, ticket) = settle(&mut world, &mut client);
    let server = client.path.tuple.server();
    let from = "[2002:1e00:1::5]:5000".parse().unwrap();
    let mut moved = Client::new(from, server, Transport::Udp, client.login.clone());
    assert_eq!(moved.code(&mut world, &refresh_with(&ticket)), 403);
}

#[test]
fn t_mob_04_a_client_may_go_from_one_family_to_the_other() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (relayed, ticket) = settle(&mut world, &mut client);
    let mut v6 = world.v6_client(7);
    v6.worker = 1;
    move_to(&mut world, &mut v6, &ticket);
    v6.ask(&mut world, &permit(&[peer(1, 1)]));
    v6.tell(&mut world, &send(peer(1, 1), b"x"));
    assert_eq!(pushed(&mut world), [(relayed, b"x".to_vec())]);
}

#[test]
fn t_mob_04_both_relays_of_a_dual_allocation_move() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let dual = allocate_mobile().raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        let reply = client.ask(&mut world, &dual);
        assert_eq!(reply.code(), 0);
        let ticket = reply.value(TICKET).unwrap();
        let mut moved = at(&world, 2, worker);
        let v6_peer = crate::world::peer_v6(1, 1);
        // A wrong family is refused, and nothing moves.
        let wrong = refresh_with(&ticket).family(3);
        assert_eq!(moved.code(&mut world, &wrong), 443);
        let ticket = move_to(&mut world, &mut moved, &ticket);
        moved.ask(&mut world, &permit(&[peer(1, 1), v6_peer]));
        for to in [peer(1, 1), v6_peer] {
            moved.tell(&mut world, &send(to, b"x"));
        }
        assert_eq!(world.take_sent().len(), 2);
        // One of them can be given up on the way.
        let mut third = at(&world, 3, 2);
        let reply = third.ask(&mut world, &refresh_with(&ticket).family(2).lifetime(0));
        assert_eq!(reply.code(), 0);
        assert!(reply.has(TICKET));
        assert_eq!(third.code(&mut world, &permit(&[v6_peer])), 443);
        assert_eq!(third.code(&mut world, &permit(&[peer(1, 1)])), 0);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_05_a_hairpin_finds_an_allocation_where_it_went() {
    for worker in [0, 1, 2] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        let mut bob = world.bob(9);
        bob.worker = 2;
        let to = bob.allocated(&mut world);
        client.ask(&mut world, &permit(&[to]));
        bob.ask(&mut world, &permit(&[relayed]));
        let mut moved = at(&world, 2, worker);
        move_to(&mut world, &mut moved, &ticket);
        bob.tell(&mut world, &send(relayed, b"to the old path"));
        assert_eq!(client.received(&mut world).len(), 1);
        moved.tell(&mut world, &send(to, b"hello"));
        assert_eq!(bob.received(&mut world)[0].from, relayed);
        bob.tell(&mut world, &send(relayed, b"hello"));
        assert_eq!(moved.received(&mut world)[0].from, to);
        assert_eq!(client.received(&mut world), []);
        assert_eq!(world.take_sent(), []);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_03_a_5_tuple_that_waits_for_an_allocation_gets_no_other() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        let mut second = world.client(2);
        let (_, another) = settle(&mut world, &mut second);
        let mut moved = at(&world, 3, worker);
        let next = move_to(&mut world, &mut moved, &ticket);
        assert_eq!(moved.code(&mut world, &allocate()), 437);
        assert_eq!(moved.code(&mut world, &refresh_with(&another)), 437);
        // Nor does it take the same one twice.
        assert_eq!(moved.code(&mut world, &refresh_with(&next)), 400);
        // It is free again when the allocation went elsewhere.
        let mut elsewhere = at(&world, 4, 1 - worker);
        move_to(&mut world, &mut elsewhere, &next);
        assert_eq!(moved.code(&mut world, &refresh_with(&another)), 0);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_05_back_on_the_old_path_before_the_new_one_was_used_nothing_moves() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut moved = at(&world, 2, worker);
        let second = move_to(&mut world, &mut moved, &ticket);
        let third = move_to(&mut world, &mut client, &second);
        moved.push(&mut world, 0x4000, b"stray");
        assert_eq!(world.take_sent(), []);
        assert_eq!(moved.code(&mut world, &refresh()), 437);
        client.push(&mut world, 0x4000, b"x");
        assert_eq!(pushed(&mut world), [(relayed, b"x".to_vec())]);
        assert_eq!(moves(&world), 0);
        // And off again.
        move_to(&mut world, &mut moved, &third);
        moved.push(&mut world, 0x4000, b"x");
        assert_eq!(pushed(&mut world).len(), 1);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_05_of_two_new_paths_the_last_one_counts() {
    for [first, second] in [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (relayed, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut one = at(&world, 2, first);
        let mut two = at(&world, 3, second);
        let ticket = move_to(&mut world, &mut one, &ticket);
        move_to(&mut world, &mut two, &ticket);
        one.push(&mut world, 0x4000, b"stray");
        assert_eq!(world.take_sent(), []);
        client.push(&mut world, 0x4000, b"old");
        two.push(&mut world, 0x4000, b"new");
        assert_eq!(pushed(&mut world).len(), 2);
        assert!(world.peer_sends(peer(1, 1), relayed, b"in"));
        assert_eq!(two.received(&mut world).len(), 1);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_03_an_allocation_that_ends_leaves_no_path_behind() {
    for worker in [0, 1] {
        for is_released in [false, true] {
            let mut world = mobile_world();
            let mut client = world.client(1);
            let (_, ticket) = settle(&mut world, &mut client);
            let mut moved = at(&world, 2, worker);
            let next = move_to(&mut world, &mut moved, &ticket);
            if is_released {
                client.ask(&mut world, &refresh().lifetime(0));
            } else {
                world.advance(600);
            }
            assert!(world.live.is_empty());
            assert_eq!(moved.code(&mut world, &permit(&[peer(1, 1)])), 437);
            let mut third = at(&world, 3, 2);
            assert_eq!(third.code(&mut world, &refresh_with(&next)), 437);
            assert_eq!(moved.code(&mut world, &allocate()), 0, "it is free");
            world.expect_nothing_left();
        }
    }
}

#[test]
fn t_mob_05_a_new_connection_that_closes_before_it_is_used_changes_nothing() {
    for worker in [0, 1] {
        let mut world = mobile_world();
        let mut client = world.client(1);
        let (_, ticket) = settle(&mut world, &mut client);
        client.ask(&mut world, &bind(0x4000, peer(1, 1)));
        let mut moved = tcp_at(&world, 2, worker);
        let next = move_to(&mut world, &mut moved, &ticket);
        assert!(world.engines[worker].has_allocation(&moved.path.tuple));
        world.client_gone(&moved);
        assert!(!world.engines[worker].has_allocation(&moved.path.tuple));
        client.push(&mut world, 0x4000, b"x");
        assert_eq!(pushed(&mut world).len(), 1);
        move_to(&mut world, &mut moved, &next);
        moved.push(&mut world, 0x4000, b"x");
        assert_eq!(pushed(&mut world).len(), 1);
        world.expect_nothing_left();
    }
}

#[test]
fn t_mob_03_tickets_are_worth_nothing_once_mobility_is_switched_off() {
    let mut world = mobile_world();
    let mut client = world.client(1);
    let (_, ticket) = settle(&mut world, &mut client);
    world.set_rules(Setup::default());
    for worker in [0, 1] {
        let mut moved = at(&world, 2, worker);
        assert_eq!(moved.code(&mut world, &refresh_with(&ticket)), 405);
    }
    assert_eq!(client.code(&mut world, &refresh()), 0);
    world.expect_nothing_left();
}
