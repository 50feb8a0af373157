//! Whose certificates are trusted where hairpin connects over TLS: those of the authorities in a file, or, where hairpin
//! asks a server of its own how it is, anybody's whose key the other side has.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::io;
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
    load_by(file, |file| std::fs::read(file))
}

/// The same, where files are read otherwise.
///
/// # Errors
/// A sentence that names the file that cannot be used.
pub fn load_by(
    file: Option<&Path>,
    read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> Result<RootCertStore, String> {
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
    let text = read(&file).map_err(|error| unreadable(error.to_string()))?;
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

/// A client that takes whatever certificate it is shown, as long as the other side has its key: for asking a server of
/// one's own, where it does not matter whose the certificate is or how long it lasts.
///
/// # Errors
/// Where the cryptographic library has no protocol version.
pub fn anybody() -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(anybodys(provider))
        .with_no_client_auth();
    Ok(config)
}

/// What makes any client take whatever certificate it is shown, as [`anybody`] does.
#[must_use]
pub fn anybodys(provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anybody(provider))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
