//! Binding: the client's address, quickly and without credentials.

use crate::client::{Ask, Client, Login, binding};
use crate::world::{SERVER_V6, Setup, World, address};
use hairpin::engine::Transport;
use hairpin::engine::counters::DropReason;
use hairpin::wire::{AttributeType, Method};

#[test]
fn s_bind_01_02_the_client_learns_its_address_over_udp_and_tcp() {
    let mut world = World::new();
    for mut client in [world.client(1), world.tcp_client(2), world.v6_client(3)] {
        let reply = client.ask_unsigned(&mut world, &binding()).unwrap();
        assert_eq!(reply.code(), 0);
        assert_eq!(
            reply.address(AttributeType::XOR_MAPPED_ADDRESS),
            client.path.tuple.client()
        );
        assert_eq!(reply.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    }
}

#[test]
fn s_bind_03_05_x_cve_16_the_answer_is_no_amplifier() {
    let mut world = World::with(Setup {
        software: "hairpin",
        ..Setup::default()
    });
    let mut client = world.client(1);
    let bytes = client.unsigned(&binding());
    assert_eq!(bytes.len(), 20);
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.0.len(), 32);
    client.fingerprint = true;
    let reply = client.ask_unsigned(&mut world, &binding()).unwrap();
    assert!(reply.0.len() <= 44);
}

#[test]
fn s_bind_04_s_hdr_09_a_binding_indication_is_a_silent_keep_alive() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.tell(&mut world, &Ask::indication(Method::BINDING));
    let unknown = AttributeType(0x7001);
    client.tell(
        &mut world,
        &Ask::indication(Method::BINDING).raw(unknown, b"abcd"),
    );
    assert_eq!(world.engines[0].next_deadline(), None);
    assert_eq!(
        world.counters[0].drops().map(|(_, n)| n).sum::<u64>(),
        0,
        "a keep-alive is not a dropped packet"
    );
}

#[test]
fn s_att_16_an_ipv4_client_of_a_dual_stack_socket_gets_an_ipv4_address() {
    let mut world = World::new();
    let mapped = address("[::ffff:30.0.0.1]:1001");
    let login = Login::new("alice", "s3cret");
    let mut client = Client::new(mapped, address(SERVER_V6), Transport::Udp, login);
    let reply = client.ask_unsigned(&mut world, &binding()).unwrap();
    assert_eq!(
        reply.address(AttributeType::XOR_MAPPED_ADDRESS),
        address("30.0.0.1:1001")
    );
    let value = reply.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
    assert_eq!((value.len(), value[1]), (8, 1));
}

#[test]
fn s_auth_23_binding_needs_no_credentials_and_ignores_wrong_ones() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.login.password = "wrong".into();
    client.nonce = b"made up".to_vec();
    let bytes = client.signed(&binding());
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.code(), 0);
    assert!(!reply.is_signed());
}

#[test]
fn s_fp_04_05_a_fingerprint_is_answered_with_one_and_not_needed() {
    // `client_sends` checks that the answer has one exactly if the request had.
    let mut world = World::new();
    let mut client = world.client(1);
    for fingerprint in [false, true] {
        client.fingerprint = fingerprint;
        let reply = client.ask_unsigned(&mut world, &binding()).unwrap();
        assert_eq!(reply.has(AttributeType::FINGERPRINT), fingerprint);
        if fingerprint {
            assert_eq!(reply.kinds().last(), Some(&AttributeType::FINGERPRINT));
            assert_eq!(reply.0[reply.0.len() - 8..][..4], [0x80, 0x28, 0, 4]);
        }
    }
}

#[test]
fn x_sec_12_no_answer_goes_to_port_0_or_to_many_hosts() {
    let mut world = World::new();
    let sources = [
        "30.0.0.1:0",
        "0.0.0.0:99",
        "255.255.255.255:99",
        "224.0.0.1:99",
        "[::]:99",
        "[ff02::1]:99",
    ];
    for source in sources {
        let server = world.client(1).path.tuple.server();
        let login = Login::new("alice", "s3cret");
        let mut client = Client::new(address(source), server, Transport::Udp, login);
        assert_eq!(client.ask_unsigned(&mut world, &binding()), None);
        let allocate = crate::client::allocate();
        assert_eq!(client.ask_unsigned(&mut world, &allocate), None);
    }
    assert_eq!(world.drops(DropReason::BadSource), 12);
}
