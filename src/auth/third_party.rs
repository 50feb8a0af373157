//! Credentials that an authorization server gives out (RFC 7635): whose key a token was sealed with.
//!
//! The authorization server shares keys with this server, each with an id. A client names the id as its user name and
//! shows a token, an [`AccessToken`], which holds the key of its requests' integrity. Many clients use one id, so it says
//! nothing about who they are. Keys are checked one by one: there are few. The verification of requests is in
//! [`super::Authenticator`]. Main type: [`ThirdParty`].

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::access_token::{AccessToken, TokenAlgorithm, TokenCipher};
use super::authenticator::{AuthFailure, Claimed, SettingsError};
use super::secret::Secret;
use crate::wire::Key;
use crate::wire::integrity::userhash;

/// How much of a `mac_key` coturn uses, in bytes: as much as a key made by MD5 has.
const TRUNCATED_LENGTH: usize = 16;

/// A key shared with an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenKey {
    /// Its id, the `kid` that clients give as their user name; compared by bytes.
    pub id: String,
    /// What it is used with.
    pub algorithm: TokenAlgorithm,
    /// The key, of exactly the length the algorithm wants.
    pub secret: Secret<Vec<u8>>,
    /// Unix time in seconds from which on tokens are opened with it.
    pub not_before: Option<u64>,
    /// The last second, Unix time, in which they are.
    pub not_after: Option<u64>,
}

/// Third-party authorization as the settings have it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ThirdPartySettings {
    /// The name by which authorization servers know this server: clients are told it, and tokens are bound to it.
    pub server_name: String,
    /// The keys; without any, third-party authorization is off.
    #[serde(rename = "key")]
    pub keys: Vec<TokenKey>,
    /// Whether requests are genuine too that were signed with the first 16 bytes of a `mac_key` alone, as coturn and its
    /// clients do. RFC 7635 knows nothing of it.
    pub truncated_mac_keys: bool,
}

/// A key, ready to open tokens.
struct Entry {
    id: Arc<str>,
    /// The USERHASH of the id.
    hash: [u8; 32],
    cipher: TokenCipher,
    not_before: u64,
    not_after: u64,
}

/// The keys, and the name tokens are bound to.
pub(super) struct ThirdParty {
    server_name: String,
    keys: Vec<Entry>,
    truncated_mac_keys: bool,
    /// A key that nobody has, tried in place of one that does not exist.
    nobody: TokenCipher,
}

/// What a token turned out to be. All of it costs the same, whatever is found.
pub(super) struct Opened {
    /// The key to check the request's integrity with; nobody's where there is none.
    pub mac_key: Option<Key>,
    /// Whose token it is and how long it is good, or why it counts for nothing.
    pub claim: Result<TokenClaim, AuthFailure>,
}

/// A token that is good.
pub(super) struct TokenClaim {
    /// The id of the key.
    pub id: Arc<str>,
    /// Names the token's holder among all who use that id, without telling the key: a digest of it.
    pub holder: Arc<str>,
    /// Seconds that an allocation may live.
    pub remaining: u32,
}

impl ThirdParty {
    /// Takes over the keys; `None` where there are none. The realm is prepared already.
    pub fn new(settings: ThirdPartySettings, realm: &str) -> Result<Option<Self>, SettingsError> {
        let ThirdPartySettings {
            server_name,
            keys,
            truncated_mac_keys,
        } = settings;
        if keys.is_empty() {
            return Ok(None);
        }
        if server_name.is_empty() || server_name.len() > 127 {
            return Err(SettingsError::ServerName(server_name));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(keys.len());
        for key in keys {
            if key.id.is_empty() || entries.iter().any(|other| *other.id == *key.id) {
                return Err(SettingsError::TokenKeyId(key.id));
            }
            let cipher = TokenCipher::new(key.algorithm, key.secret.expose());
            entries.push(Entry {
                hash: userhash(key.id.as_bytes(), realm),
                cipher: cipher.ok_or_else(|| SettingsError::TokenKey(key.id.clone()))?,
                id: key.id.into(),
                not_before: key.not_before.unwrap_or(0),
                not_after: key.not_after.unwrap_or(u64::MAX),
            });
        }
        let random: [u8; 32] = rand::random();
        let nobody = TokenCipher::new(TokenAlgorithm::Aes256Gcm, &random)
            .ok_or_else(|| SettingsError::TokenKey(String::new()))?;
        Ok(Some(Self {
            server_name,
            keys: entries,
            truncated_mac_keys,
            nobody,
        }))
    }

    /// The value of THIRD-PARTY-AUTHORIZATION.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// What else may have signed in a `mac_key`'s place.
    pub fn truncated(&self, mac_key: &Key) -> Option<Key> {
        let first = mac_key.as_bytes().get(..TRUNCATED_LENGTH)?;
        Key::from_bytes(first).filter(|_| self.truncated_mac_keys)
    }

    /// Opens the token of a client.
    pub fn open(
        &self,
        claimed: Claimed<'_>,
        hashes_count: bool,
        token: &[u8],
        unix_now: u64,
    ) -> Opened {
        let entry = self.keys.iter().find(|entry| match claimed {
            Claimed::Name(name) => entry.id.as_bytes() == name,
            Claimed::Hash(hash) => hashes_count && entry.hash == *hash,
        });
        let cipher = entry.map_or(&self.nobody, |entry| &entry.cipher);
        let token = AccessToken::open(cipher, &self.server_name, token);
        let claim = match (entry, token) {
            (None, _) => Err(AuthFailure::UnknownTokenKey),
            (Some(entry), _) if !(entry.not_before..=entry.not_after).contains(&unix_now) => {
                Err(AuthFailure::InactiveTokenKey)
            }
            (Some(_), None) => Err(AuthFailure::BadToken),
            (Some(entry), Some(token)) => token
                .remaining(unix_now)
                .map(|remaining| TokenClaim {
                    id: Arc::clone(&entry.id),
                    holder: holder(token.mac_key()),
                    remaining,
                })
                .ok_or(AuthFailure::TokenExpired),
        };
        Opened {
            mac_key: token.map(|token| *token.mac_key()),
            claim,
        }
    }
}

/// 64 bits of a digest of the key, which is random and at least 160 bits long.
fn holder(mac_key: &Key) -> Arc<str> {
    let digest = Sha256::digest(mac_key.as_bytes());
    let mut text = "token:".to_owned();
    for byte in digest.iter().take(8) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}
