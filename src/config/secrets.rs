//! Where a secret comes from: written in the file, another file, a credential of systemd, or the environment.
//!
//! Messages here name the source, never the value. Main type: [`SecretSource`].

use std::env::{self, VarError};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::auth::Secret;

/// A secret is far shorter than this many bytes; a longer file is the wrong file.
const LONGEST: u64 = 4096;

/// Where a secret comes from.
pub(super) enum SecretSource {
    /// Written in the configuration itself.
    Inline(Secret),
    /// The content of a file, without the line's end.
    File(PathBuf),
    /// A file of this name in the directory where systemd puts a service's credentials (`LoadCredential=`).
    Credential(String),
    /// A variable of the environment.
    Env(String),
}

impl SecretSource {
    /// The secret itself; paths are relative to `base`.
    pub(super) fn resolve(self, base: &Path) -> Result<Secret, String> {
        match self {
            Self::Inline(secret) if secret.expose().is_empty() => {
                Err("this secret is empty".to_owned())
            }
            Self::Inline(secret) => Ok(secret),
            Self::File(path) => read_file(&base.join(path)),
            Self::Credential(name) => read_file(&credential_file(&name)?),
            Self::Env(name) => match env::var(&name) {
                Ok(value) if value.is_empty() => {
                    Err(format!("environment variable `{name}` is empty"))
                }
                Ok(value) => Ok(Secret::new(value)),
                Err(VarError::NotPresent) => {
                    Err(format!("environment variable `{name}` is not set"))
                }
                Err(VarError::NotUnicode(_)) => {
                    Err(format!("environment variable `{name}` is not UTF-8 text"))
                }
            },
        }
    }
}

/// Where systemd puts a credential.
///
/// # Errors
/// A sentence that says how to come by one.
pub(super) fn credential_file(name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(
            "a credential has a name, as in `LoadCredential=name:/path`, and no path".to_owned(),
        );
    }
    let directory = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        format!(
            "there is no credential `{name}`: systemd sets CREDENTIALS_DIRECTORY for a service with \
             `LoadCredential={name}:/path`; elsewhere, set it to a directory with that file"
        )
    })?;
    Ok(Path::new(&directory).join(name))
}

/// Reads a secret from a file: its content without the line's end.
///
/// # Errors
/// A sentence naming the file and what is wrong with it.
pub fn read_file(path: &Path) -> Result<Secret, String> {
    let name = path.display();
    let file = std::fs::File::open(path)
        .map_err(|error| format!("cannot read secret file `{name}`: {error}"))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read secret file `{name}`: {error}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!(
            "secret file `{name}` is longer than {LONGEST} bytes"
        ));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("secret file `{name}` is not UTF-8 text"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(format!("secret file `{name}` is empty"));
    }
    if secret.contains(['\r', '\n']) {
        return Err(format!("secret file `{name}` has more than one line"));
    }
    Ok(Secret::from(secret))
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    file: Option<PathBuf>,
    credential: Option<String>,
    env: Option<String>,
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a string, { file = \"/path\" }, { credential = \"name\" } or { env = \"NAME\" }",
        )
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(SecretSource::Inline(Secret::from(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match Reference::deserialize(MapAccessDeserializer::new(map))? {
            Reference {
                file: Some(path),
                credential: None,
                env: None,
            } => Ok(SecretSource::File(path)),
            Reference {
                file: None,
                credential: Some(name),
                env: None,
            } => Ok(SecretSource::Credential(name)),
            Reference {
                file: None,
                credential: None,
                env: Some(name),
            } => Ok(SecretSource::Env(name)),
            Reference { .. } => Err(A::Error::custom(
                "a secret comes either from a `file`, from a `credential` or from `env`",
            )),
        }
    }
}
