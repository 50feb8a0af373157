//! The `iceServers` object a web page gives to `RTCPeerConnection`: this server's URLs (RFC 7064, RFC 7065) and a
//! credential.
//!
//! Main items: [`IceServers`], [`urls`], [`Host`].

use std::net::IpAddr;

use serde::Serialize;

pub use crate::config::Host;
use crate::config::{Certificate, Family, Listener, Tls, Transport};
use crate::net::addresses::RelayAddress;

/// `{"iceServers":[{"urls":[…],"username":…,"credential":…}]}`. Contains a credential: print it only where asked to.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServers {
    #[serde(rename = "iceServers")]
    servers: [IceServer; 1],
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct IceServer {
    urls: Vec<String>,
    username: String,
    #[serde(rename = "credentialType", skip_serializing_if = "Option::is_none")]
    credential_type: Option<&'static str>,
    credential: Credential,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Credential {
    Password(String),
    Token(TokenCredential),
}

/// An access token and its key, both in base64: the RTCOAuthCredential that WebRTC's drafts had, and browsers dropped.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct TokenCredential {
    #[serde(rename = "macKey")]
    /// The key.
    pub mac_key: String,
    #[serde(rename = "accessToken")]
    /// The token.
    pub access_token: String,
}

impl IceServers {
    /// One server with its URLs and the credential for it.
    pub fn new(
        urls: Vec<String>,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Self {
        Self {
            servers: [IceServer {
                urls,
                username: username.into(),
                credential_type: None,
                credential: Credential::Password(credential.into()),
            }],
        }
    }

    /// The same with an access token, whose user name is the id of its key.
    pub fn with_token(urls: Vec<String>, kid: String, token: TokenCredential) -> Self {
        Self {
            servers: [IceServer {
                urls,
                username: kid,
                credential_type: Some("oauth"),
                credential: Credential::Token(token),
            }],
        }
    }

    /// On one line, for programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// On several lines, for people to paste.
    pub fn to_json_pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// The URLs by which clients reach these listeners, each once.
///
/// `hosts` are the names to use; without any, the addresses of the listeners themselves, where a wildcard listener and a
/// listener behind 1:1 NAT are reached by what `relays` says is the public address. Over TLS that is the name the first
/// certificate is for, if it has one, since clients refuse a certificate for something else than they asked for.
///
/// Listeners for DTLS are left out, since no browser reaches a TURN server that way: see [`all_urls`].
pub fn urls(
    listeners: &[Listener],
    hosts: &[Host],
    relays: &[RelayAddress],
    tls: &Tls,
) -> Vec<String> {
    let is_for_browsers = |listener: &&Listener| listener.transport != Transport::Dtls;
    let listeners: Vec<_> = listeners.iter().filter(is_for_browsers).cloned().collect();
    all_urls(&listeners, hosts, relays, tls)
}

/// As [`urls`], and those for DTLS too.
pub fn all_urls(
    listeners: &[Listener],
    hosts: &[Host],
    relays: &[RelayAddress],
    tls: &Tls,
) -> Vec<String> {
    let only_here = |listener: &&Listener| listener.address.ip().is_loopback();
    // Beside listeners for the world, one on loopback is for something else on this machine.
    let all = listeners.iter().all(|listener| only_here(&listener));
    let mut reached: Vec<(Host, u16, Transport)> = Vec::new();
    for listener in listeners
        .iter()
        .filter(|listener| all || !only_here(listener))
    {
        for host in hosts_of(listener, hosts, relays) {
            reached.push((host, listener.address.port(), listener.transport));
        }
    }
    // Hosts in the order given, or in which they were come across.
    let order: Vec<Host> = hosts
        .iter()
        .cloned()
        .chain(reached.iter().map(|(host, ..)| host.clone()))
        .collect();
    reached.sort_by_key(|(host, ..)| order.iter().position(|other| other == host));
    let is_name = |name: &&String| !name.starts_with('*');
    let name = tls
        .certificates
        .first()
        .map(Certificate::names)
        .or(tls.acme.as_ref().map(|acme| acme.domains.as_slice()))
        .and_then(|names| names.iter().find(is_name))
        .filter(|_| hosts.is_empty());
    let mut urls = Vec::new();
    for (host, port, _) in &reached {
        let has = |transport| reached.contains(&(host.clone(), *port, transport));
        let mut add = |url: String| {
            if !urls.contains(&url) {
                urls.push(url);
            }
        };
        if has(Transport::Udp) {
            add(format!("stun:{host}:{port}"));
            add(format!("turn:{host}:{port}?transport=udp"));
        }
        if has(Transport::Tcp) || has(Transport::Auto) {
            add(format!("turn:{host}:{port}?transport=tcp"));
        }
        if has(Transport::Tls) || has(Transport::Auto) {
            let host = name.map_or_else(|| host.to_string(), Clone::clone);
            add(format!("turns:{host}:{port}?transport=tcp"));
        }
        if has(Transport::Dtls) {
            let host = name.map_or_else(|| host.to_string(), Clone::clone);
            add(format!("turns:{host}:{port}?transport=udp"));
        }
    }
    urls
}

fn hosts_of(listener: &Listener, hosts: &[Host], relays: &[RelayAddress]) -> Vec<Host> {
    let ip = listener.address.ip();
    let fits = |other: IpAddr| Family::of(other) == Family::of(ip);
    if !hosts.is_empty() {
        let fits = |host: &&Host| !matches!(host, Host::Ip(other) if !fits(*other));
        return hosts.iter().filter(fits).cloned().collect();
    }
    let addresses: Vec<IpAddr> = if ip.is_unspecified() {
        relays
            .iter()
            .map(RelayAddress::public)
            .filter(|public| fits(*public))
            .collect()
    } else {
        let public = relays
            .iter()
            .find(|relay| relay.address == ip)
            .map_or(ip, RelayAddress::public);
        vec![public]
    };
    addresses.into_iter().map(Host::Ip).collect()
}
