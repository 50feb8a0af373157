//! Who may ask for what.
//!
//! By the unix socket everything is allowed, since only those can open it who may. Over the network a request shows one
//! of the tokens of `[admin]`, which is good for looking or for changing things too. Whatever changes something also carries
//! a header that a web page of somebody else cannot make a browser send, `X-Hairpin: 1`, or a token, which no browser sends
//! by itself. By the unix socket, which somebody may have put behind a port for a browser, a request names no host that
//! could be a stranger's: a page of `evil.example` whose address has become 127.0.0.1 would else be taken for ours. Every
//! change is told to the log, with who ordered it. Main items: [`Need`], [`guard`].

use super::answer::Refusal;
use super::http::Door;
use super::office::Office;
use super::tester;
use crate::auth::Secret;
use crate::config::Scope;
use crate::net::places::Standing;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tracing::info;

/// The header that foreign web pages cannot send.
pub(super) const OWN_HEADER: &str = "x-hairpin";

/// What a request has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// What the handler itself looks at.
    Own,
    /// A token of this scope or a wider one.
    Scope(Scope),
    /// What a test begins with: nothing where the tester is public, and else a token that may make credentials.
    Tester,
}

/// Lets a request through to its handler, or not.
pub(super) async fn guard(
    State((office, need)): State<(Arc<Office>, Need)>,
    request: Request,
    next: Next,
) -> Response {
    let scope = match need {
        Need::Nothing | Need::Own => return next.run(request).await,
        Need::Scope(scope) => scope,
        Need::Tester => Scope::Operate,
    };
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let by = match who(&office, scope, &request) {
        Ok(by) => by,
        Err(refusal) if need != Need::Tester => return refusal.into_response(),
        Err(refusal) => {
            return match tester::admit(&office, &request, refusal) {
                Ok(()) => next.run(request).await,
                Err(refusal) => refusal.into_response(),
            };
        }
    };
    if let Some(standing) = request.extensions().get::<Standing>() {
        standing.is_known();
    }
    if is_change
        && bearer(request.headers()).is_none()
        && !request.headers().contains_key(OWN_HEADER)
    {
        let why = "what changes something needs the header `X-Hairpin: 1`, or a token";
        return Refusal::new(StatusCode::FORBIDDEN, why).into_response();
    }
    if !is_change {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().to_string());
    // Whoever asked may hang up: what was begun is brought to its end, and told.
    let work = tokio::spawn(async move {
        let answer = next.run(request).await;
        info!(by, %method, path, status = answer.status().as_u16(), "an operator's order");
        answer
    });
    let answer = work.await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Who asks, if they may.
fn who(office: &Office, scope: Scope, request: &Request) -> Result<String, Refusal> {
    let door = request.extensions().get::<Door>();
    if let Some(door @ Door::Socket { .. }) = door {
        if !is_local_name(request.headers()) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "by the unix socket `Host` is localhost, an IP address, or another name without a dot",
            ));
        }
        return Ok(String::from(door));
    }
    let settings = office.service.settings();
    let shown = bearer(request.headers()).unwrap_or_default();
    // All of them are compared, whichever it is.
    let tokens = settings.admin.tokens.iter();
    let known = tokens.fold(None, |known, token| {
        let is_it = is_same(&token.token, shown);
        if is_it { Some(token) } else { known }
    });
    match known {
        Some(token) if token.scope >= scope => Ok(format!("token {}", token.name)),
        Some(_) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this token is for looking only: its `scope` is \"read\"",
        )),
        None => Err(unauthorized(
            "a token of [admin] is needed: `Authorization: Bearer TOKEN`",
        )),
    }
}

/// Whether a request names a host that is nobody's domain.
fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = host.split(':').next().unwrap_or_default();
    // In brackets is an IPv6 address.
    host.starts_with('[') || !name.contains('.') || name.parse::<Ipv4Addr>().is_ok()
}

/// Nothing was shown that is known.
pub(super) fn unauthorized(why: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, why)
}

/// The token a request shows.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a token is the one that was shown; says nothing by the time it takes.
pub(super) fn is_same(token: &Secret, shown: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    digest(token.expose()).ct_eq(&digest(shown)).into()
}
