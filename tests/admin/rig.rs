//! A server with all its doors open, and requests whose answers are held against the description of the API.

use crate::schema;
use crate::server::{PATIENCE, Server, Setup, free_ports};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

pub const SECRET: &str = "Q2xlYXJseS1hLXNlY3JldC1vZi10ZXN0cw";
pub const READER: &str = "cmVhZGluZy1pcy1hbGwtdGhpcy1kb2Vz";
pub const OPERATOR: &str = "b3BlcmF0aW5nLWlzLXdoYXQtdGhpcy1pcw";
pub const KEY: &str = "YW4tYXBwbGljYXRpb24ncy1vd24ta2V5";
pub const OTHER_KEY: &str = "YW5vdGhlci1hcHBsaWNhdGlvbidzLWtleQ";
pub const SMALL_KEY: &str = "YS1rZXktd2l0aC1pdHMtb3duLWxpbWl0cw";
pub const ORIGIN: &str = "https://app.example.org";

/// What must not stand in any answer.
const SECRETS: [&str; 7] = [
    SECRET,
    READER,
    OPERATOR,
    KEY,
    OTHER_KEY,
    SMALL_KEY,
    crate::server::PASSWORD,
];

/// A server and the ways to it.
pub struct Running {
    pub server: Server,
    pub socket: PathBuf,
    pub port: u16,
    pub credentials: u16,
    folder: TempDir,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

pub fn start() -> Running {
    start_with(|setup| setup)
}

pub fn start_with(change: impl FnOnce(Setup) -> Setup) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hairpin.sock");
    let ports = free_ports(2);
    let setup = Setup::new()
        .set("auth", &format!("secrets = [\"{SECRET}\"]"))
        .set("admin", &format!("socket = {socket:?}"))
        .set("admin", &format!("address = \"127.0.0.1:{ports}\""))
        .set(
            "admin",
            &format!(
                "token = [{{ name = \"reader\", token = \"{READER}\" }}, \
                 {{ name = \"operator\", token = \"{OPERATOR}\", scope = \"operate\" }}]"
            ),
        )
        .set("credentials", &format!("address = \"127.0.0.1:{}\"", ports + 1))
        .set("credentials", "hosts = [\"turn.example.org\"]")
        .set(
            "credentials",
            &format!(
                "key = [{{ name = \"web\", token = \"{KEY}\", ttl = \"1h\", max_ttl = \"12h\", origins = [\"{ORIGIN}\"] }}, \
                 {{ name = \"other\", token = \"{OTHER_KEY}\" }}, \
                 {{ name = \"small\", token = \"{SMALL_KEY}\", credentials_per_second = 1, credentials_burst = 3, \
                 allocations = 1, origins = [\"{ORIGIN}\"] }}]"
            ),
        );
    Running {
        server: change(setup).start(),
        socket,
        port: ports,
        credentials: ports + 1,
        folder,
    }
}

impl Running {
    /// Asks by the unix socket, with the header that orders need.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        exchange(stream, method, path, &["X-Hairpin: 1"], body)
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Asks by the unix socket with these headers alone.
    pub fn ask_bare(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        exchange(
            UnixStream::connect(&self.socket).unwrap(),
            method,
            path,
            headers,
            "",
        )
    }

    /// Asks over the network, at a port.
    pub fn ask_at(
        &self,
        port: u16,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        exchange(stream, method, path, headers, body)
    }

    /// `hairpin ctl` by the unix socket.
    pub fn ctl(&self, args: &[&str]) -> Output {
        self.ctl_command(args).output().unwrap()
    }

    pub fn ctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.arg("ctl").args(args);
        command
            .env_remove("HAIRPIN_CONFIG")
            .env("HAIRPIN_SOCKET", &self.socket);
        command
    }

    /// What it prints, which has to go well.
    pub fn ctl_text(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A file with this in it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Sends a request and holds the answer against the description.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let answer = Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        text: text.to_owned(),
    };
    for secret in SECRETS {
        assert!(
            !answer.text.contains(secret),
            "{method} {path}: a secret in {answer:?}"
        );
    }
    is_described(method, path, &answer);
    answer
}

pub fn description() -> Value {
    serde_json::from_str(hairpin::admin::OPENAPI).unwrap()
}

/// The path of the description that a request is for.
fn template<'d>(document: &'d Value, path: &str) -> Option<(&'d String, &'d Value)> {
    let path = path.split('?').next().unwrap();
    let is_it = |template: &str| {
        let (mut parts, mut asked) = (template.split('/'), path.split('/'));
        loop {
            match (parts.next(), asked.next()) {
                (None, None) => return true,
                (Some(part), Some(asked)) if part == asked || part.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(template, _)| is_it(template))
}

fn is_described(method: &str, path: &str, answer: &Answer) {
    // Not every door leads to everything.
    if answer.text.contains("there is nothing at this path") {
        return;
    }
    let document = description();
    let Some((_, item)) = template(&document, path) else {
        assert_eq!(answer.status, 404, "{path} is not described");
        return;
    };
    let Some(operation) = item.get(method.to_lowercase()) else {
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path} is not described"
        );
        return;
    };
    if [404, 413].contains(&answer.status) && path.contains("/turn/") || answer.status == 413 {
        return;
    }
    let status = answer.status.to_string();
    let described = operation["responses"].get(&status);
    let described =
        described.unwrap_or_else(|| panic!("{method} {path}: {status} is not described"));
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap();
    match described.get("content") {
        None => assert_eq!(answer.text, "", "{method} {path}"),
        Some(content) => {
            let schema = &content[kind]["schema"];
            assert!(
                schema.is_object(),
                "{method} {path}: {kind} is not described"
            );
            if kind == "application/json" {
                let problems = schema::problems(&document, schema, &answer.json());
                assert_eq!(problems, [""; 0], "{method} {path} {}", answer.text);
            }
        }
    }
}
