//! Finds out whose request it is, by its user name and its integrity.
//!
//! Two sources of credentials are asked, users first, then shared secrets of ephemeral credentials; a request that
//! shows an access token is a matter of its own, see [`Authenticator::verify_token`]. The caller has found the attributes
//! that must be there and checks the nonce afterwards, in the order of RFC 8489 §9.2.4.
//!
//! Whoever guesses must not learn from an answer how near the guess was. So every failure costs the same: the
//! integrity is computed for two keys of a user, real or not, and for two keys of each shared secret (of a token equally
//! often whether it could be opened or not); and it is the same on the wire, a 401. Only the operator is told which [`AuthFailure`] it was.
//!
//! # What is offered
//! A challenge is written before anyone knows who asks, so its [`Offer`] is one for the whole realm: of the algorithms in
//! the settings those that every credential has a key for, so that no client picks one that fails. A user with an
//! `md5_key` alone thus keeps SHA-256 from everybody; where no algorithm suits all users, all of the settings' are
//! offered. A client of RFC 5389 names no algorithm and is taken to use MD5, offered or not, as long as the settings
//! have MD5 (or nothing at all).
//!
//! USERHASH is offered where there are users and no shared secrets: an ephemeral user name is not known before it is
//! used, so it cannot be found by its digest, and a client that trusts the offer would fail.
//!
//! Its main types are [`Authenticator`] and [`Verified`].

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use ahash::RandomState;

use super::ephemeral::{self, NoClaim, Signer, SigningAlgorithm};
use super::offer::Offer;
use super::secret::Secret;
use super::third_party::{ThirdParty, ThirdPartySettings};
use super::users::{Keys, User, Users};
use crate::wire::{Authenticated, Key, Message, PasswordAlgorithm, strings};

/// What an [`Authenticator`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// The realm that clients are told.
    pub realm: String,
    /// Users with lasting credentials.
    pub users: Vec<User>,
    /// Shared secrets of ephemeral credentials; several while one replaces another.
    pub secrets: Vec<Secret>,
    /// The password algorithms that may be offered, in the order of preference. Without MD5, clients of RFC 5389 are
    /// refused; without any, nothing is offered and MD5 is used, as RFC 5389 has it.
    pub algorithms: Vec<PasswordAlgorithm>,
    /// Third-party authorization; off without keys.
    pub third_party: ThirdPartySettings,
    /// Users who are refused whatever they prove: whole user names, or of ephemeral ones the user in them.
    pub revoked: Vec<String>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            realm: String::new(),
            users: Vec::new(),
            secrets: Vec::new(),
            algorithms: vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5],
            third_party: ThirdPartySettings::default(),
            revoked: Vec::new(),
        }
    }
}

/// Who a request says it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed<'a> {
    /// The value of USERNAME.
    Name(&'a [u8]),
    /// The value of USERHASH.
    Hash(&'a [u8; 32]),
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The realm is empty, longer than 127 bytes, or has characters that OpaqueString (RFC 8265) forbids.
    #[error("the realm {0:?} is empty, longer than 127 bytes or holds control characters")]
    Realm(String),
    /// A user name that OpaqueString forbids, or an empty one.
    #[error("the user name {0:?} is empty or holds control characters")]
    UserName(String),
    /// Two users whose names are the same once prepared.
    #[error("the user {0:?} is there twice")]
    DuplicateUser(String),
    /// A password that neither OpaqueString nor SASLprep allows, or an empty one.
    #[error("the password of {0:?} is empty or holds control characters")]
    Password(String),
    /// A user with neither a password nor a key.
    #[error("the user {0:?} has neither a password nor a key")]
    NoKey(String),
    /// An empty shared secret, which anyone could guess.
    #[error("a shared secret is empty")]
    EmptySecret,
    /// There are keys of tokens, and the name tokens are bound to is empty or longer than 127 bytes.
    #[error("the server name {0:?} is empty or longer than 127 bytes")]
    ServerName(String),
    /// The id of a key of tokens is empty, or another key's.
    #[error("the key id {0:?} is empty or there twice")]
    TokenKeyId(String),
    /// A key of tokens has not the length that its algorithm wants.
    #[error("the key {0:?} is not as long as its algorithm wants")]
    TokenKey(String),
}

/// Why a request is refused. The client gets a 401 whichever it is; this is for a counter and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthFailure {
    /// No such user, and no ephemeral user name either.
    #[error("unknown user")]
    UnknownUser,
    /// An ephemeral credential that was genuine and has run out.
    #[error("the credential has expired")]
    Expired,
    /// The user may exist, but the integrity was made with another key.
    #[error("wrong password")]
    WrongPassword,
    /// The user name is not UTF-8, or its expiry is not a time.
    #[error("malformed user name")]
    MalformedName,
    /// The user may not relay any more.
    #[error("the user is revoked")]
    Revoked,
    /// The settings do not allow the password algorithm: a client of RFC 5389 where MD5 is switched off.
    #[error("the password algorithm is not allowed")]
    Algorithm,
    /// A token whose key id is not known.
    #[error("unknown key id")]
    UnknownTokenKey,
    /// A token whose key is not used yet, or not any more.
    #[error("the key of the token is out of its time")]
    InactiveTokenKey,
    /// A token that is malformed, sealed with another key or for another server.
    #[error("the token cannot be opened")]
    BadToken,
    /// A token that is over its time, or made in the future.
    #[error("the token is out of its time")]
    TokenExpired,
}

