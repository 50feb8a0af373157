//! Whose certificates a probe over TLS trusts: the authorities in a file, by default this system's.
//!
//! The main type is [`Trust`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::Host;

/// Where systems keep their authorities, as one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to trust.
#[derive(Clone)]
pub enum Trust {
    /// Nobody: for everything but TLS.
    Nobody,
    /// Whoever these settings trust.
    Authorities(Arc<ClientConfig>),
}

impl Trust {
    /// Trusts the certificates in a PEM file; without one those of `SSL_CERT_FILE`, or else of the system.
    ///
    /// # Errors
    /// A sentence that names the file that cannot be used.
    pub fn load(file: Option<&Path>) -> Result<Trust, String> {
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
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"stun.turn".to_vec()];
        Ok(Trust::Authorities(Arc::new(config)))
    }

    /// Speaks TLS on a connection to a server of this name.
    ///
    /// # Errors
    /// What the system says, or of kind `InvalidData` what TLS says.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> io::Result<TlsStream<TcpStream>> {
        let Trust::Authorities(config) = self else {
            return Err(io::Error::other("no authority is trusted"));
        };
        let name = match host {
            Host::Ip(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        };
        TlsConnector::from(config.clone())
            .connect(name, stream)
            .await
    }
}
