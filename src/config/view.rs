//! Settings as operators are shown them: written as in the configuration file, secrets masked; and what is different
//! between two of them.
//!
//! Main items: [`Settings::shown`], [`changes`], [`Change`].

use super::certificate::Certificate;
use super::settings::Settings;
use super::units;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A setting that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where it stands in the configuration file: `limits.allocations`, `listener[0].address`.
    pub key: String,
    /// What it was, `None` where it was not there.
    pub from: Option<String>,
    /// What it is, `None` where it is gone.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { key, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) if from == to => write!(f, "{key} is another"),
            (Some(from), Some(to)) => write!(f, "{key}: {from} is now {to}"),
            (None, Some(to)) => write!(f, "{key}: {to} is new"),
            (_, None) => write!(f, "{key}: {} is gone", from.as_deref().unwrap_or("it")),
        }
    }
}

impl Settings {
    /// The settings as JSON, by the names they have in the configuration file.
    #[must_use]
    pub fn shown(&self) -> Value {
        // Every key is a name and every value has a form in JSON.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What is different, in the order of the keys. Of secrets and private keys it is only said that they are others.
#[must_use]
pub fn changes(old: &Settings, new: &Settings) -> Vec<Change> {
    let (before, after) = (flat(&old.shown()), flat(&new.shown()));
    let keys = before
        .keys()
        .chain(after.keys().filter(|key| !before.contains_key(*key)));
    let mut changes: Vec<Change> = keys
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Change {
            key: key.clone(),
            from: before.get(key).cloned(),
            to: after.get(key).cloned(),
        })
        .collect();
    let external = |of: &Settings| {
        let acme = of.tls.acme.as_ref();
        acme.and_then(|acme| acme.external_account.clone())
    };
    let masked = [
        ("auth.secrets", old.auth.secrets != new.auth.secrets),
        ("auth.user", old.auth.users != new.auth.users),
        ("auth.nonce_key", old.auth.nonce_key != new.auth.nonce_key),
        ("oauth.key", old.oauth.keys != new.oauth.keys),
        ("admin.token", old.admin.tokens != new.admin.tokens),
        (
            "credentials.key",
            old.credentials.keys != new.credentials.keys,
        ),
        (
            "accounting.webhook",
            old.accounting.webhook != new.accounting.webhook,
        ),
        (
            "tls.certificate",
            old.tls.certificates != new.tls.certificates,
        ),
        ("tls.acme.external_account", external(old) != external(new)),
    ];
    for (key, is_other) in masked {
        if is_other && !changes.iter().any(|change| change.key.starts_with(key)) {
            changes.push(Change {
                key: key.to_owned(),
                from: Some("***".to_owned()),
                to: Some("***".to_owned()),
            });
        }
    }
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    changes
}

/// Every value with the way to it.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn walk(key: String, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let dot = if key.is_empty() { "" } else { "." };
                    walk(format!("{key}{dot}{name}"), value, into);
                }
            }
            Value::Array(elements) if elements.iter().any(Value::is_object) => {
                for (place, value) in elements.iter().enumerate() {
                    walk(format!("{key}[{place}]"), value, into);
                }
            }
            Value::Null => {}
            Value::String(text) => {
                into.insert(key, text.clone());
            }
            other => {
                into.insert(key, other.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(String::new(), value, &mut all);
    all
}

pub(super) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::show_duration(*value))
}

pub(super) fn rate<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::show_rate(*value))
}

impl Serialize for Certificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = Map::new();
        shown.insert("file".into(), self.file().display().to_string().into());
        shown.insert("names".into(), self.names().into());
        shown.insert("not_after".into(), self.not_after_date().into());
        shown.serialize(serializer)
    }
}
