//! A name or an address by which clients reach a server.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;

/// A name or an IP address in a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An IP address; IPv6 is displayed in brackets.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Ip(ip));
        }
        if text.contains(':') {
            return Err(
                "expected a name or an IP address alone; ports come from the listeners".to_owned(),
            );
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
        {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err("expected a host name or an IP address".to_owned())
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> String {
        host.to_string()
    }
}
