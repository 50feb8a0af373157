//! Messages taken off the wire: browsers, libwebrtc with turn-rs, Chrome with coturn.

use super::{parsed, rewritten, shown, text, vector_file};
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, channel_data,
};
use std::net::SocketAddr;

const LIBWEBRTC: &str = "captured-libwebrtc-vs-turn-rs";
const COTURN: &str = "captured-chrome-vs-coturn-allocate";

fn address(message: &Message<'_>, kind: AttributeType) -> SocketAddr {
    let attribute = message
        .attribute(kind)
        .unwrap_or_else(|| panic!("no {kind:?}"));
    attribute.xor_address(message.transaction()).unwrap()
}

fn type_of(message: &Message<'_>) -> MessageType {
    MessageType::new(message.method(), message.class())
}

#[test]
fn s_att_01_binding_requests_of_browsers_are_read_and_written_byte_for_byte() {
    let file = vector_file::open("captured-browser-binding-requests");
    let bare = file.message("Chrome-55.0.2883.91-20bytes");
    let origin = file.message("Chrome-55.0.2883.87-44bytes");
    let firefox = file.message("Firefox-50.0-28bytes");
    for bytes in [bare, origin, firefox] {
        let message = parsed(bytes);
        assert_eq!(
            type_of(&message),
            MessageType::new(Method::BINDING, Class::Request)
        );
        assert_eq!(message.mac(), None);
        assert_eq!(message.transaction().0, bytes[8..20]);
    }
    assert_eq!(shown(&parsed(bare)), []);
    assert_eq!(rewritten(&parsed(bare), |_| ()), bare);
    assert_eq!(shown(&parsed(origin)), [AttributeType::ORIGIN]);
    assert_eq!(
        parsed(origin)
            .attribute(AttributeType::ORIGIN)
            .unwrap()
            .value
            .len(),
        17
    );
    assert_eq!(rewritten(&parsed(origin), |_| ()), origin);
}

#[test]
fn s_fp_05_firefox_sends_nothing_but_a_fingerprint() {
    let file = vector_file::open("captured-browser-binding-requests");
    let bytes = file.message("Firefox-50.0-28bytes");
    let message = parsed(bytes);
    assert!(message.has_fingerprint());
    assert_eq!(shown(&message), [], "FINGERPRINT is checked, not shown");
    let ours = rewritten(&message, |writer| {
        writer.fingerprint();
    });
    assert_eq!(ours, bytes);
}

#[test]
fn s_att_07_origin_of_old_chrome_is_comprehension_optional() {
    let file = vector_file::open("captured-chrome-binding-with-origin");
    let bytes = file.message("message");
    let message = parsed(bytes);
    assert_eq!(file.parameter("attributes"), "0x802f(22)");
    assert_eq!(shown(&message), [AttributeType::ORIGIN]);
    assert!(!AttributeType::ORIGIN.is_comprehension_required());
    assert_eq!(
        message
            .attribute(AttributeType::ORIGIN)
            .unwrap()
            .value
            .len(),
        22
    );
    assert_eq!(rewritten(&message, |_| ()), bytes);
}

#[test]
fn s_mi_01_libwebrtc_and_turn_rs_sign_as_we_do() {
    let file = vector_file::open(LIBWEBRTC);
    let (user, realm) = (file.parameter("username"), file.parameter("realm"));
    let password = file.parameter("password").as_bytes();
    let key = Key::long_term(PasswordAlgorithm::Md5, user.as_bytes(), realm, password);
    assert_eq!(key.as_bytes(), file.bytes("key MD5(user1:localhost:test)"));
    let wrong = Key::long_term(PasswordAlgorithm::Md5, user.as_bytes(), realm, b"Test");

    use AttributeType as A;
    let requests = |first: &[AttributeType]| {
        let mut all = first.to_vec();
        all.extend([A::USERNAME, A::REALM, A::NONCE]);
        all
    };
    let signed = [
        (
            "AllocateRequest",
            0x0003,
            false,
            requests(&[A::REQUESTED_TRANSPORT]),
        ),
        (
            "AllocateResponse",
            0x0103,
            true,
            vec![
                A::XOR_RELAYED_ADDRESS,
                A::XOR_MAPPED_ADDRESS,
                A::LIFETIME,
                A::SOFTWARE,
            ],
        ),
        (
            "CreatePermissionRequest",
            0x0008,
            false,
            requests(&[A::XOR_PEER_ADDRESS]),
        ),
        ("CreatePermissionResponse", 0x0108, true, vec![]),
        (
            "ChannelBindRequest",
            0x0009,
            false,
            requests(&[A::CHANNEL_NUMBER, A::XOR_PEER_ADDRESS]),
        ),
        ("ChannelBindResponse", 0x0109, true, vec![]),
        ("RefreshRequest", 0x0004, false, requests(&[A::LIFETIME])),
        ("RefreshResponse", 0x0104, true, vec![A::LIFETIME]),
    ];
    for (label, kind, fingerprint, attributes) in signed {
        let bytes = file.message(label);
        let message = parsed(bytes);
        assert_eq!(type_of(&message).to_bits(), kind, "{label}");
        assert_eq!(message.has_fingerprint(), fingerprint, "{label}");
        assert_eq!(shown(&message), attributes, "{label}");
        assert!(message.authenticate(&wrong).is_none(), "{label}");
        let authenticated = message.authenticate(&key).expect(label);
        assert_eq!(authenticated.verified_by(), Mac::Sha1, "{label}");
        assert_eq!(shown(&authenticated), attributes, "{label}");
        let ours = rewritten(&message, |writer| {
            writer.integrity(Mac::Sha1, &key);
            if fingerprint {
                writer.fingerprint();
            }
        });
        assert_eq!(ours, bytes, "{label}");
    }
}

