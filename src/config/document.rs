//! The configuration file as serde sees it: every key optional, every value with its place in the text.
//!
//! Types are checked here, sense is not: that is `check`'s. Main type: [`Document`].

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;
use toml::value::Datetime;

use super::acme::Challenge;
use super::address::AddressSource;
use super::host::Host;
use super::secrets::SecretSource;
use super::settings::{
    Family, LogFormat, PasswordAlgorithm, PortRange, RelayHost, Scope, Transport, Watch,
};
use super::units;

/// A value that may be left out, with its place.
pub(super) type Given<T> = Option<Spanned<T>>;
/// A list that may be left out, with the place of each element.
pub(super) type List<T> = Option<Vec<Spanned<T>>>;

/// The whole file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a configuration")]
pub(super) struct Document {
    pub server: Server,
    pub listener: List<Listener>,
    pub discovery: List<Discovery>,
    pub tcp: Tcp,
    pub tls: Tls,
    pub dtls: Dtls,
    pub sockets: Sockets,
    pub relay: Relay,
    pub tcp_relay: TcpRelay,
    pub allocation: Allocation,
    pub auth: Auth,
    pub oauth: Oauth,
    pub alternate: List<Alternate>,
    pub stun: Stun,
    pub peers: Peers,
    pub strangers: Strangers,
    pub limits: Limits,
    pub bandwidth: Bandwidth,
    pub reload: Reload,
    pub log: Log,
    pub metrics: Metrics,
    pub accounting: Accounting,
    pub admin: Admin,
    pub credentials: Credentials,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[accounting]`")]
pub(super) struct Accounting {
    pub file: Given<String>,
    pub socket: Given<String>,
    pub webhook: Option<Webhook>,
    pub interim: Given<Read<Duration>>,
    pub queue: Given<u32>,
}

#[derive(Deserialize, Default)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table `[accounting.webhook]`"
)]
pub(super) struct Webhook {
    pub url: Given<String>,
    pub secret: Given<SecretSource>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[server]`")]
pub(super) struct Server {
    pub workers: Given<u32>,
    pub busy_rest: Given<Read<Duration>>,
    pub software: Given<String>,
    pub redirect: Given<bool>,
    pub user: Given<String>,
    pub group: Given<String>,
    pub sandbox: Option<bool>,
    pub drain: Given<Read<Duration>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[reload]`")]
pub(super) struct Reload {
    pub watch: Option<Watch>,
    pub interval: Given<Read<Duration>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[listener]]`")]
pub(super) struct Listener {
    pub transport: Option<Transport>,
    pub address: Given<Read<SocketAddr>>,
    pub proxy_protocol_from: List<Read<IpNet>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[discovery]]`")]
pub(super) struct Discovery {
    pub primary: Given<Read<SocketAddr>>,
    pub alternate: Given<Read<SocketAddr>>,
    pub primary_external: Given<Read<IpAddr>>,
    pub alternate_external: Given<Read<IpAddr>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[tcp]`")]
pub(super) struct Tcp {
    pub auth_timeout: Given<Read<Duration>>,
    pub idle_timeout: Given<Read<Duration>>,
    pub max_connections: Given<u32>,
    pub max_connections_per_prefix: Given<u32>,
    pub max_unproved: Given<u32>,
    pub max_unproved_per_prefix: Given<u32>,
    pub max_unproved_requests: Given<u32>,
    pub send_buffer: Given<Read<Size>>,
    pub max_queue_age: Given<Read<Duration>>,
    pub busy_rest: Given<Read<Duration>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[tls]`")]
pub(super) struct Tls {
    pub certificate: List<Certificate>,
    pub acme: Given<Acme>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[tls.acme]`")]
pub(super) struct Acme {
    pub domains: List<String>,
    pub agree_to_terms: Given<bool>,
    pub contact: List<String>,
    pub directory: Given<String>,
    pub directory_ca: Given<String>,
    pub state: Given<String>,
    pub challenge: Option<Challenge>,
    pub http_addresses: List<Read<SocketAddr>>,
    pub external_account: Given<ExternalAccount>,
}

#[derive(Deserialize, Default)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table `[tls.acme.external_account]`"
)]
pub(super) struct ExternalAccount {
    pub id: Given<String>,
    pub key: Given<SecretSource>,
}

#[derive(Deserialize, Default)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table `[[tls.certificate]]`"
)]
pub(super) struct Certificate {
    pub certificate: Given<String>,
    pub key: Given<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[dtls]`")]
pub(super) struct Dtls {
    pub max_half_open: Given<u32>,
    pub max_half_open_per_prefix: Given<u32>,
    pub max_associations: Given<u32>,
    pub handshake_timeout: Given<Read<Duration>>,
    pub idle_timeout: Given<Read<Duration>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[sockets]`")]
pub(super) struct Sockets {
    pub receive_buffer: Given<Read<Size>>,
    pub send_buffer: Given<Read<Size>>,
    pub relay_receive_buffer: Given<Read<Size>>,
    pub relay_send_buffer: Given<Read<Size>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[relay]`")]
pub(super) struct Relay {
    pub ports: Given<Read<PortRange>>,
    pub quarantine: Given<Read<Duration>>,
    pub address: List<RelayAddress>,
}

#[derive(Deserialize, Default)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table `[[relay.address]]`"
)]
pub(super) struct RelayAddress {
    pub address: Given<Read<RelayHost>>,
    pub external: Given<AddressSource>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[tcp_relay]`")]
pub(super) struct TcpRelay {
    pub enabled: Given<bool>,
    pub denied_ports: List<u16>,
    pub connections_per_allocation: Given<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[allocation]`")]
pub(super) struct Allocation {
    pub default_lifetime: Given<Read<Duration>>,
    pub max_lifetime: Given<Read<Duration>>,
    pub rfc5766_channels: Option<bool>,
    pub mobility: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[auth]`")]
pub(super) struct Auth {
    pub realm: Given<String>,
    pub nonce_lifetime: Given<Read<Duration>>,
    pub nonce_key: Given<SecretSource>,
    pub password_algorithms: List<PasswordAlgorithm>,
    pub match_user_part: Option<bool>,
    pub strict_expiry: Option<bool>,
    pub revoked: List<String>,
    pub allow_weak: Option<bool>,
    pub secrets: List<SecretSource>,
    pub user: List<User>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[auth.user]]`")]
pub(super) struct User {
    pub name: Given<String>,
    pub password: Given<SecretSource>,
    pub md5_key: Given<SecretSource>,
    pub sha256_key: Given<SecretSource>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[oauth]`")]
pub(super) struct Oauth {
    pub server_name: Given<String>,
    pub truncated_mac_keys: Option<bool>,
    pub key: List<OauthKey>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[oauth.key]]`")]
pub(super) struct OauthKey {
    pub id: Given<String>,
    pub secret: Given<SecretSource>,
    pub algorithm: Option<TokenAlgorithm>,
    pub not_before: Given<Datetime>,
    pub not_after: Given<Datetime>,
}

/// What a key of access tokens is used with, by the names of RFC 7518 (section 5.1).
#[derive(Clone, Copy, Deserialize)]
pub(super) enum TokenAlgorithm {
    #[serde(rename = "A256GCM")]
    A256Gcm,
    #[serde(rename = "A128GCM")]
    A128Gcm,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[alternate]]`")]
pub(super) struct Alternate {
    pub address: Given<Read<SocketAddr>>,
    pub tls_address: Given<Read<SocketAddr>>,
    pub domain: Given<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[stun]`")]
pub(super) struct Stun {
    pub classic: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[peers]`")]
pub(super) struct Peers {
    pub allow: List<Read<IpNet>>,
    pub deny: List<Read<IpNet>>,
    pub nat64_prefixes: List<Read<Ipv6Net>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[limits]`")]
pub(super) struct Limits {
    pub allocations: Given<u32>,
    pub allocations_per_user: Given<u32>,
    pub allocations_per_source: Given<u32>,
    pub permissions_per_allocation: Given<u32>,
    pub channels_per_allocation: Given<u32>,
    pub new_peers_per_second: Given<u32>,
    pub quarantine_per_user: Given<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[strangers]`")]
pub(super) struct Strangers {
    pub prefix_ipv4: Given<u32>,
    pub prefix_ipv6: Given<u32>,
    pub answers_per_prefix: Given<Read<Size>>,
    pub answers_burst: Given<Read<Size>>,
    pub answers_total: Given<Read<Size>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[bandwidth]`")]
pub(super) struct Bandwidth {
    pub per_allocation: Given<Read<Rate>>,
    pub per_user: Given<Read<Rate>>,
    pub total: Given<Read<Rate>>,
    pub burst: Given<Read<Duration>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[log]`")]
pub(super) struct Log {
    pub level: Given<String>,
    pub format: Option<LogFormat>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[metrics]`")]
pub(super) struct Metrics {
    pub address: Given<Read<Option<SocketAddr>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[admin]`")]
pub(super) struct Admin {
    pub socket: Given<String>,
    pub address: Given<Read<Option<SocketAddr>>>,
    pub tls: Given<bool>,
    pub token: List<AdminToken>,
    pub tester: Tester,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[admin.tester]`")]
pub(super) struct Tester {
    pub public: Given<bool>,
    pub address: Given<Read<Option<SocketAddr>>>,
    pub tls: Given<bool>,
    pub ttl: Given<Read<Duration>>,
    pub per_source: Given<u32>,
    pub total: Given<u32>,
    pub allocations: Given<u32>,
    pub bandwidth: Given<Read<Rate>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[[admin.token]]`")]
pub(super) struct AdminToken {
    pub name: Given<String>,
    pub token: Given<SecretSource>,
    pub scope: Option<Scope>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table `[credentials]`")]
pub(super) struct Credentials {
    pub address: Given<Read<Option<SocketAddr>>>,
    pub tls: Given<bool>,
    pub hosts: List<Read<Host>>,
    pub key: List<CredentialKey>,
}

#[derive(Deserialize, Default)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table `[[credentials.key]]`"
)]
pub(super) struct CredentialKey {
    pub name: Given<String>,
    pub token: Given<SecretSource>,
    pub ttl: Given<Read<Duration>>,
    pub max_ttl: Given<Read<Duration>>,
    pub credentials_per_second: Given<u32>,
    pub credentials_burst: Given<u32>,
    pub allocations: Given<u32>,
    pub bandwidth: Given<Read<Rate>>,
    pub origins: List<String>,
}

/// A number of bytes.
#[derive(Clone, Copy)]
pub(super) struct Size(pub u64);

/// Bits a second.
#[derive(Clone, Copy)]
pub(super) struct Rate(pub u64);

/// A value that is written as text.
pub(super) struct Read<T>(pub T);

/// How a value is read from its text.
pub(super) trait Text: Sized {
    /// What such a text looks like.
    const EXPECTED: &'static str;

