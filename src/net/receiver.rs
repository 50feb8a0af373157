//! Receiving datagrams in batches: recvmmsg, with runs of one flow coalesced by the kernel (UDP_GRO).
//!
//! The memory is one block for the whole worker. Payloads stay where the kernel put them until they are sent, so
//! slots are taken one after the other, by several sockets if need be, until [`Receiver::clear`] frees them all.

use super::sockaddr::{RawAddress, ipv4, ipv6};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

/// How many messages are received at once at most. What is received at once also leaves together, so this is how many
/// datagrams there are to make runs of.
pub(super) const SLOTS: usize = 128;

/// The largest UDP datagram, and so the largest run the kernel coalesces.
const SLOT_SIZE: usize = 65_536;

/// Slots do not start at multiples of 64 KiB, since their first bytes would share one set of the processor's cache.
const STRIDE: usize = SLOT_SIZE + 192;

/// Room for the control messages we ask for: packet info of either family and the segment size.
const CONTROL_SIZE: usize = 96;

/// One message: a datagram, or several of one size from one sender.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address it came to, where the socket is bound to a wildcard.
    pub to: Option<IpAddr>,
    memory: Range<usize>,
    segment: usize,
}

impl Received {
    /// How many datagrams.
    fn count(&self) -> usize {
        self.memory.len().div_ceil(self.segment.max(1)).max(1)
    }

    /// The datagrams, as ranges of the receiver's memory. There is always at least one; it may be empty.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.memory.clone();
        let segment = self.segment.max(1);
        (0..self.count()).map(move |i| {
            let start = start + i * segment;
            start..(start + segment).min(end)
        })
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_SIZE]);

pub(super) struct Receiver {
    memory: Block<u8>,
    names: Block<RawAddress>,
    controls: Block<Control>,
    iovecs: Block<libc::iovec>,
    headers: Block<libc::mmsghdr>,
    used: usize,
    received: Vec<Received>,
}

impl Receiver {
    pub fn new() -> Self {
        let empty_iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut receiver = Receiver {
            // Zeroed by the system page by page as they are touched: small packets cost one page a slot.
            memory: Block::new(vec![0; STRIDE * SLOTS]),
            names: Block::new(vec![RawAddress::none(); SLOTS]),
            controls: Block::new(vec![Control([0; CONTROL_SIZE]); SLOTS]),
            iovecs: Block::new(vec![empty_iovec; SLOTS]),
            headers: Block::new(vec![empty_message(); SLOTS]),
            used: 0,
            received: Vec::with_capacity(SLOTS),
        };
        for slot in 0..SLOTS {
            receiver.prepare(slot);
        }
        receiver
    }

    /// Frees all slots. Ranges handed out before mean nothing from here on.
    pub fn clear(&mut self) {
        // Most batches are short, and most headers as they were.
        for slot in 0..self.used {
            self.restore(slot);
        }
        self.used = 0;
    }

    /// How many messages can still be received.
    pub fn room(&self) -> usize {
        SLOTS - self.used
    }

    /// The bytes that ranges speak of.
    pub fn memory(&self) -> &[u8] {
        self.memory.get()
    }

    /// The messages of the last [`Receiver::receive`].
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// How many datagrams these are.
    pub fn datagrams(&self) -> usize {
        self.received.iter().map(Received::count).sum()
    }

