//! A server with an address and a certificate of its own, and loads for it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

/// A loopback address that nobody else uses: made of this process's number and a count.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high | 0x80, low, count)
}

pub fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("bench")
        .args(args)
        .env_remove("HAIRPIN_PASSWORD")
        .output()
        .unwrap()
}

/// What a load says that could not run, and its exit status.
pub fn refusal(args: &[&str]) -> (Option<i32>, String) {
    let output = bench(args);
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

/// A running server, on UDP, TCP and TLS.
pub struct Server {
    process: Child,
    address: Ipv4Addr,
    folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        let address = own_address();
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([address.to_string()]).unwrap();
        fs::write(folder.path().join("certificate"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(folder.path().join("secret"), "a secret for this test\n").unwrap();
        let listeners: String = [("udp", 3478), ("tcp", 3478), ("tls", 5349)]
            .iter()
            .map(|(transport, port)| {
                format!(
                    "[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}:{port}\"\n"
                )
            })
            .collect();
        let configuration = format!(
            "[server]\nworkers = 1\n{listeners}\
             [[tls.certificate]]\ncertificate = \"certificate\"\nkey = \"key\"\n\
             [[relay.address]]\naddress = \"{address}\"\n\
             [auth]\nrealm = \"test\"\nsecrets = [{{ file = \"secret\" }}]\n\
             [[auth.user]]\nname = \"user\"\npassword = \"a password for this test\"\n\
             [peers]\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.66\"]\n[metrics]\naddress = \"\"\n"
        );
        let path = folder.path().join("hairpin.toml");
        fs::write(&path, configuration).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["run", "--json", "-c"])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        // The line says that the server runs.
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let server = Server {
            process,
            address,
            folder,
        };
        assert!(!line.is_empty(), "{}", server.log());
        server
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn url(&self, transport: &str) -> String {
        let address = self.address;
        match transport {
            "udp" => format!("turn:{address}"),
            "tcp" => format!("turn:{address}?transport=tcp"),
            "tls" => format!("turns:{address}"),
            other => panic!("{other}?"),
        }
    }

    /// A short load with the server's user; its report.
    pub fn load(&self, transport: &str, args: &[&str]) -> Value {
        let output = self.output(transport, &[&["--json"], args].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A short load that succeeds.
    pub fn output(&self, transport: &str, args: &[&str]) -> Output {
        let pid = self.process.id().to_string();
        let url = self.url(transport);
        let ca = self.path("certificate");
        let mut all = vec![url.as_str(), "--pid", &pid];
        if transport == "tls" {
            all.extend(["--ca", &ca]);
        }
        // Tests share their machine, so most loads do not spin.
        if !args.contains(&"--wait") {
            all.extend(["--wait", "sleep"]);
        }
        all.extend(["--warm-up", "100ms", "--duration", "300ms"]);
        all.extend(["-u", "user", "-p", "a password for this test"]);
        let output = bench(&[&all[..], args].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*errors),
            (Some(0), ""),
            "{}",
            self.log()
        );
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
