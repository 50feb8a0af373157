//! Credentials: users, ephemeral credentials, and what the operator is told about a refusal.

#![allow(clippy::unwrap_used)]

use hairpin::auth::{
    AuthFailure, AuthSettings, Authenticator, Claimed, Credential, Secret, SettingsError,
    SigningAlgorithm, User, mint_ephemeral, mint_ephemeral_with,
};
use hairpin::wire::integrity::userhash;
use hairpin::wire::{
    AttributeType, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm, TransactionId,
    Writer,
};
use proptest::prelude::*;

const REALM: &str = "example.org";
const NOW: u64 = 1_700_000_000;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

fn user(name: &str, password: &str) -> User {
    User {
        name: name.into(),
        credential: Credential::Password(password.into()),
    }
}

fn settings(users: Vec<User>, secrets: &[&str]) -> AuthSettings {
    AuthSettings {
        realm: REALM.into(),
        users,
        secrets: secrets.iter().map(|secret| Secret::from(*secret)).collect(),
        ..AuthSettings::default()
    }
}

fn authenticator(users: Vec<User>, secrets: &[&str]) -> Authenticator {
    Authenticator::new(settings(users, secrets)).unwrap()
}

/// An Allocate request of `username`, signed with `key`.
fn signed(username: &[u8], key: &Key, mac: Mac) -> Vec<u8> {
    let kind = MessageType {
        method: Method::ALLOCATE,
        class: Class::Request,
    };
    let mut buffer = vec![0; 1200];
    let length = Writer::new(&mut buffer, kind, TransactionId([1; 12]))
        .attribute(AttributeType::USERNAME, username)
        .attribute(AttributeType::REALM, REALM.as_bytes())
        .attribute(AttributeType::NONCE, b"nonce")
        .integrity(mac, key)
        .fingerprint()
        .finish()
        .unwrap();
    buffer.truncate(length);
    buffer
}

fn request(username: &[u8], password: &str) -> Vec<u8> {
    let key = Key::long_term(PasswordAlgorithm::Md5, username, REALM, password.as_bytes());
    signed(username, &key, Mac::Sha1)
}

/// The name and quota name of a request, or why it is refused.
fn whose(
    authenticator: &Authenticator,
    bytes: &[u8],
    now: u64,
) -> Result<(String, String), AuthFailure> {
    let message = Message::parse(bytes).unwrap();
    let username = message.attribute(AttributeType::USERNAME).unwrap().value;
    let verified = authenticator.verify(&message, username, now)?;
    assert!(message.authenticate(&verified.key).is_some());
    Ok((
        verified.username.to_string(),
        verified.quota_name.to_string(),
    ))
}

fn names(username: &str, quota_name: &str) -> Result<(String, String), AuthFailure> {
    Ok((username.into(), quota_name.into()))
}

const RFC5769_2_4: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

#[test]
fn s_auth_21_a_password_that_only_saslprep_allows_verifies_the_request_of_rfc_5769() {
    let password = "The\u{AD}M\u{AA}tr\u{2168}";
    for password in [password, "TheMatrIX"] {
        let authenticator = authenticator(vec![user("マトリックス", password)], &[]);
        assert_eq!(
            whose(&authenticator, &hex(RFC5769_2_4), NOW),
            names("マトリックス", "マトリックス")
        );
    }
}

#[test]
fn s_auth_21_both_forms_of_a_password_are_accepted_where_they_differ() {
    let authenticator = authenticator(vec![user("alice", "M\u{AA}tr\u{2168}")], &[]);
    for form in ["M\u{AA}tr\u{2168}", "MatrIX"] {
        assert!(whose(&authenticator, &request(b"alice", form), NOW).is_ok());
    }
    assert_eq!(
        whose(&authenticator, &request(b"alice", "matrix"), NOW),
        Err(AuthFailure::WrongPassword)
    );
}

