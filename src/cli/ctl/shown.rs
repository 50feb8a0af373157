//! Answers of the server as people read them. A client chooses its user name, so nothing goes to a terminal that could
//! do something there.

use crate::cli::plain;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn text(value: &Value, key: &str) -> String {
    let found = value.get(key).and_then(Value::as_str);
    plain(found.unwrap_or_default())
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    let found = value.get(key).and_then(Value::as_array);
    found.into_iter().flatten()
}

/// Bytes with three digits or so.
pub(super) fn bytes(count: u64) -> String {
    let mut rest = count as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if rest < 1000.0 {
            return match unit {
                "B" => format!("{count} B"),
                _ if rest < 10.0 => format!("{rest:.1} {unit}"),
                _ => format!("{rest:.0} {unit}"),
            };
        }
        rest /= 1000.0;
    }
    format!("{rest:.0} PB")
}

/// Bytes a second, as bits: so lines are sold.
pub(super) fn rate(bytes_per_second: u64) -> String {
    let mut rest = bytes_per_second as f64 * 8.0;
    for unit in ["bit/s", "kbit/s", "Mbit/s"] {
        if rest < 1000.0 {
            return if rest < 10.0 && unit != "bit/s" {
                format!("{rest:.1} {unit}")
            } else {
                format!("{rest:.0} {unit}")
            };
        }
        rest /= 1000.0;
    }
    format!("{rest:.1} Gbit/s")
}

/// A time, in its two largest units.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The most important in one line.
pub(super) fn headline(status: &Value) -> String {
    let rates = &status["rates"];
    format!(
        "hairpin {}{}, up {}: {} sessions, {} to peers, {} to clients",
        text(status, "version"),
        match status["draining"].as_bool() {
            Some(true) => ", draining",
            _ => "",
        },
        age(number(status, "uptime_seconds")),
        number(status, "sessions"),
        rate(number(&rates["to_peers"], "bytes_per_second")),
        rate(number(&rates["to_clients"], "bytes_per_second")),
    )
}

