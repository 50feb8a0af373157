//! A client of RFC 8489 from another hand: `turn-client-proto`, with SHA-256 integrity and a hidden user name, against a
//! server on loopback.

#![allow(clippy::unwrap_used)]

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, User};
use hairpin::auth::{SigningAlgorithm, mint_ephemeral_with};
use hairpin::config::{Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::{AttributeType, Class, Mac, Message, Method, PasswordAlgorithm};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant as StdInstant};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::stun::Instant;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::TransportType;
use turn_client_proto::stun::types::message::IntegrityAlgorithm;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::udp::TurnClientUdp;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECRET: &str = "north by northwest";
const PATIENCE: Duration = Duration::from_secs(10);

fn server(algorithms: &[PasswordAlgorithm], secrets: &[&str]) -> (Server, SocketAddr) {
    let user = User {
        name: "alice".into(),
        credential: Credential::Password("s3cret".into()),
    };
    let rules = Rules::new(
        Authenticator::new(AuthSettings {
            realm: "example.org".into(),
            users: vec![user],
            secrets: secrets.iter().map(|secret| Secret::from(*secret)).collect(),
            algorithms: algorithms.to_vec(),
        })
        .unwrap(),
        NonceKeys::new([1; 32], 3600),
        PeerFilter::new(PeerRules {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..PeerRules::default()
        }),
    );
    let relay = RelayAddress {
        local: LOOPBACK,
        external: LOOPBACK,
    };
    let shared = Shared::new(
        rules,
        Limits::default(),
        RelayPool::new(&[relay], 40000..=48000, Duration::ZERO),
    );
    let settings = NetSettings::new(vec![Listener::direct(
        Transport::Udp,
        SocketAddr::new(LOOPBACK, 0),
    )]);
    let server = Server::start(settings, &shared, Clock::start()).unwrap();
    let address = server.listeners()[0].address;
    (server, address)
}

/// Drives a client over a real socket and notes what passes.
struct Driver {
    client: TurnClientUdp,
    socket: UdpSocket,
    started: StdInstant,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    relayed: Vec<Vec<u8>>,
}

impl Driver {
    fn new(server: SocketAddr, config: TurnConfig) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let local = socket.local_addr().unwrap();
        Driver {
            client: TurnClientUdp::allocate(local, server, config),
            socket,
            started: StdInstant::now(),
            sent: Vec::new(),
            received: Vec::new(),
            relayed: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_std(self.started)
    }

    /// Until `wanted` finds an event or, with `None`, some relayed data came. `None` when the client gives up.
    fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&Self, Option<&TurnEvent>) -> Option<T>,
    ) -> Option<T> {
        let end = StdInstant::now() + PATIENCE;
        while StdInstant::now() < end {
            let is_closed = matches!(self.client.poll(self.now()), TurnPollRet::Closed);
            while let Some(transmit) = self.client.poll_transmit(self.now()) {
                self.sent.push(transmit.data.as_ref().to_vec());
                self.socket
                    .send_to(transmit.data.as_ref(), transmit.to)
                    .unwrap();
            }
            while let Some(event) = self.client.poll_event() {
                if let Some(found) = wanted(self, Some(&event)) {
                    return Some(found);
                }
            }
            if let Some(found) = wanted(self, None) {
                return Some(found);
            }
            if is_closed {
                return None;
            }
            let mut buffer = [0; 2000];
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let data = buffer[..length].to_vec();
                self.received.push(data.clone());
                let local = self.socket.local_addr().unwrap();
                let transmit = Transmit::new(data, TransportType::Udp, from, local);
                let now = self.now();
                if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                    self.relayed.push(data.data().to_vec());
                }
            }
        }
        let passed = |all: &[Vec<u8>]| {
            let messages = all.iter().filter_map(|bytes| Message::parse(bytes).ok());
            messages
                .map(|m| {
                    let kinds: Vec<_> = m.attributes().map(|a| a.kind).collect();
                    format!("{:?} {kinds:?} {:?}\n", m.class(), m.mac())
                })
                .collect::<String>()
        };
        panic!(
            "nothing came of it; sent\n{}received\n{}",
            passed(&self.sent),
            passed(&self.received)
        );
    }

    fn allocate(&mut self) -> Option<SocketAddr> {
        self.until(|_, event| match event {
            Some(TurnEvent::AllocationCreated(_, address)) => Some(Some(*address)),
            Some(TurnEvent::AllocationCreateFailed(_)) => Some(None),
            _ => None,
        })
        .flatten()
    }

    /// Sends to a peer that answers, and takes the answer.
    fn echo(&mut self, bind_channel: bool) {
        let peer = UdpSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = peer.local_addr().unwrap();
        let now = self.now();
        if bind_channel {
            self.client
                .bind_channel(TransportType::Udp, to, now)
                .unwrap();
        } else {
            self.client
                .create_permission(TransportType::Udp, to.ip(), now)
                .unwrap();
        }
        self.until(|_, event| match event {
            Some(TurnEvent::ChannelCreated(..)) if bind_channel => Some(()),
            Some(TurnEvent::PermissionCreated(..)) if !bind_channel => Some(()),
            Some(TurnEvent::PermissionCreateFailed(..) | TurnEvent::ChannelCreateFailed(..)) => {
                panic!("{event:?}")
            }
            _ => None,
        })
        .unwrap();
        let now = self.now();
        let transmit = self
            .client
            .send_to(TransportType::Udp, to, b"there", now)
            .unwrap();
        let transmit = transmit.unwrap().build();
        self.socket.send_to(&transmit.data, transmit.to).unwrap();
        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"there");
        peer.send_to(b"and back", from).unwrap();
        let relayed = self
            .until(|driver, _| driver.relayed.last().cloned())
            .unwrap();
        assert_eq!(relayed, b"and back");
    }

    /// The last request of a method and the last success.
    fn last(&self, method: Method) -> (Message<'_>, Message<'_>) {
        let last = |all: &'_ [Vec<u8>], class| {
            all.iter()
                .rposition(|bytes| {
                    Message::parse(bytes).is_ok_and(|m| m.method() == method && m.class() == class)
                })
                .unwrap()
        };
        let sent = &self.sent[last(&self.sent, Class::Request)];
        let received = &self.received[last(&self.received, Class::Success)];
        (
            Message::parse(sent).unwrap(),
            Message::parse(received).unwrap(),
        )
    }
}

