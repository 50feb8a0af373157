//! ChannelData: its framing on datagrams and streams.

use crate::client::{Client, bind, frame, permit};
use crate::world::{World, peer};
use hairpin::engine::counters::DropReason;

fn bound(world: &mut World, mut client: Client) -> Client {
    client.allocated(world);
    assert_eq!(client.code(world, &bind(0x4000, peer(1, 1))), 0);
    client
}

#[test]
fn t_cd_01_14_short_frames_are_dropped() {
    let mut world = World::new();
    let client = world.client(1);
    let client = bound(&mut world, client);
    let whole = frame(0x4000, b"hello");
    for length in 0..whole.len() {
        assert_eq!(client.send_bytes(&mut world, &whole[..length]), None);
    }
    client.send_bytes(&mut world, b"\x40\0\xff\xffhello");
    assert_eq!(world.take_sent(), []);
    assert_eq!(client.send_bytes(&mut world, &whole), None);
    assert_eq!(world.take_sent().len(), 1);
}

#[test]
fn t_cd_02_x_cve_18_padding_does_not_reach_the_peer() {
    let mut world = World::new();
    let client = world.client(1);
    let client = bound(&mut world, client);
    let mut padded = frame(0x4000, b"hello");
    padded.extend_from_slice(b"\xEE\xEE\xEE");
    client.send_bytes(&mut world, &padded);
    assert_eq!(world.take_sent()[0].data, b"hello");
}

#[test]
fn t_cd_03_04_w_rtc_15_frames_on_a_stream_are_padded_with_zeros() {
    let mut world = World::new();
    let client = world.tcp_client(1);
    let mut client = bound(&mut world, client);
    let relayed = world.live[&client.path.tuple].relayed.advertised;
    for length in 0..9 {
        let data = vec![b'd'; length];
        world.peer_sends(peer(1, 1), relayed, &data);
        let mut expected = frame(0x4000, &data);
        expected.resize(expected.len().next_multiple_of(4), 0);
        assert_eq!(client.received(&mut world)[0].bytes, expected);
    }
    client.ask(&mut world, &permit(&[peer(2, 1)]));
    world.peer_sends(peer(2, 1), relayed, b"abcde");
    let bytes = client.received(&mut world).remove(0).bytes;
    assert_eq!(bytes[bytes.len() - 8..], *b"abcde\0\0\0");
}

#[test]
fn t_cd_05_frames_in_a_datagram_are_not_padded() {
    let mut world = World::new();
    let client = world.client(1);
    let client = bound(&mut world, client);
    let relayed = world.live[&client.path.tuple].relayed.advertised;
    world.peer_sends(peer(1, 1), relayed, b"hello");
    let bytes = client.received(&mut world).remove(0).bytes;
    assert_eq!(bytes, b"\x40\0\0\x05hello");
}

#[test]
fn t_cd_07_t_data_04_an_empty_frame_is_an_empty_datagram() {
    let mut world = World::new();
    let client = world.client(1);
    let client = bound(&mut world, client);
    let relayed = world.live[&client.path.tuple].relayed.advertised;
    client.push(&mut world, 0x4000, b"");
    assert_eq!(world.take_sent()[0].data, b"");
    world.peer_sends(peer(1, 1), relayed, b"");
    assert_eq!(client.received(&mut world)[0].bytes, b"\x40\0\0\0");
}

#[test]
fn t_cd_08_09_numbers_that_are_not_bound_or_reserved_are_dropped() {
    let mut world = World::new();
    let client = world.client(1);
    let client = bound(&mut world, client);
    for number in [0x4001, 0x4FFF, 0x5000, 0x7FFF, 0xFFFF] {
        client.push(&mut world, number, b"x");
    }
    assert_eq!(world.take_sent(), []);
    assert_eq!(world.drops(DropReason::NoChannel), 2);
    assert_eq!(world.drops(DropReason::NotStun), 3);
}

#[test]
fn t_cd_11_12_only_the_allocations_own_5_tuple_uses_its_channels() {
    let mut world = World::new();
    let client = world.client(1);
    bound(&mut world, client);
    let mut other_port = world.client(2);
    let same_address_tcp = world.tcp_client(1);
    for stranger in [&other_port, &same_address_tcp] {
        stranger.push(&mut world, 0x4000, b"x");
    }
    other_port.allocated(&mut world);
    other_port.push(&mut world, 0x4000, b"x");
    assert_eq!(world.take_sent(), []);
}

#[test]
fn t_cd_15_expiry_is_to_the_millisecond_even_if_timers_are_late() {
    for late in [false, true] {
        let mut world = World::new();
        let client = world.client(1);
        let client = bound(&mut world, client);
        let relayed = world.live[&client.path.tuple].relayed.advertised;
        let pass = |world: &mut World| {
            client.push(world, 0x4000, b"x");
            world.peer_sends(peer(1, 1), relayed, b"x");
            (world.take_sent().len(), client.received(world).len())
        };
        world.advance_millis(299_999);
        assert_eq!(pass(&mut world), (1, 1));
        if late {
            world.millis += 1;
        } else {
            world.advance_millis(1);
        }
        assert_eq!(pass(&mut world), (0, 0));
    }
}
