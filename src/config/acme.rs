//! `[tls.acme]`: a certificate that an authority is asked for (RFC 8555), and the files that are kept of it.
//!
//! Whom to ask, for which names, and how it is proved that they are this server's. The asking is the `acme` room's.
//! Main type: [`Acme`].

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use crate::auth::Secret;

/// Where Let's Encrypt is asked for certificates that browsers trust.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Where account and certificate are kept if nothing else is said.
pub const ACME_STATE: &str = "/var/lib/hairpin/acme";

/// How an authority finds out that a name is this server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Challenge {
    /// By a TLS connection to port 443 of the name (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By an HTTP request to port 80 of the name (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

/// `[tls.acme]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acme {
    /// The names the certificate is for, in lower case; never empty.
    pub domains: Vec<String>,
    /// Whom the authority may write to, as URLs (`mailto:`).
    pub contact: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// The authorities that the directory's own certificate may be from, a PEM file; `None` means those of the system.
    pub directory_ca: Option<PathBuf>,
    /// The folder that account and certificate are kept in.
    pub state: PathBuf,
    /// How names are proved.
    pub challenge: Challenge,
    /// Where challenges over HTTP are answered; empty with other challenges.
    pub http_addresses: Vec<SocketAddr>,
    /// `[tls.acme.external_account]`: an account that the operator has with the authority already.
    pub external_account: Option<ExternalAccount>,
    /// The certificate in force: that which was kept in the folder, or one that came later.
    pub certificate: Option<Certificate>,
}

/// `[tls.acme.external_account]` (RFC 8555, section 7.3.4)
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalAccount {
    /// What the authority calls it.
    pub id: String,
    /// The key that the authority gave out for it, in base64url.
    pub key: Secret,
}

impl Acme {
    /// Where challenges over HTTP are answered if nothing else is said.
    pub(super) fn default_http_addresses() -> Vec<SocketAddr> {
        vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))]
    }

    /// The file of the certificate, its chain and its key: one file, so that they are replaced together. Each directory
    /// has its own, so that a certificate of an authority's tests is not taken for a real one.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.state.join(format!("{}.pem", self.tag()))
    }

    /// The file of the account, with its key.
    #[must_use]
    pub fn account_file(&self) -> PathBuf {
        self.state.join(format!("{}.account.json", self.tag()))
    }

    /// The port that the authority is reached at.
    #[must_use]
    pub fn directory_port(&self) -> u16 {
        let uri = self.directory.parse::<hyper::Uri>().ok();
        uri.and_then(|uri| uri.port_u16()).unwrap_or(443)
    }

    /// The certificate that is kept in the folder; `None` where there is none yet.
    ///
    /// # Errors
    /// Why it cannot be read, or cannot be used, in a sentence.
    pub fn saved(&self) -> Result<Option<Certificate>, String> {
        let file = self.certificate_file();
        match std::fs::metadata(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        Certificate::of_file(&file).map(Some)
    }

    /// The directory's URL as a file's name.
    fn tag(&self) -> String {
        let url = self.directory.strip_prefix("https://");
        let url = url.unwrap_or(&self.directory);
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        url.chars().map(|c| if fit(c) { c } else { '_' }).collect()
    }
}

/// Whether a file holds certificates of authorities; why not, in a sentence.
pub(super) fn check_authorities(file: &Path) -> Result<(), String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let name = file.display();
    let refuse =
        |error: &dyn std::fmt::Display| format!("cannot read authorities from `{name}`: {error}");
    let text = std::fs::read(file).map_err(|error: io::Error| refuse(&error))?;
    let mut all = CertificateDer::pem_slice_iter(&text);
    match all.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(refuse(&"it is not PEM")),
        None => Err(refuse(&"it holds no certificate in PEM form")),
    }
}
