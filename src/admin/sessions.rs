//! Sessions: a page of the list, one in full, and their end.

use super::answer::{Answer, Refusal, ok};
use super::office::Office;
use super::sampler::{Row, Sampled};
use super::status::Rate;
use crate::engine::outcome::Relayed;
use crate::engine::{AllocationId, Instant, RelayProtocol, Usage};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How many sessions a page has if it is not said, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// What of the list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    user: Option<String>,
    address: Option<String>,
    #[serde(default)]
    sort: Sort,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    /// What passes a second, most first.
    #[default]
    Rate,
    /// What passed in all, most first.
    Bytes,
    /// Oldest first.
    Age,
    /// By name.
    User,
}

/// Where a session stands in the list. The id comes last, so that no two stand in one place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    number: Reverse<u64>,
    text: &'a str,
    id: u64,
}

impl Sort {
    fn place(self, row: &Row) -> Place<'_> {
        let session = &row.session;
        let (number, text) = match self {
            Sort::Rate => (row.rate(), ""),
            Sort::Bytes => (row.bytes(), ""),
            // When it began does not change as its age does.
            Sort::Age => (u64::MAX - session.created.as_millis(), ""),
            Sort::User => (0, &*session.user),
        };
        Place {
            number: Reverse(number),
            text,
            id: session.id.0,
        }
    }
}

impl Place<'_> {
    fn cursor(&self, sampled: &Sampled) -> String {
        let text = format!(
            "{}/{}/{}/{}",
            sampled.name, self.number.0, self.id, self.text
        );
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }
}

/// Behind which session a page begins, and in which look at all of them.
struct Cursor {
    sampled: u64,
    number: u64,
    id: u64,
    text: String,
}

/// The opposite of [`Place::cursor`].
fn read_cursor(cursor: &str) -> Option<Cursor> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let text = String::from_utf8(text).ok()?;
    let mut parts = text.splitn(4, '/');
    let mut number = || parts.next()?.parse().ok();
    let (sampled, place, id) = (number()?, number()?, number()?);
    Some(Cursor {
        sampled,
        number: place,
        id,
        text: parts.next()?.to_owned(),
    })
}

/// Whom a session or its end is asked of.
#[derive(Clone, Copy)]
enum Whereabouts {
    Host(IpAddr),
    Socket(SocketAddr),
}

impl Whereabouts {
    fn read(text: &str) -> Result<Self, Refusal> {
        if let Ok(socket) = text.parse() {
            return Ok(Whereabouts::Socket(socket));
        }
        let ip = text.trim_start_matches('[').trim_end_matches(']');
        let ip = ip.parse().map(Whereabouts::Host);
        ip.map_err(|_| Refusal::bad("`address` is not an IP address, with a port or without"))
    }

    fn is(self, address: SocketAddr) -> bool {
        match self {
            Whereabouts::Host(ip) => address.ip() == ip,
            Whereabouts::Socket(socket) => address == socket,
        }
    }
}

/// Whether a user name is somebody's: the whole name, or of an ephemeral `expiry:user` the user.
pub(super) fn is_user(name: &str, user: &str) -> bool {
    name == user || part(name) == Some(user)
}

/// Of an ephemeral `expiry:user` the user.
pub(super) fn part(name: &str) -> Option<&str> {
    let (expiry, part) = name.split_once(':')?;
    let is_time = !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then_some(part)
}

#[derive(Serialize)]
struct List {
    sessions: Vec<Shown>,
    total: usize,
    next: Option<String>,
}

/// A session as it is shown.
#[derive(Serialize)]
struct Shown {
    id: String,
    user: String,
    client: SocketAddr,
    transport: &'static str,
    server: SocketAddr,
    relayed: Vec<SocketAddr>,
    protocol: &'static str,
    age_seconds: u64,
    expires_in_seconds: u64,
    permissions: usize,
    channels: usize,
    away: bool,
    to_peers: Way,
    to_client: Way,
}

#[derive(Serialize)]
struct Way {
    packets: u64,
    bytes: u64,
    bytes_per_second: u64,
}

impl Shown {
    fn of(row: &Row, now: Instant) -> Shown {
        let session = &row.session;
        let tuple = session.client.tuple;
        let Usage {
            packets_to_peers,
            bytes_to_peers,
            packets_to_client,
            bytes_to_client,
        } = session.usage;
        Shown {
            id: session.id.to_string(),
            user: session.user.to_string(),
            client: tuple.client(),
            transport: tuple.transport().name(),
            server: tuple.server(),
            relayed: advertised(&session.relayed),
            protocol: match session.protocol {
                RelayProtocol::Udp => "udp",
                RelayProtocol::Tcp => "tcp",
            },
            age_seconds: now.since(session.created).as_secs(),
            expires_in_seconds: session.expires.since(now).as_secs(),
            permissions: session.permissions,
            channels: session.channels,
            away: session.is_away,
            to_peers: Way {
                packets: packets_to_peers,
                bytes: bytes_to_peers,
                bytes_per_second: row.to_peers,
            },
            to_client: Way {
                packets: packets_to_client,
                bytes: bytes_to_client,
                bytes_per_second: row.to_client,
            },
        }
    }
}

fn advertised(relayed: &Relayed) -> Vec<SocketAddr> {
    relayed.iter().map(|address| address.advertised).collect()
}

