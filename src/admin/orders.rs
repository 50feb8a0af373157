//! What operators change: reload, drain, the log's level, revoked users.

use super::answer::{Answer, Refusal, json, ok, read};
use super::office::Office;
use super::sessions::is_user;
use crate::config;
use crate::service::{CannotServe, ReloadError};
use crate::telemetry::log::Levels;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// RFC 8489, section 14.3: USERNAME is shorter than 509 bytes.
pub(super) const LONGEST_NAME: usize = 508;

impl From<CannotServe> for Refusal {
    fn from(why: CannotServe) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, why.to_string())
    }
}

/// POST /v1/reload
pub(super) async fn reload(State(office): State<Arc<Office>>) -> Answer {
    match office.service.reload_and_tell().await {
        Ok(reloaded) => ok(&json!({
            "changed": reloaded.changed,
            "needs_restart": reloaded.needs_restart,
        })),
        Err(error) => {
            let status = match error {
                ReloadError::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
                ReloadError::NoFile | ReloadError::CannotServe(_) => StatusCode::CONFLICT,
            };
            Err(Refusal::new(status, error.reports().join("\n\n")))
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    draining: bool,
}

/// POST /v1/drain
pub(super) async fn drain(State(office): State<Arc<Office>>, body: Bytes) -> Answer {
    let order: Drain = read(&body)?;
    office.service.set_draining(order.draining).await;
    ok(&order)
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

fn levels(office: &Office) -> Result<&Levels, Refusal> {
    let none = || Refusal::new(StatusCode::CONFLICT, "this server has no log");
    office.service.levels().ok_or_else(none)
}

/// GET /v1/log
pub(super) async fn level(State(office): State<Arc<Office>>) -> Answer {
    let levels = levels(&office)?;
    ok(&Level {
        level: levels.current(),
    })
}

/// PUT /v1/log
pub(super) async fn set_level(State(office): State<Arc<Office>>, body: Bytes) -> Answer {
    let order: Level = read(&body)?;
    config::check_level(&order.level).map_err(Refusal::bad)?;
    levels(&office)?.set(&order.level).map_err(Refusal::bad)?;
    ok(&order)
}

/// GET /v1/revocations
pub(super) async fn revocations(State(office): State<Arc<Office>>) -> Answer {
    let revoked = office.service.revocations();
    let shown: Vec<_> = revoked
        .into_iter()
        .map(|(user, since)| json!({ "user": user, "since": since }))
        .collect();
    ok(&json!({ "revocations": shown }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    user: String,
}

/// POST /v1/revocations
pub(super) async fn revoke(State(office): State<Arc<Office>>, body: Bytes) -> Answer {
    let Revoke { user } = read(&body)?;
    let ended = revoke_user(&office, &user, None).await?;
    let told = json!({ "user": user, "ended": ended });
    Ok(json(StatusCode::CREATED, &told))
}

/// Revokes a user; how many sessions that ended.
pub(super) async fn revoke_user(
    office: &Office,
    user: &str,
    key: Option<&str>,
) -> Result<usize, Refusal> {
    if user.is_empty() || user.len() > LONGEST_NAME {
        return Err(Refusal::bad(format!(
            "`user` is 1 to {LONGEST_NAME} bytes long"
        )));
    }
    let sessions = office.service.control().sessions().await;
    let theirs = sessions
        .iter()
        .filter(|session| is_user(&session.user, user));
    let ended = theirs.count();
    office.service.revoke(user, key).await?;
    office.sampler.forget().await;
    Ok(ended)
}

/// DELETE /v1/revocations/{user}
pub(super) async fn unrevoke(
    State(office): State<Arc<Office>>,
    Path(user): Path<String>,
) -> Answer {
    if !office.service.unrevoke(&user).await {
        return Err(Refusal::missing(
            "this user is not revoked here; those of the configuration are revoked there",
        ));
    }
    ok(&json!({ "user": user }))
}
