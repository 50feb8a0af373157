//! Headers and attributes: what is a message at all, and what of it counts.

use crate::client::{Ask, allocate, binding, permit, refresh};
use crate::world::{Setup, World, peer};
use hairpin::wire::{AttributeType, Class, Method};

const UNKNOWN: AttributeType = AttributeType(0x7001);

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn s_hdr_01_02_04_05_06_s_att_04_s_fp_02_03_what_is_no_message_gets_no_answer() {
    let mut world = World::new();
    let client = world.client(1);
    let messages = [
        "",
        "00",
        "000100002112a442000102030405060708090a",
        "800100002112a442000102030405060708090a0b",
        "400100002112a442000102030405060708090a0b",
        "c00100002112a442000102030405060708090a0b",
        "000100022112a442000102030405060708090a0b0000",
        "000100082112a442000102030405060708090a0b",
        "000100002112a442000102030405060708090a0b00000000",
        "00010000deadbeef000102030405060708090a0b",
        "00030008deadbeef000102030405060708090a0b0019000411000000",
        "000100082112a442000102030405060708090a0b0006000861626364",
        "000100082112a442000102030405060708090a0b8022ffff61626364",
        "000100092112a442000102030405060708090a0b000600056162636465",
        "0001fffc2112a442000102030405060708090a0b",
        "000100082112a442000102030405060708090a0b802800045b0ff600",
        // FINGERPRINT that is right but not last.
        "000100102112a442000102030405060708090a0b80280004c8bf0c9f8022000461626364",
    ];
    for message in messages {
        let reply = client.send_bytes(&mut world, &hex(message));
        assert_eq!(reply, None, "{message}");
    }
    // Every length that is not a multiple of four.
    for length in 0..64_u8 {
        let mut message = hex("000100002112a442000102030405060708090a0b");
        message[3] = length;
        message.resize(20 + usize::from(length), 0);
        let reply = client.send_bytes(&mut world, &message);
        assert_eq!(reply.is_some(), length % 4 == 0, "length {length}");
    }
}

#[test]
fn t_mux_01_only_stun_and_channel_data_are_looked_at() {
    let mut world = World::new();
    let client = world.client(1);
    let message = hex("000100002112a442000102030405060708090a0b");
    for first in 0..=255 {
        let mut bytes = message.clone();
        bytes[0] = first;
        let reply = client.send_bytes(&mut world, &bytes);
        assert_eq!(reply.is_some(), first == 0, "first byte {first}");
    }
}

#[test]
fn s_hdr_07_08_09_10_t_mux_02_what_no_method_defines_gets_no_answer() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    for bits in 0..0x4000_u16 {
        let answered = [0x0001, 0x0003, 0x0004, 0x0008, 0x0009].contains(&bits);
        let mut message = hex("000000002112a442000102030405060708090a0b");
        message[..2].copy_from_slice(&bits.to_be_bytes());
        let reply = client.send_bytes(&mut world, &message);
        assert_eq!(reply.is_some(), answered, "type {bits:04x}");
    }
    assert_eq!(world.live.len(), 1);
}

#[test]
fn s_hdr_11_answers_copy_transaction_and_method() {
    // `client_sends` compares them for every answer of all these tests; here is one that is an error.
    let mut world = World::new();
    let mut client = world.client(1);
    let bytes = client.unsigned(&refresh());
    let reply = client.send_bytes(&mut world, &bytes).unwrap();
    assert_eq!(reply.0[4..20], bytes[4..20]);
    assert_eq!(reply.message().method(), Method::REFRESH);
    assert_eq!(reply.message().class(), Class::Error);
}

#[test]
fn s_hdr_15_the_longest_answers_fit_548_bytes() {
    // `client_sends` measures each answer.
    let mut world = World::with(Setup {
        realm: "r".repeat(127),
        software: "a server with a name of 120 characters, which is more than anybody needs, but the attribute may be \
                   as long as that or so",
        ..Setup::default()
    });
    let mut client = world.v6_client(1);
    client.login.realm = "r".repeat(127);
    client.fingerprint = true;
    let reply = client.ask_unsigned(&mut world, &allocate()).unwrap();
    assert_eq!(reply.code(), 401);
    let reply = client.ask(&mut world, &allocate().family(2));
    assert_eq!(reply.code(), 0);
    let ask = (0..200).fold(refresh(), |ask, kind| {
        ask.raw(AttributeType(0x7000 + kind), b"")
    });
    assert_eq!(client.code(&mut world, &ask), 420);
}

