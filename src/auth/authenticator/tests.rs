//! What cannot be seen from outside: how much work a refusal is.

use std::cell::Cell;

use super::*;
use crate::auth::{AccessToken, Credential, TokenAlgorithm, TokenCipher, TokenKey, mint_ephemeral};
use crate::wire::integrity::userhash;
use crate::wire::{Class, Mac, MessageType, Method, TransactionId, Writer};

thread_local! {
    pub(super) static CHECKS: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn s_auth_06_every_failure_computes_the_integrity_equally_often() {
    for secrets in 0..3_u32 {
        let authenticator = Authenticator::new(AuthSettings {
            realm: "example.org".into(),
            users: vec![
                User {
                    name: "alice".into(),
                    credential: Credential::Password("s3cret".into()),
                },
                User {
                    name: "keyed".into(),
                    credential: Credential::Keys {
                        md5: Some(Secret::new([1; 16])),
                        sha256: None,
                    },
                },
            ],
            secrets: (0..secrets)
                .map(|number| Secret::new(format!("north{number}")))
                .collect(),
            ..AuthSettings::default()
        })
        .unwrap();
        let (expired, password) = mint_ephemeral(b"north0", Some("bob"), 1);
        let alice = userhash(b"alice", "example.org");
        let nobody = userhash(b"nobody", "example.org");
        let attempts: [(&[u8], &str); 8] = [
            (b"alice", "wrong"),
            (b"keyed", "wrong"),
            (b"nobody", "s3cret"),
            (expired.as_bytes(), &password),
            (b"4000000000:bob", "wrong"),
            (b"99999999999999999999:bob", "wrong"),
            (b"\xff\xfe", "s3cret"),
            (b"", ""),
        ];
        let claims = attempts
            .iter()
            .map(|(name, password)| (Claimed::Name(name), *name, *password))
            .chain([&alice, &nobody].map(|hash| (Claimed::Hash(hash), &b"alice"[..], "wrong")));
        for (claimed, username, password) in claims {
            for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
                let key = Key::long_term(
                    algorithm,
                    username,
                    authenticator.realm(),
                    password.as_bytes(),
                );
                for mac in [Mac::Sha1, Mac::Sha256] {
                    let mut buffer = [0; 256];
                    let kind = MessageType::new(Method::ALLOCATE, Class::Request);
                    let length = Writer::new(&mut buffer, kind, TransactionId([7; 12]))
                        .integrity(mac, &key)
                        .finish()
                        .unwrap();
                    let request = Message::parse(&buffer[..length]).unwrap();
                    CHECKS.set(0);
                    assert!(
                        authenticator
                            .verify_claim(algorithm, &request, claimed, 2)
                            .is_err()
                    );
                    assert_eq!(CHECKS.get(), 2 + 2 * secrets, "{claimed:?}");
                }
            }
        }
    }
}

#[test]
fn s_auth_06_whatever_is_wrong_with_a_token_the_integrity_is_computed_equally_often() {
    let sealed_with = |secret: [u8; 32], made: u64| {
        let cipher = TokenCipher::new(TokenAlgorithm::Aes256Gcm, &secret).unwrap();
        let token = AccessToken::new(&[3; 20], made, 100).unwrap();
        token.seal(&cipher, "turn.example.org", [4; 12]).unwrap()
    };
    for truncated_mac_keys in [false, true] {
        let key = |id: &str, not_after| TokenKey {
            id: id.into(),
            algorithm: TokenAlgorithm::Aes256Gcm,
            secret: Secret::new(vec![1; 32]),
            not_before: None,
            not_after,
        };
        let authenticator = Authenticator::new(AuthSettings {
            realm: "example.org".into(),
            third_party: ThirdPartySettings {
                server_name: "turn.example.org".into(),
                keys: vec![key("north", None), key("old", Some(5))],
                truncated_mac_keys,
            },
            ..AuthSettings::default()
        })
        .unwrap();
        let good = sealed_with([1; 32], 1000);
        let attempts = [
            ("north", &good, 9, AuthFailure::WrongPassword),
            ("south", &good, 3, AuthFailure::UnknownTokenKey),
            ("old", &good, 3, AuthFailure::InactiveTokenKey),
            (
                "north",
                &sealed_with([1; 32], 1),
                3,
                AuthFailure::TokenExpired,
            ),
            (
                "north",
                &sealed_with([2; 32], 1000),
                3,
                AuthFailure::BadToken,
            ),
            ("north", &Vec::new(), 3, AuthFailure::BadToken),
        ];
        for (id, token, mac_key, failure) in attempts {
            let mut buffer = [0; 256];
            let kind = MessageType::new(Method::ALLOCATE, Class::Request);
            let length = Writer::new(&mut buffer, kind, TransactionId([7; 12]))
                .integrity(Mac::Sha1, &Key::from_bytes(&[mac_key; 20]).unwrap())
                .finish()
                .unwrap();
            let request = Message::parse(&buffer[..length]).unwrap();
            CHECKS.set(0);
            let claimed = Claimed::Name(id.as_bytes());
            let refused = authenticator.verify_token(&request, claimed, token, 1000);
            assert_eq!(refused.err(), Some(failure));
            assert_eq!(CHECKS.get(), 1 + u32::from(truncated_mac_keys));
        }
    }
}