const BOTH: [PasswordAlgorithm; 2] = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

fn alice() -> TurnCredentials {
    TurnCredentials::new("alice", "s3cret")
}

#[test]
fn s_pwa_08_09_11_sha256_with_a_hidden_name_relays_both_ways() {
    for bind_channel in [false, true] {
        let (server, address) = server(&BOTH, &[]);
        let mut config = TurnConfig::new(alice());
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.set_anonymous_username(Feature::Required);
        let mut driver = Driver::new(address, config);
        assert!(driver.allocate().is_some());
        driver.echo(bind_channel);
        let (asked, answered) = driver.last(Method::ALLOCATE);
        assert!(asked.attribute(AttributeType::USERHASH).is_some());
        assert!(asked.attribute(AttributeType::USERNAME).is_none());
        assert!(asked.attribute(AttributeType::PASSWORD_ALGORITHM).is_some());
        assert_eq!(answered.mac(), Some(Mac::Sha256));
        // It frees its allocation, and the server agrees.
        let now = driver.now();
        driver.client.delete(now).unwrap();
        driver.until(|driver, _| {
            let is_freed = |bytes: &Vec<u8>| {
                Message::parse(bytes)
                    .is_ok_and(|m| m.method() == Method::REFRESH && m.class() == Class::Success)
            };
            driver.received.iter().any(is_freed).then_some(())
        });
        server.stop().unwrap();
    }
}

#[test]
fn s_pwa_04_09_every_mix_of_offer_and_integrity_works_that_both_sides_know() {
    use PasswordAlgorithm::{Md5, Sha256};
    let (sha1, sha256) = (IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256);
    for (offered, supported, works) in [
        (&BOTH[..], &[sha1][..], true),
        (&BOTH, &[sha256], true),
        (&BOTH, &[sha1, sha256], true),
        (&[Md5, Sha256], &[sha256], true),
        (&[Sha256], &[sha256], true),
        (&[Md5], &[sha1, sha256], true),
        (&[], &[sha1], true),
        (&[Sha256], &[sha1], false),
    ] {
        let (server, address) = server(offered, &[]);
        let mut config = TurnConfig::new(alice());
        config.set_supported_integrity(supported[0]);
        for also in &supported[1..] {
            config.add_supported_integrity(*also);
        }
        let mut driver = Driver::new(address, config);
        let allocated = driver.allocate();
        assert_eq!(allocated.is_some(), works, "{offered:?} {supported:?}");
        server.stop().unwrap();
    }
}

#[test]
fn s_pwa_13_a_client_that_hides_its_name_when_it_can_uses_an_ephemeral_credential() {
    let (server, address) = server(&BOTH, &[SECRET]);
    for signing in [SigningAlgorithm::Sha1, SigningAlgorithm::Sha256] {
        let (name, password) =
            mint_ephemeral_with(signing, SECRET.as_bytes(), Some("carol"), 4_000_000_000);
        let mut config = TurnConfig::new(TurnCredentials::new(&name, &password));
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.set_anonymous_username(Feature::Auto);
        let mut driver = Driver::new(address, config);
        assert!(driver.allocate().is_some());
        driver.echo(true);
    }
    server.stop().unwrap();
}

#[test]
fn a_wrong_password_is_refused_whichever_integrity_it_has() {
    let (server, address) = server(&BOTH, &[]);
    for integrity in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        let mut config = TurnConfig::new(TurnCredentials::new("alice", "wrong"));
        config.set_supported_integrity(integrity);
        let mut driver = Driver::new(address, config);
        assert!(driver.allocate().is_none(), "{integrity:?}");
    }
    server.stop().unwrap();
}
