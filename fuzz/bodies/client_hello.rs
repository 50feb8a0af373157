//! What has to hold for any datagram that may begin a DTLS handshake.

use hairpin::wire::client_hello::{
    ClientHello, RECORD_HEADER, Version, handshake_record, hello_verify_request, is_client_hello,
    renumber,
};

/// Panics when the reader of ClientHellos breaks a promise.
pub fn check(bytes: &[u8]) {
    renumbering(bytes);
    let Ok(hello) = ClientHello::parse(bytes) else {
        return;
    };
    assert!(is_client_hello(bytes));
    let message = hello.message();
    let end = RECORD_HEADER + message.len();
    assert_eq!(&bytes[RECORD_HEADER..end], message);
    // All of it is needed, and nothing behind it is looked at.
    for end in (0..end).rev().take(100) {
        assert!(ClientHello::parse(&bytes[..end]).is_err());
    }
    assert!(ClientHello::parse(&bytes[..end]).is_ok());
    assert!(
        hello_verify_request(hello.record_sequence, &[0; 32]).len() <= end,
        "the answer is longer"
    );
    let firsts = hello.first_messages();
    assert!((1..=2).contains(&firsts.len()));
    for first in firsts {
        hello.bound(&first);
        let record = handshake_record(0, &first);
        let first = ClientHello::parse(&record).expect("what was put together is well-formed");
        assert_eq!(first.random, hello.random);
        if let Version::Dtls13(_) = hello.version {
            assert_eq!(first.version, hello.version);
            assert!(first.cookie.is_empty());
        }
        if hello.cookie.is_empty() && hello.version == Version::Dtls12 {
            // All but its number, which is 0 the first time.
            assert_eq!(first.message()[12..50], message[12..50]);
        }
    }
}

/// Nothing but sequence numbers changes, and they change back.
fn renumbering(bytes: &[u8]) {
    for offset in [1, 7 << 40, u64::MAX] {
        let mut other = bytes.to_vec();
        renumber(&mut other, offset);
        assert_eq!(other.get(..5), bytes.get(..5));
        renumber(&mut other, offset.wrapping_neg());
        assert_eq!(other, bytes);
    }
}
