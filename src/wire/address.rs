//! Transport addresses on the wire: `00 family port address`, plain or XOR-ed with cookie and transaction id
//! (RFC 8489 §14.1 and §14.2).

use super::header::{MAGIC_COOKIE, TransactionId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest value: four bytes of head and an IPv6 address.
pub const MAX_LENGTH: usize = 20;

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// An encoded address.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl Encoded {
    /// The value, 8 or 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

fn mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    let (head, tail) = mask.split_at_mut(4);
    head.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    tail.copy_from_slice(&transaction.0);
    mask
}

fn assemble(family: u8, port: u16, octets: &[u8]) -> Encoded {
    let mut bytes = [0; MAX_LENGTH];
    let [high, low] = port.to_be_bytes();
    let head = [0, family, high, low];
    for (to, from) in bytes.iter_mut().zip(head.iter().chain(octets)) {
        *to = *from;
    }
    Encoded {
        bytes,
        length: 4 + octets.len(),
    }
}

/// Encodes an address as it is.
#[must_use]
pub fn encode(address: SocketAddr) -> Encoded {
    match address.ip() {
        IpAddr::V4(ip) => assemble(FAMILY_V4, address.port(), &ip.octets()),
        IpAddr::V6(ip) => assemble(FAMILY_V6, address.port(), &ip.octets()),
    }
}

/// Encodes an address XOR-ed with the magic cookie and, for IPv6, the transaction id.
#[must_use]
pub fn encode_xor(address: SocketAddr, transaction: TransactionId) -> Encoded {
    encode(xor(address, transaction))
}

/// Decodes a plain address; `None` when family or length is wrong. The first byte is ignored.
#[must_use]
pub fn decode(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], octets) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high, low]);
    let ip = match family {
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Decodes an XOR-ed address; `None` when family or length is wrong.
#[must_use]
pub fn decode_xor(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    decode(value).map(|address| xor(address, transaction))
}

/// XOR is its own inverse, so this both hides and reveals.
fn xor(address: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mask = u128::from_be_bytes(mask(transaction));
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ mask))
        }
    };
    SocketAddr::new(ip, port)
}
