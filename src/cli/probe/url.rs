//! `stun:`, `turn:`, `stuns:` and `turns:` URLs (RFC 7064 §3.1, RFC 7065 §3.1), as browsers take them in `iceServers`.
//!
//! Not a general URL parser: these schemes have neither `//` nor a path nor user information. The main type is
//! [`ProbeUrl`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Where STUN and TURN listen over UDP and TCP when the URL names no port (RFC 8489 §18.6).
pub const DEFAULT_PORT: u16 = 3478;

/// The same over TLS.
pub const DEFAULT_TLS_PORT: u16 = 5349;

/// What the server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `stun:` or `stuns:`, a mapped address.
    Stun,
    /// `turn:` or `turns:`, relayed addresses.
    Turn,
}

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream.
    Tcp,
    /// A byte stream under TLS.
    Tls,
}

/// The host part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address, written out.
    Ip(IpAddr),
    /// A name that has to be resolved.
    Name(String),
}

/// A parsed URL: what it says, and nothing where it leaves the choice to DNS or to defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeUrl {
    /// `stun` or `turn`.
    pub scheme: Scheme,
    /// `stuns` or `turns`: TLS and nothing else.
    pub is_secure: bool,
    /// The server.
    pub host: Host,
    /// Its port.
    pub port: Option<u16>,
    /// How to reach it. Always there for `stun:` (UDP) and `stuns:` (TLS), which have no `?transport`.
    pub transport: Option<Transport>,
}

/// Why a text is not a URL the probe can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No `stun:` or `turn:` in front.
    #[error(
        "write it as stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp], with TLS as stuns: or turns:"
    )]
    Scheme,
    /// `turns:` over UDP.
    #[error("turns: over UDP needs DTLS, which the probe does not have; ?transport=tcp is TLS")]
    Dtls,
    /// `turn://host`.
    #[error("STUN and TURN URLs have no // after the colon")]
    Slashes,
    /// `turn:user@host`.
    #[error("a STUN or TURN URL carries no user name; use --username")]
    UserInformation,
    /// Nothing between the scheme and the port.
    #[error("the host is missing")]
    NoHost,
    /// A character that no host name has.
    #[error("'{0}' is not a host name or address")]
    Host(String),
    /// Brackets around something else, or `[` without `]`.
    #[error("'{0}' is not an IPv6 address in brackets")]
    Ipv6(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address goes in brackets, as in [{0}]")]
    Brackets(Ipv6Addr),
    /// Not a number from 1 to 65535.
    #[error("'{0}' is not a port; ports go from 1 to 65535")]
    Port(String),
    /// A query in a `stun:` URL.
    #[error("a stun: URL takes no ?transport; the Binding goes over UDP")]
    StunQuery,
    /// A query other than `?transport=udp` or `?transport=tcp`.
    #[error("'?{0}' is not understood; only ?transport=udp and ?transport=tcp are")]
    Query(String),
}

impl FromStr for ProbeUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<ProbeUrl, UrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Scheme)?;
        let (scheme, is_secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (Scheme::Stun, false),
            "turn" => (Scheme::Turn, false),
            "stuns" => (Scheme::Stun, true),
            "turns" => (Scheme::Turn, true),
            _ => return Err(UrlError::Scheme),
        };
        if rest.starts_with("//") {
            return Err(UrlError::Slashes);
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let transport = match (scheme, query) {
            (Scheme::Stun, None) if is_secure => Some(Transport::Tls),
            (Scheme::Stun, None) => Some(Transport::Udp),
            (Scheme::Stun, Some(_)) => return Err(UrlError::StunQuery),
            (Scheme::Turn, None) => None,
            (Scheme::Turn, Some(query)) => match query.to_ascii_lowercase().as_str() {
                "transport=udp" if is_secure => return Err(UrlError::Dtls),
                "transport=udp" => Some(Transport::Udp),
                "transport=tcp" if is_secure => Some(Transport::Tls),
                "transport=tcp" => Some(Transport::Tcp),
                _ => return Err(UrlError::Query(query.to_owned())),
            },
        };
        if authority.contains('@') {
            return Err(UrlError::UserInformation);
        }
        let (host, port) = host_and_port(authority)?;
        Ok(ProbeUrl {
            scheme,
            is_secure,
            host,
            port,
            transport,
        })
    }
}

