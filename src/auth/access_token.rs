//! Access tokens of third-party authorization (RFC 7635 §6.2): reading, making, and how long they are good.
//!
//! A token is the length of an AEAD nonce, the nonce, and an encrypted block with its tag; the block holds the `mac_key` that
//! signs the client's requests, the time the token was made and its lifetime. The server's name is the associated data,
//! so that a token for one server opens at no other. Both AEADs take a nonce of 12 bytes and nothing else (RFC 5116
//! §5.1), and a `mac_key` has 20 to 32 bytes here, so a token is 64 to 76 bytes long: every length is known before it is
//! used.
//!
//! Whose token it is and whether a request goes with it is not decided here, see [`super::Authenticator`]. Nothing is
//! remembered of a token: a client may show one as often as it likes while it lasts (RFC 7635 §9).
//!
//! Its main types are [`AccessToken`] and [`TokenCipher`].

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Serialize;

use crate::wire::Key;

/// Bytes of an AEAD nonce.
pub const TOKEN_NONCE_LENGTH: usize = 12;
/// Bytes of an AEAD tag.
const TAG_LENGTH: usize = 16;
/// Bytes of the block beside the `mac_key`: its length, the timestamp, the lifetime.
const BLOCK_OVERHEAD: usize = 2 + 8 + 4;
/// HMAC-SHA1's key, which RFC 7635 §6.2 demands; a shorter one would be a weaker signature.
const SHORTEST_MAC_KEY: usize = 20;
/// How far a token may be off, in seconds (RFC 7635 §7 calls it Delta).
const DELTA: u64 = 5;
/// Fractions of a second are counted in these (RFC 7635 §6.2).
const FRACTIONS: u128 = 64_000;

/// How a token is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum TokenAlgorithm {
    /// AEAD_AES_256_GCM, which every server has.
    Aes256Gcm,
    /// AEAD_AES_128_GCM.
    Aes128Gcm,
}

impl TokenAlgorithm {
    /// The length of the key in bytes.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes256Gcm => 32,
            Self::Aes128Gcm => 16,
        }
    }

    /// The name that keys are provisioned with (RFC 7518 §5.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "A256GCM",
            Self::Aes128Gcm => "A128GCM",
        }
    }
}

/// A key shared with an authorization server, ready to open and to seal.
pub struct TokenCipher(LessSafeKey);

impl TokenCipher {
    /// Takes over a key. `None` where it has not the length that the algorithm wants.
    #[must_use]
    pub fn new(algorithm: TokenAlgorithm, key: &[u8]) -> Option<Self> {
        let algorithm = match algorithm {
            TokenAlgorithm::Aes256Gcm => &AES_256_GCM,
            TokenAlgorithm::Aes128Gcm => &AES_128_GCM,
        };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// A token with this block, whatever the block says; [`AccessToken::seal`] makes one that is right. No two tokens of
    /// a key may have the same nonce.
    #[must_use]
    pub fn seal(
        &self,
        server_name: &str,
        nonce: [u8; TOKEN_NONCE_LENGTH],
        block: &[u8],
    ) -> Option<Vec<u8>> {
        let mut sealed = block.to_vec();
        let aad = Aad::from(server_name.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        let length = (TOKEN_NONCE_LENGTH as u16).to_be_bytes();
        Some([&length[..], &nonce[..], sealed.as_slice()].concat())
    }

    /// Decrypts in place; `None` where the tag does not fit.
    fn open<'b>(
        &self,
        server_name: &str,
        nonce: [u8; TOKEN_NONCE_LENGTH],
        sealed: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        let aad = Aad::from(server_name.as_bytes());
        let block = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(nonce), aad, sealed);
        block.ok().map(|block| &*block)
    }
}

impl fmt::Debug for TokenCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCipher(***)")
    }
}

/// What is in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessToken {
    mac_key: Key,
    timestamp: u64,
    lifetime: u32,
}

