//! Does a well-formed document make sense? Turns it into settings and notes everything that does not.
//!
//! Looks at the document and at the secrets it names, never at the machine's addresses or ports. Main function:
//! [`settings`].

mod accounting;
mod acme;
mod admin;
mod alternates;
mod auth;
mod credentials;
mod discovery;
mod limits;
mod oauth;
mod places;
mod tls;
mod weak;

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use places::Certificates;
use toml::Spanned;

use super::document::{self, Document, Given, Read, Size};
use super::error::Problem;
use super::reading::{list, nearest};
use super::settings::{self as to, Settings};
use super::units::{show_duration, show_size};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The settings a document means, whether it contains secrets itself, and what is wrong with it.
pub(super) fn settings(mut document: Document, base: &Path) -> (Settings, bool, Vec<Problem>) {
    let mut problems = Problems(Vec::new());
    let default = Settings::default();
    let certificates = document.tls.certificate.as_ref();
    // Unreadable ones are noted once, and not at each listener again.
    let has_files = certificates.is_some_and(|given| !given.is_empty());
    let has_certificate = has_files || document.tls.acme.is_some();
    let mut account_keys = auth::Sources::new(base);
    let acme = acme::check(
        document.tls.acme.take(),
        base,
        &mut account_keys,
        &mut problems,
    );
    let mut tls = tls::check(document.tls, base, &mut problems);
    let relays = places::relays(document.relay.address, base, &mut problems);
    let places = places::Places::check(
        document.listener,
        Certificates {
            are_given: has_certificate,
            read: &tls.certificates,
            is_asked_for: acme.is_some(),
        },
        document.discovery,
        document.metrics,
        relays,
        &default,
        &mut problems,
    );
    let redirect = document.server.redirect.clone();
    let alternates = alternates::check(document.alternate, redirect, &places, &mut problems);
    // Unreadable ones are noted once.
    let has_secret = document
        .auth
        .secrets
        .as_ref()
        .is_some_and(|given| !given.is_empty());
    let (auth, inline_secrets) = auth::check(document.auth, base, default.auth, &mut problems);
    let (oauth, inline_keys) = oauth::check(document.oauth, base, &mut problems);
    let (accounting, inline_key) = accounting::check(document.accounting, base, &mut problems);
    let taken = admin::Taken {
        listeners: &places.listeners,
        metrics: places.metrics.address,
        has_certificate,
    };
    let mut sources = auth::Sources::new(base).allow_weak(auth.allow_weak);
    let tester = std::mem::take(&mut document.admin.tester);
    let mut admin = admin::check(
        document.admin,
        base,
        taken,
        default.admin,
        &mut sources,
        &mut problems,
    );
    let credentials = credentials::check(
        document.credentials,
        taken,
        admin.address,
        has_secret,
        &mut sources,
        &mut problems,
    );
    admin.tester = admin::tester(
        tester,
        taken,
        admin.address,
        credentials.address,
        has_secret,
        &mut problems,
    );
    let inline_tokens = sources.inline();
    let others = [
        ("[admin]", admin.address),
        ("[credentials]", credentials.address),
        ("[admin.tester]", admin.tester.address),
    ];
    acme::beside(&acme, &tls, taken, &others, &mut problems);
    tls.acme = acme.map(|(_, acme)| acme);
    let tcp_relay = tcp_relay(
        document.tcp_relay,
        default.tcp_relay,
        &places.listeners,
        &mut problems,
    );
    let settings = Settings {
        server: server(document.server, default.server, &mut problems),
        listeners: places.listeners,
        discovery: places.discovery,
        tcp: tcp(document.tcp, default.tcp, &mut problems),
        tls,
        dtls: dtls(document.dtls, default.dtls, &mut problems),
        sockets: sockets(document.sockets, default.sockets, &mut problems),
        relay: to::Relay {
            ports: document
                .relay
                .ports
                .map_or(default.relay.ports, |given| given.into_inner().0),
            quarantine: problems.duration(
                "quarantine",
                document.relay.quarantine,
                Duration::ZERO..=10 * MINUTE,
                default.relay.quarantine,
            ),
            addresses: places.relays,
        },
        tcp_relay,
        allocation: allocation(document.allocation, default.allocation, &mut problems),
        auth,
        oauth,
        alternates,
        stun: to::Stun {
            classic: document.stun.classic.unwrap_or(default.stun.classic),
        },
        peers: peers(document.peers, &mut problems),
        strangers: limits::strangers(document.strangers, default.strangers, &mut problems),
        limits: limits::limits(document.limits, default.limits, &mut problems),
        bandwidth: limits::bandwidth(document.bandwidth, default.bandwidth, &mut problems),
        reload: reload(document.reload, &mut problems),
        log: log(document.log, default.log, &mut problems),
        metrics: places.metrics,
        accounting,
        admin,
        credentials,
    };
    let inline =
        inline_secrets || inline_keys || inline_key || inline_tokens || account_keys.inline();
    (settings, inline, problems.0)
}

