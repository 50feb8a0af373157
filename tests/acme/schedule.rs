//! When the next order is due, as numbers.

use std::time::Duration;

use hairpin::acme::schedule::{Hold, renewal, rest_after_failures, rest_after_success};

const DAY: i64 = 86400;

#[test]
fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
    assert_eq!(renewal(1000, 1000 + 90 * DAY, 0.0), 1000 + 60 * DAY);
    assert_eq!(renewal(1000, 1000 + 6 * DAY, 0.0), 1000 + 4 * DAY);
}

#[test]
fn servers_that_were_started_together_renew_apart_but_in_time() {
    let (early, late) = (renewal(0, 90 * DAY, 0.0), renewal(0, 90 * DAY, 1.0));
    assert_eq!(late - early, 90 * DAY / 50);
    assert!(late < 65 * DAY);
}

#[test]
fn a_certificate_whose_life_makes_no_sense_does_not_have_the_authority_asked_without_end() {
    assert!(rest_after_success(1000, 500, 500) > 1000);
    assert!(rest_after_success(1000, 700, 500) > 1000);
    assert!(rest_after_success(1000, 0, 100) >= 1010);
    assert_eq!(rest_after_success(0, i64::MIN, i64::MAX), 7 * DAY);
    assert!(renewal(i64::MIN, i64::MAX, 1.0) < i64::MAX);
}

#[test]
fn failures_are_tried_again_later_and_later_but_four_times_a_day() {
    let rests: Vec<u64> = [1, 2, 3, 8, 9, 33, u32::MAX]
        .map(|failures| rest_after_failures(failures, None, 0.0).as_secs())
        .to_vec();
    assert_eq!(rests, [120, 240, 480, 15360, 21600, 21600, 21600]);
    assert_eq!(rest_after_failures(1, None, 1.0).as_secs(), 150);
}

#[test]
fn a_name_is_not_proved_in_vain_more_than_five_times_an_hour() {
    let mut at = Duration::ZERO;
    let mut tries = 1;
    for failures in 1.. {
        at += rest_after_failures(failures, None, 0.0);
        if at > Duration::from_secs(3600) {
            break;
        }
        tries += 1;
    }
    assert!(tries <= 5, "{tries}");
}

#[test]
fn what_the_authority_asks_for_is_kept_up_to_a_week() {
    let told = |seconds| rest_after_failures(1, Some(Duration::from_secs(seconds)), 0.0).as_secs();
    assert_eq!(told(10), 120);
    assert_eq!(told(50_000), 50_000);
    assert_eq!(told(u64::MAX), 7 * 86400);
}

#[test]
fn a_reload_after_a_failure_leaves_only_what_the_authority_said() {
    let failed = Hold::default().failed(1000, None, 0.0);
    assert_eq!(failed.until(), 1120);
    assert_eq!(failed.reloaded().until(), 0);
    let wait = |seconds| Some(Duration::from_secs(seconds));
    // It wants less than a server waits by itself, or more.
    let failed = Hold::default().failed(1000, wait(10), 0.0);
    assert_eq!((failed.until(), failed.reloaded().until()), (1120, 1010));
    let failed = Hold::default().failed(1000, wait(5000), 0.0);
    assert_eq!((failed.until(), failed.reloaded().until()), (6000, 6000));
    let failed = Hold::default().failed(1000, wait(u64::MAX), 0.0);
    assert_eq!(failed.reloaded().until(), 1000 + 7 * DAY);
}

#[test]
fn failures_count_on_over_a_reload_and_end_with_a_certificate() {
    let failed = Hold::default().failed(1000, None, 0.0).reloaded();
    assert_eq!(failed.failed(1010, None, 0.0).until(), 1010 + 240);
    let got = Hold::succeeded(1000, 0, 100_000);
    assert_eq!(got.until(), 11_000);
    assert_eq!(got.failed(20_000, None, 0.0).until(), 20_120);
}

#[test]
fn a_reload_after_a_certificate_asks_for_no_other_but_other_names_do() {
    let got = Hold::succeeded(1000, 0, 100_000);
    assert_eq!(got.reloaded().until(), 11_000);
    assert_eq!(got.for_another().until(), 0);
}
