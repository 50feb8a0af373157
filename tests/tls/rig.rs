//! A server with an address of its own, certificates made for the test, and its metrics.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A self-signed certificate.
pub struct Made {
    pub certificate: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

pub fn certificate(names: &[&str]) -> Made {
    from_params(params(names))
}

pub fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).unwrap()
}

pub fn from_params(params: CertificateParams) -> Made {
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let CertifiedKey { cert, signing_key } = CertifiedKey { cert, signing_key };
    Made {
        certificate: cert.pem(),
        key: signing_key.serialize_pem(),
        der: cert.der().clone(),
    }
}

/// A loopback address that nobody else uses: made of this process's number and a count.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high | 0x40, low, count)
}

/// A running server.
pub struct Server {
    process: Child,
    address: Ipv4Addr,
    pub folder: tempfile::TempDir,
    /// What the first certificate is, where there is one.
    pub certificates: Vec<Made>,
}

impl Server {
    /// Starts the program with these certificates and a configuration in which `IP` stands for its address.
    pub fn start(certificates: Vec<Made>, configuration: &str) -> Server {
        Server::start_on(own_address(), certificates, configuration)
    }

    /// A server on port 5349 and 443 whose certificate is for its address.
    pub fn plain_by_address() -> Server {
        let address = own_address();
        Server::start_on(
            address,
            vec![certificate(&[&address.to_string()])],
            "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n\
             [[listener]]\ntransport = \"auto\"\naddress = \"IP:443\"\n",
        )
    }

    fn start_on(address: Ipv4Addr, certificates: Vec<Made>, configuration: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        // The server reads renewed files as the user it runs as.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut text = configuration.replace("IP", &address.to_string());
        for (at, made) in certificates.iter().enumerate() {
            fs::write(folder.path().join(format!("{at}.pem")), &made.certificate).unwrap();
            fs::write(folder.path().join(format!("{at}.key")), &made.key).unwrap();
            text +=
                &format!("[[tls.certificate]]\ncertificate = \"{at}.pem\"\nkey = \"{at}.key\"\n");
        }
        text += &format!(
            "[server]\nworkers = 1\n[metrics]\naddress = \"{address}:9641\"\n\
             [relay]\nports = \"50000-50099\"\n[[relay.address]]\naddress = \"{address}\"\n\
             [auth]\nrealm = \"example.org\"\n[[auth.user]]\nname = \"alice\"\npassword = \"wonderland\"\n\
             [peers]\nallow = [\"127.0.0.0/8\"]\n\
             [log]\nlevel = \"info,hairpin=debug\"\n"
        );
        let file = folder.path().join("hairpin.toml");
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["run", "--json", "-c"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let server = Server {
            process,
            address,
            folder,
            certificates,
        };
        assert!(line.contains("urls"), "not started: {}", server.log());
        server
    }

    /// A server with one certificate for `localhost` and a listener of each kind, where connections get a second.
    pub fn plain() -> Server {
        Server::start(
            vec![certificate(&["localhost"])],
            "[[listener]]\ntransport = \"tls\"\naddress = \"IP:5349\"\n\
             [[listener]]\ntransport = \"auto\"\naddress = \"IP:443\"\n\
             [[listener]]\ntransport = \"tcp\"\naddress = \"IP:3478\"\n\
             [[listener]]\ntransport = \"udp\"\naddress = \"IP:3478\"\n\
             [tcp]\nauth_timeout = \"1s\"\n",
        )
    }

    /// A server that takes PROXY headers from `proxies`, with a listener of each kind.
    pub fn behind(proxies: &str) -> Server {
        let listener = |transport: &str, port: u16| {
            format!(
                "[[listener]]\ntransport = \"{transport}\"\naddress = \"IP:{port}\"\n\
                 proxy_protocol_from = [\"{proxies}\"]\n"
            )
        };
        let listeners = listener("tls", 5349)
            + &listener("auto", 443)
            + &listener("tcp", 3478)
            + &listener("udp", 3478);
        Server::start(
            vec![certificate(&["localhost"])],
            &(listeners + "[tcp]\nauth_timeout = \"1s\"\n"),
        )
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.into(), port)
    }

    pub fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect(self.at(port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A UDP socket that sends to a port of the server.
    pub fn datagrams(&self, port: u16) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(self.at(port)).unwrap();
        socket
    }

    /// Waits for a text in the log, which a thread of its own writes, so that it may come a moment later.
    pub fn expect_in_log(&self, text: &str) {
        self.wait_until(text, || self.log().contains(text));
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "no {what} in {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Overwrites the files of a certificate, as one who renews it does.
    pub fn renew(&self, at: usize, made: &Made) {
        fs::write(self.path(&format!("{at}.pem")), &made.certificate).unwrap();
        fs::write(self.path(&format!("{at}.key")), &made.key).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
        line.unwrap_or_else(|| panic!("no {sample} in {page}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric has a value.
    pub fn counts(&self, sample: &str, value: u64) {
        let end = Instant::now() + PATIENCE;
        while self.metric(sample) != value {
            assert!(
                Instant::now() < end,
                "{sample} is {}, not {value}\n{}",
                self.metric(sample),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a client needs that trusts this server's certificates.
    pub fn trust(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        trust(self.certificates.iter().map(|made| &made.der), versions)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn trust<'a>(
    certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
