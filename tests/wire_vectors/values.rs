//! Tables of single values: message types, addresses, error codes, TURN attributes.

use super::{parsed, vector_file};
use hairpin::wire::attribute::{Family, Malformed};
use hairpin::wire::{
    AttributeType, Class, ErrorCode, Message, MessageType, Method, TransactionId, Writer, address,
};
use std::net::{IpAddr, SocketAddr};

fn hexadecimal(text: &str) -> u16 {
    u16::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// Writes one message with what `write` adds, and returns its attributes' bytes.
fn written(write: impl for<'w, 'b> FnOnce(&'w mut Writer<'b>) -> &'w mut Writer<'b>) -> Vec<u8> {
    let mut buffer = vec![0xEE; 1024];
    let kind = MessageType::new(Method::BINDING, Class::Error);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([9; 12]));
    write(&mut writer);
    let length = writer.finish().unwrap();
    buffer[20..length].to_vec()
}

/// A message that holds the attributes in `bytes`.
fn enclosed(bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0x01, 0x11, 0, u8::try_from(bytes.len()).unwrap()];
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend([9; 12]);
    message.extend(bytes);
    message
}

#[test]
fn s_hdr_03_method_and_class_interleave_as_in_every_row() {
    let names = [
        ("Binding", Method::BINDING),
        ("Allocate", Method::ALLOCATE),
        ("Refresh", Method::REFRESH),
        ("Send", Method::SEND),
        ("Data", Method::DATA),
        ("CreatePermission", Method::CREATE_PERMISSION),
        ("ChannelBind", Method::CHANNEL_BIND),
        ("Connect", Method::CONNECT),
        ("ConnectionBind", Method::CONNECTION_BIND),
        ("ConnectionAttempt", Method::CONNECTION_ATTEMPT),
        ("GOOG-PING", Method::GOOG_PING),
    ];
    let file = vector_file::open("derived-message-types");
    assert_eq!(file.parameters.len(), names.len() + 1);
    for (name, row) in &file.parameters {
        let words: Vec<&str> = row
            .split([' ', ':'])
            .filter(|word| !word.is_empty())
            .collect();
        let method = if let Some(code) = name.strip_prefix("max method ") {
            Method::new(hexadecimal(code)).unwrap()
        } else {
            let (_, method) = names.iter().find(|(known, _)| known == name).unwrap();
            assert_eq!(
                (words[0], hexadecimal(words[1])),
                ("method", method.code()),
                "{name}"
            );
            *method
        };
        for (class, word) in [
            (Class::Request, "request"),
            (Class::Indication, "indication"),
            (Class::Success, "success"),
            (Class::Error, "error"),
        ] {
            let at = words
                .iter()
                .position(|candidate| *candidate == word)
                .unwrap();
            let bits = hexadecimal(words[at + 1]);
            let kind = MessageType::new(method, class);
            assert_eq!(kind.to_bits(), bits, "{name} {word}");
            assert_eq!(MessageType::from_bits(bits), Some(kind), "{name} {word}");
        }
    }
}

#[test]
fn s_hdr_03_all_16_bit_values_map_to_one_type_or_to_none() {
    for bits in 0..=u16::MAX {
        match MessageType::from_bits(bits) {
            Some(kind) => assert_eq!((kind.to_bits(), bits >> 14), (bits, 0)),
            None => assert_ne!(bits >> 14, 0),
        }
    }
    assert_eq!(Method::new(0x1000), None);
}

#[test]
fn s_att_14_addresses_are_xored_as_in_every_row() {
    let file = vector_file::open("derived-xor-address-values");
    assert_eq!(file.parameters.len(), 7);
    for (row, value) in &file.parameters {
        let words: Vec<&str> = row.split(' ').collect();
        let [ip, "port", port, "tid", transaction] = words[..] else {
            panic!("{row}")
        };
        let ip: IpAddr = ip.parse().unwrap();
        let plain = SocketAddr::new(ip, port.parse().unwrap());
        let transaction = vector_file::unhex(transaction)
            .try_into()
            .map(TransactionId)
            .unwrap();
        let value = vector_file::unhex(value);
        assert_eq!(
            address::encode_xor(plain, transaction).as_bytes(),
            value,
            "{row}"
        );
        assert_eq!(
            address::decode_xor(&value, transaction),
            Some(plain),
            "{row}"
        );
    }
}

