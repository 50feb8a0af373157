//! TURN over DTLS: handshakes as they should be, with losses, and such as no client makes.

// The server and the clients are built outside of test functions.
#![allow(clippy::unwrap_used)]

mod rig;
mod turn;

use hairpin::engine::counters::DtlsHandshake;
use hairpin::net::dtls::{Dtls, DtlsError, DtlsSettings};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use rig::{Client, Offer, PATIENCE, Rig, SETTINGS, SILENCE};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};
use stun::attributes::ATTR_DATA;
use turn::{Turn, binding, channel_data, read};

const OFFERS: [Offer; 3] = [Offer::Dtls12, Offer::Dtls13, Offer::Both];

fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn read_from(peer: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let (length, _) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn a_client_learns_its_address_over_each_version() {
    let rig = Rig::start(SETTINGS);
    for offer in OFFERS {
        let mut client = Client::connected(&rig, offer);
        let own = client.socket.local_addr().unwrap();
        assert_eq!(binding(&mut client), own, "{offer:?}");
    }
    assert_eq!(rig.handshakes(DtlsHandshake::Completed), 3);
    assert_eq!(rig.handshakes_over(), 3);
    rig.stop();
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_and_the_old_ones_go_on() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut before = Client::connected(&rig, offer);
        let renewed = rig.renew();
        assert!(before.shown != renewed);
        let after = Client::connected(&rig, offer);
        assert!(after.shown == renewed, "{offer:?}");
        let own = before.socket.local_addr().unwrap();
        assert_eq!(binding(&mut before), own, "{offer:?}");
    }
    rig.stop();
}

#[test]
fn s_tls_04_a_first_client_hello_is_answered_with_a_cookie() {
    let rig = Rig::start(SETTINGS);
    for (count, offer) in OFFERS.into_iter().enumerate() {
        Client::connected(&rig, offer);
        assert_eq!(rig.cookies(), count as u64 + 1, "{offer:?}");
    }
    rig.stop();
}

#[test]
fn t_cd_06_media_passes_both_ways_without_padding() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        let mut turn = Turn::allocate(&mut client);
        let peer = peer();
        let (to, relayed) = (peer.local_addr().unwrap(), turn.relayed);
        turn.permit(to);
        turn.send(to, b"in an indication");
        assert_eq!(read_from(&peer), b"in an indication");
        peer.send_to(b"back", relayed).unwrap();
        let data = read(&turn.client.hear());
        assert_eq!(data.get(ATTR_DATA).unwrap(), b"back");

        turn.bind(to);
        for payload in [&b"odd"[..], b"", &[9; 1200], &[8; 1401], &[7; 9000]] {
            turn.send_on_channel(payload);
            assert_eq!(read_from(&peer), payload);
            peer.send_to(payload, relayed).unwrap();
            assert_eq!(turn.client.hear(), channel_data(payload), "not padded");
        }
        turn.refresh(0);
    }
    rig.wait("all allocations released", |rig| rig.allocations() == 0);
    rig.stop();
}

#[test]
fn s_tls_07_requests_without_the_magic_cookie_are_answered_with_500_and_indications_not_at_all() {
    let rig = Rig::start(SETTINGS);
    let mut client = Client::connected(&rig, Offer::Both);
    let transaction = [7; 16];
    let indication = [&[0, 0x11, 0, 0][..], &transaction].concat();
    client.send(&indication);
    let too_long = [&[0, 1, 0, 4][..], &transaction].concat();
    client.send(&too_long);
    let request = [&[0, 1, 0, 0][..], &transaction].concat();
    let answer = client.ask(&request);
    assert_eq!(answer[..4], [1, 0x11, 0, 8], "a Binding error");
    assert_eq!(answer[4..20], transaction);
    assert_eq!(answer[20..], [0, 9, 0, 4, 0, 0, 5, 0], "500");
    assert!(client.said.is_empty());
    rig.stop();
}

#[test]
fn closing_the_association_frees_the_allocation() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        Turn::allocate(&mut client);
        assert_eq!(rig.allocations(), 1);
        client.close();
        rig.wait("the allocation is gone", |rig| rig.allocations() == 0);
        assert!(
            client.tries(PATIENCE, |client| client.is_closed),
            "{offer:?}: told"
        );
    }
    assert_eq!(rig.closed(), 2);
    rig.stop();
}

