//! A hairpin of one's own for a trial: a process with a configuration made up for the run.
//!
//! The process is this program once more. `video-call run -c FILE` is `hairpin run -c FILE`, from the library this example
//! is built with, so there is no binary to look for; and as a process of its own it can give up its rights (the sandbox)
//! without taking those of the room server. Main type: [`Trial`].

use crate::ice_servers::{Api, LIFETIME};
use crate::messages::random_hex;
use hairpin::config::Family;
use hairpin::net::addresses;
use ipnet::Ipv4Net;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// The name of the room server's key.
const KEY: &str = "video-call";

/// A running hairpin. It ends when this is dropped.
#[derive(Debug)]
pub struct Trial {
    process: Child,
    urls: Vec<String>,
    /// Where the configuration is, with its secrets, and the socket: for this user only, and removed at the end.
    _folder: TempDir,
}

impl Trial {
    /// Starts it on the address by which this machine reaches others, at port 3478 or, where that is taken, at another one.
    /// `program` is a hairpin, or this one. Returns once it listens, with the way to its credentials.
    ///
    /// # Errors
    /// When it does not start; it has said why on standard error.
    pub fn start(program: &Path) -> io::Result<(Self, Api)> {
        // Browsers ignore relays on loopback addresses, or have no candidate beside them: loopback is the last resort.
        let address = addresses::default_route(Family::V4).unwrap_or(Ipv4Addr::LOCALHOST.into());
        let folder = TempDir::with_prefix("hairpin-trial-")?;
        let (config, socket) = (
            folder.path().join("hairpin.toml"),
            folder.path().join("socket"),
        );
        let token = random_hex::<32>();
        fs::write(&config, configuration(free(address)?, &socket, &token)?)?;
        let api = Api::new(&format!("unix:{}", socket.display()), KEY, &token);
        let api = api.map_err(io::Error::other)?;
        let mut process = Command::new(program)
            .arg("run")
            .arg("-c")
            .arg(config)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = process.stdout.take().map(BufReader::new);
        let mut trial = Self {
            process,
            urls: Vec::new(),
            _folder: folder,
        };
        let mut line = String::new();
        if let Some(mut said) = said {
            said.read_line(&mut line)?;
        }
        trial.urls = serde_json::from_str::<Started>(&line)
            .map_err(|_| io::Error::other("hairpin did not start"))?
            .urls;
        Ok((trial, api))
    }

    /// Where clients reach it.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // One that ended already is no error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody has, neither over UDP nor over TCP.
fn free(address: IpAddr) -> io::Result<SocketAddr> {
    let is_free = |port| {
        let at = TcpListener::bind(SocketAddr::new(address, port))?.local_addr()?;
        UdpSocket::bind(at).map(|_| at)
    };
    is_free(3478)
        .or_else(|_| is_free(0))
        .or_else(|_| is_free(0))
}

/// What `hairpin run --json` says first.
#[derive(serde::Deserialize)]
struct Started {
    urls: Vec<String>,
}

/// The smallest configuration that does what is needed here. For real use see `config/hairpin.toml`.
fn configuration(at: SocketAddr, socket: &Path, token: &str) -> io::Result<String> {
    let mut text = String::new();
    for transport in ["udp", "tcp"] {
        let _ = writeln!(
            text,
            "[[listener]]\ntransport = \"{transport}\"\naddress = \"{at}\"\n"
        );
    }
    let _ = writeln!(text, "[[relay.address]]\naddress = \"{}\"\n", at.ip());
    // hairpin signs credentials with the secret, which is nobody else's business; the room server's key is for asking.
    let _ = writeln!(text, "[auth]\nsecrets = [\"{}\"]\n", random_hex::<32>());
    let _ = writeln!(text, "[admin]\nsocket = {socket:?}\n");
    let _ = writeln!(
        text,
        "[[credentials.key]]\nname = \"{KEY}\"\ntoken = \"{token}\"\nmax_ttl = \"{LIFETIME}s\"\nttl = \"{LIFETIME}s\"\n"
    );
    // A relay on the Internet does not reach into networks like these, and must not. In a trial the browsers are in them:
    // one that uses the relay has to reach another that does not.
    let _ = writeln!(text, "[peers]\nallow = {:?}\n", own_networks(at.ip())?);
    text.push_str("[metrics]\naddress = \"\"\n");
    Ok(text)
}

/// The IPv4 networks this machine is in. Loopback is only one of them where there is nothing else.
fn own_networks(address: IpAddr) -> io::Result<Vec<String>> {
    let network = |interface: if_addrs::Interface| match interface.addr {
        if_addrs::IfAddr::V4(own) if own.ip.is_loopback() && !address.is_loopback() => None,
        if_addrs::IfAddr::V4(own) => Ipv4Net::new(own.ip, own.prefixlen).ok(),
        if_addrs::IfAddr::V6(_) => None,
    };
    let networks = if_addrs::get_if_addrs()?.into_iter().filter_map(network);
    Ok(networks.map(|own| own.trunc().to_string()).collect())
}