#[test]
fn s_att_09_error_codes_and_unknown_types_are_written_as_in_every_row() {
    let file = vector_file::open("derived-error-code-values");
    let mut unnamed = Vec::new();
    for (name, row) in &file.parameters {
        let expected = vector_file::unhex(row);
        let enclosed = enclosed(&expected);
        let attribute = parsed(&enclosed).attributes().next().unwrap();
        let known = |number: &str| {
            let number = number.parse::<u16>().unwrap();
            ErrorCode::ALL
                .iter()
                .copied()
                .find(|code| code.code() == number)
        };
        let bytes = if let Some((number, quoted)) = name.split_once(" with reason ") {
            assert_eq!(attribute.error_code(), Ok(number.parse().unwrap()));
            let code = known(number).unwrap();
            let reason = quoted.trim_matches('"');
            assert_eq!(reason, code.reason());
            written(|writer| writer.error_code(code, reason))
        } else if let Some(rest) = name.strip_prefix("ADDRESS-ERROR-CODE family ") {
            assert_eq!(attribute.kind, AttributeType::ADDRESS_ERROR_CODE);
            let (family, code) = match rest.split_once(' ') {
                Some(("IPv4", number)) => (Family::V4, known(number).unwrap()),
                Some(("IPv6", number)) => (Family::V6, known(number).unwrap()),
                _ => panic!("{name}"),
            };
            assert_eq!(attribute.error_code(), Ok(code.code()));
            let value = [
                family.code(),
                0,
                (code.code() / 100) as u8,
                (code.code() % 100) as u8,
            ];
            written(|writer| writer.attribute(attribute.kind, &value))
        } else if let Some(list) = name.strip_prefix("UNKNOWN-ATTRIBUTES [") {
            let list = list.split(']').next().unwrap();
            let kinds = list.split(',').map(|kind| AttributeType(hexadecimal(kind)));
            written(|writer| writer.unknown_attributes(kinds))
        } else {
            assert_eq!(attribute.error_code(), Ok(name.parse().unwrap()), "{name}");
            let Some(code) = known(name) else {
                unnamed.push(name.clone());
                continue;
            };
            written(|writer| writer.error_code(code, ""))
        };
        assert_eq!(bytes, expected, "{name}");
    }
    assert_eq!(
        unnamed,
        ["487"],
        "Role Conflict is between ICE peers, a server never sends it"
    );
}

#[test]
fn s_att_09_all_unknown_types_that_fit_an_answer_are_listed() {
    let kinds = || (0..128).map(|low| AttributeType(0x7000 + low));
    let bytes = written(|writer| writer.unknown_attributes(kinds()));
    assert_eq!(bytes[..4], [0x00, 0x0A, 0x01, 0x00]);
    let listed = bytes[4..]
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    assert!(listed.eq(kinds().map(|kind| kind.0)));
}

#[test]
fn s_att_17_a_reason_stays_below_128_characters_and_is_cut_between_characters() {
    for (reason, expected) in [
        ("x".repeat(127), "x".repeat(127)),
        ("x".repeat(128), "x".repeat(127)),
        (format!("{}é", "x".repeat(126)), "x".repeat(126)),
        (
            format!("{}é", "x".repeat(125)),
            format!("{}é", "x".repeat(125)),
        ),
        ("\u{1F98A}".repeat(40), "\u{1F98A}".repeat(31)),
    ] {
        let bytes = enclosed(&written(|writer| {
            writer.error_code(ErrorCode::BadRequest, &reason)
        }));
        let attribute = parsed(&bytes).attribute(AttributeType::ERROR_CODE).unwrap();
        assert_eq!(attribute.error_code(), Ok(400));
        assert_eq!(
            std::str::from_utf8(&attribute.value[4..]),
            Ok(&expected[..])
        );
    }
}

