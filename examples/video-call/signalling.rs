//! One page's socket, from its first message to its end.
//!
//! Signalling is what two browsers need before they can talk to each other: somebody both know, who carries the first
//! few messages. This is that somebody. It never sees media, nor chat; once two browsers have found a path it could go
//! away, and when it does (a restart, a lost network) the calls go on.
//!
//! A connection has a time for everything: to say who it is, to stay silent, to take what is sent to it. Main items:
//! [`serve`], [`Clerk`].

use crate::ice_servers::Api;
use crate::messages::{FromPage, MAX_MESSAGE, Refusal, ToPage, random_hex};
use crate::rooms::{Place, Rooms};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, interval, sleep_until, timeout};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the connection to `join` or `resume`.
    pub join: Duration,
    /// Without anything from the page; WebSocket pings, sent in a third of that time, are answered by every browser.
    pub silence: Duration,
    /// To take one message.
    pub send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            join: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            send: Duration::from_secs(10),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Clerk {
    rooms: Mutex<Rooms>,
    api: Api,
    patience: Patience,
    /// Each newcomer costs a credential: this many a second for everybody.
    newcomers: Mutex<Allowance>,
}

impl Clerk {
    /// For these rooms, with credentials from there.
    pub fn new(rooms: Rooms, api: Api, patience: Patience) -> Self {
        Self {
            rooms: Mutex::new(rooms),
            api,
            patience,
            newcomers: Mutex::new(Allowance::new(50.0, 10.0)),
        }
    }

    /// The rooms, for a moment: nobody waits while holding them.
    pub fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers for one member; a failure goes to the log, and only that it failed goes to the page.
    async fn ice_servers(&self, member: &str) -> Result<ToPage, Refusal> {
        match self.api.ice_servers(member).await {
            Ok(ice_servers) => Ok(ToPage::IceServers { ice_servers }),
            Err(error) => {
                tracing::warn!("no iceServers: {error}");
                Err(Refusal::NoIceServers)
            }
        }
    }
}

/// How a connection ended.
enum End {
    /// The socket broke, or fell silent. The seat is kept.
    Broken,
    /// The member left.
    Left,
    /// The server ends it.
    Refused(Refusal),
}

/// Serves one socket until it ends.
pub async fn serve(mut socket: WebSocket, clerk: &Clerk) {
    let mut place = None;
    let end = converse(&mut socket, clerk, &mut place).await;
    if let Some(place) = place {
        let mut rooms = clerk.rooms();
        match end {
            Err(End::Broken) => rooms.away(&place, std::time::Instant::now()),
            _ => rooms.leave(&place),
        }
    }
    if let Err(End::Refused(reason)) = end {
        // Nobody waits long for somebody who does not listen.
        let _ = timeout(Duration::from_secs(2), refuse(&mut socket, reason)).await;
    }
}

/// Says why, and closes with a code by which the page knows that coming back is of no use.
async fn refuse(socket: &mut WebSocket, reason: Refusal) -> Result<(), axum::Error> {
    let letter = ToPage::Refused { reason };
    socket.send(Message::text(letter.to_json())).await?;
    let code = axum::extract::ws::close_code::POLICY;
    let close = CloseFrame {
        code,
        reason: "".into(),
    };
    socket.send(Message::Close(Some(close))).await?;
    // A socket that is dropped with something unread in it takes back what was sent but not read yet.
    while let Some(Ok(_)) = socket.recv().await {}
    Ok(())
}

