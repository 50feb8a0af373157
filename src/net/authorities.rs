//! Whose certificates are trusted by what hairpin connects to over TLS: those of the authorities in a file.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep their authorities, as one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities in a PEM file; without one those of `SSL_CERT_FILE`, or else of the system.
///
/// # Errors
/// A sentence that names the file that cannot be used.
pub fn load(file: Option<&Path>) -> Result<RootCertStore, String> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => std::env::var_os("SSL_CERT_FILE")
            .map(PathBuf::from)
            .or_else(|| {
                BUNDLES
                    .map(PathBuf::from)
                    .into_iter()
                    .find(|file| file.exists())
            })
            .ok_or("this system has no list of authorities; name one with --ca")?,
    };
    let name = file.display();
    let unreadable = |why: String| format!("cannot read authorities from {name}: {why}");
    let text = std::fs::read(&file).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| unreadable("it is not PEM".to_owned()))?;
        // Old authorities that the library does not understand are no reason to trust nobody.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(unreadable(
            "it holds no certificate that can be used".to_owned(),
        ));
    }
    Ok(roots)
}

/// A client that trusts the authorities of [`load`].
///
/// # Errors
/// A sentence that names the file that cannot be used.
pub fn client(file: Option<&Path>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(load(file)?)
        .with_no_client_auth())
}
