//! Where records go that is on this machine: a file, or a unix socket; and the queue in front of each destination.
//!
//! Main types: [`Queue`], [`Append`], [`Socket`].

use super::Losses;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How many records are written at once.
pub(super) const AT_ONCE: usize = 500;

/// How long is waited after a failure, twice as long each time, up to the longest.
pub(super) const SHORTEST_REST: Duration = Duration::from_secs(1);
pub(super) const LONGEST_REST: Duration = Duration::from_secs(60);

/// Records that wait for a destination. One that is away makes the oldest give way.
pub(super) struct Queue {
    capacity: usize,
    lines: Mutex<VecDeque<Arc<str>>>,
    more: Notify,
    losses: Arc<Losses>,
    /// Records that were taken are on their way.
    is_busy: AtomicBool,
    /// The program ends: nothing is gathered any more.
    is_last: AtomicBool,
    hurry: Notify,
}

impl Queue {
    pub fn new(capacity: usize, losses: Arc<Losses>) -> Self {
        Queue {
            capacity: capacity.max(1),
            lines: Mutex::default(),
            more: Notify::new(),
            losses,
            is_busy: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            hurry: Notify::new(),
        }
    }

    /// Lets whoever takes records rest no longer than need be from now on.
    pub fn hurry(&self) {
        self.is_last.store(true, Ordering::Relaxed);
        self.hurry.notify_one();
    }

    /// Whether all records have arrived.
    pub fn is_idle(&self) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.is_empty() && !self.is_busy.load(Ordering::Relaxed)
    }

    /// Waits for more to send together, unless there is no time for that.
    pub async fn gather(&self, time: Duration) {
        if !self.is_last.load(Ordering::Relaxed) {
            let _ = timeout(time, self.hurry.notified()).await;
        }
    }

    /// Puts a record behind the others if there is room to spare: one that the next will say more of.
    pub fn push_if_room(&self, line: Arc<str>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= self.capacity / 2 {
            self.losses.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.push_back(line);
        self.more.notify_one();
    }

    pub fn losses(&self) -> Arc<Losses> {
        self.losses.clone()
    }

    pub fn push(&self, line: Arc<str>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == self.capacity {
            lines.pop_front();
            self.losses.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        lines.push_back(line);
        self.more.notify_one();
    }

    /// The oldest records, at least one; waits for it.
    pub async fn take(&self) -> Vec<Arc<str>> {
        self.is_busy.store(false, Ordering::Relaxed);
        loop {
            let more = self.more.notified();
            {
                let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if !lines.is_empty() {
                    self.is_busy.store(true, Ordering::Relaxed);
                    let count = lines.len().min(AT_ONCE);
                    return lines.drain(..count).collect();
                }
            }
            more.await;
        }
    }

    /// Puts records back that did not get through.
    pub fn put_back(&self, records: Vec<Arc<str>>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in records.into_iter().rev() {
            if lines.len() == self.capacity {
                // They are older than all that wait.
                self.losses.overflowed.fetch_add(1, Ordering::Relaxed);
            } else {
                lines.push_front(line);
            }
        }
        self.more.notify_one();
    }
}

fn text(records: &[Arc<str>]) -> Vec<u8> {
    let mut text = Vec::new();
    for record in records {
        text.extend_from_slice(record.as_bytes());
        text.push(b'\n');
    }
    text
}

/// A file that grows. One that was moved away, as logrotate does, is made anew.
pub(super) struct Append {
    path: PathBuf,
    file: File,
}

impl Append {
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = open(path)
            .map_err(|error| format!("cannot write accounting to {}: {error}", path.display()))?;
        Ok(Append {
            path: path.to_owned(),
            file,
        })
    }

    pub async fn run(mut self, queue: &Queue) {
        let mut rest = SHORTEST_REST;
        loop {
            let records = queue.take().await;
            match self.write(&text(&records)) {
                Ok(()) => rest = SHORTEST_REST,
                Err(error) => {
                    warn!(%error, path = %self.path.display(), "accounting cannot be written");
                    queue.put_back(records);
                    sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let place = |data: std::fs::Metadata| (data.dev(), data.ino());
        let ours = self.file.metadata().map(place)?;
        if std::fs::metadata(&self.path).map(place).ok() != Some(ours) {
            self.file = open(&self.path)?;
        }
        // A line that was cut short by a full disk would spoil the next.
        let end = self.file.metadata()?.len();
        let written = self.file.write_all(text);
        if written.is_err() {
            let _ = self.file.set_len(end);
        }
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}

/// A unix stream socket that somebody listens on.
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    pub fn new(path: PathBuf) -> Self {
        Socket { path }
    }

    pub async fn run(self, queue: &Queue) {
        let mut rest = SHORTEST_REST;
        let mut stream: Option<UnixStream> = None;
        loop {
            let records = queue.take().await;
            match self.send(&mut stream, &text(&records)).await {
                Ok(()) => rest = SHORTEST_REST,
                Err(error) => {
                    stream = None;
                    warn!(%error, path = %self.path.display(), "accounting finds nobody at its socket");
                    queue.put_back(records);
                    sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    async fn send(&self, stream: &mut Option<UnixStream>, text: &[u8]) -> io::Result<()> {
        let connected = match stream {
            Some(connected) => connected,
            None => stream.insert(UnixStream::connect(&self.path).await?),
        };
        connected.write_all(text).await
    }
}
