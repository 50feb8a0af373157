//! The PROXY protocol's header: whatever proxies write is read, however it is cut.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use hairpin::wire::proxy_protocol::{
    Header, HeaderError, MAX_BINARY, MAX_TEXT, Origin, Parsed, SIGNATURE, parse, parse_datagram,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../fuzz/bodies/proxy_protocol.rs"]
mod promises;

fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    prop_oneof![v4, v6]
}

fn text((client, server): (SocketAddr, SocketAddr)) -> Vec<u8> {
    let family = if client.is_ipv4() { 4 } else { 6 };
    format!(
        "PROXY TCP{family} {} {} {} {}\r\n",
        client.ip(),
        server.ip(),
        client.port(),
        server.port()
    )
    .into_bytes()
}

fn binary((client, server): (SocketAddr, SocketAddr), protocol: u8, more: &[u8]) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if client.is_ipv4() { 0x10 } else { 0x20 };
    let mut block = [octets(client), octets(server)].concat();
    block.extend(client.port().to_be_bytes());
    block.extend(server.port().to_be_bytes());
    block.extend(more);
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    let mut header = SIGNATURE.to_vec();
    header.extend([0x21, family | protocol, length[0], length[1]]);
    header.extend(block);
    header
}

fn is_read_however_it_is_cut(header: &[u8], origin: Origin, behind: &[u8]) {
    let length = header.len();
    let expected = Header { origin, length };
    let bytes = [header, behind].concat();
    assert_eq!(parse(&bytes), Ok(Parsed::Complete(expected)));
    for end in 0..length {
        assert_eq!(parse(&bytes[..end]), Ok(Parsed::Partial), "{end}");
    }
}

proptest! {
    #[test]
    fn a_header_of_version_1_is_read(pair in pair(), behind in vec(any::<u8>(), 0..50)) {
        let (client, server) = pair;
        let header = text(pair);
        prop_assert!(header.len() <= MAX_TEXT);
        is_read_however_it_is_cut(&header, Origin::Proxied { client, server }, &behind);
    }

    #[test]
    fn a_header_of_version_2_is_read(
        pair in pair(),
        protocol in 1_u8..=2,
        more in vec(any::<u8>(), 0..300),
        behind in vec(any::<u8>(), 0..50),
    ) {
        let (client, server) = pair;
        let header = binary(pair, protocol, &more);
        let origin = Origin::Proxied { client, server };
        is_read_however_it_is_cut(&header, origin, &behind);
        let length = header.len();
        let datagram = [&header[..], &behind].concat();
        prop_assert_eq!(parse_datagram(&datagram), Ok(Header { origin, length }));
        prop_assert_eq!(parse_datagram(&header[..length - 1]), Err(HeaderError::Malformed));
    }

    #[test]
    fn any_bytes_keep_the_promises(bytes in vec(any::<u8>(), 0..300)) {
        promises::check(&bytes);
        promises::check(&[&SIGNATURE[..], &bytes].concat());
        promises::check(&[&b"PROXY TCP4 "[..], &bytes].concat());
    }

    #[test]
    fn a_changed_header_keeps_the_promises(
        pair in pair(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for mut header in [text(pair), binary(pair, 1, b"more")] {
            let place = place.index(header.len());
            header[place] = byte;
            promises::check(&header);
        }
    }
}

#[test]
fn lengths_have_limits() {
    let line = |length: usize| {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(length - 2, b'x');
        line.extend(b"\r\n");
        line
    };
    assert!(matches!(parse(&line(MAX_TEXT)), Ok(Parsed::Complete(_))));
    assert_eq!(parse(&line(MAX_TEXT + 1)), Err(HeaderError::Malformed));
    let header = |length: usize| {
        let length = u16::try_from(length - 16).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x21, 0x11], &length].concat()
    };
    assert_eq!(parse(&header(MAX_BINARY)), Ok(Parsed::Partial));
    assert_eq!(parse(&header(MAX_BINARY + 1)), Err(HeaderError::Malformed));
}

#[test]
fn what_is_no_header_is_known_from_its_first_bytes() {
    for bytes in [&[0_u8][..], &[0x16], b"G", b"PROXX", b"\r\n\r\n\0\r\nQUIX"] {
        assert_eq!(parse(bytes), Err(HeaderError::Missing), "{bytes:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Partial));
    assert_eq!(parse_datagram(b""), Err(HeaderError::Missing));
    assert_eq!(
        parse_datagram(b"PROXY UNKNOWN\r\n"),
        Err(HeaderError::Missing)
    );
}