/// GET /v1/sessions
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if limit == 0 || limit > LONGEST_PAGE {
        return Err(Refusal::bad(format!("`limit` is 1 to {LONGEST_PAGE}")));
    }
    let address = wanted.address.as_deref().map(Whereabouts::read);
    let address = address.transpose()?;
    let after = match &wanted.cursor {
        None => None,
        Some(cursor) => Some(
            read_cursor(cursor)
                .ok_or_else(|| Refusal::bad("`cursor` is not one of this server"))?,
        ),
    };
    let before = after.as_ref();
    let before = before.and_then(|after| office.sampler.go_on(after.sampled));
    let after = after.as_ref().map(|after| Place {
        number: Reverse(after.number),
        text: &after.text,
        id: after.id,
    });
    let sampled = match before {
        Some(sampled) => sampled,
        None => office.sampler.sessions(&office).await,
    };
    let is_wanted = |row: &&Row| {
        let session = &row.session;
        let is_there = |address: Whereabouts| {
            address.is(session.client.tuple.client())
                || session
                    .relayed
                    .iter()
                    .any(|relayed| address.is(relayed.advertised) || address.is(relayed.local))
        };
        wanted
            .user
            .as_deref()
            .is_none_or(|user| is_user(&session.user, user))
            && address.is_none_or(is_there)
    };
    let now = sampled.instant;
    let found = sampled.rows.iter().filter(is_wanted);
    let mut found: Vec<_> = found.map(|row| (wanted.sort.place(row), row)).collect();
    let total = found.len();
    found.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after));
    let has_more = found.len() > limit;
    if has_more {
        found.select_nth_unstable_by(limit, |one, other| one.0.cmp(&other.0));
        found.truncate(limit);
    }
    found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let next = found.last().filter(|_| has_more);
    if next.is_some() {
        office.sampler.keep(&sampled);
    }
    ok(&List {
        total,
        next: next.map(|(place, _)| place.cursor(&sampled)),
        sessions: found.iter().map(|(_, row)| Shown::of(row, now)).collect(),
    })
}

#[derive(Serialize)]
struct Detailed {
    #[serde(flatten)]
    shown: Shown,
    mobile: bool,
    credential_expires_in_seconds: Option<u64>,
    permitted: Vec<Permitted>,
    bound_channels: Vec<Bound>,
    connections: Vec<SocketAddr>,
    peers: Vec<Peer>,
}

/// What passes between the session and one peer, counted from the first look on.
#[derive(Serialize)]
struct Peer {
    peer: SocketAddr,
    to_peer: Rate,
    to_client: Rate,
}

#[derive(Serialize)]
struct Permitted {
    peer: IpAddr,
    expires_in_seconds: u64,
    inside_only: bool,
}

#[derive(Serialize)]
struct Bound {
    number: String,
    peer: SocketAddr,
    expires_in_seconds: u64,
}

/// GET /v1/sessions/{id}
pub(super) async fn show(State(office): State<Arc<Office>>, Path(id): Path<String>) -> Answer {
    let id = read_id(&id)?;
    let sampled = office.sampler.sessions(&office).await;
    let details = office.service.control().session(id).await;
    let details = details.ok_or_else(no_session)?;
    let now = office.service.control().clock().now().instant;
    let left = |until: Instant| until.since(now).as_secs();
    let row = sampled.rows.iter().find(|row| row.session.id == id);
    let row = Row {
        to_peers: row.map_or(0, |row| row.to_peers),
        to_client: row.map_or(0, |row| row.to_client),
        session: details.summary,
    };
    ok(&Detailed {
        shown: Shown::of(&row, now),
        mobile: details.is_mobile,
        credential_expires_in_seconds: details.credential_until.map(left),
        permitted: details
            .permissions
            .iter()
            .map(|permitted| Permitted {
                peer: permitted.peer,
                expires_in_seconds: left(permitted.expires),
                inside_only: permitted.hairpin_only,
            })
            .collect(),
        bound_channels: details
            .channels
            .iter()
            .map(|channel| Bound {
                number: format!("0x{:04X}", channel.number.get()),
                peer: channel.peer,
                expires_in_seconds: left(channel.expires),
            })
            .collect(),
        connections: details.connections,
        peers: details
            .rates
            .iter()
            .map(|rate| Peer {
                peer: rate.peer,
                to_peer: Rate {
                    packets_per_second: rate.per_second.packets_to_peers,
                    bytes_per_second: rate.per_second.bytes_to_peers,
                },
                to_client: Rate {
                    packets_per_second: rate.per_second.packets_to_client,
                    bytes_per_second: rate.per_second.bytes_to_client,
                },
            })
            .collect(),
    })
}

#[derive(Serialize)]
struct Ended {
    ended: usize,
}

/// DELETE /v1/sessions/{id}
pub(super) async fn end(State(office): State<Arc<Office>>, Path(id): Path<String>) -> Answer {
    let id = read_id(&id)?;
    if !office.service.control().end_session(id).await {
        return Err(no_session());
    }
    office.sampler.forget().await;
    ok(&Ended { ended: 1 })
}

/// Whose sessions are to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfUser {
    user: String,
}

/// DELETE /v1/sessions?user=NAME
pub(super) async fn end_all(
    State(office): State<Arc<Office>>,
    of: Result<Query<OfUser>, QueryRejection>,
) -> Answer {
    let Query(of) = of.map_err(|_| {
        Refusal::bad("`user` says whose sessions are to end: /v1/sessions?user=NAME")
    })?;
    let ended = office.service.control().end_sessions_of(&of.user).await;
    office.sampler.forget().await;
    ok(&Ended { ended })
}

fn read_id(text: &str) -> Result<AllocationId, Refusal> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
    id.map(AllocationId).ok_or_else(no_session)
}

fn no_session() -> Refusal {
    Refusal::missing("there is no session of that name")
}
