//! What holds for every message, address and frame, whatever is in it.

#![allow(clippy::unwrap_used)]

use hairpin::wire::stream::{Framing, MAX_FRAME, next_frame};
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, ErrorCode, Key, Mac, Message, MessageType, Method,
    TransactionId, Writer, address, channel_data, padded,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::SocketAddr;

fn any_type() -> impl Strategy<Value = MessageType> {
    (0..=0xFFF_u16, 0..4_usize).prop_map(|(method, class)| {
        MessageType::new(Method::new(method).unwrap(), Class::ALL[class])
    })
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

/// Any type but the three that end what is visible; named ones often.
fn ordinary_kind() -> impl Strategy<Value = AttributeType> {
    let named: Vec<_> = AttributeType::NAMED.to_vec();
    prop_oneof![
        proptest::sample::select(named),
        any::<u16>().prop_map(AttributeType)
    ]
    .prop_filter("ends the visible part", |kind| !ENDS.contains(kind))
}

const ENDS: [AttributeType; 3] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::FINGERPRINT,
];

type Attributes = Vec<(AttributeType, Vec<u8>)>;

fn any_attributes() -> impl Strategy<Value = Attributes> {
    vec((ordinary_kind(), vec(any::<u8>(), 0..80)), 0..12)
}

fn any_mac() -> impl Strategy<Value = Mac> {
    prop_oneof![Just(Mac::Sha1), Just(Mac::Sha256)]
}

fn any_key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 0..=Key::MAX_LENGTH).prop_map(|bytes| Key::from_bytes(&bytes).unwrap())
}

/// What stands behind the ordinary attributes of a message.
#[derive(Debug, Clone)]
struct Tail {
    integrity: Vec<(Mac, Key)>,
    fingerprint: bool,
}

fn any_tail() -> impl Strategy<Value = Tail> {
    (vec((any_mac(), any_key()), 0..3), any::<bool>()).prop_map(|(integrity, fingerprint)| Tail {
        integrity,
        fingerprint,
    })
}

fn write(
    buffer: &mut [u8],
    kind: MessageType,
    id: TransactionId,
    body: &Attributes,
    tail: &Tail,
) -> Option<usize> {
    let mut writer = Writer::new(buffer, kind, id);
    for (kind, value) in body {
        writer.attribute(*kind, value);
    }
    for (mac, key) in &tail.integrity {
        writer.integrity(*mac, key);
    }
    if tail.fingerprint {
        writer.fingerprint();
    }
    writer.finish().ok()
}

fn written(kind: MessageType, id: TransactionId, body: &Attributes, tail: &Tail) -> Vec<u8> {
    let mut buffer = vec![0xEE; 4096];
    let length = write(&mut buffer, kind, id, body, tail).unwrap();
    buffer.truncate(length);
    buffer
}

fn shown(message: &Message<'_>) -> Attributes {
    message
        .attributes()
        .map(|attribute| (attribute.kind, attribute.value.to_vec()))
        .collect()
}

/// Frames as a client sends them on a stream, padding included.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let message = (any_type(), any_transaction(), any_attributes(), any_tail())
        .prop_map(|(kind, id, body, tail)| written(kind, id, &body, &tail));
    let channel_data =
        (0x4000..=0x4FFF_u16, vec(any::<u8>(), 0..300)).prop_map(|(number, data)| {
            let channel = ChannelNumber::new(number).unwrap();
            let mut frame = channel_data::header(channel, data.len()).unwrap().to_vec();
            frame.extend(data);
            frame
        });
    prop_oneof![message, channel_data]
}