#[test]
fn s_att_14_values_in_the_libwebrtc_exchange_are_read() {
    let file = vector_file::open(LIBWEBRTC);
    let binding = parsed(file.message("BindingRequest"));
    assert_eq!(type_of(&binding).to_bits(), 0x0001);
    assert_eq!(shown(&binding), []);

    let bytes = file.message("BindingResponse");
    let answer = parsed(bytes);
    assert_eq!(answer.transaction(), binding.transaction());
    let mapped = address(&answer, AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped.to_string(), "127.0.0.1:51678");
    let plain = |kind| answer.attribute(kind).unwrap().address().unwrap();
    assert_eq!(plain(AttributeType::MAPPED_ADDRESS), mapped);
    assert_eq!(
        plain(AttributeType::RESPONSE_ORIGIN).to_string(),
        "127.0.0.1:3478"
    );
    assert_eq!(rewritten(&answer, |_| ()), bytes);

    let bytes = file.message("UnauthorizedAllocateRequest");
    let request = parsed(bytes);
    let transport = request
        .attribute(AttributeType::REQUESTED_TRANSPORT)
        .unwrap();
    assert_eq!(transport.requested_transport(), Ok(17));
    assert_eq!(rewritten(&request, |_| ()), bytes);

    let bytes = file.message("UnauthorizedAllocateResponse");
    let challenge = parsed(bytes);
    assert_eq!(
        type_of(&challenge),
        MessageType::new(Method::ALLOCATE, Class::Error)
    );
    let code = challenge.attribute(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(code.error_code(), Ok(401));
    assert_eq!(code.value[4..], *b"Unauthorized");
    let nonce = text(&challenge, AttributeType::NONCE);
    assert!(file.parameter("401 nonce").starts_with(nonce));
    let algorithms = challenge
        .attribute(AttributeType::PASSWORD_ALGORITHMS)
        .unwrap();
    assert_eq!(algorithms.value, [0, 1, 0, 0, 0, 2, 0, 0]);
    assert_eq!(rewritten(&challenge, |_| ()), bytes);

    let success = parsed(file.message("AllocateResponse"));
    let relayed = address(&success, AttributeType::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed.to_string(), "127.0.0.1:55616");
    assert_eq!(address(&success, AttributeType::XOR_MAPPED_ADDRESS), mapped);
    let lifetime = |message: &Message<'_>| {
        message
            .attribute(AttributeType::LIFETIME)
            .unwrap()
            .lifetime()
    };
    assert_eq!(lifetime(&success), Ok(600));
    assert_eq!(lifetime(&parsed(file.message("RefreshRequest"))), Ok(0));
    assert_eq!(lifetime(&parsed(file.message("RefreshResponse"))), Ok(0));

    let permission = parsed(file.message("CreatePermissionRequest"));
    assert_eq!(
        address(&permission, AttributeType::XOR_PEER_ADDRESS),
        relayed
    );
    let bind = parsed(file.message("ChannelBindRequest"));
    let number = bind.attribute(AttributeType::CHANNEL_NUMBER).unwrap();
    assert_eq!(number.channel_number(), Ok(0x4000));
    assert_eq!(address(&bind, AttributeType::XOR_PEER_ADDRESS), relayed);
}

