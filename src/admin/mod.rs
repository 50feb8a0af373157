//! HTTP for operators: `/metrics`, `/livez` and `/readyz`.
//!
//! It runs beside the workers, reads what they count and asks them by way of the [`Service`].

use crate::service::Service;
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The type Prometheus asks for.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves `/metrics` until it is dropped.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    service: Arc<Service>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(scrape))
        .with_state((metrics, service.clone()))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(service);
    axum::serve(listener, router).await
}

/// Whether all workers do what they are asked.
async fn live(State(service): State<Arc<Service>>) -> Response {
    let silent = service.control().silent_workers().await;
    if silent.is_empty() {
        return "ok\n".into_response();
    }
    let silent: Vec<String> = silent.iter().map(|worker| worker.0.to_string()).collect();
    let text = format!("workers without an answer: {}\n", silent.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Whether new clients are welcome.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    if service.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    live(State(service)).await
}

async fn scrape(State((metrics, service)): State<(Metrics, Arc<Service>)>) -> Response {
    match metrics.render(&service.facts()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
