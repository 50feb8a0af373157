//! An engine with clients that relay: what a relayed packet costs is measured on it, and tests prove what it does not
//! need.

#![allow(dead_code, clippy::unwrap_used)]

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, User};
use hairpin::engine::{
    ClientPath, Counters, Engine, FiveTuple, Instant, Link, Now, Outcome, REPLY_LENGTH,
    RelayAddress, RelayId, RelayPool, Rules, Shared, Transport, WorkerId,
};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm,
    TransactionId, Writer, channel_data,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const REALM: &str = "example.org";
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(20, 0, 0, 9));

/// A client with an allocation, a permission for [`PEER`] and a channel to it.
pub struct Client {
    pub path: ClientPath,
    pub relay: RelayId,
    pub relayed: SocketAddr,
    nonce: Vec<u8>,
}

pub struct Rig {
    pub engine: Engine,
    pub now: Now,
    reply: Vec<u8>,
    transactions: u64,
}

/// Whom clients talk to through a channel.
pub fn peer() -> SocketAddr {
    ([40, 0, 0, 1], 5000).into()
}

/// The channel's number.
pub const CHANNEL: ChannelNumber = ChannelNumber::MIN;

/// What a server goes by that relays from `relay` on these ports: one user, and peers as the filter has it.
pub fn shared(relay: IpAddr, ports: RangeInclusive<u16>, filter: PeerRules) -> Shared {
    let user = User {
        name: "alice".into(),
        credential: Credential::Password("s3cret".into()),
    };
    let authenticator = Authenticator::new(AuthSettings {
        realm: REALM.into(),
        users: vec![user],
        ..AuthSettings::default()
    });
    let filter = PeerFilter::new(PeerRules {
        relay_addresses: vec![relay],
        relay_ports: ports.clone(),
        ..filter
    });
    let rules = Rules::new(
        authenticator.unwrap(),
        NonceKeys::new([7; 32], 3600),
        filter,
    );
    let relay = RelayAddress {
        local: relay,
        external: relay,
    };
    Shared::new(
        rules,
        Limits::default(),
        RelayPool::new(&[relay], ports, Duration::ZERO),
    )
}

