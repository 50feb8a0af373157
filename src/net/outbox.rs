//! Sending datagrams in batches: sendmmsg, with runs of one size to one destination as one UDP_SEGMENT send.
//!
//! Datagrams collect here while a batch is worked on and leave together in [`Outbox::flush`], flow by flow, so that those
//! of one flow make runs even where a batch has many flows. Payloads are not copied: they are ranges of the receiver's
//! memory, or of the outbox's own where something was written for sending.

mod flows;

use super::receiver::empty_message;
use super::sockaddr::{RawAddress, in_addr, in6_addr};
use super::socket;
use crate::engine::Header;
use crate::engine::counters::{Counters, DropReason};
use flows::Flows;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;

/// The kernel takes no more segments in one send (UDP_MAX_SEGMENTS was 64 before it was 128).
const MAX_SEGMENTS: usize = 64;

/// The largest UDP payload over IPv4: what a run adds up to at most.
const MAX_RUN: usize = 65_507;

/// How many messages go into one sendmmsg.
const MAX_MESSAGES: usize = 64;

const CONTROL_SIZE: usize = 96;

/// Which socket a datagram leaves from. Sorting by it groups datagrams of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// A listener of this worker.
    Listener(u32),
    /// A relay of this worker.
    Relay(u32),
}

/// Where the bytes of a payload are.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// In the receiver's memory.
    Received(Range<usize>),
    /// In the outbox, from [`Outbox::keep`].
    Kept(Range<usize>),
}

impl Payload {
    fn bytes<'a>(&self, received: &'a [u8], kept: &'a [u8]) -> &'a [u8] {
        match self {
            Payload::Received(range) => &received[range.clone()],
            Payload::Kept(range) => &kept[range.clone()],
        }
    }
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub exit: Exit,
    pub to: SocketAddr,
    /// The source address, where the socket is bound to a wildcard.
    pub from: Option<IpAddr>,
    pub header: Option<Header>,
    pub payload: Payload,
    pub padding: u8,
    pub dont_fragment: bool,
}

impl Datagram {
    fn length(&self) -> usize {
        let payload = match &self.payload {
            Payload::Received(range) | Payload::Kept(range) => range.len(),
        };
        let header = self.header.as_ref().map_or(0, |h| h.as_bytes().len());
        header + payload + usize::from(self.padding)
    }

    fn same_way(&self, other: &Datagram) -> bool {
        self.to == other.to && self.from == other.from && self.dont_fragment == other.dont_fragment
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_SIZE]);

/// One message to send: a run of datagrams, as places in the order of sending.
#[derive(Clone, Debug)]
struct Run {
    datagrams: Range<usize>,
    segment: usize,
}

pub(super) struct Outbox {
    datagrams: Vec<Datagram>,
    flows: Flows,
    kept: Vec<u8>,
    /// The datagrams' places in the order of sending.
    order: Vec<u32>,
    runs: Vec<Run>,
    iovecs: Vec<libc::iovec>,
    names: Vec<RawAddress>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

impl Outbox {
    pub fn new() -> Self {
        Outbox {
            datagrams: Vec::with_capacity(256),
            flows: Flows::new(),
            kept: Vec::with_capacity(4096),
            order: Vec::with_capacity(256),
            runs: Vec::with_capacity(MAX_MESSAGES),
            iovecs: Vec::with_capacity(256),
            names: vec![RawAddress::none(); MAX_MESSAGES],
            controls: vec![Control([0; CONTROL_SIZE]); MAX_MESSAGES],
            headers: vec![empty_message(); MAX_MESSAGES],
        }
    }

    /// Copies bytes that would not live until the flush.
    pub fn keep(&mut self, bytes: &[u8]) -> Payload {
        let start = self.kept.len();
        self.kept.extend_from_slice(bytes);
        Payload::Kept(start..self.kept.len())
    }

    pub fn push(&mut self, datagram: Datagram) {
        self.flows.add(&datagram, &self.datagrams);
        self.datagrams.push(datagram);
    }

    /// Whether anything waits to leave from a socket.
    pub fn uses(&self, exit: Exit) -> bool {
        self.datagrams.iter().any(|datagram| datagram.exit == exit)
    }

    /// Sends everything. Datagrams of one flow keep their order; what cannot be sent is dropped and counted.
    pub fn flush<'s>(
        &mut self,
        received: &[u8],
        socket_of: impl Fn(Exit) -> Option<&'s UdpSocket>,
        counters: &Counters,
    ) {
        if self.datagrams.is_empty() {
            return;
        }
        self.flows.take_in_order(&mut self.order);

        let mut start = 0;
        while start < self.order.len() {
            let exit = self.at(start).exit;
            let mut end = start + 1;
            while end < self.order.len() && self.at(end).exit == exit {
                end += 1;
            }
            match socket_of(exit) {
                Some(socket) => self.send_all(socket, start..end, received, counters),
                None => counters.dropped_many(DropReason::StaleRelay, (end - start) as u64),
            }
            start = end;
        }
        self.datagrams.clear();
        self.kept.clear();
    }

