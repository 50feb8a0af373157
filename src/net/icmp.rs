//! ICMP errors about what relays sent, from the error queues of their sockets.

use super::sockaddr::RawAddress;
use crate::engine::IcmpError;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Room for the extended error and the address of whoever reported it.
const CONTROL_SIZE: usize = 256;

#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE]);

/// Takes the next error off a socket's queue: the peer the datagram was for, and what became of it. `None` when the
/// queue is empty; errors that did not come by ICMP are passed over.
pub(super) fn next_error(socket: &UdpSocket) -> Option<(SocketAddr, IcmpError)> {
    loop {
        match read(socket) {
            Ok(Some(error)) => return Some(error),
            Ok(None) => {}
            Err(_) => {
                // The queue is empty. The socket remembers the last error besides, and would report it again in place
                // of the next packet.
                let _ = socket.take_error();
                return None;
            }
        }
    }
}

/// Takes one entry off the queue; `Ok(None)` when it is not from ICMP.
fn read(socket: &UdpSocket) -> io::Result<Option<(SocketAddr, IcmpError)>> {
    let mut name = RawAddress::none();
    let mut control = Control([0; CONTROL_SIZE]);
    let mut found = None;
    // SAFETY: zero is a value of every field of msghdr. The header points to a name and a control buffer that live until
    // the end of the block, with their sizes, and to no payload, which the kernel then discards. The macros only hand
    // out control messages within what the kernel wrote; the extended error is read unaligned.
    #[allow(unsafe_code)]
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = RawAddress::SIZE;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL_SIZE as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        if libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(head) = message.as_ref() {
            if matches!(
                (head.cmsg_level, head.cmsg_type),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            ) {
                let error = libc::CMSG_DATA(message)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned();
                if matches!(
                    error.ee_origin,
                    libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6
                ) {
                    found = Some(IcmpError {
                        kind: error.ee_type,
                        code: error.ee_code,
                        data: error.ee_info,
                    });
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(found.and_then(|error| Some((name.get()?, error))))
}
