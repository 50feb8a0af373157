//! A TURN client: builds requests with hairpin's own writer and reads the answers.

use crate::world::{REALM, World};
use hairpin::engine::{ClientPath, FiveTuple, Link, Transport};
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
    Writer,
};
use std::net::SocketAddr;

/// What goes into a message, in the order it is written.
#[derive(Clone, Debug)]
pub enum Part {
    Raw(AttributeType, Vec<u8>),
    Xor(AttributeType, SocketAddr),
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: Method,
    pub class: Class,
    pub parts: Vec<Part>,
    /// Attributes behind the integrity.
    pub behind: Vec<Part>,
}

impl Ask {
    pub fn new(method: Method) -> Self {
        Ask {
            method,
            class: Class::Request,
            parts: Vec::new(),
            behind: Vec::new(),
        }
    }

    pub fn indication(method: Method) -> Self {
        Ask {
            class: Class::Indication,
            ..Ask::new(method)
        }
    }

    pub fn raw(mut self, kind: AttributeType, value: &[u8]) -> Self {
        self.parts.push(Part::Raw(kind, value.to_vec()));
        self
    }

    pub fn behind(mut self, kind: AttributeType, value: &[u8]) -> Self {
        self.behind.push(Part::Raw(kind, value.to_vec()));
        self
    }

    pub fn number(self, kind: AttributeType, value: u32) -> Self {
        self.raw(kind, &value.to_be_bytes())
    }

    pub fn peer(mut self, peer: SocketAddr) -> Self {
        let kind = AttributeType::XOR_PEER_ADDRESS;
        self.parts.push(Part::Xor(kind, peer));
        self
    }

    pub fn lifetime(self, seconds: u32) -> Self {
        self.number(AttributeType::LIFETIME, seconds)
    }

    pub fn family(self, code: u8) -> Self {
        self.raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[code, 0, 0, 0])
    }

    pub fn even_port(self, reserve: bool) -> Self {
        self.raw(AttributeType::EVEN_PORT, &[if reserve { 0x80 } else { 0 }])
    }

    pub fn token(self, token: &[u8]) -> Self {
        self.raw(AttributeType::RESERVATION_TOKEN, token)
    }

    pub fn channel(self, number: u16) -> Self {
        self.number(AttributeType::CHANNEL_NUMBER, u32::from(number) << 16)
    }
}

pub fn binding() -> Ask {
    Ask::new(Method::BINDING)
}

