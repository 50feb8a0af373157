//! RFC 5769: a request, two responses and a long-term request, with MESSAGE-INTEGRITY and FINGERPRINT.

use super::{parsed, rewritten, shown, text, vector_file};
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, Method, PasswordAlgorithm, fingerprint, strings,
};
use std::net::SocketAddr;

const SHORT_TERM: [&str; 3] = [
    "rfc5769-2.1-sample-request",
    "rfc5769-2.2-ipv4-response",
    "rfc5769-2.3-ipv6-response",
];
const LONG_TERM: &str = "rfc5769-2.4-long-term-request";

fn short_term_key(file: &vector_file::VectorFile) -> Key {
    Key::from_bytes(file.parameter("password").as_bytes()).unwrap()
}

/// Takes FINGERPRINT off, as a message without it would have been sent.
fn without_fingerprint(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - 8].to_vec();
    bytes[3] -= 8;
    bytes
}

#[test]
fn s_mi_01_the_macs_of_all_four_samples_verify() {
    for name in SHORT_TERM {
        let file = vector_file::open(name);
        let bytes = file.message("message");
        let key = short_term_key(&file);
        let message = parsed(bytes);
        assert_eq!(message.mac(), Some(Mac::Sha1), "{name}");
        let authenticated = message.authenticate(&key).expect(name);
        assert_eq!(authenticated.verified_by(), Mac::Sha1);
        let mac = file.bytes("MESSAGE-INTEGRITY");
        assert_eq!(bytes[bytes.len() - 28..bytes.len() - 8], mac, "{name}");
        assert!(
            parsed(&without_fingerprint(bytes))
                .authenticate(&key)
                .is_some(),
            "{name}"
        );
    }
    let file = vector_file::open(LONG_TERM);
    let key = Key::from_bytes(&file.bytes("key = MD5(user:realm:TheMatrIX)")).unwrap();
    let message = parsed(file.message("message"));
    assert!(message.authenticate(&key).is_some());
    assert!(
        file.message("message")
            .ends_with(&file.bytes("MESSAGE-INTEGRITY"))
    );
}

#[test]
fn s_fp_01_the_fingerprints_of_the_samples_are_the_printed_ones() {
    for name in SHORT_TERM {
        let file = vector_file::open(name);
        let bytes = file.message("message");
        assert!(parsed(bytes).has_fingerprint());
        let computed = fingerprint::of(&bytes[..bytes.len() - 8]);
        assert_eq!(
            computed.to_be_bytes()[..],
            file.bytes("FINGERPRINT"),
            "{name}"
        );
    }
    let long_term = vector_file::open(LONG_TERM);
    assert!(!parsed(long_term.message("message")).has_fingerprint());
}

#[test]
fn s_mi_01_s_fp_03_a_sample_with_any_bit_flipped_is_refused() {
    for name in SHORT_TERM {
        let file = vector_file::open(name);
        let key = short_term_key(&file);
        let whole = file.message("message");
        let bare = without_fingerprint(whole);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let Ok(message) = Message::parse(&flipped) else {
                continue;
            };
            // The flip made another attribute of FINGERPRINT, or a longer one in front swallow it.
            assert!(!message.has_fingerprint(), "{name}: bit {bit}");
            let kind_of_fingerprint = (whole.len() - 8) * 8..(whole.len() - 6) * 8;
            let verified = message.authenticate(&key).is_some();
            assert_eq!(
                verified,
                kind_of_fingerprint.contains(&bit),
                "{name}: bit {bit}"
            );
        }
        for bit in 0..bare.len() * 8 {
            let mut flipped = bare.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let verified = Message::parse(&flipped)
                .ok()
                .and_then(|m| m.authenticate(&key));
            assert!(verified.is_none(), "{name}: MESSAGE-INTEGRITY, bit {bit}");
        }
    }
}

