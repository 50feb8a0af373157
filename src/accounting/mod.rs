//! Accounting: what every allocation carried, told while it lives and when it ends, to a file, a socket or a webhook.
//!
//! The workers note starts and ends in a [`Ledger`] and are asked for what lies in between; here that becomes records,
//! one JSON object a line, and goes to where the settings say ([`destination`], [`webhook`]). Who is not there gets what
//! he missed when he is back, as far as the queue reaches; what does not is counted, and every record has a number, so
//! that whoever reads them sees what is missing. It runs beside the workers and slows down none. It computes no bills.
//!
//! Main types: [`Accounting`], [`Record`].

mod destination;
mod webhook;

use crate::config;
use crate::engine::outcome::Relayed;
use crate::engine::{AllocationId, FiveTuple, Summary, Usage};
use crate::net::control::Control;
use crate::net::ledger::{Entry, Ledger};
use destination::{Append, Queue, Socket};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;
use tokio::task::yield_now;
use tokio::time::{Instant, interval_at, sleep};
use webhook::Webhook;

/// How often is looked whether the last records have arrived.
const LOOK: Duration = Duration::from_millis(100);

/// How many entries are taken from the workers at once.
const BATCH: usize = 256;

/// What is told of an allocation.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// `start`, `interim`, `moved` or `stop`.
    pub event: &'static str,
    /// The number of the record, from 1 on, without a gap: what is missing was lost.
    pub number: u64,
    /// Which run of the server numbered it.
    pub instance: Arc<str>,
    /// When, Unix time in seconds.
    pub time: f64,
    /// The name of the allocation, as in the log.
    pub session: String,
    /// The user name of the credential.
    pub user: Arc<str>,
    /// The client's address, where it is now.
    pub client: SocketAddr,
    /// The client's transport.
    pub transport: &'static str,
    /// The address of the server that the client uses.
    pub server: SocketAddr,
    /// The relayed transport addresses, as peers see them; none in `moved`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relayed: Vec<SocketAddr>,
    /// The first lifetime, in `start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// Where the client was before, in `moved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_client: Option<SocketAddr>,
    /// What it carried so far, in `interim` and `stop`.
    #[serde(flatten)]
    pub carried: Option<Carried>,
    /// Why it ended, in `stop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// What an allocation carried since it was made. Bytes are of payload.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Carried {
    /// How long it has been there.
    pub duration_seconds: f64,
    /// From the client to peers.
    pub bytes_to_peers: u64,
    /// The same in packets.
    pub packets_to_peers: u64,
    /// From peers to the client.
    pub bytes_to_client: u64,
    /// The same in packets.
    pub packets_to_client: u64,
}

impl Carried {
    fn new(duration: Duration, usage: &Usage) -> Self {
        Carried {
            duration_seconds: duration.as_secs_f64(),
            bytes_to_peers: usage.bytes_to_peers,
            packets_to_peers: usage.packets_to_peers,
            bytes_to_client: usage.bytes_to_client,
            packets_to_client: usage.packets_to_client,
        }
    }
}

/// Records that did not arrive where they should, by what happened to them.
#[derive(Debug, Default)]
pub struct Losses {
    /// A destination was away for longer than its queue reaches.
    pub overflowed: AtomicU64,
    /// The webhook did not want them.
    pub refused: AtomicU64,
}

/// Accounting as it is set up.
pub struct Accounting {
    entries: Receiver<Entry>,
    interim: Duration,
    instance: Arc<str>,
    numbered: u64,
    queues: Vec<Arc<Queue>>,
    file: Option<(Append, Arc<Queue>)>,
    socket: Option<(Socket, Arc<Queue>)>,
    webhook: Option<(Webhook, Arc<Queue>)>,
}

impl Accounting {
    /// Sets up what the settings want; `None` where that is nothing. To be called before the sandbox is closed.
    ///
    /// # Errors
    /// What is wrong with a destination, in a sentence.
    pub fn open(
        settings: &config::Accounting,
        instance: &str,
    ) -> Result<Option<(Accounting, Ledger, Arc<Losses>)>, String> {
        let losses = Arc::<Losses>::default();
        let mut queues = Vec::new();
        let mut queue = || {
            let queue = Arc::new(Queue::new(settings.queue, losses.clone()));
            queues.push(queue.clone());
            queue
        };
        let file = settings.file.as_deref().map(Append::open).transpose()?;
        let file = file.map(|file| (file, queue()));
        let socket = settings.socket.clone().map(Socket::new);
        let socket = socket.map(|socket| (socket, queue()));
        let webhook = settings.webhook.as_ref().map(Webhook::new).transpose()?;
        let webhook = webhook.map(|webhook| (webhook, queue()));
        if queues.is_empty() {
            return Ok(None);
        }
        let (ledger, entries) = Ledger::new(settings.queue);
        let accounting = Accounting {
            entries,
            interim: settings.interim,
            instance: instance.into(),
            numbered: 0,
            queues,
            file,
            socket,
            webhook,
        };
        Ok(Some((accounting, ledger, losses)))
    }

