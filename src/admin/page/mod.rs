//! The operator's page: three files, served as they are. What is on it, it asks for by the API like everybody else.
//!
//! Nothing in the files is secret, so that they are served without a token; the page asks for one and keeps it for as long
//! as its tab is open. The policy they are served with lets a browser load, run and ask nothing but what is of this server.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const CHARTS: &str = include_str!("charts.js");
const STYLE: &str = include_str!("style.css");

/// What a browser may do for the page. A form is never sent: the one for the token is read by the script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of a page, with its policy.
pub(super) fn file(kind: &'static str, text: &'static str) -> Response {
    let head = [
        (header::CONTENT_TYPE, kind),
        // A page of another version would ask for what is not there.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (head, text).into_response()
}

/// GET /
pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

/// GET /page.js
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// GET /charts.js
pub(super) async fn charts() -> Response {
    file("text/javascript; charset=utf-8", CHARTS)
}

/// GET /style.css
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}
