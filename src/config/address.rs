//! An IP address that is written in the file, or comes from where it is known: another file, or the environment.
//!
//! One configuration then does for many machines, each with an address of its own. Main type: [`AddressSource`].

use std::env::{self, VarError};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::document::Text as _;

/// No more of a file is read: an address is far shorter.
const LONGEST: u64 = 256;

/// Where an address comes from.
pub(super) enum AddressSource {
    /// Written in the configuration itself.
    Inline(IpAddr),
    /// The content of a file.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl AddressSource {
    /// The address itself; paths are relative to `base`.
    ///
    /// # Errors
    /// A sentence that names the source, and what it says instead of an address.
    pub fn resolve(self, base: &Path) -> Result<IpAddr, String> {
        let (source, text) = match self {
            Self::Inline(ip) => return Ok(ip),
            Self::File(path) => {
                let path = base.join(path);
                let name = format!("file `{}`", path.display());
                let mut text = String::new();
                let read =
                    File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
                read.map_err(|error| format!("cannot read {name}: {error}"))?;
                (name, text)
            }
            Self::Env(name) => match env::var(&name) {
                Ok(text) => (format!("environment variable `{name}`"), text),
                Err(VarError::NotPresent) => {
                    return Err(format!("environment variable `{name}` is not set"));
                }
                Err(VarError::NotUnicode(_)) => {
                    return Err(format!("environment variable `{name}` is not UTF-8 text"));
                }
            },
        };
        match text.trim() {
            "" => Err(format!("{source} is empty")),
            text => IpAddr::read(text).map_err(|why| format!("{source}: {why}")),
        }
    }
}

impl<'de> Deserialize<'de> for AddressSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    file: Option<PathBuf>,
    env: Option<String>,
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = AddressSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address, { file = \"/path\" } or { env = \"NAME\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        IpAddr::read(text)
            .map(AddressSource::Inline)
            .map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match Reference::deserialize(MapAccessDeserializer::new(map))? {
            Reference {
                file: Some(path),
                env: None,
            } => Ok(AddressSource::File(path)),
            Reference {
                file: None,
                env: Some(name),
            } => Ok(AddressSource::Env(name)),
            Reference { .. } => Err(A::Error::custom(
                "an address comes either from a `file` or from `env`",
            )),
        }
    }
}
