//! The list of what there is to ask. What is not here does not exist; [`routes`] lets a test see that `openapi.json`
//! describes all of it.

use super::answer::Refusal;
use super::guard::{Need, guard};
use super::office::Office;
use super::{
    credentials, examination, health, history, limits, orders, page, refusals, sessions, settings,
    status, tester,
};
use crate::config::Scope;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, options, post, put};
use std::sync::Arc;

/// The longest body.
const BODY: usize = 64 << 10;

/// Which part of it is offered at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// All.
    Everything,
    /// Metrics and health, for which nobody has to show anything.
    Metrics,
    /// What applications ask for.
    Credentials,
    /// The page that users test their network with.
    Tester,
}

/// What is offered where nobody has to show anything.
const METRICS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

struct Route {
    method: &'static str,
    path: &'static str,
    need: Need,
    handler: MethodRouter<Arc<Office>>,
}

fn table() -> Vec<Route> {
    const READ: Need = Need::Scope(Scope::Read);
    const OPERATE: Need = Need::Scope(Scope::Operate);
    const GENERATE: &str = "/v1/turn/keys/{key}/credentials/generate";
    const ICE_SERVERS: &str = "/v1/turn/keys/{key}/credentials/generate-ice-servers";
    const REVOKE: &str = "/v1/turn/keys/{key}/credentials/{username}/revoke";
    let all = [
        ("GET", "/", Need::Nothing, get(page::index)),
        ("GET", "/page.js", Need::Nothing, get(page::script)),
        ("GET", "/charts.js", Need::Nothing, get(page::charts)),
        ("GET", "/style.css", Need::Nothing, get(page::style)),
        ("GET", "/test", Need::Nothing, get(tester::index)),
        ("GET", "/test/page.js", Need::Nothing, get(tester::script)),
        (
            "GET",
            "/test/measure.js",
            Need::Nothing,
            get(tester::measure),
        ),
        ("GET", "/test/report.js", Need::Nothing, get(tester::report)),
        ("GET", "/test/style.css", Need::Nothing, get(tester::style)),
        ("GET", "/test/words.json", Need::Nothing, get(tester::words)),
        ("POST", "/v1/test", Need::Tester, post(tester::begin)),
        ("GET", "/livez", Need::Nothing, get(health::live)),
        ("GET", "/readyz", Need::Nothing, get(health::ready)),
        ("GET", "/metrics", READ, get(health::scrape)),
        ("GET", "/v1/openapi.json", READ, get(openapi)),
        ("GET", "/v1/status", READ, get(status::show)),
        ("GET", "/v1/history", READ, get(history::show)),
        ("GET", "/v1/doctor", READ, get(examination::show)),
        ("GET", "/v1/settings", READ, get(settings::show)),
        ("GET", "/v1/sessions", READ, get(sessions::list)),
        ("DELETE", "/v1/sessions", OPERATE, delete(sessions::end_all)),
        ("GET", "/v1/sessions/{id}", READ, get(sessions::show)),
        (
            "DELETE",
            "/v1/sessions/{id}",
            OPERATE,
            delete(sessions::end),
        ),
        ("GET", "/v1/limits", READ, get(limits::show)),
        ("GET", "/v1/peers", READ, get(limits::judge)),
        ("GET", "/v1/refusals", READ, get(refusals::list)),
        ("POST", "/v1/reload", OPERATE, post(orders::reload)),
        ("POST", "/v1/drain", OPERATE, post(orders::drain)),
        ("GET", "/v1/log", READ, get(orders::level)),
        ("PUT", "/v1/log", OPERATE, put(orders::set_level)),
        (
            "POST",
            "/v1/credentials",
            OPERATE,
            post(credentials::for_operator),
        ),
        ("GET", "/v1/revocations", READ, get(orders::revocations)),
        ("POST", "/v1/revocations", OPERATE, post(orders::revoke)),
        (
            "DELETE",
            "/v1/revocations/{user}",
            OPERATE,
            delete(orders::unrevoke),
        ),
        (
            "POST",
            ICE_SERVERS,
            Need::Own,
            post(credentials::ice_servers),
        ),
        (
            "OPTIONS",
            ICE_SERVERS,
            Need::Own,
            options(credentials::preflight),
        ),
        ("POST", GENERATE, Need::Own, post(credentials::one_server)),
        (
            "OPTIONS",
            GENERATE,
            Need::Own,
            options(credentials::preflight),
        ),
        ("POST", REVOKE, Need::Own, post(credentials::revoke)),
        (
            "OPTIONS",
            REVOKE,
            Need::Own,
            options(credentials::preflight),
        ),
    ];
    let route = |(method, path, need, handler)| Route {
        method,
        path,
        need,
        handler,
    };
    all.into_iter().map(route).collect()
}

/// Every method and path that is served.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str)> {
    let all = table().into_iter();
    all.map(|route| (route.method, route.path)).collect()
}

/// What is served at a door.
pub(super) fn router(office: &Arc<Office>, offer: Offer) -> Router {
    let mut router = Router::new();
    for route in table() {
        let need = match offer {
            Offer::Everything => route.need,
            Offer::Metrics if METRICS.contains(&route.path) => Need::Nothing,
            Offer::Metrics => continue,
            Offer::Credentials if route.need != Need::Own => continue,
            Offer::Credentials => route.need,
            Offer::Tester if tester::is_part(route.path) => route.need,
            Offer::Tester => continue,
        };
        let mut handler = route
            .handler
            .route_layer(from_fn_with_state((office.clone(), need), guard));
        if need == Need::Own {
            handler = handler.route_layer(from_fn_with_state(office.clone(), credentials::cors));
        }
        router = router.route(route.path, handler);
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(worded))
        .with_state(office.clone())
}

/// What the router itself refuses, such as a body that is too long, is told as everything else is.
async fn worded(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let answer = next.run(request).await;
    let status = answer.status();
    let is_api = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    if is_api || !(status.is_client_error()) {
        return answer;
    }
    let why = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too long",
        _ => "the request cannot be understood",
    };
    Refusal::new(status, why).into_response()
}

async fn nothing() -> Refusal {
    Refusal::missing("there is nothing at this path; /v1/openapi.json says what there is")
}

async fn not_so() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path is not for this method; /v1/openapi.json says what there is",
    )
}

/// GET /v1/openapi.json
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::OPENAPI).into_response()
}
