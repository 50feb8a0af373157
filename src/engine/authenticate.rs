//! Whose request it is: the long-term credential mechanism, in the order of RFC 8489 §9.2.4.
//!
//! A client of RFC 5389 names no password algorithm and is treated as that RFC says; one of RFC 8489 has to repeat what
//! the challenge offered, and is refused where that was changed on the way.
//!
//! A client with an access token of somebody else's (RFC 7635) shows it in Allocate and Refresh. The key in it becomes the
//! allocation's, and signs whatever else it asks for; the token's end becomes the limit of the allocation's lifetime.
//!
//! The credentials themselves are [`crate::auth`]'s. Main types: [`Authorized`], [`Holder`].

use super::connections::ConnectionId;
use super::counters::AuthFailureReason;
use super::credential_end::end_of;
use super::outcome::AuthenticationFailed;
use super::path::FiveTuple;
use super::respond::Asked;
use super::time::Instant;
use super::timers::Slot;
use super::{ClientPath, Engine, Event, Now, Outcome};
use crate::auth::{AuthFailure, Claimed, Nonce, NonceScope, NonceVerdict, Verified};
use crate::wire::integrity::userhash;
use crate::wire::{
    AttributeType, Authenticated, ErrorCode, Key, Message, Method, PasswordAlgorithm,
};
use rand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;

/// Whose an allocation is, and what the credential left behind that it was proved with.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub user: Arc<str>,
    /// Of an ephemeral `expiry:user` the user, where there is one.
    pub user_part: Option<Arc<str>>,
    /// The name quotas go by.
    pub quota_name: Arc<str>,
    /// What later requests are verified with: they need no look-up, and an ephemeral credential that expires meanwhile
    /// does not end a call.
    pub key: Key,
    /// When the access token is over that the key is from (RFC 7635): the allocation lives no longer.
    pub token_ends: Option<Instant>,
    /// When the credential expires, if it does.
    pub credential_until: Option<Instant>,
}

impl Holder {
    /// Whether the key is from an access token.
    pub fn has_token(&self) -> bool {
        self.token_ends.is_some()
    }

    /// Of an ephemeral `expiry:group:name` the group, which the integrity covers as it does the whole name. It is one only
    /// where quotas know it.
    pub fn group(&self) -> Option<&str> {
        let (group, _) = self.user_part.as_deref()?.split_once(':')?;
        Some(group)
    }

    /// Whether both are one by what they proved. The name that goes with an access token is the id of the key that seals
    /// it: it is everybody's with a token of that server, and may be the name of a user, who is somebody else.
    pub fn is_same(&self, other: &Holder) -> bool {
        self.user == other.user
            && self.has_token() == other.has_token()
            && (!self.has_token() || self.key == other.key)
    }

    /// Whether both are of one `user` of ephemeral credentials `expiry:user`.
    pub fn has_same_part(&self, other: &Holder) -> bool {
        self.has_token() == other.has_token()
            && self.user_part.is_some()
            && self.user_part == other.user_part
    }
}

/// A request whose sender is known.
#[derive(Debug)]
pub(super) struct Authorized<'m> {
    pub message: Authenticated<'m>,
    pub asked: Asked,
    pub holder: Holder,
    /// The request shows a token itself.
    pub shows_token: bool,
    /// Another server sent the client here.
    pub redirected: bool,
}

impl<'m> Authorized<'m> {
    fn new(now: Now, verified: Verified<'m>) -> Self {
        let token_ends = verified
            .remaining
            .map(|remaining| now.instant.after_seconds(remaining));
        Authorized {
            message: verified.request,
            asked: Asked::signed(&verified.request, verified.key),
            holder: Holder {
                user: verified.username,
                user_part: verified.user_part,
                quota_name: verified.quota_name,
                key: verified.key,
                token_ends,
                credential_until: verified.expires_at.map(|expiry| end_of(expiry, now)),
            },
            shows_token: token_ends.is_some(),
            redirected: false,
        }
    }

    /// Under which name a port is held. The id of a token's key is everybody's who has a token of that server.
    pub fn reservation_owner(&self) -> &Arc<str> {
        if self.holder.has_token() {
            &self.holder.quota_name
        } else {
            &self.holder.user
        }
    }
}

