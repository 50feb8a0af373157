//! Starting the program with a configuration of its own, and reading its log, its metrics and its memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const USER: &str = "user";
pub const PASSWORD: &str = "correct horse battery staple";
pub const REALM: &str = "hairpin.test";

/// How long anything may take that should happen at once; generous, for machines that are busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Below the ports the system gives out by itself, so that nobody takes them between the look and the use.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// So many ports in a row that are free on all addresses, over UDP and TCP.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let room = PORTS.end - PORTS.start;
    // Test programs that run at the same time start at different places.
    let start = (std::process::id() as u16).wrapping_mul(211) % room;
    for _ in 0..1000 {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = PORTS.start + (start.wrapping_add(offset)) % room;
        if first + count <= PORTS.end && (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free ports");
}

fn is_free(port: u16) -> bool {
    let any = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    any.into_iter()
        .all(|ip| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok())
}

/// Asks until it is so.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A configuration in the making: UDP and TCP on 127.0.0.1, one worker, one user, peers on loopback allowed.
#[derive(Clone)]
pub struct Setup {
    sections: BTreeMap<&'static str, Vec<String>>,
    hosts: Vec<IpAddr>,
    relays: Vec<IpAddr>,
    port: u16,
    metrics: u16,
}

impl Setup {
    pub fn new() -> Setup {
        let first = free_ports(2);
        let setup = Setup {
            sections: BTreeMap::new(),
            hosts: vec![V4],
            relays: vec![V4],
            port: first,
            metrics: first + 1,
        };
        setup
            .set("server", "workers = 1")
            .set("server", "drain = \"0s\"")
            .set("relay", &format!("ports = \"{}\"", port_range(100)))
            .set("relay", "quarantine = \"0s\"")
            .set("peers", "allow = [\"127.0.0.0/8\", \"::1\"]")
            .set("auth", &format!("realm = \"{REALM}\""))
            .set("log", "format = \"json\"")
    }

    /// Sets a key of a section, in place of what it was set to before.
    pub fn set(mut self, section: &'static str, line: &str) -> Setup {
        let key = line.split('=').next().unwrap();
        let lines = self.sections.entry(section).or_default();
        lines.retain(|other| other.split('=').next() != Some(key));
        lines.push(line.to_owned());
        self
    }

    pub fn hosts(mut self, hosts: &[IpAddr]) -> Setup {
        self.hosts = hosts.to_vec();
        self
    }

    pub fn relays(mut self, relays: &[IpAddr]) -> Setup {
        self.relays = relays.to_vec();
        self
    }

    /// The port of all listeners.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The port of the metrics.
    pub const fn metrics_port(&self) -> u16 {
        self.metrics
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, lines) in &self.sections {
            writeln!(text, "[{section}]\n{}\n", lines.join("\n")).unwrap();
        }
        for host in &self.hosts {
            for transport in ["udp", "tcp"] {
                let address = SocketAddr::new(*host, self.port);
                writeln!(
                    text,
                    "[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n"
                )
                .unwrap();
            }
        }
        for relay in &self.relays {
            writeln!(text, "[[relay.address]]\naddress = \"{relay}\"\n").unwrap();
        }
        writeln!(
            text,
            "[[auth.user]]\nname = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
        )
        .unwrap();
        writeln!(text, "[metrics]\naddress = \"127.0.0.1:{}\"", self.metrics).unwrap();
        text
    }

    pub fn start(self) -> Server {
        self.start_as(Command::new(env!("CARGO_BIN_EXE_hairpin")))
    }

    /// Starts with so few descriptors, as the hard limit.
    pub fn start_with_descriptors(self, count: u32) -> Server {
        self.start_as(with_descriptors(count))
    }

    /// Likewise, where it may fail to start: the status and what it said then.
    pub fn try_start_with_descriptors(self, count: u32) -> Result<Server, Failed> {
        let mut server = self.launch(with_descriptors(count));
        let is_up = eventually("start or failure", || {
            let is_ready = server.log().iter().any(|line| is_ready(line));
            let has_ended = server.process.child.try_wait().unwrap().is_some();
            (is_ready || has_ended).then_some(!has_ended)
        });
        if is_up {
            return Ok(server);
        }
        let (status, _, lines) = server.process.ended();
        Err((status, lines))
    }

    /// Starts by a command that takes the server's arguments.
    pub fn start_as(self, command: Command) -> Server {
        let server = self.launch(command);
        server.wait_for_log("ready", |line| {
            line.contains("\"ready\"") || line.contains(" ready ")
        });
        server
    }

    fn launch(self, mut command: Command) -> Server {
        let folder = tempfile::tempdir().unwrap();
        // It is read again by whoever the server becomes where it was root.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let config = folder.path().join("hairpin.toml");
        std::fs::write(&config, self.text()).unwrap();
        command.arg("run").arg("-c").arg(config);
        let process = Process::start(command);
        Server {
            process,
            port: self.port,
            metrics: self.metrics,
            folder,
        }
    }
}

/// How a failed start ended, and what it said.
pub type Failed = (ExitStatus, Vec<String>);

