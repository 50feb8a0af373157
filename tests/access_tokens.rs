//! Access tokens of third-party authorization (RFC 7635): the samples of its appendix, lengths that lie, and the time.

#![allow(clippy::unwrap_used)]

#[path = "vector_file/mod.rs"]
mod vector_file;

use hairpin::auth::{AccessToken, TokenAlgorithm, TokenCipher};
use proptest::prelude::*;

const NAME: &str = "blackdow.carleon.gov";
const NONCE: [u8; 12] = *b"h4j3k2l2n4b5";
const MAC_KEY: &[u8; 20] = b"ZksjpweoixXmvn67534m";
const NOW: u64 = 1_410_984_813;

fn cipher(algorithm: TokenAlgorithm) -> TokenCipher {
    let key = b"HGkj32KJGiuy098sdfaqbNjOiaz71923";
    TokenCipher::new(algorithm, &key[..algorithm.key_length()]).unwrap()
}

fn aes_256() -> TokenCipher {
    cipher(TokenAlgorithm::Aes256Gcm)
}

fn token() -> AccessToken {
    AccessToken::new(MAC_KEY, NOW, 3600).unwrap()
}

/// A token whose block says this.
fn with_block(block: &[u8]) -> Option<AccessToken> {
    let sealed = aes_256().seal(NAME, NONCE, block).unwrap();
    AccessToken::open(&aes_256(), NAME, &sealed)
}

fn block(key_length: u16, mac_key: &[u8]) -> Vec<u8> {
    let timestamp = (NOW << 16).to_be_bytes();
    let parts: [&[u8]; 4] = [
        &key_length.to_be_bytes(),
        mac_key,
        &timestamp,
        &3600_u32.to_be_bytes(),
    ];
    parts.concat()
}

#[test]
fn t_oauth_03_11_the_tokens_of_the_rfc_s_appendix_open_and_are_made_alike() {
    let file = vector_file::open("rfc7635-A-access-tokens");
    let long_term = file.parameter("long_term_key K").as_bytes();
    let name = file.parameter("server_name");
    for (label, algorithm) in [
        ("token AEAD_AES_256_GCM", TokenAlgorithm::Aes256Gcm),
        ("token AEAD_AES_128_GCM", TokenAlgorithm::Aes128Gcm),
    ] {
        let bytes = file.message(label);
        let cipher = TokenCipher::new(algorithm, &long_term[..algorithm.key_length()]).unwrap();
        let token = AccessToken::open(&cipher, name, bytes).unwrap();
        let mac_key = file.parameter("mac_key").as_bytes();
        assert_eq!(token.mac_key().as_bytes(), mac_key, "{label}");
        assert_eq!(token.timestamp(), 92_470_300_704_768);
        assert_eq!(token.lifetime(), 3600);
        let nonce = file.parameter("aead_nonce").as_bytes().try_into().unwrap();
        assert_eq!(token.seal(&cipher, name, nonce).unwrap(), bytes, "{label}");
        let plaintext = file.bytes("plaintext encrypted_block");
        assert_eq!(cipher.seal(name, nonce, &plaintext).unwrap(), bytes);
        let made = AccessToken::new(mac_key, NOW, 3600).unwrap();
        assert_eq!(made, token);
    }
}

#[test]
fn t_oauth_06_another_key_another_algorithm_and_another_server_open_nothing() {
    let sealed = token().seal(&aes_256(), NAME, NONCE).unwrap();
    assert_eq!(AccessToken::open(&aes_256(), NAME, &sealed), Some(token()));
    for name in ["", "blackdow.carleon.go", "Blackdow.carleon.gov", "other"] {
        assert_eq!(AccessToken::open(&aes_256(), name, &sealed), None);
    }
    let other = TokenCipher::new(TokenAlgorithm::Aes256Gcm, &[7; 32]).unwrap();
    for cipher in [other, cipher(TokenAlgorithm::Aes128Gcm)] {
        assert_eq!(AccessToken::open(&cipher, NAME, &sealed), None);
    }
}

#[test]
fn t_oauth_04_x_cve_07_lengths_in_a_token_that_lie_open_nothing() {
    let sealed = token().seal(&aes_256(), NAME, NONCE).unwrap();
    for nonce_length in [0_u16, 11, 13, 62, 63, 0x7FFF, 0xFFFF] {
        let mut lying = sealed.clone();
        lying[..2].copy_from_slice(&nonce_length.to_be_bytes());
        assert_eq!(AccessToken::open(&aes_256(), NAME, &lying), None);
        // However much there is behind.
        lying.resize(65_535, 0);
        assert_eq!(AccessToken::open(&aes_256(), NAME, &lying), None);
    }
    assert_eq!(with_block(&block(20, MAC_KEY)), Some(token()));
    for key_length in [0, 1, 19, 21, 28, 32, 33, 34, 0x7FFF, 0xFFFF] {
        assert_eq!(
            with_block(&block(key_length, MAC_KEY)),
            None,
            "{key_length}"
        );
    }
}

