//! What the engine answers, from which of the four addresses, and where to.

use hairpin::auth::{AuthSettings, Authenticator, NonceKeys};
use hairpin::engine::binding::MAX_PADDING;
use hairpin::engine::{
    ClientPath, Counters, Discovery, Engine, FiveTuple, Instant, Link, Now, Outcome, REPLY_LENGTH,
    RelayPool, Rules, Shared, Site, Transport, WorkerId,
};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::{AttributeType, Class, Message, MessageType, Method, TransactionId, Writer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CLIENT: &str = "30.0.0.1:40000";
const PRIMARY: &str = "20.0.0.1:3478";
const ALTERNATE: &str = "20.0.0.2:3479";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn site() -> Site {
    Site::new(address(PRIMARY), address(ALTERNATE)).unwrap()
}

struct Bench {
    engine: Engine,
    now: Now,
}

impl Bench {
    fn new(sites: impl IntoIterator<Item = Site>) -> Bench {
        let rules = Rules {
            software: "hairpin".into(),
            discovery: Discovery::new(sites),
            ..Rules::new(
                Authenticator::new(AuthSettings {
                    realm: "example.org".into(),
                    users: Vec::new(),
                    secrets: Vec::new(),
                    ..AuthSettings::default()
                })
                .unwrap(),
                NonceKeys::new([7; 32], 3600),
                PeerFilter::new(PeerRules::default()),
            )
        };
        let shared = Shared::new(
            rules,
            Limits::default(),
            RelayPool::new(&[], 49152..=65535, Duration::ZERO),
        );
        Bench {
            engine: Engine::new(WorkerId(0), shared, Arc::new(Counters::default()), [1; 32]),
            now: Now {
                instant: Instant::from_millis(10_000_000),
                unix: 1_700_000_000,
            },
        }
    }

    fn on() -> Bench {
        Bench::new([site()])
    }

    /// Sends a request over a 5-tuple; what comes back.
    fn ask(&mut self, tuple: FiveTuple, request: &[u8]) -> Answer {
        let link = match tuple.transport() {
            Transport::Udp | Transport::Dtls => Link::Datagram(0),
            Transport::Tcp | Transport::Tls => Link::Stream(0),
        };
        let mut reply = [0xAA; REPLY_LENGTH];
        let path = ClientPath { tuple, link };
        let outcome = self
            .engine
            .from_client(self.now, &path, request, &mut reply);
        assert!(self.engine.next_event().is_none(), "Binding has no effects");
        assert_eq!(self.engine.next_deadline(), None, "Binding leaves no state");
        let (from, to, length) = match outcome {
            Outcome::Reply(length) => (tuple.server(), tuple.client(), length),
            Outcome::ReplyFrom { from, to, length } => (from, to, length),
            other => panic!("no answer: {other:?}"),
        };
        let bytes = reply[..length].to_vec();
        Answer { from, to, bytes }
    }

    /// Over UDP, from the usual client.
    fn udp(&mut self, server: &str, request: &[u8]) -> Answer {
        let tuple = FiveTuple::new(address(CLIENT), address(server), Transport::Udp);
        self.ask(tuple, request)
    }
}

struct Answer {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).unwrap()
    }

    /// 0 for a success.
    fn code(&self) -> u16 {
        let message = self.message();
        match message.class() {
            Class::Success => 0,
            _ => message
                .attribute(AttributeType::ERROR_CODE)
                .unwrap()
                .error_code()
                .unwrap(),
        }
    }

    fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        let attribute = self.message().attribute(kind)?;
        Some(attribute.address().unwrap())
    }

    fn mapped(&self) -> SocketAddr {
        let message = self.message();
        let attribute = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
        attribute
            .unwrap()
            .xor_address(message.transaction())
            .unwrap()
    }

    fn kinds(&self) -> Vec<AttributeType> {
        self.message().attributes().map(|a| a.kind).collect()
    }

    /// The types in UNKNOWN-ATTRIBUTES.
    fn unknown(&self) -> Vec<u16> {
        let message = self.message();
        let attribute = message
            .attribute(AttributeType::UNKNOWN_ATTRIBUTES)
            .unwrap();
        attribute
            .value
            .chunks(2)
            .map(|kind| u16::from_be_bytes([kind[0], kind[1]]))
            .collect()
    }
}

fn binding(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([9; 12]));
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

fn change(flags: u8) -> Vec<u8> {
    binding(&[(AttributeType::CHANGE_REQUEST, &[0, 0, 0, flags])])
}

/// The four sockets, each with its opposite.
const SOCKETS: [(&str, &str); 4] = [
    ("20.0.0.1:3478", "20.0.0.2:3479"),
    ("20.0.0.1:3479", "20.0.0.2:3478"),
    ("20.0.0.2:3478", "20.0.0.1:3479"),
    ("20.0.0.2:3479", "20.0.0.1:3478"),
];

