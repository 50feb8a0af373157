//! The program is started with sockets that are open already, as by a socket unit of systemd.

// The server is started outside of test functions.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(20);

/// Moves the sockets from where a shell has them to where systemd puts them.
const LAUNCHER: &str =
    "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>\"$LOG\"; LISTEN_PID=$$ exec \"$@\"";

/// A loopback address that nobody else uses: made of this process's number and a count.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 0x80, low, COUNT.fetch_add(1, Ordering::Relaxed))
}

fn udp(address: impl Into<SocketAddr>, only_v6: bool) -> OwnedFd {
    let address = address.into();
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(only_v6).unwrap();
    }
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

struct Launched {
    process: Child,
    folder: tempfile::TempDir,
}

impl Launched {
    /// Starts the program with three sockets at most.
    fn new(address: Ipv4Addr, workers: usize, listeners: &str, sockets: Vec<OwnedFd>) -> Launched {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "{listeners}[server]\nworkers = {workers}\n[metrics]\naddress = \"{address}:9641\"\n\
             [relay]\nports = \"50000-50099\"\n[[relay.address]]\naddress = \"{address}\"\n"
        );
        fs::write(folder.path().join("hairpin.toml"), text).unwrap();
        File::create(folder.path().join("log")).unwrap();
        let count = sockets.len();
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().map_or_else(Stdio::null, Stdio::from);
        let process = Command::new("sh")
            .args(["-c", LAUNCHER, "sh", env!("CARGO_BIN_EXE_hairpin")])
            .args(["run", "-c"])
            .arg(folder.path().join("hairpin.toml"))
            .env("LISTEN_FDS", count.to_string())
            .env("LOG", folder.path().join("log"))
            .stdin(next())
            .stdout(next())
            .stderr(next())
            .spawn()
            .unwrap();
        Launched { process, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What a server says that does not start.
    fn complaint(mut self) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(!status.success());
                return self.log();
            }
            assert!(Instant::now() < end, "it runs: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listener(transport: &str, address: &str) -> String {
    format!("[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n")
}

/// A Binding request.
fn request() -> [u8; 20] {
    let mut request = [7; 20];
    request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    request
}

fn asks(address: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(address).unwrap();
    client.send(&request()).unwrap();
    client
}

fn connects(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&request()).unwrap();
    client
}

#[test]
fn clients_who_came_before_the_server_was_there_are_answered() {
    let ip = own_address();
    let address = SocketAddr::new(ip.into(), 3478);
    let sockets = vec![
        udp(address, false),
        TcpListener::bind(address).unwrap().into(),
        udp(address, false),
    ];
    let early: Vec<_> = (0..16)
        .map(|_| (asks(address), connects(address)))
        .collect();
    let text = listener("udp", &address.to_string()) + &listener("tcp", &address.to_string());
    let server = Launched::new(ip, 2, &text, sockets);
    for (datagrams, mut stream) in early {
        let mut answer = [0; 64];
        datagrams
            .recv(&mut answer)
            .unwrap_or_else(|_| panic!("{}", server.log()));
        assert_eq!(answer[..2], [1, 1]);
        stream
            .read_exact(&mut answer[..20])
            .unwrap_or_else(|_| panic!("{}", server.log()));
        assert_eq!(answer[..2], [1, 1]);
    }
    // The workers go on with them.
    for _ in 0..16 {
        let mut answer = [0; 64];
        asks(address).recv(&mut answer).unwrap();
        connects(address).read_exact(&mut answer[..20]).unwrap();
        assert_eq!(answer[..2], [1, 1]);
    }
}

#[test]
fn the_address_that_was_asked_answers_where_the_socket_has_all_addresses() {
    let ip = own_address();
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = 20_000 + u16::from_be_bytes([high & 0x1f, low]);
    let all = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let text = listener("udp", &all.to_string());
    let server = Launched::new(ip, 1, &text, vec![udp(all, false)]);
    let mut answer = [0; 64];
    // The client's socket is connected and hears that address alone.
    let heard = asks(SocketAddr::new(ip.into(), port)).recv(&mut answer);
    heard.unwrap_or_else(|_| panic!("{}", server.log()));
}

#[test]
fn listeners_without_a_socket_open_their_own() {
    let ip = own_address();
    let (udp_at, tcp_at) = (
        SocketAddr::new(ip.into(), 3478),
        SocketAddr::new(ip.into(), 80),
    );
    let text = listener("udp", &udp_at.to_string()) + &listener("tcp", &tcp_at.to_string());
    let sockets = vec![TcpListener::bind(tcp_at).unwrap().into()];
    let server = Launched::new(ip, 2, &text, sockets);
    let mut answer = [0; 64];
    connects(tcp_at)
        .read_exact(&mut answer[..20])
        .unwrap_or_else(|_| panic!("{}", server.log()));
    asks(udp_at).recv(&mut answer).unwrap();
}

