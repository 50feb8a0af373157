//! One allocation with relayed addresses of both families (RFC 8656 §7.1, ADDITIONAL-ADDRESS-FAMILY).

use hairpin::config::Transport;
use hairpin::wire::{AttributeType, Method};
use turn_client_proto::api::{TurnConfig, TurnEvent};
use turn_client_proto::prelude::*;
use turn_client_proto::types::AddressFamily;

use crate::driver::{Driver, alice};
use crate::server::{LOOPBACK, LOOPBACK_6, Setup};

fn both_families() -> TurnConfig {
    let mut config = TurnConfig::new(alice());
    config.add_address_family(AddressFamily::IPV6);
    config
}

/// Both addresses, and data to and from a peer of each family.
fn relays_to_both(mut driver: Driver) {
    driver
        .until(|driver, _| (driver.client.relayed_addresses().count() == 2).then_some(()))
        .unwrap();
    let (asked, answered) = driver.last(Method::ALLOCATE);
    let additional = AttributeType::ADDITIONAL_ADDRESS_FAMILY;
    assert!(asked.attribute(additional).is_some());
    let relayed = AttributeType::XOR_RELAYED_ADDRESS;
    let addresses = answered.attributes().filter(|a| a.kind == relayed);
    assert_eq!(addresses.count(), 2);
    // By indications: of channels the client knows those of one family only.
    driver.echo_at(LOOPBACK, false);
    driver.echo_at(LOOPBACK_6, false);
    driver.free();
}

const RELAYS: [std::net::IpAddr; 2] = [LOOPBACK, LOOPBACK_6];

#[test]
fn t_alloc_22_one_allocation_reaches_peers_of_both_families_over_udp() {
    let (server, address) = Setup {
        relays: &RELAYS,
        ..Setup::default()
    }
    .start();
    relays_to_both(Driver::udp(address, both_families()));
    server.stop().unwrap();
}

#[test]
fn t_alloc_22_one_allocation_reaches_peers_of_both_families_over_tls() {
    let (server, address, certificate) = Setup {
        transport: Transport::Tls,
        relays: &RELAYS,
        ..Setup::default()
    }
    .start_tls();
    relays_to_both(Driver::tls(address, certificate, both_families()));
    server.stop().unwrap();
}

#[test]
fn a_client_that_asks_for_both_families_gets_the_one_there_is_and_hears_of_the_other() {
    let (server, address) = Setup::default().start();
    let mut driver = Driver::udp(address, both_families());
    let (mut created, mut failed) = (None, None);
    driver
        .until(|_, event| {
            match event {
                Some(TurnEvent::AllocationCreated(_, address)) => created = Some(*address),
                Some(TurnEvent::AllocationCreateFailed(family)) => failed = Some(*family),
                _ => {}
            }
            (created.is_some() && failed.is_some()).then_some(())
        })
        .unwrap();
    assert!(created.unwrap().is_ipv4());
    assert_eq!(failed, Some(AddressFamily::IPV6));
    driver.echo(false);
    server.stop().unwrap();
}
