//! Ephemeral credentials: a web service and this server share a secret, and the service signs user names that carry
//! their own expiry.
//!
//! The user name is `expiry` or `expiry:user`, the expiry in Unix seconds; the password is the base64 text of HMAC-SHA1
//! over the user name, keyed with the secret. This is the scheme that draft-uberti-behave-turn-rest describes and that
//! coturn and eturnal accept. Nothing here decides whether a request is genuine; see
//! [`super::Authenticator`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::wire::{Key, PasswordAlgorithm};

/// Characters of a password: base64 of 20 bytes.
const PASSWORD_LENGTH: usize = 28;

/// What a user name of this scheme says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// Last second, Unix time, at which the credential is good.
    pub expiry: u64,
    /// The part after the colon.
    pub user: Option<&'a str>,
}

/// Why a user name is not of this scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoClaim {
    /// It does not start with a number.
    OtherScheme,
    /// It starts with a number that is no time.
    OutOfRange,
}

/// Reads a user name.
pub(super) fn claim(username: &str) -> Result<Claim<'_>, NoClaim> {
    let (digits, user) = match username.split_once(':') {
        Some((digits, user)) => (digits, Some(user)),
        None => (username, None),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NoClaim::OtherScheme);
    }
    let expiry = digits.parse().map_err(|_| NoClaim::OutOfRange)?;
    Ok(Claim { expiry, user })
}

/// A shared secret, ready to sign.
#[derive(Clone)]
pub(super) struct Signer(Hmac<Sha1>);

impl Signer {
    pub fn new(secret: &[u8]) -> Self {
        // An HMAC takes a key of any length; the fall-back is never reached.
        Self(
            <Hmac<Sha1> as KeyInit>::new_from_slice(secret)
                .unwrap_or_else(|_| <Hmac<Sha1> as KeyInit>::new(&Default::default())),
        )
    }

    fn password(&self, username: &[u8]) -> [u8; PASSWORD_LENGTH] {
        let signature = self.0.clone().chain_update(username).finalize();
        let mut text = [0; PASSWORD_LENGTH];
        // The room is exact, so the encoding cannot fail.
        let _ = STANDARD.encode_slice(signature.into_bytes(), &mut text);
        text
    }

    /// The long-term key of the password that this secret gives `username`.
    pub fn key(&self, algorithm: PasswordAlgorithm, username: &[u8], realm: &str) -> Key {
        Key::long_term(algorithm, username, realm, &self.password(username))
    }
}

/// Makes the user name and password of a credential that is good until `expiry_unix`, in Unix seconds.
///
/// `user` is what quotas and logs know the client by; without it the user name is the bare expiry.
#[must_use]
pub fn mint_ephemeral(secret: &[u8], user: Option<&str>, expiry_unix: u64) -> (String, String) {
    let username = match user {
        Some(user) => format!("{expiry_unix}:{user}"),
        None => expiry_unix.to_string(),
    };
    let password = Signer::new(secret).password(username.as_bytes());
    let password = password.iter().copied().map(char::from).collect();
    (username, password)
}
