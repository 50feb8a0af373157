//! Takes secrets out of a configuration text before any of it is shown.
//!
//! A value is shown only under a key known to be harmless, so a misspelt `pasword` hides its value as well. Where the
//! file is not even TOML, the same is done line by line, hiding rather too much. Main type: [`Redacted`].

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Keys whose values may be shown.
const SHOWN: &[&str] = &[
    "workers",
    "busy_rest",
    "software",
    "redirect",
    "group",
    "sandbox",
    "tls_address",
    "domain",
    "classic",
    "password_algorithms",
    "match_user_part",
    "strict_expiry",
    "revoked",
    "allow_weak",
    "transport",
    "address",
    "proxy_protocol_from",
    "auth_timeout",
    "idle_timeout",
    "max_connections",
    "max_connections_per_prefix",
    "max_unproved",
    "max_unproved_per_prefix",
    "max_unproved_requests",
    "send_buffer",
    "max_queue_age",
    "certificate",
    "receive_buffer",
    "relay_receive_buffer",
    "relay_send_buffer",
    "ports",
    "quarantine",
    "external",
    "default_lifetime",
    "max_lifetime",
    "rfc5766_channels",
    "mobility",
    "realm",
    "nonce_lifetime",
    "name",
    "server_name",
    "truncated_mac_keys",
    "id",
    "algorithm",
    "not_before",
    "not_after",
    "file",
    "env",
    "allow",
    "deny",
    "nat64_prefixes",
    "allocations",
    "allocations_per_user",
    "allocations_per_source",
    "permissions_per_allocation",
    "channels_per_allocation",
    "new_peers_per_second",
    "quarantine_per_user",
    "prefix_ipv4",
    "prefix_ipv6",
    "answers_per_prefix",
    "answers_burst",
    "answers_total",
    "per_allocation",
    "per_user",
    "total",
    "burst",
    "level",
    "format",
    "socket",
    "tls",
    "scope",
    "hosts",
    "ttl",
    "max_ttl",
    "credentials_per_second",
    "credentials_burst",
    "bandwidth",
    "origins",
    "domains",
    "agree_to_terms",
    "contact",
    "directory",
    "directory_ca",
    "state",
    "challenge",
    "http_addresses",
];
/// Tables of the file, as they appear in headers.
const TABLES: &[&str] = &[
    "server",
    "listener",
    "tcp",
    "tls",
    "tls.certificate",
    "tls.acme",
    "tls.acme.external_account",
    "sockets",
    "relay",
    "relay.address",
    "allocation",
    "auth",
    "auth.user",
    "oauth",
    "oauth.key",
    "alternate",
    "stun",
    "peers",
    "strangers",
    "limits",
    "bandwidth",
    "log",
    "metrics",
    "admin",
    "admin.token",
    "credentials",
    "credentials.key",
];
const MASK: &str = "***";

/// A text without its secrets, and where in it the places of the original are.
pub(super) struct Redacted {
    /// What may be shown.
    pub text: String,
    hidden: Vec<Range<usize>>,
}

impl Redacted {
    /// Hides the secrets of a text that is TOML.
    pub(super) fn document(text: &str, table: &DeTable<'_>) -> Self {
        let mut hidden = Vec::new();
        walk(table, &mut hidden);
        comments(text, &mut hidden);
        Self::new(text, hidden)
    }

    /// Hides whatever may be a secret in a text that is not TOML.
    pub(super) fn broken(text: &str) -> Self {
        let mut hidden = Vec::new();
        let mut start = 0;
        let mut shown = false;
        for line in text.split_inclusive('\n') {
            if let Some(from) = first_hidden(line, &mut shown) {
                let end = line.trim_end().len();
                if from < end {
                    hidden.push(start + from..start + end);
                }
            }
            start += line.len();
        }
        Self::new(text, hidden)
    }

    fn new(text: &str, mut hidden: Vec<Range<usize>>) -> Self {
        hidden.sort_by_key(|range| range.start);
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        hidden.retain(|range| {
            let Some(before) = text.get(at..range.start) else {
                return false;
            };
            shown.push_str(before);
            shown.push_str(MASK);
            at = range.end;
            true
        });
        shown.push_str(text.get(at..).unwrap_or_default());
        Self {
            text: shown,
            hidden,
        }
    }

    /// Whether a range of the original touches something hidden.
    pub(super) fn hides(&self, span: &Range<usize>) -> bool {
        self.hidden
            .iter()
            .any(|hidden| hidden.start < span.end.max(span.start + 1) && span.start < hidden.end)
    }

    /// Where a range of the original is in the shown text.
    pub(super) fn place(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.position(span.start, false);
        let end = self.position(span.end, true);
        start..end.max(start)
    }