#[test]
fn a_client_that_starts_again_from_its_port_replaces_its_association() {
    let rig = Rig::start(SETTINGS);
    let mut client = Client::connected(&rig, Offer::Dtls12);
    Turn::allocate(&mut client);
    for (round, offer) in [Offer::Dtls13, Offer::Dtls12, Offer::Both]
        .into_iter()
        .enumerate()
    {
        let mut again = Client::on(client.socket.try_clone().unwrap(), &rig, offer);
        again.connect();
        assert_eq!(rig.allocations(), 0, "the former allocation is over");
        assert_eq!(rig.closed(), round as u64 + 1);
        binding(&mut again);
        Turn::allocate(&mut again);
        assert_eq!(rig.allocations(), 1);
        client = again;
    }
    rig.stop();
}

#[test]
fn a_client_hello_without_a_cookie_does_not_disturb_an_association() {
    let rig = Rig::start(SETTINGS);
    let mut client = Client::connected(&rig, Offer::Dtls12);
    Turn::allocate(&mut client);
    // The first one of this handshake, the first one of another.
    let first = client.sent[0].clone();
    let mut other = first.clone();
    other[13 + 12 + 2] ^= 1;
    for hello in [first, other] {
        client.socket.send(&hello).unwrap();
        binding(&mut client);
        assert_eq!(rig.allocations(), 1);
    }
    rig.stop();
}

#[test]
fn handshakes_survive_the_loss_of_each_datagram() {
    let rig = Rig::start(SETTINGS);
    for offer in OFFERS {
        for lost in 0..8 {
            let mut client = Client::new(&rig, offer);
            let mut count = 0;
            let loses = move |_: &[u8]| {
                count += 1;
                count == lost + 1
            };
            if lost % 2 == 0 {
                client.loses = Box::new(loses);
            } else {
                client.misses = Box::new(loses);
            }
            client.connect();
            client.loses = Box::new(|_| false);
            client.misses = Box::new(|_| false);
            binding(&mut client);
        }
    }
    rig.stop();
}

#[test]
fn handshakes_survive_duplicates_of_every_datagram() {
    let rig = Rig::start(SETTINGS);
    for offer in OFFERS {
        let mut client = Client::new(&rig, offer);
        let twice = client.socket.try_clone().unwrap();
        client.loses = Box::new(move |datagram| {
            twice.send(datagram).unwrap();
            false
        });
        client.connect();
        client.loses = Box::new(|_| false);
        binding(&mut client);
    }
    assert_eq!(rig.handshakes(DtlsHandshake::Completed), 3);
    rig.stop();
}

#[test]
fn application_data_is_not_taken_twice() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        binding(&mut client);
        let replay = client.sent.last().unwrap().clone();
        for _ in 0..3 {
            client.socket.send(&replay).unwrap();
        }
        assert!(
            !client.tries(SILENCE, |client| !client.said.is_empty()),
            "{offer:?}"
        );
        binding(&mut client);
    }
    rig.stop();
}

/// A record in the clear.
fn record(kind: u8, epoch: u16, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD];
    record.extend(epoch.to_be_bytes());
    record.extend([0, 0, 0, 0, 0, 9]);
    record.extend((content.len() as u16).to_be_bytes());
    record.extend(content);
    record
}

/// A first ClientHello.
fn client_hello(rig: &Rig, offer: Offer) -> Vec<u8> {
    let mut client = Client::new(rig, offer);
    client.loses = Box::new(|_| true);
    client.dtls.handle_timeout(Instant::now()).unwrap();
    client.flush();
    client.sent.remove(0)
}

#[test]
fn s_tls_04_x_cve_12_two_thousand_forged_client_hellos_leave_nothing_behind() {
    let rig = Rig::start(SETTINGS);
    let hellos = OFFERS.map(|offer| client_hello(&rig, offer));
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + high, low, 1), 0)).unwrap();
        let mut hello = hellos[usize::from(number) % 3].clone();
        hello[30..32].copy_from_slice(&number.to_be_bytes());
        socket.send_to(&hello, rig.address).unwrap();
        if number % 100 == 0 {
            // So that the socket's buffer is not what they end at.
            rig.wait("answers", |rig| rig.cookies() > u64::from(number));
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let answer = read_from(&socket);
            assert!(answer.len() <= hello.len(), "no amplification");
        }
    }
    rig.wait("all are answered", |rig| rig.cookies() == 2000);
    assert_eq!(rig.handshakes_over(), 0);
    assert_eq!(rig.half_open(), 0, "no associations");
    assert_eq!(rig.associations(), 0);
    binding(&mut Client::connected(&rig, Offer::Both));
    rig.stop();
}