#[test]
fn a_legacy_request_with_an_md5_key_is_genuine() {
    let bytes = hex(
        "000300602112a442000102030405060708090a0b001900041100000000060005616c6963650000000014000b6578616d706c652e6f7267000015001f6f624d61744a6f733277414141646c3757375065445534684b4537326a64610000080014b5b0681c3e9a11f7babbf0982360c935ec08a87c",
    );
    let by_password = authenticator(vec![user("alice", "s3cret")], &[]);
    assert_eq!(whose(&by_password, &bytes, NOW), names("alice", "alice"));
    let md5 = hex("8b83b40c22906c0c67a3c5bcc491bc14");
    let keys = Credential::Keys {
        md5: Some(Secret::new(md5.try_into().unwrap())),
        sha256: None,
    };
    let by_key = authenticator(
        vec![User {
            name: "alice".into(),
            credential: keys,
        }],
        &[],
    );
    assert_eq!(whose(&by_key, &bytes, NOW), names("alice", "alice"));
}

#[test]
fn a_request_with_a_sha256_key_is_genuine_under_that_algorithm_only() {
    let bytes = hex(
        "000100982112a442000102030405060708090a0b00060005616c6963650000000014000b6578616d706c652e6f7267000015001f6f624d61744a6f733277414141646c3757375065445534684b4537326a646100800200080002000000010000001d000400020000000800140e3f0baa1cd558c6f6ac5d454653baece6046f58001c0020ab4c6af7a8289cf49f66b6cdf9a310ec36103ed56dfc705108e5d1902f293c82802800049c73f06e",
    );
    let message = Message::parse(&bytes).unwrap();
    let sha256 = hex("f22052fea8541d9a84dc48aa41b20e65023c376e463bc39e716fac6e0f0f7a5f");
    let keys = Credential::Keys {
        md5: None,
        sha256: Some(Secret::new(sha256.try_into().unwrap())),
    };
    for credential in [Credential::Password("s3cret".into()), keys] {
        let authenticator = authenticator(
            vec![User {
                name: "alice".into(),
                credential,
            }],
            &[],
        );
        let with = |algorithm| authenticator.verify_with(algorithm, &message, b"alice", NOW);
        let verified = with(PasswordAlgorithm::Sha256).unwrap();
        assert_eq!(verified.request.verified_by(), Mac::Sha256);
        assert_eq!(verified.key.as_bytes().len(), 32);
        assert_eq!(
            with(PasswordAlgorithm::Md5).unwrap_err(),
            AuthFailure::WrongPassword
        );
    }
}

#[test]
fn s_mi_08_sha256_integrity_is_the_one_that_is_verified() {
    let authenticator = authenticator(vec![user("alice", "s3cret")], &[]);
    let key = Key::long_term(PasswordAlgorithm::Md5, b"alice", REALM, b"s3cret");
    let bytes = signed(b"alice", &key, Mac::Sha256);
    let message = Message::parse(&bytes).unwrap();
    let verified = authenticator.verify(&message, b"alice", NOW).unwrap();
    assert_eq!(verified.request.verified_by(), Mac::Sha256);
}

#[test]
fn t_rest_01_the_ephemeral_credentials_of_the_vectors_are_minted_and_genuine() {
    assert_eq!(
        mint_ephemeral(b"north", Some("alice"), 1_893_456_000),
        (
            "1893456000:alice".into(),
            "MME/7rvfb/gOjpkB59+7AxlCLvk=".into()
        )
    );
    assert_eq!(
        mint_ephemeral(b"north", Some("alice"), 1),
        ("1:alice".into(), "sO0S85KVwfqrCA0E/byiPHXgqMQ=".into())
    );
    assert_eq!(
        mint_ephemeral(b"north", None, 1_893_456_000),
        ("1893456000".into(), "sqdTDrNuKKg7b57nGt21S56Eu5s=".into())
    );
    let authenticator = authenticator(Vec::new(), &["north"]);
    let bytes = request(b"1893456000:alice", "MME/7rvfb/gOjpkB59+7AxlCLvk=");
    let message = Message::parse(&bytes).unwrap();
    let verified = authenticator
        .verify(&message, b"1893456000:alice", NOW)
        .unwrap();
    assert_eq!(
        verified.key.as_bytes(),
        hex("53808f1da814e560a5631e974e2e7239")
    );
    assert_eq!(verified.expires_at, Some(1_893_456_000));
    let bare = request(b"1893456000", "sqdTDrNuKKg7b57nGt21S56Eu5s=");
    assert_eq!(
        whose(&authenticator, &bare, NOW),
        names("1893456000", "1893456000")
    );
}

