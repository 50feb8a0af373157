//! Credentials: realm, shared secrets and users. No message here contains a secret.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::super::document::{self, Given, List};
use super::super::error::Problem;
use super::super::secrets::SecretSource;
use super::super::settings::{Auth, PasswordAlgorithm};
use super::weak::{EXAMPLE_KEYS, SHORTEST_PASSWORD, SHORTEST_SECRET, weakness};
use super::{HOUR, MINUTE, Problems, plain};
use crate::auth::{Credential, Secret, User};
use crate::wire::strings;

/// RFC 8489, section 14.3: USERNAME is shorter than 509 bytes.
pub(super) const LONGEST_NAME: usize = 508;
/// Whoever knows this key can make nonces, which is not much; but it must not be guessed from one.
const SHORTEST_NONCE_KEY: usize = 16;
/// RFC 8489, section 14.9: a realm is shorter than 128 characters, for which we take bytes.
const LONGEST_REALM: usize = 127;

/// The settings, and whether a secret is written in the document itself.
pub(super) fn check(
    given: document::Auth,
    base: &Path,
    default: Auth,
    problems: &mut Problems,
) -> (Auth, bool) {
    let allow_weak = given.allow_weak.unwrap_or(default.allow_weak);
    let mut sources = Sources::new(base).allow_weak(allow_weak);
    let auth = Auth {
        realm: realm(given.realm, default.realm, problems),
        nonce_lifetime: nonce_lifetime(given.nonce_lifetime, default.nonce_lifetime, problems),
        nonce_key: nonce_key(given.nonce_key, &mut sources, problems),
        password_algorithms: password_algorithms(
            given.password_algorithms,
            default.password_algorithms,
            problems,
        ),
        match_user_part: given.match_user_part.unwrap_or(default.match_user_part),
        strict_expiry: given.strict_expiry.unwrap_or(default.strict_expiry),
        revoked: revoked(given.revoked, problems),
        allow_weak: sources.allow_weak,
        secrets: secrets(given.secrets, &mut sources, problems),
        users: users(given.user, &mut sources, problems),
    };
    (auth, sources.inline())
}

/// How secrets are looked up.
pub(super) struct Sources<'a> {
    base: &'a Path,
    inline: bool,
    allow_weak: bool,
}

impl<'a> Sources<'a> {
    pub(super) const fn new(base: &'a Path) -> Self {
        Self {
            base,
            inline: false,
            allow_weak: false,
        }
    }

    /// Whether one of them was written in the document itself.
    pub(super) const fn inline(&self) -> bool {
        self.inline
    }

    pub(super) fn resolve(
        &mut self,
        given: Spanned<SecretSource>,
        problems: &mut Problems,
    ) -> Option<(Range<usize>, Secret)> {
        let span = given.span();
        let source = given.into_inner();
        self.inline |= matches!(source, SecretSource::Inline(_));
        match source.resolve(self.base) {
            Ok(secret) => Some((span, secret)),
            Err(why) => {
                problems.add(Problem::new(span, why));
                None
            }
        }
    }

    /// Whether secrets that anybody could guess are taken.
    pub(super) const fn allow_weak(mut self, allow_weak: bool) -> Self {
        self.allow_weak = allow_weak;
        self
    }

    /// The same for what somebody else must not guess; `what` is its name for people.
    pub(super) fn strong(
        &mut self,
        what: &str,
        least: usize,
        given: Spanned<SecretSource>,
        problems: &mut Problems,
    ) -> Option<(Range<usize>, Secret)> {
        let (span, secret) = self.resolve(given, problems)?;
        if !self.allow_weak
            && let Some(why) = weakness(secret.expose(), least)
        {
            problems.add(refused(span.clone(), what, &why));
        }
        Some((span, secret))
    }

    /// A key of `N` bytes, in hexadecimal.
    fn key<const N: usize>(
        &mut self,
        name: &str,
        given: Spanned<SecretSource>,
        problems: &mut Problems,
    ) -> Option<Secret<[u8; N]>> {
        let (span, text) = self.resolve(given, problems)?;
        let key = unhex(text.expose());
        let is_example = EXAMPLE_KEYS.contains(&text.expose().to_ascii_lowercase().as_str());
        if is_example && !self.allow_weak {
            let why = "stands in documentation, where everybody finds it";
            problems.add(refused(span.clone(), "key", why));
        }
        if key.is_none() {
            problems.add(
                Problem::new(
                    span,
                    format!("`{name}` is not {} hexadecimal digits", 2 * N),
                )
                .help("keys are made of `user:realm:password`, in hexadecimal"),
            );
        }
        key.map(Secret::new)
    }
}

fn refused(span: Range<usize>, what: &str, why: &str) -> Problem {
    Problem::new(span, format!("this {what} {why}")).help(
        "`openssl rand -base64 32` makes a good one; for tests where nobody else can reach the server: allow_weak = true",
    )
}

