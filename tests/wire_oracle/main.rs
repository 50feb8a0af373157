//! The codec compared with the crates `stun` and `turn`, which other people wrote: on messages we write, on messages
//! they write, and on both with arbitrary changes. [`comparison::Difference`] lists where they may differ and which
//! rule decides there; any other difference fails.

#![allow(clippy::unwrap_used)]

mod comparison;

use comparison::{Difference, differences, frame_differences};
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, ErrorCode, Key, Mac, Message, MessageType, Method,
    PasswordAlgorithm, TransactionId, Writer, channel_data,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use stun::attributes::AttrType;
use stun::error_code::ErrorCodeAttribute;
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{Message as Theirs, Setter};
use stun::textattrs::TextAttribute;
use stun::uattrs::UnknownAttributes;
use stun::xoraddr::XorMappedAddress;
use turn::proto;

fn key() -> Key {
    Key::long_term(PasswordAlgorithm::Md5, b"alice", "example.org", b"s3cret")
}

fn any_type() -> impl Strategy<Value = MessageType> {
    let method = prop_oneof![select(vec![1, 3, 4, 6, 7, 8, 9, 10, 11, 12]), 0..=0xFFF_u16];
    (method, select(Class::ALL.to_vec()))
        .prop_map(|(method, class)| MessageType::new(Method::new(method).unwrap(), class))
}