proptest! {
    #[test]
    fn s_att_01_a_written_message_reads_back_as_it_was_meant(
        kind in any_type(), id in any_transaction(), body in any_attributes(), tail in any_tail(),
    ) {
        let bytes = written(kind, id, &body, &tail);
        prop_assert_eq!(bytes.len() % 4, 0);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(MessageType::new(message.method(), message.class()), kind);
        prop_assert_eq!(message.transaction(), id);
        prop_assert_eq!(shown(&message), body);
        prop_assert_eq!(message.has_fingerprint(), tail.fingerprint);
        let used = tail.integrity.iter().find(|(mac, _)| *mac == Mac::Sha256)
            .or(tail.integrity.first());
        prop_assert_eq!(message.mac(), used.map(|(mac, _)| *mac));
        if let Some((mac, key)) = used {
            let verified = message.authenticate(key);
            prop_assert_eq!(verified.map(|verified| verified.verified_by()), Some(*mac));
        }
    }

    #[test]
    fn s_mi_01_one_changed_bit_in_front_of_the_integrity_is_noticed(
        kind in any_type(), id in any_transaction(), body in any_attributes(),
        mac in any_mac(), key in any_key(), at in any::<proptest::sample::Index>(), bit in 0..8_u8,
    ) {
        let tail = Tail { integrity: vec![(mac, key)], fingerprint: false };
        let mut bytes = written(kind, id, &body, &tail);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let verified = Message::parse(&bytes).ok().and_then(|message| message.authenticate(&key));
        prop_assert!(verified.is_none());
    }

    #[test]
    fn s_mi_03_what_is_appended_to_a_signed_message_is_never_shown(
        kind in any_type(), id in any_transaction(), body in any_attributes(),
        mac in any_mac(), key in any_key(), appended in any_attributes(),
    ) {
        let mut buffer = vec![0; 8192];
        let mut writer = Writer::new(&mut buffer, kind, id);
        for (kind, value) in &body {
            writer.attribute(*kind, value);
        }
        writer.integrity(mac, &key);
        for (kind, value) in &appended {
            writer.attribute(*kind, value);
        }
        let length = writer.finish().unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        prop_assert_eq!(shown(&message), body.clone());
        prop_assert_eq!(shown(&message.authenticate(&key).unwrap()), body);
    }

    #[test]
    fn s_att_14_addresses_survive_coding(address in any_address(), id in any_transaction()) {
        let plain = address::encode(address);
        let hidden = address::encode_xor(address, id);
        for value in [plain.as_bytes(), hidden.as_bytes()] {
            prop_assert_eq!(value.len(), if address.is_ipv4() { 8 } else { 20 });
            prop_assert_eq!(value[..2].to_vec(), vec![0, if address.is_ipv4() { 1 } else { 2 }]);
        }
        prop_assert_eq!(address::decode(plain.as_bytes()), Some(address));
        prop_assert_eq!(address::decode_xor(hidden.as_bytes(), id), Some(address));

        let mut buffer = [0; 80];
        let kind = MessageType::new(Method::BINDING, Class::Success);
        let length = Writer::new(&mut buffer, kind, id)
            .address(AttributeType::MAPPED_ADDRESS, address)
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, address)
            .finish()
            .unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        let get = |kind| message.attribute(kind).unwrap();
        prop_assert_eq!(get(AttributeType::MAPPED_ADDRESS).address(), Ok(address));
        prop_assert_eq!(get(AttributeType::XOR_MAPPED_ADDRESS).xor_address(id), Ok(address));
    }

    #[test]
    fn s_att_15_an_address_of_any_other_length_is_malformed(value in vec(any::<u8>(), 0..40)) {
        let fits = matches!((value.len(), value.get(1)), (8, Some(1)) | (20, Some(2)));
        prop_assert_eq!(address::decode(&value).is_some(), fits);
        prop_assert_eq!(address::decode_xor(&value, TransactionId([3; 12])).is_some(), fits);
    }

    #[test]
    fn t_cd_02_channel_data_survives_coding_with_any_padding(
        number in 0x4000..=0x4FFF_u16, data in vec(any::<u8>(), 0..2000), padding in vec(any::<u8>(), 0..9),
    ) {
        let channel = ChannelNumber::new(number).unwrap();
        let mut frame = channel_data::header(channel, data.len()).unwrap().to_vec();
        frame.extend(&data);
        frame.extend(&padding);
        let (read, payload) = channel_data::parse(&frame).unwrap();
        prop_assert_eq!(read, channel);
        prop_assert_eq!(&frame[payload], &data[..]);
        for short in 0..4 + data.len().min(40) {
            prop_assert!(channel_data::parse(&frame[..short.min(3 + data.len())]).is_none());
        }
    }

    #[test]
    fn s_tcp_01_t_cd_13_a_stream_gives_the_same_frames_wherever_it_is_cut(
        frames in vec(any_frame(), 0..8), cuts in vec(1..400_usize, 1..20), dirt in any::<u8>(),
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            stream.extend(frame);
            // A receiver ignores what the padding is.
            stream.resize(padded(stream.len()), dirt);
        }
        let mut found = Vec::new();
        let (mut start, mut end) = (0, 0);
        for cut in cuts.iter().cycle() {
            end = stream.len().min(end + cut);
            loop {
                match next_frame(&stream[start..end]) {
                    Framing::Complete { length, consumed } => {
                        found.push(stream[start..start + length].to_vec());
                        start += consumed;
                    }
                    Framing::Partial { needed } => {
                        prop_assert!(needed > end - start && needed <= MAX_FRAME);
                        break;
                    }
                    Framing::Invalid => prop_assert!(false, "invalid at {start}"),
                }
            }
            if end == stream.len() {
                break;
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert_eq!(start, stream.len());
    }

    #[test]
    fn s_att_04_no_bytes_make_the_readers_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
        let mut headed = vec![0x00, 0x01, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        headed.extend(bytes);
        let length = headed.len().saturating_sub(20) as u16 & !3;
        headed[2..4].copy_from_slice(&length.to_be_bytes());
        headed.resize(20 + usize::from(length), 0);
        read_everything(&headed);
    }

    #[test]
    fn s_mi_03_a_changed_message_still_shows_nothing_behind_its_integrity(
        kind in any_type(), id in any_transaction(), body in any_attributes(), tail in any_tail(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = written(kind, id, &body, &tail);
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        read_everything(&bytes);
        read_everything(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_buffer_of_any_size_is_either_enough_or_reported_as_too_small(
        kind in any_type(), id in any_transaction(), body in any_attributes(), tail in any_tail(),
        size in 0..1200_usize, list in 0..200_u16, reason in ".{0,200}", data in 0..70_000_usize,
    ) {
        let whole = written(kind, id, &body, &tail);
        let mut buffer = vec![0xEE; size];
        match write(&mut buffer, kind, id, &body, &tail) {
            Some(length) => {
                prop_assert!(size >= whole.len());
                prop_assert_eq!(&buffer[..length], &whole[..]);
                prop_assert!(buffer[length..].iter().all(|byte| *byte == 0xEE));
            }
            None => prop_assert!(size < whole.len()),
        }
        let mut writer = Writer::new(&mut buffer, kind, id);
        writer
            .number(AttributeType::LIFETIME, 600)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, ([192, 0, 2, 1], 9).into())
            .error_code(ErrorCode::ServerError, &reason)
            .unknown_attributes((0..list).map(AttributeType))
            .data_head(data);
        if let Ok(length) = writer.finish() {
            prop_assert!(length <= size);
            // As the caller does: the payload and its padding behind the head.
            let mut message = buffer[..length].to_vec();
            message.resize(length + padded(data), 0);
            prop_assert!(Message::parse(&message).is_ok());
        }
    }

    #[test]
    fn s_att_02_padding_is_zero_whatever_the_buffer_held(
        kind in any_type(), id in any_transaction(), body in any_attributes(), held in any::<u8>(),
    ) {
        let tail = Tail { integrity: vec![], fingerprint: false };
        let mut buffer = vec![held; 4096];
        let length = write(&mut buffer, kind, id, &body, &tail).unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        for attribute in message.attributes() {
            let end = attribute.offset + attribute.value.len();
            prop_assert!(buffer[end..padded(end)].iter().all(|byte| *byte == 0));
        }
    }
}

/// Reads all there is to read and checks what holds for any bytes.
fn read_everything(bytes: &[u8]) {
    let _ = next_frame(bytes);
    let _ = channel_data::parse(bytes);
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let mut last = 20;
    for attribute in message.attributes() {
        assert!(!ENDS.contains(&attribute.kind));
        assert_eq!(attribute.offset, last + 4);
        last = attribute.offset + padded(attribute.value.len());
        let _ = attribute.error_code();
        let _ = attribute.xor_address(message.transaction());
        let _ = attribute.address();
        let _ = format!("{attribute:?}");
    }
    // The next attribute, if there is one, is the one that ended what is visible.
    if let Some(kind) = bytes.get(last..last + 2) {
        assert!(
            ENDS.map(|end| end.0.to_be_bytes())
                .contains(&[kind[0], kind[1]])
        );
    } else {
        assert!(message.mac().is_none() && !message.has_fingerprint());
    }
    let _ = message.authenticate(&Key::from_bytes(b"key").unwrap());
}

#[test]
fn a_message_longer_than_stun_can_count_is_reported() {
    let kind = MessageType::new(Method::DATA, Class::Indication);
    let mut buffer = vec![0; 0x2_0000];
    for (length, fits) in [
        (0xFFFC - 4, true),
        (0xFFFC - 3, false),
        (0xFFFF, false),
        (0x1_0000, false),
    ] {
        let value = vec![7; length];
        let result = Writer::new(&mut buffer, kind, TransactionId::default())
            .attribute(AttributeType::DATA, &value)
            .finish();
        assert_eq!(result.is_ok(), fits, "{length}");
        let head = Writer::new(&mut buffer, kind, TransactionId::default())
            .data_head(length)
            .finish();
        assert_eq!(head.is_ok(), fits, "{length}");
    }
    // The attribute that no longer fits is integrity or fingerprint.
    let key = Key::from_bytes(b"key").unwrap();
    let value = vec![7; 0xFFFC - 4];
    for result in [
        Writer::new(&mut buffer, kind, TransactionId::default())
            .attribute(AttributeType::DATA, &value)
            .integrity(Mac::Sha1, &key)
            .finish(),
        Writer::new(&mut buffer, kind, TransactionId::default())
            .attribute(AttributeType::DATA, &value)
            .fingerprint()
            .finish(),
    ] {
        assert!(result.is_err());
    }
}