    /// A handle by which the end of the program waits for the last records.
    #[must_use]
    pub fn last_records(&self) -> LastRecords {
        LastRecords(self.queues.clone())
    }

    /// Tells of allocations for as long as it is polled.
    pub async fn run(mut self, control: &Control) {
        let file = self.file.take();
        let socket = self.socket.take();
        let webhook = self.webhook.take();
        let losses = self.queues.first().map(|queue| queue.losses());
        tokio::join!(
            self.note(control),
            async {
                if let Some((file, queue)) = file {
                    file.run(&queue).await;
                }
            },
            async {
                if let Some((socket, queue)) = socket {
                    socket.run(&queue).await;
                }
            },
            async {
                if let (Some((webhook, queue)), Some(losses)) = (webhook, losses) {
                    webhook.run(&queue, &losses).await;
                }
            },
        );
    }

    /// Makes records of what the workers note and have.
    async fn note(&mut self, control: &Control) {
        // A setting of nothing means never, which is far away.
        let period = match self.interim {
            Duration::ZERO => Duration::from_secs(u64::from(u32::MAX)),
            period => period,
        };
        let mut interim = interval_at(Instant::now() + period, period);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                count = self.entries.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    for entry in batch.drain(..) {
                        let record = of_entry(entry);
                        self.put(record, Queue::push);
                    }
                }
                _ = interim.tick() => {
                    let now = control.clock().now().instant;
                    for (place, session) in control.sessions().await.iter().enumerate() {
                        let duration = now.since(session.created);
                        self.put(of_session(session, duration), Queue::push_if_room);
                        if place % BATCH == BATCH - 1 {
                            // Destinations take some off meanwhile.
                            yield_now().await;
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, mut record: Record, put: fn(&Queue, Arc<str>)) {
        self.numbered += 1;
        record.number = self.numbered;
        record.instance = self.instance.clone();
        // A record is made of numbers and texts.
        let Ok(line) = serde_json::to_string(&record) else {
            return;
        };
        let line: Arc<str> = line.into();
        for queue in &self.queues {
            put(queue, line.clone());
        }
    }
}

/// The way of the last records to where they go.
pub struct LastRecords(Vec<Arc<Queue>>);

impl LastRecords {
    /// Waits until all have arrived; what takes records off has to be polled beside.
    pub async fn arrived(&self) {
        for queue in &self.0 {
            queue.hurry();
        }
        loop {
            // Longer than it takes to make records of what the workers noted last.
            sleep(LOOK).await;
            if self.0.iter().all(|queue| queue.is_idle()) {
                return;
            }
        }
    }
}

impl Losses {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed) + self.refused.load(Ordering::Relaxed)
    }
}

fn record(event: &'static str, id: AllocationId, user: &Arc<str>, path: &FiveTuple) -> Record {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    Record {
        event,
        number: 0,
        instance: "".into(),
        time: (time.unwrap_or_default().as_millis() as f64) / 1000.0,
        session: id.to_string(),
        user: user.clone(),
        client: path.client(),
        transport: path.transport().name(),
        server: path.server(),
        relayed: Vec::new(),
        lifetime_seconds: None,
        former_client: None,
        carried: None,
        reason: None,
    }
}

fn of_entry(entry: Entry) -> Record {
    match entry {
        Entry::Opened(opened) => Record {
            relayed: advertised(&opened.relayed),
            lifetime_seconds: Some(opened.lifetime.as_secs()),
            ..record("start", opened.id, &opened.user, &opened.client.tuple)
        },
        Entry::Moved(moved) => Record {
            former_client: Some(moved.from.client()),
            ..record("moved", moved.id, &moved.user, &moved.to.tuple)
        },
        Entry::Closed(closed) => Record {
            relayed: advertised(&closed.relayed),
            carried: Some(Carried::new(closed.duration, &closed.usage)),
            reason: Some(closed.reason.name()),
            ..record("stop", closed.id, &closed.user, &closed.client.tuple)
        },
    }
}

fn of_session(session: &Summary, duration: Duration) -> Record {
    Record {
        relayed: advertised(&session.relayed),
        carried: Some(Carried::new(duration, &session.usage)),
        ..record("interim", session.id, &session.user, &session.client.tuple)
    }
}

fn advertised(relayed: &Relayed) -> Vec<SocketAddr> {
    let both = [relayed.v4, relayed.v6].into_iter().flatten();
    both.map(|relayed| relayed.advertised).collect()
}