#[test]
fn s_disc_01_without_a_second_address_discovery_is_unknown() {
    let mut bench = Bench::new([]);
    let plain = bench.udp(PRIMARY, &binding(&[]));
    assert_eq!(plain.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    for (kind, value) in [
        (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 0][..]),
        (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]),
        (AttributeType::PADDING, &[0; 8]),
        (AttributeType::RESPONSE_PORT, &[0x9C, 0x40]),
    ] {
        let answer = bench.udp(PRIMARY, &binding(&[(kind, value)]));
        assert_eq!((answer.code(), answer.unknown()), (420, vec![kind.0]));
        assert_eq!(
            (answer.from, answer.to),
            (address(PRIMARY), address(CLIENT))
        );
    }
}

#[test]
fn s_disc_01_other_sockets_of_the_server_offer_nothing() {
    let mut bench = Bench::on();
    for elsewhere in ["20.0.0.1:3480", "20.0.0.3:3478", "[2600:1::1]:3478"] {
        let plain = bench.udp(elsewhere, &binding(&[]));
        assert_eq!(plain.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
        let answer = bench.udp(elsewhere, &change(6));
        assert_eq!((answer.code(), answer.unknown()), (420, vec![3]));
    }
}

#[test]
fn s_disc_02_03_04_sixteen_sources_of_answers() {
    let mut bench = Bench::on();
    for (reached, opposite) in SOCKETS {
        let (d, c) = (address(reached), address(opposite));
        for (flags, source) in [
            (0x0, d),
            (0x2, SocketAddr::new(d.ip(), c.port())),
            (0x4, SocketAddr::new(c.ip(), d.port())),
            (0x6, c),
        ] {
            let answer = bench.udp(reached, &change(flags));
            assert_eq!(answer.code(), 0);
            assert_eq!(answer.from, source, "{reached} with flags {flags}");
            assert_eq!(answer.to, address(CLIENT));
            assert_eq!(answer.mapped(), address(CLIENT));
            let told = |kind| answer.address(kind);
            assert_eq!(told(AttributeType::RESPONSE_ORIGIN), Some(source));
            assert_eq!(told(AttributeType::OTHER_ADDRESS), Some(c));
        }
    }
}

#[test]
fn s_disc_02_bits_of_change_request_without_a_meaning_are_ignored() {
    let mut bench = Bench::on();
    let request = binding(&[(AttributeType::CHANGE_REQUEST, &[0xFF, 0xFF, 0xFF, 0xF9])]);
    assert_eq!(bench.udp(PRIMARY, &request).from, address(PRIMARY));
    for wrong in [&[][..], &[6], &[0, 0, 0, 6, 0]] {
        let request = binding(&[(AttributeType::CHANGE_REQUEST, wrong)]);
        assert_eq!(bench.udp(PRIMARY, &request).code(), 400);
    }
}

#[test]
fn s_disc_05_06_a_bare_request_is_told_both_mapped_addresses_origin_and_other() {
    let mut bench = Bench::on();
    let answer = bench.udp(PRIMARY, &binding(&[]));
    assert_eq!(answer.mapped(), address(CLIENT));
    assert_eq!(
        answer.address(AttributeType::MAPPED_ADDRESS),
        Some(address(CLIENT))
    );
    let told = |kind| answer.address(kind);
    assert_eq!(told(AttributeType::RESPONSE_ORIGIN), Some(address(PRIMARY)));
    assert_eq!(told(AttributeType::OTHER_ADDRESS), Some(address(ALTERNATE)));
    assert_eq!(answer.kinds().len(), 4);
    assert_eq!(answer.bytes.len(), 68);
}

#[test]
fn s_disc_03_04_behind_1_1_nat_clients_are_told_the_outer_addresses() {
    let inner = Site::new(address("10.0.0.1:3478"), address("10.0.0.2:3479")).unwrap();
    let outer = ["20.0.0.1", "20.0.0.2"].map(|ip| ip.parse().unwrap());
    let mut bench = Bench::new([inner.known_as(outer[0], outer[1])]);
    let answer = bench.udp("10.0.0.1:3478", &change(4));
    assert_eq!(
        answer.from,
        address("10.0.0.2:3478"),
        "it is sent from here"
    );
    let told = |kind| answer.address(kind);
    assert_eq!(
        told(AttributeType::RESPONSE_ORIGIN),
        Some(address("20.0.0.2:3478"))
    );
    assert_eq!(told(AttributeType::OTHER_ADDRESS), Some(address(ALTERNATE)));
}

#[test]
fn each_family_has_its_own_addresses() {
    let v6 = Site::new(address("[2600:1::1]:3478"), address("[2600:1::2]:3479")).unwrap();
    let mut bench = Bench::new([site(), v6]);
    let client = address("[2600:3::1]:40000");
    let tuple = FiveTuple::new(client, address("[2600:1::1]:3478"), Transport::Udp);
    let answer = bench.ask(tuple, &change(6));
    assert_eq!(answer.from, address("[2600:1::2]:3479"));
    assert_eq!((answer.to, answer.mapped()), (client, client));
    assert_eq!(bench.udp(PRIMARY, &change(6)).from, address(ALTERNATE));
}

#[test]
fn s_disc_07_padding_is_answered_with_padding_of_an_mtu_but_never_more_than_was_sent() {
    let mut bench = Bench::on();
    for (sent, padding) in [
        (0, 0),
        (1, 4),
        (100, 100),
        (1499, MAX_PADDING),
        (1500, MAX_PADDING),
        (3000, MAX_PADDING),
    ] {
        let request = binding(&[(AttributeType::PADDING, &vec![0x55; sent])]);
        let answer = bench.udp(PRIMARY, &request);
        let attribute = answer.message().attribute(AttributeType::PADDING).unwrap();
        assert_eq!(attribute.value.len(), padding, "{sent} bytes sent");
        assert!(attribute.value.iter().all(|byte| *byte == 0));
        assert!(answer.bytes.len() <= request.len() + 48, "no amplifier");
        assert_eq!(answer.from, address(PRIMARY));
    }
    let padded = [(AttributeType::PADDING, &[0; 1500][..])];
    assert!(bench.udp(PRIMARY, &binding(&padded)).bytes.len() > 1500);
}

#[test]
fn s_disc_07_padding_goes_with_change_request_and_fingerprint() {
    let mut buffer = [0; 4096];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([9; 12]));
    writer
        .attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6])
        .attribute(AttributeType::PADDING, &[0; 1500])
        .fingerprint();
    let length = writer.finish().unwrap();
    let answer = Bench::on().udp(PRIMARY, &buffer[..length]);
    assert_eq!(answer.from, address(ALTERNATE));
    assert!(answer.message().has_fingerprint());
    assert!(answer.kinds().contains(&AttributeType::PADDING));
}