/// A request of the user, signed once there is a nonce.
pub fn request(
    transaction: u64,
    nonce: &[u8],
    method: Method,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&transaction.to_be_bytes());
    let mut buffer = vec![0; 1000];
    let kind = MessageType::new(method, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId(id));
    fill(&mut writer);
    if !nonce.is_empty() {
        let key = Key::long_term(PasswordAlgorithm::Md5, b"alice", REALM, b"s3cret");
        writer
            .attribute(AttributeType::USERNAME, b"alice")
            .attribute(AttributeType::REALM, REALM.as_bytes())
            .attribute(AttributeType::NONCE, nonce)
            .integrity(Mac::Sha1, &key);
    }
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// Fills in an Allocate.
pub fn allocate(writer: &mut Writer<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

/// Fills in a ChannelBind of [`CHANNEL`].
pub fn channel_bind(writer: &mut Writer<'_>, peer: SocketAddr) {
    let [high, low] = CHANNEL.get().to_be_bytes();
    writer
        .attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
        .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
}

/// The nonce of a challenge.
pub fn nonce(answer: &[u8]) -> Vec<u8> {
    let answer = Message::parse(answer).unwrap();
    let nonce = answer.attribute(AttributeType::NONCE).unwrap();
    nonce.value.to_vec()
}

/// The relayed address of an answer.
pub fn relayed(answer: &[u8]) -> SocketAddr {
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    let relayed = answer.attribute(AttributeType::XOR_RELAYED_ADDRESS);
    relayed.unwrap().xor_address(answer.transaction()).unwrap()
}

impl Default for Rig {
    fn default() -> Self {
        let shared = shared(RELAY, 20_000..=65_000, PeerRules::default());
        let counters = Arc::new(Counters::default());
        Rig {
            engine: Engine::new(WorkerId(0), shared, counters, [1; 32]),
            now: Now {
                instant: Instant::from_millis(1_000_000),
                unix: 1_700_000_000,
            },
            reply: vec![0; REPLY_LENGTH],
            transactions: 0,
        }
    }
}

impl Rig {
    /// A client number so and so, over a transport, with an allocation and nothing else.
    pub fn allocate(&mut self, number: u32, transport: Transport) -> Client {
        let [_, b, c, d] = number.to_be_bytes();
        let address = SocketAddr::from(([30, b, c, d], 4000));
        let server = SocketAddr::from(([20, 0, 0, 1], 3478));
        let link = match transport {
            Transport::Udp | Transport::Dtls => Link::Datagram(0),
            Transport::Tcp | Transport::Tls => Link::Stream(number),
        };
        let path = ClientPath {
            tuple: FiveTuple::new(address, server, transport),
            link,
        };
        let mut client = Client {
            path,
            relay: RelayId(0),
            relayed: server,
            nonce: Vec::new(),
        };
        let challenge = self.request(&client, Method::ALLOCATE, allocate);
        client.nonce = nonce(&self.submit(&challenge, &mut client).unwrap());
        let request = self.request(&client, Method::ALLOCATE, allocate);
        client.relayed = relayed(&self.submit(&request, &mut client).unwrap());
        client
    }

    /// A client with a channel to [`peer`].
    pub fn connect(&mut self, number: u32, transport: Transport) -> Client {
        let mut client = self.allocate(number, transport);
        self.bind(&mut client, peer());
        client
    }

    /// Binds [`CHANNEL`] to a peer, which is permitted with that.
    pub fn bind(&mut self, client: &mut Client, peer: SocketAddr) {
        let request = self.request(client, Method::CHANNEL_BIND, |writer| {
            channel_bind(writer, peer);
        });
        self.succeed(&request, client);
    }

    /// A Refresh that ends an allocation.
    pub fn release(&mut self, client: &Client) -> Vec<u8> {
        self.request(client, Method::REFRESH, |writer| {
            writer.number(AttributeType::LIFETIME, 0);
        })
    }

    /// Permits a peer.
    pub fn permit(&mut self, client: &mut Client, peer: SocketAddr) {
        let request = self.request(client, Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        self.succeed(&request, client);
    }

    fn succeed(&mut self, request: &[u8], client: &mut Client) {
        let answer = self.submit(request, client).unwrap();
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    }

    /// A request, signed once there is a nonce.
    pub fn request(
        &mut self,
        client: &Client,
        method: Method,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.transactions += 1;
        request(self.transactions, &client.nonce, method, fill)
    }

    /// The engine's answer to a request; its sockets can always be had.
    pub fn submit(&mut self, request: &[u8], client: &mut Client) -> Option<Vec<u8>> {
        let mut outcome = self
            .engine
            .from_client(self.now, &client.path, request, &mut self.reply);
        loop {
            while self.engine.next_event().is_some() {}
            match outcome {
                Outcome::Reply(length) => return Some(self.reply[..length].to_vec()),
                Outcome::OpenRelay(open) => {
                    client.relay = open.relay;
                    outcome =
                        self.engine
                            .relay_opened(self.now, open.ticket, Ok(()), &mut self.reply);
                }
                _ => return None,
            }
        }
    }

    /// What a frame or datagram of a client leads to.
    #[inline]
    pub fn client_sends(&mut self, client: &Client, input: &[u8]) -> Outcome {
        self.engine
            .from_client(self.now, &client.path, input, &mut self.reply)
    }

    /// What a peer's datagram to a client's relay leads to.
    #[inline]
    pub fn peer_sends(&mut self, client: &Client, from: SocketAddr, length: usize) -> Outcome {
        self.engine
            .from_peer(self.now, client.relay, from, 0..length)
    }
}

/// A payload in ChannelData.
pub fn frame(length: usize) -> Vec<u8> {
    let mut frame = channel_data::header(CHANNEL, length).unwrap().to_vec();
    frame.resize(4 + length, 0xAB);
    frame
}

/// A payload in a Send indication.
pub fn send_indication(to: SocketAddr, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; 100 + length];
    let kind = MessageType::new(Method::SEND, Class::Indication);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([9; 12]));
    writer
        .xor_address(AttributeType::XOR_PEER_ADDRESS, to)
        .attribute(AttributeType::DATA, &vec![0xAB; length]);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}
