//! What operators ask of the workers of a running server.
//!
//! A [`Control`] is a handle for other threads: it sends orders, each worker carries them out between two batches, and
//! answers. Nobody shares what a worker owns, and no worker waits. What is to hold from now on, [`Standing`] keeps for
//! workers that are started again after a failure. What is asked of all of them is asked of all at once; a worker that is
//! just being started has no allocations, and no answer to give.
//!
//! It decides nothing: who may ask, and for what, is the caller's concern.

use super::NetSettings;
use super::clock::Clock;
use super::connection_gate::ConnectionGate;
use super::refusals::Refusal;
use crate::engine::{
    AllocationId, Details, Engine, Now, RelayAddress, RelayPool, Rules, Summary, WorkerId,
};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How many places of a worker's table one order looks at: some 100 us.
const PAGE: usize = 512;

/// A worker that answers no later than this is alive.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is done with an engine.
type Work = Box<dyn FnOnce(Now, &mut Engine) + Send>;

/// What a worker is told.
pub(super) enum Order {
    /// To be done with its engine.
    Engine(Work),
    /// How sockets and streams are treated from now on.
    Settings(Arc<NetSettings>),
    /// To tell what it has refused lately.
    Refusals(oneshot::Sender<Vec<Refusal>>),
}

/// Where orders for one worker are left. Each of its lives takes its own.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<UnboundedSender<Order>>>);

impl Desk {
    /// Orders that are left from now on.
    pub fn open(&self) -> UnboundedReceiver<Order> {
        let (orders, taken) = unbounded_channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(orders);
        taken
    }

    /// Leaves an order; whether there is a worker to take it.
    fn leave(&self, order: Order) -> bool {
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders
            .as_ref()
            .is_some_and(|orders| orders.send(order).is_ok())
    }
}

/// What holds for all workers, those included that are started from now on.
pub(super) struct Standing {
    pub rules: ArcSwap<Rules>,
    pub relays: ArcSwap<RelayPool>,
    pub settings: ArcSwap<NetSettings>,
    pub gate: Arc<ConnectionGate>,
}

/// The handle. Clones are handles of the same server.
#[derive(Clone)]
pub struct Control {
    desks: Arc<[Arc<Desk>]>,
    standing: Arc<Standing>,
    clock: Clock,
}

impl Control {
    pub(super) fn new(desks: Vec<Arc<Desk>>, standing: Arc<Standing>, clock: Clock) -> Self {
        Control {
            desks: desks.into(),
            standing,
            clock,
        }
    }

