//! TURN over TCP and over TLS.

use hairpin::config::Transport;
use hairpin::wire::{AttributeType, Mac, Method};
use turn_client_proto::api::TurnConfig;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::message::IntegrityAlgorithm;

use crate::driver::{Driver, alice};
use crate::server::Setup;

fn config() -> TurnConfig {
    let mut config = TurnConfig::new(alice());
    config.set_supported_integrity(IntegrityAlgorithm::Sha256);
    config.set_anonymous_username(Feature::Required);
    config
}

fn relays_with_sha256_and_a_hidden_name(mut driver: Driver, bind_channel: bool) {
    assert!(driver.allocate().is_some());
    driver.echo(bind_channel);
    let (asked, answered) = driver.last(Method::ALLOCATE);
    assert!(asked.attribute(AttributeType::USERHASH).is_some());
    assert_eq!(answered.mac(), Some(Mac::Sha256));
    driver.free();
}

#[test]
fn it_relays_over_tcp() {
    for bind_channel in [false, true] {
        let transport = Transport::Tcp;
        let (server, address) = Setup {
            transport,
            ..Setup::default()
        }
        .start();
        relays_with_sha256_and_a_hidden_name(Driver::tcp(address, config()), bind_channel);
        server.stop().unwrap();
    }
}

#[test]
fn it_relays_over_tls() {
    for bind_channel in [false, true] {
        let transport = Transport::Tls;
        let (server, address, certificate) = Setup {
            transport,
            ..Setup::default()
        }
        .start_tls();
        let driver = Driver::tls(address, certificate, config());
        relays_with_sha256_and_a_hidden_name(driver, bind_channel);
        server.stop().unwrap();
    }
}
