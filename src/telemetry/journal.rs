//! The log as entries of systemd's journal, with a field for each value, so that `journalctl HAIRPIN_USER=alice` finds
//! what concerns one user.
//!
//! An entry is one datagram in the journal's own form: `NAME=value` and a line's end, or, where the value has several
//! lines, the name, a line's end, the length and the value. MESSAGE is what people read and has all values behind the
//! text, PRIORITY is syslog's, and the values of the event stand in fields that begin with `HAIRPIN_`. Nothing is sent by
//! those who log: entries go through the queue of [`super::log`]. Main items: [`Entries`], [`Journal`].

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens, also where a unit has a journal of its own (`LogNamespace=`).
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// What is behind this in a value is left out: a datagram has to hold all of them.
const LONGEST: usize = 16 << 10;

/// Makes an entry of each event and gives it to somebody.
#[derive(Clone, Debug)]
pub struct Entries<F>(pub F);

impl<S: Subscriber, F: Fn(Vec<u8>) + 'static> Layer<S> for Entries<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let metadata = event.metadata();
        let Values { text, more, fields } = values;
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", &(text + &more));
        put(&mut entry, "PRIORITY", priority(*metadata.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        put(&mut entry, "HAIRPIN_TARGET", metadata.target());
        for (name, value) in fields {
            put(&mut entry, &name, &value);
        }
        (self.0)(entry);
    }
}

/// The values of an event.
#[derive(Default)]
struct Values {
    text: String,
    /// The others behind the text.
    more: String,
    fields: Vec<(String, String)>,
}

impl Values {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.text = value;
            return;
        }
        // Writing to a String cannot fail.
        let _ = write!(self.more, " {}={value}", field.name());
        let name = field.name().to_ascii_uppercase();
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        self.fields.push((format!("HAIRPIN_{name}"), value));
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// Syslog's number for a level.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(LONGEST)];
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// The journal, to send entries to.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal at this socket.
    ///
    /// # Errors
    /// That nobody listens there.
    pub fn open(path: &Path) -> io::Result<Journal> {
        UnixDatagram::unbound()?.connect(path)?;
        // Not the one that is connected: whoever listens may be another one later.
        Ok(Journal {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
        })
    }

    /// Sends an entry; waits where the journal is slow.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, entry: &[u8]) -> io::Result<()> {
        self.socket.send_to(entry, &self.path).map(drop)
    }
}