/// What was found to be wrong so far.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// The given value if it is in the range, else the default; a value outside is a problem.
    fn within<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        given: Option<(Range<usize>, T)>,
        range: std::ops::RangeInclusive<T>,
        default: T,
        show: impl Fn(T) -> String,
    ) -> T {
        let Some((span, value)) = given else {
            return default;
        };
        if range.contains(&value) {
            return value;
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        let how = if value < *range.start() {
            "small"
        } else {
            "large"
        };
        self.add(
            Problem::new(span, format!("`{key}` is too {how}: {}", show(value))).help(format!(
                "give {least} to {most}; without it, {}",
                show(default)
            )),
        );
        default
    }

    fn duration(
        &mut self,
        key: &str,
        given: Given<Read<Duration>>,
        range: std::ops::RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let given = given.map(|given| (given.span(), given.into_inner().0));
        self.within(key, given, range, default, |value| {
            format!("\"{}\"", show_duration(value))
        })
    }

    fn size(
        &mut self,
        key: &str,
        given: Given<Read<Size>>,
        range: std::ops::RangeInclusive<u64>,
        default: usize,
    ) -> usize {
        let given = given.map(|given| (given.span(), given.into_inner().0.0));
        let size = self.within(key, given, range, default as u64, |value| {
            format!("\"{}\"", show_size(value))
        });
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    fn count(
        &mut self,
        key: &str,
        given: Given<u32>,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let given = given.map(|given| (given.span(), given.into_inner()));
        self.within(key, given, range, default, |value| value.to_string())
    }

    /// Notes each element that is equal to an earlier one.
    fn repeated<T: PartialEq>(
        &mut self,
        elements: &[(Range<usize>, T)],
        what: impl Fn(&T) -> String,
    ) {
        for (at, (span, element)) in elements.iter().enumerate() {
            let earlier = elements
                .iter()
                .take(at)
                .find(|(_, earlier)| earlier == element);
            if let Some((first, _)) = earlier {
                self.add(
                    Problem::new(span.clone(), format!("{} is given twice", what(element)))
                        .other(first.clone(), "first here"),
                );
            }
        }
    }
}

/// Whether a text is at most `most` bytes and has no control characters.
fn plain(key: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!(
            "`{key}` is {} bytes long; at most {most} fit into a message",
            text.len()
        ));
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(format!(
            "`{key}` contains a control character, {}",
            character.escape_unicode()
        )),
        None => Ok(()),
    }
}

