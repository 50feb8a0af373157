//! The room server as pages meet it: over real sockets on loopback, and what no page sends.

use crate::ice_servers::Api;
use crate::rooms::{Limits, Rooms, SEATS};
use crate::server::{self, Bounds, Door};
use crate::signalling::{Clerk, Patience};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const ORIGIN: &str = "http://localhost:8080";
const SOON: Duration = Duration::from_secs(20);

/// A room server of its own for each test.
struct House {
    address: String,
}

impl House {
    async fn open() -> Self {
        Self::with(Limits::default(), Patience::default(), given().await).await
    }

    async fn with(limits: Limits, patience: Patience, api: Api) -> Self {
        Self::bounded(limits, patience, api, Bounds::default()).await
    }

    async fn bounded(limits: Limits, patience: Patience, api: Api, bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let clerk = Clerk::new(Rooms::new(limits), api, patience);
        let door = Door::new(vec![ORIGIN.to_owned()], clerk, bounds);
        tokio::spawn(server::serve(listener, door));
        Self { address }
    }

    async fn page(&self) -> Page {
        Page::open(&self.address, Some(ORIGIN)).await.unwrap()
    }

    /// A page that has joined; and what it was told.
    async fn member(&self, room: &str, name: &str) -> (Page, Value) {
        let mut page = self.page().await;
        page.say(&json!({"type": "join", "room": room, "name": name}))
            .await;
        let joined = page.hear().await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (page, joined)
    }
}

/// A stand-in for hairpin's API that gives the same to everybody.
async fn given() -> Api {
    let servers = json!([{"urls": ["turn:192.0.2.1:3478"], "username": "1:x", "credential": "c"}]);
    let answer = json!({ "iceServers": servers }).to_string();
    let router = axum::Router::new().fallback(move || std::future::ready(answer.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    Api::new(&url, "calls", "the-token").unwrap()
}

/// What a browser does, as far as the server sees it.
struct Page(WebSocketStream<TcpStream>);

impl Page {
    async fn open(address: &str, origin: Option<&str>) -> Result<Self, Error> {
        let mut request = format!("ws://{address}/signal").into_client_request()?;
        if let Some(origin) = origin {
            let headers = request.headers_mut();
            headers.insert("Origin", origin.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        Ok(Self(client_async(request, stream).await?.0))
    }

    async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    async fn say_text(&mut self, text: &str) {
        // The server may have hung up already.
        let _ = self.0.send(Message::text(text)).await;
    }

    /// The next message.
    async fn hear(&mut self) -> Value {
        let message = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("no message, but {other:?}"),
                }
            }
        };
        timeout(SOON, message).await.expect("a message")
    }

    /// The next message of a type; others may come before it.
    async fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Everything up to the answer to a ping: nothing else was for this page.
    async fn hear_all(&mut self) -> Vec<Value> {
        self.say(&json!({"type": "ping"})).await;
        let mut all = Vec::new();
        loop {
            match self.hear().await {
                pong if pong["type"] == "pong" => return all,
                message => all.push(message),
            }
        }
    }

    /// That the server ends it, and why.
    async fn is_refused(&mut self) -> String {
        let refused = self.hear_of("refused").await;
        let end = timeout(SOON, self.0.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(CloseFrame { code, .. })))) = end else {
            panic!("refused, but not closed: {end:?}");
        };
        assert_eq!(u16::from(code), 1008);
        refused["reason"].as_str().unwrap().to_owned()
    }

    /// As when a network is lost: no goodbye.
    fn cut(self) {
        self.0.get_ref().set_zero_linger().unwrap();
    }
}

fn resume(room: &str, joined: &Value) -> Value {
    json!({"type": "resume", "room": room, "seat": joined["seat"], "token": joined["token"]})
}

#[tokio::test]
async fn a_newcomer_is_told_who_is_there_and_they_are_told_of_the_newcomer() {
    let house = House::open().await;
    let (mut ada, first) = house.member("room", " Ada ").await;
    assert_eq!(first["members"], json!([]));
    let (_bo, second) = house.member("room", "Bo").await;
    assert_eq!(
        second["members"],
        json!([{"seat": first["seat"], "name": "Ada"}])
    );
    let told = ada.hear().await;
    let bo = json!({"seat": second["seat"], "name": "Bo"});
    assert_eq!(told, json!({"type": "member-joined", "member": bo}));
    let servers = &second["iceServers"][0];
    assert_eq!(servers["urls"], json!(["turn:192.0.2.1:3478"]));
    let username = servers["username"].as_str().unwrap();
    // The name is the server's, with nothing of the member's in it.
    assert!(username.contains(':') && !username.contains("Bo"));
}

