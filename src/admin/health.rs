//! `/metrics`, `/livez` and `/readyz`: for machines that look after the server.

use super::office::Office;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The type Prometheus asks for.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether all workers do what they are asked.
pub(super) async fn live(State(office): State<Arc<Office>>) -> Response {
    told(office.readiness.workers(&office).await)
}

/// Whether new clients are welcome, and each listener answers.
pub(super) async fn ready(State(office): State<Arc<Office>>) -> Response {
    if office.service.is_draining() {
        return told(Err("draining".to_owned()));
    }
    told(office.readiness.everything(&office).await)
}

fn told(found: Result<(), String>) -> Response {
    match found {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

pub(super) async fn scrape(State(office): State<Arc<Office>>) -> Response {
    let mut facts = office.service.facts();
    facts.closed_connections = office.closed_connections.load(Ordering::Relaxed);
    for key in &mut facts.keys {
        let had = office.minting.of(&key.name);
        (key.made, key.refused) = (had.made, had.refused);
    }
    match office.metrics.render(&facts) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
