//! Why a client was refused, in words, and what to do about it.

use super::answer::{Answer, Refusal as Refused, ok};
use super::office::{Office, unix_now};
use super::sessions::{is_user, part};
use crate::engine::Why;
use crate::engine::counters::{AuthFailureReason, ConnectionRefusal, RefusalReason};
use crate::net::refusals::{Reason, Refusal};
use crate::policy::is_confined;
use crate::wire::{ErrorCode, Method};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Whose refusals are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    address: Option<IpAddr>,
    user: Option<String>,
}

#[derive(Serialize)]
struct List {
    refusals: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    at: u64,
    seconds_ago: u64,
    count: u64,
    client: SocketAddr,
    transport: Option<&'static str>,
    user: Option<String>,
    method: Option<&'static str>,
    code: Option<u16>,
    reason: &'static str,
    peer: Option<SocketAddr>,
    what: String,
    advice: String,
}

/// GET /v1/refusals
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted.map_err(|error| Refused::bad(error.body_text()))?;
    let is_wanted = |refusal: &&Refusal| {
        let user = refusal.user.as_deref();
        wanted
            .address
            .is_none_or(|address| refusal.client.ip() == address)
            && wanted
                .user
                .as_deref()
                .is_none_or(|wanted| user.is_some_and(|user| is_user(user, wanted)))
    };
    let all = office.service.control().refusals().await;
    let refusals = all.iter().filter(is_wanted).map(Shown::of).collect();
    ok(&List { refusals })
}

impl Shown {
    fn of(refusal: &Refusal) -> Shown {
        let (mut method, mut code, mut peer) = (None, None, None);
        let user = refusal.user.as_deref();
        let is_test = user.is_some_and(|user| is_confined(part(user).unwrap_or(user)));
        let (reason, what, advice) = match refusal.reason {
            Reason::Credential(reason) => {
                let (what, advice) = credential(reason);
                (reason.name(), what.to_owned(), advice.to_owned())
            }
            Reason::Connection(reason) => {
                let (what, advice) = connection(reason);
                (reason.name(), what.to_owned(), advice.to_owned())
            }
            Reason::Request {
                method: asked,
                code: told,
                why,
            } => {
                method = Some(name(asked));
                code = Some(told.code());
                match why {
                    Why::Room(reason) => {
                        let of_test = room_of_test(reason).filter(|_| is_test);
                        let (what, advice) = of_test.unwrap_or(room(reason));
                        (reason.name(), what.to_owned(), advice.to_owned())
                    }
                    Why::Peer { peer: denied, rule } => {
                        peer = Some(denied);
                        let rule = rule.map_or_else(
                            || "a port that `denied_ports` under [tcp_relay] names, or the relay itself".to_owned(),
                            |rule| rule.to_string(),
                        );
                        (
                            "peer_denied",
                            format!("it wanted to reach the peer {denied}, which is denied: {rule}"),
                            "If clients are to reach this peer, name its prefix in `allow` under [peers]. Browsers also \
                             try private addresses of the other side, and do well without them."
                                .to_owned(),
                        )
                    }
                    Why::Request => {
                        let (reason, mut advice) = request(told);
                        if is_test && told == ErrorCode::UnsupportedTransport {
                            advice = "The credential of a test has no relays for TCP, whatever stands under [tcp_relay].";
                        }
                        let what = format!(
                            "{} was answered {} ({})",
                            name(asked),
                            told.code(),
                            told.reason()
                        );
                        (reason, what, advice.to_owned())
                    }
                }
            }
        };
        Shown {
            at: refusal.at,
            seconds_ago: unix_now().saturating_sub(refusal.at),
            count: refusal.count,
            client: refusal.client,
            transport: refusal.transport,
            user: refusal.user.as_deref().map(str::to_owned),
            method,
            code,
            reason,
            peer,
            what,
            advice,
        }
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::ALLOCATE => "Allocate",
        Method::REFRESH => "Refresh",
        Method::CREATE_PERMISSION => "CreatePermission",
        Method::CHANNEL_BIND => "ChannelBind",
        Method::CONNECT => "Connect",
        Method::CONNECTION_BIND => "ConnectionBind",
        _ => "a request",
    }
}

