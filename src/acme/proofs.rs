//! What an authority is shown that wants to see whether a name is this server's: certificates in TLS handshakes (RFC
//! 8737), texts over HTTP (RFC 8555, section 8.3).

use super::{Failure, Outcome};
use crate::net::tls::Tls;
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The proofs of the order under way.
pub(super) struct Proofs {
    tls: Option<Arc<Tls>>,
    /// By token.
    texts: ArcSwap<HashMap<String, String>>,
}

impl Proofs {
    pub fn new(tls: Option<Arc<Tls>>) -> Self {
        Proofs {
            tls,
            texts: ArcSwap::default(),
        }
    }

    /// Shows certificates to those who ask for a name by `acme-tls/1`.
    pub fn show_certificates(
        &self,
        proofs: HashMap<String, Arc<CertifiedKey>>,
    ) -> Result<(), Failure> {
        let tls = self.tls.as_ref().ok_or_else(|| {
            Failure::new(
                Outcome::Failed,
                "no listener speaks TLS, on which \"tls-alpn-01\" could be answered",
            )
        })?;
        tls.prove(proofs);
        Ok(())
    }

    /// Shows texts to those who ask for a token.
    pub fn show_texts(&self, texts: HashMap<String, String>) {
        self.texts.store(Arc::new(texts));
    }

    /// The text for a token.
    pub fn text(&self, token: &str) -> Option<String> {
        self.texts.load().get(token).cloned()
    }

    /// Shows nothing any more.
    pub fn withdraw(&self) {
        self.texts.store(Arc::default());
        if let Some(tls) = &self.tls {
            tls.prove(HashMap::new());
        }
    }
}

/// The certificate that proves a name by `acme-tls/1`: signed by itself, with the digest of what is to be proved (RFC
/// 8737, section 3).
pub(super) fn certificate(name: &str, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            Outcome::Failed,
            format!("the proof of {name} cannot be made: {error}"),
        )
    };
    let mut params =
        CertificateParams::new(vec![name.to_owned()]).map_err(|error| failed(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| failed(&error))?;
    // Not checked against each other: the library understands no certificate with what this one has to have.
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}
