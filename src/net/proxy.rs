//! Clients behind a proxy that says by the PROXY protocol who they are.
//!
//! A listener with trusted proxies serves nobody else: who could pass it by could claim any address. The header's
//! bytes are read by [`crate::wire::proxy_protocol`]; here is who may send one, and the waiting for it.

use crate::engine::counters::ProxyFailureReason;
use crate::wire::proxy_protocol::{self, Header, HeaderError, Origin, Parsed};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How much is read at a time: a header, and mostly what follows it.
const PIECE: usize = 1024;

/// Whether an address is one of the proxies.
pub(super) fn is_trusted(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|net| net.contains(&address))
}

/// The header at the start of a datagram from a source.
pub(super) fn datagram(
    proxies: &[IpNet],
    from: SocketAddr,
    bytes: &[u8],
) -> Result<Header, ProxyFailureReason> {
    if !is_trusted(proxies, from.ip()) {
        return Err(ProxyFailureReason::Untrusted);
    }
    Ok(proxy_protocol::parse_datagram(bytes)?)
}

/// Waits for the header of a connection. What was read behind it stays in `input`.
pub(super) async fn connection(
    proxies: &[IpNet],
    from: SocketAddr,
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
) -> Result<Origin, ProxyFailureReason> {
    if !is_trusted(proxies, from.ip()) {
        return Err(ProxyFailureReason::Untrusted);
    }
    loop {
        if let Parsed::Complete(header) = proxy_protocol::parse(input)? {
            input.drain(..header.length);
            return Ok(header.origin);
        }
        input.reserve(PIECE);
        match stream.read_buf(input).await {
            Ok(1..) => {}
            // Checks of whether the port is open look like this.
            Ok(0) | Err(_) => return Err(ProxyFailureReason::Closed),
        }
    }
}

impl From<HeaderError> for ProxyFailureReason {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Missing => ProxyFailureReason::Missing,
            HeaderError::Malformed => ProxyFailureReason::Malformed,
        }
    }
}
