//! SHA-256 integrity and hidden user names (RFC 8489 §9.2), and clients that know one side of the choice only.

use hairpin::auth::{SigningAlgorithm, mint_ephemeral_with};
use hairpin::wire::{AttributeType, Mac, Method, PasswordAlgorithm};
use turn_client_proto::api::TurnConfig;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::message::IntegrityAlgorithm;
use turn_client_proto::types::TurnCredentials;

use crate::driver::{Driver, alice};
use crate::server::{BOTH, Setup};

const SECRET: &str = "north by northwest";

#[test]
fn s_pwa_08_09_11_sha256_with_a_hidden_name_relays_both_ways() {
    for bind_channel in [false, true] {
        let (server, address) = Setup::default().start();
        let mut config = TurnConfig::new(alice());
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.set_anonymous_username(Feature::Required);
        let mut driver = Driver::udp(address, config);
        assert!(driver.allocate().is_some());
        driver.echo(bind_channel);
        let (asked, answered) = driver.last(Method::ALLOCATE);
        assert!(asked.attribute(AttributeType::USERHASH).is_some());
        assert!(asked.attribute(AttributeType::USERNAME).is_none());
        assert!(asked.attribute(AttributeType::PASSWORD_ALGORITHM).is_some());
        assert_eq!(answered.mac(), Some(Mac::Sha256));
        driver.free();
        server.stop().unwrap();
    }
}

#[test]
fn s_pwa_04_09_every_mix_of_offer_and_integrity_works_that_both_sides_know() {
    use PasswordAlgorithm::{Md5, Sha256};
    let (sha1, sha256) = (IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256);
    for (offered, supported, works) in [
        (&BOTH[..], &[sha1][..], true),
        (&BOTH, &[sha256], true),
        (&BOTH, &[sha1, sha256], true),
        (&[Md5, Sha256], &[sha256], true),
        (&[Sha256], &[sha256], true),
        (&[Md5], &[sha1, sha256], true),
        (&[], &[sha1], true),
        (&[Sha256], &[sha1], false),
    ] {
        let (server, address) = Setup {
            algorithms: offered,
            ..Setup::default()
        }
        .start();
        let mut config = TurnConfig::new(alice());
        config.set_supported_integrity(supported[0]);
        for also in &supported[1..] {
            config.add_supported_integrity(*also);
        }
        let mut driver = Driver::udp(address, config);
        let allocated = driver.allocate();
        assert_eq!(allocated.is_some(), works, "{offered:?} {supported:?}");
        server.stop().unwrap();
    }
}

#[test]
fn s_pwa_13_a_client_that_hides_its_name_when_it_can_uses_an_ephemeral_credential() {
    let (server, address) = Setup {
        secrets: &[SECRET],
        ..Setup::default()
    }
    .start();
    for signing in [SigningAlgorithm::Sha1, SigningAlgorithm::Sha256] {
        let (name, password) =
            mint_ephemeral_with(signing, SECRET.as_bytes(), Some("carol"), 4_000_000_000);
        let mut config = TurnConfig::new(TurnCredentials::new(&name, &password));
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.set_anonymous_username(Feature::Auto);
        let mut driver = Driver::udp(address, config);
        assert!(driver.allocate().is_some());
        driver.echo(true);
    }
    server.stop().unwrap();
}

#[test]
fn a_wrong_password_is_refused_whichever_integrity_it_has() {
    let (server, address) = Setup::default().start();
    for integrity in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        let mut config = TurnConfig::new(TurnCredentials::new("alice", "wrong"));
        config.set_supported_integrity(integrity);
        let mut driver = Driver::udp(address, config);
        assert!(driver.allocate().is_none(), "{integrity:?}");
    }
    server.stop().unwrap();
}