/// Why a request is not authenticated, as the client is told.
pub(super) enum Challenge {
    /// 400, without realm and nonce.
    Bad(AuthFailureReason),
    /// 401 or 438, with both.
    Again(ErrorCode),
}

/// What a request says of its sender, well-formed but not proved.
struct Credentials<'m> {
    claimed: Claimed<'m>,
    realm: &'m [u8],
    nonce: &'m [u8],
}

impl<'m> Credentials<'m> {
    fn read(message: &Message<'m>) -> Result<Self, AuthFailureReason> {
        let value = |kind| message.attribute(kind).map(|attribute| attribute.value);
        let name = value(AttributeType::USERNAME);
        let hash = value(AttributeType::USERHASH);
        let claimed = match (name, hash) {
            (Some(_), Some(_)) => return Err(AuthFailureReason::MalformedUserHash),
            (Some(name), None) => Claimed::Name(name),
            (None, Some(hash)) => Claimed::Hash(
                hash.try_into()
                    .map_err(|_| AuthFailureReason::MalformedUserHash)?,
            ),
            (None, None) => return Err(AuthFailureReason::Incomplete),
        };
        Ok(Self {
            claimed,
            realm: value(AttributeType::REALM).ok_or(AuthFailureReason::Incomplete)?,
            nonce: value(AttributeType::NONCE).ok_or(AuthFailureReason::Incomplete)?,
        })
    }