#[test]
fn s_disc_08_padding_and_response_port_together_are_refused() {
    let mut bench = Bench::on();
    let port = (AttributeType::RESPONSE_PORT, &[0x9C, 0x40][..]);
    let padding = (AttributeType::PADDING, &[0; 4][..]);
    for both in [[port, padding], [padding, port]] {
        let answer = bench.udp(PRIMARY, &binding(&both));
        assert_eq!((answer.code(), answer.to), (400, address(CLIENT)));
    }
}

#[test]
fn s_disc_09_d8_an_answer_goes_to_the_port_that_was_asked_for() {
    let mut bench = Bench::on();
    for value in [&[0xC3, 0x50][..], &[0xC3, 0x50, 0, 0], &[0xC3, 0x50, 1, 2]] {
        let answer = bench.udp(PRIMARY, &binding(&[(AttributeType::RESPONSE_PORT, value)]));
        assert_eq!(answer.to, address("30.0.0.1:50000"));
        assert_eq!(answer.from, address(PRIMARY));
        assert_eq!(answer.mapped(), address(CLIENT), "where it came from");
    }
    let change = (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 2][..]);
    let port = (AttributeType::RESPONSE_PORT, &[0xC3, 0x50][..]);
    let answer = bench.udp(PRIMARY, &binding(&[change, port]));
    assert_eq!(answer.to, address("30.0.0.1:50000"));
    assert_eq!(answer.from, address("20.0.0.1:3479"));
    for wrong in [
        &[][..],
        &[0xC3],
        &[0xC3, 0x50, 0],
        &[0, 0, 0, 0, 0xC3, 0x50],
    ] {
        let answer = bench.udp(PRIMARY, &binding(&[(AttributeType::RESPONSE_PORT, wrong)]));
        assert_eq!((answer.code(), answer.to), (400, address(CLIENT)));
    }
}

#[test]
fn s_disc_09_12_no_answer_goes_to_a_system_port_that_did_not_ask() {
    let mut bench = Bench::on();
    let to = |port: u16| binding(&[(AttributeType::RESPONSE_PORT, &port.to_be_bytes())]);
    for port in [0, 53, 1023] {
        let answer = bench.udp(PRIMARY, &to(port));
        assert_eq!((answer.code(), answer.to), (400, address(CLIENT)));
    }
    let low = FiveTuple::new(address("30.0.0.1:53"), address(PRIMARY), Transport::Udp);
    let answer = bench.ask(low, &to(53));
    assert_eq!((answer.code(), answer.to), (0, address("30.0.0.1:53")));
    assert_eq!(bench.udp(PRIMARY, &to(1024)).code(), 0);
}

