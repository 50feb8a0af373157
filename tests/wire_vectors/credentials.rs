//! Long-term credentials: key derivation, USERHASH, both integrity attributes, and what stands behind them.

use super::{parsed, rewritten, shown, text, vector_file};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, Method, ParseError, PasswordAlgorithm, strings,
};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest, Sha256};

const AUTH: &str = "derived-rfc8489-auth";
const BEHIND: &str = "derived-attributes-after-integrity";
const ERRATUM: &str = "rfc8489-B1-erratum6268";
const AS_PUBLISHED: &str = "rfc8489-B1-as-published-INVALID";

fn key_named(file: &vector_file::VectorFile, name: &str) -> Key {
    Key::from_bytes(&file.bytes(name)).unwrap()
}

#[test]
fn s_mi_06_keys_are_digests_of_user_realm_password() {
    let file = vector_file::open("rfc8489-9.2.2-key-example");
    let (user, realm) = (
        file.parameter("username").as_bytes(),
        file.parameter("realm"),
    );
    let password = file.parameter("password").as_bytes();
    let md5 = Key::long_term(PasswordAlgorithm::Md5, user, realm, password);
    assert_eq!(md5.as_bytes(), file.bytes("MD5(user:realm:pass)"));
    let sha256 = Key::long_term(PasswordAlgorithm::Sha256, user, realm, password);
    assert_eq!(sha256.as_bytes(), file.bytes("SHA-256(user:realm:pass)"));

    let file = vector_file::open(AUTH);
    let (user, realm) = (
        file.parameter("username").as_bytes(),
        file.parameter("realm"),
    );
    let password = file.parameter("password").as_bytes();
    for (algorithm, name) in [
        (PasswordAlgorithm::Md5, "MD5 key"),
        (PasswordAlgorithm::Sha256, "SHA-256 key"),
    ] {
        let key = Key::long_term(algorithm, user, realm, password);
        assert_eq!(key, key_named(&file, name));
        assert_eq!(format!("{key:?}"), "Key(***)");
    }
}

#[test]
fn s_mi_06_ephemeral_credentials_make_the_same_kind_of_key() {
    let file = vector_file::open("derived-rest-credentials");
    let secret = file.parameter("shared secret").as_bytes();
    let password = |username: &str| {
        let mut hmac = <Hmac<sha1::Sha1> as KeyInit>::new_from_slice(secret).unwrap();
        hmac.update(username.as_bytes());
        BASE64_STANDARD.encode(hmac.finalize().into_bytes())
    };
    let username = file.parameter("username").split(' ').next().unwrap();
    assert_eq!(username, "1893456000:alice");
    let expected = "MME/7rvfb/gOjpkB59+7AxlCLvk=";
    assert_eq!(password(username), expected);
    assert_eq!(
        file.parameter("password"),
        format!("base64(HMAC-SHA1(secret, username)) = {expected}")
    );
    assert_eq!(
        password(file.parameter("expired username")),
        file.parameter("expired password")
    );
    assert_eq!(
        file.parameter("timestamp-only username 1893456000 password"),
        password("1893456000")
    );
    let realm = file.parameter("realm");
    let key = Key::long_term(
        PasswordAlgorithm::Md5,
        username.as_bytes(),
        realm,
        expected.as_bytes(),
    );
    assert_eq!(key, key_named(&file, "MD5 key"));
}