#[test]
fn s_tls_04_a_cookie_is_good_only_for_the_address_and_the_words_it_was_made_for() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        let before = rig.cookies();
        let second = client.sent[1].clone();
        // From elsewhere: another port of the same host.
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        elsewhere.send_to(&second, rig.address).unwrap();
        rig.wait("a new cookie", |rig| rig.cookies() == before + 1);
        // With other random bytes.
        let mut other = second.clone();
        other[30] ^= 1;
        client.socket.send(&other).unwrap();
        rig.wait("a new cookie", |rig| rig.cookies() == before + 2);
        assert_eq!(rig.associations(), 1, "{offer:?}");
        client.close();
        rig.wait("the end", |rig| rig.associations() == 0);
    }
    rig.stop();
}

#[test]
fn a_replayed_client_hello_with_its_cookie_does_not_disturb_the_association() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        Turn::allocate(&mut client).refresh(600);
        for datagram in client.sent.clone() {
            client.socket.send(&datagram).unwrap();
        }
        binding(&mut client);
        assert_eq!(rig.allocations(), 1);
        assert_eq!(rig.handshakes(DtlsHandshake::Failed), 0);
        client.close();
        rig.wait("the end", |rig| rig.allocations() == 0);
    }
    rig.stop();
}

#[test]
fn s_tls_08_x_cve_12_strangers_get_no_answer_to_anything_but_a_client_hello() {
    let rig = Rig::start(SETTINGS);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(rig.address).unwrap();
    stranger.set_read_timeout(Some(SILENCE)).unwrap();
    let hello = client_hello(&rig, Offer::Dtls12);
    let mut datagrams = vec![
        Vec::new(),
        b"hello".to_vec(),
        turn::request(stun::message::METHOD_BINDING, Vec::new()),
        channel_data(b"media"),
        record(23, 0, b"application data"),
        record(23, 1, &[0; 64]),
        record(21, 0, &[2, 40]),
        record(20, 0, &[1]),
        record(22, 1, &hello[13..]),
        record(22, 0, &[14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        vec![0x2F; 60],
    ];
    // A ClientHello that ends anywhere.
    datagrams.extend((1..hello.len()).map(|end| hello[..end].to_vec()));
    let count = datagrams.len() as u64;
    for datagram in &datagrams {
        stranger.send(datagram).unwrap();
    }
    rig.wait("all are dropped", |rig| rig.dropped() == count);
    assert!(stranger.recv(&mut [0; 2000]).is_err(), "no answer");
    assert_eq!((rig.cookies(), rig.associations()), (0, 0));
    rig.stop();
}

#[test]
fn versions_before_1_2_are_refused_with_an_alert() {
    let rig = Rig::start(SETTINGS);
    let stranger = peer();
    let mut hello = client_hello(&rig, Offer::Dtls12);
    hello[13 + 12 + 1] = 0xFF;
    stranger.send_to(&hello, rig.address).unwrap();
    assert_eq!(read_from(&stranger)[13..], [2, 70], "protocol_version");
    assert_eq!(rig.associations(), 0);

    // From the port of a client that is there, which takes no notice.
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        Turn::allocate(&mut client);
        client.socket.send(&hello).unwrap();
        assert_eq!(read_from(&client.socket)[13..], [2, 70]);
        client.socket.send(&hello).unwrap();
        binding(&mut client);
        assert_eq!(rig.allocations(), 1);
        client.close();
        rig.wait("the end", |rig| rig.allocations() == 0);
    }
    rig.stop();
}

#[test]
fn a_client_with_no_cipher_suite_in_common_is_told_so() {
    let rig = Rig::start(SETTINGS);
    let stranger = peer();
    let ask = |cookie: &[u8], suites: &[u8], number: u8| {
        let mut body = vec![0xFE, 0xFD];
        body.extend([5; 32]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend((suites.len() as u16).to_be_bytes());
        body.extend(suites);
        body.extend([1, 0]);
        let [.., high, low] = (body.len() as u32).to_be_bytes();
        let header = [1, 0, high, low, 0, number, 0, 0, 0, 0, high, low];
        let hello = record(22, 0, &[&header[..], &body].concat());
        stranger.send_to(&hello, rig.address).unwrap();
        read_from(&stranger)
    };
    // ECDHE_RSA_WITH_AES_128_GCM_SHA256; an unknown one; one that is known, without Extended Master Secret.
    for suites in [[0xC0, 0x2F], [0x9A, 0x9A], [0xC0, 0x2B]] {
        let padding = [0x9A; 30];
        let suites = [&suites[..], &padding].concat();
        let request = ask(b"", &suites, 0);
        assert_eq!(request[13], 3, "HelloVerifyRequest");
        let cookie = &request[13 + 12 + 3..];
        let answer = ask(cookie, &suites, 1);
        assert_eq!(
            (answer[0], &answer[13..]),
            (21, &[2, 40][..]),
            "handshake_failure"
        );
    }
    assert_eq!(rig.handshakes(DtlsHandshake::Failed), 3);
    assert_eq!(rig.associations(), 0);
    rig.stop();
}

#[test]
fn garbage_does_not_end_a_handshake_or_an_association() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let mut client = Client::connected(&rig, offer);
        Turn::allocate(&mut client);
        let socket = client.socket.try_clone().unwrap();
        let mut random: u32 = 1;
        for sent in client.sent.clone() {
            for kind in [sent[0], 20, 21, 22, 23, 26, 0x2C, 0x2F] {
                let mut mutant = sent.clone();
                mutant[0] = kind;
                for _ in 0..4 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let place = random as usize % mutant.len();
                    mutant[place] ^= (random >> 24) as u8 | 1;
                }
                // A ClientHello that was changed is a stranger's, who is at this address all the same.
                if !hairpin::wire::client_hello::is_client_hello(&mutant) {
                    socket.send(&mutant).unwrap();
                }
            }
        }
        binding(&mut client);
        assert_eq!(rig.allocations(), 1, "{offer:?}");
        client.close();
        rig.wait("the end", |rig| rig.allocations() == 0);
    }
    rig.stop();
}