/// Allocate for UDP.
pub fn allocate() -> Ask {
    Ask::new(Method::ALLOCATE).raw(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
}

pub fn refresh() -> Ask {
    Ask::new(Method::REFRESH)
}

pub fn permit(peers: &[SocketAddr]) -> Ask {
    let ask = Ask::new(Method::CREATE_PERMISSION);
    peers.iter().fold(ask, |ask, peer| ask.peer(*peer))
}

pub fn bind(number: u16, peer: SocketAddr) -> Ask {
    Ask::new(Method::CHANNEL_BIND).channel(number).peer(peer)
}

pub fn send(peer: SocketAddr, data: &[u8]) -> Ask {
    Ask::indication(Method::SEND)
        .peer(peer)
        .raw(AttributeType::DATA, data)
}

pub fn frame(number: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    frame.extend_from_slice(&(data.len() as u16).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// An answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("answers are well-formed")
    }

    /// 0 for success, else the error code.
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            Class::Error => self
                .message()
                .attribute(AttributeType::ERROR_CODE)
                .expect("an error has a code")
                .error_code()
                .expect("the code is well-formed"),
            class => panic!("{class:?} is no answer"),
        }
    }

    pub fn value(&self, kind: AttributeType) -> Option<Vec<u8>> {
        self.message().attribute(kind).map(|a| a.value.to_vec())
    }

    pub fn has(&self, kind: AttributeType) -> bool {
        // Integrity attributes end what a message shows, so the raw bytes are searched.
        self.kinds().contains(&kind)
    }

    /// All attributes in order, integrity and fingerprint included.
    pub fn kinds(&self) -> Vec<AttributeType> {
        self.raw_attributes()
            .into_iter()
            .map(|(kind, ..)| kind)
            .collect()
    }

    /// Type, value and padding of each attribute.
    pub fn raw_attributes(&self) -> Vec<(AttributeType, Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        let mut rest = &self.0[20..];
        while let [t0, t1, l0, l1, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let padded = length.next_multiple_of(4);
            all.push((
                AttributeType(u16::from_be_bytes([*t0, *t1])),
                tail[..length].to_vec(),
                tail[length..padded].to_vec(),
            ));
            rest = &tail[padded..];
        }
        assert!(rest.is_empty());
        all
    }

    pub fn number(&self, kind: AttributeType) -> u32 {
        let value = self.value(kind).expect("the number is there");
        u32::from_be_bytes(value.try_into().expect("it has four bytes"))
    }

    pub fn lifetime(&self) -> u32 {
        self.number(AttributeType::LIFETIME)
    }

    pub fn address(&self, kind: AttributeType) -> SocketAddr {
        let message = self.message();
        let attribute = message.attribute(kind).expect("the address is there");
        attribute.xor_address(message.transaction()).unwrap()
    }

    pub fn relayed(&self) -> SocketAddr {
        self.address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    pub fn token(&self) -> Vec<u8> {
        self.value(AttributeType::RESERVATION_TOKEN)
            .expect("the token is there")
    }

    pub fn is_signed(&self) -> bool {
        self.message().mac().is_some()
    }

    pub fn is_challenge(&self) -> bool {
        self.has(AttributeType::REALM) && self.has(AttributeType::NONCE) && !self.is_signed()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} {:?})", self.code(), self.kinds())
    }
}

/// How a client signs.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: Vec<u8>,
    pub realm: String,
    pub password: String,
    pub mac: Mac,
    /// The `mac_key` of an access token, in place of a password.
    pub mac_key: Option<Key>,
}

impl Login {
    pub fn new(user: &str, password: &str) -> Self {
        Login {
            user: user.into(),
            realm: REALM.into(),
            password: password.into(),
            mac: Mac::Sha1,
            mac_key: None,
        }
    }

    pub fn key(&self) -> Key {
        if let Some(key) = self.mac_key {
            return key;
        }
        let password = self.password.as_bytes();
        Key::long_term(PasswordAlgorithm::Md5, &self.user, &self.realm, password)
    }
}

/// A client on one 5-tuple.
#[derive(Clone, Debug)]
pub struct Client {
    pub path: ClientPath,
    pub worker: usize,
    pub login: Login,
    pub nonce: Vec<u8>,
    pub fingerprint: bool,
    pub transactions: u64,
}

impl Client {
    pub fn new(
        address: SocketAddr,
        server: SocketAddr,
        transport: Transport,
        login: Login,
    ) -> Self {
        let number = u32::from(address.port());
        Client {
            path: ClientPath {
                tuple: FiveTuple::new(address, server, transport),
                link: if transport.is_stream() {
                    Link::Stream(number)
                } else {
                    Link::Datagram(0)
                },
            },
            worker: 0,
            login,
            nonce: Vec::new(),
            fingerprint: false,
            transactions: u64::from(number) << 32,
        }
    }