fn server(given: document::Server, default: to::Server, problems: &mut Problems) -> to::Server {
    let workers = problems.count("workers", given.workers, 0..=1024, 0);
    let software =
        given.software.filter(
            |software| match plain("software", software.get_ref(), 127) {
                Ok(()) => !software.get_ref().is_empty(),
                Err(why) => {
                    problems.add(Problem::new(software.span(), why));
                    false
                }
            },
        );
    to::Server {
        workers: NonZeroUsize::new(workers as usize),
        busy_rest: problems.duration(
            "busy_rest",
            given.busy_rest,
            Duration::ZERO..=Duration::from_millis(1),
            default.busy_rest,
        ),
        software: software.map(Spanned::into_inner),
        redirect: given.redirect.is_some_and(Spanned::into_inner),
        user: account("user", given.user, problems).unwrap_or(default.user),
        group: account("group", given.group, problems),
        sandbox: given.sandbox.unwrap_or(default.sandbox),
        drain: problems.duration(
            "drain",
            given.drain,
            Duration::ZERO..=Duration::from_secs(24 * 3600),
            default.drain,
        ),
    }
}

fn reload(given: document::Reload, problems: &mut Problems) -> to::Reload {
    let default = to::Reload::default();
    to::Reload {
        watch: given.watch.unwrap_or(default.watch),
        interval: problems.duration(
            "interval",
            given.interval,
            Duration::from_secs(1)..=Duration::from_secs(24 * 3600),
            default.interval,
        ),
    }
}

/// The name of a user or a group; whether there is one of that name is found out when it is needed.
fn account(key: &str, given: Given<String>, problems: &mut Problems) -> Option<String> {
    given.and_then(|name| match plain(key, name.get_ref(), 256) {
        Ok(()) => Some(name.into_inner()).filter(|name| !name.is_empty()),
        Err(why) => {
            problems.add(Problem::new(name.span(), why));
            None
        }
    })
}

fn tcp(given: document::Tcp, default: to::Tcp, problems: &mut Problems) -> to::Tcp {
    let mut count = |key, given, default: usize| {
        let default = u32::try_from(default).unwrap_or(u32::MAX);
        problems.count(key, given, 1..=1_000_000, default) as usize
    };
    let most = count(
        "max_connections",
        given.max_connections,
        default.max_connections,
    );
    let most_of_prefix = count(
        "max_connections_per_prefix",
        given.max_connections_per_prefix,
        default.max_connections_per_prefix,
    );
    let most_unproved = count("max_unproved", given.max_unproved, default.max_unproved);
    let most_unproved_of_prefix = count(
        "max_unproved_per_prefix",
        given.max_unproved_per_prefix,
        default.max_unproved_per_prefix,
    );
    let most_unproved_requests = count(
        "max_unproved_requests",
        given.max_unproved_requests,
        default.max_unproved_requests,
    );
    to::Tcp {
        auth_timeout: problems.duration(
            "auth_timeout",
            given.auth_timeout,
            SECOND..=5 * MINUTE,
            default.auth_timeout,
        ),
        idle_timeout: problems.duration(
            "idle_timeout",
            given.idle_timeout,
            10 * SECOND..=DAY,
            default.idle_timeout,
        ),
        max_connections: most,
        max_connections_per_prefix: most_of_prefix,
        max_unproved: most_unproved,
        max_unproved_per_prefix: most_unproved_of_prefix,
        max_unproved_requests: most_unproved_requests,
        // One message of the largest kind must fit.
        send_buffer: problems.size(
            "send_buffer",
            given.send_buffer,
            128 << 10..=64 << 20,
            default.send_buffer,
        ),
        max_queue_age: problems.duration(
            "max_queue_age",
            given.max_queue_age,
            SECOND / 100..=MINUTE,
            default.max_queue_age,
        ),
        busy_rest: problems.duration(
            "busy_rest",
            given.busy_rest,
            Duration::ZERO..=Duration::from_millis(5),
            default.busy_rest,
        ),
    }
}