    /// The clock that instants of the engines are of.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.standing.rules.load_full()
    }

    /// Lets all workers go by other rules: see [`Engine::set_rules`]. They do when this returns.
    pub async fn set_rules(&self, rules: Rules) {
        let rules = Arc::new(rules);
        self.standing.rules.store(rules.clone());
        self.ask_all(|| {
            let rules = rules.clone();
            move |now: Now, engine: &mut Engine| engine.set_rules(now, rules)
        })
        .await;
    }

    /// Tells clients other external forms of relay addresses from now on. Allocations keep theirs.
    pub async fn set_external(&self, addresses: &[RelayAddress]) {
        let relays = Arc::new(self.standing.relays.load().known_as(addresses));
        self.standing.relays.store(relays.clone());
        self.ask_all(|| {
            let relays = relays.clone();
            move |_: Now, engine: &mut Engine| engine.set_relays(relays)
        })
        .await;
    }

    /// How sockets and streams are treated.
    #[must_use]
    pub fn settings(&self) -> Arc<NetSettings> {
        self.standing.settings.load_full()
    }

    /// Treats sockets and streams otherwise from now on: all but the listeners, the number of workers and the buffers of
    /// listeners.
    pub fn set_settings(&self, settings: NetSettings) {
        self.standing
            .gate
            .set_limits(settings.stream, settings.prefixes);
        let settings = Arc::new(settings);
        self.standing.settings.store(settings.clone());
        for desk in self.desks.iter() {
            desk.leave(Order::Settings(settings.clone()));
        }
    }

    /// The allocations there are, in no particular order. One that is opened or moved meanwhile may be missing.
    pub async fn sessions(&self) -> Vec<Summary> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        for desk in self.desks.iter() {
            let mut place = Some(0);
            while let Some(from) = place {
                let page = order(desk, move |_, engine| engine.sessions_from(from, PAGE));
                let page = match page {
                    Some(page) => timeout_at(deadline, page).await.ok().and_then(Result::ok),
                    None => None,
                };
                let page = page.unwrap_or_default();
                all.extend(page.sessions);
                place = page.next;
            }
        }
        all
    }

    /// All of one allocation, if there is one of that name.
    pub async fn session(&self, id: AllocationId) -> Option<Details> {
        let found = self.ask_all(|| move |now, engine: &mut Engine| engine.session(now, id));
        found.await.into_iter().flatten().next()
    }

    /// Ends an allocation; whether there was one of that name.
    pub async fn end_session(&self, id: AllocationId) -> bool {
        let ended = self.ask_all(|| move |now, engine: &mut Engine| engine.end_session(now, id));
        ended.await.into_iter().any(|ended| ended)
    }

    /// Ends all allocations of a user, see [`Engine::end_sessions_of`]; how many there were.
    pub async fn end_sessions_of(&self, user: &str) -> usize {
        let user: Arc<str> = user.into();
        let ended = self.ask_all(|| {
            let user = user.clone();
            move |now, engine: &mut Engine| engine.end_sessions_of(now, &user)
        });
        ended.await.into_iter().sum()
    }

    /// What was refused lately, the newest first.
    pub async fn refusals(&self) -> Vec<Refusal> {
        let mut asked = Vec::new();
        for desk in self.desks.iter() {
            let (answer, answered) = oneshot::channel();
            if desk.leave(Order::Refusals(answer)) {
                asked.push(answered);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        for answer in asked {
            if let Ok(Ok(refusals)) = timeout_at(deadline, answer).await {
                all.extend(refusals);
            }
        }
        all.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        all
    }

    /// The workers that did not answer within a few seconds: they are stuck, or being started.
    pub async fn silent_workers(&self) -> Vec<WorkerId> {
        let asked: Vec<_> = self
            .desks
            .iter()
            .map(|desk| order(desk, |_, _| ()))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        let mut silent = Vec::new();
        for (number, answer) in asked.into_iter().enumerate() {
            let is_alive = match answer {
                Some(answer) => matches!(timeout_at(deadline, answer).await, Ok(Ok(()))),
                None => false,
            };
            if !is_alive {
                silent.push(WorkerId(number as u32));
            }
        }
        silent
    }

    /// Asks all workers at once and waits for their answers, those of workers that answer.
    async fn ask_all<T, F>(&self, each: impl Fn() -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: FnOnce(Now, &mut Engine) -> T + Send + 'static,
    {
        let asked: Vec<_> = self
            .desks
            .iter()
            .filter_map(|desk| order(desk, each()))
            .collect();
        // One deadline for all, so that several that are stuck are waited for as long as one.
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        for answer in asked {
            if let Ok(Ok(answer)) = timeout_at(deadline, answer).await {
                answers.push(answer);
            }
        }
        answers
    }
}

/// Leaves an order, and where its answer will be.
fn order<T: Send + 'static>(
    desk: &Desk,
    what: impl FnOnce(Now, &mut Engine) -> T + Send + 'static,
) -> Option<oneshot::Receiver<T>> {
    let (answer, answered) = oneshot::channel();
    let order = Order::Engine(Box::new(move |now, engine| {
        // Whoever asked may have gone.
        let _ = answer.send(what(now, engine));
    }));
    desk.leave(order).then_some(answered)
}
