//! What has to hold for any bytes given to the STUN parser.
//!
//! The fuzz target and the replay of its corpus in `cargo test` both run [`check`]. It reads the bytes a second time
//! in the plainest way the RFC allows, so that it does not share the parser's mistakes.

use hairpin::wire::stream::{Framing, next_frame};
use hairpin::wire::{
    AttributeType, Key, Mac, Message, MessageType, ParseError, Writer, address, fingerprint, padded,
};

/// Panics when the parser, the writer or the framing of a stream breaks a promise about `bytes`.
pub fn check(bytes: &[u8]) {
    let plain = read_plainly(bytes);
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            rejection_has_its_reason(bytes, plain.as_deref(), error);
            return;
        }
    };
    let plain = plain.expect("a message was accepted whose attributes do not fill it exactly");
    header_is_what_the_bytes_say(bytes, &message);
    visible_attributes_end_before_integrity(bytes, &plain, &message);
    values_can_be_read(&message);
    writing_it_again_gives_the_same_bytes(bytes, &plain, &message);
    a_signed_copy_verifies_and_shows_the_same(&message);
    only_the_exact_length_is_accepted(bytes);
    assert_eq!(
        next_frame(bytes),
        Framing::Complete {
            length: bytes.len(),
            consumed: bytes.len()
        },
        "a stream delivers what the parser accepts"
    );
}

/// An attribute as its four bytes of head say: type, start and end of the value.
type Plain = (u16, usize, usize);

/// Walks over the attributes; `None` when they do not fill the bytes behind the header exactly.
fn read_plainly(bytes: &[u8]) -> Option<Vec<Plain>> {
    let mut attributes = Vec::new();
    let mut at = 20;
    while at < bytes.len() {
        let head = bytes.get(at..at + 4)?;
        let kind = u16::from(head[0]) << 8 | u16::from(head[1]);
        let length = usize::from(head[2]) << 8 | usize::from(head[3]);
        let start = at + 4;
        at = start + length.div_ceil(4) * 4;
        if at > bytes.len() {
            return None;
        }
        attributes.push((kind, start, start + length));
    }
    (at == bytes.len()).then_some(attributes)
}

fn rejection_has_its_reason(bytes: &[u8], plain: Option<&[Plain]>, error: ParseError) {
    let well_headed = || {
        bytes.len() >= 20
            && bytes[0] & 0xC0 == 0
            && bytes[4..8] == [0x21, 0x12, 0xA4, 0x42]
            && bytes.len().is_multiple_of(4)
            && usize::from(bytes[2]) * 256 + usize::from(bytes[3]) + 20 == bytes.len()
    };
    let of_kind = |kind: AttributeType| {
        plain
            .into_iter()
            .flatten()
            .filter(move |attribute| attribute.0 == kind.0)
    };
    match error {
        ParseError::TooShort => assert!(bytes.len() < 20),
        ParseError::NotStun => assert_ne!(bytes[0] & 0xC0, 0),
        ParseError::NoCookie => assert_ne!(bytes[4..8], [0x21, 0x12, 0xA4, 0x42]),
        ParseError::BadLength => assert!(!well_headed()),
        ParseError::AttributePastEnd => assert!(well_headed() && plain.is_none()),
        ParseError::BadIntegrityLength => assert!(
            well_headed()
                && (plain.is_none()
                    || of_kind(AttributeType::MESSAGE_INTEGRITY).any(|a| a.2 - a.1 != 20)
                    || of_kind(AttributeType::MESSAGE_INTEGRITY_SHA256)
                        .any(|a| !matches!(a.2 - a.1, 16 | 20 | 24 | 28 | 32)))
        ),
        ParseError::BadFingerprint => assert!(
            well_headed()
                && (plain.is_none()
                    || of_kind(AttributeType::FINGERPRINT).any(|a| {
                        a.2 != bytes.len()
                            || bytes[a.1..a.2] != fingerprint::of(&bytes[..a.1 - 4]).to_be_bytes()
                    }))
        ),
    }
}

fn header_is_what_the_bytes_say(bytes: &[u8], message: &Message<'_>) {
    assert_eq!(
        usize::from(bytes[2]) * 256 + usize::from(bytes[3]) + 20,
        bytes.len()
    );
    let kind = MessageType::new(message.method(), message.class());
    assert_eq!(kind.to_bits().to_be_bytes(), bytes[..2]);
    assert_eq!(message.transaction().0, bytes[8..20]);
}

fn ends_the_visible_part(kind: u16) -> bool {
    [
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::FINGERPRINT,
    ]
    .contains(&AttributeType(kind))
}