#[test]
fn t_rest_02_a_genuine_credential_expires_after_its_second() {
    let authenticator = authenticator(Vec::new(), &["north"]);
    let (username, password) = mint_ephemeral(b"north", Some("alice"), NOW);
    let bytes = request(username.as_bytes(), &password);
    assert_eq!(
        whose(&authenticator, &bytes, NOW),
        names(&username, "alice")
    );
    assert_eq!(
        whose(&authenticator, &bytes, NOW + 1),
        Err(AuthFailure::Expired)
    );
    // Without the right password nobody learns that it would have expired.
    let wrong = request(username.as_bytes(), "guess");
    assert_eq!(
        whose(&authenticator, &wrong, NOW + 1),
        Err(AuthFailure::WrongPassword)
    );
}

#[test]
fn t_rest_04_a_prefix_that_is_no_time_is_refused_even_if_signed() {
    let authenticator = authenticator(Vec::new(), &["north"]);
    for (username, failure) in [
        ("99999999999999999999:x", AuthFailure::MalformedName),
        ("18446744073709551616", AuthFailure::MalformedName),
        ("alice", AuthFailure::UnknownUser),
        ("alice:4000000000", AuthFailure::UnknownUser),
        (":alice", AuthFailure::UnknownUser),
        ("+4000000000:alice", AuthFailure::UnknownUser),
        (" 4000000000:alice", AuthFailure::UnknownUser),
        ("-1:alice", AuthFailure::UnknownUser),
        ("４000000000:alice", AuthFailure::UnknownUser),
        ("", AuthFailure::UnknownUser),
    ] {
        // The password that the secret gives this very name.
        let (_, password) = sign(b"north", username);
        let bytes = request(username.as_bytes(), &password);
        assert_eq!(
            whose(&authenticator, &bytes, NOW),
            Err(failure),
            "{username}"
        );
    }
    let (username, password) = mint_ephemeral(b"north", Some("a:b"), u64::MAX);
    let bytes = request(username.as_bytes(), &password);
    assert_eq!(whose(&authenticator, &bytes, NOW), names(&username, "a:b"));
}

/// Signs any text as if it were a user name of an ephemeral credential.
fn sign(secret: &[u8], username: &str) -> (String, String) {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit, Mac as _};
    let signature = Hmac::<sha1::Sha1>::new_from_slice(secret)
        .unwrap()
        .chain_update(username)
        .finalize()
        .into_bytes();
    let password = base64::engine::general_purpose::STANDARD.encode(signature);
    (username.into(), password)
}

#[test]
fn t_rest_05_old_and_new_secret_are_both_accepted() {
    let authenticator = authenticator(Vec::new(), &["new", "old", "older"]);
    for secret in ["new", "old", "older"] {
        let (username, password) = mint_ephemeral(secret.as_bytes(), Some("alice"), NOW + 60);
        let bytes = request(username.as_bytes(), &password);
        assert_eq!(
            whose(&authenticator, &bytes, NOW),
            names(&username, "alice")
        );
    }
    let (username, password) = mint_ephemeral(b"oldest", Some("alice"), NOW + 60);
    let bytes = request(username.as_bytes(), &password);
    assert_eq!(
        whose(&authenticator, &bytes, NOW),
        Err(AuthFailure::WrongPassword)
    );
}

#[test]
fn t_rest_06_a_new_expiry_keeps_the_quota_name() {
    let authenticator = authenticator(Vec::new(), &["north"]);
    for expiry in [NOW + 1, NOW + 2] {
        let (username, password) = mint_ephemeral(b"north", Some("alice"), expiry);
        let bytes = request(username.as_bytes(), &password);
        assert_eq!(whose(&authenticator, &bytes, NOW).unwrap().1, "alice");
    }
}

