//! What accounting tells of an allocation: to a file, to a socket and to a webhook.

use crate::client::{Client, receive_from, socket};
use crate::server::{Server, Setup, V4, eventually};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use tempfile::TempDir;

/// A folder that everybody may write to: the server is somebody else once it runs.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    folder
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// An allocation that carries 300 bytes there and 70 back, and is given up.
fn a_call(server: &Server) -> Client {
    let peer = socket(V4);
    let mut client = Client::udp(server.address());
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer.local_addr().unwrap());
    client.send_channel(0x4000, &[1; 300]);
    receive_from(&peer);
    peer.send_to(&[2; 70], relayed).unwrap();
    client.receive();
    client
}

fn records(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn assert_is_the_end(record: &Value, client: &Client) {
    assert_eq!(record["event"], "stop");
    assert_eq!(record["user"], "user");
    assert_eq!(record["client"], client.local().to_string());
    assert_eq!(record["transport"], "udp");
    assert_eq!(record["bytes_to_peers"], 300);
    assert_eq!(record["packets_to_peers"], 1);
    assert_eq!(record["bytes_to_client"], 70);
    assert_eq!(record["packets_to_client"], 1);
    assert_eq!(record["reason"], "released");
}

#[test]
fn a_file_gets_starts_what_lies_between_and_ends_numbered_without_a_gap() {
    let folder = folder();
    let file = folder.path().join("records");
    let server = Setup::new()
        .set("accounting", &format!("file = \"{}\"", file.display()))
        .set("accounting", "interim = \"1s\"")
        .start();
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let mut client = a_call(&server);
    eventually("an interim record", || {
        let interim = records(&read());
        let interim = interim.iter().find(|record| record["event"] == "interim")?;
        assert_eq!(interim["bytes_to_peers"], 300);
        Some(())
    });
    assert_eq!(client.refresh(0).code, None);
    let all = eventually("the end", || {
        let all = records(&read());
        (all.last()?["event"] == "stop").then_some(all)
    });
    assert_eq!(all[0]["event"], "start");
    assert_eq!(all[0]["lifetime_seconds"], 600);
    assert_is_the_end(all.last().unwrap(), &client);
    for (place, record) in all.iter().enumerate() {
        assert_eq!(record["number"], place + 1);
        assert_eq!(record["session"], all[0]["session"]);
        assert_eq!(record["instance"], all[0]["instance"]);
    }
    // Moved away, as logrotate does.
    std::fs::rename(&file, folder.path().join("records.1")).unwrap();
    let _more = a_call(&server);
    eventually("a new file", || {
        (!records(&read()).is_empty()).then_some(())
    });
    assert_eq!(records(&read())[0]["number"], all.len() + 1);
}

#[test]
fn sessions_that_the_end_of_the_server_ends_are_told_of_too() {
    let folder = folder();
    let file = folder.path().join("records");
    let server = Setup::new()
        .set("accounting", &format!("file = \"{}\"", file.display()))
        .start();
    let _client = a_call(&server);
    server.signal("TERM");
    server.ended();
    let all = records(&std::fs::read_to_string(&file).unwrap());
    let last = all.last().unwrap();
    assert_eq!(
        (&last["event"], &last["reason"]),
        (&"stop".into(), &"shutdown".into())
    );
    assert_eq!(last["bytes_to_peers"], 300);
}

#[test]
fn a_socket_gets_what_it_missed_when_somebody_listens_again() {
    let folder = folder();
    let path = folder.path().join("socket");
    let server = Setup::new()
        .set("accounting", &format!("socket = \"{}\"", path.display()))
        .start();
    let mut client = a_call(&server);
    assert_eq!(client.refresh(0).code, None);
    server.wait_for_log("the complaint", |line| line.contains("finds nobody"));
    let listener = UnixListener::bind(&path).unwrap();
    open_to_all(&path);
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["event"], "start");
    assert_is_the_end(&next(), &client);
}

/// Takes a request and answers it; its headers and its body.
fn answer(listener: &TcpListener, status: &str) -> (String, String) {
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_webhook_gets_signed_batches_until_it_takes_them() {
    let secret = "kX4fJ3mYb8Qe0vZs5Tn2Lr7Wc9Ha6Pd1";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in?from=hairpin", listener.local_addr().unwrap());
    let webhook = format!("webhook = {{ url = \"{url}\", secret = \"{secret}\" }}");
    let server = Setup::new().set("accounting", &webhook).start();
    let mut client = a_call(&server);
    let (_, first) = answer(&listener, "503 Service Unavailable");
    assert_eq!(client.refresh(0).code, None);
    let (mut events, mut numbers) = (Vec::new(), Vec::new());
    while events.last().is_none_or(|event| *event != "stop") {
        let (head, body) = answer(&listener, "204 No Content");
        assert!(
            head.starts_with("POST /in?from=hairpin HTTP/1.1\r\n"),
            "{head}"
        );
        let signature = head
            .lines()
            .find_map(|line| line.strip_prefix("x-hairpin-signature: "));
        let (time, mac) = signature.unwrap().split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let mut expected = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        expected.update(format!("{time}.{body}").as_bytes());
        let mut text = String::new();
        for byte in expected.finalize().into_bytes() {
            write!(text, "{byte:02x}").unwrap();
        }
        assert_eq!(mac, text);
        let body: Value = serde_json::from_str(&body).unwrap();
        for record in body["records"].as_array().unwrap() {
            events.push(record["event"].as_str().unwrap().to_owned());
            numbers.push(record["number"].as_u64().unwrap());
        }
    }
    assert!(first.contains("\"number\":1"));
    assert_eq!(
        (events, numbers),
        (vec!["start".into(), "stop".into()], vec![1, 2])
    );
    assert!(!server.log().join("\n").contains(secret));
}

#[test]
fn what_a_webhook_does_not_want_is_counted_as_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = format!("webhook = {{ url = \"{url}\" }}");
    let server = Setup::new().set("accounting", &webhook).start();
    let _client = a_call(&server);
    answer(&listener, "400 Bad Request");
    server.wait_for_metric("hairpin_accounting_lost_total{where=\"webhook\"}", 1);
}
