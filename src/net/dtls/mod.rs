//! DTLS for clients on UDP (RFC 7350): DTLS 1.2 and 1.3 by the crate `dimpl`, in front of which stands a check that
//! keeps no state.
//!
//! A client has no association before it has repeated a cookie that was sent to its address: a first ClientHello is
//! answered from its own bytes and forgotten, and everything else of a stranger is dropped. Then handshakes are limited by
//! network and in all, and associations in all.
//!
//! The certificate has to have an ECDSA key on P-256 or P-384: `dimpl` speaks no RSA. It shows the certificate alone,
//! without those between it and the root. Clients are not asked for certificates. Sessions are not resumed and there is
//! no early data. Clients have to offer Extended Master Secret (RFC 7627) with DTLS 1.2.
//!
//! Its parts: `cookie` makes and checks cookies, `association` is one client's state machine, `table` has those of a
//! worker, `gate` counts those of all. Main types: [`Dtls`], [`DtlsSettings`].

mod association;
mod cookie;
mod gate;
mod table;

pub(super) use association::{Arrival, Moment};
pub(super) use table::Associations;

use crate::policy::Prefixes;
use arc_swap::ArcSwapOption;
use association::{CookieHmac, Fault};
use cookie::CookieKey;
use dimpl::crypto::{CryptoProvider, aws_lc_rs};
use dimpl::{Config, DtlsCertificate, Error};
use gate::Gate;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How DTLS associations are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsSettings {
    /// How many handshakes may be under way.
    pub max_half_open: usize,
    /// How many of them from one network.
    pub max_half_open_per_prefix: usize,
    /// How many associations there may be, handshakes included.
    pub max_associations: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may go without an allocation; one that had one, without one and silent.
    pub idle_timeout: Duration,
    /// Which clients are counted together.
    pub prefixes: Prefixes,
}

/// Why DTLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// The certificate's key is of a kind that is not understood.
    #[error("DTLS needs a certificate with an ECDSA key on the curve P-256 or P-384")]
    Key,
    /// The cryptographic library does not do what it should.
    #[error("DTLS cannot be set up: {0}")]
    Library(Error),
}

/// DTLS as all workers offer it.
pub struct Dtls {
    config: Arc<Config>,
    certificate: ArcSwapOption<DtlsCertificate>,
    cookies: CookieKey,
    gate: Arc<Gate>,
    fault: Fault,
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls")
            .field("settings", &self.gate.settings())
            .finish_non_exhaustive()
    }
}

impl Dtls {
    /// DTLS with a certificate and its key, both in DER form; the key as PKCS #8 or SEC 1. Without one no handshake succeeds
    /// until [`Dtls::replace`] brings it. `seed` has to come from the operating system outside tests: the key of the cookies
    /// is made of it.
    ///
    /// # Errors
    /// A [`DtlsError`] where the key is of another kind.
    pub fn new(
        settings: DtlsSettings,
        certificate: Option<(&[u8], &[u8])>,
        seed: [u8; 32],
    ) -> Result<Dtls, DtlsError> {
        let certificate = certificate.map(|(certificate, key)| checked(certificate, key));
        let certificate = certificate.transpose()?.map(Arc::new);
        let config = Config::builder()
            .with_crypto_provider(provider())
            .require_client_certificate(false)
            .use_server_cookie(true)
            .handshake_timeout(settings.handshake_timeout)
            .build()
            .map_err(DtlsError::Library)?;
        Ok(Dtls {
            config: Arc::new(config),
            certificate: ArcSwapOption::new(certificate),
            cookies: CookieKey::new(&seed).ok_or(DtlsError::Key)?,
            gate: Arc::new(Gate::new(settings)),
            fault: Fault::default(),
        })
    }

    /// Lets other limits hold from the next handshake on, and another idle timeout for all.
    pub fn set_limits(&self, settings: DtlsSettings) {
        self.gate.set_settings(settings);
    }

    /// How many associations there are, those in the middle of their handshake included.
    #[must_use]
    pub fn associations(&self) -> usize {
        self.gate.associations()
    }

    /// How many handshakes are under way.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.gate.half_open()
    }

    /// Makes the state machine of the next client that says something panic, to see what becomes of the others. Nothing
    /// but tests asks for it.
    #[doc(hidden)]
    pub fn make_one_panic(&self) {
        self.fault.arm();
    }

    /// Shows another certificate from the next handshake on.
    ///
    /// # Errors
    /// As [`Dtls::new`]; the former one then stays.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), DtlsError> {
        let certificate = checked(certificate, key)?;
        self.certificate.store(Some(Arc::new(certificate)));
        Ok(())
    }
}

/// Whether a key, in DER form, is of a kind that DTLS can be offered with.
#[must_use]
pub fn is_usable_key(key: &[u8]) -> bool {
    aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .is_ok()
}

fn checked(certificate: &[u8], key: &[u8]) -> Result<DtlsCertificate, DtlsError> {
    // The state machine takes both for granted and would panic.
    if certificate.is_empty() || !is_usable_key(key) {
        return Err(DtlsError::Key);
    }
    Ok(DtlsCertificate {
        certificate: certificate.to_vec(),
        private_key: key.to_vec(),
    })
}

fn provider() -> CryptoProvider {
    static HMAC: OnceLock<CookieHmac> = OnceLock::new();
    let provider = aws_lc_rs::default_provider();
    let hmac_provider = HMAC.get_or_init(|| CookieHmac(provider.hmac_provider));
    CryptoProvider {
        hmac_provider,
        ..provider
    }
}
