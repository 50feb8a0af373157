//! Messages that are not what they should be: which are refused whole, and which only in the value read.

use super::{parsed, shown, vector_file};
use hairpin::wire::attribute::Malformed;
use hairpin::wire::{
    AttributeType, Class, Message, MessageType, Method, ParseError, channel_data, fingerprint,
};
use std::net::SocketAddr;

const NEGATIVE: &str = "derived-negative-stun";

fn refused(label: &str) -> ParseError {
    let file = vector_file::open(NEGATIVE);
    match Message::parse(file.message(label)) {
        Ok(message) => panic!("[{label}] was accepted: {message:?}"),
        Err(error) => error,
    }
}

#[test]
fn s_hdr_01_top_bits_that_are_not_zero_are_not_stun() {
    assert_eq!(refused("top bits 10"), ParseError::NotStun);
    let label = "top bits 01 with magic cookie (is ChannelData 0x4001 len 0)";
    assert_eq!(refused(label), ParseError::NotStun);
    let file = vector_file::open(NEGATIVE);
    let (channel, payload) = channel_data::parse(file.message(label)).unwrap();
    assert_eq!((channel.get(), payload), (0x4001, 4..4));
}

#[test]
fn s_hdr_02_a_message_without_the_cookie_is_refused() {
    assert_eq!(
        refused("wrong cookie (RFC 3489 client)"),
        ParseError::NoCookie
    );
}

#[test]
fn s_hdr_04_a_length_that_is_not_a_multiple_of_four_is_refused() {
    assert_eq!(
        refused("length 2 (not multiple of 4)"),
        ParseError::BadLength
    );
    assert_eq!(
        refused("attr value fits but padding missing: USERNAME len 5, body 9"),
        ParseError::BadLength
    );
    for body in 0_u8..64 {
        let mut bytes = vec![0, 1, 0, body, 0x21, 0x12, 0xA4, 0x42];
        bytes.resize(20, 7);
        // Empty attributes, and zeros where four bytes are not left.
        bytes.resize(20 + usize::from(body), 0);
        assert_eq!(
            Message::parse(&bytes).is_ok(),
            body % 4 == 0,
            "{body} bytes"
        );
    }
}

#[test]
fn s_hdr_05_a_datagram_shorter_than_its_header_says_is_refused() {
    assert_eq!(refused("19 bytes"), ParseError::TooShort);
    assert_eq!(refused("length 8 but no body"), ParseError::BadLength);
    assert_eq!(
        refused("length 0xFFFC header only (stream: 65532+20 must not wrap 16 bit)"),
        ParseError::BadLength
    );
}

#[test]
fn s_hdr_06_bytes_behind_the_message_make_it_invalid() {
    assert_eq!(
        refused("length 0 with 4 trailing bytes (UDP)"),
        ParseError::BadLength
    );
}

#[test]
fn s_att_04_an_attribute_that_passes_the_end_makes_the_message_invalid() {
    assert_eq!(
        refused("attr length past end"),
        ParseError::AttributePastEnd
    );
    assert_eq!(refused("attr length 0xFFFF"), ParseError::AttributePastEnd);
}

#[test]
fn s_fp_02_s_fp_03_a_wrong_or_misplaced_fingerprint_makes_the_message_invalid() {
    assert_eq!(refused("FINGERPRINT wrong"), ParseError::BadFingerprint);
    assert_eq!(refused("FINGERPRINT not last"), ParseError::BadFingerprint);
}

#[test]
fn s_fp_02_a_right_fingerprint_in_the_wrong_place_makes_the_message_invalid() {
    let file = vector_file::open(NEGATIVE);
    let mut not_last = file.message("FINGERPRINT not last").to_vec();
    assert_eq!(not_last[20..24], [0x80, 0x28, 0, 4]);
    let value = fingerprint::of(&not_last[..20]);
    not_last[24..28].copy_from_slice(&value.to_be_bytes());
    let refused = Message::parse(&not_last).err();
    assert_eq!(refused, Some(ParseError::BadFingerprint));

    // Two, each of them right.
    let mut twice = not_last[..28].to_vec();
    let value = fingerprint::of(&twice);
    twice.extend([0x80, 0x28, 0, 4]);
    twice.extend(value.to_be_bytes());
    assert_eq!(
        twice.len(),
        not_last.len(),
        "or the first would not be right"
    );
    let refused = Message::parse(&twice).err();
    assert_eq!(refused, Some(ParseError::BadFingerprint));

    // Alone and last it is fine, and any length but four is not.
    let mut last = not_last[..28].to_vec();
    last[3] = 8;
    let value = fingerprint::of(&last[..20]);
    last[24..28].copy_from_slice(&value.to_be_bytes());
    assert!(parsed(&last).has_fingerprint());
    last[23] = 3;
    let refused = Message::parse(&last).err();
    assert_eq!(refused, Some(ParseError::BadFingerprint));
}

#[test]
fn s_mi_02_a_message_integrity_of_19_bytes_makes_the_message_invalid() {
    assert_eq!(
        refused("MESSAGE-INTEGRITY len 19"),
        ParseError::BadIntegrityLength
    );
}

#[test]
fn s_att_06_types_below_0x8000_must_be_understood() {
    let file = vector_file::open(NEGATIVE);
    let required = parsed(file.message("unknown comprehension-required 0x7001"));
    assert_eq!(shown(&required), [AttributeType(0x7001)]);
    assert!(AttributeType(0x7001).is_comprehension_required());
    assert_eq!(AttributeType(0x7001).name(), None);
    let label = "unknown comprehension-optional 0xFF05 TURN_LOGGING_ID";
    let optional = parsed(file.message(label));
    assert_eq!(shown(&optional), [AttributeType::TURN_LOGGING_ID]);
    assert!(!AttributeType::TURN_LOGGING_ID.is_comprehension_required());
    assert_eq!(
        optional
            .attribute(AttributeType::TURN_LOGGING_ID)
            .unwrap()
            .value,
        b"log"
    );
}

#[test]
fn s_hdr_03_what_is_not_for_this_server_still_reads_as_what_it_is() {
    let file = vector_file::open(NEGATIVE);
    for (label, code, class) in [
        ("Binding indication", 1, Class::Indication),
        ("unsolicited Binding success response", 1, Class::Success),
        ("unknown method 0x00D request", 0xD, Class::Request),
    ] {
        let message = parsed(file.message(label));
        let kind = MessageType::new(Method::new(code).unwrap(), class);
        assert_eq!(
            MessageType::new(message.method(), message.class()),
            kind,
            "{label}"
        );
    }
}

#[test]
fn s_att_15_a_family_that_is_unknown_or_does_not_fit_its_length_is_malformed() {
    let file = vector_file::open(NEGATIVE);
    for label in [
        "XOR-PEER-ADDRESS family 3",
        "XOR-PEER-ADDRESS IPv4 length 12",
        "XOR-PEER-ADDRESS IPv6 family length 8",
    ] {
        let message = parsed(file.message(label));
        assert_eq!(message.method(), Method::CREATE_PERMISSION);
        let attribute = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
        assert_eq!(
            attribute.xor_address(message.transaction()),
            Err(Malformed),
            "{label}"
        );
        assert_eq!(attribute.address(), Err(Malformed), "{label}");
    }
    let mut value = *b"\xFF\x01\x0D\x96\x7F\x00\x00\x01";
    let expected: SocketAddr = "127.0.0.1:3478".parse().unwrap();
    assert_eq!(hairpin::wire::address::decode(&value), Some(expected));
    value[0] = 0;
    assert_eq!(hairpin::wire::address::encode(expected).as_bytes(), value);
}