    fn position(&self, original: usize, is_end: bool) -> usize {
        let (mut removed, mut added) = (0, 0);
        for hidden in &self.hidden {
            if original >= hidden.end {
                removed += hidden.len();
                added += MASK.len();
            } else if original > hidden.start {
                let mask = hidden.start + added - removed;
                return if is_end { mask + MASK.len() } else { mask };
            }
        }
        original + added - removed
    }
}

fn walk(table: &DeTable<'_>, hidden: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let shown = harmless(key.get_ref());
        walk_value(value.get_ref(), value.span(), shown, hidden);
    }
}

fn walk_value(
    value: &DeValue<'_>,
    span: Range<usize>,
    shown: bool,
    hidden: &mut Vec<Range<usize>>,
) {
    match value {
        DeValue::Table(table) => walk(table, hidden),
        DeValue::Array(array) => {
            for element in array.iter() {
                walk_value(element.get_ref(), element.span(), shown, hidden);
            }
        }
        _ if shown => {}
        _ => hidden.push(span),
    }
}

/// Comments may hold an old secret, or the current one behind a slip of the finger. The text is TOML.
fn comments(text: &str, hidden: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(['#', '"', '\''])) {
        at += found;
        let rest = text.get(at..).unwrap_or_default();
        let end_of = |quote: &str| after_quote(rest, quote);
        at += if rest.starts_with('#') {
            let length = rest.find(['\r', '\n']).unwrap_or(rest.len());
            if length > 1 {
                hidden.push(at + 1..at + length);
            }
            length
        } else {
            ["\"\"\"", "'''", "\"", "'"]
                .into_iter()
                .find_map(end_of)
                .unwrap_or(rest.len())
        };
    }
}

/// The length of the string that `text` starts with, if it starts with this quote.
fn after_quote(text: &str, quote: &str) -> Option<usize> {
    let mut at = quote.len();
    let content = text.strip_prefix(quote)?;
    let mut escaped = false;
    for (place, character) in content.char_indices() {
        let ends = !escaped
            && content
                .get(place..)
                .is_some_and(|rest| rest.starts_with(quote));
        if ends {
            at += place + quote.len();
            // Up to two more quotes belong to a multi-line string.
            let more = text
                .get(at..)
                .unwrap_or_default()
                .bytes()
                .take_while(|byte| quote.as_bytes().first() == Some(byte));
            return Some(
                at + if quote.len() == 3 {
                    more.take(2).count()
                } else {
                    0
                },
            );
        }
        escaped = character == '\\' && !escaped && quote.starts_with('"');
    }
    Some(text.len())
}

/// Whether values under this key may be shown: it is a harmless key, or one of them with a slip of the finger.
fn harmless(key: &str) -> bool {
    let slipped = |word: &&str| {
        word.len() > 4 && strsim::osa_distance(key, word) <= 1 + usize::from(word.len() > 8)
    };
    SHOWN.contains(&key) || !suspicious(key) && SHOWN.iter().any(slipped)
}

/// Where in a line of broken TOML the hiding must start. `shown` says whether the last key's value may go on here.
fn first_hidden(line: &str, shown: &mut bool) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    let content = line.trim();
    if content.starts_with('#') {
        return Some(indent + 1);
    }
    let header = content.split('#').next().unwrap_or_default().trim();
    if header.starts_with('[') && TABLES.contains(&header.trim_matches(['[', ']', ' '])) {
        *shown = false;
        return None;
    }
    let word = content
        .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
        .unwrap_or(content.len());
    let (key, rest) = content.split_at(word);
    let after = rest.trim_start();
    let value = match after.strip_prefix('=') {
        Some(value) if !key.is_empty() => value,
        _ if *shown && !key.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            return if suspicious(content) {
                Some(indent)
            } else {
                comment(line)
            };
        }
        // A line that is no `key = value`: what follows its first word may be anything, and so may a lone word.
        _ => {
            *shown = false;
            let is_key = SHOWN.contains(&key)
                || [
                    "password",
                    "secret",
                    "secrets",
                    "md5_key",
                    "sha256_key",
                    "nonce_key",
                    "key",
                ]
                .contains(&key);
            return Some(if is_key {
                indent + content.len() - after.len()
            } else {
                indent
            });
        }
    };
    let leaf = key.rsplit('.').next().unwrap_or_default();
    let harmless =
        SHOWN.contains(&leaf) && !suspicious(value) && (leaf == "level" || !value.contains('='));
    *shown = harmless && value.trim_start().starts_with('[') && !value.contains(']');
    let from = indent + content.len() - value.trim_start().len();
    if harmless { comment(line) } else { Some(from) }
}

/// Where a comment starts, or what looks like one.
fn comment(line: &str) -> Option<usize> {
    line.find('#').map(|at| at + 1)
}

fn suspicious(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["pass", "secret", "key"]
        .iter()
        .any(|word| text.contains(word))
}
