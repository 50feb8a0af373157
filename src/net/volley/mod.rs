//! Sockets for a load: many datagrams in one call from a connected socket, and many sockets watched at once.
//!
//! This is what `hairpin bench` drives a server with, not what a server is made of: it knows nothing of TURN, and it stays
//! as it is when the worker's ways change, so that figures of two versions compare. The main types are [`Volley`], which
//! sends, [`Catcher`], which receives, and [`Watch`], which says where there is something to receive.

mod watch;

pub use watch::Watch;

use super::receiver::{Receiver, SLOTS, empty_message};
use super::socket::{self, Buffers};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

/// The buffers of a load's sockets: it must not be the load that loses packets.
const BUFFERS: Buffers = Buffers {
    receive: 4 << 20,
    send: 4 << 20,
};

/// Room for the segment size, with its head.
const CONTROL_SIZE: usize = 24;

/// Opens a UDP socket at an address. With `coalesced`, datagrams that were sent as segments of one may be received so.
///
/// # Errors
/// What the system says.
pub fn datagram_socket(address: SocketAddr, coalesced: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    if coalesced {
        // Kernels before 5.0 do not know this; packets then come one by one.
        let _ = socket::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    }
    socket::set_buffers(&socket, BUFFERS);
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE]);

/// Up to so many datagrams of one length, which leave together.
pub struct Volley {
    memory: Vec<u8>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    control: Control,
}

impl Volley {
    /// Room for `capacity` datagrams of `longest` bytes at most.
    #[must_use]
    pub fn new(capacity: usize, longest: usize) -> Self {
        let empty_iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Volley {
            memory: vec![0; capacity * longest],
            iovecs: vec![empty_iovec; capacity],
            headers: vec![empty_message(); capacity],
            control: Control([0; CONTROL_SIZE]),
        }
    }

    /// The bytes of datagrams of `length` bytes, one behind the other, to be written before they are sent.
    pub fn datagrams(&mut self, length: usize) -> impl Iterator<Item = &mut [u8]> {
        self.memory
            .chunks_exact_mut(length.max(1))
            .take(self.headers.len())
    }

    /// Sends the first `count` datagrams of `length` bytes from a connected socket, each as a packet of its own. How many
    /// the system took.
    ///
    /// # Errors
    /// What the system says, where it took none.
    pub fn send(&mut self, socket: &UdpSocket, count: usize, length: usize) -> io::Result<usize> {
        if count == 1 {
            return socket
                .send(self.memory.get(..length).unwrap_or_default())
                .map(|_| 1);
        }
        let mut messages = 0;
        let parts = self.memory.chunks_exact_mut(length.max(1)).take(count);
        for ((part, iovec), header) in parts.zip(&mut self.iovecs).zip(&mut self.headers) {
            *iovec = libc::iovec {
                iov_base: part.as_mut_ptr().cast(),
                iov_len: part.len(),
            };
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = std::ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            messages += 1;
        }
        // SAFETY: the first `messages` headers were just filled in, each with an iovec that points into `memory`. None of
        // the vectors changes before the call returns. No header has a name or a control message.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                messages,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// The same as segments of one packet (UDP_SEGMENT), which the kernel cuts as late as it can. There are at most 64,
    /// and 64 KiB of them.
    ///
    /// # Errors
    /// What the system says; then nothing was sent.
    pub fn send_segmented(
        &mut self,
        socket: &UdpSocket,
        count: usize,
        length: usize,
    ) -> io::Result<usize> {
        let bytes = self
            .memory
            .get_mut(..count * length)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let segment = u16::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut iovec = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let mut message = empty_message().msg_hdr;
        message.msg_iov = &raw mut iovec;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut self.control).cast();
        message.msg_controllen = CONTROL_SIZE as _;
        // SAFETY: the message points to one iovec over `bytes` and to a control buffer that is aligned for its head and has
        // room for the head and two bytes behind it (CMSG_SPACE of 2 is 24). All of them live until the call returns.
        #[allow(unsafe_code)]
        let result = unsafe {
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = libc::SOL_UDP;
            (*head).cmsg_type = libc::UDP_SEGMENT;
            (*head).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(head).cast::<u16>().write_unaligned(segment);
            libc::sendmsg(
                socket.as_raw_fd(),
                &raw const message,
                libc::MSG_DONTWAIT as _,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(count)
        }
    }
}

/// Receives datagrams, several in one call.
pub struct Catcher(Receiver);

impl Default for Catcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Catcher {
    /// With 2 MiB of address space, of which only what is received into takes memory.
    #[must_use]
    pub fn new() -> Self {
        Catcher(Receiver::new())
    }

    /// Hands over what a socket has received, up to 32 messages, without waiting. Whether there may be more.
    ///
    /// # Errors
    /// What the system says, for example that the other side is gone.
    pub fn catch(&mut self, socket: &impl AsFd, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        self.0.clear();
        // Most often there is one message, and preparing for more costs time.
        let mut filled = false;
        for at_most in [2, SLOTS - 2] {
            filled = self.0.receive(socket, at_most)?;
            for message in self.0.received() {
                for range in message.datagrams() {
                    take(self.0.memory().get(range).unwrap_or_default());
                }
            }
            if !filled {
                break;
            }
        }
        Ok(filled)
    }
}