#[test]
fn t_rest_07_users_and_ephemeral_credentials_live_side_by_side() {
    let users = vec![user("alice", "s3cret"), user("4000000000:bob", "lasting")];
    let authenticator = authenticator(users, &["north"]);
    let ask = |username: &str, password: &str| {
        whose(&authenticator, &request(username.as_bytes(), password), NOW)
    };
    assert_eq!(ask("alice", "s3cret"), names("alice", "alice"));
    assert_eq!(
        ask("4000000000:bob", "lasting"),
        names("4000000000:bob", "4000000000:bob")
    );
    let (username, password) = mint_ephemeral(b"north", Some("bob"), 4_000_000_000);
    assert_eq!(ask(&username, &password), names("4000000000:bob", "bob"));
    assert_eq!(ask("alice", "north"), Err(AuthFailure::WrongPassword));
    assert_eq!(ask("bob", "s3cret"), Err(AuthFailure::UnknownUser));
}

#[test]
fn s_auth_22_user_names_are_compared_byte_by_byte() {
    let authenticator = authenticator(vec![user("alice", "s3cret")], &[]);
    for name in [
        "Alice", "alice\0x", "alice\0", " alice", "alice ", "alic", "ａlice", "",
    ] {
        assert_eq!(
            whose(&authenticator, &request(name.as_bytes(), "s3cret"), NOW),
            Err(AuthFailure::UnknownUser),
            "{name:?}"
        );
    }
    assert_eq!(
        whose(&authenticator, &request(b"alice\xff", "s3cret"), NOW),
        Err(AuthFailure::MalformedName)
    );
}

#[test]
fn a_configured_name_is_prepared_as_opaque_string() {
    // Decomposed in the configuration, composed on the wire.
    let authenticator = authenticator(vec![user("rene\u{301}e", "s3cret")], &[]);
    let bytes = request("ren\u{e9}e".as_bytes(), "s3cret");
    assert_eq!(
        whose(&authenticator, &bytes, NOW),
        names("ren\u{e9}e", "ren\u{e9}e")
    );
}

/// A user of whom only digests are known.
fn keyed(name: &str, md5: bool, sha256: bool) -> User {
    User {
        name: name.into(),
        credential: Credential::Keys {
            md5: md5.then(|| Secret::new([1; 16])),
            sha256: sha256.then(|| Secret::new([2; 32])),
        },
    }
}

#[test]
fn s_pwa_13_14_15_only_what_every_credential_can_serve_is_offered() {
    use PasswordAlgorithm::{Md5, Sha256};
    let offered = |users, secrets: &[&str]| authenticator(users, secrets).offer();
    let nothing = offered(Vec::new(), &[]);
    assert_eq!(nothing.algorithms(), [Sha256, Md5]);
    assert!(!nothing.anonymity());
    let password = offered(vec![user("alice", "s3cret")], &[]);
    assert_eq!(password.algorithms(), [Sha256, Md5]);
    assert!(password.anonymity());
    let ephemeral = offered(Vec::new(), &["north"]);
    assert_eq!(ephemeral.algorithms(), [Sha256, Md5]);
    assert!(!ephemeral.anonymity());
    // A client that hides its name could not use an ephemeral credential.
    let both = offered(vec![user("alice", "s3cret")], &["north"]);
    assert!(!both.anonymity());

    let md5 = || keyed("old", true, false);
    let sha256 = || keyed("new", false, true);
    let alice = || user("alice", "s3cret");
    assert_eq!(offered(vec![md5()], &[]).algorithms(), [Md5]);
    assert_eq!(
        offered(vec![md5(), alice()], &["north"]).algorithms(),
        [Md5]
    );
    assert_eq!(offered(vec![sha256()], &[]).algorithms(), [Sha256]);
    assert_eq!(offered(vec![sha256(), alice()], &[]).algorithms(), [Sha256]);
    // Nothing suits both: each can still get in.
    let mixed = offered(vec![md5(), sha256()], &[]);
    assert_eq!(mixed.algorithms(), [Sha256, Md5]);
}