fn dtls(given: document::Dtls, default: to::Dtls, problems: &mut Problems) -> to::Dtls {
    let mut count = |key, given, default: usize| {
        let default = u32::try_from(default).unwrap_or(u32::MAX);
        problems.count(key, given, 1..=1_000_000, default) as usize
    };
    to::Dtls {
        max_half_open: count("max_half_open", given.max_half_open, default.max_half_open),
        max_half_open_per_prefix: count(
            "max_half_open_per_prefix",
            given.max_half_open_per_prefix,
            default.max_half_open_per_prefix,
        ),
        max_associations: count(
            "max_associations",
            given.max_associations,
            default.max_associations,
        ),
        handshake_timeout: problems.duration(
            "handshake_timeout",
            given.handshake_timeout,
            SECOND..=5 * MINUTE,
            default.handshake_timeout,
        ),
        idle_timeout: problems.duration(
            "idle_timeout",
            given.idle_timeout,
            10 * SECOND..=DAY,
            default.idle_timeout,
        ),
    }
}

fn sockets(given: document::Sockets, default: to::Sockets, problems: &mut Problems) -> to::Sockets {
    let mut size = |key, given, default| problems.size(key, given, 16 << 10..=1 << 30, default);
    to::Sockets {
        receive_buffer: size(
            "receive_buffer",
            given.receive_buffer,
            default.receive_buffer,
        ),
        send_buffer: size("send_buffer", given.send_buffer, default.send_buffer),
        relay_receive_buffer: size(
            "relay_receive_buffer",
            given.relay_receive_buffer,
            default.relay_receive_buffer,
        ),
        relay_send_buffer: size(
            "relay_send_buffer",
            given.relay_send_buffer,
            default.relay_send_buffer,
        ),
    }
}

fn tcp_relay(
    given: document::TcpRelay,
    default: to::TcpRelay,
    listeners: &[to::Listener],
    problems: &mut Problems,
) -> to::TcpRelay {
    let denied_ports = given.denied_ports.map_or(default.denied_ports, |given| {
        let ports: Vec<_> = given
            .into_iter()
            .map(|port| (port.span(), port.into_inner()))
            .collect();
        problems.repeated(&ports, |port| format!("port {port} in `denied_ports`"));
        ports.into_iter().map(|(_, port)| port).collect()
    });
    let has_streams = listeners
        .iter()
        .any(|listener| listener.transport.is_stream());
    if let Some(enabled) = given.enabled.as_ref().filter(|enabled| *enabled.get_ref())
        && !has_streams
    {
        problems.add(
            Problem::new(
                enabled.span(),
                "`enabled` has no effect: no listener takes TCP connections",
            )
            .help("add a [[listener]] with transport = \"tcp\""),
        );
    }
    to::TcpRelay {
        enabled: given.enabled.map_or(default.enabled, Spanned::into_inner),
        denied_ports,
        connections_per_allocation: problems.count(
            "connections_per_allocation",
            given.connections_per_allocation,
            1..=1024,
            default.connections_per_allocation,
        ),
    }
}

fn allocation(
    given: document::Allocation,
    default: to::Allocation,
    problems: &mut Problems,
) -> to::Allocation {
    let place = |given: &Given<Read<Duration>>| given.as_ref().map(Spanned::span);
    let (default_place, max_place) = (place(&given.default_lifetime), place(&given.max_lifetime));
    let range = 10 * MINUTE..=DAY;
    let allocation = to::Allocation {
        default_lifetime: problems.duration(
            "default_lifetime",
            given.default_lifetime,
            range.clone(),
            default.default_lifetime,
        ),
        max_lifetime: problems.duration(
            "max_lifetime",
            given.max_lifetime,
            range,
            default.max_lifetime,
        ),
        rfc5766_channels: given.rfc5766_channels.unwrap_or(default.rfc5766_channels),
        mobility: given.mobility.unwrap_or(default.mobility),
    };
    if allocation.default_lifetime > allocation.max_lifetime
        && let Some(span) = default_place.clone().or(max_place.clone())
    {
        let problem = Problem::new(
            span,
            format!(
                "`default_lifetime`, \"{}\", is longer than `max_lifetime`, \"{}\"",
                show_duration(allocation.default_lifetime),
                show_duration(allocation.max_lifetime)
            ),
        );
        problems.add(match (default_place, max_place) {
            (Some(_), Some(max)) => problem.other(max, "the longest"),
            _ => problem.help("one of the two is a default here; give both"),
        });
    }
    allocation
}