#[test]
fn s_disc_11_over_anything_but_plain_udp_discovery_is_unknown() {
    let mut bench = Bench::on();
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let tuple = FiveTuple::new(address(CLIENT), address(PRIMARY), transport);
        let answer = bench.ask(tuple, &change(2));
        assert_eq!((answer.code(), answer.unknown()), (420, vec![3]));
        let plain = bench.ask(tuple, &binding(&[]));
        assert_eq!(plain.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    }
}

#[test]
fn what_a_proxy_passed_on_is_answered_the_way_it_came() {
    let mut bench = Bench::on();
    let path = ClientPath {
        tuple: FiveTuple::new(address(CLIENT), address(PRIMARY), Transport::Udp),
        link: Link::Proxied {
            listener: 0,
            proxy: address("10.0.0.9:1234"),
            local: "10.0.0.1".parse().unwrap(),
        },
    };
    let mut reply = [0; REPLY_LENGTH];
    let outcome = bench
        .engine
        .from_client(bench.now, &path, &change(6), &mut reply);
    let Outcome::Reply(length) = outcome else {
        panic!("{outcome:?}");
    };
    let refusal = Message::parse(&reply[..length]).unwrap();
    assert_eq!(refusal.class(), Class::Error);
}

#[test]
fn s_disc_12_whatever_is_asked_the_answer_goes_to_the_host_that_asked() {
    let mut bench = Bench::on();
    let ports: [&[u8]; 3] = [&[0xC3, 0x50], &[0xC3, 0x50, 0, 0], &[0, 7]];
    for flags in [0, 2, 4, 6, 0xFF] {
        let change = (AttributeType::CHANGE_REQUEST, &[0, 0, 0, flags][..]);
        let client = address(CLIENT);
        let padded = bench.udp(
            PRIMARY,
            &binding(&[change, (AttributeType::PADDING, &[0; 64])]),
        );
        assert_eq!(padded.to, client);
        for port in ports {
            let request = binding(&[change, (AttributeType::RESPONSE_PORT, port)]);
            assert_eq!(bench.udp(PRIMARY, &request).to.ip(), client.ip());
        }
        // RFC 3489's attribute for sending answers to third parties.
        let victim = [0, 1, 0, 80, 40, 0, 0, 1];
        let request = binding(&[change, (AttributeType::RESPONSE_ADDRESS, &victim)]);
        let answer = bench.udp(PRIMARY, &request);
        assert_eq!((answer.code(), answer.unknown()), (420, vec![2]));
        assert_eq!((answer.from, answer.to), (address(PRIMARY), client));
    }
}

#[test]
fn s_disc_10_answers_never_name_an_alternate_server() {
    let mut bench = Bench::on();
    for request in [
        binding(&[]),
        change(6),
        binding(&[(AttributeType::PADDING, &[0; 1500])]),
        binding(&[(AttributeType::RESPONSE_PORT, &[0xC3, 0x50])]),
        binding(&[(AttributeType::RESPONSE_PORT, &[0, 1])]),
    ] {
        let kinds = bench.udp(PRIMARY, &request).kinds();
        assert!(!kinds.contains(&AttributeType::ALTERNATE_SERVER));
    }
}

#[test]
fn unknown_attributes_are_still_refused_and_only_they_are_named() {
    let mut bench = Bench::on();
    let request = binding(&[
        (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]),
        (AttributeType(0x7001), b"what"),
    ]);
    let answer = bench.udp(PRIMARY, &request);
    assert_eq!((answer.code(), answer.unknown()), (420, vec![0x7001]));
    assert_eq!(
        answer.from,
        address(PRIMARY),
        "errors come from where was asked"
    );
}

#[test]
fn other_requests_do_not_know_the_attributes_of_discovery() {
    let mut buffer = [0; 512];
    let kind = MessageType::new(Method::ALLOCATE, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([9; 12]));
    writer.attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]);
    let length = writer.finish().unwrap();
    let answer = Bench::on().udp(PRIMARY, &buffer[..length]);
    assert_eq!((answer.code(), answer.from), (401, address(PRIMARY)));
}

#[test]
fn s_disc_13_a_site_needs_two_addresses_and_two_ports_of_one_family() {
    for (one, other) in [
        ("20.0.0.1:3478", "20.0.0.1:3479"),
        ("20.0.0.1:3478", "20.0.0.2:3478"),
        ("20.0.0.1:3478", "[2600:1::2]:3479"),
    ] {
        assert_eq!(Site::new(address(one), address(other)), None);
    }
}
