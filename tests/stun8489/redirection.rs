//! 300 with ALTERNATE-SERVER (RFC 8489 §10).

use crate::world::{Client, Reply, Setup, World, address};
use hairpin::engine::{Alternate, Transport};
use hairpin::wire::{AttributeType, Class, Mac, MessageType, Method, TransactionId, Writer};
use std::collections::HashSet;
use std::net::SocketAddr;

const KEY: Option<&str> = Some("a key that all servers have");

fn alternate(text: &str, domain: Option<&str>) -> Alternate {
    Alternate {
        address: address(text),
        tls_address: None,
        domain: domain.map(Into::into),
    }
}

fn setup(alternates: &[Alternate]) -> Setup {
    Setup {
        redirect: true,
        alternates: alternates.to_vec(),
        ..Setup::default()
    }
}

fn servers(reply: &Reply) -> Vec<SocketAddr> {
    reply
        .message()
        .attributes()
        .filter(|a| a.kind == AttributeType::ALTERNATE_SERVER)
        .map(|a| a.address().unwrap())
        .collect()
}

#[test]
fn s_alt_01_02_d1_only_proved_users_are_redirected_and_the_answer_is_signed() {
    let mut world = World::with(&setup(&[alternate("30.0.0.1:3478", None)]));
    for (mut client, mac) in [
        (Client::legacy(), Mac::Sha1),
        (Client::modern(), Mac::Sha256),
    ] {
        // The first request gets its 401, a wrong password too.
        client.challenged(&mut world);
        let right = std::mem::replace(&mut client.password, "wrong".into());
        let refused = client.ask(&mut world, Method::ALLOCATE);
        assert_eq!(refused.code(), 401);
        assert!(servers(&refused).is_empty());
        client.password = right;
        let reply = client.ask(&mut world, Method::ALLOCATE);
        assert_eq!(reply.code(), 300);
        assert_eq!(servers(&reply), [address("30.0.0.1:3478")]);
        assert!(client.is_signed(&reply, mac));
    }
    assert_eq!(world.engine.allocation_count(), 0);
}

#[test]
fn s_alt_03_the_first_alternate_is_of_the_clients_family() {
    let v4 = alternate("30.0.0.1:3478", Some("b.example.org"));
    let v6 = alternate("[2600:3::1]:3478", Some("b.example.org"));
    let stranger = alternate("[2600:4::1]:3478", Some("c.example.org"));
    for alternates in [vec![v4.clone(), v6.clone()], vec![v6.clone(), v4.clone()]] {
        let mut world = World::with(&setup(&alternates));
        let mut client = Client::legacy();
        let reply = client.allocate(&mut world);
        assert_eq!(servers(&reply), [v4.address, v6.address]);
        world.server = address("[2600::1]:3478");
        client.from = address("[2600:2::1]:5000");
        let reply = client.allocate(&mut world);
        assert_eq!(servers(&reply), [v6.address, v4.address]);
    }
    // Another server's address does not follow, and where there is none of its family, a client is served here.
    let mut world = World::with(&setup(&[v4.clone(), stranger]));
    let reply = Client::legacy().allocate(&mut world);
    assert_eq!(servers(&reply), [v4.address]);
    let mut world = World::with(&setup(&[v6]));
    assert_eq!(Client::legacy().allocate(&mut world).code(), 0);
}

#[test]
fn s_alt_04_clients_of_tls_and_dtls_are_told_the_name_and_their_own_address() {
    let mut there = alternate("30.0.0.1:3478", Some("b.example.org"));
    let domain = |reply: &Reply| reply.value(AttributeType::ALTERNATE_DOMAIN);
    for tls_address in [None, Some(address("30.0.0.1:5349"))] {
        there.tls_address = tls_address;
        let mut world = World::with(&setup(&[there.clone()]));
        for over in [Transport::Tls, Transport::Dtls] {
            let mut client = Client::modern();
            client.over = over;
            let reply = client.allocate(&mut world);
            assert_eq!(reply.code(), 300);
            assert_eq!(domain(&reply).unwrap(), b"b.example.org");
            assert_eq!(servers(&reply), [tls_address.unwrap_or(there.address)]);
        }
        for over in [Transport::Udp, Transport::Tcp] {
            let mut client = Client::modern();
            client.over = over;
            let reply = client.allocate(&mut world);
            assert_eq!(servers(&reply), [there.address]);
            assert_eq!(domain(&reply), None);
        }
    }
}

