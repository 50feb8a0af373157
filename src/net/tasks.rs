//! The tasks of a worker's runtime: each waits for one thing and calls into the [`Worker`].

use super::WorkerSockets;
use super::control::Order;
use super::entrance::Entrance;
use super::worker::Worker;
use crate::engine::counters::ConnectionRefusal;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet, LocalSet, spawn_local, yield_now};

/// How many batches a busy source may have before the others get a turn.
const TURNS: usize = 4;

/// How long reading rests when it fails again and again.
const READ_REST: Duration = Duration::from_millis(10);

/// How long accepting rests when the system has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

pub(super) type Shared = Rc<RefCell<Worker>>;

/// How a worker's run ended.
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// One of its tasks panicked, or could not go on.
    Failed(io::Error),
}

/// Runs a worker until it is told to stop or fails, and says when all its tasks wait for what they are to wait for. No
/// task is left behind.
pub(super) fn run(
    worker: &Shared,
    sockets: &WorkerSockets,
    orders: UnboundedReceiver<Order>,
    connections: &Arc<AtomicUsize>,
    started: &mut Option<mpsc::Sender<()>>,
    stop: &mut watch::Receiver<bool>,
    fault: &Arc<Notify>,
) -> io::Result<End> {
    exact_sleep();
    let pace = worker.borrow().pace();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(move || {
            if let Some(rest) = pace.rest(std::time::Instant::now()) {
                std::thread::sleep(rest);
            }
        })
        .build()?;
    let tasks = LocalSet::new();
    worker.borrow_mut().attach(Rc::downgrade(worker));
    let alarm = worker.borrow().alarm();
    let listeners = sockets.udp_count;
    tasks.block_on(&runtime, async {
        // One of them that ends, by a panic or an error of its socket, would leave a server that runs and is deaf.
        let mut serving = JoinSet::new();
        for index in 0..listeners {
            if let Some(socket) = worker.borrow().listener(index) {
                let watched = watch(socket.socket.as_fd().try_clone_to_owned()?)?;
                serving.spawn_local(serve_listener(worker.clone(), index, watched));
            }
        }
        for (listener, entrance) in &sockets.tcp {
            let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
            serving.spawn_local(accept(
                worker.clone(),
                listener,
                entrance.clone(),
                connections.clone(),
            ));
        }
        let relays = watch(worker.borrow().relay_descriptor()?)?;
        serving.spawn_local(serve_relays(worker.clone(), relays));
        serving.spawn_local(serve_inbox(worker.clone()));
        serving.spawn_local(serve_timer(worker.clone()));
        serving.spawn_local(serve_orders(worker.clone(), orders));
        serving.spawn_local(panic_when_told(worker.clone(), fault.clone()));
        if let Some(started) = started.take() {
            // Nobody listens where the start was given up meanwhile, and then `stop` says so.
            let _ = started.send(());
        }
        let ended = tokio::select! {
            // An error means that the server is gone, which is a reason to stop as well.
            _ = stop.wait_for(|stop| *stop) => None,
            ended = serving.join_next() => ended,
            () = alarm.sounded() => return Ok(End::Failed(io::Error::other("a connection's task panicked"))),
        };
        Ok(match ended {
            None => {
                worker.borrow_mut().shut_down();
                End::Stopped
            }
            Some(Ok(())) => End::Failed(io::Error::other("a socket can no longer be watched")),
            // Not with the error's own text, which has the panic's message in it.
            Some(Err(_)) => End::Failed(io::Error::other("a task panicked")),
        })
    })
}

/// Lets short sleeps of this thread end when they should. By default the system adds up to 50 us to spare wake-ups, a
/// quarter of a worker's rest.
fn exact_sleep() {
    // SAFETY: the call takes numbers only; where it is refused, rests are a little longer.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong);
    }
}

/// Panics in the middle of things when a test says so.
async fn panic_when_told(worker: Shared, fault: Arc<Notify>) {
    fault.notified().await;
    let _worker = worker.borrow_mut();
    panic!("told to panic");
}

/// Tells the worker of tasks that panic, of those nobody waits for: their panics may have left it half changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Rc<Notify>);

impl Alarm {
    /// Starts a task that sounds the alarm if it panics.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
        let alarm = self.clone();
        spawn_local(async move {
            let _bell = Bell(alarm);
            task.await;
        })
    }

    async fn sounded(&self) {
        self.0.notified().await;
    }
}

/// Part of a task, and so dropped where it panics.
struct Bell(Alarm);

impl Drop for Bell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.0.notify_one();
        }
    }
}

async fn serve_listener(worker: Shared, index: usize, watched: AsyncFd<OwnedFd>) {
    serve_readable(watched, || worker.borrow_mut().serve_listener(index)).await;
}

async fn serve_relays(worker: Shared, watched: AsyncFd<OwnedFd>) {
    serve_readable(watched, || worker.borrow_mut().serve_relays()).await;
}

fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what watches it, so it stays open and the same for as long as it is watched.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// What is left after a socket was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing; the system says when there is something.
    Nothing,
    /// There may be more.
    More,
    /// There may be more, but reading failed.
    Failed,
}

impl From<bool> for Left {
    fn from(more: bool) -> Self {
        if more { Left::More } else { Left::Nothing }
    }
}

/// Calls `serve` while the descriptor is readable.
///
/// After an error there may be as much to read as before, and the system only speaks up when more comes; so it is read
/// again, with a rest where one error follows another.
async fn serve_readable(watched: AsyncFd<OwnedFd>, mut serve: impl FnMut() -> Left) {
    loop {
        let Ok(mut ready) = watched.readable().await else {
            return;
        };
        let mut turns = 0;
        let mut has_failed = false;
        loop {
            match serve() {
                Left::Nothing => {
                    ready.clear_ready();
                    break;
                }
                Left::Failed if has_failed => tokio::time::sleep(READ_REST).await,
                left => has_failed = left == Left::Failed,
            }
            turns += 1;
            if turns == TURNS {
                yield_now().await;
                turns = 0;
            }
        }
    }
}

async fn serve_inbox(worker: Shared) {
    let wake = worker.borrow().inbox_wake();
    loop {
        // First, since a life before this one may have left letters.
        while worker.borrow_mut().serve_inbox() {
            yield_now().await;
        }
        wake.notified().await;
    }
}

async fn serve_timer(worker: Shared) {
    let wake = worker.borrow().timer_wake();
    loop {
        let deadline = worker.borrow_mut().next_deadline();
        match deadline {
            None => wake.notified().await,
            Some(at) => tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(at.into()) => worker.borrow_mut().handle_timeout(),
            },
        }
    }
}

async fn serve_orders(worker: Shared, mut orders: UnboundedReceiver<Order>) {
    // It does not end: the desk keeps the other end.
    while let Some(order) = orders.recv().await {
        worker.borrow_mut().serve_order(order);
        // A long list is asked for page by page; clients have their turn in between.
        yield_now().await;
    }
}

async fn accept(
    worker: Shared,
    listener: tokio::net::TcpListener,
    entrance: Rc<Entrance>,
    connections: Arc<AtomicUsize>,
) {
    let alarm = worker.borrow().alarm();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let is_peers_fault = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                );
                if !is_peers_fault {
                    worker.borrow_mut().reporter().accept_failed(&error);
                    tokio::time::sleep(ACCEPT_REST).await;
                }
                continue;
            }
        };
        let limit = worker.borrow().settings().stream.max_connections;
        let place = Place::take(&connections, limit);
        let Some(place) = place else {
            let error = io::Error::other("tcp.max_connections is reached");
            let refusal = ConnectionRefusal::Total;
            worker.borrow_mut().connection_refused(peer, refusal);
            worker.borrow_mut().reporter().accept_failed(&error);
            continue;
        };
        // Media must not wait for more media (Nagle).
        let _ = stream.set_nodelay(true);
        let (worker, entrance) = (worker.clone(), entrance.clone());
        alarm.spawn(async move {
            entrance.admit(worker, stream, peer).await;
            drop(place);
        });
    }
}

/// One of the connections the process may have.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<Place> {
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            })
            .ok()
            .map(|_| Place(count.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::cell::Cell;
    use std::net::UdpSocket;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let limited = async {
            let limit = Duration::from_secs(10);
            tokio::time::timeout(limit, test).await.unwrap();
        };
        LocalSet::new().block_on(&runtime, limited);
    }

    #[test]
    fn what_waits_behind_an_error_is_read_without_waiting_for_more() {
        run(async {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
                .send_to(b"one", socket.local_addr().unwrap())
                .unwrap();
            let watched = watch(socket.as_fd().try_clone_to_owned().unwrap()).unwrap();
            let calls = Cell::new(0);
            let read = Notify::new();
            let serve = || {
                calls.set(calls.get() + 1);
                if calls.get() <= 3 {
                    return Left::Failed;
                }
                let is_read = socket.recv(&mut [0; 10]).is_ok();
                if is_read {
                    read.notify_one();
                }
                is_read.into()
            };
            tokio::select! {
                () = serve_readable(watched, serve) => {}
                () = read.notified() => {}
            }
            assert!(calls.get() > 3);
        });
    }

    #[test]
    fn a_task_that_panics_sounds_the_alarm_and_one_that_ends_does_not() {
        run(async {
            let alarm = Alarm::default();
            alarm.spawn(async {}).await.unwrap();
            let sounded = alarm.sounded();
            let none = tokio::time::timeout(Duration::from_millis(20), sounded).await;
            assert!(none.is_err());
            let task = alarm.spawn(async { panic!("told to panic") });
            alarm.sounded().await;
            assert!(task.await.is_err());
        });
    }
}
