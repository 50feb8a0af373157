//! A server with a DTLS listener in this process, on loopback, and clients for it.

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, User};
use hairpin::config::{Listener, Transport};
use hairpin::engine::counters::{DropReason, DtlsHandshake};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::dtls::{Dtls as ServerDtls, DtlsSettings};
use hairpin::net::socket::Buffers;
use hairpin::net::{NetSettings, Server, StreamSettings};
use hairpin::policy::{Limits, PeerFilter, PeerRules};

use dimpl::{Config, Dtls, DtlsCertificate, Output};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long something may take that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing has to happen.
pub const SILENCE: Duration = Duration::from_millis(300);

pub const SETTINGS: DtlsSettings = DtlsSettings {
    max_half_open: 1000,
    max_half_open_per_prefix: 1000,
    max_associations: 1000,
    handshake_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    prefixes: hairpin::policy::Prefixes { v4: 24, v6: 56 },
};

pub struct Rig {
    server: Option<Server>,
    dtls: Arc<ServerDtls>,
    pub address: SocketAddr,
}

impl Rig {
    pub fn start(settings: DtlsSettings) -> Rig {
        Rig::with_key(
            settings,
            &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        )
    }

    pub fn with_key(settings: DtlsSettings, key: &KeyPair) -> Rig {
        Rig::with(settings, Some(certificate(key)))
    }

    /// One that has nothing to show yet.
    pub fn without_certificate(settings: DtlsSettings) -> Rig {
        Rig::with(settings, None)
    }

    fn with(settings: DtlsSettings, certificate: Option<DtlsCertificate>) -> Rig {
        let shown = certificate
            .as_ref()
            .map(|one| (one.certificate.as_slice(), one.private_key.as_slice()));
        let dtls = Arc::new(ServerDtls::new(settings, shown, [7; 32]).unwrap());
        let here = Ipv4Addr::LOCALHOST.into();
        let user = User {
            name: "user".into(),
            credential: Credential::Password(Secret::from("pass")),
        };
        let rules = Rules::new(
            Authenticator::new(AuthSettings {
                realm: "realm".into(),
                users: vec![user],
                ..AuthSettings::default()
            })
            .unwrap(),
            NonceKeys::new([9; 32], 600),
            PeerFilter::new(PeerRules {
                allow: vec!["127.0.0.0/8".parse().unwrap()],
                ..PeerRules::default()
            }),
        );
        let relay = RelayAddress {
            local: here,
            external: here,
        };
        let shared = Shared::new(
            rules,
            Limits {
                resting_per_user: 0,
                total: 0,
                per_user: 0,
                per_source: 0,
            },
            RelayPool::new(&[relay], 49_152..=65_535, Duration::ZERO),
        );
        let buffers = Buffers {
            receive: 1 << 20,
            send: 1 << 20,
        };
        let address = SocketAddr::new(here, 0);
        let net = NetSettings {
            dtls: Some(dtls.clone()),
            workers: 2,
            listener_buffers: buffers,
            relay_buffers: buffers,
            prefixes: hairpin::policy::Prefixes::default(),
            stream: StreamSettings {
                auth_timeout: PATIENCE,
                idle_timeout: PATIENCE,
                max_connections: 100,
                ..StreamSettings::default()
            },
            ..NetSettings::new(vec![Listener::direct(Transport::Dtls, address)])
        };
        let server = Server::start(net, &shared, Clock::start()).unwrap();
        let address = server.listeners()[0].address;
        Rig {
            server: Some(server),
            dtls,
            address,
        }
    }

    /// Shows another certificate from now on, as after a renewal.
    pub fn renew(&self) -> Vec<u8> {
        let made = certificate(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        let renewed = self.dtls.replace(&made.certificate, &made.private_key);
        renewed.unwrap();
        made.certificate
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn handshakes(&self, outcome: DtlsHandshake) -> u64 {
        let of = |counters: &Arc<hairpin::engine::Counters>| {
            let mut all = counters.dtls_handshakes();
            all.find(|(other, _)| *other == outcome).unwrap().1
        };
        self.server().counters().iter().map(of).sum()
    }

    /// Handshakes that were begun, in whatever state they are now, apart from those that go on.
    pub fn handshakes_over(&self) -> u64 {
        let ends = DtlsHandshake::ALL.iter();
        ends.map(|outcome| self.handshakes(*outcome)).sum()
    }

    /// Handshakes under way.
    pub fn half_open(&self) -> usize {
        self.dtls.half_open()
    }

    /// Associations, those in the middle of their handshake included.
    pub fn associations(&self) -> usize {
        self.dtls.associations()
    }

    /// Lets the state machine of the next client that says something panic.
    pub fn make_one_panic(&self) {
        self.dtls.make_one_panic();
    }

    /// How many state machines have panicked, and how many workers.
    pub fn panics(&self) -> (u64, u64) {
        let sum = |of: fn(&hairpin::engine::Counters) -> u64| {
            let counters = self.server().counters().iter();
            counters.map(|counters| of(counters)).sum()
        };
        (
            sum(|counters| counters.dtls_panics.get()),
            sum(|counters| counters.worker_restarts.get()),
        )
    }

    pub fn cookies(&self) -> u64 {
        let counters = self.server().counters().iter();
        counters.map(|counters| counters.dtls_cookies.get()).sum()
    }

    pub fn closed(&self) -> u64 {
        let counters = self.server().counters().iter();
        counters.map(|counters| counters.dtls_closed.get()).sum()
    }

    pub fn dropped(&self) -> u64 {
        let of = |counters: &Arc<hairpin::engine::Counters>| {
            let mut all = counters.drops();
            all.find(|(reason, _)| *reason == DropReason::NoAssociation)
                .unwrap()
                .1
        };
        self.server().counters().iter().map(of).sum()
    }

    /// Allocations alive.
    pub fn allocations(&self) -> u64 {
        let counters = self.server().counters().iter();
        counters
            .map(|counters| counters.allocations_opened.get() - counters.allocations_closed.get())
            .sum()
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Rig) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) {
        self.server.take().unwrap().stop().unwrap();
    }
}

pub fn certificate(key: &KeyPair) -> DtlsCertificate {
    let parameters = CertificateParams::new(vec!["localhost".into()]).unwrap();
    DtlsCertificate {
        certificate: parameters.self_signed(key).unwrap().der().to_vec(),
        private_key: key.serialize_der(),
    }
}

/// Which versions a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Dtls12,
    Dtls13,
    Both,
}

