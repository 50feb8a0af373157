//! `hairpin ctl` against a running server.

use crate::client::Client;
use crate::rig::{OPERATOR, READER, Running, start};
use hairpin::wire::attribute::Family;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

fn client(running: &Running) -> Client {
    let mut client = Client::udp(running.server.address());
    client.allocate();
    client
}

#[test]
fn status_sessions_and_a_session_are_shown() {
    let running = start();
    let client = client(&running);
    let status = running.ctl_text(&["status"]);
    assert!(status.contains("sessions     1 now"), "{status}");
    assert!(status.contains("listening    udp"), "{status}");
    let list = running.ctl_text(&["sessions"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("BYTES"),
        "{list}"
    );
    assert!(lines[1].contains(&client.local().to_string()), "{list}");
    let id = lines[1].split(' ').next().unwrap();
    let session = running.ctl_text(&["session", id]);
    assert!(
        session.contains("user         user") && session.contains("path "),
        "{session}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&running.ctl_text(&["sessions", "--json"])).unwrap();
    assert_eq!(json["sessions"][0]["id"], id);
    assert_eq!(
        running
            .ctl_text(&["sessions", "--user", "nobody"])
            .lines()
            .nth(1),
        Some("no sessions")
    );
    assert_eq!(running.ctl_text(&["end", id]), "1 session has ended\n");
    let missing = running.ctl(&["session", id]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no session of that name"));
}

#[test]
fn the_table_fits_any_width() {
    let running = start();
    let _client = client(&running);
    for width in [20, 40, 60, 80, 100, 120, 200] {
        let output = running
            .ctl_command(&["sessions"])
            .env("COLUMNS", width.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= width.max(30), "{width}: {line}");
        }
        assert!(text.contains("USER"), "{text}");
    }
}

#[test]
fn the_live_view_draws_again_and_again() {
    let running = start();
    let _client = client(&running);
    let mut command = running.ctl_command(&["sessions", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    child.kill().unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child.wait().unwrap();
    assert!(text.matches("\x1b[H").count() >= 2, "{text:?}");
    assert!(
        text.contains("1 sessions") && text.contains("CLIENT"),
        "{text:?}"
    );
}

#[test]
fn orders_are_carried_out() {
    let running = start();
    let mut kept = client(&running);
    assert!(running.ctl_text(&["drain"]).contains("refused"));
    assert_eq!(
        Client::udp(running.server.address())
            .try_allocate(Family::V4)
            .code,
        Some(508)
    );
    assert!(running.ctl_text(&["undrain"]).contains("taken"));
    assert_eq!(running.ctl_text(&["log"]), "info\n");
    assert_eq!(running.ctl_text(&["log", "debug"]), "debug\n");
    assert_eq!(running.ctl(&["log", "loud"]).status.code(), Some(1));
    assert!(running.ctl_text(&["reload"]).len() > 5);
    assert!(
        running
            .ctl_text(&["revoke", "user"])
            .contains("1 sessions ended")
    );
    assert_eq!(kept.refresh(600).code, Some(401));
    running.ctl_text(&["revoke", "--undo", "user"]);
    client(&running);
    assert_eq!(
        running.ctl_text(&["end", "--user", "user"]),
        "1 session has ended\n"
    );
}

#[test]
fn why_says_what_happened_and_what_to_do() {
    let running = start();
    assert!(
        running
            .ctl_text(&["why", "127.0.0.1"])
            .contains("Nothing of this client was refused")
    );
    let mut wrong = Client::udp(running.server.address());
    wrong.password = "wrong".to_owned();
    // Nothing of what a client sends reaches the terminal as it is.
    assert_eq!(wrong.try_allocate(Family::V4).code, Some(401));
    wrong.user = "evil\u{1b}[2J".to_owned();
    assert_eq!(wrong.try_allocate(Family::V4).code, Some(401));
    let why = running.ctl_text(&["why", "127.0.0.1"]);
    assert!(
        why.contains("the password is wrong") && why.contains("user user"),
        "{why}"
    );
    assert!(
        why.contains("nobody has this user name") && !why.contains('\x1b'),
        "{why:?}"
    );
}

#[test]
fn it_works_over_the_network_with_a_token() {
    let running = start();
    let url = format!("http://127.0.0.1:{}", running.port);
    let ctl = |token: &str, args: &[&str]| {
        let file = running.file("token", token);
        let file = file.to_str().unwrap().to_owned();
        let mut all = vec!["--url", &url, "--token-file", &file];
        all.extend(args);
        running.ctl(&all)
    };
    assert!(ctl(READER, &["status"]).status.success());
    let refused = ctl(READER, &["drain"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("for looking only"));
    assert!(ctl(OPERATOR, &["drain"]).status.success());
    let wrong = ctl("bm9ib2R5LWtub3dzLXRoaXMtb25l", &["status"]);
    assert_eq!(wrong.status.code(), Some(1));
    let file = running.file("token", OPERATOR);
    let plain = running.ctl(&[
        "--url",
        "http://192.0.2.1",
        "--token-file",
        file.to_str().unwrap(),
        "status",
    ]);
    assert!(String::from_utf8_lossy(&plain.stderr).contains("use https"));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let running = start();
    let nowhere = running.file("nothing", "");
    let output = running.ctl(&["--socket", nowhere.to_str().unwrap(), "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does it run"));
}