#[test]
fn s_pwa_14_a_client_of_rfc_5389_needs_an_md5_key_and_settings_that_allow_it() {
    let bytes = request(b"alice", "s3cret");
    let with = |algorithms: &[PasswordAlgorithm]| {
        Authenticator::new(AuthSettings {
            algorithms: algorithms.to_vec(),
            ..settings(
                vec![user("alice", "s3cret"), keyed("new", false, true)],
                &["north"],
            )
        })
        .unwrap()
    };
    use PasswordAlgorithm::{Md5, Sha256};
    // "new" keeps MD5 from being offered, but not from being used by those who have it.
    for algorithms in [&[Sha256, Md5][..], &[Md5], &[]] {
        let authenticator = with(algorithms);
        assert!(whose(&authenticator, &bytes, NOW).is_ok(), "{algorithms:?}");
        assert_eq!(
            whose(&authenticator, &request(b"new", "s3cret"), NOW),
            Err(AuthFailure::WrongPassword)
        );
    }
    let (name, password) = mint_ephemeral(b"north", Some("bob"), NOW);
    for bytes in [bytes, request(name.as_bytes(), &password)] {
        assert_eq!(
            whose(&with(&[Sha256]), &bytes, NOW),
            Err(AuthFailure::Algorithm)
        );
    }
}

#[test]
fn s_pwa_11_12_13_a_userhash_finds_its_user_where_it_is_offered() {
    let hash = userhash(b"alice", REALM);
    assert_eq!(
        hash.to_vec(),
        hex("435b7933096a304d3c734cfb833ec9075bd47ab1c0160321aed31c06a8c7009e")
    );
    let key = Key::long_term(PasswordAlgorithm::Sha256, b"alice", REALM, b"s3cret");
    let bytes = signed(b"", &key, Mac::Sha256);
    let message = Message::parse(&bytes).unwrap();
    let ask = |authenticator: &Authenticator, hash| {
        let algorithm = PasswordAlgorithm::Sha256;
        authenticator
            .verify_claim(algorithm, &message, Claimed::Hash(hash), NOW)
            .map(|verified| verified.username.to_string())
    };
    let users = || vec![user("alice", "s3cret"), user("bob", "hunter2")];
    let anonymous = authenticator(users(), &[]);
    assert_eq!(ask(&anonymous, &hash), Ok("alice".into()));
    let bob = userhash(b"bob", REALM);
    assert_eq!(ask(&anonymous, &bob), Err(AuthFailure::WrongPassword));
    let nobody = userhash(b"nobody", REALM);
    assert_eq!(ask(&anonymous, &nobody), Err(AuthFailure::UnknownUser));
    let other_realm = userhash(b"alice", "example.com");
    assert_eq!(ask(&anonymous, &other_realm), Err(AuthFailure::UnknownUser));
    let named = authenticator(users(), &["north"]);
    assert_eq!(ask(&named, &hash), Err(AuthFailure::UnknownUser));
}

#[test]
fn s_auth_20_passwords_are_prepared_as_opaque_string_and_ascii_stays_as_it_is() {
    // Composed, spaces made plain, compatibility characters left alone.
    for (configured, typed) in [
        ("rene\u{301}e", "ren\u{e9}e"),
        ("a\u{3000}b", "a b"),
        ("M\u{aa}tr\u{2168}", "M\u{aa}tr\u{2168}"),
        (" !\"#~", " !\"#~"),
    ] {
        let authenticator = authenticator(vec![user("alice", configured)], &[]);
        for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
            let key = Key::long_term(algorithm, b"alice", REALM, typed.as_bytes());
            let bytes = signed(b"alice", &key, Mac::Sha256);
            let message = Message::parse(&bytes).unwrap();
            let verified = authenticator.verify_with(algorithm, &message, b"alice", NOW);
            assert!(verified.is_ok(), "{configured:?}");
        }
    }
    assert_eq!(hairpin::wire::strings::opaque("I\u{ad}X"), None);
}

#[test]
fn the_userhash_of_appendix_b_1_is_right() {
    let name = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
    assert_eq!(
        userhash(name.as_bytes(), REALM).to_vec(),
        hex("4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704")
    );
}