/// What is wrong with a credential, and what to do.
const fn credential(reason: AuthFailureReason) -> (&'static str, &'static str) {
    use AuthFailureReason as Is;
    match reason {
        Is::UnknownUser => (
            "nobody has this user name, and it is no ephemeral one, `expiry:user`",
            "Look for a misspelt name, and whether the application makes credentials for this server. Users stand under \
             [[auth.user]].",
        ),
        Is::WrongPassword => (
            "the password is wrong",
            "For an ephemeral credential: the application signs with another secret than `secrets` under [auth], or signs \
             something else than the whole user name. `hairpin credentials` makes one that is right. For a user of the \
             configuration: compare the password, and the realm if a key is given in its place.",
        ),
        Is::Expired => (
            "the ephemeral credential has expired",
            "The application has to give its clients a new one in time, or one that lasts longer. If it just made it: \
             compare the clocks of the two machines.",
        ),
        Is::Revoked => (
            "the user is revoked",
            "`hairpin ctl revoke` or `revoked` under [auth] did that; `hairpin ctl revoke --undo USER` takes back the former.",
        ),
        Is::WrongRealm => (
            "it used another realm than this server's",
            "The client was set up with a realm of its own, or keeps that of another server. It has to use the one it is \
             told.",
        ),
        Is::AlgorithmNotAllowed => (
            "it used a password algorithm that the settings do not allow",
            "Most clients, browsers among them, know MD5 alone: it has to be in `password_algorithms` under [auth] for them.",
        ),
        Is::MalformedUser => (
            "its user name is not text, or its expiry is no time",
            "The application makes user names wrongly: `expiry:user`, the expiry in seconds since 1970.",
        ),
        Is::WrongUser => (
            "its session belongs to another user",
            "A client keeps one user for a session. If the application renews credentials during calls, set \
             `match_user_part` under [auth].",
        ),
        Is::UnknownTokenKey | Is::InactiveTokenKey => (
            "the key of its access token is not known, or not in use now",
            "Compare the keys under [oauth] with those of the authorization server, and their `not_before` and `not_after`.",
        ),
        Is::BadToken => (
            "its access token cannot be opened",
            "It was made with another key, or for another `server_name` than that under [oauth].",
        ),
        Is::TokenExpired => (
            "its access token is over its time, or from the future",
            "The client needs a new one; compare the clocks of the two machines.",
        ),
        Is::Incomplete | Is::MalformedUserHash | Is::BadAlgorithms | Is::StaleNonce => (
            "its request for authentication is malformed",
            "This is the client's mistake, or somebody changed its requests on the way.",
        ),
    }
}

/// What there is no room for, and what to do.
const fn room(reason: RefusalReason) -> (&'static str, &'static str) {
    use RefusalReason as Is;
    match reason {
        Is::UserQuota => (
            "its user has as many allocations as one may",
            "`allocations_per_user` under [limits] says how many. `hairpin ctl sessions --user USER` shows them; many that \
             nobody uses are those of clients that went without saying so, and end by themselves.",
        ),
        Is::UserQuarantine => (
            "its user gave back so many ports lately that they have to rest",
            "It makes and ends allocations without pause. `quarantine_per_user` under [limits] and `quarantine` under \
             [relay] say how many rest, and how long.",
        ),
        Is::KeyQuota => (
            "the users of its application have as many allocations together as they may",
            "`allocations` of the [[credentials.key]] that its user name begins with, behind the time, says how many.",
        ),
        Is::SourceQuota => (
            "its address has as many allocations as one may",
            "`allocations_per_source` under [limits] says how many; many clients behind one NAT may need more.",
        ),
        Is::TotalQuota => (
            "the server has as many allocations as it may",
            "`allocations` under [limits] says how many.",
        ),
        Is::Draining => (
            "the server is draining: it takes no new allocations",
            "`hairpin ctl undrain` lets it take them again.",
        ),
        Is::NoPort => (
            "no relay port is free",
            "Widen `ports` under [relay], or look with `hairpin ctl sessions` who has them.",
        ),
        Is::NoSocket => (
            "the system gave no socket",
            "Mostly there are too few file descriptors: raise the hard limit (LimitNOFILE=). The log says more.",
        ),
        Is::PermissionLimit => (
            "its allocation has as many permissions as one may",
            "`permissions_per_allocation` under [limits] says how many.",
        ),
        Is::ChannelLimit => (
            "its allocation has as many channels as one may",
            "`channels_per_allocation` under [limits] says how many.",
        ),
        Is::NewPeers => (
            "its allocation asked for many new peers in a short time",
            "`new_peers_per_second` under [limits] says how many. A call needs a few; who needs more may be scanning.",
        ),
        Is::ConnectionLimit => (
            "its allocation has as many TCP connections with peers as one may",
            "`connections_per_allocation` under [tcp_relay] says how many.",
        ),
    }
}