#[tokio::test]
async fn descriptions_and_candidates_reach_the_one_they_are_for_with_the_sender_on_them() {
    let house = House::open().await;
    let (mut ada, first) = house.member("room", "Ada").await;
    let (mut bo, second) = house.member("room", "Bo").await;
    let (mut cem, _) = house.member("room", "Cem").await;
    let (a, b) = (&first["seat"], &second["seat"]);
    let candidate = json!({"candidate": "candidate:1 1 udp 1 192.0.2.7 9 typ host", "sdpMid": "0",
        "sdpMLineIndex": 0, "usernameFragment": null});
    bo.say(&json!({"type": "offer", "to": a, "sdp": "v=0"}))
        .await;
    bo.say(&json!({"type": "candidate", "to": a, "candidate": candidate}))
        .await;
    let offer = ada.hear_of("offer").await;
    assert_eq!(offer, json!({"type": "offer", "from": b, "sdp": "v=0"}));
    let came = ada.hear().await;
    let expected = json!({"type": "candidate", "from": b, "candidate": candidate});
    assert_eq!(came, expected);
    ada.say(&json!({"type": "answer", "to": b, "sdp": "v=0 too"}))
        .await;
    let answer = bo.hear_of("answer").await;
    assert_eq!(answer["from"], *a);
    // Both are in the room, but it was not for them.
    let of_cem = cem.hear_all().await;
    assert_eq!(of_cem, Vec::<Value>::new());
}

