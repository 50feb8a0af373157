//! Where requests come in: opened before the process gives up its rights, served until it ends.
//!
//! The unix socket belongs to the account the server becomes, with mode 0660, so that its group may use it. A socket file
//! that nobody listens on any more is replaced; nobody but root can put another in its place, as long as its directory is
//! as it should be. Main type: [`Doors`].

use super::api::{self, Offer};
use super::http::{self, Door};
use super::office::{Offered, Office};
use crate::config::{ADMIN_SOCKET, Settings};
use crate::net::handed::Handed;
use crate::net::socket;
use crate::service::CannotServe;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tracing::info;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// The open doors.
pub struct Doors {
    metrics: Option<TcpListener>,
    socket: Result<Option<Unix>, String>,
    admin: Option<TcpListener>,
    credentials: Option<TcpListener>,
    tester: Option<TcpListener>,
}

struct Unix {
    listener: UnixListener,
    path: PathBuf,
    group: u32,
}

impl Doors {
    /// Opens all that the settings ask for, but for TCP addresses that were `handed` over. `owner` is the user and the
    /// group that the process is about to become, if it is.
    ///
    /// # Errors
    /// With the address that cannot be had, and why.
    pub fn open(
        settings: &Settings,
        owner: Option<(u32, u32)>,
        handed: &mut Handed,
    ) -> Result<Doors, CannotServe> {
        let socket = match &settings.admin.socket {
            None => Ok(None),
            Some(path) => match unix(path, owner) {
                Ok(socket) => Ok(Some(socket)),
                // It was not asked for, and many a server goes without.
                Err(why) if path == Path::new(ADMIN_SOCKET) => Err(why),
                Err(why) => return Err(CannotServe::new(why)),
            },
        };
        Ok(Doors {
            metrics: tcp("metrics", "[metrics]", settings.metrics.address, handed)?,
            socket,
            admin: tcp("operators", "[admin]", settings.admin.address, handed)?,
            credentials: tcp(
                "credentials",
                "[credentials]",
                settings.credentials.address,
                handed,
            )?,
            tester: tcp(
                "the tester",
                "[admin.tester]",
                settings.admin.tester.address,
                handed,
            )?,
        })
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// When a listener fails for good.
    pub async fn serve(self, offered: Offered) -> io::Result<()> {
        let office = Arc::new(Office::new(offered));
        let all = api::router(&office, Offer::Everything);
        let open = |router, listener: Option<TcpListener>, has_tls| {
            let office = office.clone();
            async move {
                match listener {
                    Some(listener) => http::serve_tcp(listener, router, office, has_tls).await,
                    None => std::future::pending().await,
                }
            }
        };
        let settings = office.service.settings();
        let socket = async {
            match self.socket {
                Ok(Some(unix)) => {
                    info!(path = %unix.path.display(), "serving operators on a unix socket");
                    http::serve_unix(unix.listener, all.clone(), office.clone(), unix.group).await
                }
                Ok(None) => std::future::pending().await,
                Err(why) => {
                    info!(reason = why, "no unix socket for operators");
                    std::future::pending().await
                }
            }
        };
        for (what, listener) in [
            ("operators", &self.admin),
            ("credentials", &self.credentials),
            ("the tester", &self.tester),
        ] {
            if let Some(address) = listener.as_ref().and_then(|l| l.local_addr().ok()) {
                info!(%address, "serving {what}");
            }
        }
        let metrics = api::router(&office, Offer::Metrics);
        let credentials = api::router(&office, Offer::Credentials);
        let tester = api::router(&office, Offer::Tester);
        tokio::select! {
            failed = socket => failed,
            failed = open(metrics, self.metrics, false) => failed,
            failed = open(all.clone(), self.admin, settings.admin.tls) => failed,
            failed = open(tester, self.tester, settings.admin.tester.tls) => failed,
            failed = open(credentials, self.credentials, settings.credentials.tls) => failed,
            () = office.sampler.watch(&office) => Ok(()),
            () = office.history.watch(&office) => Ok(()),
        }
    }
}

fn tcp(
    what: &str,
    section: &str,
    address: Option<SocketAddr>,
    handed: &mut Handed,
) -> Result<Option<TcpListener>, CannotServe> {
    let Some(address) = address else {
        return Ok(None);
    };
    if let Some(socket) = handed.claim_stream(address).map_err(CannotServe::new)? {
        let listener = TcpListener::from_std(socket.into());
        return listener.map(Some).map_err(CannotServe::new);
    }
    let bound = socket::tcp_door(address);
    bound.map(Some).map_err(|error| {
        CannotServe::new(match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "cannot serve {what} on {address}: the address is in use; does hairpin run already? A second \
                 one needs an `address` of its own under {section}"
            ),
            _ => format!("cannot serve {what} on {address}: {error}"),
        })
    })
}

/// Binds the socket; why not, with its path.
fn unix(path: &Path, owner: Option<(u32, u32)>) -> Result<Unix, String> {
    let failed = |error: io::Error| {
        format!(
            "cannot serve operators on the unix socket {}: {error}",
            path.display()
        )
    };
    remove_stale(path).map_err(failed)?;
    let bind = || -> io::Result<Unix> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before it listens.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(path, Some(user), Some(group))?;
        }
        let group = std::fs::metadata(path)?.gid();
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Unix {
            listener: UnixListener::from_std(StdUnixListener::from(socket))?,
            path: path.to_owned(),
            group,
        })
    };
    bind().map_err(failed)
}

/// Removes the socket of a server that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is something else of that name"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::other(
            "another server listens there; does hairpin run already?",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

impl From<&Door> for String {
    fn from(door: &Door) -> String {
        match door {
            Door::Socket { user } => format!("user {user}"),
            Door::Network { from } => format!("{from}"),
        }
    }
}
