//! Nonces that need no memory: a nonce proves by itself when, for whom and by whom it was made.
//!
//! A nonce is the base64 text of a timestamp, a salt and an HMAC over these, the client's address and transport, and
//! the realm. So the server keeps nothing for a client that has not proved a credential, and a nonce caught on its
//! way to one client is of no use from another address (RFC 8489 §9.2, RFC 8656 §5).
//! There is no count of uses here, and no credential.
//!
//! The HMAC key belongs to an epoch as long as a nonce's lifetime and is derived from the master key, so that keys
//! rotate; a nonce is checked with the key of the epoch that it was made in.
//!
//! Its main types are [`NonceKeys`] and [`Nonce`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Bytes of the timestamp, the salt and the MAC.
const RAW_LENGTH: usize = 4 + 4 + MAC_LENGTH;

/// 128 bits, what RFC 8656 §5 asks of a nonce.
const MAC_LENGTH: usize = 16;

/// Characters of the text.
const TEXT_LENGTH: usize = RAW_LENGTH / 3 * 4;

/// How far ahead of the clock a timestamp may be, in seconds. Workers read the clock once a batch, so one may check what
/// another has just made with a later time.
const TOLERANCE_SECONDS: u32 = 5;

/// The text of a NONCE attribute; its characters are legal in a quoted string without escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    // The security feature cookie of RFC 8489 §9.2, 13 characters, has room in front.
    text: [u8; Nonce::MAX_LENGTH],
    length: u8,
}

impl Nonce {
    /// The longest nonce in bytes (RFC 8489 §14.10: fewer than 128 characters).
    pub const MAX_LENGTH: usize = 127;

    /// The value of the attribute.
    pub fn as_bytes(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.length))
            .unwrap_or(&self.text)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(***)")
    }
}

/// Whether a nonce may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceVerdict {
    /// Made here, for this client, and not too long ago.
    Fresh,
    /// Anything else: 438 with a new one (RFC 8489 §9.2.4).
    Stale,
}

/// Makes and checks nonces.
#[derive(Clone)]
pub struct NonceKeys {
    master: Hmac<Sha256>,
    lifetime_seconds: u32,
}

impl NonceKeys {
    /// `master` is a random key that every worker shares. A nonce is good for `lifetime_seconds`; a lifetime of 0 is
    /// taken as one second and one above 2^31 - 1 as that.
    pub fn new(master: [u8; 32], lifetime_seconds: u32) -> Self {
        Self {
            master: keyed(&master),
            lifetime_seconds: lifetime_seconds.clamp(1, u32::MAX / 2),
        }
    }

    /// Makes a nonce for `client`.
    ///
    /// `now` is in seconds of any clock that does not run backwards by much, the same for
    /// [`check`](Self::check). `transport` tells apart clients that have the same address on different
    /// transports. `salt` is random, so that no two nonces of one client are the same.
    pub fn mint(
        &self,
        now: u64,
        client: SocketAddr,
        transport: u8,
        realm: &str,
        salt: u32,
    ) -> Nonce {
        let mac = self.mac(now, client, transport, realm, salt);
        let mut raw = [0; RAW_LENGTH];
        let parts = truncated(now)
            .to_be_bytes()
            .into_iter()
            .chain(salt.to_be_bytes())
            .chain(mac);
        for (to, from) in raw.iter_mut().zip(parts) {
            *to = from;
        }
        let mut text = [0; Nonce::MAX_LENGTH];
        // The room is there, so the encoding cannot fail.
        let length = URL_SAFE_NO_PAD.encode_slice(raw, &mut text).unwrap_or(0);
        Nonce {
            text,
            length: length as u8,
        }
    }

    /// Checks a nonce that `client` sent, in time that does not depend on how much of its MAC is right.
    pub fn check(
        &self,
        now: u64,
        client: SocketAddr,
        transport: u8,
        realm: &str,
        nonce: &[u8],
    ) -> NonceVerdict {
        let mut raw = [0; RAW_LENGTH];
        if nonce.len() != TEXT_LENGTH
            || URL_SAFE_NO_PAD.decode_slice(nonce, &mut raw) != Ok(RAW_LENGTH)
        {
            return NonceVerdict::Stale;
        }
        let [t0, t1, t2, t3, s0, s1, s2, s3, mac @ ..] = raw;
        let Some(made) = self.made_at(now, u32::from_be_bytes([t0, t1, t2, t3])) else {
            return NonceVerdict::Stale;
        };
        let salt = u32::from_be_bytes([s0, s1, s2, s3]);
        let expected = self.mac(made, client, transport, realm, salt);
        if bool::from(expected.ct_eq(&mac)) {
            NonceVerdict::Fresh
        } else {
            NonceVerdict::Stale
        }
    }

    /// The full time of a truncated timestamp, if a nonce of that time is still good.
    fn made_at(&self, now: u64, stamp: u32) -> Option<u64> {
        let age = truncated(now).wrapping_sub(stamp);
        if age <= self.lifetime_seconds {
            return now.checked_sub(u64::from(age));
        }
        let ahead = age.wrapping_neg();
        if ahead <= TOLERANCE_SECONDS {
            return now.checked_add(u64::from(ahead));
        }
        None
    }

    fn mac(
        &self,
        made: u64,
        client: SocketAddr,
        transport: u8,
        realm: &str,
        salt: u32,
    ) -> [u8; MAC_LENGTH] {
        let epoch = made / u64::from(self.lifetime_seconds);
        let key = self
            .master
            .clone()
            .chain_update(b"hairpin nonce key of epoch ")
            .chain_update(epoch.to_be_bytes())
            .finalize()
            .into_bytes();
        let address = match client.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // Every part but the last has a fixed length, so no two inputs give the same bytes.
        let full = keyed(&key)
            .chain_update(made.to_be_bytes())
            .chain_update(salt.to_be_bytes())
            .chain_update([transport])
            .chain_update(client.port().to_be_bytes())
            .chain_update(address.octets())
            .chain_update(realm)
            .finalize()
            .into_bytes();
        let mut mac = [0; MAC_LENGTH];
        for (to, from) in mac.iter_mut().zip(full) {
            *to = from;
        }
        mac
    }
}

impl fmt::Debug for NonceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceKeys")
            .field("lifetime_seconds", &self.lifetime_seconds)
            .finish_non_exhaustive()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // An HMAC takes a key of any length; the fall-back is never reached.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&Default::default()))
}

/// The low 32 bits of a time; enough to tell ages apart up to 136 years.
fn truncated(seconds: u64) -> u32 {
    (seconds & u64::from(u32::MAX)) as u32
}