#[test]
fn s_att_03_padding_that_is_not_zero_is_ignored_and_still_covered() {
    let file = vector_file::open("rfc5769-2.1-sample-request");
    let bytes = file.message("message");
    let message = parsed(bytes);
    assert_eq!(
        (message.method(), message.class()),
        (Method::BINDING, Class::Request)
    );
    assert_eq!(
        shown(&message),
        [
            AttributeType::SOFTWARE,
            AttributeType::PRIORITY,
            AttributeType::ICE_CONTROLLED,
            AttributeType::USERNAME,
        ]
    );
    let quoted = |name: &str| file.parameter(name).trim_matches('"').to_owned();
    assert_eq!(text(&message, AttributeType::USERNAME), quoted("username"));
    assert_eq!(text(&message, AttributeType::SOFTWARE), quoted("software"));
    let value = |kind| message.attribute(kind).unwrap().value;
    assert_eq!(value(AttributeType::PRIORITY), [0x6E, 0x00, 0x01, 0xFF]);
    assert_eq!(file.parameter("PRIORITY"), "0x6e0001ff");
    assert_eq!(
        value(AttributeType::ICE_CONTROLLED),
        0x932f_f9b1_5126_3b36_u64.to_be_bytes()
    );
    assert_eq!(file.parameter("ICE-CONTROLLED"), "0x932ff9b151263b36");

    // Ours differs in the three bytes of padding, and in what depends on them.
    let key = short_term_key(&file);
    let ours = rewritten(&message, |writer| {
        writer.integrity(Mac::Sha1, &key).fingerprint();
    });
    let username = message.attribute(AttributeType::USERNAME).unwrap();
    let end = username.offset + username.value.len();
    assert_eq!(bytes[end..end + 3], *b"   ");
    assert_eq!(ours[end..end + 3], [0, 0, 0]);
    assert_eq!(ours[..end], bytes[..end]);
    assert_eq!(ours.len(), bytes.len());
    assert!(parsed(&ours).authenticate(&key).is_some());
}

#[test]
fn s_att_14_the_responses_hold_the_printed_addresses() {
    for name in ["rfc5769-2.2-ipv4-response", "rfc5769-2.3-ipv6-response"] {
        let file = vector_file::open(name);
        let message = parsed(file.message("message"));
        assert_eq!(
            (message.method(), message.class()),
            (Method::BINDING, Class::Success)
        );
        assert_eq!(
            shown(&message),
            [AttributeType::SOFTWARE, AttributeType::XOR_MAPPED_ADDRESS]
        );
        assert_eq!(text(&message, AttributeType::SOFTWARE), "test vector");
        assert_eq!(
            file.parameter("software"),
            "\"test vector\" (11 bytes, pad 0x20)"
        );
        let expected: SocketAddr = file.parameter("XOR-MAPPED-ADDRESS").parse().unwrap();
        let attribute = message
            .attribute(AttributeType::XOR_MAPPED_ADDRESS)
            .unwrap();
        assert_eq!(attribute.xor_address(message.transaction()), Ok(expected));
    }
}

#[test]
fn s_mi_06_the_long_term_key_of_the_sample_needs_saslprep_and_its_bytes_come_out_again() {
    let file = vector_file::open(LONG_TERM);
    let bytes = file.message("message");
    let message = parsed(bytes);
    let username = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    assert_eq!(
        shown(&message),
        [
            AttributeType::USERNAME,
            AttributeType::NONCE,
            AttributeType::REALM
        ]
    );
    assert_eq!(text(&message, AttributeType::USERNAME), username);
    assert_eq!(
        text(&message, AttributeType::NONCE),
        file.parameter("nonce")
    );
    assert_eq!(
        text(&message, AttributeType::REALM),
        file.parameter("realm")
    );

    let password = "The\u{AD}M\u{AA}tr\u{2168}";
    let prepared = strings::saslprep(password).unwrap();
    assert_eq!(prepared, file.parameter("password after SASLprep"));
    assert_eq!(
        strings::opaque(password),
        None,
        "U+00AD is disallowed by OpaqueString"
    );
    assert_eq!(strings::opaque(username).as_deref(), Some(username));
    let key = Key::long_term(
        PasswordAlgorithm::Md5,
        username.as_bytes(),
        "example.org",
        prepared.as_bytes(),
    );
    assert_eq!(
        key.as_bytes(),
        file.bytes("key = MD5(user:realm:TheMatrIX)")
    );
    assert!(message.authenticate(&key).is_some());

    let ours = rewritten(&message, |writer| {
        writer.integrity(Mac::Sha1, &key);
    });
    assert_eq!(ours, bytes);
}
