//! Nonces that need no memory: a nonce proves by itself when, for whom and by whom it was made.
//!
//! A nonce is the cookie of RFC 8489 §9.2 with its feature bits, then the base64 text of a timestamp, a salt and an HMAC
//! over these, the offer it was sent with, the client's address and transport, and the realm. So the server keeps
//! nothing for a client that has not proved a credential, a nonce caught on its way to one client is of no use from
//! another address (RFC 8489 §9.2, RFC 8656 §5), and feature bits that somebody stripped spoil the nonce.
//! There is no count of uses here, and no credential.
//!
//! The HMAC key belongs to an epoch as long as a nonce's lifetime and is derived from the master key, so that keys
//! rotate; a nonce is checked with the key of the epoch that it was made in.
//!
//! # Size
//! A challenge goes to whatever address a request claims to come from, so it has to be short: the text is 44 characters,
//! 13 of them the cookie. In bytes, with the realm `hairpin`, both algorithms and no FINGERPRINT, a 401 has 100: header
//! 20, ERROR-CODE 8, REALM 12, PASSWORD-ALGORITHMS 12, NONCE 48. To the smallest Allocate, of 28, that is a factor of
//! 3.6, and with the headers of IPv4 and UDP, 128 to 56, of 2.3. Without algorithms
//! ([`Offer::NONE`]) it has 88 and the factors are 3.1 and 2.1. `tests/stun8489` measures it.
//!
//! # Redirection
//! Servers that redirect to each other share their key. A redirected client meets the next server from the same
//! host, but behind a symmetric NAT from another port, and browsers give up when their nonce is refused there. So the
//! answer that redirects carries a nonce of a second kind, good for any port of the host, for a minute; and whoever
//! brings one is not redirected again.
//!
//! Its main types are [`NonceKeys`] and [`Nonce`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::offer::{COOKIE_LENGTH, Offer};

/// 128 bits, what RFC 8656 §5 asks of a nonce.
const MAC_LENGTH: usize = 16;

/// Bytes of the timestamp with the number of the offer, the salt and the MAC. One more would cost four on the wire.
const RAW_LENGTH: usize = 3 + 4 + MAC_LENGTH;

/// The same for a client that is redirected, whose port has no part in the MAC: a longer salt tells it from others.
const REDIRECT_RAW_LENGTH: usize = RAW_LENGTH + 4;

/// How long a nonce of the second kind is good, in seconds.
const REDIRECT_LIFETIME_SECONDS: u32 = 60;

/// Bits of the timestamp; the three above them are the number of the offer. What is cut off is in the MAC all the same.
const STAMP_BITS: u32 = 21;

/// How far ahead of the clock a timestamp may be, in seconds. Workers read the clock once a batch, so one may check what
/// another has just made with a later time.
const TOLERANCE_SECONDS: u32 = 5;

/// The text of a NONCE attribute; its characters are legal in a quoted string without escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
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

    /// The offer that a nonce says it was sent with; whether that is so, only [`NonceKeys::check`] knows. `None` for a
    /// text that was not made here.
    #[must_use]
    pub fn offer_of(text: &[u8]) -> Option<Offer> {
        let (cookie, rest) = text.split_at_checked(COOKIE_LENGTH)?;
        let is_ours = |raw: usize| rest.len() == (raw * 4).div_ceil(3);
        if !is_ours(RAW_LENGTH) && !is_ours(REDIRECT_RAW_LENGTH) {
            return None;
        }
        // Four characters are the three bytes of the timestamp.
        let mut stamp = [0; 3];
        URL_SAFE_NO_PAD
            .decode_slice(rest.get(..4)?, &mut stamp)
            .ok()?;
        Offer::read(cookie, stamp.first()? >> 5)
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
    /// Fresh, and made by a server that redirected the client.
    Redirected,
    /// Anything else: 438 with a new one (RFC 8489 §9.2.4).
    Stale,
}

/// Whom a nonce is for and what it was sent with.
#[derive(Clone, Copy, Debug)]
pub struct NonceScope<'a> {
    /// The client's address.
    pub client: SocketAddr,
    /// Tells apart clients that have the same address on different transports.
    pub transport: u8,
    /// The realm.
    pub realm: &'a str,
    /// What the challenge offers.
    pub offer: Offer,
}

/// Makes and checks nonces.
#[derive(Clone)]
pub struct NonceKeys {
    master: Hmac<Sha256>,
    lifetime_seconds: u32,
    shared: bool,
}

impl NonceKeys {
    /// `master` is a random key that every worker shares. A nonce is good for `lifetime_seconds`; a lifetime of 0 is
    /// taken as one second and one above 2^20 (twelve days) as that.
    pub fn new(master: [u8; 32], lifetime_seconds: u32) -> Self {
        Self {
            master: keyed(&master),
            lifetime_seconds: lifetime_seconds.clamp(1, 1 << (STAMP_BITS - 1)),
            shared: false,
        }
    }

    /// Keys of a secret that several servers have, which then accept each other's nonces. Their clocks have to agree
    /// within a few seconds, and so have their lifetimes, realms and offers.
    pub fn shared(secret: &[u8], lifetime_seconds: u32) -> Self {
        let master = keyed(secret)
            .chain_update(b"hairpin shared nonce key")
            .finalize();
        Self {
            shared: true,
            ..Self::new(master.into_bytes().into(), lifetime_seconds)
        }
    }

    /// Whether other servers have the same keys, so that times have to be those of the wall clock.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Makes a nonce.
    ///
    /// `now` is in seconds of any clock that does not run backwards by much, the same for [`check`](Self::check).
    /// `salt` is random, so that no two nonces of one client are the same.
    pub fn mint(&self, now: u64, scope: &NonceScope<'_>, salt: u32) -> Nonce {
        let salt = salt.to_be_bytes();
        let mac = self.mac(now, scope, &salt);
        text(now, scope.offer, &salt, mac)
    }

