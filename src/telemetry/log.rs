//! Setting up the log.
//!
//! Lines are written by a thread of their own, from a queue of bounded length: whoever reads standard error may be slow,
//! stuck or gone, and none of that may stop a worker. What does not fit the queue is lost and counted.
//! Main items: [`start`], [`LogGuard`].

use super::journal::{self, Entries, Journal};
use crate::config::{Log, LogFormat};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, reload};

/// How many lines may wait to be written: the end of many allocations at once.
const QUEUE: usize = 8192;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How often it is said that lines are lost, at most.
const LOST_LINES: Duration = Duration::from_secs(10);

/// How often a full queue is looked at by then.
const LOOK: Duration = Duration::from_millis(5);

/// How many bytes of lines are written at once, about.
const BLOCK: usize = 64 << 10;

/// How long the log's thread rests when it has written something. Waking it for each line would cost a worker more than
/// the line itself does.
const REST: Duration = Duration::from_millis(5);

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter makes no sense.
    #[error("log level {level:?}: {reason}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process logs already.
    #[error("the log is set up already")]
    Twice,
    /// The journal is not there.
    #[error("log format \"journald\": the journal is not at {path}: {0}", path = journal::SOCKET)]
    Journal(io::Error),
    /// The system has no thread to write it.
    #[error("cannot start writing the log: {0}")]
    Thread(io::Error),
}

/// Keeps the log; when it is dropped, the lines that wait are written, for a second at most.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub struct LogGuard {
    queue: Queue,
    levels: Levels,
}

/// Changes the level of the log while it is written. Clones change the same.
#[derive(Clone)]
pub struct Levels {
    change: Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    current: Arc<Mutex<String>>,
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Levels")
    }
}

impl Levels {
    /// Writes what this level lets through from now on: a level, or levels by module.
    ///
    /// # Errors
    /// [`LogError::Level`] where it is no filter; [`LogError::Twice`] where another log has taken this one's place.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        if !(self.change)(filter(level)?) {
            return Err(LogError::Twice);
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = level.to_owned();
        Ok(())
    }

    /// What is let through.
    #[must_use]
    pub fn current(&self) -> String {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LogGuard {
    /// What changes the log's level.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|error| LogError::Level {
        level: level.to_owned(),
        reason: error.to_string(),
    })
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let end = Instant::now() + LAST_LINES;
        let (done, is_done) = sync_channel(1);
        let mut job = Job::Tell(done);
        while let Err(TrySendError::Full(back)) = self.queue.jobs.try_send(job) {
            if Instant::now() >= end {
                return;
            }
            job = back;
            std::thread::sleep(LOOK);
        }
        let _ = is_done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Starts writing the log to standard error, so that standard output is left to what a command prints, or to the journal.
///
/// # Errors
/// [`LogError`] where the level is no filter, or a log was started before, or there is no thread or no journal to be had.
pub fn start(settings: &Log) -> Result<LogGuard, LogError> {
    let filter = filter(&settings.level)?;
    let (jobs, queued) = sync_channel(QUEUE);
    let queue = Queue {
        jobs,
        lost: Arc::default(),
    };
    let lost = queue.lost.clone();
    let journal = match settings.format {
        LogFormat::Text | LogFormat::Json => None,
        LogFormat::Journald => {
            Some(Journal::open(Path::new(journal::SOCKET)).map_err(LogError::Journal)?)
        }
    };
    let sink = Sink {
        journal,
        text: Vec::new(),
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_all(&queued, &lost, sink))
        .map_err(LogError::Thread)?;
    let (filter, handle) = reload::Layer::new(filter);
    let levels = Levels {
        change: Arc::new(move |filter| handle.reload(filter).is_ok()),
        current: Arc::new(Mutex::new(settings.level.clone())),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let written = match settings.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Journald => {
            let queue = queue.clone();
            Entries(move |entry| queue.put(entry)).boxed()
        }
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(written);
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    Ok(LogGuard { queue, levels })
}

#[derive(Debug)]
enum Job {
    /// A line to write, or an entry to send.
    Line(Vec<u8>),
    /// Say when all before this is written.
    Tell(SyncSender<()>),
}

/// Where lines are put, without ever waiting.
#[derive(Clone, Debug)]
struct Queue {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn put(&self, line: Vec<u8>) {
        if self.jobs.try_send(Job::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Queue;

    fn make_writer(&self) -> Queue {
        self.clone()
    }
}

/// Where lines end up.
struct Sink {
    journal: Option<Journal>,
    /// What standard error is still to get.
    text: Vec<u8>,
}

impl Sink {
    fn take(&mut self, line: &[u8]) {
        // What the journal does not take is not lost.
        let is_sent = |journal: &Journal| journal.send(line).is_ok();
        if !self.journal.as_ref().is_some_and(is_sent) {
            self.text.extend_from_slice(line);
        }
    }

    fn flush(&mut self) {
        // When nobody reads, nobody can be told either.
        let _ = io::stderr().write_all(&self.text);
        self.text.clear();
    }
}

fn write_all(jobs: &Receiver<Job>, lost: &AtomicU64, mut sink: Sink) {
    let mut said: Option<Instant> = None;
    while let Ok(first) = jobs.recv() {
        let mut told = None;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Line(line) => sink.take(&line),
                Job::Tell(done) => told = Some(done),
            }
            next = (sink.text.len() < BLOCK && told.is_none())
                .then(|| jobs.try_recv().ok())
                .flatten();
        }
        sink.flush();
        match told {
            Some(done) => {
                let _ = done.send(());
            }
            None => std::thread::sleep(REST),
        }
        if lost.load(Ordering::Relaxed) > 0 && said.is_none_or(|at| at.elapsed() >= LOST_LINES) {
            said = Some(Instant::now());
            let lost = lost.swap(0, Ordering::Relaxed);
            tracing::warn!(lost, "the log is read too slowly: lines of it are lost");
        }
    }
}