#[test]
fn who_came_early_to_metrics_operators_and_credentials_is_answered_too() {
    let ip = own_address();
    let doors = [
        SocketAddr::new(ip.into(), 9641),
        SocketAddr::new(ip.into(), 9642),
        SocketAddr::new(ip.into(), 9643),
    ];
    let sockets = doors.map(|at| OwnedFd::from(TcpListener::bind(at).unwrap()));
    let early = doors.map(|at| {
        let mut client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).unwrap();
        client
    });
    let text = listener("udp", &format!("{ip}:3478"))
        + &format!(
            "[auth]\nsecrets = [\"Q2xlYXJseS1hLXNlY3JldC1vZi10ZXN0cw\"]\n\
             [admin]\naddress = \"{ip}:9642\"\n\
             token = [{{ name = \"a\", token = \"cmVhZGluZy1pcy1hbGwtdGhpcy1kb2Vz\" }}]\n\
             [credentials]\naddress = \"{ip}:9643\"\n\
             key = [{{ name = \"web\", token = \"YW4tYXBwbGljYXRpb24ncy1vd24ta2V5\" }}]\n"
        );
    let server = Launched::new(ip, 1, &text, sockets.into());
    for (mut client, expected) in early.into_iter().zip(["200", "200", "404"]) {
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .unwrap_or_else(|_| panic!("{}", server.log()));
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{answer}");
    }
}

#[test]
fn an_address_of_metrics_is_handed_over_once() {
    let ip = own_address();
    let at = SocketAddr::new(ip.into(), 9641);
    let one = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let other = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    for socket in [&one, &other] {
        socket.set_reuse_port(true).unwrap();
        socket.bind(&at.into()).unwrap();
        socket.listen(8).unwrap();
    }
    let text = listener("udp", &format!("{ip}:3478"));
    let said = Launched::new(ip, 1, &text, vec![one.into(), other.into()]).complaint();
    let mend = format!(
        "handed over 2 TCP sockets for {at}, and one is wanted: write `ListenStream={at}` once"
    );
    assert!(said.contains(&mend), "{said}");
}

#[test]
fn too_few_datagram_sockets_are_an_error_that_says_what_to_write() {
    let ip = own_address();
    let address = format!("{ip}:3478");
    let socket = || udp(address.parse::<SocketAddr>().unwrap(), false);
    let said = |workers, sockets| {
        Launched::new(ip, workers, &listener("udp", &address), sockets).complaint()
    };
    let few = said(3, vec![socket()]);
    let mend = format!(
        "handed over 1 UDP socket for {address}, and there are 3 workers: each needs its own: write `workers = 1` under \
         [server], or `ReusePort=yes`, and `ListenDatagram={address}` 3 times in the socket unit"
    );
    assert!(few.contains(&mend), "{few}");
    let many = said(1, vec![socket(), socket()]);
    let mend = format!(
        "`workers = 2` under [server], or `ListenDatagram={address}` once in the socket unit"
    );
    assert!(many.contains(&mend), "{many}");
}

#[test]
fn a_socket_that_no_listener_wants_is_an_error_that_names_it() {
    let ip = own_address();
    let text = listener("udp", &format!("{ip}:3478"));
    let address = format!("{ip}:3478");
    let socket = TcpListener::bind(&address).unwrap();
    let said = Launched::new(ip, 1, &text, vec![socket.into()]).complaint();
    for part in [
        &*format!("a TCP socket for {address}, which no listener is for"),
        &format!("take `ListenStream={address}` out"),
        "or that as `address` under [metrics], [admin], [admin.tester] or [credentials]",
        &format!("the listeners are {address} (udp, UDP)"),
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let ip = own_address();
    let text = listener("udp", &format!("{ip}:3478"));
    let said = |socket| Launched::new(ip, 1, &text, vec![socket]).complaint();
    let file = File::open("/dev/null").unwrap();
    let not_listening = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    for socket in [OwnedFd::from(file), not_listening.into()] {
        let said = said(socket);
        let expected = "descriptor 3, which is neither a listening TCP socket nor a UDP socket";
        assert!(said.contains(expected), "{said}");
    }
    let both = said(udp("[::]:0".parse::<SocketAddr>().unwrap(), false));
    assert!(both.contains("BindIPv6Only=ipv6-only"), "{both}");
}