impl AuthFailure {
    /// Every failure, for a metric that starts at zero.
    pub const ALL: [Self; 10] = [
        Self::UnknownUser,
        Self::Expired,
        Self::WrongPassword,
        Self::MalformedName,
        Self::Revoked,
        Self::Algorithm,
        Self::UnknownTokenKey,
        Self::InactiveTokenKey,
        Self::BadToken,
        Self::TokenExpired,
    ];

    /// Stable name in snake case, for a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::Expired => "expired",
            Self::WrongPassword => "wrong_password",
            Self::MalformedName => "malformed_name",
            Self::Revoked => "revoked",
            Self::Algorithm => "algorithm",
            Self::UnknownTokenKey => "unknown_token_key",
            Self::InactiveTokenKey => "inactive_token_key",
            Self::BadToken => "bad_token",
            Self::TokenExpired => "token_expired",
        }
    }
}

/// A genuine request and whose it is.
#[derive(Debug, Clone)]
pub struct Verified<'a> {
    /// The request, showing only what its integrity covers.
    pub request: Authenticated<'a>,
    /// The user name of the request, or of the user whose digest it gave. Of a token the id of its key, which many
    /// clients have in common.
    pub username: Arc<str>,
    /// What quotas count by: of an ephemeral `expiry:user` the user, so that a new expiry gives no new quota; else the
    /// whole name. Of a token its `mac_key`, by a digest: the id of its key is everybody's.
    pub quota_name: Arc<str>,
    /// Of an ephemeral `expiry:user` the user, if there is one.
    pub user_part: Option<Arc<str>>,
    /// The key the integrity was made with. It makes the integrity of the response, and verifies later requests of the
    /// same allocation: those stay valid when the credential expires.
    pub key: Key,
    /// Last second, Unix time, at which the credential can open an allocation.
    pub expires_at: Option<u64>,
    /// Of a token: for how many seconds it lets an allocation live.
    pub remaining: Option<u32>,
}

/// Knows the credentials of one realm. A clone shares what it knows.
#[derive(Clone)]
pub struct Authenticator {
    realm: String,
    users: Arc<Users>,
    signers: Vec<Signer>,
    algorithms: Vec<PasswordAlgorithm>,
    offer: Offer,
    third_party: Option<Arc<ThirdParty>>,
    revoked: Arc<HashSet<String, RandomState>>,
    /// Keys that nobody has, checked in place of those of a user who does not exist.
    nobody: Keys,
}