    fn read(text: &str) -> Result<Self, String>;
}

impl<'de, T: Text> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: Text> Visitor<'_> for Reader<T> {
            type Value = Read<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::read(text).map(Read).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Reader(PhantomData))
    }
}

impl Text for Duration {
    const EXPECTED: &'static str = units::DURATION;

    fn read(text: &str) -> Result<Self, String> {
        units::duration(text)
    }
}

impl Text for Size {
    const EXPECTED: &'static str = units::SIZE;

    fn read(text: &str) -> Result<Self, String> {
        units::size(text).map(Size)
    }
}

impl Text for Rate {
    const EXPECTED: &'static str = units::RATE;

    fn read(text: &str) -> Result<Self, String> {
        units::rate(text).map(Rate)
    }
}

impl Text for SocketAddr {
    const EXPECTED: &'static str =
        "an IP address and a port such as \"0.0.0.0:3478\" or \"[::]:3478\"";

    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let (ip, _) = text.rsplit_once(':').unwrap_or((text, ""));
        let is_v6 = |ip: &str| ip.parse::<Ipv6Addr>().is_ok();
        let why = if is_v6(text) || is_v6(ip) {
            "is an IPv6 address without brackets around it and a port behind it"
        } else if text.parse::<Ipv4Addr>().is_ok() {
            "has no port"
        } else if ip.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            "has no valid port"
        } else {
            "is not an IP address and a port"
        };
        Err(format!("`{text}` {why}; expected {}", Self::EXPECTED))
    }
}

impl Text for Option<SocketAddr> {
    const EXPECTED: &'static str =
        "an IP address and a port such as \"127.0.0.1:9641\", or \"\" for none";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            SocketAddr::read(text).map(Some)
        }
    }
}

impl Text for PortRange {
    const EXPECTED: &'static str = "a range of ports such as \"49152-65535\"";