    /// Receives what is there, up to `at_most` messages, without waiting. `Ok(false)` means that there was less than
    /// was asked for, so that there is no point in asking again at once.
    pub fn receive(&mut self, socket: &impl AsFd, at_most: usize) -> io::Result<bool> {
        self.received.clear();
        let first = self.used;
        let count = at_most.min(self.room());
        // SAFETY: all headers were prepared in `new`, and those from `first` on restored since they were last used: they
        // point to a name, an iovec and a control buffer of their own, and the iovecs to disjoint parts of `memory`, all
        // in blocks that stay where they are as long as this receiver lives. Nothing borrows from them meanwhile.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.place(0).add(first),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let got = match usize::try_from(result) {
            Ok(got) => got,
            Err(_) => {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(false),
                    _ => Err(error),
                };
            }
        };
        self.used += got;
        for slot in first..first + got {
            if let Some(received) = self.read(slot) {
                self.received.push(received);
            }
        }
        Ok(got == count)
    }

    /// Points a header to its own buffers.
    fn prepare(&mut self, slot: usize) {
        self.iovecs.set(
            slot,
            libc::iovec {
                iov_base: self.memory.place(slot * STRIDE).cast(),
                iov_len: SLOT_SIZE,
            },
        );
        let mut header = empty_message();
        header.msg_hdr.msg_name = self.names.place(slot).cast();
        header.msg_hdr.msg_namelen = RawAddress::SIZE;
        header.msg_hdr.msg_iov = self.iovecs.place(slot);
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = self.controls.place(slot).cast();
        header.msg_hdr.msg_controllen = CONTROL_SIZE as _;
        self.headers.set(slot, header);
    }

    /// Sets anew what the kernel wrote to a header.
    fn restore(&mut self, slot: usize) {
        self.names.set(slot, RawAddress::none());
        let mut header = self.headers.get()[slot];
        header.msg_hdr.msg_namelen = RawAddress::SIZE;
        header.msg_hdr.msg_controllen = CONTROL_SIZE as _;
        header.msg_hdr.msg_flags = 0;
        header.msg_len = 0;
        self.headers.set(slot, header);
    }

    fn read(&self, slot: usize) -> Option<Received> {
        let header = &self.headers.get()[slot];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None; // larger than any UDP datagram
        }
        let length = (header.msg_len as usize).min(SLOT_SIZE);
        let start = slot * STRIDE;
        let mut received = Received {
            from: self.names.get()[slot].get()?,
            to: None,
            memory: start..start + length,
            segment: length,
        };
        // SAFETY: the header is one that recvmmsg filled in, and its control buffer is as long as the header says.
        // The macros only hand out messages that lie within it; what they carry is read unaligned, in the type that
        // level and type prescribe.
        #[allow(unsafe_code)]
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&header.msg_hdr);
            while let Some(head) = message.as_ref() {
                let data = libc::CMSG_DATA(message);
                match (head.cmsg_level, head.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        received.to = Some(IpAddr::V4(ipv4(info.ipi_addr)));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        received.to = Some(IpAddr::V6(ipv6(info.ipi6_addr)));
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let segment = data.cast::<libc::c_int>().read_unaligned();
                        received.segment = usize::try_from(segment).unwrap_or(length);
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&header.msg_hdr, message);
            }
        }
        Some(received)
    }
}

/// Memory that system calls write to through pointers which are made once. A vector's own would end with the next
/// reference to its elements.
struct Block<T>(std::ptr::NonNull<[T]>);

impl<T: Copy> Block<T> {
    fn new(values: Vec<T>) -> Self {
        Block(Box::leak(values.into_boxed_slice()).into())
    }

    /// Where an element is, for a system call.
    fn place(&self, index: usize) -> *mut T {
        assert!(index < self.0.len());
        // SAFETY: the element is inside the allocation that the pointer is of.
        #[allow(unsafe_code)]
        unsafe {
            self.0.as_ptr().cast::<T>().add(index)
        }
    }

    fn get(&self) -> &[T] {
        // SAFETY: all elements have values, and system calls write to them only while the block is borrowed mutably.
        #[allow(unsafe_code)]
        unsafe {
            self.0.as_ref()
        }
    }

    fn set(&mut self, index: usize, value: T) {
        // SAFETY: `place` is inside the allocation and nothing else is borrowed from it.
        #[allow(unsafe_code)]
        unsafe {
            self.place(index).write(value);
        }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box in `new` and is given back once.
        #[allow(unsafe_code)]
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A message header that points nowhere.
pub(super) fn empty_message() -> libc::mmsghdr {
    // SAFETY: all fields are integers and raw pointers, for which zero is a value.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}