#[tokio::test]
async fn candidates_stay_in_their_room() {
    let house = House::open().await;
    let (mut ada, first) = house.member("one-room", "Ada").await;
    let (mut eve, other) = house.member("another-room", "Eve").await;
    // Seats are numbered room by room, so Eve names Ada's number, and would name her own.
    assert_eq!(first["seat"], other["seat"]);
    let (_bo, second) = house.member("one-room", "Bo").await;
    let candidate = json!({"candidate": "candidate:1", "sdpMid": null, "sdpMLineIndex": null,
        "usernameFragment": null});
    for to in [&first["seat"], &second["seat"]] {
        eve.say(&json!({"type": "candidate", "to": to, "candidate": candidate}))
            .await;
        assert_eq!(
            eve.hear().await,
            json!({"type": "refused", "reason": "no-such-member"})
        );
    }
    let heard = ada.hear_all().await;
    assert!(
        heard.iter().all(|it| it["type"] == "member-joined"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_message_to_somebody_unknown_is_refused_and_ends_nothing() {
    let house = House::open().await;
    let (mut ada, _) = house.member("room", "Ada").await;
    for seat in [0, 77, u32::MAX] {
        ada.say(&json!({"type": "offer", "to": seat, "sdp": ""}))
            .await;
        assert_eq!(ada.hear().await["reason"], "no-such-member");
    }
    assert!(ada.hear_all().await.is_empty());
}

#[tokio::test]
async fn a_full_room_takes_nobody_until_somebody_leaves() {
    let house = House::open().await;
    let mut members = Vec::new();
    for number in 0..SEATS {
        members.push(house.member("room", &format!("member {number}")).await);
    }
    let mut late = house.page().await;
    late.say(&json!({"type": "join", "room": "room", "name": "late"}))
        .await;
    assert_eq!(late.is_refused().await, "room-full");
    let (mut leaver, _) = members.pop().unwrap();
    leaver.say(&json!({"type": "leave"})).await;
    members[0].0.hear_of("member-left").await;
    let (_, joined) = house.member("room", "late").await;
    assert_eq!(joined["members"].as_array().unwrap().len(), SEATS - 1);
}

#[tokio::test]
async fn rooms_have_a_bound_and_an_empty_room_is_none() {
    let limits = Limits {
        rooms: 2,
        ..Limits::default()
    };
    let house = House::with(limits, Patience::default(), given().await).await;
    let (_ada, _) = house.member("one", "Ada").await;
    let (mut bo, _) = house.member("two", "Bo").await;
    let mut late = house.page().await;
    let third = json!({"type": "join", "room": "three", "name": "Cem"});
    late.say(&third).await;
    assert_eq!(late.is_refused().await, "server-full");
    bo.say(&json!({"type": "leave"})).await;
    timeout(SOON, async {
        loop {
            let mut late = house.page().await;
            late.say(&third).await;
            if late.hear().await["type"] == "joined" {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nobody_else() {
    let house = House::open().await;
    let (mut ada, first) = house.member("room", "Ada").await;
    let to = &first["seat"];
    let long = "x".repeat(31 * 1024);
    let garbage = [
        "".to_owned(),
        "nonsense".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "[".repeat(30_000),
        json!({"type": "shout"}).to_string(),
        json!({"type": "ping", "more": 1}).to_string(),
        json!({"type": "offer", "to": to}).to_string(),
        json!({"type": "offer", "to": -1, "sdp": ""}).to_string(),
        json!({"type": "offer", "to": to, "sdp": 7}).to_string(),
        json!({"type": "offer", "to": to, "from": to, "sdp": ""}).to_string(),
        json!({"type": "offer", "to": to, "sdp": long}).to_string(),
        json!({"type": "candidate", "to": to, "candidate": "candidate:1"}).to_string(),
        json!({"type": "candidate", "to": to, "candidate": {"candidate": "x".repeat(1025)}})
            .to_string(),
        json!({"type": "join", "room": "room", "name": "twice"}).to_string(),
        resume("room", &first).to_string(),
    ];
    for text in &garbage {
        let (mut bo, _) = house.member("room", "Bo").await;
        bo.say_text(text).await;
        let shown: String = text.chars().take(80).collect();
        assert_eq!(bo.is_refused().await, "bad-message", "{shown}");
    }
    let (mut bo, _) = house.member("room", "Bo").await;
    bo.0.send(Message::binary(vec![0; 8])).await.unwrap();
    assert_eq!(bo.is_refused().await, "bad-message");
    let heard = ada.hear_all().await;
    let came_and_went = |it: &Value| it["type"] == "member-joined" || it["type"] == "member-left";
    assert_eq!(heard.len(), 2 * garbage.len() + 2);
    assert!(heard.iter().all(came_and_went));
}

#[tokio::test]
async fn rooms_and_names_are_checked() {
    let house = House::open().await;
    for (room, name) in [
        ("", "Ada"),
        ("Room", "Ada"),
        ("ro om", "Ada"),
        ("../room", "Ada"),
        (&*"r".repeat(65), "Ada"),
        ("room", ""),
        ("room", "  "),
        ("room", "A\u{7}da"),
        ("room", "A\u{202e}da"),
        ("room", &*"A".repeat(41)),
    ] {
        let mut page = house.page().await;
        page.say(&json!({"type": "join", "room": room, "name": name}))
            .await;
        assert_eq!(page.is_refused().await, "bad-message", "{room:?} {name:?}");
    }
    house.member(&"r".repeat(64), &"Ä".repeat(40)).await;
}

#[tokio::test]
async fn an_oversize_message_ends_the_connection() {
    let house = House::open().await;
    let (mut ada, _) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    bo.say_text(&format!("\"{}\"", "x".repeat(1_000_000))).await;
    ada.hear_of("member-joined").await;
    ada.hear_of("member-left").await;
}

#[tokio::test]
async fn who_sends_too_fast_is_put_out() {
    let house = House::open().await;
    let (mut ada, _) = house.member("room", "Ada").await;
    for _ in 0..600 {
        ada.say(&json!({"type": "ping"})).await;
    }
    assert_eq!(ada.is_refused().await, "too-fast");
}

#[tokio::test]
async fn credentials_are_given_anew_but_not_without_end() {
    let house = House::open().await;
    let (mut ada, _) = house.member("room", "Ada").await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        ada.say(&json!({"type": "ice-servers"})).await;
        answers.push(ada.hear().await);
    }
    assert_eq!(
        answers[0]["iceServers"][0]["urls"],
        json!(["turn:192.0.2.1:3478"])
    );
    let last = json!({"type": "refused", "reason": "no-ice-servers"});
    assert_eq!(answers[7], last);
    assert!(ada.hear_all().await.is_empty());
}

#[tokio::test]
async fn a_broken_connection_keeps_its_seat_and_gets_what_came_meanwhile() {
    let house = House::open().await;
    let (ada, first) = house.member("room", "Ada").await;
    let (mut bo, second) = house.member("room", "Bo").await;
    ada.cut();
    let away = bo.hear().await;
    assert_eq!(away, json!({"type": "member-away", "seat": first["seat"]}));
    bo.say(&json!({"type": "offer", "to": first["seat"], "sdp": "while away"}))
        .await;
    assert!(bo.hear_all().await.is_empty());

    let mut back = house.page().await;
    back.say(&resume("room", &first)).await;
    let resumed = back.hear().await;
    let members = json!([{"seat": second["seat"], "name": "Bo"}]);
    assert_eq!(resumed, json!({"type": "resumed", "members": members}));
    assert_eq!(back.hear_of("offer").await["sdp"], "while away");
    assert_eq!(bo.hear().await["type"], "member-back");
    back.say(&json!({"type": "answer", "to": second["seat"], "sdp": "here again"}))
        .await;
    assert_eq!(bo.hear().await["from"], first["seat"]);
}

#[tokio::test]
async fn a_new_connection_takes_the_seat_from_an_old_one_that_does_not_know_it_is_dead() {
    let house = House::open().await;
    let (mut old, first) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    old.hear_of("member-joined").await;
    let mut new = house.page().await;
    new.say(&resume("room", &first)).await;
    assert_eq!(new.hear().await["type"], "resumed");
    assert_eq!(old.is_refused().await, "taken-over");
    assert_eq!(bo.hear().await["type"], "member-back");
    bo.say(&json!({"type": "offer", "to": first["seat"], "sdp": "to the new one"}))
        .await;
    assert_eq!(new.hear().await["sdp"], "to the new one");
    // The end of the old one means nothing to the others.
    assert!(bo.hear_all().await.is_empty());
}

#[tokio::test]
async fn a_stranger_cannot_take_a_seat() {
    let house = House::open().await;
    let (mut ada, first) = house.member("room", "Ada").await;
    let (_eve, other) = house.member("another-room", "Eve").await;
    let own = first["token"].as_str().unwrap();
    let mut almost = own.to_owned();
    let last = if almost.pop() == Some('0') { '1' } else { '0' };
    almost.push(last);
    let attempts = [
        // A token of somebody else, though a true one.
        (
            "room",
            &first["seat"],
            other["token"].as_str().unwrap(),
            "no-such-seat",
        ),
        ("room", &first["seat"], &*almost, "no-such-seat"),
        ("room", &json!(2), own, "no-such-seat"),
        ("another-room", &first["seat"], own, "no-such-seat"),
        ("no-room", &first["seat"], own, "no-such-seat"),
        ("room", &first["seat"], "", "bad-message"),
        ("room", &first["seat"], &own[1..], "bad-message"),
    ];
    for (room, seat, token, reason) in attempts {
        let mut eve = house.page().await;
        eve.say(&json!({"type": "resume", "room": room, "seat": seat, "token": token}))
            .await;
        assert_eq!(eve.is_refused().await, reason, "{room} {seat} {token}");
    }
    assert!(ada.hear_all().await.is_empty());
}

#[tokio::test]
async fn a_seat_nobody_comes_back_to_is_free_after_a_while() {
    let limits = Limits {
        grace: Duration::from_millis(200),
        ..Limits::default()
    };
    let house = House::with(limits, Patience::default(), given().await).await;
    let (ada, first) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    ada.cut();
    bo.hear_of("member-away").await;
    assert_eq!(bo.hear_of("member-left").await["seat"], first["seat"]);
    let mut late = house.page().await;
    late.say(&resume("room", &first)).await;
    assert_eq!(late.is_refused().await, "no-such-seat");
}

#[tokio::test]
async fn a_page_that_says_goodbye_is_gone_at_once() {
    let house = House::open().await;
    let (mut ada, first) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    // As browsers do when a page is closed.
    let frame = CloseFrame {
        code: 1001.into(),
        reason: "".into(),
    };
    ada.0.close(Some(frame)).await.unwrap();
    assert_eq!(
        bo.hear().await,
        json!({"type": "member-left", "seat": first["seat"]})
    );
}

#[tokio::test]
async fn what_waits_for_an_absent_member_has_a_bound() {
    let limits = Limits {
        waiting: 40_000,
        ..Limits::default()
    };
    let house = House::with(limits, Patience::default(), given().await).await;
    let (ada, first) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    ada.cut();
    bo.hear_of("member-away").await;
    for _ in 0..3 {
        bo.say(&json!({"type": "offer", "to": first["seat"], "sdp": "x".repeat(20_000)}))
            .await;
    }
    // With something missing the seat is of no use: long before it would have been given up anyway.
    assert_eq!(bo.hear_of("member-left").await["seat"], first["seat"]);
}

#[tokio::test]
async fn who_does_not_say_who_it_is_has_to_go() {
    let patience = Patience {
        join: Duration::from_millis(100),
        ..Patience::default()
    };
    let house = House::with(Limits::default(), patience, given().await).await;
    assert_eq!(house.page().await.is_refused().await, "not-joined");
    let mut page = house.page().await;
    page.say(&json!({"type": "ping"})).await;
    assert_eq!(page.is_refused().await, "not-joined");
}

#[tokio::test]
async fn who_is_silent_is_away_and_a_ping_that_is_answered_is_not_silence() {
    let patience = Patience {
        silence: Duration::from_millis(300),
        ..Patience::default()
    };
    let house = House::with(Limits::default(), patience, given().await).await;
    // Nobody reads this one's socket, so nobody answers the pings.
    let (_ada, first) = house.member("room", "Ada").await;
    let (mut bo, _) = house.member("room", "Bo").await;
    let away = bo.hear_of("member-away").await;
    assert_eq!(away["seat"], first["seat"]);
    let outlived = timeout(Duration::from_millis(900), bo.0.next());
    assert!(matches!(
        outlived.await,
        Ok(Some(Ok(Message::Ping(_)))) | Err(_)
    ));
}

#[tokio::test]
async fn pages_of_other_origins_and_programs_without_one_are_not_let_in() {
    let house = House::open().await;
    for origin in [
        None,
        Some("https://evil.example"),
        Some("http://localhost:8081"),
        Some("https://localhost:8080"),
        Some("http://localhost:8080.evil.example"),
        Some("null"),
    ] {
        match Page::open(&house.address, origin).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin:?}"),
            Err(error) => panic!("{origin:?}: {error}"),
            Ok(_) => panic!("{origin:?} was let in"),
        }
    }
}

/// The head and body of an answer to a request as it is written here.
async fn fetch(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// Asks from this address of loopback for far more than fits on the way, and reads nothing.
async fn stall(address: &str, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let requests = "GET /call.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    stream.write_all(requests.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn whoever_reads_no_answers_has_to_make_room() {
    let bounds = Bounds {
        connections: 2,
        of_network: 2,
        life: Duration::from_millis(500),
    };
    let (limits, patience) = (Limits::default(), Patience::default());
    let house = House::bounded(limits, patience, given().await, bounds).await;
    let (mut ada, _) = house.member("room", "Ada").await;
    let _stalled = (
        stall(&house.address, "127.0.0.1").await,
        stall(&house.address, "127.0.0.1").await,
    );
    let page = timeout(SOON, fetch(&house.address, "/"));
    let (head, _) = page.await.expect("there is no place for others");
    assert!(head.starts_with("http/1.1 200"));
    // What began as a connection like theirs, and is a socket since, has no such end.
    assert!(ada.hear_all().await.is_empty());
}

#[tokio::test]
async fn no_network_has_all_connections() {
    let bounds = Bounds {
        connections: 3,
        of_network: 2,
        ..Bounds::default()
    };
    let (limits, patience) = (Limits::default(), Patience::default());
    let house = House::bounded(limits, patience, given().await, bounds).await;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        stalled.push(stall(&house.address, "127.0.0.2").await);
    }
    let more = TcpSocket::new_v4().unwrap();
    more.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut more = more.connect(house.address.parse().unwrap()).await.unwrap();
    let end = timeout(SOON / 4, more.read_u8()).await;
    assert!(end.expect("one more than its share is served").is_err());
    let page = timeout(SOON, fetch(&house.address, "/"));
    let (head, _) = page.await.expect("there is no place for others");
    assert!(head.starts_with("http/1.1 200"));
}

#[test]
fn origins_are_known_as_browsers_write_them_and_the_address_told_is_one_that_is_listened_on() {
    let given = ["https://Call.example.org:443/".to_owned()];
    for (listen, own, told) in [
        ("127.0.0.1:80", "http://localhost", "http://localhost/"),
        (
            "0.0.0.0:8080",
            "http://127.0.0.1:8080",
            "http://localhost:8080/",
        ),
        ("[::1]:8080", "http://[::1]:8080", "http://localhost:8080/"),
        (
            "192.168.1.5:8080",
            "http://192.168.1.5:8080",
            "http://192.168.1.5:8080/",
        ),
        (
            "192.168.1.5:80",
            "http://192.168.1.5",
            "http://192.168.1.5/",
        ),
    ] {
        let at = listen.parse().unwrap();
        let known = crate::origins(at, &given);
        assert!(known.iter().any(|it| it == own), "{listen}: {known:?}");
        let proxied = "https://call.example.org";
        assert!(known.iter().any(|it| it == proxied), "{known:?}");
        assert_eq!(crate::page(at, &[]), told);
        assert_eq!(crate::page(at, &given), "https://call.example.org/");
    }
}

#[tokio::test]
async fn every_answer_has_a_policy_without_exceptions_and_the_page_needs_none() {
    let house = House::open().await;
    let (head, page) = fetch(&house.address, "/").await;
    assert!(head.starts_with("http/1.1 200"));
    let mut parts = 0;
    for quoted in page.split('"').filter(|it| it.starts_with('/')) {
        let (head, _) = fetch(&house.address, quoted).await;
        assert!(head.starts_with("http/1.1 200"), "{quoted}: {head}");
        parts += 1;
    }
    assert!(parts >= 3, "{parts} parts");
    for path in ["/", "/call.js", "/nothing", "/../Cargo.toml"] {
        let (head, _) = fetch(&house.address, path).await;
        let policy = head
            .lines()
            .find(|it| it.starts_with("content-security-policy:"));
        let policy = policy.unwrap_or_else(|| panic!("{path} has no policy: {head}"));
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        assert!(head.contains("x-content-type-options: nosniff"), "{path}");
    }
    // Nothing in the page that the policy would have to make an exception for, or that comes from elsewhere.
    for forbidden in [
        "<style",
        " style=",
        " onclick",
        "http://",
        "https://",
        "javascript:",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

/// A stand-in for hairpin's API: one answer, and the request it was given.
async fn api(
    status: &'static str,
    body: &'static str,
) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, request)
}

#[tokio::test]
async fn ice_servers_come_from_hairpins_api() {
    let answer = r#"{"iceServers":[{"urls":["stun:turn.example.org","turn:turn.example.org"],"username":"1:x","credential":"c"}]}"#;
    let (url, request) = api("201 Created", answer).await;
    let api = Api::new(&url, "calls", "the-token").unwrap();
    let house = House::with(Limits::default(), Patience::default(), api).await;
    let (_, joined) = house.member("room", "Ada").await;
    let expected: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(joined["iceServers"], expected["iceServers"]);
    let request = request.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(
        head.starts_with("post /v1/turn/keys/calls/credentials/generate-ice-servers http/1.1\r\n")
    );
    assert!(head.contains("authorization: bearer the-token"));
    assert!(head.contains("content-type: application/json"));
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["ttl"].as_u64().unwrap() > 0);
    assert!(!body["customIdentifier"].as_str().unwrap().is_empty());
    assert_eq!(body.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn without_credentials_nobody_is_seated_and_no_reason_leaks() {
    for (status, body) in [
        ("401 Unauthorized", "{}"),
        ("201 Created", "{\"iceServers\":7}"),
    ] {
        let (url, _request) = api(status, body).await;
        let api = Api::new(&url, "calls", "the-token").unwrap();
        let house = House::with(Limits::default(), Patience::default(), api).await;
        let mut page = house.page().await;
        page.say(&json!({"type": "join", "room": "room", "name": "Ada"}))
            .await;
        assert_eq!(page.is_refused().await, "no-ice-servers", "{status}");
    }
    let mut rooms = Rooms::new(Limits::default());
    rooms.sweep(std::time::Instant::now());
    assert_eq!(rooms.count(), 0);
    for (url, key) in [
        ("https://x", "calls"),
        ("ftp://x", "calls"),
        ("http://x", "../key"),
        ("http://x", ""),
    ] {
        assert!(Api::new(url, key, "t").is_err(), "{url} {key}");
    }
}
