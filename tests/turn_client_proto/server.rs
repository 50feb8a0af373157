//! A server in this process, on a port that the system chooses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hairpin::auth::{AuthSettings, Authenticator, Credential, NonceKeys, Secret, User};
use hairpin::config::{self, Listener, Transport};
use hairpin::engine::{RelayAddress, RelayPool, Rules, Shared};
use hairpin::net::clock::Clock;
use hairpin::net::tls::Tls;
use hairpin::net::{NetSettings, Server};
use hairpin::policy::{Limits, PeerFilter, PeerRules};
use hairpin::wire::PasswordAlgorithm;
use rustls::pki_types::CertificateDer;

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const LOOPBACK_6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
pub const BOTH: [PasswordAlgorithm; 2] = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

/// What the server is to be like.
pub struct Setup<'a> {
    pub transport: Transport,
    pub algorithms: &'a [PasswordAlgorithm],
    pub secrets: &'a [&'a str],
    pub relays: &'a [IpAddr],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            transport: Transport::Udp,
            algorithms: &BOTH,
            secrets: &[],
            relays: &[LOOPBACK],
        }
    }
}

impl Setup<'_> {
    /// Starts it, with the user alice and TCP allocations.
    pub fn start(&self) -> (Server, SocketAddr) {
        self.start_with(None)
    }

    /// Starts it over TLS, and returns the certificate, which is for `localhost`.
    pub fn start_tls(&self) -> (Server, SocketAddr, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("chain.pem", &made.cert.pem()).unwrap();
        write("key.pem", &made.signing_key.serialize_pem()).unwrap();
        let settings = "[[tls.certificate]]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n";
        write("hairpin.toml", settings).unwrap();
        let loaded = config::load(&folder.path().join("hairpin.toml")).unwrap();
        let tls = Tls::new(&loaded.settings.tls.certificates).unwrap();
        let (server, address) = self.start_with(Some(tls));
        (server, address, made.cert.der().clone())
    }

    fn start_with(&self, tls: Option<Tls>) -> (Server, SocketAddr) {
        let user = User {
            name: "alice".into(),
            credential: Credential::Password("s3cret".into()),
        };
        let secrets = self.secrets.iter().map(|secret| Secret::from(*secret));
        let mut rules = Rules::new(
            Authenticator::new(AuthSettings {
                realm: "example.org".into(),
                users: vec![user],
                secrets: secrets.collect(),
                algorithms: self.algorithms.to_vec(),
                ..AuthSettings::default()
            })
            .unwrap(),
            NonceKeys::new([1; 32], 3600),
            PeerFilter::new(PeerRules {
                allow: ["127.0.0.0/8", "::1/128"]
                    .map(|net| net.parse().unwrap())
                    .to_vec(),
                ..PeerRules::default()
            }),
        );
        rules.tcp.enabled = true;
        let relays: Vec<RelayAddress> = self
            .relays
            .iter()
            .map(|address| RelayAddress {
                local: *address,
                external: *address,
            })
            .collect();
        let shared = Shared::new(
            rules,
            Limits::default(),
            RelayPool::new(&relays, 40000..=48000, Duration::ZERO),
        );
        let listener = Listener::direct(self.transport, SocketAddr::new(LOOPBACK, 0));
        let mut settings = NetSettings::new(vec![listener]);
        settings.tls = tls.map(Arc::new);
        let server = Server::start(settings, &shared, Clock::start()).unwrap();
        let address = server.listeners()[0].address;
        (server, address)
    }
}