impl Authenticator {
    /// Takes over credentials. Keys are derived here and passwords are dropped.
    ///
    /// # Errors
    /// A [`SettingsError`] naming the first thing that cannot be used.
    pub fn new(settings: AuthSettings) -> Result<Self, SettingsError> {
        let AuthSettings {
            realm,
            users,
            secrets,
            algorithms,
            third_party,
            revoked,
        } = settings;
        // 127 characters are RFC 8489's limit (§14.9); counting bytes stays below it.
        let realm = strings::opaque(&realm)
            .filter(|realm| realm.len() <= 127)
            .ok_or_else(|| SettingsError::Realm(realm.clone()))?
            .into_owned();
        let hasher = RandomState::with_seeds(
            rand::random(),
            rand::random(),
            rand::random(),
            rand::random(),
        );
        let mut revoked_names = HashSet::with_hasher(hasher.clone());
        revoked_names.extend(revoked);
        let users = Users::new(users, &realm, hasher)?;
        if secrets.iter().any(|secret| secret.expose().is_empty()) {
            return Err(SettingsError::EmptySecret);
        }
        let nobody = [(); 2].map(|()| {
            let random: [u8; 32] = rand::random();
            Key::long_term(PasswordAlgorithm::Md5, b"", &realm, &random)
        });
        let suits_all = |algorithm: &PasswordAlgorithm| users.all_have(*algorithm);
        let anonymity = users.len() > 0 && secrets.is_empty();
        let offer = if algorithms.iter().any(suits_all) {
            let suitable: Vec<_> = algorithms.iter().copied().filter(suits_all).collect();
            Offer::new(&suitable, anonymity)
        } else {
            Offer::new(&algorithms, anonymity)
        };
        let third_party = ThirdParty::new(third_party, &realm)?;
        Ok(Self {
            users: Arc::new(users),
            third_party: third_party.map(Arc::new),
            algorithms,
            offer,
            revoked: Arc::new(revoked_names),
            signers: secrets
                .iter()
                .map(|secret| Signer::new(secret.expose().as_bytes()))
                .collect(),
            nobody,
            realm,
        })
    }

    /// The same, but that these users are refused and no others: see [`AuthSettings::revoked`].
    #[must_use]
    pub fn with_revoked(&self, revoked: impl IntoIterator<Item = String>) -> Self {
        let mut names = HashSet::with_hasher(self.revoked.hasher().clone());
        names.extend(revoked);
        Self {
            revoked: Arc::new(names),
            ..self.clone()
        }
    }

    /// The realm, prepared, as it goes into REALM.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether there is anyone whose request could be genuine.
    pub fn has_credentials(&self) -> bool {
        self.users.len() > 0 || !self.signers.is_empty() || self.third_party.is_some()
    }

    /// The value of THIRD-PARTY-AUTHORIZATION, where access tokens are accepted.
    pub fn third_party(&self) -> Option<&str> {
        self.third_party.as_deref().map(ThirdParty::server_name)
    }

    /// Whether a user may not relay any more, by the whole name or by the user in an ephemeral one.
    pub fn is_revoked(&self, name: &str, user_part: Option<&str>) -> bool {
        let is_listed = |name: &str| self.revoked.contains(name);
        !self.revoked.is_empty() && (is_listed(name) || user_part.is_some_and(is_listed))
    }

    /// What challenges tell clients they may use.
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Whether a request may be made with a key of an algorithm.
    fn allows(&self, algorithm: PasswordAlgorithm) -> bool {
        match self.algorithms.as_slice() {
            [] => algorithm == PasswordAlgorithm::Md5,
            some => some.contains(&algorithm),
        }
    }

