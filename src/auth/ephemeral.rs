//! Ephemeral credentials: a web service and this server share a secret, and the service signs user names that carry
//! their own expiry.
//!
//! The user name is `expiry` or `expiry:user`, the expiry in Unix seconds; the password is the base64 text of HMAC-SHA1
//! over the user name, keyed with the secret. This is the scheme that draft-uberti-behave-turn-rest describes and that
//! coturn and eturnal accept. HMAC-SHA256 in its place is accepted too, since some services sign with nothing older.
//! Nothing in a credential says which of the two it is, so each secret stands for two passwords.
//! Nothing here decides whether a request is genuine; see [`super::Authenticator`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::wire::{Key, PasswordAlgorithm};

/// Characters of the longest password: base64 of 32 bytes.
const PASSWORD_LENGTH: usize = 44;

/// How the user name of an ephemeral credential is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SigningAlgorithm {
    /// HMAC-SHA1, which every server understands that has such credentials.
    #[default]
    Sha1,
    /// HMAC-SHA256.
    Sha256,
}

impl SigningAlgorithm {
    /// Both, in the order they are tried.
    pub(super) const ALL: [Self; 2] = [Self::Sha1, Self::Sha256];
}

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
pub(super) struct Signer {
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
}

impl Signer {
    pub fn new(secret: &[u8]) -> Self {
        // An HMAC takes a key of any length; the fall-backs are never reached.
        Self {
            sha1: <Hmac<Sha1> as KeyInit>::new_from_slice(secret)
                .unwrap_or_else(|_| <Hmac<Sha1> as KeyInit>::new(&Default::default())),
            sha256: <Hmac<Sha256> as KeyInit>::new_from_slice(secret)
                .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&Default::default())),
        }
    }

    /// Hands the password of a user name to `use_it`.
    fn password<T>(
        &self,
        signing: SigningAlgorithm,
        username: &[u8],
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> T {
        fn sign<M: Mac + Clone>(mac: &M, username: &[u8], text: &mut [u8]) -> usize {
            let signature = mac.clone().chain_update(username).finalize();
            // The room is enough, so the encoding cannot fail.
            STANDARD
                .encode_slice(signature.into_bytes(), text)
                .unwrap_or(0)
        }
        let mut text = [0; PASSWORD_LENGTH];
        let length = match signing {
            SigningAlgorithm::Sha1 => sign(&self.sha1, username, &mut text),
            SigningAlgorithm::Sha256 => sign(&self.sha256, username, &mut text),
        };
        use_it(text.get(..length).unwrap_or(&text))
    }

    /// The long-term key of the password that this secret gives `username`.
    pub fn key(
        &self,
        signing: SigningAlgorithm,
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &str,
    ) -> Key {
        self.password(signing, username, |password| {
            Key::long_term(algorithm, username, realm, password)
        })
    }
}

/// Makes the user name and password of a credential that is good until `expiry_unix`, in Unix seconds, signed with
/// HMAC-SHA1.
///
/// `user` is what quotas and logs know the client by; without it the user name is the bare expiry.
#[must_use]
pub fn mint_ephemeral(secret: &[u8], user: Option<&str>, expiry_unix: u64) -> (String, String) {
    mint_ephemeral_with(SigningAlgorithm::Sha1, secret, user, expiry_unix)
}

/// Like [`mint_ephemeral`], signed with an algorithm of one's choice.
#[must_use]
pub fn mint_ephemeral_with(
    signing: SigningAlgorithm,
    secret: &[u8],
    user: Option<&str>,
    expiry_unix: u64,
) -> (String, String) {
    let username = match user {
        Some(user) => format!("{expiry_unix}:{user}"),
        None => expiry_unix.to_string(),
    };
    let password = Signer::new(secret).password(signing, username.as_bytes(), |password| {
        password.iter().copied().map(char::from).collect()
    });
    (username, password)
}
