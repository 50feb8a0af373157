//! Sending clients to another server: 300 with ALTERNATE-SERVER (RFC 8489 §10).
//!
//! Only a proved user who asks for a new allocation is sent away, and the answer is signed (§14.8): so nobody learns of
//! other servers for free, and a client can tell the answer from a forged one. Whoever has an allocation keeps it, and a
//! Binding request is always answered here. Main types: [`Redirect`], [`Alternate`].

use super::authenticate::Authorized;
use super::{ClientPath, Engine, Now, Outcome, Transport};
use crate::wire::attribute::Family;
use crate::wire::{AttributeType, ErrorCode};
use rand::{Rng, RngExt};
use std::net::SocketAddr;

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// Where it can be reached.
    pub address: SocketAddr,
    /// Where clients of TLS and DTLS reach it, if that is another address.
    pub tls_address: Option<SocketAddr>,
    /// The name its certificate is for, up to 255 bytes of ASCII; only told to clients of TLS and DTLS.
    pub domain: Option<String>,
}

impl Alternate {
    fn address_for(&self, transport: Transport) -> SocketAddr {
        match (transport, self.tls_address) {
            (Transport::Tls | Transport::Dtls, Some(address)) => address,
            _ => self.address,
        }
    }
}

/// When and where clients are sent elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// Whether they are.
    pub active: bool,
    /// Where to. Each client is sent to one of those of its own address family, at random; where there is none, it is
    /// served here.
    pub alternates: Vec<Alternate>,
}

impl Engine {
    /// The answer for a client that is to go elsewhere.
    pub(super) fn redirect(
        &mut self,
        now: Now,
        client: &ClientPath,
        request: &Authorized<'_>,
        reply: &mut [u8],
    ) -> Option<Outcome> {
        let rules = self.shared.rules.clone();
        // One that was just sent here by another server stays: two servers in need of rest must not play ball with it.
        let is_wanted = rules.redirect.active || rules.draining;
        if !is_wanted || request.redirected {
            return None;
        }
        let tuple = &client.tuple;
        let transport = tuple.transport();
        let family = Family::of(&tuple.client());
        let addresses = || {
            let alternates = rules.redirect.alternates.iter();
            alternates
                .map(|alternate| (alternate, alternate.address_for(transport)))
                .filter(|(_, address)| *address != tuple.server())
        };
        let suitable = || addresses().filter(|(_, address)| Family::of(address) == family);
        let count = suitable().count();
        let (chosen, first) =
            suitable().nth((count > 0).then(|| self.rng.random_range(0..count))?)?;
        // The other family's address may follow if it is surely the same server's.
        let second = addresses().find(|(alternate, address)| {
            chosen.domain.is_some()
                && alternate.domain == chosen.domain
                && Family::of(address) != family
        });
        let domain = chosen
            .domain
            .as_deref()
            .filter(|_| matches!(transport, Transport::Tls | Transport::Dtls));
        let salt = self.rng.next_u64();
        let scope = self.nonce_scope(tuple);
        let nonce = rules
            .nonces
            .mint_redirect(self.nonce_time(now), &scope, salt);
        let code = ErrorCode::TryAlternate;
        let outcome = self.fail_with(&request.asked, code, reply, |writer| {
            writer.address(AttributeType::ALTERNATE_SERVER, first);
            if let Some((_, second)) = second {
                writer.address(AttributeType::ALTERNATE_SERVER, second);
            }
            if let Some(domain) = domain {
                writer.attribute(AttributeType::ALTERNATE_DOMAIN, domain.as_bytes());
            }
            // Browsers go on with what this answer brings, and give up if it is refused there.
            if let Some(nonce) = nonce {
                writer.attribute(AttributeType::NONCE, nonce.as_bytes());
            }
        });
        Some(outcome)
    }
}