async fn converse(
    socket: &mut WebSocket,
    clerk: &Clerk,
    held: &mut Option<Place>,
) -> Result<(), End> {
    let patience = clerk.patience;
    // A mesh of six is set up with some hundred candidates from each, all in a second or two.
    let mut allowance = Allowance::new(400.0, 40.0);
    // And each `ice-servers` costs a credential.
    let mut credentials = Allowance::new(6.0, 0.1);
    let member = random_hex::<8>();

    let until = Instant::now() + patience.join;
    let first = loop {
        match tokio::time::timeout_at(until, socket.recv()).await {
            Err(_) => return Err(End::Refused(Refusal::NotJoined)),
            Ok(received) => {
                if let Some(message) = read(received)? {
                    break message;
                }
            }
        }
    };
    let (place, greeting) = match first {
        FromPage::Join { room, name } => {
            if !clerk.newcomers.lock().is_ok_and(|mut all| all.take()) {
                return Err(End::Refused(Refusal::TooFast));
            }
            let ToPage::IceServers { ice_servers } =
                clerk.ice_servers(&member).await.map_err(End::Refused)?
            else {
                return Err(End::Broken);
            };
            let joined = clerk.rooms().join(room, name);
            let (place, token, members) = joined.map_err(End::Refused)?;
            let joined = ToPage::Joined {
                seat: place.seat,
                token,
                members,
                ice_servers,
            };
            (place, joined)
        }
        FromPage::Resume { room, seat, token } => {
            let resumed = clerk.rooms().resume(room, seat, &token);
            let (place, members) = resumed.map_err(End::Refused)?;
            (place, ToPage::Resumed { members })
        }
        _ => return Err(End::Refused(Refusal::NotJoined)),
    };
    // From here on the seat is given back however this ends.
    let place = &*held.insert(place);
    send(socket, patience, Message::text(greeting.to_json())).await?;

    let mut pings = interval(patience.silence / 3);
    let mut silent_until = Instant::now() + patience.silence;
    loop {
        tokio::select! {
            received = socket.recv() => {
                silent_until = Instant::now() + patience.silence;
                let Some(message) = read(received)? else { continue };
                if !allowance.take() {
                    return Err(End::Refused(Refusal::TooFast));
                }
                let answer = match message {
                    FromPage::Ping {} => Some(ToPage::Pong),
                    FromPage::Leave {} => return Err(End::Left),
                    FromPage::IceServers {} => Some(if credentials.take() {
                        clerk.ice_servers(&member).await.unwrap_or_else(|reason| ToPage::Refused { reason })
                    } else {
                        ToPage::Refused { reason: Refusal::NoIceServers }
                    }),
                    letter => deliver(clerk, place, letter)?,
                };
                if let Some(answer) = answer {
                    send(socket, patience, Message::text(answer.to_json())).await?;
                }
            }
            () = place.wake.notified() => {
                let letters = clerk.rooms().collect(place).map_err(End::Refused)?;
                for letter in letters {
                    send(socket, patience, Message::text(letter)).await?;
                }
            }
            _ = pings.tick() => send(socket, patience, Message::Ping(Vec::new().into())).await?,
            () = sleep_until(silent_until) => return Err(End::Broken),
        }
    }
}

/// Hands a description or candidate to the member it is for, with the sender's seat on it.
fn deliver(clerk: &Clerk, place: &Place, letter: FromPage) -> Result<Option<ToPage>, End> {
    let from = place.seat;
    let (to, letter) = match letter {
        FromPage::Offer { to, sdp } => (to, ToPage::Offer { from, sdp }),
        FromPage::Answer { to, sdp } => (to, ToPage::Answer { from, sdp }),
        FromPage::Candidate { to, candidate } => (to, ToPage::Candidate { from, candidate }),
        // `join` and `resume` are first messages only; the others do not come here.
        _ => return Err(End::Refused(Refusal::BadMessage)),
    };
    match clerk.rooms().post(place, to, &letter) {
        Ok(()) => Ok(None),
        // They may have left a moment ago: no fault of the sender.
        Err(reason @ Refusal::NoSuchMember) => Ok(Some(ToPage::Refused { reason })),
        Err(reason) => Err(End::Refused(reason)),
    }
}

/// What was received, if it is a message: pings and pongs are none.
fn read(received: Option<Result<Message, axum::Error>>) -> Result<Option<FromPage>, End> {
    match received {
        Some(Ok(Message::Text(text))) if text.len() <= MAX_MESSAGE => {
            match serde_json::from_str(&text) {
                Ok(message) => Ok(Some(message)),
                Err(_) => Err(End::Refused(Refusal::BadMessage)),
            }
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        // A browser that closes a page says so, with these two codes.
        Some(Ok(Message::Close(Some(CloseFrame {
            code: 1000 | 1001, ..
        })))) => Err(End::Left),
        Some(Ok(Message::Close(_))) | None => Err(End::Broken),
        Some(Ok(Message::Text(_) | Message::Binary(_))) => Err(End::Refused(Refusal::BadMessage)),
        Some(Err(error)) => Err(judge(error)),
    }
}

/// A frame beyond the limit, or one that is no text at all, is no lost network: there is nothing to come back to.
fn judge(error: axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    match error.into_inner().downcast_ref() {
        Some(Error::Capacity(_) | Error::Utf8(_)) => End::Refused(Refusal::BadMessage),
        _ => End::Broken,
    }
}

async fn send(socket: &mut WebSocket, patience: Patience, message: Message) -> Result<(), End> {
    match timeout(patience.send, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Broken),
    }
}

/// How often something may be done: so many times at once, and so many a second in the long run.
#[derive(Debug)]
struct Allowance {
    left: f64,
    most: f64,
    a_second: f64,
    at: Instant,
}

impl Allowance {
    fn new(most: f64, a_second: f64) -> Self {
        Self {
            left: most,
            most,
            a_second,
            at: Instant::now(),
        }
    }

    /// Once more; `false` where that is too often.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.a_second;
        self.left = (self.left + earned).min(self.most);
        self.at = now;
        let is_allowed = self.left >= 1.0;
        if is_allowed {
            self.left -= 1.0;
        }
        is_allowed
    }
}
