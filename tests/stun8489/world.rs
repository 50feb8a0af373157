//! A server, and clients that speak either RFC.

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, TicketKey, User};
use hairpin::engine::counters::AuthFailureReason;
use hairpin::engine::{
    Alternate, ClientPath, Counters, Engine, Event, FiveTuple, Instant, Link, Now, Outcome,
    REPLY_LENGTH, Redirect, RelayAddress, RelayPool, Rules, Shared, Transport, WorkerId,
};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::integrity::userhash;
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
    Writer,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub const REALM: &str = "example.org";
pub const SECRET: &str = "north by northwest";
pub const UNIX: u64 = 1_700_000_000;
/// PASSWORD-ALGORITHMS as the server sends it by default.
pub const BOTH: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What can be different about a server.
#[derive(Clone)]
pub struct Setup {
    pub realm: String,
    pub users: Vec<User>,
    pub secrets: Vec<&'static str>,
    pub algorithms: Vec<PasswordAlgorithm>,
    pub nonce_key: Option<&'static str>,
    pub match_user_part: bool,
    pub redirect: bool,
    pub alternates: Vec<Alternate>,
    pub classic: bool,
    pub server: SocketAddr,
}

impl Default for Setup {
    fn default() -> Self {
        let user = |name: &str, password: &str| User {
            name: name.into(),
            credential: Credential::Password(password.into()),
        };
        Setup {
            realm: REALM.into(),
            users: vec![user("alice", "s3cret"), user("bob", "hunter2")],
            secrets: Vec::new(),
            algorithms: vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5],
            nonce_key: None,
            match_user_part: false,
            redirect: false,
            alternates: Vec::new(),
            classic: false,
            server: address("20.0.0.1:3478"),
        }
    }
}

impl Setup {
    /// A server of ephemeral credentials only.
    pub fn ephemeral() -> Self {
        Setup {
            users: Vec::new(),
            secrets: vec![SECRET],
            ..Setup::default()
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            match_user_part: self.match_user_part,
            redirect: Redirect {
                active: self.redirect,
                alternates: self.alternates.clone(),
            },
            classic_binding: self.classic,
            mobility: TicketKey::new([9; 32]),
            ..Rules::new(
                Authenticator::new(AuthSettings {
                    realm: self.realm.clone(),
                    users: self.users.clone(),
                    secrets: self.secrets.iter().map(|s| Secret::from(*s)).collect(),
                    algorithms: self.algorithms.clone(),
                    ..AuthSettings::default()
                })
                .unwrap(),
                match self.nonce_key {
                    Some(key) => NonceKeys::shared(key.as_bytes(), 3600),
                    None => NonceKeys::new([7; 32], 3600),
                },
                PeerFilter::new(PeerRules::default()),
            )
        }
    }
}

pub struct World {
    pub engine: Engine,
    pub seconds: u64,
    pub server: SocketAddr,
    /// What the log would have said of failures.
    pub failed: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Self {
        let relay = |text: &str| RelayAddress {
            local: text.parse().unwrap(),
            external: text.parse().unwrap(),
        };
        let shared = Shared::new(
            setup.rules(),
            Limits::default(),
            RelayPool::new(
                &[relay("20.0.0.9"), relay("2600:1::9")],
                49152..=49999,
                Duration::from_secs(5),
            ),
        );
        let counters = Arc::new(Counters::default());
        World {
            engine: Engine::new(WorkerId(0), shared, counters, [3; 32]),
            seconds: 1000,
            server: setup.server,
            failed: Vec::new(),
        }
    }

    pub fn change(&mut self, setup: &Setup) {
        let now = self.now();
        self.engine.set_rules(now, Arc::new(setup.rules()));
    }

    pub fn now(&self) -> Now {
        Now {
            instant: Instant::from_millis(self.seconds * 1000),
            unix: UNIX + self.seconds,
        }
    }

    pub fn failures(&self, reason: AuthFailureReason) -> u64 {
        let mut all = self.engine.counters().auth_failures();
        all.find(|(r, _)| *r == reason).unwrap().1
    }

    /// Hands in a datagram or a frame; the answer's bytes.
    pub fn send(&mut self, from: SocketAddr, over: Transport, bytes: &[u8]) -> Option<Vec<u8>> {
        let path = ClientPath {
            tuple: FiveTuple::new(from, self.server, over),
            link: Link::Datagram(0),
        };
        let mut reply = [0; REPLY_LENGTH];
        let now = self.now();
        let mut outcome = self.engine.from_client(now, &path, bytes, &mut reply);
        if let Outcome::OpenRelay(open) = outcome {
            outcome = self
                .engine
                .relay_opened(now, open.ticket, Ok(()), &mut reply);
        }
        while let Some(event) = self.engine.next_event() {
            if let Event::AuthenticationFailed(failed) = event {
                self.failed.push(failed.user);
            }
        }
        match outcome {
            Outcome::Reply(length) => Some(reply[..length].to_vec()),
            Outcome::Nothing => None,
            other => panic!("{other:?}"),
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    /// 0 for success, else the error code.
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self
                .message()
                .attribute(AttributeType::ERROR_CODE)
                .unwrap()
                .error_code()
                .unwrap(),
        }
    }

