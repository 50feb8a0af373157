//! `[oauth]`: the keys shared with authorization servers (RFC 7635). No message here contains a key.

use std::ops::Range;
use std::path::Path;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use toml::Spanned;
use toml::value::Datetime;

use super::super::document::{self, Given, List, TokenAlgorithm};
use super::super::error::Problem;
use super::super::units;
use super::auth::{LONGEST_NAME, Sources, unhex};
use super::{Problems, plain};
use crate::auth::{self, Secret, ThirdPartySettings, TokenKey};

/// The server's name stands in answers to everyone, so it is as short as a realm.
const LONGEST_SERVER_NAME: usize = 127;

/// The settings, and whether a key is written in the document itself.
pub(super) fn check(
    given: document::Oauth,
    base: &Path,
    problems: &mut Problems,
) -> (ThirdPartySettings, bool) {
    let mut sources = Sources::new(base);
    let first = given
        .key
        .as_ref()
        .and_then(|keys| keys.first())
        .map(Spanned::span);
    let settings = ThirdPartySettings {
        server_name: server_name(given.server_name, first, problems),
        keys: keys(given.key, &mut sources, problems),
        truncated_mac_keys: given.truncated_mac_keys.unwrap_or(false),
    };
    (settings, sources.inline())
}

fn server_name(
    given: Given<String>,
    first_key: Option<Range<usize>>,
    problems: &mut Problems,
) -> String {
    const HELP: &str =
        "it is the name by which the authorization server knows this one, such as its domain name";
    let span = given.as_ref().map(Spanned::span);
    let name = given.map(Spanned::into_inner).unwrap_or_default();
    match (span, first_key) {
        (span, Some(key)) if name.is_empty() => problems.add(
            Problem::new(
                span.unwrap_or(key),
                "there are keys under [oauth], but no `server_name`",
            )
            .help(HELP),
        ),
        (Some(span), None) if !name.is_empty() => problems.add(
            Problem::new(
                span,
                "there is a `server_name` under [oauth], but no key to open tokens with",
            )
            .help("give at least one [[oauth.key]]"),
        ),
        (Some(span), _) => {
            if let Err(why) = plain("server_name", &name, LONGEST_SERVER_NAME) {
                problems.add(Problem::new(span, why));
            }
        }
        (None, _) => {}
    }
    name
}

fn keys(
    given: List<document::OauthKey>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Vec<TokenKey> {
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let given = element.into_inner();
        let id = id(given.id, &span, problems);
        let place = id.as_ref().map_or(span, Spanned::span);
        ids.extend(id.as_ref().map(|id| (id.span(), id.get_ref().clone())));
        let algorithm = match given.algorithm.unwrap_or(TokenAlgorithm::A256Gcm) {
            TokenAlgorithm::A256Gcm => auth::TokenAlgorithm::Aes256Gcm,
            TokenAlgorithm::A128Gcm => auth::TokenAlgorithm::Aes128Gcm,
        };
        let not_before = time("not_before", given.not_before, problems);
        let not_after = time("not_after", given.not_after, problems);
        if let (Some((_, from)), Some((span, until))) = (&not_before, &not_after)
            && until < from
        {
            let message = "`not_after` is earlier than `not_before`";
            problems.add(Problem::new(span.clone(), message));
        }
        let secret = match given.secret {
            Some(secret) => secret_of(secret, algorithm, sources, problems),
            None => {
                problems.add(Problem::new(place, "this key has no `secret`"));
                None
            }
        };
        if let (Some(id), Some(secret)) = (id, secret) {
            keys.push(TokenKey {
                id: id.into_inner(),
                algorithm,
                secret,
                not_before: not_before.map(|(_, time)| time),
                not_after: not_after.map(|(_, time)| time),
            });
        }
    }
    problems.repeated(&ids, |id| format!("key `{id}`"));
    keys
}

fn id(given: Given<String>, key: &Range<usize>, problems: &mut Problems) -> Given<String> {
    let Some(id) = given else {
        problems.add(
            Problem::new(key.clone(), "this key has no `id`").help(
                "the authorization server calls it `kid`; clients send it as their user name",
            ),
        );
        return None;
    };
    if id.get_ref().is_empty() {
        problems.add(Problem::new(id.span(), "`id` is empty"));
    } else if let Err(why) = plain("id", id.get_ref(), LONGEST_NAME) {
        problems.add(Problem::new(id.span(), why));
    }
    Some(id)
}

/// A time of the configuration in Unix seconds, with its place.
fn time(
    name: &str,
    given: Given<Datetime>,
    problems: &mut Problems,
) -> Option<(Range<usize>, u64)> {
    let given = given?;
    let span = given.span();
    match units::unix_seconds(given.get_ref()) {
        Some(time) => Some((span, time)),
        None => {
            problems.add(
                Problem::new(
                    span,
                    format!("`{name}` is not a date and time with an offset, from 1970 on"),
                )
                .help("write it like 2030-01-31T00:00:00Z, without quotes"),
            );
            None
        }
    }
}

fn secret_of(
    given: Spanned<super::super::secrets::SecretSource>,
    algorithm: auth::TokenAlgorithm,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Option<Secret<Vec<u8>>> {
    let (span, text) = sources.resolve(given, problems)?;
    let wanted = algorithm.key_length();
    let decoded = decode(text.expose().trim());
    let what = match &decoded {
        Some(key) if key.len() == wanted => return decoded.map(Secret::new),
        Some(key) => format!("this key has {} bytes", key.len()),
        None => "this key is neither hexadecimal nor base64".to_owned(),
    };
    let name = algorithm.name();
    let mut help = format!(
        "{name} takes {wanted} bytes: {} hexadecimal digits, or base64; `openssl rand -base64 {wanted}` makes one",
        2 * wanted
    );
    if decoded.is_some_and(|key| key.len() > wanted) {
        help.push_str(&format!("; of a longer key coturn uses the first {wanted}"));
    }
    problems.add(Problem::new(span, what).help(help));
    None
}

/// Bytes written in hexadecimal or in base64 of either alphabet. No text of a key of 16 or 32 bytes can be read both ways:
/// the lengths differ.
fn decode(text: &str) -> Option<Vec<u8>> {
    let hexadecimal = match text.len() {
        32 => unhex::<16>(text).map(Vec::from),
        64 => unhex::<32>(text).map(Vec::from),
        _ => None,
    };
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    hexadecimal.or_else(|| {
        [&alphabet::STANDARD, &alphabet::URL_SAFE]
            .into_iter()
            .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())
    })
}