#[test]
fn s_att_01_03_values_of_any_length_are_read_exactly_and_padding_may_be_anything() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    let kind = AttributeType::SOFTWARE;
    for length in 0..9 {
        let ask = allocate().raw(kind, &vec![b'x'; length]);
        let mut bytes = client.unsigned(&ask);
        // Padding of whatever is in it.
        bytes[28 + 4 + length..].fill(0x20);
        assert_eq!(
            client.send_bytes(&mut world, &bytes).unwrap().code(),
            401,
            "length {length}"
        );
    }
}

#[test]
fn s_att_02_x_cve_04_padding_in_answers_is_zero() {
    // `client_sends` fills the buffer with junk and looks at the padding of each answer.
    for realm in ["r", "re", "rea", "real"] {
        let mut world = World::with(Setup {
            realm: realm.into(),
            software: "12345",
            ..Setup::default()
        });
        let mut client = world.client(1);
        client.login.realm = realm.into();
        let reply = client.ask_unsigned(&mut world, &allocate()).unwrap();
        assert_eq!(reply.value(AttributeType::REALM).unwrap(), realm.as_bytes());
        client.allocated(&mut world);
    }
}

#[test]
fn s_att_05_the_first_of_a_repeated_attribute_counts() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate().lifetime(700).lifetime(1200);
    assert_eq!(client.ask(&mut world, &ask).lifetime(), 700);
    let mut client = world.client(2);
    let ask = allocate().raw(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn s_att_06_07_t_alloc_39_unknown_optional_attributes_do_not_disturb() {
    let mut world = World::new();
    let mut client = world.client(1);
    let with_all = |ask: Ask| {
        [0xFF05, 0xC057, 0x802F, 0xC059, 0x8004, 0x8022, 0x8000 + 77]
            .into_iter()
            .fold(ask, |ask, kind| ask.raw(AttributeType(kind), b"anything"))
    };
    let reply = client.ask_unsigned(&mut world, &with_all(binding()));
    assert_eq!(reply.unwrap().code(), 0);
    let ask = with_all(allocate());
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn s_att_08_09_a_binding_request_with_unknown_attributes_gets_420_and_their_list() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = [0x7001, 0x7002, 0x8099, 0x7003]
        .into_iter()
        .fold(binding(), |ask, kind| ask.raw(AttributeType(kind), b"abc"));
    let reply = client.ask_unsigned(&mut world, &ask).unwrap();
    assert_eq!(reply.code(), 420);
    let tail = &reply.0[reply.0.len() - 12..];
    assert_eq!(
        tail,
        hex("000a0006700170027003")
            .into_iter()
            .chain([0, 0])
            .collect::<Vec<_>>()
    );
}

#[test]
fn s_3489_04_s_disc_01_what_would_redirect_an_answer_is_refused() {
    let mut world = World::new();
    let mut client = world.client(1);
    let kinds = [
        AttributeType::RESPONSE_ADDRESS,
        AttributeType::CHANGE_REQUEST,
        AttributeType::RESPONSE_PORT,
        AttributeType::PADDING,
    ];
    for kind in kinds {
        let ask = binding().raw(kind, &[0; 4]);
        let reply = client.ask_unsigned(&mut world, &ask).unwrap();
        assert_eq!(reply.code(), 420);
        let listed = reply.value(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
        assert_eq!(listed, kind.0.to_be_bytes());
    }
}

#[test]
fn s_att_11_known_attributes_that_mean_nothing_here_are_ignored() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = binding()
        .raw(AttributeType::PRIORITY, &[0; 4])
        .raw(AttributeType::USE_CANDIDATE, b"")
        .raw(AttributeType::ICE_CONTROLLING, &[0; 8]);
    let reply = client.ask_unsigned(&mut world, &ask).unwrap();
    assert_eq!(reply.code(), 0);
    client.allocated(&mut world);
    let ask = permit(&[peer(1, 1)])
        .lifetime(7)
        .raw(AttributeType::XOR_MAPPED_ADDRESS, &[0; 8]);
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn s_att_12_13_s_mi_11_authentication_comes_before_420_and_signs_it() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = allocate().raw(UNKNOWN, b"abcd");
    let reply = client.ask_unsigned(&mut world, &ask).unwrap();
    assert_eq!(reply.code(), 401);
    assert!(!reply.has(AttributeType::UNKNOWN_ATTRIBUTES));
    let reply = client.ask(&mut world, &ask);
    assert_eq!(reply.code(), 420);
    assert!(reply.message().authenticate(&client.login.key()).is_some());
    let listed = reply.value(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(listed, [0x70, 0x01]);
}

#[test]
fn s_att_15_addresses_of_a_wrong_form_are_refused_and_the_first_byte_is_ignored() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    let wrong: [&[u8]; 6] = [
        &[0, 3, 1, 1, 1, 1, 1, 1],
        &[0, 0, 1, 1, 1, 1, 1, 1],
        &[0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        &[0, 2, 1, 1, 1, 1, 1, 1],
        &[0, 1, 1],
        &[],
    ];
    for value in wrong {
        let ask = Ask::new(Method::CREATE_PERMISSION).raw(AttributeType::XOR_PEER_ADDRESS, value);
        assert_eq!(client.code(&mut world, &ask), 400, "{value:?}");
    }
    let value = [0xFF, 1, 0x21 ^ 1, 0x12 ^ 1, 0x21 ^ 40, 0x12, 0xA4, 0x42 ^ 1];
    let ask = Ask::new(Method::CREATE_PERMISSION).raw(AttributeType::XOR_PEER_ADDRESS, &value);
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn s_att_19_attributes_of_a_wrong_length_are_refused() {
    let mut world = World::new();
    let mut client = world.client(1);
    let wrong = [
        (AttributeType::LIFETIME, 2),
        (AttributeType::LIFETIME, 8),
        (AttributeType::EVEN_PORT, 0),
        (AttributeType::EVEN_PORT, 4),
        (AttributeType::RESERVATION_TOKEN, 4),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, 1),
        (AttributeType::DONT_FRAGMENT, 4),
    ];
    for (kind, length) in wrong {
        let ask = allocate().raw(kind, &vec![1; length]);
        assert_eq!(client.code(&mut world, &ask), 400, "{kind:?} of {length}");
    }
    client.allocated(&mut world);
    let ask = refresh().raw(AttributeType::LIFETIME, &[1; 3]);
    assert_eq!(client.code(&mut world, &ask), 400);
    let ask = refresh().raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1; 3]);
    assert_eq!(client.code(&mut world, &ask), 400);
    let ask = permit(&[peer(1, 1)]);
    let ask = Ask {
        method: Method::CHANNEL_BIND,
        ..ask
    };
    for length in [0, 2, 8] {
        let ask = ask
            .clone()
            .raw(AttributeType::CHANNEL_NUMBER, &vec![0x40; length]);
        assert_eq!(client.code(&mut world, &ask), 400);
    }
}

