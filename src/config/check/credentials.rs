//! Credentials for applications: who may have them made, and for how long they are good.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use super::super::document::{self, Given, List};
use super::super::error::Problem;
use super::super::settings::{CredentialKey, Credentials};
use super::super::units::show_duration;
use super::admin::{Taken, check_name, check_token};
use super::auth::Sources;
use super::limits::{limit, rate};
use super::{DAY, MINUTE, Problems};
use crate::policy::TESTERS;

const TTL: Duration = DAY;
const MAX_TTL: Duration = Duration::from_secs(2 * 24 * 3600);
/// Credentials a second that a key may be limited to, at most, and for how many seconds they may be had at once if it is
/// not said.
const MOST_MADE: u32 = 100_000;
const BURST_SECONDS: u32 = 10;
const LONGEST_TTL: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn check(
    given: document::Credentials,
    taken: Taken<'_>,
    admin: Option<SocketAddr>,
    has_secret: bool,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Credentials {
    let address = taken.address(given.address, &[("[admin]", admin)], problems);
    let first = given.key.as_ref().and_then(|keys| keys.first());
    if let Some(first) = first
        && !has_secret
    {
        problems.add(
            Problem::new(
                first.span(),
                "credentials are made with a shared secret, and there is none",
            )
            .help("give `secrets` under [auth]: secrets = [{ file = \"/etc/hairpin/secret\" }]"),
        );
    }
    if let Some((span, _)) = &address
        && first.is_none()
    {
        problems.add(
            Problem::new(
                span.clone(),
                "`address` without a key: nobody could ask there",
            )
            .help("give [[credentials.key]] with `name` and `token`"),
        );
    }
    let hosts: Vec<_> = given
        .hosts
        .unwrap_or_default()
        .into_iter()
        .map(|given| (given.span(), given.into_inner().0))
        .collect();
    problems.repeated(&hosts, |host| format!("`{host}` in `hosts`"));
    Credentials {
        address: address.map(|(_, address)| address),
        tls: taken.tls(given.tls, problems),
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        keys: keys(given.key, sources, problems),
    }
}

fn keys(
    given: List<document::CredentialKey>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Vec<CredentialKey> {
    let mut names = Vec::new();
    let mut secrets = Vec::new();
    let mut keys = Vec::new();
    for element in given.unwrap_or_default() {
        let span = element.span();
        let document::CredentialKey {
            name,
            token,
            ttl,
            max_ttl,
            credentials_per_second,
            credentials_burst,
            allocations,
            bandwidth,
            origins,
        } = element.into_inner();
        let name = check_name("key", name, &span, problems);
        if let Some((span, name)) = &name
            && name.bytes().all(|byte| byte.is_ascii_digit())
        {
            let message = "the name of a key is no number: user names begin with one";
            problems.add(Problem::new(span.clone(), message));
        }
        if let Some((span, name)) = &name
            && name == TESTERS
        {
            let message = format!("`{name}` is the tester's: its users relay to nobody");
            problems.add(Problem::new(span.clone(), message).help("give the key another name"));
        }
        let token = check_token("key", token, &span, sources, problems);
        let range = MINUTE..=LONGEST_TTL;
        let place = ttl.as_ref().map(Spanned::span);
        let most = problems.duration("max_ttl", max_ttl, range.clone(), MAX_TTL);
        let ttl = match ttl {
            None => TTL.min(most),
            ttl => problems.duration("ttl", ttl, range, TTL),
        };
        if ttl > most {
            problems.add(Problem::new(
                place.unwrap_or(span),
                format!(
                    "`ttl`, \"{}\", is longer than `max_ttl`, \"{}\"",
                    show_duration(ttl),
                    show_duration(most)
                ),
            ));
        }
        let (credentials_per_second, credentials_burst) =
            pace(credentials_per_second, credentials_burst, problems);
        let bandwidth = rate("bandwidth", bandwidth, 0, problems);
        let origins = check_origins(origins, problems);
        if let (Some((place, name)), Some((span, token))) = (name, token) {
            names.push((place, name.clone()));
            secrets.push((span, token.clone()));
            keys.push(CredentialKey {
                name,
                token,
                ttl,
                max_ttl: most,
                credentials_per_second,
                credentials_burst,
                allocations: limit(allocations, None),
                bandwidth,
                origins,
            });
        }
    }
    problems.repeated(&names, |name| format!("the key `{name}`"));
    problems.repeated(&secrets, |_| "this token".to_owned());
    keys
}

/// How many credentials a key may have made a second, and at once.
fn pace(rate: Given<u32>, burst: Given<u32>, problems: &mut Problems) -> (Option<u32>, u32) {
    let rate = rate.filter(|rate| *rate.get_ref() > 0);
    if rate.is_none() {
        if let Some(burst) = burst {
            let message = "`credentials_burst` without a limit it is a burst of";
            let problem = Problem::new(burst.span(), message);
            problems.add(problem.help("give `credentials_per_second` as well"));
        }
        return (None, 0);
    }
    let rate = problems.count("credentials_per_second", rate, 1..=MOST_MADE, 1);
    let default = rate.saturating_mul(BURST_SECONDS);
    let burst = problems.count("credentials_burst", burst, 1..=10 * MOST_MADE, default);
    (Some(rate), burst)
}

/// Origins as browsers write them (RFC 6454, section 6.2).
fn check_origins(given: List<String>, problems: &mut Problems) -> Vec<String> {
    let origins: Vec<_> = given
        .unwrap_or_default()
        .into_iter()
        .map(|given| (given.span(), given.into_inner()))
        .collect();
    problems.repeated(&origins, |origin| format!("`{origin}` in `origins`"));
    for (span, origin) in &origins {
        let rest = origin.strip_prefix("https://");
        let rest = rest.or_else(|| origin.strip_prefix("http://"));
        let is_host = |rest: &str| {
            !rest.is_empty()
                && rest
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c))
        };
        if !rest.is_some_and(is_host) {
            problems.add(
                Problem::new(span.clone(), format!("`{origin}` is not an origin"))
                    .help("write it as browsers do: \"https://app.example.org\", in lower case, without a path"),
            );
        }
    }
    origins.into_iter().map(|(_, origin)| origin).collect()
}
