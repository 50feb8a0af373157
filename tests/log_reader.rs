//! The reader of the log may go away: the server goes on.

#![allow(clippy::unwrap_used)]

use std::fs::write;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A Binding request.
const BINDING: &[u8; 20] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction1";

struct Running {
    process: Child,
    client: UdpSocket,
    _files: tempfile::TempDir,
}

impl Running {
    fn start() -> Running {
        // Nobody else asks for ports of this address, so what was free a moment ago is free still.
        let host = "127.83.7.19";
        let client = UdpSocket::bind((host, 0)).unwrap();
        let free = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("hairpin.toml");
        let settings = format!(
            "server.workers = 1\nlistener = [{{ transport = \"udp\", address = \"{free}\" }}]\n\
             relay.address = [{{ address = \"{host}\" }}]\nmetrics.address = \"\"\n\
             auth.realm = \"example.org\"\nauth.user = [{{ name = \"u\", password = \"wonderland\" }}]\n\
             log.level = \"info\"\n"
        );
        write(&path, settings).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["run", "-c"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        client.connect(free).unwrap();
        let wait = Some(Duration::from_secs(5));
        client.set_read_timeout(wait).unwrap();
        Running {
            process,
            client,
            _files: files,
        }
    }

    /// Reads the log until the server is ready.
    fn until_ready(&mut self) -> impl Read + use<> {
        let mut log = BufReader::new(self.process.stderr.take().unwrap());
        let mut text = String::new();
        while !text.contains(" ready ") {
            let before = text.len();
            log.read_line(&mut text).unwrap();
            assert!(text.len() > before, "{text}");
        }
        log
    }

    /// An Allocate with a wrong password, which is a line in the log.
    fn fail_to_log_in(&self) {
        let mut request = vec![0, 3, 0, 0x44, 0x21, 0x12, 0xa4, 0x42];
        request.extend(b"transaction2\x00\x06\x00\x01u\0\0\0");
        request.extend(b"\x00\x14\x00\x0bexample.org\0\x00\x15\x00\x08whatever");
        request.extend([0, 8, 0, 20]);
        request.extend([1; 20]);
        request[3] = (request.len() - 20) as u8;
        self.client.send(&request).unwrap();
        self.client.recv(&mut [0; 500]).unwrap();
    }

    fn is_answering(&self) -> bool {
        self.client.send(BINDING).unwrap();
        self.client.recv(&mut [0; 500]).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn clients_are_answered_when_the_reader_of_the_log_is_gone() {
    let mut server = Running::start();
    drop(server.until_ready());
    for _ in 0..3 {
        server.fail_to_log_in();
        assert!(server.is_answering());
    }
}
