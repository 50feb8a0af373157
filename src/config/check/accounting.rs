//! `[accounting]`: where what allocations carried is told.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::super::document::{self, Given};
use super::super::error::Problem;
use super::super::settings as to;
use super::Problems;
use super::auth::Sources;

/// As many as need some 30 MiB.
const LONGEST_QUEUE: u32 = 100_000;

/// The settings, and whether a secret is written in the document itself.
pub(super) fn check(
    given: document::Accounting,
    base: &Path,
    problems: &mut Problems,
) -> (to::Accounting, bool) {
    let default = to::Accounting::default();
    let mut sources = Sources::new(base);
    let mut path = |key: &str, given: Given<String>| {
        let given = given?;
        let span = given.span();
        let path = base.join(given.into_inner());
        if path == base || path.is_dir() {
            let message = format!("`{key}` is no file");
            problems.add(Problem::new(span, message));
            return None;
        }
        Some(path)
    };
    let (file, socket) = (path("file", given.file), path("socket", given.socket));
    let webhook = given.webhook.and_then(|given| {
        let Some(url) = given.url else {
            let message = "`[accounting.webhook]` needs a `url`";
            problems.add(Problem::new(0..0, message));
            return None;
        };
        let span = url.span();
        let url = url.into_inner();
        if let Some(problem) = unfit(&url, span) {
            problems.add(problem);
        }
        let secret = given
            .secret
            .and_then(|secret| sources.strong("webhook's secret", 0, secret, problems));
        Some(to::Webhook {
            url,
            secret: secret.map(|(_, secret)| secret),
        })
    });
    let settings = to::Accounting {
        file,
        socket,
        webhook,
        interim: problems.duration(
            "interim",
            given.interim,
            Duration::ZERO..=Duration::from_secs(24 * 3600),
            default.interim,
        ),
        queue: problems.within(
            "queue",
            given.queue.map(|given| (given.span(), given.into_inner())),
            1..=LONGEST_QUEUE,
            default.queue as u32,
            |count| count.to_string(),
        ) as usize,
    };
    (settings, sources.inline())
}

/// What is wrong with an address. Records name users and addresses, so they leave this machine under TLS only.
fn unfit(url: &str, span: Range<usize>) -> Option<Problem> {
    let uri: hyper::Uri = match url.parse() {
        Ok(uri) => uri,
        Err(_) => return Some(Problem::new(span, "`url` is not a URL")),
    };
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    let is_here = ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match uri.scheme_str() {
        _ if host.is_empty() => Some(Problem::new(span, "`url` names no host")),
        _ if uri.authority().is_some_and(|of| of.as_str().contains('@')) => Some(Problem::new(
            span,
            "`url` has a user in it; sign with `secret` instead",
        )),
        Some("https") => None,
        Some("http") if is_here => None,
        Some("http") => Some(
            Problem::new(
                span,
                "`http://` is for this machine only: 127.0.0.1 or [::1]",
            )
            .help("records name users and their addresses; use `https://`"),
        ),
        _ => Some(Problem::new(
            span,
            "`url` is neither `https://` nor `http://`",
        )),
    }
}
