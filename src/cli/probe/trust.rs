//! Whose certificates a probe over TLS trusts: the authorities in a file, by default this system's.
//!
//! The main type is [`Trust`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::Host;
use crate::net::authorities;

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
        let mut config = authorities::client(file)?;
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