fn realm(given: Given<String>, default: String, problems: &mut Problems) -> String {
    let Some(given) = given else { return default };
    let realm = given.get_ref();
    if realm.is_empty() {
        problems.add(
            Problem::new(given.span(), "`realm` is empty")
                .help("the domain of the service will do"),
        );
    } else if realm.contains(['"', '\\']) {
        problems.add(Problem::new(
            given.span(),
            "`realm` contains a quote or a backslash, which no client understands",
        ));
    } else if realm.trim() != realm {
        problems.add(Problem::new(
            given.span(),
            "`realm` starts or ends with a space",
        ));
    } else if let Err(why) = plain("realm", realm, LONGEST_REALM) {
        problems.add(Problem::new(given.span(), why));
    } else if strings::opaque(realm).is_none() {
        problems.add(Problem::new(
            given.span(),
            "`realm` contains characters that RFC 8265 forbids",
        ));
    }
    given.into_inner()
}

fn nonce_lifetime(
    given: Given<document::Read<Duration>>,
    default: Duration,
    problems: &mut Problems,
) -> Duration {
    problems.duration("nonce_lifetime", given, MINUTE..=HOUR, default)
}

fn nonce_key(
    given: Given<SecretSource>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Option<Secret> {
    let (span, key) = sources.strong("nonce key", 0, given?, problems)?;
    if key.expose().len() < SHORTEST_NONCE_KEY {
        problems.add(
            Problem::new(
                span,
                format!("`nonce_key` is shorter than {SHORTEST_NONCE_KEY} bytes"),
            )
            .help("`openssl rand -base64 32` makes a good one"),
        );
    }
    Some(key)
}

fn password_algorithms(
    given: List<PasswordAlgorithm>,
    default: Vec<PasswordAlgorithm>,
    problems: &mut Problems,
) -> Vec<PasswordAlgorithm> {
    let Some(given) = given else { return default };
    let given: Vec<_> = given
        .into_iter()
        .map(|given| (given.span(), given.into_inner()))
        .collect();
    problems.repeated(&given, |algorithm| format!("`{algorithm}`"));
    given.into_iter().map(|(_, algorithm)| algorithm).collect()
}

fn revoked(given: List<String>, problems: &mut Problems) -> Vec<String> {
    let names: Vec<_> = given
        .unwrap_or_default()
        .into_iter()
        .map(|given| (given.span(), given.into_inner()))
        .collect();
    problems.repeated(&names, |name| format!("`{name}` in `revoked`"));
    for (span, name) in &names {
        if name.is_empty() {
            problems.add(Problem::new(span.clone(), "this name is empty"));
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

fn secrets(
    given: List<SecretSource>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Vec<Secret> {
    let secrets: Vec<_> = given
        .unwrap_or_default()
        .into_iter()
        .filter_map(|given| sources.strong("secret", SHORTEST_SECRET, given, problems))
        .collect();
    problems.repeated(&secrets, |_| "this secret".to_owned());
    secrets.into_iter().map(|(_, secret)| secret).collect()
}

fn users(
    given: List<document::User>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Vec<User> {
    let mut names = Vec::new();
    let mut users = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let document::User {
            name,
            password,
            md5_key,
            sha256_key,
        } = element.into_inner();
        let name = check_name(name, &span, problems);
        if let Some(name) = &name {
            let prepared = strings::opaque(name.get_ref());
            names.push((
                name.span(),
                prepared.map_or(name.get_ref().clone(), Cow::into_owned),
            ));
        }
        let place = name.as_ref().map_or(span, Spanned::span);
        let has_key = md5_key.is_some() || sha256_key.is_some();
        let credential = match password {
            Some(password) if has_key => {
                problems.add(
                    Problem::new(
                        password.span(),
                        "this user has both a password and keys made of one",
                    )
                    .help("keys are there so that no password need be stored; leave one out"),
                );
                None
            }
            Some(password) => sources
                .strong("password", SHORTEST_PASSWORD, password, problems)
                .and_then(|(span, password)| {
                    let text = password.expose();
                    let allowed =
                        strings::opaque(text).is_some() || strings::saslprep(text).is_some();
                    if !allowed {
                        let message = "this password contains characters that RFC 8265 forbids";
                        problems.add(Problem::new(span, message));
                    }
                    allowed.then_some(Credential::Password(password))
                }),
            None if has_key => Some(Credential::Keys {
                md5: md5_key.and_then(|given| sources.key("md5_key", given, problems)),
                sha256: sha256_key.and_then(|given| sources.key("sha256_key", given, problems)),
            }),
            None => {
                problems.add(
                    Problem::new(place, "this user has neither a password nor a key")
                        .help("give `password`, or `md5_key` and `sha256_key`"),
                );
                None
            }
        };
        if let (Some(name), Some(credential)) = (name, credential) {
            users.push(User {
                name: name.into_inner(),
                credential,
            });
        }
    }
    problems.repeated(&names, |name| format!("user `{name}`"));
    users
}

fn check_name(given: Given<String>, user: &Range<usize>, problems: &mut Problems) -> Given<String> {
    let Some(name) = given else {
        problems.add(Problem::new(user.clone(), "this user has no `name`"));
        return None;
    };
    let checked = plain("name", name.get_ref(), LONGEST_NAME);
    if name.get_ref().is_empty() {
        problems.add(Problem::new(name.span(), "`name` is empty"));
    } else if let Err(why) = checked {
        problems.add(Problem::new(name.span(), why));
    } else if strings::opaque(name.get_ref()).is_none() {
        problems.add(Problem::new(
            name.span(),
            "`name` contains characters that RFC 8265 forbids",
        ));
    }
    Some(name)
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    if digits.len() == 2 * N {
        bytes.try_into().ok()
    } else {
        None
    }
}
