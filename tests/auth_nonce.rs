//! Nonces: good for one client and a while, worthless otherwise, and nothing is remembered.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::SocketAddr;

use hairpin::auth::{Nonce, NonceKeys, NonceVerdict};
use proptest::prelude::*;

const LIFETIME: u32 = 3600;
const REALM: &str = "example.org";
const UDP: u8 = 17;

fn keys() -> NonceKeys {
    NonceKeys::new([42; 32], LIFETIME)
}

fn client(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn fresh(now: u64, from: &str, nonce: &[u8]) -> bool {
    keys().check(now, client(from), UDP, REALM, nonce) == NonceVerdict::Fresh
}

fn mint(now: u64, to: &str) -> Nonce {
    keys().mint(now, client(to), UDP, REALM, 0x0123_4567)
}

#[test]
fn s_auth_09_a_nonce_is_good_at_once_and_on_every_worker() {
    let nonce = mint(1_000_000, "8.8.8.8:5000");
    assert!(fresh(1_000_000, "8.8.8.8:5000", nonce.as_bytes()));
    // A worker that read its clock a little earlier takes it too.
    assert!(fresh(999_995, "8.8.8.8:5000", nonce.as_bytes()));
    assert!(!fresh(999_994, "8.8.8.8:5000", nonce.as_bytes()));
}

#[test]
fn s_auth_11_a_nonce_is_worthless_to_another_client() {
    let nonce = mint(1_000_000, "8.8.8.8:5000");
    let now = 1_000_001;
    assert!(!fresh(now, "8.8.8.8:5001", nonce.as_bytes()));
    assert!(!fresh(now, "8.8.8.9:5000", nonce.as_bytes()));
    assert!(!fresh(now, "[2a00::1]:5000", nonce.as_bytes()));
    let other = |transport, realm| {
        keys().check(
            now,
            client("8.8.8.8:5000"),
            transport,
            realm,
            nonce.as_bytes(),
        )
    };
    assert_eq!(other(6, REALM), NonceVerdict::Stale);
    assert_eq!(other(UDP, "example.com"), NonceVerdict::Stale);
    let foreign = NonceKeys::new([43; 32], LIFETIME);
    assert_eq!(
        foreign.check(now, client("8.8.8.8:5000"), UDP, REALM, nonce.as_bytes()),
        NonceVerdict::Stale
    );
}

#[test]
fn a_client_seen_in_mapped_form_is_the_same_client() {
    let nonce = mint(1_000_000, "[::ffff:8.8.8.8]:5000");
    assert!(fresh(1_000_000, "8.8.8.8:5000", nonce.as_bytes()));
}

#[test]
fn s_auth_12_a_nonce_lives_exactly_its_lifetime_across_key_epochs() {
    // 1_000_000 lies inside an epoch, 7_200 at the start of one and 7_199 at the end of one.
    for made in [1_000_000, 7_200, 7_199, 0] {
        let nonce = mint(made, "8.8.8.8:5000");
        for age in [0, 1, 1800, 3599, 3600] {
            assert!(fresh(made + age, "8.8.8.8:5000", nonce.as_bytes()), "{age}");
        }
        for age in [3601, 7200, 1 << 32, (1 << 32) + 3601] {
            assert!(
                !fresh(made + age, "8.8.8.8:5000", nonce.as_bytes()),
                "{age}"
            );
        }
    }
}

#[test]
fn a_nonce_of_the_future_is_stale() {
    let nonce = mint(1_000_000, "8.8.8.8:5000");
    assert!(!fresh(990_000, "8.8.8.8:5000", nonce.as_bytes()));
    assert!(!fresh(0, "8.8.8.8:5000", nonce.as_bytes()));
}

#[test]
fn time_may_pass_the_end_of_the_timestamp() {
    let made = (1_u64 << 32) - 10;
    let nonce = mint(made, "8.8.8.8:5000");
    assert!(fresh(made + 20, "8.8.8.8:5000", nonce.as_bytes()));
    assert!(!fresh(made + 3601, "8.8.8.8:5000", nonce.as_bytes()));
    let last = mint(u64::MAX, "8.8.8.8:5000");
    assert!(fresh(u64::MAX, "8.8.8.8:5000", last.as_bytes()));
    assert!(!fresh(u64::MAX - 100, "8.8.8.8:5000", last.as_bytes()));
}

#[test]
fn any_lifetime_gives_nonces_that_work() {
    for lifetime in [0, 1, u32::MAX] {
        let keys = NonceKeys::new([1; 32], lifetime);
        let at = client("8.8.8.8:1");
        let nonce = keys.mint(1000, at, UDP, REALM, 9);
        let verdict = keys.check(1000, at, UDP, REALM, nonce.as_bytes());
        assert_eq!(verdict, NonceVerdict::Fresh, "{lifetime}");
    }
}

#[test]
fn s_auth_10_and_14_a_thousand_nonces_differ_and_are_legal_text() {
    let mut seen = HashSet::new();
    for number in 0..1000_u32 {
        let to = SocketAddr::from(([8, 8, 8, 8], 1000 + (number % 500) as u16));
        let nonce = keys().mint(1_000_000, to, UDP, REALM, number);
        let text = nonce.as_bytes();
        assert!(text.len() <= Nonce::MAX_LENGTH);
        assert!(
            text.iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        );
        assert!(seen.insert(text.to_vec()));
    }
}

#[test]
fn nothing_secret_is_printed() {
    assert_eq!(
        format!("{:?}", keys()),
        "NonceKeys { lifetime_seconds: 3600, .. }"
    );
    assert_eq!(format!("{:?}", mint(0, "8.8.8.8:1")), "Nonce(***)");
}

proptest! {
    #[test]
    fn s_auth_13_a_nonce_with_any_change_is_stale(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        tail in proptest::collection::vec(any::<u8>(), 1..4),
    ) {
        let nonce = mint(1_000_000, "8.8.8.8:5000");
        let original = nonce.as_bytes().to_vec();

        let mut changed = original.clone();
        changed[place.index(original.len())] = byte;
        let same = changed == original;
        prop_assert_eq!(fresh(1_000_000, "8.8.8.8:5000", &changed), same);

        let shortened = &original[..cut.index(original.len())];
        prop_assert!(!fresh(1_000_000, "8.8.8.8:5000", shortened));
        let longer = [original.as_slice(), &tail].concat();
        prop_assert!(!fresh(1_000_000, "8.8.8.8:5000", &longer));
    }

    #[test]
    fn s_auth_16_any_bytes_at_all_are_only_stale(
        bytes in proptest::collection::vec(any::<u8>(), 0..800),
        now in any::<u64>(),
    ) {
        prop_assert!(!fresh(now, "8.8.8.8:5000", &bytes));
    }
}
