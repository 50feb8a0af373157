//! Cookies: a client that repeats one has shown that it receives what is sent to its address.
//!
//! A cookie is a MAC over the client's address, the time and what the client said, so nothing is remembered of those
//! who never come back.

use crate::engine::{FiveTuple, Instant};
use crate::wire::client_hello::{COOKIE_LENGTH, ClientHello, Version};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// How long the time inside a cookie stays the same, in milliseconds. A cookie is good for one to two times that.
const PERIOD: u64 = 60_000;

/// The key of all cookies of this process.
pub(super) struct CookieKey(Hmac<Sha256>);

impl CookieKey {
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(CookieKey)
    }

    /// The cookie for a client's first ClientHello.
    pub fn make(
        &self,
        now: Instant,
        tuple: &FiveTuple,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LENGTH] {
        self.mac(now.as_millis() / PERIOD, tuple, hello, hello.message())
    }

    /// Checks the cookie of a second ClientHello. What comes back is the first one, as far as it matters.
    pub fn check(
        &self,
        now: Instant,
        tuple: &FiveTuple,
        hello: &ClientHello<'_>,
    ) -> Option<(Vec<u8>, [u8; COOKIE_LENGTH])> {
        let cookie = <[u8; COOKIE_LENGTH]>::try_from(hello.cookie).ok()?;
        let period = now.as_millis() / PERIOD;
        let periods = [period, period.saturating_sub(1)];
        let first = hello.first_messages().into_iter().find(|first| {
            periods.iter().any(|period| {
                let expected = self.mac(*period, tuple, hello, first);
                expected.ct_eq(&cookie).into()
            })
        })?;
        Some((first, cookie))
    }

    fn mac(
        &self,
        period: u64,
        tuple: &FiveTuple,
        hello: &ClientHello<'_>,
        first: &[u8],
    ) -> [u8; COOKIE_LENGTH] {
        let mut mac = self.0.clone();
        mac.update(&period.to_be_bytes());
        mac.update(&address(tuple.client()));
        mac.update(&address(tuple.server()));
        mac.update(match hello.version {
            Version::Dtls12 => &[2],
            Version::Dtls13(_) => &[3],
        });
        for part in hello.bound(first) {
            // With their lengths, so that no part can pass for the end of another.
            mac.update(&(part.len() as u32).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn address(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}