    fn at(&self, place: usize) -> &Datagram {
        &self.datagrams[self.order[place] as usize]
    }

    /// Sends the datagrams of one socket.
    fn send_all(
        &mut self,
        socket: &UdpSocket,
        places: Range<usize>,
        received: &[u8],
        counters: &Counters,
    ) {
        let mut next = places.start;
        while next < places.end {
            self.runs.clear();
            let dont_fragment = self.at(next).dont_fragment;
            while next < places.end
                && self.runs.len() < MAX_MESSAGES
                && self.at(next).dont_fragment == dont_fragment
            {
                let run = self.run_from(next, places.end);
                next = run.datagrams.end;
                self.runs.push(run);
            }
            let family = self.at(places.start).to.ip();
            if dont_fragment {
                socket::set_dont_fragment(socket, family, true);
            }
            let dropped = self.send_runs(socket, received);
            if dont_fragment {
                socket::set_dont_fragment(socket, family, false);
            }
            for (reason, packets) in dropped {
                if packets > 0 {
                    counters.dropped_many(reason, packets);
                }
            }
        }
    }

    /// The longest run that starts at a place: one size, then at most one shorter (which ends it).
    fn run_from(&self, start: usize, end: usize) -> Run {
        let first = self.at(start);
        let segment = first.length();
        let mut total = segment;
        let mut next = start + 1;
        while next < end && next - start < MAX_SEGMENTS && segment > 0 {
            let datagram = self.at(next);
            let length = datagram.length();
            if length == 0
                || length > segment
                || total + length > MAX_RUN
                || !first.same_way(datagram)
            {
                break;
            }
            total += length;
            next += 1;
            if length < segment {
                break;
            }
        }
        Run {
            datagrams: start..next,
            segment,
        }
    }

    /// Sends the prepared runs and says how many datagrams were dropped, by reason.
    fn send_runs(&mut self, socket: &UdpSocket, received: &[u8]) -> [(DropReason, u64); 2] {
        let (mut failed, mut full) = (0, 0);
        let runs = std::mem::take(&mut self.runs);
        let mut sent = 0;
        let mut retried = None;
        while let Some(run) = runs.get(sent) {
            let error = match self.send_some(socket, &runs[sent..], received) {
                Ok(count) => {
                    sent += count.max(1);
                    continue;
                }
                Err(error) => error,
            };
            // The first run that is left has failed.
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                // Mostly an ICMP error about an earlier datagram, told in place of sending this one.
                Some(
                    libc::ECONNREFUSED
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::ENOPROTOOPT
                    | libc::EPROTO
                    | libc::EACCES
                    | libc::EMSGSIZE,
                ) if retried != Some(sent) => {
                    retried = Some(sent);
                    continue;
                }
                Some(libc::EAGAIN) => {
                    full += runs[sent..]
                        .iter()
                        .map(|run| run.datagrams.len() as u64)
                        .sum::<u64>();
                    break;
                }
                // The way to this peer does not take segments, or not of this size: one by one, for this run only.
                Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::EOPNOTSUPP)
                    if run.datagrams.len() > 1 =>
                {
                    for place in run.datagrams.clone() {
                        let single = Run {
                            datagrams: place..place + 1,
                            segment: 0,
                        };
                        if self.send_some(socket, &[single], received).is_err() {
                            failed += 1;
                        }
                    }
                }
                // A peer that cannot be reached is that peer's affair, never the socket's end.
                _ => failed += run.datagrams.len() as u64,
            }
            sent += 1;
        }
        self.runs = runs;
        [
            (DropReason::SendFailed, failed),
            (DropReason::SendBufferFull, full),
        ]
    }

    /// One sendmmsg of up to [`MAX_MESSAGES`] runs; how many of them were sent.
    fn send_some(
        &mut self,
        socket: &UdpSocket,
        runs: &[Run],
        received: &[u8],
    ) -> io::Result<usize> {
        if let [run] = runs
            && let Some((datagram, payload)) = self.plain(run, received)
        {
            return send_plain(socket, datagram.to, payload);
        }
        self.build(runs, received);
        // SAFETY: `build` has just filled in as many headers as there are runs. They point to names, controls and
        // iovecs in vectors of this outbox, and the iovecs to datagrams, kept and received bytes, none of which is
        // touched until the call returns.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                runs.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// The only datagram of a run and its payload, where nothing goes with that.
    fn plain<'a>(&'a self, run: &Run, received: &'a [u8]) -> Option<(&'a Datagram, &'a [u8])> {
        let datagram = self.at(run.datagrams.start);
        let is_plain = run.datagrams.len() == 1
            && datagram.header.is_none()
            && datagram.from.is_none()
            && datagram.padding == 0;
        is_plain.then(|| (datagram, datagram.payload.bytes(received, &self.kept)))
    }

    /// Fills in a header for each run.
    fn build(&mut self, runs: &[Run], received: &[u8]) {
        self.iovecs.clear();
        let mut starts = [0; MAX_MESSAGES];
        debug_assert!(runs.len() <= MAX_MESSAGES);
        for (run, start) in runs.iter().zip(&mut starts) {
            *start = self.iovecs.len();
            for place in run.datagrams.clone() {
                let datagram = &self.datagrams[self.order[place] as usize];
                let payload = datagram.payload.bytes(received, &self.kept);
                let header = datagram.header.as_ref().map_or(&[][..], Header::as_bytes);
                let padding = &[0; 3][..usize::from(datagram.padding.min(3))];
                for bytes in [header, payload, padding] {
                    if !bytes.is_empty() {
                        self.iovecs.push(libc::iovec {
                            iov_base: bytes.as_ptr().cast_mut().cast(),
                            iov_len: bytes.len(),
                        });
                    }
                }
            }
        }
        // Only now that the vector grows no more may it be pointed into.
        for (place, run) in runs.iter().enumerate() {
            let end = starts
                .get(place + 1)
                .copied()
                .filter(|_| place + 1 < runs.len());
            let end = end.unwrap_or(self.iovecs.len());
            let datagram = &self.datagrams[self.order[run.datagrams.start] as usize];
            let (name, name_length) = RawAddress::new(datagram.to);
            self.names[place] = name;
            let segment = (run.datagrams.len() > 1).then_some(run.segment);
            let header = &mut self.headers[place];
            header.msg_hdr.msg_name = (&raw mut self.names[place]).cast();
            header.msg_hdr.msg_namelen = name_length;
            header.msg_hdr.msg_iov = self.iovecs[starts[place]..end].as_mut_ptr();
            header.msg_hdr.msg_iovlen = (end - starts[place]) as _;
            header.msg_hdr.msg_flags = 0;
            header.msg_hdr.msg_control = (&raw mut self.controls[place]).cast();
            header.msg_hdr.msg_controllen = CONTROL_SIZE as _;
            write_controls(&mut header.msg_hdr, datagram.from, segment);
            header.msg_len = 0;
        }
    }
}