fn with_descriptors(count: u32) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_hairpin")]);
    command
}

/// Whether a line of the log says that the server is up.
fn is_ready(line: &str) -> bool {
    line.contains("\"ready\"") || line.contains(": ready ")
}

/// So many ports that nobody has, as the configuration writes them.
pub fn port_range(count: u16) -> String {
    let first = free_ports(count);
    format!("{first}-{}", first + count - 1)
}

/// What a process writes to standard error, while it writes it.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    is_over: bool,
}

/// A started program, killed when the test is over.
pub struct Process {
    child: Child,
    log: Log,
}

impl Process {
    pub fn start(mut command: Command) -> Process {
        let mut child = command
            .env_remove("HAIRPIN_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let (state, changed) = &*lines.0;
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                state.lock().unwrap().lines.push(line);
                changed.notify_all();
            }
            state.lock().unwrap().is_over = true;
            changed.notify_all();
        });
        Process { child, log }
    }

    /// All lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.0.0.lock().unwrap().lines.clone()
    }

    /// The first line that fits, waiting for it.
    pub fn wait_for_log(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let (state, changed) = &*self.log.0;
        let end = Instant::now() + PATIENCE;
        let mut state = state.lock().unwrap();
        loop {
            if let Some(line) = state.lines.iter().find(|line| fits(line)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_over {
                // The lines are shown when the process is dropped, which needs the lock.
                drop(state);
                panic!("no log line with {what}");
            }
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The first line of standard output.
    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line
    }

    /// Waits for the program to end by itself; its status and everything it wrote to both outputs.
    pub fn ended(mut self) -> (ExitStatus, String, Vec<String>) {
        let status = eventually("the end of the program", || self.child.try_wait().unwrap());
        let mut output = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        let (state, changed) = &*self.log.0;
        let state = state.lock().unwrap();
        let wait = changed.wait_timeout_while(state, PATIENCE, |state| !state.is_over);
        let lines = wait.unwrap().0.lines.clone();
        (status, output, lines)
    }

    /// Asks the program to stop, as a service manager does.
    pub fn stop(self) -> (ExitStatus, String, Vec<String>) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        self.ended()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.log().iter().rev().take(30).rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// `hairpin run`, up and ready.
pub struct Server {
    process: Process,
    port: u16,
    metrics: u16,
    folder: TempDir,
}

impl Server {
    /// The listener, UDP and TCP, on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.at(V4)
    }

    /// Where the metrics are.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(V4, self.metrics)
    }

    /// Writes another configuration in place of the one it was started with.
    pub fn rewrite(&self, text: &str) {
        std::fs::write(self.folder.path().join("hairpin.toml"), text).unwrap();
    }

    /// Sends a signal: HUP, TERM.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until the program has ended.
    pub fn ended(self) -> (ExitStatus, Vec<String>) {
        let (status, _, log) = self.process.ended();
        (status, log)
    }

    /// What is at a path of the metrics' address: the status line and the rest.
    pub fn page(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.metrics_address()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (status, rest) = answer.split_once("\r\n").unwrap();
        (status.to_owned(), rest.to_owned())
    }

    /// The listener on another address.
    pub fn at(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.port)
    }

    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    pub fn wait_for_log(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.process.wait_for_log(what, fits)
    }

    /// The lines of a JSON log that carry a message.
    pub fn events(&self, message: &str) -> Vec<serde_json::Value> {
        let lines = self.log();
        let values = lines.iter().map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|error| panic!("{line:?}: {error}"))
        });
        values.filter(|line| line["message"] == message).collect()
    }

    /// The same, once there are so many: the log is written by a thread of its own.
    pub fn wait_for_events(&self, message: &str, count: usize) -> Vec<serde_json::Value> {
        eventually(message, || {
            Some(self.events(message)).filter(|events| events.len() >= count)
        })
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// The memory that is really in use, in bytes.
    pub fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    /// A scrape of the metrics.
    pub fn metrics(&self) -> Metrics {
        let mut stream = TcpStream::connect((V4, self.metrics)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        Metrics {
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Waits until a series has a value.
    pub fn wait_for_metric(&self, series: &str, value: u64) {
        let mut last = 0;
        let what = format!("{series} {value}");
        eventually(&what, || {
            last = self.metrics().get(series);
            (last == value).then_some(())
        });
    }

    /// Asks the program to stop; its status and its log.
    pub fn stop(self) -> (ExitStatus, Vec<String>) {
        let (status, _, log) = self.process.stop();
        (status, log)
    }
}

/// The text of a scrape.
pub struct Metrics {
    pub head: String,
    pub body: String,
}

impl Metrics {
    /// Series and values, of seconds the whole ones.
    pub fn series(&self) -> BTreeMap<String, u64> {
        let lines = self.body.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse::<f64>().unwrap() as u64)
            })
            .collect()
    }

    /// The value of a series, which has to be there.
    pub fn get(&self, series: &str) -> u64 {
        let value = self.series().get(series).copied();
        value.unwrap_or_else(|| panic!("no {series} in {}", self.body))
    }
}
