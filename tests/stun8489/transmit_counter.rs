//! TRANSACTION_TRANSMIT_COUNTER (RFC 7982 §3.3).

use crate::world::{Client, Reply, World};
use hairpin::wire::{AttributeType, Class, MessageType, Method, TransactionId, Writer};

const COUNTER: AttributeType = AttributeType::TRANSACTION_TRANSMIT_COUNTER;

#[test]
fn s_rtt_01_the_requests_count_comes_back_with_none_of_our_own() {
    let mut world = World::new();
    let mut client = Client::modern();
    client.challenged(&mut world);
    client.extra = vec![(COUNTER, vec![9, 9, 2, 7])];
    let reply = client.ask(&mut world, Method::ALLOCATE);
    assert_eq!(reply.code(), 0);
    assert_eq!(reply.value(COUNTER).unwrap(), [0, 0, 2, 0]);
    assert!(reply.message().authenticate(&client.key()).is_some());
    // Errors too.
    let reply = client.ask(&mut world, Method::CREATE_PERMISSION);
    assert_eq!(reply.value(COUNTER).unwrap(), [0, 0, 2, 0]);
    // One that is malformed is nothing to us.
    client.extra = vec![(COUNTER, vec![1, 2, 3])];
    let reply = client.ask(&mut world, Method::REFRESH);
    assert_eq!((reply.code(), reply.value(COUNTER)), (0, None));
}

#[test]
fn s_rtt_01_a_binding_request_is_counted_too() {
    let mut world = World::new();
    let client = Client::legacy();
    let mut buffer = [0; 64];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let length = Writer::new(&mut buffer, kind, TransactionId([5; 12]))
        .attribute(COUNTER, &[0, 0, 3, 0])
        .finish()
        .unwrap();
    let reply: Reply = client.send(&mut world, &buffer[..length]);
    assert_eq!(reply.value(COUNTER).unwrap(), [0, 0, 3, 0]);
}
