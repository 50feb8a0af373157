//! Credentials over HTTP: for operators, and for applications that have a key.
//!
//! An application shows the token of its key and gets `iceServers` that a browser takes as they are. User names are
//! `expiry:key:identifier`, so that quotas and logs tell applications apart and one key cannot revoke another's users. A key
//! that does not exist is answered like one whose token is wrong.

use super::answer::{Answer, Refusal, json, read};
use super::guard::{bearer, is_same, unauthorized};
use super::office::{Office, unix_now};
use super::orders::{LONGEST_NAME, revoke_user};
use crate::auth::{Secret, mint_ephemeral};
use crate::config::{CredentialKey, Settings};
use crate::net::places::Standing;
use crate::service::ice_servers::urls;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use tracing::info;

/// How long a credential that an operator mints is good if it is not said, and at most, in seconds.
const TTL: u64 = 24 * 3600;
const LONGEST_TTL: u64 = 366 * 24 * 3600;

/// How long an answer about who may ask holds in a browser, in seconds.
const PREFLIGHT: &str = "600";

/// Where a client gets in, and with what.
#[derive(Clone, Serialize)]
pub(super) struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

pub(super) struct Minted {
    username: String,
    credential: String,
    expires: u64,
    urls: Vec<String>,
}

impl Minted {
    /// One server for STUN and one for TURN.
    pub(super) fn servers(&self) -> Vec<IceServer> {
        let (stun, turn): (Vec<_>, Vec<_>) = self
            .urls
            .iter()
            .cloned()
            .partition(|url| url.starts_with("stun"));
        let mut servers = Vec::new();
        if !stun.is_empty() {
            servers.push(IceServer {
                urls: stun,
                username: None,
                credential: None,
            });
        }
        servers.push(IceServer {
            urls: turn,
            ..self.one()
        });
        servers
    }

    /// One server for both.
    fn one(&self) -> IceServer {
        IceServer {
            urls: self.urls.clone(),
            username: Some(self.username.clone()),
            credential: Some(self.credential.clone()),
        }
    }
}

pub(super) fn mint(
    office: &Office,
    settings: &Settings,
    user: &str,
    ttl: u64,
) -> Result<Minted, Refusal> {
    let secret = settings.auth.secrets.first().ok_or_else(|| {
        Refusal::new(
            StatusCode::CONFLICT,
            "there is no shared secret to make credentials with; give `secrets` under [auth]",
        )
    })?;
    if user.chars().any(char::is_control) {
        return Err(Refusal::bad("the user contains control characters"));
    }
    let expires = unix_now() + ttl;
    let secret = secret.expose().as_bytes();
    let (username, credential) = mint_ephemeral(secret, Some(user), expires);
    if username.len() > LONGEST_NAME {
        return Err(Refusal::bad(format!(
            "the user is too long: `{username}` has more than the {LONGEST_NAME} bytes a message takes"
        )));
    }
    let hosts = &settings.credentials.hosts;
    let relays = office.service.relays();
    Ok(Minted {
        username,
        credential,
        expires,
        urls: urls(&settings.listeners, hosts, &relays, &settings.tls),
    })
}

/// What an operator wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    user: Option<String>,
    ttl: Option<u64>,
}

/// POST /v1/credentials
pub(super) async fn for_operator(State(office): State<Arc<Office>>, body: Bytes) -> Answer {
    let wish: Wish = read(&body)?;
    let ttl = wish.ttl.unwrap_or(TTL);
    if !(1..=LONGEST_TTL).contains(&ttl) {
        return Err(Refusal::bad(format!("`ttl` is 1 to {LONGEST_TTL} seconds")));
    }
    let user = wish
        .user
        .unwrap_or_else(|| format!("operator-{}", random()));
    let minted = mint(&office, &office.service.settings(), &user, ttl)?;
    let told = json!({
        "username": minted.username,
        "credential": minted.credential,
        "ttl": ttl,
        "expires": minted.expires,
        "iceServers": minted.servers(),
    });
    Ok(json(StatusCode::CREATED, &told))
}

/// Tells users apart that have no name.
pub(super) fn random() -> String {
    format!("{:08x}", rand::random::<u32>())
}

/// What an application wants.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    ttl: Option<u64>,
    #[serde(rename = "customIdentifier")]
    identifier: Option<String>,
}

/// POST /v1/turn/keys/{key}/credentials/generate-ice-servers
pub(super) async fn ice_servers(
    State(office): State<Arc<Office>>,
    Path(key): Path<String>,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let minted = generate(&office, &key, &headers, &standing, &body);
    created(minted.map(|minted| minted.servers()))
}

/// POST /v1/turn/keys/{key}/credentials/generate
pub(super) async fn one_server(
    State(office): State<Arc<Office>>,
    Path(key): Path<String>,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let minted = generate(&office, &key, &headers, &standing, &body);
    created(minted.map(|minted| minted.one()))
}

