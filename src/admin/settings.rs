//! The settings in force, secrets masked.

use super::answer::{Answer, ok};
use super::office::Office;
use axum::extract::State;
use std::sync::Arc;

/// GET /v1/settings
pub(super) async fn show(State(office): State<Arc<Office>>) -> Answer {
    ok(&office.service.settings().shown())
}