#[test]
fn ephemeral_credentials_signed_with_hmac_sha256_are_genuine_beside_those_with_sha1() {
    let authenticator = authenticator(Vec::new(), &["new", "north"]);
    let mint = |signing| mint_ephemeral_with(signing, b"north", Some("alice"), 1_893_456_000);
    let (name, sha1) = mint(SigningAlgorithm::Sha1);
    assert_eq!(sha1, "MME/7rvfb/gOjpkB59+7AxlCLvk=");
    let (_, sha256) = mint(SigningAlgorithm::Sha256);
    assert_eq!(sha256, "6rRxN1t/MtBZJaGTXy4fG+SuzTOSjkcaxKMlNMbjuaU=");
    for password in [sha1, sha256] {
        let bytes = request(name.as_bytes(), &password);
        assert_eq!(whose(&authenticator, &bytes, NOW), names(&name, "alice"));
        let expired = whose(&authenticator, &bytes, 1_893_456_001);
        assert_eq!(expired, Err(AuthFailure::Expired));
    }
    let short = request(
        name.as_bytes(),
        "6rRxN1t/MtBZJaGTXy4fG+SuzTOSjkcaxKMlNMbjuaU="[..28].as_ref(),
    );
    assert_eq!(
        whose(&authenticator, &short, NOW),
        Err(AuthFailure::WrongPassword)
    );
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let refusal = |settings| Authenticator::new(settings).unwrap_err();
    let name = |text: &str| text.to_owned();
    for realm in ["", "a\nb", &"r".repeat(128)] {
        let settings = AuthSettings {
            realm: realm.into(),
            ..settings(Vec::new(), &[])
        };
        assert_eq!(refusal(settings), SettingsError::Realm(name(realm)));
    }
    for bad in ["", "a\0"] {
        assert_eq!(
            refusal(settings(vec![user(bad, "s3cret")], &[])),
            SettingsError::UserName(name(bad))
        );
        assert_eq!(
            refusal(settings(vec![user("alice", bad)], &[])),
            SettingsError::Password(name("alice"))
        );
    }
    assert_eq!(
        refusal(settings(vec![user("alice", "a"), user("alice", "b")], &[])),
        SettingsError::DuplicateUser(name("alice"))
    );
    let keyless = User {
        name: name("alice"),
        credential: Credential::Keys {
            md5: None,
            sha256: None,
        },
    };
    assert_eq!(
        refusal(settings(vec![keyless], &[])),
        SettingsError::NoKey(name("alice"))
    );
    assert_eq!(
        refusal(settings(Vec::new(), &["north", ""])),
        SettingsError::EmptySecret
    );
}

#[test]
fn nothing_secret_is_printed() {
    let settings = settings(vec![user("alice", "s3cret")], &["north"]);
    let authenticator = Authenticator::new(settings.clone()).unwrap();
    assert!(authenticator.has_credentials());
    let bytes = request(b"alice", "s3cret");
    let message = Message::parse(&bytes).unwrap();
    let verified = authenticator.verify(&message, b"alice", NOW).unwrap();
    for text in [
        format!("{settings:?}"),
        format!("{authenticator:?}"),
        format!("{:?}", verified.key),
    ] {
        assert!(
            !text.contains("s3cret") && !text.contains("north"),
            "{text}"
        );
    }
}

#[test]
fn failures_have_stable_names() {
    assert_eq!(
        AuthFailure::ALL.map(AuthFailure::name),
        [
            "unknown_user",
            "expired",
            "wrong_password",
            "malformed_name",
            "revoked",
            "algorithm",
            "unknown_token_key",
            "inactive_token_key",
            "bad_token",
            "token_expired",
        ]
    );
}

proptest! {
    #[test]
    fn no_user_name_gets_in_without_a_key(
        username in proptest::collection::vec(any::<u8>(), 0..600),
        password in ".{0,40}",
    ) {
        let authenticator = authenticator(vec![user("alice", "s3cret!")], &["north"]);
        prop_assert!(whose(&authenticator, &request(&username, &password), NOW).is_err());
    }

    #[test]
    fn whatever_is_minted_is_genuine(user in "\\PC{1,60}", ahead in 0..u64::MAX - NOW) {
        let authenticator = authenticator(Vec::new(), &["north"]);
        let (username, password) = mint_ephemeral(b"north", Some(&user), NOW + ahead);
        let bytes = request(username.as_bytes(), &password);
        prop_assert_eq!(whose(&authenticator, &bytes, NOW), names(&username, &user));
    }
}
