//! Durations, sizes and rates as people write them: `"10s"`, `"1h30m"`, `"512KiB"`, `"2Mbit/s"`.
//!
//! A bare number is refused on purpose: its unit would have to be guessed. Points in time are TOML's own, and need an
//! offset. Main functions: [`duration`], [`size`], [`rate`], [`unix_seconds`].

use std::time::Duration;

use toml::value::{Date, Datetime, Offset, Time};

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a duration such as \"500ms\", \"10s\", \"5m\", \"1h\" or \"1d\"";
/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a size such as \"4096B\", \"512KiB\" or \"4MiB\"";

/// What a rate looks like, for messages.
pub(super) const RATE: &str = "a rate such as \"500kbit/s\", \"2Mbit/s\" or \"1Gbit/s\"";

/// Reads a duration: whole numbers, each with a unit (`us`, `ms`, `s`, `m`, `h`, `d`), as in `"1h30m"`.
///
/// # Errors
/// A sentence saying what is wrong and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let refuse = |why: &str| Err(format!("`{text}` {why}; expected {DURATION}"));
    if rest.is_empty() {
        return refuse("is not a duration");
    }
    while !rest.is_empty() {
        let (number, unit, after) = match split(rest) {
            Ok(parts) => parts,
            Err(why) => return refuse(why),
        };
        rest = after;
        let microseconds = match unit {
            "us" => Some(1),
            "ms" => Some(1_000),
            "s" => Some(1_000_000),
            "m" => Some(60_000_000),
            "h" => Some(3_600_000_000),
            "d" => Some(86_400_000_000),
            "" => return refuse("has no unit"),
            _ => return refuse("has an unknown unit"),
        };
        let part = microseconds
            .and_then(|unit: u64| number.checked_mul(unit))
            .map(Duration::from_micros);
        match part.and_then(|part| total.checked_add(part)) {
            Some(sum) => total = sum,
            None => return refuse("is too long"),
        }
    }
    Ok(total)
}

/// Reads a size in bytes: a whole number with one unit (`B`, `KiB`, `MiB`, `GiB`; `kB`, `MB`, `GB` count in thousands).
///
/// # Errors
/// A sentence saying what is wrong and what would be right.
pub fn size(text: &str) -> Result<u64, String> {
    let refuse = |why: &str| Err(format!("`{text}` {why}; expected {SIZE}"));
    let (number, unit, after) = match split(text.trim()) {
        Ok(parts) => parts,
        Err(why) => return refuse(why),
    };
    if !after.is_empty() {
        return refuse("is not a size");
    }
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "" => return refuse("has no unit"),
        _ => return refuse("has an unknown unit"),
    };
    match number.checked_mul(bytes) {
        Some(bytes) => Ok(bytes),
        None => refuse("is too large"),
    }
}

/// Reads a rate in bits a second: a whole number with one unit (`bit/s`, `kbit/s`, `Mbit/s`, `Gbit/s`, in thousands).
///
/// # Errors
/// A sentence saying what is wrong and what would be right.
pub fn rate(text: &str) -> Result<u64, String> {
    let refuse = |why: &str| Err(format!("`{text}` {why}; expected {RATE}"));
    let (number, unit, after) = match split(text.trim()) {
        Ok(parts) => parts,
        Err(why) => return refuse(why),
    };
    let bits: u64 = match (unit, after) {
        ("bit", "/s") => 1,
        ("kbit", "/s") => 1_000,
        ("Mbit", "/s") => 1_000_000,
        ("Gbit", "/s") => 1_000_000_000,
        ("", "") => return refuse("has no unit"),
        ("bit" | "kbit" | "Mbit" | "Gbit", _) => return refuse("is not a rate"),
        _ => return refuse("has an unknown unit"),
    };
    match number.checked_mul(bits) {
        Some(bits) => Ok(bits),
        None => refuse("is too large"),
    }
}

/// Writes a rate the way [`rate`] reads it, in the largest unit that divides it.
pub fn show_rate(bits: u64) -> String {
    for (unit, size) in [
        ("Gbit/s", 1_000_000_000_u64),
        ("Mbit/s", 1_000_000),
        ("kbit/s", 1_000),
    ] {
        if bits >= size && bits.is_multiple_of(size) {
            return format!("{}{unit}", bits / size);
        }
    }
    format!("{bits}bit/s")
}

/// Writes a duration the way [`duration`] reads it, in the largest units that fit.
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_micros();
    let mut text = String::new();
    for (unit, microseconds) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ] {
        if left >= microseconds {
            text.push_str(&format!("{}{unit}", left / microseconds));
            left %= microseconds;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Writes a size the way [`size`] reads it, in the largest binary unit that divides it.
pub fn show_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// A date and time in Unix seconds; `None` without an offset, or before 1970. Leap seconds count as the second after.
pub fn unix_seconds(datetime: &Datetime) -> Option<u64> {
    let Datetime {
        date: Some(Date { year, month, day }),
        time:
            Some(Time {
                hour,
                minute,
                second,
                ..
            }),
        offset: Some(offset),
    } = *datetime
    else {
        return None;
    };
    // Counted from 1 March of the year 0, so that a leap day is the last of its year.
    let months = (i64::from(month) + 9) % 12;
    let years = i64::from(year) - i64::from(month < 3);
    let leap_days = years / 4 - years / 100 + years / 400;
    let days = years * 365 + leap_days + (months * 153 + 2) / 5 + i64::from(day) - 1;
    let since_1970 = days - 719_468;
    let minutes_ahead = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = (since_1970 * 24 + i64::from(hour)) * 60 + i64::from(minute) - minutes_ahead;
    u64::try_from(minutes * 60 + i64::from(second.unwrap_or(0))).ok()
}

/// The leading number and its unit, and what follows.
fn split(text: &str) -> Result<(u64, &str, &str), &'static str> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err("does not start with a number");
    }
    let number = number.parse().map_err(|_| "is too large")?;
    let rest = rest.trim_start();
    if rest.starts_with(['.', ',']) {
        return Err("is not a whole number");
    }
    let letters = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    Ok((number, unit, after.trim_start()))
}
