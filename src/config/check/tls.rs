//! Certificates: are the files there, and do they belong together?

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::super::certificate::{Certificate, CertificateError};
use super::super::document::{self, List};
use super::super::error::Problem;
use super::super::settings::Tls;
use super::Problems;

pub(super) fn check(given: document::Tls, base: &Path, problems: &mut Problems) -> Tls {
    Tls {
        certificates: certificates(given.certificate, base, problems),
        acme: None,
    }
}

fn certificates(
    given: List<document::Certificate>,
    base: &Path,
    problems: &mut Problems,
) -> Vec<Certificate> {
    let mut files = Vec::new();
    let mut certificates = Vec::new();
    for element in given.unwrap_or_default() {
        let whole = element.span();
        let document::Certificate { certificate, key } = element.into_inner();
        let (Some(certificate), Some(key)) = (&certificate, &key) else {
            let missing = if certificate.is_none() {
                "certificate"
            } else {
                "key"
            };
            problems.add(
                Problem::new(whole, format!("this certificate has no `{missing}`"))
                    .help("`certificate` and `key` are paths of PEM files"),
            );
            continue;
        };
        let paths = (
            path("certificate", certificate, problems),
            path("key", key, problems),
        );
        let (Some(file), Some(key_file)) = paths else {
            continue;
        };
        let (file, key_file) = (base.join(file), base.join(key_file));
        match Certificate::read(&file, &key_file) {
            Ok(read) => {
                files.push((certificate.span(), (file, key_file)));
                certificates.push(read);
            }
            Err(CertificateError::Certificate(why)) => {
                problems.add(Problem::new(certificate.span(), why));
            }
            Err(CertificateError::Key(why)) => problems.add(Problem::new(key.span(), why)),
        }
    }
    problems.repeated(&files, |(file, _)| {
        format!("certificate file `{}`", file.display())
    });
    certificates
}

/// The path, unless it is plainly none; then it is not repeated, since it may be the key itself.
fn path(name: &str, given: &Spanned<String>, problems: &mut Problems) -> Option<PathBuf> {
    let text = given.get_ref();
    let why = if text.is_empty() {
        "is empty"
    } else if text.contains(['\n', '\r']) || text.contains("-----BEGIN") {
        "is not a path"
    } else {
        return Some(PathBuf::from(text));
    };
    problems.add(
        Problem::new(given.span(), format!("`{name}` {why}"))
            .help("give the path of a PEM file, not what is in it"),
    );
    None
}
