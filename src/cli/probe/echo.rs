//! Sends packets from one allocation to the other and back, and measures them.
//!
//! A sends to B's relayed address, B's end sends everything back to where it came from: each packet crosses the relay
//! twice. The main function is [`run`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep_until, timeout};

use super::report::Failure;
use super::session::Relay;
use super::tally::{Summary, Tally};

/// How many packets of what size, how fast, and how long to wait for the last one.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Packets to send.
    pub count: u32,
    /// Bytes in each.
    pub size: usize,
    /// Packets a second.
    pub rate: u32,
    /// The patience at the end.
    pub limit: Duration,
}

/// What came of it: the figures, and why it stopped before its end if it did.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub summary: Summary,
    /// Why not all packets were sent.
    pub broken: Option<Failure>,
}

/// Runs the plan between two allocations with permissions for each other. Takes at most the time the packets need at
/// this rate and twice the limit.
pub async fn run(a: &Relay<'_>, b: &Relay<'_>, plan: Plan) -> Outcome {
    let mut tally = Tally::new(plan.size);
    let broken = tokio::select! {
        biased;
        fault = a.leg.tap().faulted() => Some(fault.to_string()),
        fault = b.leg.tap().faulted() => Some(fault.to_string()),
        stopped = measure(a, b.address, plan, &mut tally) => stopped,
        stopped = echo(b, plan) => Some(stopped),
    };
    Outcome {
        summary: tally.summary(),
        broken: broken.map(|message| Failure {
            step: "echo".to_owned(),
            code: None,
            message,
            hint: None,
        }),
    }
}

/// Sends back what comes to `b`, until its relay ends.
async fn echo(b: &Relay<'_>, plan: Plan) -> String {
    let mut buffer = vec![0; 65535];
    loop {
        let (length, from) = match b.conn.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => return error.to_string(),
        };
        // What is left over from opening the channels has another length.
        let Some(packet) = buffer.get(..length).filter(|_| length == plan.size) else {
            continue;
        };
        match timeout(plan.limit, b.conn.send_to(packet, from)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "sending back takes too long".to_owned(),
        }
    }
}

/// Sends and receives on `a`; `None` when the plan was carried out.
async fn measure(a: &Relay<'_>, to: SocketAddr, plan: Plan, tally: &mut Tally) -> Option<String> {
    let mut buffer = vec![0; 65535];
    let count = plan.count as usize;
    let mut ticks = interval(Duration::from_secs(1) / plan.rate.max(1));
    let sending = Duration::from_secs_f64(f64::from(plan.count) / f64::from(plan.rate.max(1)));
    let mut end = tokio::time::Instant::now() + sending + plan.limit;
    while tally.sent() < count || !tally.complete() {
        tokio::select! {
            received = a.conn.recv_from(&mut buffer) => match received {
                Ok((length, from)) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    // Longer by one is the packet that opened the channel.
                    if from == to && length != plan.size + 1 {
                        tally.receive(packet, Instant::now());
                    }
                }
                Err(error) => return Some(error.to_string()),
            },
            _ = ticks.tick(), if tally.sent() < count => {
                let packet = tally.send(Instant::now());
                match timeout(plan.limit, a.conn.send_to(&packet, to)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Some(error.to_string()),
                    Err(_) => return Some("sending takes too long".to_owned()),
                }
                if tally.sent() == count {
                    end = tokio::time::Instant::now() + plan.limit;
                }
            }
            () = sleep_until(end) => {
                let unsent = count - tally.sent();
                return (unsent > 0).then(|| format!("{unsent} packets could not be sent in time"));
            }
        }
    }
    None
}
