//! The same request twice has the same effect once.

use crate::client::{allocate, bind, permit, refresh};
use crate::world::{World, peer};
use hairpin::wire::AttributeType;

#[test]
fn s_rtx_01_t_alloc_03_w_rtc_08_a_repeated_allocate_gets_the_same_answer() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let bytes = client.signed(&allocate());
    let first = client.send_bytes(&mut world, &bytes).unwrap();
    let again = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(first.code(), 0);
    assert_eq!(first, again);
    assert_eq!(world.live.len(), 1);
    world.advance(20);
    let later = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(later.relayed(), first.relayed());
    assert_eq!(later.lifetime(), 580, "the time that is left");
    assert_eq!(world.counters[0].allocations_opened.get(), 1);
}

#[test]
fn t_alloc_04_the_repeated_answer_repeats_the_token() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let bytes = client.signed(&allocate().even_port(true));
    let first = client.send_bytes(&mut world, &bytes).unwrap();
    let again = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(first.token(), again.token());
    assert_eq!(first, again);
}

#[test]
fn s_rtx_01_03_repeating_the_other_requests_changes_nothing_more() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for ask in [
        refresh().lifetime(900),
        permit(&[peer(1, 1)]),
        bind(0x4000, peer(2, 1)),
        bind(0x4000, peer(3, 1)),
        permit(&[]),
    ] {
        let bytes = client.signed(&ask);
        let first = client.send_bytes(&mut world, &bytes).unwrap();
        let again = client.send_bytes(&mut world, &bytes).unwrap();
        assert_eq!(first, again);
    }
    assert_eq!(world.routes.len(), 1);
}

#[test]
fn s_rtx_02_the_same_transaction_on_another_5_tuple_is_another_request() {
    let mut world = World::new();
    let mut first = world.client(1);
    let mut second = world.client(2);
    first.get_nonce(&mut world);
    second.get_nonce(&mut world);
    second.transactions = first.transactions;
    let transaction = first.next_transaction();
    let [one, two] = [&first, &second].map(|client| {
        let bytes = client.build(&allocate(), transaction, true);
        client.send_bytes(&mut world, &bytes).unwrap()
    });
    assert_eq!((one.code(), two.code()), (0, 0));
    assert_ne!(one.relayed(), two.relayed());
}

#[test]
fn s_rtx_04_a_transaction_used_again_after_a_401_is_a_new_request() {
    let mut world = World::new();
    let mut client = world.client(1);
    let transaction = client.next_transaction();
    let bytes = client.build(&allocate(), transaction, false);
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.code(), 401);
    client.nonce = reply.value(AttributeType::NONCE).unwrap();
    let bytes = client.build(&allocate(), transaction, true);
    assert_eq!(client.send_bytes(&mut world, &bytes).unwrap().code(), 0);
}

#[test]
fn s_rtx_02_another_user_cannot_ask_for_the_answer_again() {
    let mut world = World::new();
    let mut alice = world.client(1);
    alice.get_nonce(&mut world);
    let transaction = alice.next_transaction();
    let bytes = alice.build(&allocate(), transaction, true);
    assert_eq!(alice.send_bytes(&mut world, &bytes).unwrap().code(), 0);
    let mut bob = world.bob(1);
    bob.nonce = alice.nonce.clone();
    let bytes = bob.build(&allocate(), transaction, true);
    assert_eq!(bob.send_bytes(&mut world, &bytes).unwrap().code(), 437);
}

#[test]
fn w_rtc_25_an_allocate_sent_three_times_makes_one_allocation() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let bytes = client.signed(&allocate());
    let replies: Vec<_> = (0..3)
        .map(|_| {
            world.advance_millis(100);
            client.send_bytes(&mut world, &bytes).unwrap().relayed()
        })
        .collect();
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    world.expect_nothing_left();
}