#[test]
fn s_mi_07_the_corrected_sample_of_rfc_8489_verifies_and_comes_out_again() {
    let file = vector_file::open(ERRATUM);
    let bytes = file.message("message");
    let message = parsed(bytes);
    assert_eq!(
        (message.method(), message.class()),
        (Method::BINDING, Class::Request)
    );
    assert_eq!(
        shown(&message),
        [
            AttributeType::USERHASH,
            AttributeType::NONCE,
            AttributeType::REALM,
            AttributeType::PASSWORD_ALGORITHM,
        ]
    );
    assert_eq!(
        text(&message, AttributeType::NONCE),
        file.parameter("nonce")
    );
    assert_eq!(
        text(&message, AttributeType::REALM),
        file.parameter("realm")
    );
    let algorithm = message
        .attribute(AttributeType::PASSWORD_ALGORITHM)
        .unwrap();
    assert_eq!(algorithm.value, [0, 2, 0, 0]);
    assert_eq!(PasswordAlgorithm::Sha256.code(), 2);

    let username = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    let hash = Sha256::digest(format!("{username}:example.org"));
    assert_eq!(
        message.attribute(AttributeType::USERHASH).unwrap().value,
        &hash[..]
    );
    assert_eq!(hash[..], file.bytes("USERHASH"));

    let password = strings::saslprep("The\u{AD}M\u{AA}tr\u{2168}").unwrap();
    let key = Key::long_term(
        PasswordAlgorithm::Sha256,
        username.as_bytes(),
        "example.org",
        password.as_bytes(),
    );
    assert_eq!(key, key_named(&file, "key = SHA-256(user:realm:TheMatrIX)"));
    assert_eq!(message.mac(), Some(Mac::Sha256));
    assert_eq!(
        message.authenticate(&key).unwrap().verified_by(),
        Mac::Sha256
    );
    assert!(bytes.ends_with(&file.bytes("MESSAGE-INTEGRITY-SHA256")));
    let ours = rewritten(&message, |writer| {
        writer.integrity(Mac::Sha256, &key);
    });
    assert_eq!(ours, bytes);
}

#[test]
fn s_hdr_05_the_sample_of_rfc_8489_as_printed_says_a_wrong_length_and_is_refused() {
    let file = vector_file::open(AS_PUBLISHED);
    let bytes = file.message("message");
    assert_eq!(bytes[2..4], [0, 0x9C]);
    assert_eq!(Message::parse(bytes).err(), Some(ParseError::BadLength));
    let mut corrected = bytes.to_vec();
    corrected[3] = 0x88;
    let key = key_named(
        &file,
        "key that makes the printed HMAC match = SHA-256(user:realm:TheMatrIX)",
    );
    let message = parsed(&corrected);
    assert!(
        message.authenticate(&key).is_none(),
        "its MAC covers the wrong length"
    );
    let hash = message.attribute(AttributeType::USERHASH).unwrap();
    assert_eq!(hash.value, file.bytes("USERHASH"));
}

#[test]
fn s_mi_07_s_mi_08_requests_of_every_kind_of_client_verify_with_the_key_they_were_made_with() {
    let file = vector_file::open(AUTH);
    let (md5, sha256) = (key_named(&file, "MD5 key"), key_named(&file, "SHA-256 key"));
    // Label, the integrity that counts, the key, and whether MESSAGE-INTEGRITY stands in front and a FINGERPRINT behind.
    let accepted = [
        (
            "binding request: USERNAME + MI + MI-SHA256 + FP, SHA-256 key for both MACs => accept",
            Mac::Sha256,
            sha256,
            true,
            true,
        ),
        (
            "allocate: USERHASH + MI-SHA256 only + FP, PASSWORD-ALGORITHM=SHA-256 => accept, reply with MI-SHA256",
            Mac::Sha256,
            sha256,
            false,
            true,
        ),
        (
            "allocate: legacy client, MI only, no algorithms, MD5 key => accept, reply with MI (not SHA256)",
            Mac::Sha1,
            md5,
            false,
            false,
        ),
        (
            "allocate: PASSWORD-ALGORITHM=MD5 explicit, MI-SHA256 with MD5 key => accept, reply MI-SHA256",
            Mac::Sha256,
            md5,
            false,
            false,
        ),
        // Well signed; that they are refused is the business of whoever compares the algorithms.
        (
            "allocate: PASSWORD-ALGORITHM without PASSWORD-ALGORITHMS => 400",
            Mac::Sha1,
            sha256,
            false,
            false,
        ),
        (
            "allocate: PASSWORD-ALGORITHMS stripped to MD5 (bid-down) => 400",
            Mac::Sha256,
            md5,
            false,
            false,
        ),
    ];
    for (label, mac, key, both, fingerprint) in accepted {
        let bytes = file.message(label);
        let message = parsed(bytes);
        assert_eq!(message.mac(), Some(mac), "{label}");
        assert_eq!(message.has_fingerprint(), fingerprint, "{label}");
        let verified = message
            .authenticate(&key)
            .unwrap_or_else(|| panic!("{label}"));
        assert_eq!(verified.verified_by(), mac, "{label}");
        let other = if key == md5 { sha256 } else { md5 };
        assert!(message.authenticate(&other).is_none(), "{label}");
        assert_eq!(
            text(&message, AttributeType::REALM),
            file.parameter("realm")
        );
        assert_eq!(
            text(&message, AttributeType::NONCE),
            file.parameter("nonce")
        );
        match message.attribute(AttributeType::USERHASH) {
            Some(hash) => assert_eq!(hash.value, file.bytes("USERHASH")),
            None => assert_eq!(text(&message, AttributeType::USERNAME), "alice"),
        }
        let ours = rewritten(&message, |writer| {
            if both {
                writer.integrity(Mac::Sha1, &key);
            }
            writer.integrity(mac, &key);
            if fingerprint {
                writer.fingerprint();
            }
        });
        assert_eq!(ours, bytes, "{label}");
    }
}