#[test]
fn s_tls_08_x_cve_12_handshakes_of_one_network_are_limited() {
    let rig = Rig::start(DtlsSettings {
        max_half_open_per_prefix: 3,
        handshake_timeout: Duration::from_secs(2),
        ..SETTINGS
    });
    let mut stuck: Vec<_> = (0..3).map(|_| half_open(&rig, "127.0.0.1:0")).collect();
    rig.wait("three handshakes", |rig| rig.half_open() == 3);
    stuck.push(half_open(&rig, "127.0.0.77:0"));
    rig.wait("no more", |rig| {
        rig.handshakes(DtlsHandshake::Suppressed) > 0
    });
    let mut other = Client::on(UdpSocket::bind("127.0.1.1:0").unwrap(), &rig, Offer::Both);
    other.connect();
    rig.wait("they end", |rig| {
        rig.handshakes(DtlsHandshake::TimedOut) == 3
    });
    Client::connected(&rig, Offer::Both);
    rig.stop();
}

#[test]
fn s_tls_08_x_cve_12_handshakes_and_associations_are_limited_in_all() {
    for settings in [
        DtlsSettings {
            max_half_open: 2,
            ..SETTINGS
        },
        DtlsSettings {
            max_associations: 2,
            ..SETTINGS
        },
    ] {
        let rig = Rig::start(settings);
        let first = half_open(&rig, "127.0.1.1:0");
        let second = half_open(&rig, "127.0.2.1:0");
        rig.wait("two handshakes", |rig| rig.half_open() == 2);
        let third = half_open(&rig, "127.0.3.1:0");
        rig.wait("no more", |rig| {
            rig.handshakes(DtlsHandshake::Suppressed) > 0
        });
        assert_eq!(rig.half_open(), 2);
        drop((first, second, third));
        rig.stop();
    }
}

/// A client that stops after it has shown its address.
fn half_open(rig: &Rig, from: &str) -> Client {
    let mut client = Client::on(UdpSocket::bind(from).unwrap(), rig, Offer::Dtls12);
    let mut count = 0;
    client.loses = Box::new(move |_| {
        count += 1;
        count > 2
    });
    client.dtls.handle_timeout(Instant::now()).unwrap();
    client.tries(SILENCE, |client| client.sent.len() > 2);
    client
}

#[test]
fn s_tls_08_idle_clients_are_sent_away_unless_they_have_an_allocation() {
    let rig = Rig::start(DtlsSettings {
        idle_timeout: Duration::from_millis(400),
        ..SETTINGS
    });
    let mut idle = Client::connected(&rig, Offer::Dtls12);
    let mut busy = Client::connected(&rig, Offer::Dtls13);
    let mut turn = Turn::allocate(&mut busy);
    idle.until("end", |client| client.is_closed);
    assert_eq!((rig.closed(), rig.allocations()), (1, 1));
    turn.client.tries(Duration::from_secs(1), |_| false);
    turn.refresh(600);
    assert_eq!(rig.associations(), 1);
    turn.refresh(0);
    busy.until("end", |client| client.is_closed);
    assert_eq!(rig.associations(), 0);
    rig.stop();
}

