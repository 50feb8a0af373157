//! A video call in the browser, with its room server, over hairpin.
//!
//! ```sh
//! cargo run --example video-call
//! ```
//!
//! starts a hairpin for a trial on this machine and the room server next to it, and prints the address to open, in two
//! windows for a start. README.md explains what happens then: signalling, ICE, STUN and TURN.
//!
//! Where to read on: `messages.rs` is the protocol between page and server; `rooms.rs` is who sits where; `signalling.rs`
//! is one page's socket; `server.rs` is HTTP; `ice_servers.rs` gets the credentials; `trial.rs` is the hairpin for a
//! trial. The other half is the page: `page/peer.js` is the call between two browsers, `page/signalling.js` the socket
//! that comes back, `page/path.js` finds out which way media takes, and `page/call.js` is what can be seen and pressed.

mod ice_servers;
mod messages;
mod rooms;
mod server;
mod signalling;
#[cfg(test)]
mod tests;
mod trial;

use clap::Parser;
use ice_servers::Api;
use rooms::{Limits, Rooms};
use signalling::{Clerk, Patience};
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use trial::Trial;

/// A video call in the browser, over hairpin
#[derive(Parser)]
#[command(name = "video-call")]
struct Options {
    /// Where the page is served. Browsers give a camera to pages of localhost and to those that came over TLS: for other
    /// machines put a proxy with TLS in front, and name it with --origin
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A further origin the page is reached by, such as https://call.example.org; can be repeated
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// hairpin's API for credentials, http://HOST:PORT or unix:PATH; without it, a hairpin is started for a trial
    #[arg(long, value_name = "URL", requires_all = ["key", "token_file"])]
    api: Option<String>,
    /// The name of the key at that API
    #[arg(long, value_name = "NAME", requires = "api")]
    key: Option<String>,
    /// A file with the key's token
    #[arg(long, value_name = "FILE", requires = "api")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    // As the trial's hairpin: see trial.rs.
    if std::env::args().nth(1).is_some_and(|first| first == "run") {
        return hairpin::cli::main();
    }
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let (mut trial, api) = match (&options.api, &options.key, &options.token_file) {
        (Some(api), Some(key), Some(file)) => {
            let token = std::fs::read_to_string(file)
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            let api = Api::new(api, key, token.trim()).map_err(io::Error::other)?;
            (None, api)
        }
        _ => {
            let (trial, api) = Trial::start(&std::env::current_exe()?)?;
            (Some(trial), api)
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            io::Error::other(format!(
                "cannot serve the page on {}: {error}",
                options.listen
            ))
        })?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let at = listener.local_addr()?;
        tell(at, options, trial.as_ref(), &api)?;
        let clerk = Clerk::new(Rooms::new(Limits::default()), api, Patience::default());
        let origins = origins(at, &options.origin);
        let door = server::Door::new(origins, clerk, server::Bounds::default());
        tokio::select! {
            () = server::serve(listener, door) => Ok(()),
            error = end_of(trial.as_mut()) => Err(error),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// The names of this machine for itself, the address that is listened on, and what was given.
fn origins(at: SocketAddr, given: &[String]) -> Vec<String> {
    let port = at.port();
    let local = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("http://{host}:{port}"));
    let local = local.into_iter().chain([format!("http://{at}")]);
    let all = local.chain(given.iter().cloned());
    all.map(|url| as_browsers_write(&url)).collect()
}

/// An origin the way it stands in requests: without a slash at its end, in small letters, and without a port that is the
/// usual one.
fn as_browsers_write(url: &str) -> String {
    let origin = url.trim_end_matches('/').to_ascii_lowercase();
    let usual = if origin.starts_with("https://") {
        ":443"
    } else {
        ":80"
    };
    origin.strip_suffix(usual).unwrap_or(&origin).to_owned()
}

/// Where the page can be opened: under the first of the names that were given, else on this machine.
fn page(at: SocketAddr, given: &[String]) -> String {
    let ip = at.ip();
    let has_name = ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    let own = if has_name {
        format!("http://localhost:{}", at.port())
    } else {
        format!("http://{at}")
    };
    as_browsers_write(given.first().unwrap_or(&own)) + "/"
}

fn tell(at: SocketAddr, options: &Options, trial: Option<&Trial>, api: &Api) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(trial) = trial {
        writeln!(out, "\nhairpin runs for a trial:")?;
        for url in trial.urls() {
            writeln!(out, "  {url}")?;
        }
    }
    writeln!(out, "\ncredentials come from {api}")?;
    let url = page(at, &options.origin);
    writeln!(
        out,
        "\nOpen this, and the link of the room it leads to in another window:\n\n  {url}\n"
    )?;
    out.flush()
}

/// Waits until the trial's hairpin is no more; for ever, where there is none.
async fn end_of(trial: Option<&mut Trial>) -> io::Error {
    let Some(trial) = trial else {
        return std::future::pending().await;
    };
    loop {
        if let Some(status) = trial.ended() {
            return io::Error::other(format!("hairpin ended: {status}"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