#[test]
fn s_alt_05_a_client_is_never_sent_back_to_where_it_is() {
    let mut world = World::with(&setup(&[alternate("20.0.0.1:3478", None)]));
    assert_eq!(Client::legacy().allocate(&mut world).code(), 0);
}

#[test]
fn s_alt_05_06_between_two_servers_that_redirect_a_client_settles_in_one_hop() {
    let both = [
        alternate("20.0.0.1:3478", None),
        alternate("30.0.0.1:3478", None),
    ];
    let node = |server| {
        World::with(&Setup {
            nonce_key: KEY,
            server: address(server),
            ..setup(&both)
        })
    };
    let (mut a, mut b) = (node("20.0.0.1:3478"), node("30.0.0.1:3478"));
    b.seconds += 3;
    let mut client = Client::legacy();
    let reply = client.allocate(&mut a);
    assert_eq!(servers(&reply), [b.server]);
    // As libwebrtc does: on with the nonce of the answer, and by another mapping of its NAT.
    client.nonce = reply.value(AttributeType::NONCE).unwrap();
    client.from.set_port(6000);
    assert_eq!(client.ask(&mut b, Method::ALLOCATE).code(), 0);
    // Whoever comes by itself is redirected by b too.
    let mut other = Client::legacy();
    assert_eq!(other.allocate(&mut b).code(), 300);
    // An ordinary nonce of a is good at b, but only for the same address.
    let mut same = Client::legacy();
    same.from.set_port(7000);
    same.challenged(&mut a);
    assert_eq!(same.ask(&mut b, Method::ALLOCATE).code(), 300);
    same.from.set_port(7001);
    assert_eq!(same.ask(&mut b, Method::ALLOCATE).code(), 438);
}

#[test]
fn s_alt_06_without_a_common_key_the_answer_brings_no_nonce() {
    let mut world = World::with(&setup(&[alternate("30.0.0.1:3478", None)]));
    let reply = Client::legacy().allocate(&mut world);
    assert_eq!(reply.value(AttributeType::NONCE), None);
}

#[test]
fn s_alt_08_binding_is_answered_here_and_allocations_stay() {
    let mut world = World::new();
    let mut client = Client::legacy();
    let reply = client.allocate(&mut world);
    assert_eq!(reply.code(), 0);
    world.change(&setup(&[alternate("30.0.0.1:3478", None)]));
    assert_eq!(client.ask(&mut world, Method::REFRESH).code(), 0);
    // The request that made it, once more: its answer was lost.
    client.transaction = 1;
    assert_eq!(client.ask(&mut world, Method::ALLOCATE).code(), 0);
    let mut buffer = [0; 20];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let binding = Writer::new(&mut buffer, kind, TransactionId([1; 12])).finish();
    assert_eq!(binding, Ok(20));
    assert_eq!(client.send(&mut world, &buffer).code(), 0);
}

#[test]
fn clients_spread_over_all_alternates() {
    let all = [
        alternate("30.0.0.1:3478", None),
        alternate("30.0.0.2:3478", None),
        alternate("30.0.0.3:3478", None),
    ];
    let mut world = World::with(&setup(&all));
    let mut seen = HashSet::new();
    for _ in 0..60 {
        let reply = Client::legacy().allocate(&mut world);
        seen.extend(servers(&reply));
    }
    assert_eq!(seen.len(), 3);
}