/// Says of a datagram whether it gets lost.
pub type Fate = Box<dyn FnMut(&[u8]) -> bool>;

pub struct Client {
    pub socket: UdpSocket,
    pub dtls: Dtls,
    /// Decides whether a datagram that is to leave gets lost.
    pub loses: Fate,
    /// The same for one that comes.
    pub misses: Fate,
    /// Every datagram that was sent.
    pub sent: Vec<Vec<u8>>,
    pub said: VecDeque<Vec<u8>>,
    /// The server's certificate.
    pub shown: Vec<u8>,
    pub is_connected: bool,
    pub is_closed: bool,
    buffer: Vec<u8>,
    timeout: Instant,
}

impl Client {
    pub fn new(rig: &Rig, offer: Offer) -> Client {
        Client::on(UdpSocket::bind("127.0.0.1:0").unwrap(), rig, offer)
    }

    pub fn on(socket: UdpSocket, rig: &Rig, offer: Offer) -> Client {
        socket.connect(rig.address).unwrap();
        let config = Config::builder()
            .flight_start_rto(Duration::from_millis(100))
            .flight_retries(8)
            .build()
            .unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (config, certificate, now) = (Arc::new(config), certificate(&key), Instant::now());
        let mut dtls = match offer {
            Offer::Dtls12 => Dtls::new_12(config, certificate, now),
            Offer::Dtls13 => Dtls::new_13(config, certificate, now),
            Offer::Both => Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(true);
        Client {
            socket,
            dtls,
            loses: Box::new(|_| false),
            misses: Box::new(|_| false),
            sent: Vec::new(),
            said: VecDeque::new(),
            shown: Vec::new(),
            is_connected: false,
            is_closed: false,
            buffer: vec![0; 1 << 16],
            timeout: now,
        }
    }

    /// A client behind its handshake.
    pub fn connected(rig: &Rig, offer: Offer) -> Client {
        let mut client = Client::new(rig, offer);
        client.connect();
        client
    }

    pub fn connect(&mut self) {
        self.dtls.handle_timeout(Instant::now()).unwrap();
        self.until("a handshake", |client| client.is_connected);
    }

    /// Lets the client work until something is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Client) -> bool) {
        assert!(self.tries(PATIENCE, is_so), "no {what}");
    }

    /// Lets the client work until something is so, for so long at most.
    pub fn tries(&mut self, patience: Duration, is_so: impl Fn(&Client) -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            self.flush();
            if is_so(self) {
                return true;
            }
            self.receive();
            if Instant::now() >= self.timeout && self.dtls.handle_timeout(Instant::now()).is_err() {
                return is_so(self);
            }
        }
        false
    }

    fn receive(&mut self) {
        let wait = Some(Duration::from_millis(20));
        self.socket.set_read_timeout(wait).unwrap();
        let mut datagram = vec![0; 1 << 16];
        if let Ok(length) = self.socket.recv(&mut datagram) {
            datagram.truncate(length);
            if !(self.misses)(&datagram) {
                // What an attacker makes of it is the tests' affair.
                let _ = self.dtls.handle_packet(&datagram);
            }
        }
    }

    pub fn flush(&mut self) {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) => {
                    self.sent.push(packet.to_vec());
                    if !(self.loses)(packet) {
                        self.socket.send(packet).unwrap();
                    }
                }
                Output::ApplicationData(data) => self.said.push_back(data.to_vec()),
                Output::PeerCert(shown) => self.shown = shown.to_vec(),
                Output::Connected => self.is_connected = true,
                Output::CloseNotify => self.is_closed = true,
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                _ => {}
            }
        }
    }

    pub fn send(&mut self, plain: &[u8]) {
        self.dtls.send_application_data(plain).unwrap();
        self.flush();
    }

    /// The next thing the server says.
    pub fn hear(&mut self) -> Vec<u8> {
        self.until("answer", |client| !client.said.is_empty());
        self.said.pop_front().unwrap()
    }

    /// Asks until there is an answer, as clients do over UDP.
    pub fn ask(&mut self, plain: &[u8]) -> Vec<u8> {
        for _ in 0..10 {
            self.send(plain);
            if self.tries(PATIENCE / 10, |client| !client.said.is_empty()) {
                break;
            }
        }
        self.hear()
    }

    pub fn close(&mut self) {
        self.dtls.close().unwrap();
        self.flush();
    }
}
