//! Certificates for TLS: a chain and its key, read from PEM files and found to belong together.
//!
//! The key is never printed. Whether a certificate is out of date is no error here, since a clock may be wrong and a
//! server that still does UDP is better than none; see [`Certificate::validity`]. Main type: [`Certificate`].

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A longer file is no certificate.
const LONGEST: u64 = 1 << 20;

/// A certificate with its chain and its key.
#[derive(PartialEq, Eq)]
pub struct Certificate {
    file: PathBuf,
    key_file: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: i64,
    not_after: i64,
}

/// Whether a certificate is good at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Valid,
    /// Not yet.
    NotYet,
    /// Not any more.
    Expired,
}

/// Which of the two files is wrong, and how.
#[derive(Debug)]
pub(super) enum CertificateError {
    Certificate(String),
    Key(String),
}

impl Certificate {
    /// Reads a certificate, with its chain behind it, and its key.
    pub(super) fn read(file: &Path, key_file: &Path) -> Result<Certificate, CertificateError> {
        let chain = chain(file).map_err(CertificateError::Certificate)?;
        let key = key(key_file).map_err(CertificateError::Key)?;
        let name = file.display();
        let (_, leaf) = chain
            .first()
            .and_then(|leaf| X509Certificate::from_der(leaf).ok())
            .ok_or_else(|| {
                CertificateError::Certificate(format!(
                    "certificate file `{name}` holds something that is not an X.509 certificate"
                ))
            })?;
        let mut certificate = Certificate {
            file: file.to_owned(),
            key_file: key_file.to_owned(),
            names: Vec::new(),
            addresses: Vec::new(),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            key,
            chain: Vec::new(),
        };
        certificate.read_names(&leaf);
        certificate.chain = chain;
        match certificate.certified() {
            Ok(_) => Ok(certificate),
            Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::Key(format!(
                "the key in `{}` is not the key of the certificate in `{name}`",
                key_file.display()
            ))),
            Err(error) => Err(CertificateError::Key(format!(
                "the key in `{}` cannot be used: {error}",
                key_file.display()
            ))),
        }
    }

    /// Reads a certificate whose key is in the same file.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn of_file(file: &Path) -> Result<Certificate, String> {
        Self::read(file, file).map_err(|error| match error {
            CertificateError::Certificate(reason) | CertificateError::Key(reason) => reason,
        })
    }

    /// What its files hold by now.
    ///
    /// # Errors
    /// What is wrong with which of them, in a sentence.
    pub fn read_anew(&self) -> Result<Certificate, String> {
        Self::read(&self.file, &self.key_file).map_err(|error| match error {
            CertificateError::Certificate(reason) | CertificateError::Key(reason) => reason,
        })
    }

    fn read_names(&mut self, leaf: &X509Certificate<'_>) {
        if let Ok(Some(names)) = leaf.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => self.names.push((*name).to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
                    _ => {}
                }
            }
            return;
        }
        // Old certificates have their one name in the subject.
        let common = leaf.subject().iter_common_name().next();
        let common = common.and_then(|name| name.as_str().ok());
        self.names.extend(common.map(str::to_ascii_lowercase));
    }

    /// The chain and the key as TLS wants them.
    ///
    /// # Errors
    /// What is wrong with the key. A certificate that was read from files has none of that.
    pub fn certified(&self) -> Result<CertifiedKey, rustls::Error> {
        let provider = aws_lc_rs::default_provider();
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
    }

    /// The certificate without its chain and the key, in DER form, if they can serve for DTLS: ECDSA on P-256 or P-384.
    pub fn for_dtls(&self) -> Option<(&[u8], &[u8])> {
        let key = self.key.secret_der();
        dimpl::crypto::aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .ok()?;
        Some((self.chain.first()?, key))
    }

    /// The file of the certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file of the key.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The DNS names it is for, in lower case; a wildcard begins with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The IP addresses it is for.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// When it begins, in seconds since 1970.
    pub const fn not_before(&self) -> i64 {
        self.not_before
    }

    /// When it ends, in seconds since 1970.
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The same as a date of UTC, such as `2027-02-28 12:00:00`.
    pub fn not_after_date(&self) -> String {
        date(self.not_after)
    }

    /// When it begins, as a date of UTC.
    pub fn not_before_date(&self) -> String {
        date(self.not_before)
    }

    /// Whether it is good at a time, in seconds since 1970.
    pub const fn validity(&self, now: i64) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }
}

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Certificate {
            file: self.file.clone(),
            key_file: self.key_file.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            names: self.names.clone(),
            addresses: self.addresses.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("file", &self.file)
            .field("key_file", &self.key_file)
            .field("names", &self.names)
            .field("not_after", &self.not_after_date())
            .finish_non_exhaustive()
    }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = file.display();
    let text =
        read(file).map_err(|error| format!("cannot read certificate file `{name}`: {error}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!(
            "certificate file `{name}` holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        )),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!(
            "certificate file `{name}` is not PEM: {}",
            explain(&error)
        )),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let name = file.display();
    let text = read(file).map_err(|error| format!("cannot read key file `{name}`: {error}"))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound
            if String::from_utf8_lossy(&text).contains("BEGIN ENCRYPTED PRIVATE KEY") =>
        {
            format!(
                "key file `{name}` is encrypted with a pass phrase, which nobody could type in here; \
                 `openssl pkey -in FILE -out PLAIN` takes it off"
            )
        }
        pem::Error::NoItemsFound => format!(
            "key file `{name}` holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
        ),
        error => format!("key file `{name}` is not PEM: {}", explain(&error)),
    })
}

/// What is wrong with a PEM file, without any of its content.
fn explain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "an END line is missing",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "its base64 is malformed",
        _ => "it cannot be understood",
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).into())
}

/// Seconds since 1970 as date and time of UTC.
fn date(seconds: i64) -> String {
    match x509_parser::time::ASN1Time::from_timestamp(seconds) {
        Ok(time) => {
            let time = time.to_datetime();
            format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                time.year(),
                u8::from(time.month()),
                time.day(),
                time.hour(),
                time.minute(),
                time.second()
            )
        }
        Err(_) => format!("{seconds} s after 1970"),
    }
}
