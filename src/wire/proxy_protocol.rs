//! The PROXY protocol's header, versions 1 and 2, by which a proxy says whose bytes it passes on.
//!
//! A header stands in front of a connection's bytes ([`parse`]) or, version 2 only, of each datagram
//! ([`parse_datagram`]). Whom to believe such a header is not decided here. The main types are [`Header`] and [`Origin`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header of version 1, its line's end included.
pub const MAX_TEXT: usize = 107;

/// The longest header of version 2 that is taken. The protocol would allow 64 KiB; proxies send some hundred bytes,
/// and whoever holds a connection open for the rest is no proxy.
pub const MAX_BINARY: usize = 4096;

/// How each header of version 2 begins.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How each header of version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// The part of version 2 in front of the addresses.
const FIXED: usize = 16;

/// Whose bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Those of a client elsewhere.
    Proxied {
        /// The client's address.
        client: SocketAddr,
        /// The address the client reached.
        server: SocketAddr,
    },
    /// Those of the sender itself (LOCAL, as for health checks), or of someone it cannot name (UNKNOWN, UNSPEC, Unix
    /// sockets): the addresses of the socket count.
    Sender,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose bytes follow.
    pub origin: Origin,
    /// How many bytes the header has.
    pub length: usize,
}

/// What the start of a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header.
    Complete(Header),
    /// The beginning of one.
    Partial,
}

/// Why something is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin like one.
    #[error("no PROXY protocol header")]
    Missing,
    /// It begins like one, and goes on otherwise.
    #[error("a malformed PROXY protocol header")]
    Malformed,
}

/// Looks for a header of either version at the start of a stream.
///
/// # Errors
/// As soon as the bytes cannot become a header any more.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if bytes.starts_with(&SIGNATURE) {
        return binary(bytes);
    }
    if bytes.starts_with(WORD) {
        return text(bytes);
    }
    if SIGNATURE.starts_with(bytes) || WORD.starts_with(bytes) {
        return Ok(Parsed::Partial);
    }
    Err(HeaderError::Missing)
}

/// Reads the header at the start of a datagram, which has to be whole and of version 2.
///
/// # Errors
/// Where there is none.
pub fn parse_datagram(bytes: &[u8]) -> Result<Header, HeaderError> {
    if !bytes.starts_with(&SIGNATURE) {
        return Err(HeaderError::Missing);
    }
    match binary(bytes)? {
        Parsed::Complete(header) => Ok(header),
        Parsed::Partial => Err(HeaderError::Malformed),
    }
}

fn text(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let window = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        // A carriage return at the very end may be the first half of the line's end.
        return if window.len() < MAX_TEXT {
            Ok(Parsed::Partial)
        } else {
            Err(HeaderError::Malformed)
        };
    };
    let line = window.get(WORD.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let origin = origin_of_line(line).ok_or(HeaderError::Malformed)?;
    Ok(Parsed::Complete(Header {
        origin,
        length: end + 2,
    }))
}

/// What a line says behind its first word: `TCP4 192.0.2.1 192.0.2.2 50000 3478`.
fn origin_of_line(line: &str) -> Option<Origin> {
    let mut words = line.split(' ');
    let origin = match words.next()? {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(Origin::Sender),
        "TCP4" => addresses::<Ipv4Addr>(&mut words)?,
        "TCP6" => addresses::<Ipv6Addr>(&mut words)?,
        _ => return None,
    };
    words.next().is_none().then_some(origin)
}

fn addresses<'a, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<Origin> {
    let client: A = words.next()?.parse().ok()?;
    let server: A = words.next()?.parse().ok()?;
    let client = SocketAddr::new(client.into(), port(words.next()?)?);
    let server = SocketAddr::new(server.into(), port(words.next()?)?);
    Some(Origin::Proxied { client, server })
}

/// A decimal number without sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

fn binary(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let Some(&first) = rest.first() else {
        return Ok(Parsed::Partial);
    };
    let is_local = match first {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed),
    };
    let Some(&kind) = rest.get(1) else {
        return Ok(Parsed::Partial);
    };
    let (family, protocol) = (kind >> 4, kind & 0x0F);
    if family > 3 || protocol > 2 {
        return Err(HeaderError::Malformed);
    }
    let Some(&[_, _, high, low]) = rest.first_chunk::<4>() else {
        return Ok(Parsed::Partial);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    // The addresses have to fit, and what follows them (TLVs) is of no interest here.
    let addresses = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    if length > MAX_BINARY || !is_local && length < FIXED + addresses {
        return Err(HeaderError::Malformed);
    }
    let Some(block) = bytes.get(FIXED..length) else {
        return Ok(Parsed::Partial);
    };
    let origin = match family {
        // The addresses of a LOCAL header mean nothing, and neither do those of a protocol without a name.
        _ if is_local || protocol == 0 => Some(Origin::Sender),
        1 => proxied::<4>(block),
        2 => proxied::<16>(block),
        _ => Some(Origin::Sender),
    };
    let origin = origin.ok_or(HeaderError::Malformed)?;
    Ok(Parsed::Complete(Header { origin, length }))
}

/// Source and destination address of `N` bytes, then their ports.
fn proxied<const N: usize>(block: &[u8]) -> Option<Origin>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let &[c0, c1, s0, s1] = rest.first_chunk::<4>()?;
    Some(Origin::Proxied {
        client: SocketAddr::new(IpAddr::from(*client), u16::from_be_bytes([c0, c1])),
        server: SocketAddr::new(IpAddr::from(*server), u16::from_be_bytes([s0, s1])),
    })
}