#[test]
fn s_att_01_indications_carry_a_whole_message_in_data() {
    let file = vector_file::open(LIBWEBRTC);
    for (label, method) in [
        ("SendIndication", Method::SEND),
        ("DataIndication", Method::DATA),
    ] {
        let bytes = file.message(label);
        let outer = parsed(bytes);
        assert_eq!(type_of(&outer), MessageType::new(method, Class::Indication));
        assert_eq!(
            shown(&outer),
            [AttributeType::XOR_PEER_ADDRESS, AttributeType::DATA]
        );
        assert_eq!(
            outer.mac(),
            None,
            "{label}: what is inside does not count outside"
        );
        assert!(!outer.has_fingerprint());
        let data = outer.attribute(AttributeType::DATA).unwrap();
        assert_eq!(bytes[data.offset..][..data.value.len()], *data.value);
        let inner = parsed(data.value);
        assert_eq!(inner.mac(), Some(Mac::Sha1));
        assert!(inner.has_fingerprint());
        assert!(inner.attribute(AttributeType::GOOG_NETWORK_INFO).is_some());
        assert_eq!(rewritten(&outer, |_| ()), bytes);

        // The same in one buffer where the payload is sent behind the head.
        let mut buffer = [0; 64];
        let peer = address(&outer, AttributeType::XOR_PEER_ADDRESS);
        let length = hairpin::wire::Writer::new(&mut buffer, type_of(&outer), outer.transaction())
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .data_head(data.value.len())
            .finish()
            .unwrap();
        assert_eq!([&buffer[..length], data.value].concat(), bytes);
    }
}

#[test]
fn t_cd_02_captured_frames_are_channel_data() {
    let file = vector_file::open(LIBWEBRTC);
    let bytes = file.message("ChannelData");
    let (channel, payload) = channel_data::parse(bytes).unwrap();
    assert_eq!((channel.get(), payload.clone()), (0x4000, 4..14));
    assert_eq!(bytes[payload], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

    let file = vector_file::open("captured-chrome-channeldata");
    for (label, length) in [("channeldata-1", 0x64), ("channeldata-2", 547)] {
        let bytes = file.message(label);
        let (channel, payload) = channel_data::parse(bytes).expect(label);
        assert_eq!((channel.get(), payload.len()), (0x4000, length));
        assert_eq!(payload.end, bytes.len(), "{label} is not padded");
        assert_eq!(channel_data::header(channel, length).unwrap(), bytes[..4]);
    }
    let first = file.message("channeldata-1");
    let inner = parsed(&first[channel_data::parse(first).unwrap().1]);
    assert_eq!(
        type_of(&inner),
        MessageType::new(Method::BINDING, Class::Request)
    );
    assert!(inner.has_fingerprint() && inner.mac() == Some(Mac::Sha1));
}

#[test]
fn s_att_03_coturn_pads_with_whatever_lay_there() {
    let file = vector_file::open(COTURN);
    let request = parsed(file.message("allocate-1-no-auth"));
    assert_eq!(
        shown(&request),
        [AttributeType::ORIGIN, AttributeType::REQUESTED_TRANSPORT]
    );
    assert_eq!(
        rewritten(&request, |_| ()),
        file.message("allocate-1-no-auth")
    );

    let bytes = file.message("401");
    let challenge = parsed(bytes);
    assert_eq!(challenge.transaction(), request.transaction());
    let code = challenge.attribute(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(code.error_code(), Ok(401));
    assert_eq!(
        text(&challenge, AttributeType::NONCE),
        file.parameter("nonce")
    );
    let realm = challenge.attribute(AttributeType::REALM).unwrap();
    assert_eq!(realm.value, file.parameter("realm").as_bytes());
    let padding = realm.offset + realm.value.len();
    assert_eq!(bytes[padding], 0x75);
    assert_eq!(rewritten(&challenge, |_| ())[padding], 0, "ours is zero");

    let bytes = file.message("allocate-2-auth");
    let request = parsed(bytes);
    assert_eq!(
        text(&request, AttributeType::USERNAME),
        file.parameter("username")
    );
    assert_eq!(
        text(&request, AttributeType::REALM),
        file.parameter("realm")
    );
    assert_eq!(
        text(&request, AttributeType::NONCE),
        file.parameter("nonce")
    );
    assert_eq!(request.mac(), Some(Mac::Sha1));
    let mac = &bytes[bytes.len() - 20..];
    let again = rewritten(&request, |writer| {
        writer.attribute(AttributeType::MESSAGE_INTEGRITY, mac);
    });
    assert_eq!(again, bytes);

    let bytes = file.message("allocate-success");
    let success = parsed(bytes);
    assert_eq!(
        shown(&success),
        [
            AttributeType::XOR_RELAYED_ADDRESS,
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::LIFETIME,
            AttributeType::SOFTWARE,
        ]
    );
    assert_eq!(
        success
            .attribute(AttributeType::LIFETIME)
            .unwrap()
            .lifetime(),
        Ok(600)
    );
    assert_eq!(success.mac(), Some(Mac::Sha1));
    assert!(file.parameter("password").starts_with("unknown"));
}