#[test]
fn t_oauth_04_keys_have_20_to_32_bytes_and_the_block_is_filled() {
    for length in 0..64_u16 {
        let key = vec![9; length.into()];
        let opened = with_block(&block(length, &key));
        assert_eq!(opened.is_some(), (20..=32).contains(&length), "{length}");
        assert_eq!(
            AccessToken::new(&key, NOW, 1).is_some(),
            (20..=32).contains(&length)
        );
    }
    let good = block(20, MAC_KEY);
    for length in 0..good.len() {
        assert_eq!(with_block(&good[..length]), None);
    }
    for more in 1..20 {
        let longer = [&good[..], &vec![0; more]].concat();
        assert_eq!(with_block(&longer), None);
    }
}

#[test]
fn a_key_is_exactly_as_long_as_its_algorithm_wants() {
    for algorithm in [TokenAlgorithm::Aes256Gcm, TokenAlgorithm::Aes128Gcm] {
        for length in 0..70 {
            assert_eq!(
                TokenCipher::new(algorithm, &vec![1; length]).is_some(),
                length == algorithm.key_length()
            );
        }
    }
}

#[test]
fn t_oauth_07_a_token_is_good_while_lifetime_and_5_s_exceed_its_distance_from_now() {
    let token = AccessToken::new(MAC_KEY, NOW, 100).unwrap();
    for (now, left) in [
        (NOW, Some(105)),
        (NOW + 1, Some(104)),
        (NOW - 1, Some(104)),
        (NOW + 104, Some(1)),
        (NOW - 104, Some(1)),
        (NOW + 105, None),
        (NOW - 105, None),
        (0, None),
        (u64::MAX, None),
    ] {
        assert_eq!(token.remaining(now), left, "{now}");
    }
    // A lifetime of 0 is good for the five seconds.
    let brief = AccessToken::new(MAC_KEY, NOW, 0).unwrap();
    assert_eq!(brief.remaining(NOW + 4), Some(1));
    assert_eq!(brief.remaining(NOW + 5), None);
}

#[test]
fn t_oauth_03_07_fractions_of_a_second_count_in_64000ths() {
    let with_fraction = |fraction: u16| {
        let mut block = block(20, MAC_KEY);
        let at = block.len() - 12;
        block[at..at + 8].copy_from_slice(&((NOW << 16) + u64::from(fraction)).to_be_bytes());
        with_block(&block).unwrap()
    };
    // 3600 s, and 5, after a moment within a second: the second it ends in is begun.
    for fraction in [1, 32_000, 63_999] {
        assert_eq!(with_fraction(fraction).remaining(NOW + 3605), Some(1));
        assert_eq!(with_fraction(fraction).remaining(NOW + 3606), None);
        assert_eq!(with_fraction(fraction).remaining(NOW - 3605), None);
        assert_eq!(with_fraction(fraction).remaining(NOW - 3604), Some(1));
    }
    assert_eq!(with_fraction(0).remaining(NOW + 3605), None);
}

#[test]
fn nothing_secret_is_printed() {
    let text = format!("{:?} {:?}", token(), aes_256());
    assert!(
        !text.contains("Zksj") && !text.contains("90, 107"),
        "{text}"
    );
    assert!(text.contains("***"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t_oauth_03_what_was_sealed_opens_as_it_was(
        key in proptest::collection::vec(any::<u8>(), 20..=32),
        made in 0..1_u64 << 48,
        lifetime: u32,
        nonce: [u8; 12],
        name in ".{1,20}",
    ) {
        let token = AccessToken::new(&key, made, lifetime).unwrap();
        let sealed = token.seal(&aes_256(), &name, nonce).unwrap();
        prop_assert!(sealed.len() <= 76);
        prop_assert_eq!(AccessToken::open(&aes_256(), &name, &sealed), Some(token));
    }

    #[test]
    fn t_oauth_06_a_single_bit_that_flips_spoils_a_token(bit in 0..64_usize * 8) {
        let mut sealed = token().seal(&aes_256(), NAME, NONCE).unwrap();
        prop_assert_eq!(sealed.len(), 64);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(AccessToken::open(&aes_256(), NAME, &sealed), None);
    }

    #[test]
    fn x_cve_07_any_bytes_are_no_token(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(AccessToken::open(&aes_256(), NAME, &bytes), None);
    }

    #[test]
    fn x_cve_07_any_block_opens_only_with_lengths_that_fit(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        key_length in 0..40_u16,
    ) {
        let block = [&key_length.to_be_bytes(), bytes.as_slice()].concat();
        let fits = (20..=32).contains(&key_length) && bytes.len() == usize::from(key_length) + 12;
        prop_assert_eq!(with_block(&block).is_some(), fits);
    }

    /// RFC 7635's formula, with numbers that have room.
    #[test]
    fn t_oauth_07_the_time_left_never_overflows(now: u64, made in 0..1_u64 << 48, lifetime: u32) {
        let token = AccessToken::new(MAC_KEY, made, lifetime).unwrap();
        let left = i128::from(lifetime) + 5 - (i128::from(now) - i128::from(made)).abs();
        let expected = (left > 0).then(|| u32::try_from(left).unwrap_or(u32::MAX));
        prop_assert_eq!(token.remaining(now), expected);
    }
}
