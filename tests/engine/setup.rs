//! The server under test and who is around it.

use hairpin::auth::{
    AuthSettings, Authenticator, Credential, NonceKeys, Secret, ThirdPartySettings, TicketKey, User,
};
use hairpin::engine::{Discovery, Redirect, RelayAddress, Rules, TcpRules};
use hairpin::policy::{BandwidthLimits, Limits, PeerFilter, PeerRules, StrangerLimits};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

pub const REALM: &str = "example.org";
pub const SECRET: &str = "north by northwest";
pub const UNIX_START: u64 = 1_700_000_000;
pub const SERVER: &str = "20.0.0.1:3478";
pub const SERVER_V6: &str = "[2600:1::1]:3478";
/// The relay address behind 1:1 NAT: the host's own form and the public one.
pub const RELAY_LOCAL: &str = "10.0.0.9";
pub const RELAY: &str = "20.0.0.9";
pub const RELAY_V6: &str = "2600:1::9";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A peer in the network: the `host`th IPv4 address.
pub fn peer(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([40, 0, 0, host], port))
}

pub fn peer_v6(host: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([0x2600, 4, 0, 0, 0, 0, 0, host], port))
}

/// What can be different about a server.
pub struct Setup {
    pub workers: u32,
    pub ports: RangeInclusive<u16>,
    pub quarantine: u64,
    pub limits: Limits,
    pub strangers: StrangerLimits,
    pub bandwidth: BandwidthLimits,
    pub new_peers_per_second: u32,
    pub strict_expiry: bool,
    pub match_user_part: bool,
    pub revoked: Vec<&'static str>,
    pub max_permissions: usize,
    pub max_channels: usize,
    pub max_lifetime: u32,
    pub nonce_lifetime: u32,
    pub software: &'static str,
    pub realm: String,
    pub has_v4: bool,
    pub has_v6: bool,
    pub deny: Vec<&'static str>,
    pub nat64_prefixes: Vec<&'static str>,
    pub secrets: Vec<&'static str>,
    pub third_party: ThirdPartySettings,
    pub tcp: TcpRules,
    pub mobility: bool,
    pub seed: u8,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            workers: 1,
            ports: 49152..=65535,
            quarantine: 5,
            limits: Limits::default(),
            strangers: StrangerLimits::default(),
            bandwidth: BandwidthLimits::default(),
            new_peers_per_second: 16,
            strict_expiry: false,
            match_user_part: false,
            revoked: Vec::new(),
            max_permissions: 32,
            max_channels: 32,
            max_lifetime: 3600,
            nonce_lifetime: 3600,
            software: "",
            realm: REALM.into(),
            has_v4: true,
            has_v6: true,
            deny: Vec::new(),
            nat64_prefixes: Vec::new(),
            secrets: vec![SECRET],
            third_party: ThirdPartySettings::default(),
            tcp: TcpRules::default(),
            mobility: false,
            seed: 1,
        }
    }
}

impl Setup {
    pub fn relay_addresses(&self) -> Vec<RelayAddress> {
        let mut all = Vec::new();
        if self.has_v4 {
            all.push(RelayAddress {
                local: RELAY_LOCAL.parse().unwrap(),
                external: RELAY.parse().unwrap(),
            });
        }
        if self.has_v6 {
            all.push(RelayAddress {
                local: RELAY_V6.parse().unwrap(),
                external: RELAY_V6.parse().unwrap(),
            });
        }
        all
    }

    pub fn rules(&self) -> Rules {
        let user = |name: &str, password: &str| User {
            name: name.into(),
            credential: Credential::Password(password.into()),
        };
        let own = [SERVER, SERVER_V6].map(|text| address(text).ip());
        let relays = [RELAY_LOCAL, RELAY, RELAY_V6].map(|text| text.parse::<IpAddr>().unwrap());
        Rules {
            authenticator: Authenticator::new(AuthSettings {
                realm: self.realm.clone(),
                users: vec![user("alice", "s3cret"), user("bob", "hunter2")],
                secrets: self.secrets.iter().map(|s| Secret::from(*s)).collect(),
                third_party: self.third_party.clone(),
                revoked: self.revoked.iter().map(ToString::to_string).collect(),
                ..AuthSettings::default()
            })
            .unwrap(),
            nonces: NonceKeys::new([7; 32], self.nonce_lifetime),
            match_user_part: self.match_user_part,
            strict_expiry: self.strict_expiry,
            new_peers_per_second: self.new_peers_per_second,
            draining: false,
            redirect: Redirect::default(),
            classic_binding: false,
            discovery: Discovery::default(),
            filter: PeerFilter::new(PeerRules {
                deny: self.deny.iter().map(|net| net.parse().unwrap()).collect(),
                nat64_prefixes: self
                    .nat64_prefixes
                    .iter()
                    .map(|net| net.parse().unwrap())
                    .collect(),
                own_addresses: own.into_iter().chain(relays).collect(),
                own_sockets: vec![address("0.0.0.0:3478"), address("[::]:3478")],
                relay_addresses: relays.to_vec(),
                relay_ports: self.ports.clone(),
                ..PeerRules::default()
            }),
            default_lifetime: 600,
            max_lifetime: self.max_lifetime,
            max_permissions: self.max_permissions,
            max_channels: self.max_channels,
            channels: hairpin::wire::ChannelRange::Rfc8656,
            tcp: self.tcp.clone(),
            mobility: self.mobility.then(|| TicketKey::new([9; 32]).unwrap()),
            software: self.software.into(),
        }
    }
}