impl AccessToken {
    /// A token made at a time, in Unix seconds, for so many seconds. `None` where the `mac_key` is not 20 to 32 bytes
    /// long, or the time needs more than 48 bits.
    #[must_use]
    pub fn new(mac_key: &[u8], unix_made: u64, lifetime: u32) -> Option<Self> {
        Self::with_timestamp(mac_key, unix_made.checked_mul(1 << 16)?, lifetime)
    }

    /// The same with the timestamp as it is written: 48 bits of Unix seconds, 16 bits of 1/64000 seconds.
    fn with_timestamp(mac_key: &[u8], timestamp: u64, lifetime: u32) -> Option<Self> {
        if mac_key.len() < SHORTEST_MAC_KEY {
            return None;
        }
        Some(Self {
            mac_key: Key::from_bytes(mac_key)?,
            timestamp,
            lifetime,
        })
    }

    /// Opens a token. `None` where it is malformed, sealed with another key, or for another server.
    #[must_use]
    pub fn open(cipher: &TokenCipher, server_name: &str, token: &[u8]) -> Option<Self> {
        let (nonce_length, rest) = token.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(*nonce_length)) != TOKEN_NONCE_LENGTH {
            return None;
        }
        let (nonce, sealed) = rest.split_first_chunk()?;
        let mut buffer = [0; BLOCK_OVERHEAD + Key::MAX_LENGTH + TAG_LENGTH];
        let buffer = buffer.get_mut(..sealed.len())?;
        buffer.copy_from_slice(sealed);
        Self::read(cipher.open(server_name, *nonce, buffer)?)
    }

    /// Reads a decrypted block, which has to be filled.
    fn read(block: &[u8]) -> Option<Self> {
        let (key_length, rest) = block.split_first_chunk()?;
        let key_length = usize::from(u16::from_be_bytes(*key_length));
        let (mac_key, rest) = rest.split_at_checked(key_length)?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let lifetime = rest.try_into().ok()?;
        Self::with_timestamp(
            mac_key,
            u64::from_be_bytes(*timestamp),
            u32::from_be_bytes(lifetime),
        )
    }

    /// Makes a token of it. `None` only where the cipher fails, which it does not for blocks this short.
    #[must_use]
    pub fn seal(
        &self,
        cipher: &TokenCipher,
        server_name: &str,
        nonce: [u8; TOKEN_NONCE_LENGTH],
    ) -> Option<Vec<u8>> {
        let mac_key = self.mac_key.as_bytes();
        let block = [
            (mac_key.len() as u16).to_be_bytes().as_slice(),
            mac_key,
            &self.timestamp.to_be_bytes(),
            &self.lifetime.to_be_bytes(),
        ]
        .concat();
        cipher.seal(server_name, nonce, &block)
    }

    /// The key of the integrity of requests that come with it, and of their answers.
    #[must_use]
    pub const fn mac_key(&self) -> &Key {
        &self.mac_key
    }

    /// The time it was made as it is written: 48 bits of Unix seconds, 16 bits of 1/64000 seconds.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Its lifetime in seconds.
    #[must_use]
    pub const fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// How long an allocation may live by it, in seconds rounded up; `None` when it is not good (any more, or yet).
    ///
    /// RFC 7635 §7 and §9: a token is good while its lifetime and 5 seconds more are longer than now is away from when
    /// it was made, and what is left of that is the most an allocation gets. It may have been made in the future: clocks
    /// differ.
    #[must_use]
    pub fn remaining(&self, unix_now: u64) -> Option<u32> {
        let made =
            u128::from(self.timestamp >> 16) * FRACTIONS + u128::from(self.timestamp & 0xFFFF);
        let away = (u128::from(unix_now) * FRACTIONS).abs_diff(made);
        let good_for = u128::from(u64::from(self.lifetime) + DELTA) * FRACTIONS;
        let left = good_for.checked_sub(away).filter(|left| *left > 0)?;
        Some(u32::try_from(left.div_ceil(FRACTIONS)).unwrap_or(u32::MAX))
    }
}
