//! The server's four sockets on loopback: answers really leave from where they should.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hairpin::wire::{AttributeType, Class, Message, MessageType, Method, TransactionId, Writer};

/// A running `hairpin run`.
pub struct Server {
    child: Child,
    /// 127.0.0.1 and 127.0.0.2, each with both ports: primary, its other port, other address, alternate.
    pub sockets: [SocketAddr; 4],
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it with discovery and, for the first port, a listener on the host given.
    pub fn start(first_listener: &str) -> Server {
        Server::start_with(first_listener, true)
    }

    pub fn start_with(first_listener: &str, discovery: bool) -> Server {
        let (one, other) = free_ports();
        let [a, b]: [IpAddr; 2] = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        let sockets = [(a, one), (a, other), (b, one), (b, other)].map(SocketAddr::from);
        let mut config = format!(
            "[server]\nworkers = 2\n[[listener]]\ntransport = \"udp\"\naddress = \"{first_listener}:{one}\"\n\
             [metrics]\naddress = \"\"\n[log]\nlevel = \"error\"\n"
        );
        if discovery {
            config += &format!(
                "[[discovery]]\nprimary = \"{}\"\nalternate = \"{}\"\n",
                sockets[0], sockets[3]
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hairpin.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["run", "--json", "-c"])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It prints where it listens once it does.
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains("urls"), "the server did not start: {line}");
        Server {
            child,
            sockets,
            _folder: folder,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        assert!(killed.is_ok() || std::thread::panicking());
    }
}

/// Two ports that nobody has on either address.
fn free_ports() -> (u16, u16) {
    let socket = || {
        (0..100)
            .find_map(|_| {
                let one = UdpSocket::bind("127.0.0.1:0").unwrap();
                let port = one.local_addr().unwrap().port();
                UdpSocket::bind(("127.0.0.2", port)).ok().map(|_| one)
            })
            .unwrap()
    };
    let (one, other) = (socket(), socket());
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    (port(&one), port(&other))
}

fn request(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let kind = MessageType::new(Method::BINDING, Class::Request);
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([3; 12]));
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Duration::from_secs(5);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

fn address(bytes: &[u8], kind: AttributeType) -> SocketAddr {
    let message = Message::parse(bytes).unwrap();
    message.attribute(kind).unwrap().address().unwrap()
}

#[test]
fn s_disc_01_02_03_04_answers_leave_from_the_socket_they_name() {
    // Once with a socket for each address, and once with one for all addresses of the first port.
    for first_listener in ["127.0.0.1", "0.0.0.0"] {
        let server = Server::start(first_listener);
        let client = client();
        for (place, reached) in server.sockets.into_iter().enumerate() {
            for flags in [0_usize, 2, 4, 6] {
                let value = [0, 0, 0, flags as u8];
                let request = request(&[(AttributeType::CHANGE_REQUEST, &value)]);
                client.send_to(&request, reached).unwrap();
                let (bytes, from) = receive(&client);
                // Places count ports by 1 and addresses by 2; so do the flags, doubled.
                assert_eq!(from, server.sockets[place ^ (flags / 2)]);
                assert_eq!(address(&bytes, AttributeType::RESPONSE_ORIGIN), from);
                let other = server.sockets[place ^ 3];
                assert_eq!(address(&bytes, AttributeType::OTHER_ADDRESS), other);
                let mapped = address(&bytes, AttributeType::MAPPED_ADDRESS);
                assert_eq!(mapped, client.local_addr().unwrap());
            }
        }
    }
}

#[test]
fn s_disc_07_09_padded_answers_and_answers_to_another_port_arrive() {
    let server = Server::start("127.0.0.1");
    let (client, second) = (client(), client());
    let padding = request(&[(AttributeType::PADDING, &[0; 1500])]);
    client.send_to(&padding, server.sockets[0]).unwrap();
    let (bytes, _) = receive(&client);
    assert!(bytes.len() > 1500);
    let port = second.local_addr().unwrap().port().to_be_bytes();
    let elsewhere = request(&[(AttributeType::RESPONSE_PORT, &port)]);
    client.send_to(&elsewhere, server.sockets[0]).unwrap();
    let (bytes, from) = receive(&second);
    assert_eq!(from, server.sockets[0]);
    let mapped = address(&bytes, AttributeType::MAPPED_ADDRESS);
    assert_eq!(mapped, client.local_addr().unwrap());
}