#[test]
fn s_mi_08_where_both_are_present_only_the_sha256_one_counts() {
    let file = vector_file::open(AUTH);
    let key = key_named(&file, "SHA-256 key");
    let bytes = file.message(
        "binding request: USERNAME + MI + MI-SHA256 + FP, SHA-256 key for both MACs => accept",
    );
    let bare = &bytes[..bytes.len() - 8];
    let sha256_at = bare.len() - 36;
    let sha1_at = sha256_at - 24;
    assert_eq!(bare[sha1_at..sha1_at + 4], [0, 8, 0, 20]);
    assert_eq!(bare[sha256_at..sha256_at + 4], [0, 0x1C, 0, 32]);
    let mut without_fingerprint = bare.to_vec();
    without_fingerprint[3] -= 8;
    assert!(parsed(&without_fingerprint).authenticate(&key).is_some());

    let mut bad_sha256 = without_fingerprint.clone();
    bad_sha256[sha256_at + 4] ^= 1;
    assert!(
        parsed(&bad_sha256).authenticate(&key).is_none(),
        "a right SHA-1 does not help"
    );

    // A wrong SHA-1 under a right SHA-256, which covers it.
    let message = parsed(&without_fingerprint);
    let bad_sha1 = rewritten(&message, |writer| {
        writer.attribute(AttributeType::MESSAGE_INTEGRITY, &[0x55; 20]);
        writer.integrity(Mac::Sha256, &key);
    });
    let message = parsed(&bad_sha1);
    assert_eq!(
        message.authenticate(&key).unwrap().verified_by(),
        Mac::Sha256
    );
}

#[test]
fn s_mi_07_a_truncated_sha256_is_well_formed_and_never_verifies() {
    let file = vector_file::open(AUTH);
    let label =
        "binding request: MI-SHA256 truncated to 16 bytes (TURN does not allow truncation => 401)";
    let message = parsed(file.message(label));
    assert_eq!(message.mac(), Some(Mac::Sha256));
    assert!(
        message
            .authenticate(&key_named(&file, "SHA-256 key"))
            .is_none()
    );
    assert!(message.authenticate(&key_named(&file, "MD5 key")).is_none());
}

#[test]
fn s_mi_07_the_start_of_a_right_sha256_is_not_enough() {
    let file = vector_file::open(ERRATUM);
    let key = key_named(&file, "key = SHA-256(user:realm:TheMatrIX)");
    let whole = file.message("message");
    for kept in [16, 20, 24, 28, 32] {
        let mut bytes = whole[..whole.len() - 32 + kept].to_vec();
        let at = whole.len() - 36;
        bytes[at + 3] = kept as u8;
        bytes[3] -= 32 - kept as u8;
        let verified = parsed(&bytes).authenticate(&key).is_some();
        assert_eq!(verified, kept == 32, "{kept} bytes");
    }
}

