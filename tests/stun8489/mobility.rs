//! Clients of RFC 8489 that take their allocation along (RFC 8016): SHA-256, with and without their names.

use crate::world::{Client, World};
use hairpin::wire::{AttributeType, Mac, Method};

const TICKET: AttributeType = AttributeType::MOBILITY_TICKET;

#[test]
fn t_mob_04_x_cve_11_clients_with_sha_256_and_hidden_names_move_and_nobody_else_does() {
    for hidden in [false, true] {
        let mut world = World::new();
        let mut client = Client {
            hidden,
            extra: vec![(TICKET, Vec::new())],
            ..Client::modern()
        };
        let reply = client.allocate(&mut world);
        assert_eq!(reply.code(), 0);
        let ticket = reply.value(TICKET).unwrap();
        let relayed = reply.value(AttributeType::XOR_RELAYED_ADDRESS);
        assert!(relayed.is_some());

        client.from.set_port(client.from.port() + 1);
        client.extra = vec![(TICKET, ticket)];
        // The nonce is for the former address.
        let reply = client.ask(&mut world, Method::REFRESH);
        assert_eq!(reply.code(), 438);
        client.nonce = reply.value(AttributeType::NONCE).unwrap();
        let (user, password) = (client.user.clone(), client.password.clone());
        client.user = "bob".into();
        client.password = "hunter2".into();
        let reply = client.ask(&mut world, Method::REFRESH);
        assert_eq!(reply.code(), 441);
        assert!(client.is_signed(&reply, Mac::Sha256));
        client.user = user;
        client.password = password;
        let reply = client.ask(&mut world, Method::REFRESH);
        assert_eq!(reply.code(), 0);
        assert!(client.is_signed(&reply, Mac::Sha256));
        assert!(reply.value(TICKET).is_some());
        // A request of its own makes it use the new path.
        client.extra = Vec::new();
        assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 0);
        assert_eq!(world.engine.allocation_count(), 1);
        assert_eq!(world.engine.counters().allocations_moved.get(), 1);
    }
}
