//! A certificate that ends soon, in the course of weeks.

use crate::rig::{from_params, params};
use hairpin::cli::reminder::Reminder;
use hairpin::config::{self, Settings};
use std::fs;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// 2030-01-01.
const START: i64 = 1_893_456_000;

/// Settings with a certificate that ends on 2030-02-01 and one that lasts.
fn settings(folder: &tempfile::TempDir) -> Settings {
    let mut text = "[[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5349\"\n".to_owned();
    for (name, month) in [("short", 2), ("long", 12)] {
        let mut params = params(&["localhost"]);
        params.not_before = rcgen::date_time_ymd(2029, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, month, 1);
        let made = from_params(params);
        let file = |kind| folder.path().join(format!("{name}.{kind}"));
        fs::write(file("pem"), &made.certificate).unwrap();
        fs::write(file("key"), &made.key).unwrap();
        text += &format!(
            "[[tls.certificate]]\ncertificate = {:?}\nkey = {:?}\n",
            file("pem"),
            file("key")
        );
    }
    config::parse(&text, "hairpin.toml").unwrap()
}

#[test]
fn a_certificate_that_ends_within_two_weeks_is_warned_of_each_day_until_it_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut reminder = Reminder::new(START);
    let mut said = Vec::new();
    for hour in 0..40 * 24 {
        let now = START + hour * HOUR;
        for sentence in reminder.due(&settings, now) {
            assert!(sentence.contains("short.pem"), "{sentence}");
            let has_ended = sentence.contains("expired on 2030-02-01");
            assert!(has_ended || sentence.contains("expires on 2030-02-01"));
            said.push((hour / 24, hour % 24, has_ended));
        }
    }
    // From 14 days before on, once a day at the same time; 31 days after the start it has ended.
    let expected: Vec<_> = (18..40).map(|day| (day, 0, day > 31)).collect();
    assert_eq!(said, expected);
    // Another is in its place.
    let mut renewed = settings.clone();
    renewed.tls.certificates.remove(0);
    assert_eq!(reminder.due(&renewed, START + 41 * DAY), [""; 0]);
}

#[test]
fn what_was_said_at_the_start_is_not_said_again_before_a_day_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let late = START + 30 * DAY;
    let mut reminder = Reminder::new(late);
    assert_eq!(reminder.due(&settings, late), [""; 0]);
    assert_eq!(reminder.due(&settings, late + DAY - 1), [""; 0]);
    assert_eq!(reminder.due(&settings, late + DAY).len(), 1);
    assert_eq!(reminder.due(&settings, late + DAY + 1), [""; 0]);
    // However late somebody looks, it is a day until the next.
    assert_eq!(reminder.due(&settings, late + 5 * DAY).len(), 1);
    assert_eq!(reminder.due(&settings, late + 6 * DAY - 1), [""; 0]);
    // A clock that was ten years ahead does not silence it for ten years.
    let mut ahead = Reminder::new(late + 3650 * DAY);
    assert_eq!(ahead.due(&settings, late), [""; 0]);
    assert_eq!(ahead.due(&settings, late + DAY).len(), 1);
}