fn created(servers: Result<impl Serialize, Refusal>) -> Response {
    match servers {
        Ok(servers) => json(StatusCode::CREATED, &json!({ "iceServers": servers })),
        Err(refused) => refused.into_response(),
    }
}

fn generate(
    office: &Office,
    key: &str,
    headers: &HeaderMap,
    standing: &Standing,
    body: &Bytes,
) -> Result<Minted, Refusal> {
    let settings = office.service.settings();
    let key = known(&settings, key, headers, standing)?;
    let order: Order = read(body)?;
    let (ttl, most) = (
        order.ttl.unwrap_or(key.ttl.as_secs()),
        key.max_ttl.as_secs(),
    );
    if !(1..=most).contains(&ttl) {
        return Err(Refusal::bad(format!("`ttl` is 1 to {most} seconds")));
    }
    let identifier = order.identifier.filter(|identifier| !identifier.is_empty());
    let identifier = identifier.unwrap_or_else(random);
    let user = format!("{}:{identifier}", key.name);
    let minted = mint(office, &settings, &user, ttl)?;
    // What is refused for another reason does not count.
    let made = office.minting.take(key, Instant::now());
    made.map_err(|wait| {
        let why = "this key has had as many credentials made as it may for now";
        Refusal::too_soon(wait, why)
    })?;
    Ok(minted)
}

/// POST /v1/turn/keys/{key}/credentials/{username}/revoke
pub(super) async fn revoke(
    State(office): State<Arc<Office>>,
    Path((key, username)): Path<(String, String)>,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
) -> Response {
    let settings = office.service.settings();
    let key = match known(&settings, &key, &headers, &standing) {
        Ok(key) => key,
        Err(refused) => return refused.into_response(),
    };
    let part = super::sessions::part(&username).unwrap_or(&username);
    let is_theirs = part
        .split_once(':')
        .is_some_and(|(name, _)| name == key.name);
    // An expiry that this key could have given; so these names are forgotten when they are over.
    let now = unix_now();
    let latest = now.saturating_add(key.max_ttl.as_secs());
    let expiry = username
        .split_once(':')
        .and_then(|(expiry, _)| expiry.parse::<u64>().ok())
        .filter(|expiry| *expiry <= latest);
    let Some(expiry) = expiry.filter(|_| is_theirs) else {
        return Refusal::missing("this key has made no such user name").into_response();
    };
    // No session goes on so long behind the end of its credential, so there is nobody to be kept out.
    let longest = settings.allocation.max_lifetime.as_secs();
    if expiry.saturating_add(longest) < now {
        return StatusCode::NO_CONTENT.into_response();
    }
    if let Err(wait) = office.minting.take_revocation(key, Instant::now()) {
        let why = "this key has had as many users revoked as it may for now";
        return Refusal::too_soon(wait, why).into_response();
    }
    // It may hang up: what was begun is brought to its end.
    let work = {
        let (office, username, key) = (office.clone(), username.clone(), key.name.clone());
        tokio::spawn(async move { revoke_user(&office, &username, Some(&key)).await })
    };
    let done = work.await;
    let failed = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed");
    match done.unwrap_or(Err(failed)) {
        Ok(ended) => {
            info!(key = key.name, user = ?username, ended, "an application revoked a user");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// The key of a request, if the token is right and the page it comes from may ask.
fn known<'s>(
    settings: &'s Settings,
    name: &str,
    headers: &HeaderMap,
    standing: &Standing,
) -> Result<&'s CredentialKey, Refusal> {
    let shown = bearer(headers).unwrap_or_default();
    let key = settings
        .credentials
        .keys
        .iter()
        .find(|key| key.name == name);
    // A key that is not there takes as long.
    let nothing = Secret::from("");
    let is_right = is_same(key.map_or(&nothing, |key| &key.token), shown);
    let Some(key) = key.filter(|_| is_right && !shown.is_empty()) else {
        return Err(unauthorized("the key or its token is wrong"));
    };
    standing.is_known();
    let origin = headers.get(header::ORIGIN);
    if let Some(origin) = origin
        && !key.origins.iter().any(|allowed| origin == allowed)
    {
        let why = "pages of this origin may not ask; `origins` of the key says which may";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    Ok(key)
}

/// OPTIONS of the above: a browser asks whether a page may.
pub(super) async fn preflight() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Tells browsers which pages may read an answer: those of any key, so that nobody learns here which keys there are.
pub(super) async fn cors(
    State(office): State<Arc<Office>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_preflight = request.method() == axum::http::Method::OPTIONS;
    let mut answer = next.run(request).await;
    let settings = office.service.settings();
    let mut origins = settings
        .credentials
        .keys
        .iter()
        .flat_map(|key| &key.origins);
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin
        && origins.any(|allowed| origin == allowed)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let shown = HeaderValue::from_static("Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
        if is_preflight {
            let fixed = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "Authorization, Content-Type",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT),
            ];
            for (name, value) in fixed {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }
    answer
}