fn visible_attributes_end_before_integrity(bytes: &[u8], plain: &[Plain], message: &Message<'_>) {
    let expected = plain
        .iter()
        .take_while(|attribute| !ends_the_visible_part(attribute.0));
    let mut seen = message.attributes();
    for &(kind, start, end) in expected {
        let attribute = seen
            .next()
            .expect("an attribute in front of the integrity is not shown");
        assert_eq!(attribute.kind, AttributeType(kind));
        assert_eq!(attribute.offset, start);
        assert_eq!(attribute.value, &bytes[start..end]);
    }
    assert_eq!(
        seen.next(),
        None,
        "an attribute behind the integrity is shown"
    );
    for attribute in message.attributes() {
        let first = message
            .attributes()
            .find(|other| other.kind == attribute.kind);
        assert_eq!(
            message.attribute(attribute.kind),
            first,
            "the first of its type counts"
        );
    }
}

fn values_can_be_read(message: &Message<'_>) {
    for attribute in message.attributes() {
        let length = attribute.value.len();
        assert_eq!(attribute.lifetime().is_ok(), length == 4);
        assert_eq!(attribute.requested_transport().is_ok(), length == 4);
        assert_eq!(attribute.address_family().is_ok(), length == 4);
        assert_eq!(attribute.channel_number().is_ok(), length == 4);
        assert_eq!(attribute.even_port_reserves().is_ok(), length == 1);
        assert_eq!(attribute.reservation_token().is_ok(), length == 8);
        assert_eq!(attribute.dont_fragment().is_ok(), length == 0);
        if let Ok(code) = attribute.error_code() {
            assert!((300..700).contains(&code));
        }
        let transaction = message.transaction();
        if let Ok(read) = attribute.xor_address(transaction) {
            let written = address::encode_xor(read, transaction);
            assert_eq!(written.as_bytes()[1..], attribute.value[1..]);
            assert_eq!(written.as_bytes()[0], 0);
        }
        if let Ok(read) = attribute.address() {
            assert_eq!(address::encode(read).as_bytes()[1..], attribute.value[1..]);
        }
    }
}

fn writing_it_again_gives_the_same_bytes(bytes: &[u8], plain: &[Plain], message: &Message<'_>) {
    let mut expected = bytes.to_vec();
    let mut buffer = vec![0xEE; bytes.len()];
    let kind = MessageType::new(message.method(), message.class());
    let mut writer = Writer::new(&mut buffer, kind, message.transaction());
    for &(kind, start, end) in plain {
        writer.attribute(AttributeType(kind), &bytes[start..end]);
        // Padding may be anything when it is read, and is zero when it is written.
        expected[end..start + padded(end - start)].fill(0);
    }
    assert_eq!(writer.finish(), Ok(bytes.len()));
    assert_eq!(buffer, expected);

    if let Some(short) = bytes.len().checked_sub(1) {
        let mut writer = Writer::new(&mut buffer[..short], kind, message.transaction());
        for &(kind, start, end) in plain {
            writer.attribute(AttributeType(kind), &bytes[start..end]);
        }
        assert!(writer.finish().is_err(), "a byte too few goes unnoticed");
    }
}

fn a_signed_copy_verifies_and_shows_the_same(message: &Message<'_>) {
    let (Some(key), Some(other)) = (Key::from_bytes(b"a key"), Key::from_bytes(b"another key"))
    else {
        unreachable!("both keys are short")
    };
    assert!(
        message.mac().is_some() || message.authenticate(&key).is_none(),
        "a message without integrity cannot be authenticated"
    );
    let mut buffer = vec![0; 0x1_0000 + 20];
    for mac in [Mac::Sha1, Mac::Sha256] {
        let kind = MessageType::new(message.method(), message.class());
        let mut writer = Writer::new(&mut buffer, kind, message.transaction());
        for attribute in message.attributes() {
            writer.attribute(attribute.kind, attribute.value);
        }
        let Ok(length) = writer.integrity(mac, &key).fingerprint().finish() else {
            // No room in 65535 bytes for the two attributes more.
            continue;
        };
        let signed = Message::parse(&buffer[..length]).expect("what was written parses");
        assert!(signed.has_fingerprint());
        assert_eq!(signed.mac(), Some(mac));
        assert!(signed.authenticate(&other).is_none());
        let signed = signed.authenticate(&key).expect("what was signed verifies");
        assert_eq!(signed.verified_by(), mac);
        let copied = signed
            .attributes()
            .map(|attribute| (attribute.kind, attribute.value));
        let original = message
            .attributes()
            .map(|attribute| (attribute.kind, attribute.value));
        assert!(copied.eq(original));
    }
}

fn only_the_exact_length_is_accepted(bytes: &[u8]) {
    let mut longer = bytes.to_vec();
    longer.extend([0; 4]);
    assert_eq!(Message::parse(&longer).err(), Some(ParseError::BadLength));
    for cut in [1, 4, bytes.len() - 20, bytes.len()] {
        if cut > 0 && cut <= bytes.len() {
            assert!(Message::parse(&bytes[..bytes.len() - cut]).is_err());
        }
    }
}