    /// Makes a nonce for a client that is sent to another server, good there and from any port; `None` where the keys
    /// are not shared, since nobody would accept it.
    pub fn mint_redirect(&self, now: u64, scope: &NonceScope<'_>, salt: u64) -> Option<Nonce> {
        let salt = salt.to_be_bytes();
        let mac = self.mac(now, &roaming(scope), &salt);
        self.shared.then(|| text(now, scope.offer, &salt, mac))
    }

    /// Checks a nonce that a client sent, in time that does not depend on how much of its MAC is right. One that was sent
    /// with another offer is stale.
    pub fn check(&self, now: u64, scope: &NonceScope<'_>, nonce: &[u8]) -> NonceVerdict {
        let Some((cookie, rest)) = nonce.split_at_checked(COOKIE_LENGTH) else {
            return NonceVerdict::Stale;
        };
        let mut raw = [0; REDIRECT_RAW_LENGTH];
        let (Ok(length), true) = (
            URL_SAFE_NO_PAD.decode_slice(rest, &mut raw),
            cookie == scope.offer.cookie(),
        ) else {
            return NonceVerdict::Stale;
        };
        let roaming = roaming(scope);
        let (scope, lifetime, verdict) = match length {
            RAW_LENGTH => (scope, self.lifetime_seconds, NonceVerdict::Fresh),
            REDIRECT_RAW_LENGTH if self.shared => (
                &roaming,
                REDIRECT_LIFETIME_SECONDS,
                NonceVerdict::Redirected,
            ),
            _ => return NonceVerdict::Stale,
        };
        let Some(([s0, s1, s2], rest)) = raw.get(..length).and_then(<[u8]>::split_first_chunk)
        else {
            return NonceVerdict::Stale;
        };
        let Some((salt, mac)) = rest.split_last_chunk::<MAC_LENGTH>() else {
            return NonceVerdict::Stale;
        };
        let stamp = u32::from_be_bytes([0, *s0, *s1, *s2]);
        let (code, stamp) = (stamp >> STAMP_BITS, stamp % (1 << STAMP_BITS));
        if code != u32::from(scope.offer.code()) {
            return NonceVerdict::Stale;
        }
        let Some(made) = made_at(now, stamp, lifetime) else {
            return NonceVerdict::Stale;
        };
        let expected = self.mac(made, scope, salt);
        if bool::from(expected.ct_eq(mac)) {
            verdict
        } else {
            NonceVerdict::Stale
        }
    }

    fn mac(&self, made: u64, scope: &NonceScope<'_>, salt: &[u8]) -> [u8; MAC_LENGTH] {
        let epoch = made / u64::from(self.lifetime_seconds);
        let key = self
            .master
            .clone()
            .chain_update(b"hairpin nonce key of epoch ")
            .chain_update(epoch.to_be_bytes())
            .finalize()
            .into_bytes();
        let address = match scope.client.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // The salt's length says how long it is, every other part but the last has a fixed length: so no two inputs
        // give the same bytes.
        let full = keyed(&key)
            .chain_update(made.to_be_bytes())
            .chain_update([salt.len() as u8])
            .chain_update(salt)
            .chain_update(scope.offer.cookie())
            .chain_update([scope.offer.code(), scope.transport])
            .chain_update(scope.client.port().to_be_bytes())
            .chain_update(address.octets())
            .chain_update(scope.realm)
            .finalize()
            .into_bytes();
        let mut mac = [0; MAC_LENGTH];
        for (to, from) in mac.iter_mut().zip(full) {
            *to = from;
        }
        mac
    }
}

/// The scope of a nonce that holds for every port and transport of a host.
fn roaming<'a>(scope: &NonceScope<'a>) -> NonceScope<'a> {
    NonceScope {
        client: SocketAddr::new(scope.client.ip(), 0),
        transport: u8::MAX,
        ..*scope
    }
}

fn text(made: u64, offer: Offer, salt: &[u8], mac: [u8; MAC_LENGTH]) -> Nonce {
    let stamp = u32::from(offer.code()) << STAMP_BITS | truncated(made);
    let [_, stamp @ ..] = stamp.to_be_bytes();
    let mut raw = [0; REDIRECT_RAW_LENGTH];
    let parts = stamp.iter().chain(salt).chain(&mac);
    for (to, from) in raw.iter_mut().zip(parts) {
        *to = *from;
    }
    let raw = raw
        .get(..stamp.len() + salt.len() + mac.len())
        .unwrap_or(&raw);
    let cookie = offer.cookie();
    let mut text = [0; Nonce::MAX_LENGTH];
    let (head, tail) = text.split_at_mut(COOKIE_LENGTH);
    head.copy_from_slice(&cookie);
    // The room is there, so the encoding cannot fail.
    let length = URL_SAFE_NO_PAD.encode_slice(raw, tail).unwrap_or(0);
    Nonce {
        text,
        length: (COOKIE_LENGTH + length) as u8,
    }
}

/// The full time of a truncated timestamp, if a nonce of that time is still good.
fn made_at(now: u64, stamp: u32, lifetime: u32) -> Option<u64> {
    let age = truncated(now).wrapping_sub(stamp) % (1 << STAMP_BITS);
    if age <= lifetime {
        return now.checked_sub(u64::from(age));
    }
    let ahead = (1 << STAMP_BITS) - age;
    if ahead <= TOLERANCE_SECONDS {
        return now.checked_add(u64::from(ahead));
    }
    None
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

/// The low bits of a time; enough to tell ages apart up to 24 days.
fn truncated(seconds: u64) -> u32 {
    (seconds % (1 << STAMP_BITS)) as u32
}
