//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and the keys they are made with (RFC 8489 §9.2.2, §14.5, §14.6).

use super::message::Message;
use hmac::{Hmac, KeyInit};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::fmt;
use std::ops::Deref;
use subtle::ConstantTimeEq;

/// Which of the two integrity attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    /// MESSAGE-INTEGRITY, HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, HMAC-SHA256.
    Sha256,
}

impl Mac {
    /// The length of the attribute's value in bytes, untruncated.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Mac::Sha1 => 20,
            Mac::Sha256 => 32,
        }
    }
}

/// How a long-term key is made of user name, realm and password (RFC 8489 §18.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// 0x0001; what every RFC 5389 client uses.
    Md5,
    /// 0x0002.
    Sha256,
}

impl PasswordAlgorithm {
    /// The code point of PASSWORD-ALGORITHM.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            PasswordAlgorithm::Md5 => 1,
            PasswordAlgorithm::Sha256 => 2,
        }
    }

    /// The length of a long-term key in bytes.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            PasswordAlgorithm::Md5 => 16,
            PasswordAlgorithm::Sha256 => 32,
        }
    }

    /// Reads the value of PASSWORD-ALGORITHM (RFC 8489 §14.12); `None` for an unknown algorithm, and for parameters,
    /// which neither of the known ones has.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        match value {
            [0, 1, 0, 0] => Some(PasswordAlgorithm::Md5),
            [0, 2, 0, 0] => Some(PasswordAlgorithm::Sha256),
            _ => None,
        }
    }
}

/// The value of USERHASH: the SHA-256 digest of `username:realm` (RFC 8489 §14.4). Both have to be prepared already, see
/// [`super::strings`].
#[must_use]
pub fn userhash(username: &[u8], realm: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(username)
        .chain_update(b":")
        .chain_update(realm)
        .finalize()
        .into()
}

/// The key of a message's integrity, at most 32 bytes. Its `Debug` form shows nothing of it.
#[derive(Clone, Copy)]
pub struct Key {
    bytes: [u8; Key::MAX_LENGTH],
    length: u8,
}

impl Key {
    /// The longest key.
    pub const MAX_LENGTH: usize = 32;

    /// A key of raw bytes: a short-term password (RFC 8489 §9.1.1) or a stored long-term key. `None` when it is
    /// longer than 32 bytes.
    #[must_use]
    pub fn from_bytes(raw: &[u8]) -> Option<Key> {
        let mut bytes = [0; Key::MAX_LENGTH];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Key {
            bytes,
            length: u8::try_from(raw.len()).ok()?,
        })
    }

    /// The long-term key: a digest of `username:realm:password` (RFC 8489 §9.2.2). The strings have to be prepared
    /// already, see [`super::strings`].
    #[must_use]
    pub fn long_term(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &str,
        password: &[u8],
    ) -> Key {
        fn digest<D: Digest>(parts: [&[u8]; 5]) -> Key {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            let mut bytes = [0; Key::MAX_LENGTH];
            let output = hash.finalize();
            for (to, from) in bytes.iter_mut().zip(output.iter()) {
                *to = *from;
            }
            let length = output.len().min(Key::MAX_LENGTH) as u8;
            Key { bytes, length }
        }
        let parts = [username, b":", realm.as_bytes(), b":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => digest::<Md5>(parts),
            PasswordAlgorithm::Sha256 => digest::<Sha256>(parts),
        }
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }

    /// The MAC over a message's bytes up to the integrity attribute, with the length field as if that attribute were
    /// the last. The result's first [`Mac::length`] bytes count.
    pub(super) fn mac(&self, mac: Mac, covered: &[u8]) -> [u8; 32] {
        match mac {
            Mac::Sha1 => self.run::<Hmac<Sha1>>(mac, covered),
            Mac::Sha256 => self.run::<Hmac<Sha256>>(mac, covered),
        }
    }

    fn run<H: hmac::Mac + KeyInit>(&self, mac: Mac, covered: &[u8]) -> [u8; 32] {
        let mut result = [0; 32];
        let (kind, rest) = covered.split_at_checked(2).unwrap_or((covered, &[]));
        let after_length = rest.get(2..).unwrap_or_default();
        let length =
            (covered.len() + 4 + mac.length()).saturating_sub(super::header::HEADER_LENGTH);
        // An HMAC takes a key of any length, so this never fails.
        if let Ok(mut hmac) = <H as KeyInit>::new_from_slice(self.as_bytes()) {
            hmac.update(kind);
            hmac.update(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            hmac.update(after_length);
            for (to, from) in result.iter_mut().zip(hmac.finalize().into_bytes()) {
                *to = from;
            }
        }
        result
    }

    /// Whether `value` is the whole, untruncated MAC of `covered`; in constant time.
    pub(super) fn verifies(&self, mac: Mac, covered: &[u8], value: &[u8]) -> bool {
        let expected = self.mac(mac, covered);
        expected
            .get(..mac.length())
            .is_some_and(|expected| expected.ct_eq(value).into())
    }
}

/// In constant time, save for the length.
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// A message whose integrity was checked. It can only be had from [`Message::authenticate`], and shows only what
/// the integrity covers.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'a> {
    message: Message<'a>,
    mac: Mac,
}

impl<'a> Authenticated<'a> {
    pub(super) const fn new(message: Message<'a>, mac: Mac) -> Self {
        Self { message, mac }
    }

    /// The attribute that was verified; the response carries the same one.
    #[must_use]
    pub const fn verified_by(&self) -> Mac {
        self.mac
    }
}

impl<'a> Deref for Authenticated<'a> {
    type Target = Message<'a>;

    fn deref(&self) -> &Message<'a> {
        &self.message
    }
}
