//! What has to hold for any bytes in front of a connection or a datagram.

use hairpin::wire::proxy_protocol::{
    HeaderError, MAX_BINARY, MAX_TEXT, Origin, Parsed, SIGNATURE, parse, parse_datagram,
};

/// Panics when the reader of PROXY headers breaks a promise.
pub fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    if let Ok(Parsed::Complete(header)) = whole {
        assert!(header.length <= bytes.len() && header.length <= MAX_BINARY);
        if let Origin::Proxied { client, server } = header.origin {
            assert_eq!(client.is_ipv4(), server.is_ipv4(), "families are mixed");
        }
        // What follows is not the header's.
        assert_eq!(parse(&bytes[..header.length]), whole);
        if !bytes.starts_with(&SIGNATURE) {
            assert!(header.length <= MAX_TEXT && bytes[..header.length].ends_with(b"\r\n"));
        }
    }
    // Some bytes more may complete a header or spoil it; they never take back what was said.
    for end in (0..bytes.len()).take(MAX_BINARY + 1) {
        match parse(&bytes[..end]) {
            Ok(Parsed::Partial) => assert!(end < MAX_BINARY, "waits for ever"),
            said => assert_eq!(said, whole, "changed behind {end} bytes"),
        }
    }
    match (parse_datagram(bytes), whole) {
        (Ok(header), _) => assert_eq!(whole, Ok(Parsed::Complete(header))),
        (Err(HeaderError::Missing), _) => assert!(!bytes.starts_with(&SIGNATURE)),
        (Err(HeaderError::Malformed), whole) => {
            assert!(matches!(
                whole,
                Ok(Parsed::Partial) | Err(HeaderError::Malformed)
            ));
        }
    }
}