    pub fn value(&self, kind: AttributeType) -> Option<Vec<u8>> {
        self.message()
            .attribute(kind)
            .map(|attribute| attribute.value.to_vec())
    }

    pub fn kinds(&self) -> Vec<AttributeType> {
        // Integrity attributes end the visible part, so they are asked for apart.
        self.message().attributes().map(|a| a.kind).collect()
    }

    pub fn mac(&self) -> Option<Mac> {
        self.message().mac()
    }
}

/// What a client says of its algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub chosen: Option<Vec<u8>>,
    pub repeated: Option<Vec<u8>>,
}

/// A client: its address, its credential, and how it uses it.
#[derive(Clone)]
pub struct Client {
    pub from: SocketAddr,
    pub over: Transport,
    pub user: String,
    pub password: String,
    pub realm: String,
    pub algorithm: PasswordAlgorithm,
    pub named: Named,
    pub macs: Vec<Mac>,
    pub hidden: bool,
    pub nonce: Vec<u8>,
    pub extra: Vec<(AttributeType, Vec<u8>)>,
    pub transaction: u8,
}

impl Client {
    /// A client of RFC 5389, as browsers are.
    pub fn legacy() -> Self {
        Client {
            from: address("8.8.8.8:5000"),
            over: Transport::Udp,
            user: "alice".into(),
            password: "s3cret".into(),
            realm: REALM.into(),
            algorithm: PasswordAlgorithm::Md5,
            named: Named {
                chosen: None,
                repeated: None,
            },
            macs: vec![Mac::Sha1],
            hidden: false,
            nonce: Vec::new(),
            extra: Vec::new(),
            transaction: 0,
        }
    }

    /// A client of RFC 8489 that takes the first algorithm offered, SHA-256.
    pub fn modern() -> Self {
        Client {
            algorithm: PasswordAlgorithm::Sha256,
            named: Named {
                chosen: Some(vec![0, 2, 0, 0]),
                repeated: Some(BOTH.to_vec()),
            },
            macs: vec![Mac::Sha256],
            ..Client::legacy()
        }
    }

    pub fn key(&self) -> Key {
        Key::long_term(
            self.algorithm,
            self.user.as_bytes(),
            &self.realm,
            self.password.as_bytes(),
        )
    }

    fn next_transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        TransactionId([self.transaction; 12])
    }

    /// The bytes of a request.
    pub fn request(&mut self, method: Method) -> Vec<u8> {
        let mut buffer = vec![0; 1500];
        let kind = MessageType::new(method, Class::Request);
        let key = self.key();
        let transaction = self.next_transaction();
        let mut writer = Writer::new(&mut buffer, kind, transaction);
        if method == Method::ALLOCATE {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        }
        if self.hidden {
            let hash = userhash(self.user.as_bytes(), &self.realm);
            writer.attribute(AttributeType::USERHASH, &hash);
        } else {
            writer.attribute(AttributeType::USERNAME, self.user.as_bytes());
        }
        writer.attribute(AttributeType::REALM, self.realm.as_bytes());
        writer.attribute(AttributeType::NONCE, &self.nonce);
        if let Some(value) = &self.named.repeated {
            writer.attribute(AttributeType::PASSWORD_ALGORITHMS, value);
        }
        if let Some(value) = &self.named.chosen {
            writer.attribute(AttributeType::PASSWORD_ALGORITHM, value);
        }
        for (kind, value) in &self.extra {
            writer.attribute(*kind, value);
        }
        for mac in &self.macs {
            writer.integrity(*mac, &key);
        }
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        buffer
    }

    /// An Allocate without credentials.
    pub fn bare(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 100];
        let kind = MessageType::new(Method::ALLOCATE, Class::Request);
        let transaction = self.next_transaction();
        let length = Writer::new(&mut buffer, kind, transaction)
            .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .finish()
            .unwrap();
        buffer.truncate(length);
        buffer
    }

    pub fn send(&self, world: &mut World, bytes: &[u8]) -> Reply {
        Reply(world.send(self.from, self.over, bytes).unwrap())
    }

    /// Takes a nonce from a first 401.
    pub fn challenged(&mut self, world: &mut World) -> Reply {
        let bytes = self.bare();
        let reply = self.send(world, &bytes);
        assert_eq!(reply.code(), 401);
        self.nonce = reply.value(AttributeType::NONCE).unwrap();
        reply
    }

    /// Sends a request with the nonce at hand.
    pub fn ask(&mut self, world: &mut World, method: Method) -> Reply {
        let bytes = self.request(method);
        self.send(world, &bytes)
    }

    /// A challenge, then an Allocate.
    pub fn allocate(&mut self, world: &mut World) -> Reply {
        self.challenged(world);
        self.ask(world, Method::ALLOCATE)
    }

    pub fn is_signed(&self, reply: &Reply, mac: Mac) -> bool {
        reply.mac() == Some(mac) && reply.message().authenticate(&self.key()).is_some()
    }
}
