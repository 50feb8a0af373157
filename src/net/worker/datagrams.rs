//! Datagrams that are not simply a client's: behind a PROXY header, or in a DTLS association.

use super::{Core, Input};
use crate::engine::{ClientPath, FiveTuple, Link, Now, Transport};
use crate::net::dtls::{Arrival, Associations, Moment};
use crate::net::proxy;
use crate::wire::proxy_protocol::Origin;

impl Core {
    pub(super) fn is_proxied(&self, index: usize) -> bool {
        self.listeners
            .get(index)
            .is_some_and(|listener| !listener.proxies.is_empty())
    }

    /// Takes a datagram with a PROXY header. The client is whom the header names; answers go back the way the datagram
    /// came, without a header.
    pub(super) fn serve_proxied(
        &mut self,
        now: Now,
        index: usize,
        seen: &FiveTuple,
        input: Input<'_>,
    ) {
        let Some(listener) = self.listeners.get(index) else {
            return;
        };
        let header = match proxy::datagram(&listener.proxies, seen.client(), input.bytes) {
            Ok(header) => header,
            Err(reason) => return self.engine.counters().proxy_failure(reason),
        };
        let tuple = match header.origin {
            Origin::Proxied { client, server } => FiveTuple::new(client, server, Transport::Udp),
            Origin::Sender => *seen,
        };
        let client = ClientPath {
            tuple,
            link: Link::Proxied {
                listener: index as u32,
                proxy: seen.client(),
                local: seen.server().ip(),
            },
        };
        let input = Input {
            bytes: &input.bytes[header.length..],
            at: input.at.map(|at| at + header.length),
            memory: input.memory,
        };
        self.serve_client(now, &client, input);
    }

    pub(super) fn moment(&self, now: Now) -> Moment {
        Moment {
            now: now.instant,
            system: self.clock.system(now.instant),
        }
    }

    /// Takes a datagram of a DTLS listener: what is in it for the engine, the engine gets.
    pub(super) fn serve_dtls(
        &mut self,
        now: Now,
        arrival: &Arrival,
        datagram: &[u8],
        memory: &[u8],
    ) {
        let at = self.moment(now);
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        let number = dtls.receive(at, arrival, datagram, &mut self.outbox);
        let plain = dtls.take_plain();
        // What an earlier client of this address had ends before the new one is heard.
        self.end_replaced(now);
        if let Some(number) = number {
            let client = ClientPath {
                tuple: arrival.tuple,
                link: Link::Dtls(number),
            };
            for bytes in plain.datagrams() {
                self.serve_client(now, &client, Input::other(memory, bytes));
            }
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.give_back(plain);
        }
        self.end_associations(now);
    }

    pub(super) fn dtls_timeout(&mut self, now: Now) {
        let at = self.moment(now);
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        let engine = &self.engine;
        dtls.handle_timeout(at, |tuple| engine.has_allocation(tuple), &mut self.outbox);
        self.end_associations(now);
    }

    /// Ends the allocations of associations that gave way to new ones.
    fn end_replaced(&mut self, now: Now) {
        while let Some(tuple) = self.dtls.as_mut().and_then(Associations::next_gone) {
            self.engine.client_gone(now, &tuple);
        }
    }

    /// Ends associations that are over, and their allocations.
    pub(super) fn end_associations(&mut self, now: Now) {
        let at = self.moment(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.end(at, &mut self.outbox);
            self.end_replaced(now);
        }
    }
}