pub(super) fn status(status: &Value) -> String {
    let mut out = format!("{}\n\n", headline(status));
    let workers = &status["workers"];
    let restarts = match number(workers, "restarts") {
        0 => String::new(),
        restarts => format!(", started again {restarts} times after failures: see the log"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "workers      {}{restarts}", number(workers, "count"));
    let _ = writeln!(
        out,
        "sessions     {} now, {} since the start",
        number(status, "sessions"),
        number(status, "sessions_total")
    );
    let ports = &status["ports"];
    let _ = writeln!(
        out,
        "ports        {} free, {} used, {} resting, {} reserved",
        number(ports, "free"),
        number(ports, "used"),
        number(ports, "quarantined"),
        number(ports, "reserved")
    );
    for listener in list(status, "listeners") {
        let proxied = match listener["proxied"].as_bool() {
            Some(true) => ", behind a proxy",
            _ => "",
        };
        let (transport, address) = (text(listener, "transport"), text(listener, "address"));
        let _ = writeln!(out, "listening    {transport:4} {address}{proxied}");
    }
    for relay in list(status, "relays") {
        let external = match relay["external"].as_str() {
            Some(external) => format!(", known as {}", plain(external)),
            None => String::new(),
        };
        let _ = writeln!(out, "relaying     {}{external}", text(relay, "address"));
    }
    for certificate in list(status, "certificates") {
        let names = list(certificate, "names").filter_map(Value::as_str);
        let _ = writeln!(
            out,
            "certificate  {}: {} days left, until {}",
            plain(&names.collect::<Vec<_>>().join(" ")),
            certificate["days_left"].as_i64().unwrap_or(0),
            text(certificate, "not_after")
        );
    }
    out
}

pub(super) fn session(session: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    let relayed = list(session, "relayed").filter_map(Value::as_str);
    let relayed = plain(&relayed.collect::<Vec<_>>().join(", "));
    line("session", text(session, "id"));
    line("user", text(session, "user"));
    line(
        "path",
        format!(
            "{} -> {} ({}) -> {relayed} ({}) -> peers",
            text(session, "client"),
            text(session, "server"),
            text(session, "transport"),
            text(session, "protocol")
        ),
    );
    line("age", age(number(session, "age_seconds")));
    line(
        "ends",
        format!(
            "in {} unless it is refreshed",
            age(number(session, "expires_in_seconds"))
        ),
    );
    if let Some(seconds) = session["credential_expires_in_seconds"].as_u64() {
        line("credential", format!("expires in {}", age(seconds)));
    }
    if session["away"].as_bool() == Some(true) {
        line(
            "away",
            "its client's connection closed; it may come back".to_owned(),
        );
    }
    for (name, key) in [("to peers", "to_peers"), ("to client", "to_client")] {
        let way = &session[key];
        line(
            name,
            format!(
                "{} packets, {}, now {}",
                number(way, "packets"),
                bytes(number(way, "bytes")),
                rate(number(way, "bytes_per_second"))
            ),
        );
    }
    for permitted in list(session, "permitted") {
        let inside = match permitted["inside_only"].as_bool() {
            Some(true) => ", inside this server only",
            _ => "",
        };
        let left = age(number(permitted, "expires_in_seconds"));
        line(
            "permission",
            format!("{} for {left}{inside}", text(permitted, "peer")),
        );
    }
    for channel in list(session, "bound_channels") {
        let left = age(number(channel, "expires_in_seconds"));
        let (number, peer) = (text(channel, "number"), text(channel, "peer"));
        line("channel", format!("{number} to {peer} for {left}"));
    }
    for peer in list(session, "connections").filter_map(Value::as_str) {
        line("connection", plain(peer));
    }
    for peer in list(session, "peers") {
        let way = |key: &str| rate(number(&peer[key], "bytes_per_second"));
        let (to, from) = (way("to_peer"), way("to_client"));
        line(
            "traffic",
            format!("{}: {to} to it, {from} from it", text(peer, "peer")),
        );
    }
    out
}

pub(super) fn ended(answer: &Value) -> String {
    match number(answer, "ended") {
        0 => "there was no session\n".to_owned(),
        1 => "1 session has ended\n".to_owned(),
        ended => format!("{ended} sessions have ended\n"),
    }
}

pub(super) fn why(answer: &Value) -> String {
    let mut out = String::new();
    for refusal in list(answer, "refusals") {
        let count = match number(refusal, "count") {
            0 | 1 => String::new(),
            count => format!(", {count} times in a row"),
        };
        let transport = refusal["transport"].as_str();
        let transport = transport.map(|transport| format!(" over {transport}"));
        let _ = writeln!(
            out,
            "{} ago{count}: {}{}",
            age(number(refusal, "seconds_ago")),
            text(refusal, "client"),
            plain(&transport.unwrap_or_default())
        );
        if let Some(user) = refusal["user"].as_str() {
            let _ = writeln!(out, "  user {}", plain(user));
        }
        let _ = writeln!(
            out,
            "  {}\n  {}\n",
            text(refusal, "what"),
            text(refusal, "advice")
        );
    }
    if out.is_empty() {
        return "Nothing of this client was refused lately. If its calls fail nevertheless, its packets may not arrive: \
                look for it in `hairpin ctl sessions`, and at the firewalls between.\n"
            .to_owned();
    }
    out
}

pub(super) fn reloaded(answer: &Value) -> String {
    let mut out = String::new();
    let change = |change: &Value| {
        let (key, from, to) = (text(change, "key"), &change["from"], &change["to"]);
        match (from.as_str(), to.as_str()) {
            (Some(from), Some(to)) if from == to => format!("{key} is another"),
            (Some(from), Some(to)) => format!("{key}: {} is now {}", plain(from), plain(to)),
            (None, Some(to)) => format!("{key}: {} is new", plain(to)),
            (from, None) => format!("{key}: {} is gone", plain(from.unwrap_or("it"))),
        }
    };
    for changed in list(answer, "changed") {
        let _ = writeln!(out, "{}", change(changed));
    }
    for waiting in list(answer, "needs_restart") {
        let _ = writeln!(out, "after a restart: {}", change(waiting));
    }
    if out.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    out
}

pub(super) fn drained(answer: &Value) -> String {
    match answer["draining"].as_bool() {
        Some(true) => "new sessions are refused; those there are go on\n".to_owned(),
        _ => "new sessions are taken\n".to_owned(),
    }
}

pub(super) fn level(answer: &Value) -> String {
    format!("{}\n", text(answer, "level"))
}

pub(super) fn revoked(answer: &Value) -> String {
    let ended = number(answer, "ended");
    format!(
        "{} is refused from now on; {ended} sessions ended\n",
        text(answer, "user")
    )
}

pub(super) fn unrevoked(answer: &Value) -> String {
    format!("{} is let in again\n", text(answer, "user"))
}