    pub fn next_transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0xC1; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }

    /// The bytes of a message without credentials.
    pub fn unsigned(&mut self, ask: &Ask) -> Vec<u8> {
        let transaction = self.next_transaction();
        self.build(ask, transaction, false)
    }

    /// The bytes of a request with credentials.
    pub fn signed(&mut self, ask: &Ask) -> Vec<u8> {
        let transaction = self.next_transaction();
        self.build(ask, transaction, true)
    }

    pub fn build(&self, ask: &Ask, transaction: TransactionId, sign: bool) -> Vec<u8> {
        let room = |part: &Part| match part {
            Part::Raw(_, value) => value.len() + 8,
            Part::Xor(..) => 24,
        };
        let parts = ask.parts.iter().chain(&ask.behind).map(room);
        let credentials = self.login.user.len() + self.login.realm.len() + self.nonce.len();
        let mut buffer = vec![0; 200 + credentials + parts.sum::<usize>()];
        let kind = MessageType::new(ask.method, ask.class);
        let mut writer = Writer::new(&mut buffer, kind, transaction);
        let put = |writer: &mut Writer<'_>, parts: &[Part]| {
            for part in parts {
                match part {
                    Part::Raw(kind, value) => writer.attribute(*kind, value),
                    Part::Xor(kind, address) => writer.xor_address(*kind, *address),
                };
            }
        };
        put(&mut writer, &ask.parts);
        if sign {
            writer
                .attribute(AttributeType::USERNAME, &self.login.user)
                .attribute(AttributeType::REALM, self.login.realm.as_bytes())
                .attribute(AttributeType::NONCE, &self.nonce)
                .integrity(self.login.mac, &self.login.key());
        }
        put(&mut writer, &ask.behind);
        if self.fingerprint {
            writer.fingerprint();
        }
        let length = writer.finish().expect("the message fits");
        buffer.truncate(length);
        buffer
    }

    /// Sends a request without credentials.
    pub fn ask_unsigned(&mut self, world: &mut World, ask: &Ask) -> Option<Reply> {
        let bytes = self.unsigned(ask);
        self.send_bytes(world, &bytes)
    }

    /// Sends a request with credentials and returns the answer. Gets a nonce before if there is none, and tries
    /// once more with a fresh one on 438, as every client does.
    pub fn ask(&mut self, world: &mut World, ask: &Ask) -> Reply {
        if self.nonce.is_empty() {
            self.get_nonce(world);
        }
        let reply = self.ask_once(world, ask);
        if reply.code() != 438 {
            return reply;
        }
        self.nonce = reply.value(AttributeType::NONCE).unwrap();
        self.ask_once(world, ask)
    }

    pub fn ask_once(&mut self, world: &mut World, ask: &Ask) -> Reply {
        let bytes = self.signed(ask);
        self.send_bytes(world, &bytes)
            .expect("requests are answered")
    }

    /// Takes the nonce of a first 401.
    pub fn get_nonce(&mut self, world: &mut World) {
        let reply = self.ask_unsigned(world, &allocate()).unwrap();
        assert_eq!(reply.code(), 401);
        self.nonce = reply.value(AttributeType::NONCE).unwrap();
    }

    /// Allocates and returns the relayed address.
    pub fn allocated(&mut self, world: &mut World) -> SocketAddr {
        let reply = self.ask(world, &allocate());
        assert_eq!(reply.code(), 0, "the allocation succeeds");
        reply.relayed()
    }

    /// The code of the answer to a signed request.
    pub fn code(&mut self, world: &mut World, ask: &Ask) -> u16 {
        self.ask(world, ask).code()
    }

    /// Sends an indication.
    pub fn tell(&mut self, world: &mut World, ask: &Ask) {
        let bytes = self.unsigned(ask);
        let reply = self.send_bytes(world, &bytes);
        assert_eq!(reply, None, "an indication is never answered");
    }

    /// Sends ChannelData.
    pub fn push(&self, world: &mut World, number: u16, data: &[u8]) {
        let reply = self.send_bytes(world, &frame(number, data));
        assert_eq!(reply, None, "ChannelData is never answered");
    }

    pub fn send_bytes(&self, world: &mut World, bytes: &[u8]) -> Option<Reply> {
        world.client_sends(self.worker, &self.path, bytes)
    }

    /// Takes what arrived at this client from peers since the last call.
    pub fn received(&self, world: &mut World) -> Vec<crate::world::Arrival> {
        world.take_arrivals(&self.path.tuple)
    }

    pub fn is_allocated(&self, world: &World) -> bool {
        world.live.contains_key(&self.path.tuple)
    }
}
