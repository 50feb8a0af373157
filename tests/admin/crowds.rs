//! Many connections at one door: who waits, who makes room, who stays.

use crate::rig::{KEY, READER, Running, bearer, start};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// More than a door has places.
const CROWD: usize = 200;

fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()
}

fn crowd(port: u16) -> Vec<TcpStream> {
    (0..CROWD).map(|_| connect(port)).collect()
}

/// From an address of another network.
fn connect_from(ip: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let own = SocketAddr::new(IpAddr::V4(ip), 0);
    socket.bind(&own.into()).unwrap();
    let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    socket.connect(&server.into()).unwrap();
    socket.into()
}

/// Asks and leaves the connection open; the status, if there is an answer.
fn ask(stream: &mut TcpStream, path: &str, header: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head.split(' ').nth(1).unwrap().parse().unwrap())
}

fn is_open(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    match stream.peek(&mut [0]) {
        Err(error) => error.kind() == ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}

fn closed(running: &Running) -> u64 {
    let metrics = running.server.metrics();
    metrics.get("hairpin_http_connections_closed_total")
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let running = start();
    let soon = Instant::now();
    {
        let _silent = crowd(running.port);
        let headers = [&*bearer(READER)];
        let answer = running.ask_at(running.port, "GET", "/v1/status", &headers, "");
        assert_eq!(answer.status, 200);
    }
    {
        let _silent = crowd(running.credentials);
        let path = "/v1/turn/keys/web/credentials/generate";
        let headers = [&*bearer(KEY)];
        let answer = running.ask_at(running.credentials, "POST", path, &headers, "");
        assert_eq!(answer.status, 201);
    }
    {
        let _silent = crowd(running.server.metrics_address().port());
        let (head, _) = running.server.page("/livez");
        assert!(head.contains(" 200 "), "{head}");
    }
    {
        let silent = (0..CROWD).map(|_| UnixStream::connect(&running.socket).unwrap());
        let _silent: Vec<_> = silent.collect();
        running.get("/v1/status");
    }
    // Nobody had to wait until those were given up.
    assert!(soon.elapsed() < Duration::from_secs(9));
    assert!(closed(&running) >= 4 * (CROWD as u64 - 128));
}

#[test]
fn one_network_does_not_crowd_out_another() {
    let running = start();
    let mut other = connect_from(Ipv4Addr::new(127, 9, 9, 9), running.port);
    let mut silent = crowd(running.port);
    assert_eq!(ask(&mut other, "/livez", ""), Some(200));
    // Of the crowd the last ones are still there.
    assert!(is_open(silent.last_mut().unwrap()));
    assert!(!is_open(&mut silent[0]));
}

#[test]
fn whoever_has_shown_a_token_keeps_the_connection() {
    let running = start();
    let token = format!("{}\r\n", bearer(READER));
    let (mut known, mut unknown) = (connect(running.port), connect(running.port));
    assert_eq!(ask(&mut known, "/v1/status", &token), Some(200));
    assert_eq!(ask(&mut unknown, "/livez", ""), Some(200));
    // What is shown and wrong is nothing.
    let mut wrong = connect(running.port);
    let forged = format!("{}\r\n", bearer("Zm9yZ2VkLWZvcmdlZC1mb3JnZWQ"));
    assert_eq!(ask(&mut wrong, "/v1/status", &forged), Some(401));
    assert_eq!(ask(&mut wrong, "/livez", &forged), Some(200));
    let _silent = crowd(running.port);
    assert_eq!(ask(&mut known, "/v1/status", &token), Some(200));
    assert_eq!(ask(&mut unknown, "/livez", ""), None);
    assert_eq!(ask(&mut wrong, "/livez", ""), None);
}

#[test]
fn a_first_request_that_does_not_come_is_not_waited_for() {
    let running = start();
    let begun = Instant::now();
    let mut silent = connect(running.port);
    let mut slow = connect(running.credentials);
    let mut local = UnixStream::connect(&running.socket).unwrap();
    let wait = Some(Duration::from_millis(200));
    slow.set_read_timeout(wait).unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    // A line now and then does not help.
    while begun.elapsed() < Duration::from_secs(25) {
        if slow.write_all(b"X-More: 1\r\n").is_err()
            || !matches!(slow.read(&mut [0; 64]), Err(e) if e.kind() == ErrorKind::WouldBlock)
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(800));
    }
    let took = begun.elapsed();
    let expected = Duration::from_secs(8)..Duration::from_secs(20);
    assert!(expected.contains(&took), "{took:?}");
    silent
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    local
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(local.read(&mut [0]).unwrap(), 0);
    // One that has asked has more time for the next.
    assert!(running.get("/v1/status").is_object());
}