    /// Verifies the integrity of `request` for `username`, the value of its USERNAME attribute, with a key made by MD5:
    /// the one a client uses that names no password algorithm (RFC 8489 §9.2.4). `unix_now` is in seconds.
    ///
    /// # Errors
    /// An [`AuthFailure`]; it is the same work and the same answer on the wire for each.
    pub fn verify<'a>(
        &self,
        request: &Message<'a>,
        username: &[u8],
        unix_now: u64,
    ) -> Result<Verified<'a>, AuthFailure> {
        self.verify_with(PasswordAlgorithm::Md5, request, username, unix_now)
    }

    /// Like [`verify`](Self::verify), with the password algorithm that the request names.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with<'a>(
        &self,
        algorithm: PasswordAlgorithm,
        request: &Message<'a>,
        username: &[u8],
        unix_now: u64,
    ) -> Result<Verified<'a>, AuthFailure> {
        self.verify_claim(algorithm, request, Claimed::Name(username), unix_now)
    }

    /// Like [`verify_with`](Self::verify_with), for a request that may have USERHASH in place of USERNAME. Where
    /// USERHASH is not offered, everyone is unknown by it.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_claim<'a>(
        &self,
        algorithm: PasswordAlgorithm,
        request: &Message<'a>,
        claimed: Claimed<'_>,
        unix_now: u64,
    ) -> Result<Verified<'a>, AuthFailure> {
        let (bytes, name) = match claimed {
            Claimed::Name(bytes) => (bytes, std::str::from_utf8(bytes).ok()),
            Claimed::Hash(hash) => (hash.as_slice(), None),
        };
        let user = match claimed {
            Claimed::Name(_) => name.and_then(|name| self.users.get(name)),
            Claimed::Hash(hash) => self.users.by_hash(hash).filter(|_| self.offer.anonymity()),
        };
        let allowed = self.allows(algorithm);
        let user_keys = user
            .and_then(|user| user.keys(algorithm))
            .filter(|_| allowed);

        // From here to the last key nothing depends on what was found, unless it is a success.
        let mut genuine = None;
        for key in user_keys.unwrap_or(&self.nobody) {
            genuine = genuine.or(check(request, key));
        }
        if let (Some(user), Some((key, request))) = (user, genuine)
            && user_keys.is_some()
            && !self.is_revoked(&user.name, None)
        {
            return Ok(Verified {
                request,
                username: Arc::clone(&user.name),
                quota_name: Arc::clone(&user.name),
                user_part: None,
                key,
                expires_at: None,
                remaining: None,
            });
        }
        let mut signed = None;
        for signer in &self.signers {
            for signing in SigningAlgorithm::ALL {
                let key = signer.key(signing, algorithm, bytes, &self.realm);
                let checked = check(request, &key);
                signed = signed.or(checked);
            }
        }

        if !allowed {
            return Err(AuthFailure::Algorithm);
        }
        let Some(name) = name else {
            return Err(match claimed {
                Claimed::Name(_) => AuthFailure::MalformedName,
                Claimed::Hash(_) if user_keys.is_some() && genuine.is_some() => {
                    AuthFailure::Revoked
                }
                Claimed::Hash(_) if user.is_some() => AuthFailure::WrongPassword,
                Claimed::Hash(_) => AuthFailure::UnknownUser,
            });
        };
        let claim = ephemeral::claim(name);
        if let (Some((key, request)), Ok(claim)) = (signed, claim) {
            if claim.expiry < unix_now {
                return Err(AuthFailure::Expired);
            }
            if self.is_revoked(name, claim.user) {
                return Err(AuthFailure::Revoked);
            }
            let username = Arc::from(name);
            let quota_name = claim.user.map_or_else(|| Arc::clone(&username), Arc::from);
            return Ok(Verified {
                request,
                username,
                user_part: claim
                    .user
                    .filter(|user| !user.is_empty())
                    .map(|_| Arc::clone(&quota_name)),
                quota_name,
                key,
                expires_at: Some(claim.expiry),
                remaining: None,
            });
        }
        Err(match claim {
            _ if user_keys.is_some() && genuine.is_some() => AuthFailure::Revoked,
            _ if user.is_some() => AuthFailure::WrongPassword,
            _ if self.signers.is_empty() => AuthFailure::UnknownUser,
            Ok(_) => AuthFailure::WrongPassword,
            Err(NoClaim::OutOfRange) => AuthFailure::MalformedName,
            Err(NoClaim::OtherScheme) => AuthFailure::UnknownUser,
        })
    }

    /// Verifies the integrity of a request that shows an access token, the value of ACCESS-TOKEN (RFC 7635 §7). Passwords
    /// and how keys are made of them play no part.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_token<'a>(
        &self,
        request: &Message<'a>,
        claimed: Claimed<'_>,
        token: &[u8],
        unix_now: u64,
    ) -> Result<Verified<'a>, AuthFailure> {
        let third_party = self
            .third_party
            .as_ref()
            .ok_or(AuthFailure::UnknownTokenKey)?;
        let opened = third_party.open(claimed, self.offer.anonymity(), token, unix_now);
        let [nobody, _] = self.nobody;
        let mac_key = opened.mac_key.unwrap_or(nobody);
        let mut genuine = check(request, &mac_key);
        if let Some(truncated) = third_party.truncated(&mac_key) {
            genuine = genuine.or(check(request, &truncated));
        }
        let claim = opened.claim?;
        let (key, request) = genuine.ok_or(AuthFailure::WrongPassword)?;
        if self.is_revoked(&claim.id, Some(&claim.holder)) {
            return Err(AuthFailure::Revoked);
        }
        Ok(Verified {
            request,
            username: claim.id,
            quota_name: claim.holder,
            user_part: None,
            key,
            expires_at: None,
            remaining: Some(claim.remaining),
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .field("secrets", &self.signers.len())
            .finish_non_exhaustive()
    }
}

/// The one place where a request's integrity is computed.
fn check<'a>(request: &Message<'a>, key: &Key) -> Option<(Key, Authenticated<'a>)> {
    #[cfg(test)]
    tests::CHECKS.with(|checks| checks.set(checks.get() + 1));
    request
        .authenticate(key)
        .map(|authenticated| (*key, authenticated))
}

#[cfg(test)]
mod tests;
