//! What browsers send, byte by byte, and what they need of the answers.

use crate::client::{Login, allocate, bind, permit, refresh};
use crate::world::{Setup, World, peer};
use hairpin::wire::AttributeType;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn w_rtc_01_the_first_allocate_of_libwebrtc_is_challenged() {
    let mut world = World::new();
    let client = world.client(1);
    let request = hex("000300082112a44234384a4d56426977357465620019000411000000");
    let reply = client.send_bytes(&mut world, &request).unwrap();
    assert_eq!(reply.code(), 401);
    assert!(reply.is_challenge());
}

#[test]
fn w_rtc_01_02_captured_allocates_authenticate_up_to_their_foreign_nonce() {
    // The nonces are other servers', so a right password shows as 438 and a wrong one as 401.
    let captured = [
        (
            "localhost",
            "user1",
            "000300502112a442424a432f74324656304f647a0019000411000000000600057573657231000000001400096c6f63\
             616c686f73740000000015001055486d31686945306a6d39723972475300080014cbddafc248330e3fcb0ff54426c6\
             fa5c7880a97a",
        ),
        // TURN_LOGGING_ID behind the integrity, and EVEN-PORT smuggled in there.
        (
            "example.org",
            "alice",
            "000300682112a442000102030405060708090a0b001900041100000000060005616c6963650000000014000b657861\
             6d706c652e6f7267000015001f6f624d61744a6f733277414141646c3757375065445534684b4537326a6461000008\
             0014b5b0681c3e9a11f7babbf0982360c935ec08a87cff0500044b45534f",
        ),
        (
            "example.org",
            "alice",
            "000300682112a442000102030405060708090a0b001900041100000000060005616c6963650000000014000b657861\
             6d706c652e6f7267000015001f6f624d61744a6f733277414141646c3757375065445534684b4537326a6461000008\
             0014b5b0681c3e9a11f7babbf0982360c935ec08a87c0018000180000000",
        ),
    ];
    for (realm, user, request) in captured {
        let mut world = World::with(Setup {
            realm: realm.into(),
            ..Setup::default()
        });
        let client = world.client(1);
        let request = hex(&request.replace(' ', ""));
        let reply = client.send_bytes(&mut world, &request).unwrap();
        // Of the first one's user there is no password here.
        let expected = if user == "alice" { 438 } else { 401 };
        assert_eq!(reply.code(), expected);
        assert!(reply.is_challenge());
        let mut broken = request.clone();
        broken[33] ^= 1;
        let reply = client.send_bytes(&mut world, &broken).unwrap();
        assert_eq!(reply.code(), 401);
    }
}

#[test]
fn w_rtc_19_bindings_of_chrome_and_firefox_are_answered() {
    let mut world = World::new();
    let client = world.client(1);
    for request in [
        "000100002112a4425a53794d7a453271422f7847",
        "000100182112a4426b68447654497a6962756468802f001168747470733a2f2f63796465762e72752f000000",
        "000100082112a442ffa8b247b8329ce4fb06821380280004aa037e19",
        "0001001c2112a44264744968693676426f393366802f0016687474703a2f2f6c6f63616c686f73743a333030302f0000",
    ] {
        let request = hex(request);
        let reply = client.send_bytes(&mut world, &request).unwrap();
        assert_eq!(reply.code(), 0);
        assert_eq!(
            reply.address(AttributeType::XOR_MAPPED_ADDRESS),
            client.path.tuple.client()
        );
    }
}

#[test]
fn w_rtc_18_goog_ping_gets_no_answer() {
    let mut world = World::new();
    let client = world.client(1);
    let ping = hex("020000002112a442000102030405060708090a0b");
    assert_eq!(client.send_bytes(&mut world, &ping), None);
}

#[test]
fn w_rtc_06_a_nonce_of_one_worker_is_good_at_another() {
    let mut world = World::with(Setup {
        workers: 2,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    client.worker = 1;
    assert_eq!(client.ask_once(&mut world, &allocate()).code(), 0);
}

#[test]
fn w_rtc_06_the_nonce_of_a_401_is_good_for_more_than_a_minute() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.get_nonce(&mut world);
    world.advance(120);
    assert_eq!(client.ask_once(&mut world, &allocate()).code(), 0);
}

#[test]
fn w_rtc_05_11_12_a_long_call_is_never_told_that_its_credentials_are_wrong() {
    let mut world = World::with(Setup {
        nonce_lifetime: 600,
        ..Setup::default()
    });
    let mut client = world.client(1);
    let relayed = client.allocated(&mut world);
    assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
    assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
    for second in 1..=2 * 3600 {
        world.advance(1);
        if second % 540 == 0 {
            assert_eq!(client.code(&mut world, &refresh().lifetime(600)), 0);
        }
        if second % 240 == 0 {
            assert_eq!(client.code(&mut world, &permit(&[peer(1, 1)])), 0);
            assert_eq!(client.code(&mut world, &bind(0x4000, peer(1, 1))), 0);
        }
        if second % 5 == 0 {
            client.push(&mut world, 0x4000, b"consent");
            world.peer_sends(peer(1, 1), relayed, b"consent");
            assert_eq!(world.take_sent().len(), 1, "second {second}");
            assert_eq!(client.received(&mut world).len(), 1, "second {second}");
        }
    }
    assert!(world.auth_failures.is_empty());
    // The route was there all the time, so nobody had to be told more than once.
    assert_eq!(world.transcript.matches("RouteAdded").count(), 1);
}

#[test]
fn t_refr_12_a_delete_that_met_438_and_came_back_as_a_refresh_is_an_ordinary_refresh() {
    let mut world = World::with(Setup {
        nonce_lifetime: 60,
        ..Setup::default()
    });
    let mut client = world.client(1);
    client.allocated(&mut world);
    world.advance(62);
    let reply = client.ask_once(&mut world, &refresh().lifetime(0));
    assert_eq!(reply.code(), 438);
    client.nonce = reply.value(AttributeType::NONCE).unwrap();
    assert_eq!(client.ask_once(&mut world, &refresh()).lifetime(), 600);
    world.advance(600);
    assert!(!client.is_allocated(&world), "it ends in its own time");
}

#[test]
fn two_logins_of_one_user_are_the_same_user() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.allocated(&mut world);
    client.login = Login::new("alice", "s3cret");
    client.get_nonce(&mut world);
    assert_eq!(client.code(&mut world, &refresh()), 0);
}
