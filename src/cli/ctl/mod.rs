//! `hairpin ctl`: asks a running server, and tells it what to do, over its HTTP side.
//!
//! What is printed is for people; `--json` prints what the server answered. Nothing here knows more than the API says.
//! Main function: [`main`].

mod client;
mod shown;
mod table;

use super::Failure;
use clap::{Args, Subcommand, ValueEnum};
use client::{Client, encode};
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use table::Screen;

/// How many sessions are asked for at once.
const PAGE: usize = 1000;

/// How long is looked at a session, to know what passes.
const LOOK: Duration = Duration::from_secs(1);

/// What `hairpin ctl` is given.
#[derive(Args)]
pub(super) struct CtlArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    order: Order,
}

/// Which server is meant.
#[derive(Args)]
struct ServerArgs {
    /// Unix socket of the server; without it that of the configuration, or /run/hairpin/hairpin.sock
    #[arg(long, value_name = "PATH", env = "HAIRPIN_SOCKET", global = true)]
    socket: Option<PathBuf>,
    /// Configuration file, for its socket
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "HAIRPIN_CONFIG",
        global = true
    )]
    config: Option<PathBuf>,
    /// Address of the server in place of a socket: https://turn.example.org:9642
    #[arg(long, value_name = "URL", global = true, requires = "token_file")]
    url: Option<String>,
    /// File with the token to show there
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// File with the authorities to trust there, in place of the system's
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Print what the server answered, as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Order {
    /// How the server is
    Status,
    /// Look for what keeps calls from working, as far as it can be seen from inside the server
    Doctor,
    /// List sessions
    Sessions {
        /// Of this user: the whole name, or the part behind the expiry
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// With this address of a client or a relay
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// In which order
        #[arg(long, value_name = "ORDER", default_value = "rate")]
        sort: Sort,
        /// Show them again and again, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Show one session in full
    Session {
        /// Its id
        id: String,
    },
    /// End a session, or all of a user
    #[command(arg_required_else_help = true)]
    End {
        /// The session's id
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All sessions of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Say why a client was refused lately, and what to do
    Why {
        /// The client's IP address
        address: IpAddr,
    },
    /// Read the configuration again
    Reload,
    /// Refuse new sessions; those there are go on
    Drain,
    /// Take new sessions again
    Undrain,
    /// Show the level of the log, or change it until the next reload
    Log {
        /// A level, or levels by module: info,hairpin::net=debug
        level: Option<String>,
    },
    /// Refuse a user from now on, until the next start, and end its sessions
    Revoke {
        /// The whole name, or of ephemeral ones the part behind the expiry
        user: String,
        /// Let the user in again
        #[arg(long)]
        undo: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    /// What passes a second, most first
    Rate,
    /// What passed in all, most first
    Bytes,
    /// Oldest first
    Age,
    /// By name
    User,
}

impl Sort {
    const fn name(self) -> &'static str {
        match self {
            Sort::Rate => "rate",
            Sort::Bytes => "bytes",
            Sort::Age => "age",
            Sort::User => "user",
        }
    }
}

/// Asks or tells.
pub(super) fn main(args: &CtlArgs) -> Result<(), Failure> {
    let client = Client::find(&args.server)?;
    let is_json = args.server.json;
    let answered = |value: Value, text: fn(&Value) -> String| {
        super::print(&if is_json {
            format!("{value}\n")
        } else {
            text(&value)
        })
    };
    match &args.order {
        Order::Status => answered(client.get("/v1/status")?, shown::status),
        Order::Doctor => answered(client.get("/v1/doctor")?, crate::cli::doctor::text),
        Order::Sessions {
            user,
            address,
            sort,
            watch,
        } => {
            let mut query = format!("sort={}", sort.name());
            for (name, value) in [("user", user), ("address", address)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", encode(value)));
                }
            }
            match watch {
                true => watch_sessions(&client, &query),
                false => {
                    let all = all_sessions(&client, &query)?;
                    super::print(&if is_json {
                        format!("{all}\n")
                    } else {
                        table::sessions(&all, Screen::here())
                    })
                }
            }
        }
        Order::Session { id } => {
            let path = format!("/v1/sessions/{}", encode(id));
            // Rates are what passed between two looks.
            client.get(&path)?;
            std::thread::sleep(LOOK);
            answered(client.get(&path)?, shown::session)
        }
        Order::End { id, user } => {
            let path = match (id, user) {
                (Some(id), _) => format!("/v1/sessions/{}", encode(id)),
                (None, user) => {
                    let user = user.as_deref().unwrap_or_default();
                    format!("/v1/sessions?user={}", encode(user))
                }
            };
            answered(client.order("DELETE", &path, None)?, shown::ended)
        }
        Order::Why { address } => {
            let path = format!("/v1/refusals?address={}", encode(&address.to_string()));
            answered(client.get(&path)?, shown::why)
        }
        Order::Reload => answered(client.order("POST", "/v1/reload", None)?, shown::reloaded),
        Order::Drain => answered(client.drain(true)?, shown::drained),
        Order::Undrain => answered(client.drain(false)?, shown::drained),
        Order::Log { level: None } => answered(client.get("/v1/log")?, shown::level),
        Order::Log { level: Some(level) } => {
            let body = json!({ "level": level });
            answered(client.order("PUT", "/v1/log", Some(body))?, shown::level)
        }
        Order::Revoke { user, undo: true } => {
            let path = format!("/v1/revocations/{}", encode(user));
            answered(client.order("DELETE", &path, None)?, shown::unrevoked)
        }
        Order::Revoke { user, undo: false } => {
            let body = json!({ "user": user });
            let told = client.order("POST", "/v1/revocations", Some(body))?;
            answered(told, shown::revoked)
        }
    }
}

impl Client {
    fn drain(&self, draining: bool) -> Result<Value, Failure> {
        self.order("POST", "/v1/drain", Some(json!({ "draining": draining })))
    }
}

/// All pages as one.
fn all_sessions(client: &Client, query: &str) -> Result<Value, Failure> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/sessions?{query}&limit={PAGE}{cursor}");
        let mut page = client.get(&path)?;
        if let Some(Value::Array(sessions)) = page.get_mut("sessions").map(Value::take) {
            all.extend(sessions);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => return Ok(json!({ "sessions": all, "total": page.get("total") })),
        }
    }
}

