//! A worker's life: it runs until it is told to stop, and after a failure it starts again.
//!
//! A panic ends one worker's allocations and nothing else. The sockets clients come to stay open through it, so that the
//! kernel goes on to give each worker the same clients, and what the worker held of what all share is given back: ports,
//! quotas, the directory of relays. Main type: [`Life`].

use super::control::{Desk, Order, Standing};
use super::entrance::Entrance;
use super::mailbox::{Inbox, Post};
use super::relay_set::RelaySet;
use super::tasks::{self, End};
use super::tcp_relay::PeerSockets;
use super::worker::{self, Worker};
use super::{WorkerSockets, random_seed};
use crate::engine::{Counters, Engine, Shared, WorkerId};
use crate::net::clock::Clock;
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tracing::error;

/// How long a worker rests after a failure: twice as long each time, up to the longest.
const SHORTEST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A worker that ran this long has got over its last failure.
const RECOVERED: Duration = Duration::from_secs(60);

/// All that a worker is made of, again and again.
pub(super) struct Life {
    pub id: WorkerId,
    pub shared: Shared,
    pub counters: Arc<Counters>,
    pub clock: Clock,
    /// What the next start goes by.
    pub standing: Arc<Standing>,
    /// Where it is given orders.
    pub desk: Arc<Desk>,
    pub peer_sockets: Arc<PeerSockets>,
    pub connections: Arc<AtomicUsize>,
    pub stop: watch::Receiver<bool>,
    /// Makes the worker panic, for tests.
    pub fault: Arc<Notify>,
}

impl Life {
    /// Lives on these sockets and says when all of them are watched for the first time.
    ///
    /// # Errors
    /// Where not even the first start went well.
    pub fn live(
        mut self,
        mut udp: Vec<worker::Listener>,
        tcp: Vec<(TcpListener, Entrance)>,
        mut mailbox: (Post, Inbox),
        started: mpsc::Sender<()>,
    ) -> io::Result<()> {
        let tcp = tcp.into_iter();
        let sockets = WorkerSockets {
            udp_count: udp.len(),
            tcp: tcp
                .map(|(socket, entrance)| (socket, Rc::new(entrance)))
                .collect(),
        };
        let thread = nix::unistd::gettid().as_raw();
        self.counters.thread.add(u64::try_from(thread).unwrap_or(0));
        let mut started = Some(started);
        let mut rest = SHORTEST_REST;
        loop {
            let relays = match RelaySet::new() {
                Ok(relays) => relays,
                Err(error) if started.is_some() => return Err(error),
                Err(error) => {
                    self.failed(&error, &mut rest);
                    if *self.stop.borrow() {
                        return Ok(());
                    }
                    continue;
                }
            };
            let seed = random_seed().map_err(io::Error::other)?;
            // Before what holds is looked up, so that no change of it is missed.
            let orders = self.desk.open();
            self.shared.rules = self.standing.rules.load_full();
            self.shared.relays = self.standing.relays.load_full();
            let engine = Engine::new(self.id, self.shared.clone(), self.counters.clone(), seed);
            let worker = Rc::new(RefCell::new(Worker::new(
                engine,
                self.clock,
                self.standing.settings.load_full(),
                udp,
                relays,
                mailbox,
                self.peer_sockets.clone(),
            )));
            let since = Instant::now();
            let end = self.run(&worker, &sockets, orders, &mut started);
            let error = match end {
                Ok(End::Stopped) => return Ok(()),
                Ok(End::Failed(error)) => error,
                Err(error) if started.is_some() => return Err(error),
                Err(error) => error,
            };
            // Its tasks are gone, so nobody else has it.
            let Some(worker) = Rc::into_inner(worker) else {
                return Err(error);
            };
            (udp, mailbox) = self.bury(worker.into_inner());
            if since.elapsed() >= RECOVERED {
                rest = SHORTEST_REST;
            }
            self.failed(&error, &mut rest);
            if *self.stop.borrow() {
                return Ok(());
            }
        }
    }

    fn run(
        &mut self,
        worker: &tasks::Shared,
        sockets: &WorkerSockets,
        orders: UnboundedReceiver<Order>,
        started: &mut Option<mpsc::Sender<()>>,
    ) -> io::Result<End> {
        tasks::run(
            worker,
            sockets,
            orders,
            &self.connections,
            started,
            &mut self.stop,
            &self.fault,
        )
    }

    /// Gives back what a failed worker held, whatever state it is in; what the next one goes on with.
    fn bury(&self, mut worker: Worker) -> (Vec<worker::Listener>, (Post, Inbox)) {
        // A panic may have left the worker's own state half changed. It is only asked for its allocations once more, is
        // not let panic again, and is then dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| worker.give_up()));
        let (udp, (post, mut inbox)) = worker.into_sockets();
        // What it did not come to say of itself.
        self.shared
            .relays
            .release_all(self.id, self.clock.now().instant);
        self.counters.settle();
        // What is in there is for relays that are gone, and their numbers will be given again.
        while inbox.take(usize::MAX, |_, _| {}) {}
        (udp, (post, inbox))
    }

    fn failed(&self, error: &io::Error, rest: &mut Duration) {
        self.counters.worker_restarts.add(1);
        error!(
            worker = self.id.0,
            %error,
            restarts = self.counters.worker_restarts.get(),
            "a worker failed: its allocations have ended, and it is started again"
        );
        std::thread::sleep(*rest);
        *rest = (*rest * 2).min(LONGEST_REST);
    }
}