#[test]
fn s_att_20_reserved_bits_are_ignored() {
    let mut world = World::new();
    let mut client = world.client(1);
    let ask = Ask::new(Method::ALLOCATE)
        .raw(AttributeType::REQUESTED_TRANSPORT, &[17, 0xAA, 0xBB, 0xCC])
        .raw(
            AttributeType::REQUESTED_ADDRESS_FAMILY,
            &[1, 0xAA, 0xBB, 0xCC],
        )
        .raw(AttributeType::EVEN_PORT, &[0x7F]);
    let reply = client.ask(&mut world, &ask);
    assert_eq!(reply.code(), 0);
    assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
    let ask = Ask::new(Method::CHANNEL_BIND)
        .number(AttributeType::CHANNEL_NUMBER, 0x4000_FFFF)
        .peer(peer(1, 1));
    assert_eq!(client.code(&mut world, &ask), 0);
}

#[test]
fn s_att_21_t_gen_11_software_is_in_authenticated_answers_only_and_can_be_off() {
    for software in ["", "hairpin test"] {
        let mut world = World::with(Setup {
            software,
            ..Setup::default()
        });
        let mut client = world.client(1);
        let bare = [binding(), allocate()];
        for ask in bare {
            let reply = client.ask_unsigned(&mut world, &ask).unwrap();
            assert!(!reply.has(AttributeType::SOFTWARE));
        }
        let asks = [allocate(), refresh(), permit(&[])];
        for ask in asks {
            let value = client
                .ask(&mut world, &ask)
                .value(AttributeType::SOFTWARE)
                .unwrap_or_default();
            assert_eq!(value, software.as_bytes());
        }
    }
}