#[test]
fn s_att_19_turn_attributes_are_read_and_written_as_in_every_row() {
    use AttributeType as A;
    let file = vector_file::open("derived-turn-attributes");
    for (name, row) in &file.parameters {
        let expected = vector_file::unhex(row);
        let message = enclosed(&expected);
        let attribute = parsed(&message).attributes().next().unwrap();
        let raw = |kind: A, value: &[u8]| {
            assert_eq!(attribute.value, value, "{name}");
            written(|writer| writer.attribute(kind, value))
        };
        let word = name.split(' ').nth(1).unwrap_or_default();
        let bytes = match name.split(' ').next().unwrap() {
            "CHANNEL-NUMBER" => {
                assert_eq!(attribute.channel_number(), Ok(hexadecimal(word)));
                written(|writer| writer.number(A::CHANNEL_NUMBER, 0x4000_0000))
            }
            "LIFETIME" => {
                let seconds = word.parse().unwrap();
                assert_eq!(attribute.lifetime(), Ok(seconds));
                written(|writer| writer.number(A::LIFETIME, seconds))
            }
            "REQUESTED-TRANSPORT" => {
                let protocol = match word {
                    "UDP" => 17,
                    "TCP" => 6,
                    _ => 132,
                };
                assert_eq!(attribute.requested_transport(), Ok(protocol));
                raw(A::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])
            }
            "EVEN-PORT" => {
                assert_eq!(attribute.even_port_reserves(), Ok(word == "R=1"));
                raw(A::EVEN_PORT, &[if word == "R=1" { 0x80 } else { 0 }])
            }
            "DONT-FRAGMENT" => {
                assert_eq!(attribute.dont_fragment(), Ok(()));
                raw(A::DONT_FRAGMENT, &[])
            }
            "RESERVATION-TOKEN" => {
                assert_eq!(attribute.reservation_token(), Ok([1, 2, 3, 4, 5, 6, 7, 8]));
                raw(A::RESERVATION_TOKEN, &[1, 2, 3, 4, 5, 6, 7, 8])
            }
            "REQUESTED-ADDRESS-FAMILY" | "ADDITIONAL-ADDRESS-FAMILY" => {
                let family = if word == "IPv4" {
                    Family::V4
                } else {
                    Family::V6
                };
                assert_eq!(
                    attribute.address_family().map(Family::from_code),
                    Ok(Some(family))
                );
                raw(attribute.kind, &[family.code(), 0, 0, 0])
            }
            "ICMP" if word == "v4" => raw(A::ICMP, &[0, 0, 3, 4, 0, 0, 5, 0x78]),
            "ICMP" => raw(A::ICMP, &[0, 0, 1, 4, 0, 0, 0, 0]),
            "CONNECTION-ID" => raw(A::CONNECTION_ID, &[0xDE, 0xAD, 0xBE, 0xEF]),
            "MOBILITY-TICKET" => raw(A::MOBILITY_TICKET, &[]),
            "CHANGE-REQUEST" => {
                let flags = match word {
                    "ip+port" => 6,
                    "ip" => 4,
                    _ => 2,
                };
                raw(A::CHANGE_REQUEST, &[0, 0, 0, flags])
            }
            "RESPONSE-PORT" => raw(A::RESPONSE_PORT, &40000_u16.to_be_bytes()),
            "TRANSACTION_TRANSMIT_COUNTER" => raw(A::TRANSACTION_TRANSMIT_COUNTER, &[0, 0, 2, 0]),
            "DATA" if word == "empty" => raw(A::DATA, &[]),
            "DATA" => raw(A::DATA, b"abc"),
            other => panic!("no test reads {other}"),
        };
        assert_eq!(bytes, expected, "{name}");
        let label = attribute.kind.name().unwrap();
        assert_eq!(label, name.split(' ').next().unwrap());
    }
}

#[test]
fn s_att_19_s_att_20_a_wrong_length_is_malformed_and_reserved_bits_are_ignored() {
    let with = |value: &[u8], read: &dyn Fn(&hairpin::wire::Attribute<'_>)| {
        let bytes = enclosed(&written(|writer| {
            writer.attribute(AttributeType(0x0042), value)
        }));
        read(&parsed(&bytes).attributes().next().unwrap());
    };
    for length in 0..=12 {
        with(&vec![0xAA; length], &|attribute| {
            assert_eq!(attribute.lifetime().is_ok(), length == 4);
            assert_eq!(attribute.requested_transport().is_ok(), length == 4);
            assert_eq!(attribute.address_family().is_ok(), length == 4);
            assert_eq!(attribute.channel_number().is_ok(), length == 4);
            assert_eq!(attribute.even_port_reserves().is_ok(), length == 1);
            assert_eq!(attribute.reservation_token().is_ok(), length == 8);
            assert_eq!(attribute.dont_fragment().is_ok(), length == 0);
        });
    }
    with(&[0x11, 0xAA, 0xBB, 0xCC], &|attribute| {
        assert_eq!(attribute.requested_transport(), Ok(17));
        assert_eq!(attribute.address_family(), Ok(17));
        assert_eq!(attribute.channel_number(), Ok(0x11AA));
    });
    with(&[0x7F], &|attribute| {
        assert_eq!(attribute.even_port_reserves(), Ok(false))
    });
    with(&[0xFF, 0xFF, 0xFC, 1], &|attribute| {
        assert_eq!(attribute.error_code(), Ok(401))
    });
    with(&[0, 0, 4, 100], &|attribute| {
        assert_eq!(attribute.error_code(), Err(Malformed))
    });
    with(&[0, 0, 7, 0], &|attribute| {
        assert_eq!(attribute.error_code(), Err(Malformed))
    });
}

#[test]
fn s_att_06_named_types_are_distinct_and_in_ascending_order() {
    assert!(
        AttributeType::NAMED
            .windows(2)
            .all(|pair| pair[0] < pair[1])
    );
    let mut names: Vec<_> = AttributeType::NAMED
        .iter()
        .map(|kind| kind.name().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), AttributeType::NAMED.len());
}

#[test]
fn s_att_05_the_first_of_a_repeated_attribute_counts() {
    let bytes = enclosed(&written(|writer| {
        writer
            .number(AttributeType::LIFETIME, 700)
            .number(AttributeType::LIFETIME, 1200)
    }));
    let message: Message<'_> = parsed(&bytes);
    assert_eq!(
        message
            .attribute(AttributeType::LIFETIME)
            .unwrap()
            .lifetime(),
        Ok(700)
    );
    assert_eq!(
        message.attributes().count(),
        2,
        "where repetition has a meaning it can be read"
    );
}