#[test]
fn s_mi_03_behind_a_sha256_integrity_even_a_malformed_sha1_does_not_exist() {
    let file = vector_file::open(ERRATUM);
    let key = key_named(&file, "key = SHA-256(user:realm:TheMatrIX)");
    let original = parsed(file.message("message"));
    for value in [&[0; 20][..], &[0; 3]] {
        let bytes = rewritten(&original, |writer| {
            writer.integrity(Mac::Sha256, &key);
            writer.attribute(AttributeType::MESSAGE_INTEGRITY, value);
        });
        let message = parsed(&bytes);
        assert_eq!(shown(&message), shown(&original));
        assert!(message.authenticate(&key).is_some());
    }
}

#[test]
fn s_att_17_a_challenge_shows_realm_nonce_and_algorithms() {
    let file = vector_file::open(AUTH);
    let bytes = file.message("401 challenge");
    let message = parsed(bytes);
    assert_eq!(
        (message.method(), message.class()),
        (Method::ALLOCATE, Class::Error)
    );
    assert_eq!(message.mac(), None);
    let code = message.attribute(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(code.error_code(), Ok(401));
    assert_eq!(
        text(&message, AttributeType::REALM),
        file.parameter("realm")
    );
    assert_eq!(
        text(&message, AttributeType::NONCE),
        file.parameter("nonce")
    );
    let algorithms = message
        .attribute(AttributeType::PASSWORD_ALGORITHMS)
        .unwrap();
    assert_eq!(algorithms.value, file.bytes("PASSWORD-ALGORITHMS value"));
    assert_eq!(rewritten(&message, |_| ()), bytes);
}

#[test]
fn s_mi_03_what_stands_behind_the_integrity_is_neither_covered_nor_shown() {
    let file = vector_file::open(BEHIND);
    let key = key_named(&file, "key");
    for (label, hidden) in [
        (
            "libwebrtc-shaped Allocate with TURN_LOGGING_ID after MI => must authenticate",
            AttributeType::TURN_LOGGING_ID,
        ),
        (
            "Allocate with EVEN-PORT R=1 appended after MI => must authenticate and ignore EVEN-PORT (no RESERVATION-TOKEN in reply)",
            AttributeType::EVEN_PORT,
        ),
    ] {
        let bytes = file.message(label);
        assert_eq!(bytes[116..118], hidden.0.to_be_bytes(), "{label}");
        let message = parsed(bytes);
        let authenticated = message.authenticate(&key).expect(label);
        assert_eq!(authenticated.attribute(hidden), None);
        assert_eq!(message.attribute(hidden), None);
        assert_eq!(
            shown(&authenticated),
            [
                AttributeType::REQUESTED_TRANSPORT,
                AttributeType::USERNAME,
                AttributeType::REALM,
                AttributeType::NONCE,
            ]
        );
    }
}

#[test]
fn x_tok_access_tokens_have_the_form_of_rfc_7635() {
    let file = vector_file::open("rfc7635-A-access-tokens");
    let nonce = file.parameter("aead_nonce").as_bytes();
    let plaintext = file.bytes("plaintext encrypted_block");
    for label in ["token AEAD_AES_256_GCM", "token AEAD_AES_128_GCM"] {
        let token = file.message(label);
        // A counted nonce, then the ciphertext and a tag of 16 bytes.
        let length = usize::from(u16::from_be_bytes([token[0], token[1]]));
        assert_eq!(&token[2..2 + length], nonce, "{label}");
        assert_eq!(token.len(), 2 + length + plaintext.len() + 16, "{label}");
        // It fits the attribute and comes back whole.
        let mut buffer = [0; 128];
        let kind = hairpin::wire::MessageType::new(Method::ALLOCATE, Class::Request);
        let length = hairpin::wire::Writer::new(&mut buffer, kind, Default::default())
            .attribute(AttributeType::ACCESS_TOKEN, token)
            .finish()
            .unwrap();
        let message = parsed(&buffer[..length]);
        assert_eq!(
            message
                .attribute(AttributeType::ACCESS_TOKEN)
                .unwrap()
                .value,
            token
        );
    }
}
