//! What has to hold for any bytes in ACCESS-TOKEN, and for any block in a token that was sealed with the right key.

use hairpin::auth::{AccessToken, TokenAlgorithm, TokenCipher};

const NAME: &str = "blackdow.carleon.gov";
const NONCE: [u8; 12] = *b"h4j3k2l2n4b5";
const KEY: &[u8; 32] = b"HGkj32KJGiuy098sdfaqbNjOiaz71923";

/// Panics when the reader of tokens breaks a promise.
pub fn check(bytes: &[u8]) {
    for algorithm in [TokenAlgorithm::Aes256Gcm, TokenAlgorithm::Aes128Gcm] {
        let cipher = TokenCipher::new(algorithm, &KEY[..algorithm.key_length()])
            .expect("the key has the right length");
        // As it came from the network. The corpus has tokens that open.
        if let Some(token) = AccessToken::open(&cipher, NAME, bytes) {
            assert!((64..=76).contains(&bytes.len()));
            let nonce = bytes[2..14].try_into().expect("12 bytes");
            assert_eq!(token.seal(&cipher, NAME, nonce).as_deref(), Some(bytes));
            assert_eq!(AccessToken::open(&cipher, "elsewhere", bytes), None);
        }
        // As the block of an authorization server that may have lost its mind.
        let sealed = cipher
            .seal(NAME, NONCE, bytes)
            .expect("short enough to be sealed");
        let opened = AccessToken::open(&cipher, NAME, &sealed);
        let length = bytes
            .first_chunk()
            .map(|length| u16::from_be_bytes(*length));
        let fits = length.is_some_and(|length| {
            (20..=32).contains(&length) && bytes.len() == 14 + usize::from(length)
        });
        assert_eq!(opened.is_some(), fits);
        if let Some(token) = opened {
            times(&token);
        }
    }
}

/// The time left never exceeds the lifetime and five seconds, is most when the token is made, and runs out both ways.
fn times(token: &AccessToken) {
    let made = token.timestamp() >> 16;
    let most = u64::from(token.lifetime()) + 5;
    for now in [0, made, u64::MAX, token.timestamp()] {
        let left = token.remaining(now).map_or(0, u64::from);
        assert!(left <= most);
        if now.abs_diff(made) > most + 1 {
            assert_eq!(left, 0);
        }
    }
    // A timestamp's fraction, of 65535 64000ths at most, is over by then.
    let after = |seconds: u64| token.remaining((made + 2).saturating_add(seconds));
    for seconds in [0, 1, most / 2, most.saturating_sub(1), most] {
        assert!(after(seconds + 1) <= after(seconds), "it grows again");
    }
}
