//! Binding: clients learn their address, from the address they asked.

use crate::client::{Client, receive_from, socket};
use crate::server::{Setup, V4, V6};
use hairpin::wire::{Class, Message, Method};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[test]
fn clients_learn_their_address_over_udp_and_tcp_ipv4_and_ipv6() {
    let server = Setup::new().hosts(&[V4, V6]).start();
    for ip in [V4, V6] {
        for mut client in Client::each(server.at(ip)) {
            let local = client.local();
            assert_eq!(client.binding().mapped, Some(local));
        }
    }
}

#[test]
fn w_rtc_17_a_wildcard_listener_answers_from_the_address_it_was_asked_on() {
    let any = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let server = Setup::new()
        .hosts(&any)
        .set("server", "workers = 2")
        .start();
    for asked in ["127.0.0.2", "127.0.0.3", "127.0.0.1", "::1"] {
        let ip: IpAddr = asked.parse().unwrap();
        let to = server.at(ip);
        // Not connected, so that an answer from anywhere is seen.
        let socket = socket(if ip.is_ipv4() { V4 } else { V6 });
        let mut scratch = Client::udp(to);
        let request = scratch.plain(Method::BINDING, Class::Request, |_| {});
        socket.send_to(&request, to).unwrap();
        let (answer, from) = receive_from(&socket);
        assert_eq!(from, to);
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);

        let mut stream = Client::tcp(to);
        let local = stream.local();
        assert_eq!(stream.binding().mapped, Some(local));
        assert_eq!(stream.stream().peer_addr().unwrap(), to);
    }
}

#[test]
fn relayed_data_leaves_a_wildcard_listener_from_the_address_of_the_allocation() {
    let server = Setup::new().hosts(&[Ipv4Addr::UNSPECIFIED.into()]).start();
    let peer = socket(V4);
    // Connected to 127.0.0.2: what comes from elsewhere is not received.
    let mut client = Client::udp(server.at(IpAddr::from([127, 0, 0, 2])));
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    peer.send_to(b"hello", relayed).unwrap();
    let expected = crate::client::Incoming::Channel(0x4000, b"hello".to_vec());
    assert_eq!(client.receive(), expected);
}
