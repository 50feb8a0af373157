//! `[tls.acme]`: for whom, of whom, and can a name be proved that way at all?

use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use toml::Spanned;

use super::super::acme::{
    ACME_STATE, Acme, Challenge, ExternalAccount, LETS_ENCRYPT, check_authorities,
};
use super::super::document::{self, Given, List};
use super::super::error::Problem;
use super::super::host::Host;
use super::super::settings::{Listener, Tls};
use super::Problems;
use super::admin::Taken;
use super::auth::Sources;

/// Authorities put no more names into a certificate.
const MOST_DOMAINS: usize = 100;

/// The longest name in DNS.
const LONGEST_DOMAIN: usize = 253;

/// The settings, with the place of the table, which what is said later is said of.
pub(super) fn check(
    given: Given<document::Acme>,
    base: &Path,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Option<(Range<usize>, Acme)> {
    let given = given?;
    let whole = given.span();
    let given = given.into_inner();
    let before = problems.0.len();
    if !given.agree_to_terms.is_some_and(Spanned::into_inner) {
        problems.add(
            Problem::new(whole.clone(), "`agree_to_terms` under [tls.acme] is not true").help(
                "no authority signs for somebody who has not agreed to its terms: read them, and set \
                 agree_to_terms = true",
            ),
        );
    }
    let challenge = given.challenge.unwrap_or(Challenge::TlsAlpn01);
    let mut addresses = Vec::new();
    if let Some(given) = given.http_addresses {
        for address in given {
            if challenge == Challenge::TlsAlpn01 {
                problems.add(
                    Problem::new(
                        address.span(),
                        "`http_addresses` is for challenge = \"http-01\"",
                    )
                    .help("\"tls-alpn-01\" is answered by the listeners that speak TLS"),
                );
            }
            addresses.push((address.span(), address.into_inner().0));
        }
        problems.repeated(&addresses, |address| {
            format!("`{address}` in `http_addresses`")
        });
    } else if challenge == Challenge::Http01 {
        let default = Acme::default_http_addresses().into_iter();
        addresses.extend(default.map(|address| (whole.clone(), address)));
    }
    let mut acme = Acme {
        domains: domains(given.domains, &whole, problems),
        contact: contact(given.contact, problems),
        directory: directory(given.directory, problems),
        directory_ca: given.directory_ca.and_then(|file| {
            let (span, file) = (file.span(), base.join(file.into_inner()));
            match check_authorities(&file) {
                Ok(()) => Some(file),
                Err(why) => {
                    problems.add(Problem::new(span, why));
                    None
                }
            }
        }),
        state: state(given.state, base, problems),
        challenge,
        http_addresses: addresses.into_iter().map(|(_, address)| address).collect(),
        external_account: external_account(given.external_account, sources, problems),
        certificate: None,
    };
    if problems.0.len() == before {
        // What is wrong with it the server says when it asks for another.
        acme.certificate = acme.saved().ok().flatten();
    }
    Some((whole, acme))
}

/// What is only seen beside the listeners and the certificates of files.
pub(super) fn beside(
    given: &Option<(Range<usize>, Acme)>,
    tls: &Tls,
    taken: Taken<'_>,
    others: &[(&str, Option<std::net::SocketAddr>)],
    problems: &mut Problems,
) {
    let Some((whole, acme)) = given else { return };
    for domain in &acme.domains {
        let has = |names: &[String]| names.contains(domain);
        if let Some(file) = tls.certificates.iter().find(|one| has(one.names())) {
            let file = file.file().display();
            problems.add(
                Problem::new(
                    whole.clone(),
                    format!("`{domain}` under [tls.acme] has a certificate already, in `{file}`"),
                )
                .help("leave out either: clients would be shown whichever comes first"),
            );
        }
    }
    match acme.challenge {
        Challenge::TlsAlpn01 => {
            let has_tls = |listener: &Listener| listener.transport.has_tls();
            if !taken.listeners.iter().any(has_tls) {
                problems.add(
                    Problem::new(
                        whole.clone(),
                        "challenge \"tls-alpn-01\" needs a listener with transport \"tls\" or \"auto\" to be answered on",
                    )
                    .help(
                        "add a [[listener]] with transport = \"tls\" and address = \"0.0.0.0:443\", \
                         or set challenge = \"http-01\"",
                    ),
                );
            }
        }
        Challenge::Http01 => {
            for address in &acme.http_addresses {
                taken.check(whole, *address, others, problems);
            }
        }
    }
}

fn domains(given: List<String>, whole: &Range<usize>, problems: &mut Problems) -> Vec<String> {
    let given: Vec<_> = given
        .unwrap_or_default()
        .into_iter()
        .map(|name| {
            let text = name.get_ref().to_ascii_lowercase();
            let text = text.strip_suffix('.').unwrap_or(&text).to_owned();
            (name.span(), text)
        })
        .collect();
    if given.is_empty() {
        problems.add(
            Problem::new(whole.clone(), "[tls.acme] names no `domains`").help(
                "domains = [\"turn.example.org\"]: the names by which clients reach this server",
            ),
        );
    }
    if given.len() > MOST_DOMAINS {
        problems.add(Problem::new(
            whole.clone(),
            format!(
                "`domains` has {} names; a certificate is for {MOST_DOMAINS} at most",
                given.len()
            ),
        ));
    }
    problems.repeated(&given, |name| format!("`{name}` in `domains`"));
    for (span, name) in &given {
        let problem =
            |why: &str| Problem::new(span.clone(), format!("`{name}` in `domains` {why}"));
        if name.starts_with("*.") {
            problems.add(
                problem("is a wildcard, which can be proved by DNS alone").help(
                    "name each host; or have another program get the certificate, and name its files under [[tls.certificate]]",
                ),
            );
            continue;
        }
        match name.parse::<Host>() {
            Ok(Host::Name(_)) if name.len() > LONGEST_DOMAIN => {
                problems.add(problem("is longer than a name in DNS can be"));
            }
            Ok(Host::Name(_)) if name.contains('.') && !name.contains('_') => {}
            Ok(Host::Name(_)) => problems.add(
                problem("is no name that the world knows")
                    .help("give the whole name, as clients use it: \"turn.example.org\""),
            ),
            Ok(Host::Ip(_)) => problems.add(
                problem("is an address").help("give the name by which clients reach this server"),
            ),
            Err(_) => problems.add(problem("is not a host name")),
        }
    }
    given.into_iter().map(|(_, name)| name).collect()
}

fn contact(given: List<String>, problems: &mut Problems) -> Vec<String> {
    let mut contact = Vec::new();
    for one in given.unwrap_or_default() {
        let text = one.get_ref().strip_prefix("mailto:");
        let text = text.unwrap_or(one.get_ref());
        let is_mail = text.split_once('@').is_some_and(|(who, at)| {
            let plain = |c: char| c.is_ascii_graphic() && !",<>?".contains(c);
            !who.is_empty() && !at.is_empty() && text.chars().all(plain)
        });
        if !is_mail {
            problems.add(
                Problem::new(
                    one.span(),
                    format!("`{text}` in `contact` is no mail address"),
                )
                .help("contact = [\"admin@example.org\"]"),
            );
        }
        contact.push(format!("mailto:{text}"));
    }
    contact
}

fn directory(given: Given<String>, problems: &mut Problems) -> String {
    let Some(given) = given else {
        return LETS_ENCRYPT.to_owned();
    };
    let span = given.span();
    let url = given.into_inner();
    let why = match url.parse::<hyper::Uri>() {
        Err(_) => Some("is not a URL"),
        Ok(uri) if uri.scheme_str() != Some("https") => Some("does not begin with `https://`"),
        Ok(uri) if uri.host().unwrap_or_default().is_empty() => Some("names no host"),
        Ok(uri) if uri.authority().is_some_and(|of| of.as_str().contains('@')) => {
            Some("has a user in it")
        }
        Ok(_) => None,
    };
    if let Some(why) = why {
        problems.add(
            Problem::new(span, format!("`directory` {why}")).help(format!(
                "give the URL of the authority's directory; without it, \"{LETS_ENCRYPT}\""
            )),
        );
    }
    url
}

fn state(given: Given<String>, base: &Path, problems: &mut Problems) -> PathBuf {
    let Some(given) = given else {
        return PathBuf::from(ACME_STATE);
    };
    let span = given.span();
    let state = base.join(given.into_inner());
    if state == base || state.is_file() {
        problems.add(Problem::new(span, "`state` is no folder").help(format!(
            "give a folder of its own; without it, \"{ACME_STATE}\""
        )));
    }
    state
}

fn external_account(
    given: Given<document::ExternalAccount>,
    sources: &mut Sources<'_>,
    problems: &mut Problems,
) -> Option<ExternalAccount> {
    let given = given?;
    let whole = given.span();
    let document::ExternalAccount { id, key } = given.into_inner();
    let (Some(id), Some(key)) = (id, key) else {
        problems.add(
            Problem::new(
                whole,
                "[tls.acme.external_account] needs both `id` and `key`",
            )
            .help("the authority gives out both; it may call them key id (kid) and HMAC key"),
        );
        return None;
    };
    let (span, key) = sources.resolve(key, problems)?;
    let text = key.expose().trim_end_matches('=');
    if BASE64_URL_SAFE_NO_PAD.decode(text).is_err() {
        problems.add(Problem::new(
            span,
            "the key of the external account is not base64url, in which authorities give it out",
        ));
    }
    Some(ExternalAccount {
        id: id.into_inner(),
        key,
    })
}