fn peers(given: document::Peers, problems: &mut Problems) -> to::Peers {
    fn placed<T: Text>(
        list: document::List<Read<T>>,
        key: &str,
        problems: &mut Problems,
    ) -> Vec<(Range<usize>, T)> {
        let list: Vec<_> = list
            .unwrap_or_default()
            .into_iter()
            .map(|given| (given.span(), given.into_inner().0))
            .collect();
        problems.repeated(&list, |element| format!("`{element}` in `{key}`"));
        list
    }
    let allow = placed(given.allow, "allow", problems);
    let deny = placed(given.deny, "deny", problems);
    let nat64 = placed(given.nat64_prefixes, "nat64_prefixes", problems);
    for (span, net) in &deny {
        if let Some((other, _)) = allow.iter().find(|(_, allowed)| allowed == net) {
            problems.add(
                Problem::new(span.clone(), format!("`{net}` is both denied and allowed"))
                    .other(other.clone(), "allowed here"),
            );
        }
    }
    fn values<T>(list: Vec<(Range<usize>, T)>) -> Vec<T> {
        list.into_iter().map(|(_, value)| value).collect()
    }
    to::Peers {
        allow: values(allow),
        deny: values(deny),
        nat64_prefixes: values(nat64),
    }
}

/// What [`peers`] needs of a prefix.
trait Text: PartialEq + Display {}
impl<T: PartialEq + Display> Text for T {}

fn log(given: document::Log, default: to::Log, problems: &mut Problems) -> to::Log {
    let level = match given.level {
        None => default.level,
        Some(level) => {
            for problem in level_problems(&level) {
                problems.add(problem);
            }
            level.into_inner()
        }
    };
    to::Log {
        level,
        format: given.format.unwrap_or(default.format),
    }
}

/// Whether a text is a level of the log, or levels by module.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn level(text: &str) -> Result<(), String> {
    let given = Spanned::new(0..text.len(), text.to_owned());
    let problem = level_problems(&given).into_iter().next();
    problem.map_or(Ok(()), |problem| {
        let help = problem.proposal().map(|help| format!("; {help}"));
        Err(format!("{}{}", problem.message(), help.unwrap_or_default()))
    })
}

/// Only `level` and `module=level` are understood: the filter's full grammar takes a misspelt level for a module.
fn level_problems(given: &Spanned<String>) -> Vec<Problem> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let mut problems = Vec::new();
    let mut general = 0;
    for directive in given.get_ref().split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module.trim()), level.trim()),
            None => (None, directive),
        };
        general += usize::from(module.is_none());
        let is_path = |module: &str| {
            module.split("::").all(|part| {
                !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            })
        };
        if !LEVELS.contains(&level) {
            let help = match nearest(level, &LEVELS) {
                Some(word) => format!("did you mean `{word}`?"),
                None if module.is_none() && is_path(level) => {
                    format!("for the level of a module: \"{level}=debug\"")
                }
                None => format!("known levels: {}", list(&LEVELS)),
            };
            let mut problem =
                Problem::new(given.span(), format!("unknown level `{level}`")).help(help);
            problem.known = LEVELS.map(str::to_owned).to_vec();
            problems.push(problem);
        } else if let Some(module) = module.filter(|module| !is_path(module)) {
            problems.push(
                Problem::new(given.span(), format!("`{module}` is not a module"))
                    .help("write modules like `hairpin::net=debug`"),
            );
        }
    }
    if general > 1 && problems.is_empty() {
        problems.push(Problem::new(
            given.span(),
            "more than one level without a module",
        ));
    }
    problems
}
