//! Nonces: good for one client and a while, worthless otherwise, and nothing is remembered.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::SocketAddr;

use hairpin::auth::{Nonce, NonceKeys, NonceScope, NonceVerdict, Offer};
use hairpin::wire::PasswordAlgorithm;
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

fn offer() -> Offer {
    Offer::new(&[PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5], true)
}

fn scope(of: &str) -> NonceScope<'static> {
    NonceScope {
        client: client(of),
        transport: UDP,
        realm: REALM,
        offer: offer(),
    }
}

fn fresh(now: u64, from: &str, nonce: &[u8]) -> bool {
    keys().check(now, &scope(from), nonce) == NonceVerdict::Fresh
}

fn mint(now: u64, to: &str) -> Nonce {
    keys().mint(now, &scope(to), 0x0123_4567)
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
    let here = scope("8.8.8.8:5000");
    for other in [
        NonceScope {
            transport: 6,
            ..here
        },
        NonceScope {
            realm: "example.com",
            ..here
        },
        NonceScope {
            offer: Offer::NONE,
            ..here
        },
    ] {
        let verdict = keys().check(now, &other, nonce.as_bytes());
        assert_eq!(verdict, NonceVerdict::Stale, "{other:?}");
    }
    let foreign = NonceKeys::new([43; 32], LIFETIME);
    assert_eq!(
        foreign.check(now, &here, nonce.as_bytes()),
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
        for age in [3601, 7200, 1 << 21, (1 << 21) + 3600, 1 << 32] {
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
    let made = (1_u64 << 21) - 10;
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
        let at = scope("8.8.8.8:1");
        let nonce = keys.mint(1000, &at, 9);
        let verdict = keys.check(1000, &at, nonce.as_bytes());
        assert_eq!(verdict, NonceVerdict::Fresh, "{lifetime}");
    }
}

#[test]
fn s_auth_10_and_14_a_thousand_nonces_differ_and_are_legal_text() {
    let mut seen = HashSet::new();
    for number in 0..1000_u32 {
        let to = NonceScope {
            client: SocketAddr::from(([8, 8, 8, 8], 1000 + (number % 500) as u16)),
            ..scope("8.8.8.8:1")
        };
        let nonce = keys().mint(1_000_000, &to, number);
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
fn s_pwa_01_02_17_a_nonce_starts_with_the_cookie_and_the_feature_bits() {
    use PasswordAlgorithm::{Md5, Sha256};
    let heads = [
        (Offer::NONE, "obMatJos2AAAA", &[][..]),
        (
            Offer::new(&[Sha256, Md5], false),
            "obMatJos2gAAA",
            &[0, 2, 0, 0, 0, 1, 0, 0],
        ),
        (Offer::new(&[], true), "obMatJos2QAAA", &[]),
        (
            Offer::new(&[Md5, Sha256, Md5], true),
            "obMatJos2wAAA",
            &[0, 1, 0, 0, 0, 2, 0, 0],
        ),
        (Offer::new(&[Md5], true), "obMatJos2wAAA", &[0, 1, 0, 0]),
        (
            Offer::new(&[Sha256, Sha256], false),
            "obMatJos2gAAA",
            &[0, 2, 0, 0],
        ),
    ];
    for (offer, head, algorithms) in heads {
        let to = NonceScope {
            offer,
            ..scope("8.8.8.8:1")
        };
        let nonce = keys().mint(1_000_000, &to, 7);
        assert_eq!(nonce.as_bytes().len(), 44);
        assert!(nonce.as_bytes().starts_with(head.as_bytes()), "{offer:?}");
        assert_eq!(offer.password_algorithms(), algorithms);
        assert_eq!(Nonce::offer_of(nonce.as_bytes()), Some(offer));
        let verdict = keys().check(1_000_000, &to, nonce.as_bytes());
        assert_eq!(verdict, NonceVerdict::Fresh);
    }
}

#[test]
fn s_pwa_10_other_feature_bits_spoil_a_nonce() {
    let nonce = mint(1_000_000, "8.8.8.8:5000");
    for bits in ["AAAA", "gAAA", "QAAA", "wAAB", "waaa"] {
        let mut tampered = nonce.as_bytes().to_vec();
        tampered[9..13].copy_from_slice(bits.as_bytes());
        assert!(!fresh(1_000_000, "8.8.8.8:5000", &tampered), "{bits}");
        // Nor where the server now offers what the bits say.
        if let Some(offer) = Nonce::offer_of(&tampered) {
            let now = NonceScope {
                offer,
                ..scope("8.8.8.8:5000")
            };
            let verdict = keys().check(1_000_000, &now, &tampered);
            assert_eq!(verdict, NonceVerdict::Stale, "{bits}");
        }
    }
}

#[test]
fn s_alt_06_servers_with_one_key_accept_each_others_nonces() {
    let (a, b) = (
        NonceKeys::shared(b"a key of all servers", LIFETIME),
        NonceKeys::shared(b"a key of all servers", LIFETIME),
    );
    let at = scope("8.8.8.8:5000");
    let nonce = a.mint(1_000_000, &at, 7);
    let verdict = b.check(1_000_000, &at, nonce.as_bytes());
    assert_eq!(verdict, NonceVerdict::Fresh);
    let others = NonceKeys::shared(b"a key of others", LIFETIME);
    let verdict = others.check(1_000_000, &at, nonce.as_bytes());
    assert_eq!(verdict, NonceVerdict::Stale);
}

#[test]
fn s_alt_06_s_auth_11_a_redirected_clients_nonce_holds_for_its_host_for_a_minute() {
    let keys = NonceKeys::shared(b"a key of all servers", LIFETIME);
    let at = scope("8.8.8.8:5000");
    let nonce = keys.mint_redirect(1_000_000, &at, 7).unwrap();
    let check = |now, from| keys.check(now, &scope(from), nonce.as_bytes());
    for from in ["8.8.8.8:5000", "8.8.8.8:6000"] {
        assert_eq!(check(1_000_000, from), NonceVerdict::Redirected);
        assert_eq!(check(1_000_060, from), NonceVerdict::Redirected);
        assert_eq!(check(1_000_061, from), NonceVerdict::Stale);
    }
    assert_eq!(check(1_000_000, "8.8.8.9:5000"), NonceVerdict::Stale);
    // Nobody else would accept it where the key is this server's own.
    assert_eq!(self::keys().mint_redirect(1_000_000, &at, 7), None);
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