    /// What the log calls the sender.
    fn shown(&self) -> String {
        match self.claimed {
            Claimed::Name(name) => String::from_utf8_lossy(name).into_owned(),
            Claimed::Hash(hash) => hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

impl Engine {
    /// First what is missing, then the algorithm, then who it is, then the integrity, and only then whether the nonce is
    /// still good.
    pub(super) fn authenticate<'m>(
        &mut self,
        now: Now,
        client: &ClientPath,
        slot: Option<Slot>,
        message: &Message<'m>,
    ) -> Result<Authorized<'m>, Challenge> {
        if message.mac().is_none() {
            self.counters.challenges.add(1);
            return Err(Challenge::Again(ErrorCode::Unauthenticated));
        }
        let credentials = Credentials::read(message).map_err(Challenge::Bad)?;
        let algorithm = self
            .algorithm(message, credentials.nonce)
            .ok_or(Challenge::Bad(AuthFailureReason::BadAlgorithms))?;

        let is_our_realm = credentials.realm == self.rules().authenticator.realm().as_bytes();
        let verified = match self.access_token(message) {
            Some(token) => self
                .rules()
                .authenticator
                .verify_token(message, credentials.claimed, token, now.unix)
                .map(|verified| Authorized::new(now, verified)),
            None => self.verify(now, client, slot, message, &credentials, algorithm),
        };
        let mut request = match verified {
            // A key made of a password contains the realm, so another one cannot verify; only the operator learns the
            // difference.
            Ok(request) if is_our_realm => request,
            outcome => {
                let reason = match outcome {
                    _ if !is_our_realm => AuthFailureReason::WrongRealm,
                    Err(AuthFailure::UnknownUser) => AuthFailureReason::UnknownUser,
                    Err(AuthFailure::MalformedName) => AuthFailureReason::MalformedUser,
                    Err(AuthFailure::Expired) => AuthFailureReason::Expired,
                    Err(AuthFailure::Revoked) => AuthFailureReason::Revoked,
                    Err(AuthFailure::Algorithm) => AuthFailureReason::AlgorithmNotAllowed,
                    Err(AuthFailure::UnknownTokenKey) => AuthFailureReason::UnknownTokenKey,
                    Err(AuthFailure::InactiveTokenKey) => AuthFailureReason::InactiveTokenKey,
                    Err(AuthFailure::BadToken) => AuthFailureReason::BadToken,
                    Err(AuthFailure::TokenExpired) => AuthFailureReason::TokenExpired,
                    Err(AuthFailure::WrongPassword) | Ok(_) => AuthFailureReason::WrongPassword,
                };
                self.report_failure(client, &credentials.shown(), reason);
                return Err(Challenge::Again(ErrorCode::Unauthenticated));
            }
        };

        let verdict = self.rules().nonces.check(
            self.nonce_time(now),
            &self.nonce_scope(&client.tuple),
            credentials.nonce,
        );
        match verdict {
            NonceVerdict::Fresh => {}
            NonceVerdict::Redirected => request.redirected = true,
            NonceVerdict::Stale => {
                self.counters.auth_failure(AuthFailureReason::StaleNonce);
                return Err(Challenge::Again(ErrorCode::StaleNonce));
            }
        }
        Ok(request)
    }

    /// The access token of a request, where it is looked at: RFC 7635 §9 has it in Allocate and Refresh only.
    fn access_token<'m>(&self, message: &Message<'m>) -> Option<&'m [u8]> {
        let is_for_tokens = matches!(message.method(), Method::ALLOCATE | Method::REFRESH);
        self.rules().authenticator.third_party()?;
        let token = message.attribute(AttributeType::ACCESS_TOKEN);
        token.filter(|_| is_for_tokens).map(|token| token.value)
    }

    /// The password algorithm of a request: MD5 where it names none, else the one it chose of those that its nonce was
    /// sent with. `None` where it repeats them wrongly, since somebody may have taken the better ones out of the
    /// challenge.
    fn algorithm(&self, message: &Message<'_>, nonce: &[u8]) -> Option<PasswordAlgorithm> {
        let chosen = message.attribute(AttributeType::PASSWORD_ALGORITHM);
        let repeated = message.attribute(AttributeType::PASSWORD_ALGORITHMS);
        let (chosen, repeated) = match (chosen, repeated) {
            (None, None) => return Some(PasswordAlgorithm::Md5),
            (Some(chosen), Some(repeated)) => (chosen.value, repeated.value),
            _ => return None,
        };
        // The nonce is not checked yet; if it lies about its offer, it is stale later.
        let offer = Nonce::offer_of(nonce).unwrap_or_else(|| self.rules().authenticator.offer());
        if offer.algorithms().is_empty() || offer.password_algorithms() != repeated {
            return None;
        }
        PasswordAlgorithm::from_value(chosen).filter(|chosen| offer.algorithms().contains(chosen))
    }

    /// Checks the integrity: with the key of the 5-tuple's allocation where the user is the same, else with the
    /// sources of credentials. The first way keeps a call alive whose ephemeral credential expires meanwhile.
    fn verify<'m>(
        &self,
        now: Now,
        client: &ClientPath,
        slot: Option<Slot>,
        message: &Message<'m>,
        credentials: &Credentials<'_>,
        algorithm: PasswordAlgorithm,
    ) -> Result<Authorized<'m>, AuthFailure> {
        let authenticator = &self.rules().authenticator;
        let allocation = slot.and_then(|slot| self.allocations.get(slot as usize));
        let of_connection = self.holder_of_connection(message);
        let holder = allocation
            .map(|allocation| &allocation.holder)
            .or(of_connection.as_ref())
            .or_else(|| self.paths.token_holder(&client.tuple));
        if let Some(holder) = holder {
            let is_owner = match credentials.claimed {
                Claimed::Name(name) => holder.user.as_bytes() == name,
                Claimed::Hash(hash) => {
                    authenticator.offer().anonymity()
                        && userhash(holder.user.as_bytes(), authenticator.realm()) == *hash
                }
            };
            // No name and no password algorithm goes into the key of a token. Whoever has the key and gives another name
            // is told so where owners are compared.
            let fits = holder.has_token()
                || is_owner && holder.key.as_bytes().len() == algorithm.key_length();
            if fits && let Some(authenticated) = message.authenticate(&holder.key) {
                return Ok(Authorized {
                    message: authenticated,
                    asked: Asked::signed(&authenticated, holder.key),
                    holder: Holder {
                        user: if is_owner {
                            holder.user.clone()
                        } else {
                            credentials.shown().into()
                        },
                        ..holder.clone()
                    },
                    shows_token: false,
                    redirected: false,
                });
            }
        }
        authenticator
            .verify_claim(algorithm, message, credentials.claimed, now.unix)
            .map(|verified| Authorized::new(now, verified))
    }

    /// Of a ConnectionBind, which comes on a connection of its own and shows no token: who has the allocation, where that
    /// is by a token. The key of it is nowhere else.
    fn holder_of_connection(&self, message: &Message<'_>) -> Option<Holder> {
        if message.method() != Method::CONNECTION_BIND {
            return None;
        }
        let id = message.attribute(AttributeType::CONNECTION_ID)?;
        let connection = self.tcp_connection(ConnectionId(id.connection_id().ok()?))?;
        Some(connection.holder()).filter(Holder::has_token)
    }

    /// Whether a request is the allocation's user's. A renewed ephemeral credential takes the place of the one the
    /// allocation was made with, where the rules allow it, and a new token that of the one before: its key may be another
    /// by then, and it is the only proof there is (RFC 7635 §9).
    pub(super) fn is_owner(&mut self, slot: Slot, request: &Authorized<'_>) -> bool {
        self.owns(slot, &request.holder, request.shows_token)
    }

    /// The same of whoever proved to be this holder. `may_renew_token` says that a new token will do; where it does not,
    /// only the key of the allocation's own proves whose it is, since the id of a token's key is everybody's.
    pub(super) fn owns(&mut self, slot: Slot, holder: &Holder, may_renew_token: bool) -> bool {
        let match_user_part = self.rules().match_user_part;
        let Some(allocation) = self.allocations.get_mut(slot as usize) else {
            return false;
        };
        let current = &allocation.holder;
        if !may_renew_token && current.is_same(holder) {
            return true;
        }
        let is_renewed = may_renew_token && current.has_token()
            || match_user_part && current.has_same_part(holder);
        if is_renewed {
            allocation.renew(holder);
        }
        is_renewed
    }

    pub(super) fn report_failure(
        &mut self,
        client: &ClientPath,
        user: &str,
        reason: AuthFailureReason,
    ) {
        self.counters.auth_failure(reason);
        let user = user
            .chars()
            .take(64)
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        self.events.push_back(Event::AuthenticationFailed(Box::new(
            AuthenticationFailed {
                client: client.tuple,
                user,
                reason,
            },
        )));
    }

    pub(super) fn challenge(
        &mut self,
        now: Now,
        client: &ClientPath,
        message: &Message<'_>,
        challenge: &Challenge,
        reply: &mut [u8],
    ) -> Outcome {
        let asked = Asked::unsigned(message);
        let code = match challenge {
            Challenge::Bad(reason) => {
                self.counters.auth_failure(*reason);
                return self.fail(&asked, ErrorCode::BadRequest, reply);
            }
            Challenge::Again(code) => *code,
        };
        let salt = self.rng.next_u32();
        let scope = self.nonce_scope(&client.tuple);
        let nonce = self.rules().nonces.mint(self.nonce_time(now), &scope, salt);
        // Whose nonce is stale knows it already.
        let server_name = self.rules().authenticator.third_party();
        let server_name = server_name.filter(|_| code == ErrorCode::Unauthenticated);
        self.fail_with(&asked, code, reply, |writer| {
            writer.attribute(AttributeType::REALM, scope.realm.as_bytes());
            let algorithms = scope.offer.password_algorithms();
            if !algorithms.is_empty() {
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, algorithms);
            }
            writer.attribute(AttributeType::NONCE, nonce.as_bytes());
            if let Some(server_name) = server_name {
                writer.attribute(
                    AttributeType::THIRD_PARTY_AUTHORIZATION,
                    server_name.as_bytes(),
                );
            }
        })
    }

    /// Whom a nonce for a client is for.
    pub(super) fn nonce_scope(&self, tuple: &FiveTuple) -> NonceScope<'_> {
        let authenticator = &self.rules().authenticator;
        // A client's connections share their nonce, so that the one that is to carry a peer's bytes (RFC 6062 §4.3) need
        // not be challenged anew.
        let port = match tuple.transport().is_stream() {
            true => 0,
            false => tuple.client().port(),
        };
        NonceScope {
            client: SocketAddr::new(tuple.client().ip(), port),
            transport: tuple.transport() as u8,
            realm: authenticator.realm(),
            offer: authenticator.offer(),
        }
    }

    /// The clock of nonces, in seconds: one that nobody sets, unless other servers have to agree on it.
    pub(super) fn nonce_time(&self, now: Now) -> u64 {
        if self.rules().nonces.is_shared() {
            now.unix
        } else {
            now.instant.as_millis() / 1000
        }
    }
}
