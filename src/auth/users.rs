//! Users named in the configuration.
//!
//! Passwords are turned into keys when the settings are taken over and dropped; only keys stay (RFC 8656 §6).
//! Both password algorithms are kept. A user is found by name, or by the digest of the name that a client sends which
//! does not want to show it (USERHASH, RFC 8489 §14.4); finding a digest says nothing about a password. Whether a request
//! is genuine is decided in [`super::Authenticator`].
//!
//! Its main types are [`User`] and `Users`.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use serde::Serialize;

use super::authenticator::SettingsError;
use super::secret::Secret;
use crate::wire::integrity::userhash;
use crate::wire::{Key, PasswordAlgorithm, strings};

/// A user with a credential that does not expire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name, compared by bytes once prepared as OpaqueString (RFC 8265): case counts, nothing is trimmed.
    pub name: String,
    /// What proves it.
    pub credential: Credential,
}

/// What proves a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// A password.
    Password(Secret),
    /// Digests of `name:realm:password` (RFC 8489 §9.2.2), so that no password is stored. A client can use the
    /// algorithms whose key is here; most use MD5.
    Keys {
        /// The MD5 digest.
        md5: Option<Secret<[u8; 16]>>,
        /// The SHA-256 digest.
        sha256: Option<Secret<[u8; 32]>>,
    },
}

/// The keys that one user may have for one algorithm: by the OpaqueString and by the SASLprep form of the password. Where
/// the forms are the same, so are the keys; there are always two, so that checking them is the same work.
pub(super) type Keys = [Key; 2];

/// A user, ready to be checked.
pub(super) struct Entry {
    pub name: Arc<str>,
    md5: Option<Keys>,
    sha256: Option<Keys>,
}

impl Entry {
    pub fn keys(&self, algorithm: PasswordAlgorithm) -> Option<&Keys> {
        match algorithm {
            PasswordAlgorithm::Md5 => self.md5.as_ref(),
            PasswordAlgorithm::Sha256 => self.sha256.as_ref(),
        }
    }
}

/// All users of one realm.
pub(super) struct Users {
    /// By prepared name.
    by_name: HashMap<Arc<str>, Entry, RandomState>,
    by_hash: HashMap<[u8; 32], Arc<str>, RandomState>,
}

impl Users {
    /// Takes over the users of `realm`, which is prepared already.
    pub fn new(users: Vec<User>, realm: &str, hasher: RandomState) -> Result<Self, SettingsError> {
        let mut by_name = HashMap::with_capacity_and_hasher(users.len(), hasher.clone());
        let mut by_hash = HashMap::with_capacity_and_hasher(users.len(), hasher);
        for user in users {
            let entry = entry(&user, realm)?;
            let hash = userhash(entry.name.as_bytes(), realm);
            by_hash.insert(hash, Arc::clone(&entry.name));
            if by_name.insert(Arc::clone(&entry.name), entry).is_some() {
                return Err(SettingsError::DuplicateUser(user.name));
            }
        }
        Ok(Self { by_name, by_hash })
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name)
    }

    /// The user of a USERHASH.
    pub fn by_hash(&self, hash: &[u8; 32]) -> Option<&Entry> {
        self.get(self.by_hash.get(hash)?)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether every user has a key of an algorithm.
    pub fn all_have(&self, algorithm: PasswordAlgorithm) -> bool {
        self.by_name
            .values()
            .all(|user| user.keys(algorithm).is_some())
    }
}

fn entry(user: &User, realm: &str) -> Result<Entry, SettingsError> {
    let name: Arc<str> = strings::opaque(&user.name)
        .ok_or_else(|| SettingsError::UserName(user.name.clone()))?
        .into();
    let (md5, sha256) = match &user.credential {
        Credential::Password(password) => {
            let forms = forms(password.expose())
                .ok_or_else(|| SettingsError::Password(user.name.clone()))?;
            let keys = |algorithm| {
                forms
                    .each_ref()
                    .map(|form| Key::long_term(algorithm, name.as_bytes(), realm, form.as_bytes()))
            };
            (
                Some(keys(PasswordAlgorithm::Md5)),
                Some(keys(PasswordAlgorithm::Sha256)),
            )
        }
        Credential::Keys { md5, sha256 } => {
            let md5 = md5
                .as_ref()
                .and_then(|key| Key::from_bytes(key.expose()))
                .map(|key| [key; 2]);
            let sha256 = sha256
                .as_ref()
                .and_then(|key| Key::from_bytes(key.expose()))
                .map(|key| [key; 2]);
            if md5.is_none() && sha256.is_none() {
                return Err(SettingsError::NoKey(user.name.clone()));
            }
            (md5, sha256)
        }
    };
    Ok(Entry { name, md5, sha256 })
}

/// The forms of a password, OpaqueString first; where one of them does not allow the password, the other twice.
fn forms(password: &str) -> Option<[String; 2]> {
    let opaque = strings::opaque(password);
    let saslprep = strings::saslprep(password).filter(|form| !form.is_empty());
    let first = opaque.clone().or_else(|| saslprep.clone())?.into_owned();
    let second = saslprep.or(opaque)?.into_owned();
    Some([first, second])
}