fn any_transaction() -> impl Strategy<Value = TransactionId> {
    any::<[u8; 12]>().prop_map(TransactionId)
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

/// Any type of attribute, those with a meaning often, and a value of a length that often suits one of them.
fn any_attribute() -> impl Strategy<Value = (AttributeType, Vec<u8>)> {
    let mut named = AttributeType::NAMED.to_vec();
    named.push(AttributeType(0x8020));
    let kind = prop_oneof![3 => select(named), 1 => any::<u16>().prop_map(AttributeType)];
    let length = prop_oneof![select(vec![0, 1, 4, 8, 16, 19, 20, 32]), 0..70_usize];
    let byte = prop_oneof![select(vec![0_u8, 1, 2, 3, 4, 5, 6, 7]), any::<u8>()];
    (kind, length).prop_flat_map(move |(kind, length)| (Just(kind), vec(byte.clone(), length)))
}

/// What a message ends in.
#[derive(Debug, Clone, Copy)]
enum End {
    Integrity(Mac),
    Fingerprint,
    /// Something behind, where nothing may count.
    Lifetime,
}

fn any_end() -> impl Strategy<Value = Vec<End>> {
    let one = select(vec![
        End::Integrity(Mac::Sha1),
        End::Integrity(Mac::Sha256),
        End::Fingerprint,
        End::Lifetime,
    ]);
    vec(one, 0..4)
}

type Attributes = Vec<(AttributeType, Vec<u8>)>;

fn ours(kind: MessageType, id: TransactionId, body: &Attributes, end: &[End]) -> Vec<u8> {
    let mut buffer = vec![0xEE; 8192];
    let mut writer = Writer::new(&mut buffer, kind, id);
    for (kind, value) in body {
        writer.attribute(*kind, value);
    }
    for end in end {
        match end {
            End::Integrity(mac) => writer.integrity(*mac, &key()),
            End::Fingerprint => writer.fingerprint(),
            End::Lifetime => writer.number(AttributeType::LIFETIME, 1),
        };
    }
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// The header of a message as `stun` starts it.
fn theirs(kind: MessageType, id: TransactionId) -> Theirs {
    let mut message = Theirs::new();
    message.typ.read_value(kind.to_bits());
    message.transaction_id.0 = id.0;
    message.write_header();
    message
}

fn their_address(address: SocketAddr) -> XorMappedAddress {
    XorMappedAddress {
        ip: address.ip(),
        port: address.port(),
    }
}

/// A change to the bytes of a message.
#[derive(Debug, Clone)]
enum Change {
    Byte(Index, u8),
    Bit(Index, u8),
    /// Cut, with or without the length in the header following.
    Cut(Index, bool),
    /// More bytes behind, with or without the length in the header following.
    Append(Vec<u8>, bool),
    /// A whole attribute between two others.
    Insert(Index, AttributeType, Vec<u8>),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (any::<Index>(), any::<bool>()).prop_map(|(at, fix)| Change::Cut(at, fix)),
        (vec(any::<u8>(), 1..13), any::<bool>()).prop_map(|(more, fix)| Change::Append(more, fix)),
        (any::<Index>(), any_attribute())
            .prop_map(|(at, (kind, value))| Change::Insert(at, kind, value)),
    ]
}

fn set_length(bytes: &mut [u8]) {
    if let Some(length) = bytes.len().checked_sub(20) {
        bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Byte(at, value) => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Change::Bit(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Change::Cut(at, fix) => {
                bytes.truncate(at.index(bytes.len()));
                if *fix {
                    set_length(&mut bytes);
                }
            }
            Change::Append(more, fix) => {
                bytes.extend(more);
                if *fix {
                    set_length(&mut bytes);
                }
            }
            Change::Insert(at, kind, value) => {
                let mut starts = vec![];
                let mut next = 20;
                while next + 4 <= bytes.len() {
                    starts.push(next);
                    let length = u16::from_be_bytes([bytes[next + 2], bytes[next + 3]]);
                    next += 4 + usize::from(length).next_multiple_of(4);
                }
                if next == bytes.len() {
                    starts.push(next);
                }
                if starts.is_empty() {
                    continue;
                }
                let mut attribute = kind.0.to_be_bytes().to_vec();
                attribute.extend((value.len() as u16).to_be_bytes());
                attribute.extend(value);
                attribute.resize(attribute.len().next_multiple_of(4), 0x20);
                let start = starts[at.index(starts.len())];
                bytes.splice(start..start, attribute);
                set_length(&mut bytes);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn s_att_01_the_other_codec_reads_what_we_write(
        kind in any_type(), id in any_transaction(), body in vec(any_attribute(), 0..8), end in any_end(),
    ) {
        differences(&ours(kind, id, &body, &end), &key());
    }

    #[test]
    fn s_att_01_both_write_the_same_bytes(
        kind in any_type(), id in any_transaction(), body in vec(any_attribute(), 0..8),
        signed in any::<bool>(), fingerprint in any::<bool>(),
    ) {
        let mut message = theirs(kind, id);
        let ends = [AttributeType::MESSAGE_INTEGRITY, AttributeType::FINGERPRINT];
        let body: Attributes = body.into_iter().filter(|(kind, _)| !ends.contains(kind)).collect();
        let mut end = vec![];
        for (kind, value) in &body {
            message.add(AttrType(kind.0), value);
        }
        if signed {
            MessageIntegrity(key().as_bytes().to_vec()).add_to(&mut message).unwrap();
            end.push(End::Integrity(Mac::Sha1));
        }
        if fingerprint {
            FINGERPRINT.add_to(&mut message).unwrap();
            end.push(End::Fingerprint);
        }
        let bytes = ours(kind, id, &body, &end);
        prop_assert_eq!(&bytes, &message.raw);
        differences(&bytes, &key());
    }

    #[test]
    fn s_att_14_s_att_19_both_write_the_same_values(
        id in any_transaction(), address in any_address(), number in any::<u32>(), list in vec(any::<u16>(), 0..40),
        code in select(ErrorCode::ALL.to_vec()), text in ".{0,40}", data in vec(any::<u8>(), 0..99),
    ) {
        let kind = MessageType::new(Method::ALLOCATE, Class::Success);
        let mut message = theirs(kind, id);
        let [n0, n1, n2, n3] = number.to_be_bytes();
        let token = [n0, n1, n2, n3, n3, n2, n1, n0];
        use AttributeType as A;
        for kind in [A::XOR_MAPPED_ADDRESS, A::XOR_PEER_ADDRESS, A::XOR_RELAYED_ADDRESS] {
            their_address(address).add_to_as(&mut message, AttrType(kind.0)).unwrap();
        }
        let mapped = stun::addr::MappedAddress { ip: address.ip(), port: address.port() };
        let reason = code.reason().as_bytes().to_vec();
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(mapped),
            Box::new(proto::lifetime::Lifetime(std::time::Duration::from_secs(number.into()))),
            Box::new(proto::channum::ChannelNumber(number as u16)),
            Box::new(proto::reqtrans::RequestedTransport { protocol: proto::Protocol(n3) }),
            Box::new(proto::reqfamily::RequestedAddressFamily(n3)),
            Box::new(proto::evenport::EvenPort::default()),
            Box::new(proto::rsrvtoken::ReservationToken(token.to_vec())),
            Box::new(proto::dontfrag::DontFragmentAttr),
            Box::new(proto::data::Data(data.clone())),
            Box::new(TextAttribute::new(AttrType(A::USERNAME.0), text.clone())),
            Box::new(ErrorCodeAttribute { code: stun::error_code::ErrorCode(code.code()), reason }),
            Box::new(UnknownAttributes(list.iter().map(|kind| AttrType(*kind)).collect())),
            Box::new(MessageIntegrity(key().as_bytes().to_vec())),
            Box::new(FINGERPRINT),
        ];
        for setter in setters {
            setter.add_to(&mut message).unwrap();
        }
        let mut buffer = vec![0xEE; 4096];
        let mut writer = Writer::new(&mut buffer, kind, id);
        writer
            .xor_address(A::XOR_MAPPED_ADDRESS, address)
            .xor_address(A::XOR_PEER_ADDRESS, address)
            .xor_address(A::XOR_RELAYED_ADDRESS, address)
            .address(A::MAPPED_ADDRESS, address)
            .number(A::LIFETIME, number)
            .number(A::CHANNEL_NUMBER, number << 16)
            .attribute(A::REQUESTED_TRANSPORT, &[n3, 0, 0, 0])
            .attribute(A::REQUESTED_ADDRESS_FAMILY, &[n3, 0, 0, 0])
            .attribute(A::EVEN_PORT, &[0])
            .attribute(A::RESERVATION_TOKEN, &token)
            .attribute(A::DONT_FRAGMENT, &[])
            .attribute(A::DATA, &data)
            .attribute(A::USERNAME, text.as_bytes())
            .error_code(code, code.reason())
            .unknown_attributes(list.iter().map(|kind| AttributeType(*kind)))
            .integrity(Mac::Sha1, &key())
            .fingerprint();
        let length = writer.finish().unwrap();
        prop_assert_eq!(&buffer[..length], &message.raw[..]);
        prop_assert_eq!(differences(&message.raw, &key()), BTreeSet::new());
    }

    #[test]
    fn s_hdr_04_s_att_04_both_judge_a_changed_message_alike(
        kind in any_type(), id in any_transaction(), body in vec(any_attribute(), 0..6), end in any_end(),
        changes in vec(any_change(), 1..4),
    ) {
        differences(&changed(ours(kind, id, &body, &end), &changes), &key());
    }

    #[test]
    fn s_hdr_04_both_judge_arbitrary_bytes_behind_a_header_alike(
        bytes in vec(prop_oneof![select(vec![0_u8, 8, 9, 20]), any::<u8>()], 0..120), fix in any::<bool>(),
    ) {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        message.extend(&bytes);
        if fix {
            set_length(&mut message);
        }
        differences(&message, &key());
        differences(&bytes, &key());
    }

    #[test]
    fn t_cd_01_t_cd_02_both_read_the_same_frames(
        number in prop_oneof![0x3FF0..0x5010_u16, any::<u16>()], data in vec(any::<u8>(), 0..60),
        length in 0..70_u16, changes in vec(any_change(), 0..3),
    ) {
        let mut frame = number.to_be_bytes().to_vec();
        frame.extend(length.to_be_bytes());
        frame.extend(&data);
        frame_differences(&frame);
        frame_differences(&changed(frame, &changes));
    }

    #[test]
    fn t_cd_04_both_write_the_same_frames(number in 0x4000..=0x4FFF_u16, data in vec(any::<u8>(), 0..99)) {
        let mut theirs = proto::chandata::ChannelData {
            number: proto::channum::ChannelNumber(number),
            data: data.clone(),
            ..Default::default()
        };
        theirs.encode();
        let channel = ChannelNumber::new(number).unwrap();
        let mut ours = channel_data::header(channel, data.len()).unwrap().to_vec();
        ours.extend(&data);
        // They pad on datagrams too, where it is not needed (T-CD-05).
        ours.resize(ours.len().next_multiple_of(4), 0);
        prop_assert_eq!(&ours, &theirs.raw);
        prop_assert_eq!(frame_differences(&ours), None);
    }
}

/// One message for each permitted difference, so that the list holds none that no longer exists.
#[test]
fn each_permitted_difference_exists() {
    use Difference as D;
    let kind = MessageType::new(Method::ALLOCATE, Class::Request);
    let id = TransactionId([5; 12]);
    let with = |kind_of: AttributeType, value: &[u8]| {
        ours(kind, id, &vec![(kind_of, value.to_vec())], &[])
    };
    let ending = |end: &[End]| ours(kind, id, &vec![], end);
    let mut top_bits = ending(&[]);
    top_bits[0] = 0x40;
    let mut trailing = ending(&[]);
    trailing.push(0);
    let mut wrong = ending(&[End::Fingerprint]);
    wrong[27] ^= 1;
    let misplaced = [End::Fingerprint, End::Lifetime];
    let behind = [End::Integrity(Mac::Sha1), End::Lifetime];
    let both = [End::Integrity(Mac::Sha1), End::Integrity(Mac::Sha256)];
    use AttributeType as A;
    for (difference, bytes) in [
        (D::TopBits, top_bits),
        (D::TrailingBytes, trailing),
        (D::IntegrityLength, with(A::MESSAGE_INTEGRITY, &[0; 19])),
        (D::FingerprintWrong, wrong),
        (D::FingerprintPlace, ending(&misplaced)),
        (D::BehindIntegrity, ending(&behind)),
        (D::Sha256Counts, ending(&both)),
        (D::OldXorMappedAddress, with(AttributeType(0x8020), &[0; 8])),
        (
            D::AddressFirstByte,
            with(A::XOR_PEER_ADDRESS, &[9, 1, 0, 1, 2, 3, 4, 5]),
        ),
        (
            D::AddressLength,
            with(A::XOR_PEER_ADDRESS, &[0, 1, 0, 1, 2, 3]),
        ),
        (
            D::AddressLength,
            with(A::MAPPED_ADDRESS, &[0, 1, 0, 1, 2, 3, 4, 5, 6]),
        ),
        (D::ErrorCodeReserved, with(A::ERROR_CODE, &[0, 0, 0xF4, 0])),
        (D::ErrorCodeRange, with(A::ERROR_CODE, &[0, 0, 7, 0])),
        (D::DontFragmentValue, with(A::DONT_FRAGMENT, &[0])),
    ] {
        assert_eq!(differences(&bytes, &key()), BTreeSet::from([difference]));
    }
    let reserved = [0x50, 0x00, 0x00, 0x01, 0x78];
    assert_eq!(frame_differences(&reserved), Some(D::ReservedChannel));
}

/// The reason why the other codec is no foundation for a server: it lets an attacker add to a signed request.
#[test]
fn s_mi_03_only_ours_hides_an_attribute_appended_to_a_signed_message() {
    let kind = MessageType::new(Method::REFRESH, Class::Request);
    let bytes = ours(
        kind,
        TransactionId([5; 12]),
        &vec![],
        &[End::Integrity(Mac::Sha1), End::Lifetime],
    );
    let mut other = Theirs::new();
    other.unmarshal_binary(&bytes).unwrap();
    MessageIntegrity(key().as_bytes().to_vec())
        .check(&mut other)
        .unwrap();
    assert!(other.contains(AttrType(AttributeType::LIFETIME.0)));

    let message = Message::parse(&bytes).unwrap();
    let authenticated = message.authenticate(&key()).unwrap();
    assert_eq!(authenticated.attribute(AttributeType::LIFETIME), None);
}