/// Draws over what it drew before, every two seconds, until nobody looks.
fn watch_sessions(client: &Client, query: &str) -> Result<(), Failure> {
    loop {
        let screen = Screen::here();
        let rows = screen.height.unwrap_or(24).saturating_sub(4).max(1);
        let status = client.get("/v1/status")?;
        let page = client.get(&format!("/v1/sessions?{query}&limit={}", rows.min(PAGE)))?;
        let text = format!(
            "{}\n{}",
            shown::headline(&status),
            table::sessions(&page, screen)
        );
        // From the top, each line to its end, and nothing below the last.
        let mut drawn = String::from("\x1b[H");
        for line in text.lines() {
            drawn.push_str(line);
            drawn.push_str("\x1b[K\r\n");
        }
        drawn.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        if out
            .write_all(drawn.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return Ok(());
        }
        drop(out);
        std::thread::sleep(Duration::from_secs(2));
    }
}

impl Screen {
    /// That of standard output, as far as there is one.
    fn here() -> Screen {
        let size = terminal_size::terminal_size().filter(|_| io::stdout().is_terminal());
        let columns = std::env::var("COLUMNS").ok();
        Screen {
            width: size
                .map(|(width, _)| usize::from(width.0))
                .or_else(|| columns.and_then(|columns| columns.parse().ok())),
            height: size.map(|(_, height)| usize::from(height.0)),
        }
    }
}
