//! Certificates as clients judge them: is the chain whole, does it lead to somebody they trust, for which names?
//!
//! When they end is advice that a start gives as well. Nobody is asked for anything.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;
use super::machine::Machine;
use crate::config::{Certificate, Settings, Transport};
use crate::net::authorities;

/// Looks at the certificates; `ca` is the file of those that clients trust.
pub(super) fn examine(settings: &Settings, ca: Option<&Path>, machine: &Machine) -> Vec<Finding> {
    let is_secure = |transport: Transport| transport.has_tls() || transport == Transport::Dtls;
    if !settings.listeners.iter().any(|at| is_secure(at.transport)) {
        return vec![
            Finding::note("certificate.none", "no listener speaks TLS")
                .why("clients in networks that let nothing out but TLS cannot reach this server")
                .mend("get a certificate for the server's name, and name it")
                .lines([
                    "[[tls.certificate]]",
                    "certificate = \"/etc/letsencrypt/live/turn.example.org/fullchain.pem\"",
                    "key = \"/etc/letsencrypt/live/turn.example.org/privkey.pem\"",
                ]),
        ];
    }
    let certificates: Vec<&Certificate> = settings.tls.shown().collect();
    let roots = match authorities::load_by(ca, |file| machine.bytes(file)) {
        Ok(roots) => roots,
        Err(why) => {
            return vec![Finding::note(
                "certificate.not-checked",
                format!("whether clients trust the certificates cannot be told: {why}"),
            )];
        }
    };
    let mut found: Vec<_> = certificates
        .iter()
        .filter_map(|certificate| of_certificate(certificate, &roots))
        .collect();
    found.extend(realm(&settings.auth.realm, &certificates));
    found
}

/// `None` for what advice has said already.
fn of_certificate(certificate: &Certificate, roots: &RootCertStore) -> Option<Finding> {
    let file = certificate.file().display();
    let Some(name) = name(certificate) else {
        return Some(
            Finding::problem(
                "certificate.no-names",
                format!("the certificate in {file} is for no name and no address"),
            )
            .why("clients refuse a certificate that is not for the name they asked for")
            .mend("get one with the server's name as a subject alternative name"),
        );
    };
    let chain = certificate.certified().ok()?.cert;
    let (leaf, others) = chain.split_first()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), provider)
        .build()
        .ok()?;
    match verifier.verify_server_cert(leaf, others, &name, &[], UnixTime::now()) {
        Ok(_) => {
            let names = certificate.names().join(", ");
            Some(Finding::ok(
                "certificate.trusted",
                format!(
                    "the certificate in {file} is trusted, for {names}, until {} UTC",
                    certificate.not_after_date()
                ),
            ))
        }
        Err(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => None,
        Err(_) if issuer(leaf).is_none() => Some(
            Finding::problem(
                "certificate.self-signed",
                format!("the certificate in {file} is signed by itself"),
            )
            .why("browsers do not connect over TLS, and say nothing of it")
            .mend("get one from an authority that clients trust, Let's Encrypt for instance"),
        ),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Some(unknown_issuer(certificate, leaf, others))
        }
        Err(error) => Some(
            Finding::problem(
                "certificate.refused",
                format!("the certificate in {file} is not what clients accept: {error}"),
            )
            .why("they do not connect over TLS"),
        ),
    }
}

fn unknown_issuer(
    certificate: &Certificate,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Finding {
    let file = certificate.file().display();
    let issuer = issuer(leaf).unwrap_or_default();
    if others.is_empty() {
        return Finding::problem(
            "certificate.chain-incomplete",
            format!("{file} holds one certificate only, issued by {issuer}, whom clients do not know"),
        )
        .why("clients that have not seen the certificate in between elsewhere do not connect over TLS")
        .mend("name the file with the whole chain, the server's certificate first (fullchain.pem)");
    }
    Finding::problem(
        "certificate.untrusted",
        format!("the chain in {file} does not lead to an authority that this machine trusts"),
    )
    .why("clients that do not trust it either do not connect over TLS")
    .mend("where clients trust an authority of their own, name it with --ca")
}

/// Who signed a certificate; `None` where that was itself.
fn issuer(leaf: &CertificateDer<'_>) -> Option<String> {
    match X509Certificate::from_der(leaf) {
        Ok((_, leaf)) if leaf.issuer() == leaf.subject() => None,
        Ok((_, leaf)) => Some(leaf.issuer().to_string()),
        Err(_) => Some("somebody".to_owned()),
    }
}

/// A name that the certificate should be good for.
fn name(certificate: &Certificate) -> Option<ServerName<'static>> {
    let names = certificate.names().iter();
    let mut names = names.map(|name| match name.strip_prefix("*.") {
        Some(domain) => format!("turn.{domain}"),
        None => name.clone(),
    });
    let named = names.find_map(|name| ServerName::try_from(name).ok());
    named.or_else(|| {
        certificate
            .addresses()
            .first()
            .map(|ip| ServerName::from(*ip))
    })
}

/// A realm is a domain by custom, and clients find the server by a name in it.
fn realm(realm: &str, certificates: &[&Certificate]) -> Option<Finding> {
    let realm = realm.to_ascii_lowercase();
    if !realm.contains('.') || certificates.is_empty() {
        return None;
    }
    let covers = |name: &String| {
        let name = name.strip_prefix("*.").unwrap_or(name);
        name == realm
            || name.ends_with(&format!(".{realm}"))
            || realm.ends_with(&format!(".{name}"))
    };
    let names: Vec<_> = certificates.iter().flat_map(|of| of.names()).collect();
    if names.iter().any(|name| covers(name)) {
        return None;
    }
    Some(
        Finding::note(
            "certificate.realm",
            format!("no certificate is for a name of the realm {realm}"),
        )
        .why("a realm can be any text; but where clients connect by a name in that domain, they refuse the certificate"),
    )
}
