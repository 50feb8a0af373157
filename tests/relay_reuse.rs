//! A relay that was given up, and the next client that gets its place: what one sent must not leave from the other's.

#![allow(clippy::unwrap_used)]

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
    Writer,
};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const REALM: &str = "example.org";

/// One worker, so that all clients share a batch.
fn server() -> Server {
    let host = Ipv4Addr::LOCALHOST.into();
    let relay = RelayAddress {
        local: host,
        external: host,
    };
    let user = User {
        name: "user".into(),
        credential: Credential::Password("pass".into()),
    };
    let shared = Shared::new(
        Rules::new(
            Authenticator::new(AuthSettings {
                realm: REALM.into(),
                users: vec![user],
                ..AuthSettings::default()
            })
            .unwrap(),
            NonceKeys::new([7; 32], 600),
            PeerFilter::new(PeerRules {
                allow: vec!["127.0.0.0/8".parse().unwrap()],
                ..PeerRules::default()
            }),
        ),
        Limits::default(),
        RelayPool::new(&[relay], 55_000..=55_999, Duration::ZERO),
    );
    let settings = NetSettings::new(vec![Listener::direct(
        Transport::Udp,
        SocketAddr::new(host, 0),
    )]);
    Server::start(settings, &shared, Clock::start()).unwrap()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let wait = Some(Duration::from_secs(5));
    socket.set_read_timeout(wait).unwrap();
    socket
}

struct Client {
    socket: UdpSocket,
    nonce: Vec<u8>,
    transactions: u8,
}

impl Client {
    fn new(server: SocketAddr) -> Client {
        let socket = socket();
        socket.connect(server).unwrap();
        let mut client = Client {
            socket,
            nonce: Vec::new(),
            transactions: 0,
        };
        client.send(&client.request(Method::ALLOCATE, |_| {}));
        client.nonce = client.answer(AttributeType::NONCE);
        client
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).unwrap();
    }

    fn request(&self, method: Method, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = [0; 500];
        let kind = MessageType::new(method, Class::Request);
        let mut writer = Writer::new(&mut buffer, kind, TransactionId([self.transactions; 12]));
        body(&mut writer);
        if !self.nonce.is_empty() {
            let key = Key::long_term(PasswordAlgorithm::Md5, b"user", REALM, b"pass");
            writer
                .attribute(AttributeType::USERNAME, b"user")
                .attribute(AttributeType::REALM, REALM.as_bytes())
                .attribute(AttributeType::NONCE, &self.nonce)
                .integrity(Mac::Sha1, &key);
        }
        let length = writer.finish().unwrap();
        buffer[..length].to_vec()
    }

    fn allocate(&self) -> Vec<u8> {
        self.request(Method::ALLOCATE, |writer| {
            writer.number(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
        })
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 1500];
        let length = self.socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// Waits for an answer that has an attribute, and hands out its value.
    fn answer(&self, kind: AttributeType) -> Vec<u8> {
        let answer = self.receive();
        let message = Message::parse(&answer).unwrap();
        message.attribute(kind).unwrap().value.to_vec()
    }
}

#[test]
fn data_sent_just_before_a_release_leaves_from_the_released_relay() {
    let server = server();
    let address = server.listeners()[0].address;
    let peer = socket();
    let peer_address = peer.local_addr().unwrap();
    // Whether the datagrams below come in one batch is up to the scheduler, so they have several chances.
    for _ in 0..20 {
        let (mut first, next) = (Client::new(address), Client::new(address));
        first.send(&first.allocate());
        let relayed = first.answer(AttributeType::XOR_RELAYED_ADDRESS);
        first.transactions = 1;
        first.send(&first.request(Method::CHANNEL_BIND, |writer| {
            writer
                .number(AttributeType::CHANNEL_NUMBER, 0x4000 << 16)
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer_address);
        }));
        let bound = first.receive();
        assert_eq!(Message::parse(&bound).unwrap().class(), Class::Success);
        let release = first.request(Method::REFRESH, |writer| {
            writer.number(AttributeType::LIFETIME, 0);
        });
        let allocate = next.allocate();

        first.send(b"\x40\x00\x00\x04bye!");
        first.send(&release);
        next.send(&allocate);

        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"bye!");
        // Only the ports are compared: all relays have the same address.
        let port = u16::from_be_bytes([relayed[2], relayed[3]]) ^ 0x2112;
        assert_eq!(from.port(), port);
    }
    server.stop().unwrap();
}