    fn read(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("`{text}` {why}; expected {}", Self::EXPECTED));
        let Some((first, last)) = text.split_once('-') else {
            return refuse("is not a range");
        };
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>())
        else {
            return refuse("has an end that is not a port number (1024 to 65535)");
        };
        match Self::new(first, last) {
            None => Err(format!(
                "`{text}` is upside down; did you mean \"{last}-{first}\"?"
            )),
            Some(_) if first < 1024 => Err(format!(
                "`{text}` starts below 1024, among the ports of other services; expected 1024 or more"
            )),
            Some(range) => Ok(range),
        }
    }
}

impl Text for RelayHost {
    const EXPECTED: &'static str = "\"ipv4\", \"ipv6\" or an IP address of this host";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "ipv4" => return Ok(Self::Found(Family::V4)),
            "ipv6" => return Ok(Self::Found(Family::V6)),
            _ => {}
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) if text.parse::<SocketAddr>().is_ok() => Err(format!(
                "`{text}` has a port; relayed addresses take theirs from `relay.ports`"
            )),
            Err(_) => Err(format!(
                "`{text}` is not an address; expected {}",
                Self::EXPECTED
            )),
        }
    }
}

impl Text for Host {
    const EXPECTED: &'static str = "a host name or an IP address";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|why| format!("`{text}`: {why}"))
    }
}