#[test]
fn a_stranger_keeps_no_association_by_talking() {
    let rig = Rig::start(DtlsSettings {
        idle_timeout: Duration::from_millis(400),
        ..SETTINGS
    });
    let mut stranger = Client::connected(&rig, Offer::Dtls12);
    let since = Instant::now();
    while rig.closed() == 0 {
        if !stranger.is_closed {
            stranger.send(&[0; 20]);
        }
        stranger.tries(Duration::from_millis(50), |_| false);
        assert!(since.elapsed() < PATIENCE);
    }
    assert_eq!(rig.associations(), 0);
    rig.stop();
}

#[test]
fn an_association_outlives_an_allocation_that_was_released() {
    let rig = Rig::start(SETTINGS);
    let mut client = Client::connected(&rig, Offer::Both);
    for _ in 0..3 {
        Turn::allocate(&mut client).refresh(0);
    }
    assert_eq!((rig.associations(), rig.allocations()), (1, 0));
    rig.stop();
}

#[test]
fn clients_are_told_when_the_server_stops() {
    let rig = Rig::start(SETTINGS);
    let mut clients = [Offer::Dtls12, Offer::Dtls13].map(|offer| Client::connected(&rig, offer));
    // In DTLS 1.3 the client is done before the server knows.
    for client in &mut clients {
        binding(client);
    }
    rig.stop();
    for client in &mut clients {
        client.until("end", |client| client.is_closed);
    }
}

#[test]
fn certificates_with_a_p384_key_work() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let rig = Rig::with_key(SETTINGS, &key);
    for offer in OFFERS {
        binding(&mut Client::connected(&rig, offer));
    }
    rig.stop();
}

#[test]
fn before_there_is_a_certificate_handshakes_fail_and_afterwards_they_do_not() {
    let rig = Rig::without_certificate(SETTINGS);
    for (count, offer) in OFFERS.into_iter().enumerate() {
        let mut client = Client::new(&rig, offer);
        let _ = client.dtls.handle_timeout(std::time::Instant::now());
        let failed = |rig: &Rig| rig.handshakes(DtlsHandshake::Failed);
        let is_over = |_: &Client| failed(&rig) > count as u64;
        assert!(client.tries(rig::PATIENCE, is_over));
        assert!(!client.is_connected);
    }
    assert_eq!((rig.associations(), rig.half_open()), (0, 0));
    rig.renew();
    for offer in OFFERS {
        binding(&mut Client::connected(&rig, offer));
    }
    rig.stop();
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rig::certificate(&key);
    let dtls = Dtls::new(
        SETTINGS,
        Some((&certificate.certificate, &certificate.private_key)),
        [0; 32],
    );
    assert!(matches!(dtls, Err(DtlsError::Key)));
}

#[test]
fn a_panic_in_one_clients_state_machine_ends_that_client_and_no_other() {
    let rig = Rig::start(SETTINGS);
    for offer in [Offer::Dtls12, Offer::Dtls13] {
        let before = rig.panics().0;
        let mut clients = [0, 1].map(|_| Client::connected(&rig, offer));
        let [one, other] = &mut clients;
        Turn::allocate(one);
        let mut talker = Turn::allocate(other);
        let allocations = rig.allocations();
        rig.make_one_panic();
        one.send(b"something");
        rig.wait("the end of its allocation", |rig| {
            rig.allocations() == allocations - 1
        });
        assert_eq!(rig.panics(), (before + 1, 0), "{offer:?}");
        talker.refresh(600);
        let peer = peer();
        let to = peer.local_addr().unwrap();
        talker.permit(to);
        talker.send(to, b"still here");
        assert_eq!(read_from(&peer), b"still here");
        // Newcomers too, whose first handshake may be the one.
        rig.make_one_panic();
        let mut unlucky = Client::new(&rig, offer);
        unlucky.tries(SILENCE, |_| false);
        rig.wait("the second panic", |rig| rig.panics().0 == before + 2);
        Client::connected(&rig, offer);
        talker.refresh(0);
    }
    rig.stop();
}