/// The same of a user of the tester, where other limits hold.
const fn room_of_test(reason: RefusalReason) -> Option<(&'static str, &'static str)> {
    use RefusalReason as Is;
    Some(match reason {
        Is::UserQuota => (
            "its test has as many allocations as one may",
            "No setting gives a test more than 16, and `allocations_per_user` under [limits] holds for it as well. The page \
             has two at a time for each network interface; those of a page that was closed end by themselves.",
        ),
        Is::KeyQuota => (
            "all tests together have as many allocations as they may",
            "`allocations` under [admin.tester] says how many. They end with the tests, `ttl` there at the latest.",
        ),
        Is::SourceQuota => (
            "the tests of its network have as many allocations as those of one may",
            "That is a third of `allocations` under [admin.tester], but no less than 16, so that no network keeps the others out; \
             `allocations_per_source` under [limits] holds as well.",
        ),
        _ => return None,
    })
}

/// Why a connection was closed at once, and what to do.
const fn connection(reason: ConnectionRefusal) -> (&'static str, &'static str) {
    use ConnectionRefusal as Is;
    match reason {
        Is::Total => (
            "the server has as many connections as it may",
            "`max_connections` under [tcp] says how many.",
        ),
        Is::Prefix => (
            "its network has as many connections as one may",
            "`max_connections_per_prefix` under [tcp] says how many.",
        ),
        Is::Unproved => (
            "as many connections as may be have not proved a credential yet",
            "`max_unproved` under [tcp] says how many. Somebody may be opening connections for nothing.",
        ),
        Is::Requests => (
            "it sent many messages without proving a credential",
            "`max_unproved_requests` under [tcp] says how many.",
        ),
        Is::UnprovedOfPrefix => (
            "as many connections of its network as may be have not proved a credential yet",
            "`max_unproved_per_prefix` under [tcp] says how many.",
        ),
    }
}

/// What to do about an answer that says by itself what is wrong.
const fn request(code: ErrorCode) -> (&'static str, &'static str) {
    match code {
        ErrorCode::AllocationMismatch => (
            "allocation_mismatch",
            "It has a session already and asked for another, or its session is over: it was silent for longer than its \
             lifetime, an operator ended it, or the server was started anew. Clients begin again by themselves.",
        ),
        ErrorCode::AddressFamilyNotSupported | ErrorCode::PeerFamilyMismatch => (
            "address_family",
            "It wants an IP version that the server, or its session, does not relay; see [[relay.address]].",
        ),
        ErrorCode::UnsupportedTransport => (
            "unsupported_transport",
            "It wants relays for TCP: see `enabled` under [tcp_relay], and that it comes in over TCP.",
        ),
        ErrorCode::UnknownAttribute => (
            "unknown_attribute",
            "It asks for something that this server does not have.",
        ),
        ErrorCode::MobilityForbidden => (
            "mobility_forbidden",
            "Sessions that move are off, or not to be had for relays for TCP: see `mobility` under [allocation].",
        ),
        ErrorCode::Forbidden => (
            "forbidden",
            "Its own address is one of a transition mechanism (6to4, Teredo), for which there are no relays.",
        ),
        _ => (
            "request",
            "This is the client's mistake, or one that passes when it asks again.",
        ),
    }
}