impl ProbeUrl {
    /// The transports that the URL allows, the one to prefer first (RFC 5928 §3).
    #[must_use]
    pub fn transports(&self) -> &[Transport] {
        match self.transport {
            Some(Transport::Udp) => &[Transport::Udp],
            Some(Transport::Tcp) => &[Transport::Tcp],
            Some(Transport::Tls) => &[Transport::Tls],
            None if self.is_secure => &[Transport::Tls],
            None => &[Transport::Udp, Transport::Tcp, Transport::Tls],
        }
    }

    /// Whether TLS is what the URL asks for, or what DNS may make of it.
    #[must_use]
    pub fn may_be_tls(&self) -> bool {
        let left_to_dns = matches!(self.host, Host::Name(_)) && self.port.is_none();
        self.is_secure || (left_to_dns && self.transports().contains(&Transport::Tls))
    }

    /// The labels before the host's name where its SRV records are (RFC 8489 §8.1, RFC 8656 §5).
    #[must_use]
    pub fn service(&self, transport: Transport) -> &'static str {
        match (self.scheme, transport) {
            (Scheme::Stun, Transport::Udp) => "_stun._udp",
            (Scheme::Stun, Transport::Tcp) => "_stun._tcp",
            (Scheme::Stun, Transport::Tls) => "_stuns._tcp",
            (Scheme::Turn, Transport::Udp) => "_turn._udp",
            (Scheme::Turn, Transport::Tcp) => "_turn._tcp",
            (Scheme::Turn, Transport::Tls) => "_turns._tcp",
        }
    }
}

impl Transport {
    /// Where a server listens unless something says otherwise.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => DEFAULT_PORT,
            Transport::Tls => DEFAULT_TLS_PORT,
        }
    }
}

fn host_and_port(authority: &str) -> Result<(Host, Option<u16>), UrlError> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let wrong = || UrlError::Ipv6(authority.to_owned());
        let (address, after) = bracketed.split_once(']').ok_or_else(wrong)?;
        let address = address.parse::<Ipv6Addr>().map_err(|_| wrong())?;
        let port = match after.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if after.is_empty() => None,
            None => return Err(wrong()),
        };
        return Ok((Host::Ip(IpAddr::V6(address)), port));
    }
    if let Ok(address) = authority.parse::<Ipv6Addr>() {
        return Err(UrlError::Brackets(address));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((Host::Ip(IpAddr::V4(address)), port));
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !host.chars().all(allowed) {
        return Err(UrlError::Host(host.to_owned()));
    }
    Ok((Host::Name(host.to_owned()), port))
}

