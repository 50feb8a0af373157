//! A server with an address of its own that asks the authority of the test for its certificate.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::authority::Authority;
use crate::client::{TlsClient, tls};

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const NAME: &str = "turn.example.org";

const TLS: u16 = 5349;
const HTTP: u16 = 8080;

/// A loopback address that nobody else uses: made of this process's number and a count.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high | 0x80, low, count)
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// An authority, and the place for a server.
pub struct Rig {
    pub authority: Authority,
    address: Ipv4Addr,
    folder: tempfile::TempDir,
    /// Who the server is to be, if it is root: whoever the test is.
    pub user: String,
    pub state: &'static str,
    /// The file with the certificate of the authority's directory.
    pub ca: &'static str,
}

impl Rig {
    pub fn new() -> Rig {
        let address = own_address();
        let at = |port| SocketAddr::new(address.into(), port);
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig {
            authority: Authority::start(at(TLS), at(HTTP)),
            address,
            user: fs::metadata(folder.path()).unwrap().uid().to_string(),
            state: "state",
            ca: "ca.pem",
            folder,
        };
        fs::write(rig.path("ca.pem"), &rig.authority.root_pem).unwrap();
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration, with these lines under [tls.acme].
    pub fn configure(&self, acme: &str) {
        let (address, directory) = (self.address, self.authority.directory());
        let (user, state, ca) = (&self.user, self.state, self.ca);
        let text = format!(
            "[server]\nworkers = 1\nuser = \"{user}\"\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{address}:{TLS}\"\n\
             [[listener]]\ntransport = \"udp\"\naddress = \"{address}:3478\"\n\
             [metrics]\naddress = \"{address}:9641\"\n[admin]\nsocket = \"\"\n\
             [relay]\nports = \"50000-50099\"\n[[relay.address]]\naddress = \"{address}\"\n\
             [auth]\nrealm = \"example.org\"\n[[auth.user]]\nname = \"alice\"\npassword = \"wonderland\"\n\
             [peers]\nallow = [\"127.0.0.0/8\"]\n[log]\nlevel = \"info,hairpin=debug\"\n\
             [tls.acme]\nagree_to_terms = true\ndirectory = \"{directory}\"\ndirectory_ca = \"{ca}\"\nstate = \"{state}\"\n\
             {acme}\n"
        );
        fs::write(
            self.path("hairpin.toml"),
            text.replace("HTTP", &format!("{address}:{HTTP}")),
        )
        .unwrap();
    }

    /// Writes something else into the configuration.
    pub fn edit(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.path("hairpin.toml")).unwrap();
        assert!(text.contains(old));
        fs::write(self.path("hairpin.toml"), text.replace(old, new)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command
            .args(["run", "--json", "-c"])
            .arg(self.path("hairpin.toml"));
        command
    }

    /// Starts the program with this configuration.
    pub fn start(&self, acme: &str) -> Server<'_> {
        self.configure(acme);
        let log = File::create(self.path("log")).unwrap();
        let mut process = self
            .command()
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let server = Server { rig: self, process };
        assert!(line.contains("urls"), "not started: {}", server.log());
        server
    }

    /// What the program says that does not start with this configuration.
    pub fn fail(&self, acme: &str) -> String {
        self.configure(acme);
        let output = self.command().output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// The file that the certificate is kept in.
    pub fn kept(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.path("state")).unwrap();
        let is_certificate = |file: &PathBuf| file.extension().is_some_and(|end| end == "pem");
        entries
            .find_map(|entry| Some(entry.unwrap().path()).filter(is_certificate))
            .unwrap()
    }

    /// Makes the folder that the server keeps its certificate in.
    pub fn make_state(&self, mode: u32) {
        DirBuilder::new()
            .mode(mode)
            .create(self.path("state"))
            .unwrap();
    }
}

/// For one name, by TLS.
pub fn plain() -> String {
    format!("domains = [\"{NAME}\"]")
}

/// A running server.
pub struct Server<'a> {
    rig: &'a Rig,
    process: Child,
}

impl Server<'_> {
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.rig.address.into(), port)
    }

    /// A client that trusts the authority alone, and asks for this name.
    pub fn client(&self, name: &str) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.rig.authority.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.at(TLS)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        tls(stream, config, name)
    }

    /// The certificate that a new client is shown and trusts.
    pub fn shown(&self) -> CertificateDer<'static> {
        let mut client = self.client(NAME);
        client.binding();
        client.stream.conn.peer_certificates().unwrap()[0].clone()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.rig.path("log")).unwrap()
    }

    pub fn expect_in_log(&self, text: &str) {
        self.wait_until(text, || self.log().contains(text));
    }

    /// Waits until there is a certificate in force.
    pub fn has_certificate(&self) {
        self.expect_in_log("certificate from the authority is in force");
    }

    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "no {what} in {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has the configuration read anew.
    pub fn reload(&self) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The value of a metric, with its labels as they are printed.
    pub fn metric(&self, sample: &str) -> u64 {
        let mut stream = TcpStream::connect(self.at(9641)).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no {sample} in {page}"));
        line.parse().unwrap()
    }

    /// What is asked over plain HTTP where authorities look.
    pub fn http(&self, path: &str) -> String {
        http(self.at(HTTP), path)
    }
}

/// What is asked over plain HTTP at an address.
pub fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