impl Text for IpAddr {
    const EXPECTED: &'static str = "an IP address";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            if text.parse::<SocketAddr>().is_ok() {
                format!("`{text}` has a port; expected {} alone", Self::EXPECTED)
            } else {
                format!("`{text}` is not an IP address; host names are not looked up here")
            }
        })
    }
}

impl Text for IpNet {
    const EXPECTED: &'static str = "a prefix such as \"10.0.0.0/8\" or an IP address";

    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        let net = text.parse::<Self>().map_err(|_| {
            let why = match text.split_once('/') {
                Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => "has an impossible length",
                _ if text.contains('-') => "is a range, which is not understood",
                _ => "is not a prefix",
            };
            format!("`{text}` {why}; expected {}", Self::EXPECTED)
        })?;
        if net.addr() == net.network() {
            Ok(net)
        } else {
            Err(format!(
                "`{text}` has bits set behind its prefix; did you mean \"{}\"?",
                net.trunc()
            ))
        }
    }
}

impl Text for Ipv6Net {
    const EXPECTED: &'static str =
        "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits such as \"2001:db8:64::/96\"";

    fn read(text: &str) -> Result<Self, String> {
        match IpNet::read(text)? {
            IpNet::V6(net) if matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) => Ok(net),
            IpNet::V6(net) if net.prefix_len() == 128 && !text.contains('/') => Err(format!(
                "`{text}` has no length; expected {}",
                Self::EXPECTED
            )),
            IpNet::V6(_) => Err(format!(
                "`{text}` is not a NAT64 prefix; expected {}",
                Self::EXPECTED
            )),
            IpNet::V4(_) => Err(format!("`{text}` is IPv4; expected {}", Self::EXPECTED)),
        }
    }
}
