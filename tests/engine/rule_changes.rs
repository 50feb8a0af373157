//! New rules while allocations live.

use crate::client::{bind, permit, refresh, send};
use crate::world::{Setup, World, peer};

#[test]
fn t_perm_16_peers_that_are_denied_from_now_on_are_cut_off() {
    let mut world = World::new();
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    client.ask(&mut world, &permit(&[peer(1, 1), peer(2, 1)]));
    client.ask(&mut world, &bind(0x4000, peer(1, 1)));
    client.ask(&mut world, &bind(0x4001, peer(2, 1)));
    assert_eq!(world.routes.len(), 2);
    world.set_rules(Setup {
        deny: vec!["40.0.0.1/32"],
        ..Setup::default()
    });
    for (number, host, passes) in [(0x4000, 1, 0), (0x4001, 2, 1)] {
        client.push(&mut world, number, b"x");
        client.tell(&mut world, &send(peer(host, 1), b"x"));
        assert_eq!(world.take_sent().len(), 2 * passes, "to peer {host}");
        for port in [1, 2] {
            world.peer_sends(peer(host, port), relayed, b"x");
            let arrived = client.received(&mut world).len();
            assert_eq!(arrived, passes, "from peer {host}");
        }
    }
    assert_eq!(world.routes.len(), 1);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 403);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 403);
    // Number and peer are free, and what was denied can be asked for again once it may.
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(3, 1))), 0);
    world.set_rules(Setup::default());
    client.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent()[0].to, peer(3, 1));
    assert_eq!(client.code(&mut world, &bind(0x4002, peer(1, 1))), 0);
    assert_eq!(world.routes.len(), 3);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    client.push(&mut world, 0x4002, b"x");
    assert_eq!(world.take_sent()[0].to, peer(1, 1));
}

#[test]
fn new_limits_of_lifetimes_hold_from_the_next_refresh() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    world.set_rules(Setup {
        max_lifetime: 60,
        ..Setup::default()
    });
    world.advance(500);
    assert_eq!(client.ask(&mut world, &refresh()).lifetime(), 60);
    world.advance(60);
    assert!(!client.is_allocated(&world));
}