/// Sends one datagram of bytes that lie together, for which the system has less to read than for a list of messages.
fn send_plain(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> io::Result<usize> {
    let (name, name_length) = RawAddress::new(to);
    // SAFETY: the payload and the name are borrowed until the call returns, each with its own length.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            libc::MSG_DONTWAIT,
            (&raw const name).cast(),
            name_length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(1)
    }
}

/// Writes the control messages and sets their length: the source address and the segment size, where given.
fn write_controls(header: &mut libc::msghdr, from: Option<IpAddr>, segment: Option<usize>) {
    let mut length = 0;
    // SAFETY: msg_control points to CONTROL_SIZE zeroed or formerly written bytes, aligned for cmsghdr; a packet info
    // and a u16 with their heads and padding take at most 40 + 24 of them. Data is written unaligned.
    #[allow(unsafe_code)]
    unsafe {
        let mut put = |level, kind, data: *const u8, size: usize| {
            let place = header
                .msg_control
                .cast::<u8>()
                .add(length)
                .cast::<libc::cmsghdr>();
            (*place).cmsg_level = level;
            (*place).cmsg_type = kind;
            (*place).cmsg_len = libc::CMSG_LEN(size as u32) as _;
            std::ptr::copy_nonoverlapping(data, libc::CMSG_DATA(place), size);
            length += libc::CMSG_SPACE(size as u32) as usize;
        };
        match from {
            Some(IpAddr::V4(ip)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(ip),
                    ipi_addr: in_addr(ip),
                };
                let data = (&raw const info).cast();
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, data, size_of_val(&info));
            }
            Some(IpAddr::V6(ip)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: in6_addr(ip),
                    ipi6_ifindex: 0,
                };
                let data = (&raw const info).cast();
                put(
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    data,
                    size_of_val(&info),
                );
            }
            None => {}
        }
        if let Some(segment) = segment {
            let segment = segment as u16; // a run is under 64 KiB
            let data = (&raw const segment).cast();
            put(
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                data,
                size_of_val(&segment),
            );
        }
    }
    if length == 0 {
        header.msg_control = std::ptr::null_mut();
    }
    header.msg_controllen = length as _;
}

#[cfg(test)]
mod tests;