/// An empty port is none (RFC 3986 §3.2.3).
fn parse_port(text: &str) -> Result<Option<u16>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || UrlError::Port(text.to_owned());
    // `parse` alone would take a sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(wrong()),
        Ok(port) => Ok(Some(port)),
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.scheme, self.is_secure) {
            (Scheme::Stun, false) => "stun:",
            (Scheme::Stun, true) => "stuns:",
            (Scheme::Turn, false) => "turn:",
            (Scheme::Turn, true) => "turns:",
        })?;
        self.host.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match (self.scheme, self.transport) {
            (Scheme::Turn, Some(Transport::Udp)) => f.write_str("?transport=udp"),
            (Scheme::Turn, Some(Transport::Tcp | Transport::Tls)) => f.write_str("?transport=tcp"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, UrlError> {
        text.parse::<ProbeUrl>().map(|url| url.to_string())
    }

    #[test]
    fn urls_of_the_rfcs_are_read() {
        for (text, printed) in [
            ("stun:example.org", "stun:example.org"),
            ("stun:example.org:8000", "stun:example.org:8000"),
            ("STUN:192.0.2.1", "stun:192.0.2.1"),
            ("turn:example.org", "turn:example.org"),
            ("turn:example.org:", "turn:example.org"),
            (
                "turn:a_b.c-d:1?transport=udp",
                "turn:a_b.c-d:1?transport=udp",
            ),
            ("Turn:h:65535?Transport=TCP", "turn:h:65535?transport=tcp"),
            ("turn:[2001:DB8::1]:80", "turn:[2001:db8::1]:80"),
            ("turn:[::1]?transport=tcp", "turn:[::1]?transport=tcp"),
            ("stun:bücher.example", "stun:bücher.example"),
            ("stuns:h", "stuns:h"),
            ("stuns:h:443", "stuns:h:443"),
            ("turns:h", "turns:h"),
            ("TURNS:[::1]:443", "turns:[::1]:443"),
            ("turns:h?transport=tcp", "turns:h?transport=tcp"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(printed), "{text}");
            assert_eq!(
                parse(printed).as_deref(),
                Ok(printed),
                "printed form of {text}"
            );
        }
    }

    #[test]
    fn what_a_url_leaves_open_is_left_to_the_look_up() {
        use Transport::{Tcp, Tls, Udp};
        for (text, port, transports) in [
            ("stun:h", None, &[Udp][..]),
            ("stuns:h:443", Some(443), &[Tls]),
            ("turn:h", None, &[Udp, Tcp, Tls]),
            ("turn:h?transport=tcp", None, &[Tcp]),
            ("turns:h:443", Some(443), &[Tls]),
            ("turns:h?transport=tcp", None, &[Tls]),
        ] {
            let url = text.parse::<ProbeUrl>().unwrap();
            assert_eq!((url.port, url.transports()), (port, transports), "{text}");
        }
    }

    #[test]
    fn an_address_is_told_from_a_name() {
        let host = |text: &str| text.parse::<ProbeUrl>().unwrap().host;
        assert_eq!(
            host("stun:192.0.2.1"),
            Host::Ip("192.0.2.1".parse().unwrap())
        );
        assert_eq!(host("stun:[::1]"), Host::Ip("::1".parse().unwrap()));
        assert_eq!(
            host("stun:one.example"),
            Host::Name("one.example".to_owned())
        );
    }

    #[test]
    fn what_is_no_stun_or_turn_url_is_refused_with_the_reason() {
        let text = |t: &str| t.to_owned();
        for (url, error) in [
            ("", UrlError::Scheme),
            ("example.org", UrlError::Scheme),
            ("example.org:3478", UrlError::Scheme),
            ("http://example.org", UrlError::Scheme),
            ("turns:example.org?transport=udp", UrlError::Dtls),
            ("stuns:example.org?transport=tcp", UrlError::StunQuery),
            ("turn://example.org", UrlError::Slashes),
            ("turn:user@example.org", UrlError::UserInformation),
            ("turn:", UrlError::NoHost),
            ("turn::3478", UrlError::NoHost),
            ("turn:?transport=udp", UrlError::NoHost),
            ("turn:a b", UrlError::Host(text("a b"))),
            ("turn:h/path", UrlError::Host(text("h/path"))),
            ("turn:h:3478/path", UrlError::Port(text("3478/path"))),
            ("turn:h:0", UrlError::Port(text("0"))),
            ("turn:h:65536", UrlError::Port(text("65536"))),
            ("turn:h:+80", UrlError::Port(text("+80"))),
            ("turn:h:80:81", UrlError::Port(text("80:81"))),
            ("turn:[::1", UrlError::Ipv6(text("[::1"))),
            ("turn:[::1]x", UrlError::Ipv6(text("[::1]x"))),
            ("turn:[192.0.2.1]", UrlError::Ipv6(text("[192.0.2.1]"))),
            (
                "turn:[fe80::1%eth0]",
                UrlError::Ipv6(text("[fe80::1%eth0]")),
            ),
            ("turn:::1", UrlError::Brackets("::1".parse().unwrap())),
            ("stun:h?transport=udp", UrlError::StunQuery),
            (
                "turn:h?transport=sctp",
                UrlError::Query(text("transport=sctp")),
            ),
            ("turn:h?", UrlError::Query(text(""))),
            (
                "turn:h?transport=udp&x=y",
                UrlError::Query(text("transport=udp&x=y")),
            ),
        ] {
            assert_eq!(parse(url), Err(error), "{url}");
        }
    }
}
