//! Sockets as hairpin wants them: options, buffers, and errors that name the address.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// More datagrams than the smallest receive buffer holds.
const MOST_WAITING: usize = 64;

/// Buffer sizes of a socket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// SO_RCVBUF.
    pub receive: usize,
    /// SO_SNDBUF.
    pub send: usize,
}

/// Opens a UDP socket for clients. Several of them share the address, one a worker.
///
/// # Errors
/// What the system says, for example that the address is in use.
pub fn udp_listener(address: SocketAddr, buffers: Buffers) -> io::Result<UdpSocket> {
    let socket = datagram(address)?;
    socket.set_reuse_port(true)?;
    hear_clients(&socket, address, buffers)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Makes a UDP socket at this address ready for clients.
///
/// # Errors
/// What the system says.
pub(super) fn hear_clients(
    socket: &Socket,
    address: SocketAddr,
    buffers: Buffers,
) -> io::Result<()> {
    if address.ip().is_unspecified() {
        // The answer has to leave from the address the request came to.
        match address {
            SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            SocketAddr::V6(_) => {
                set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
    }
    tune_datagram(socket, address.is_ipv4(), buffers)
}

/// Opens the socket of a relayed transport address. Nobody may send to it yet, so it holds next to nothing of what comes
/// in, and lacks what only traffic needs: [`hear_peers`] does the rest.
///
/// # Errors
/// What the system says.
pub(super) fn relay(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = datagram(address)?;
    let _ = socket.set_recv_buffer_size(0);
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Makes a relay's socket ready to send to peers and to hear them, and throws away what it got before.
///
/// # Errors
/// What the system says.
pub(super) fn hear_peers(socket: &UdpSocket, is_ipv4: bool, buffers: Buffers) -> io::Result<()> {
    drop_waiting(socket);
    // ICMP errors are for the client (RFC 8656 §11.5), so they are kept for reading.
    if is_ipv4 {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
    } else {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    tune_datagram(&SockRef::from(socket), is_ipv4, buffers)
}

/// Throws away the datagrams a socket has received, as many as a small buffer can hold.
fn drop_waiting(socket: &UdpSocket) {
    for _ in 0..MOST_WAITING {
        // What does not fit the buffer goes too.
        if socket.recv(&mut [0]).is_err() {
            return;
        }
    }
}

/// Opens a TCP socket for clients. Several of them share the address, one a worker.
///
/// # Errors
/// What the system says.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a TCP socket at an address that no workers share. One for `[::]` leaves IPv4 to others, like those of workers do.
/// A runtime has to be there, which the listener belongs to.
///
/// # Errors
/// What the system says, for example that the address is in use.
pub fn tcp_door(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = stream(address)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(socket.into())
}

/// Opens the listening socket of a relayed transport address for TCP. Connections that start from the same address are
/// made with [`tcp_towards_peer`].
///
/// # Errors
/// What the system says, for example that the address is in use.
pub fn tcp_relay(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream(address)?;
    socket.bind(&SockAddr::from(address))?;
    // Only now, so that nobody else's listener is silently shared.
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a socket for a connection with a peer, from a relayed transport address that is listened at.
///
/// # Errors
/// What the system says.
pub fn tcp_towards_peer(relayed: SocketAddr) -> io::Result<TcpStream> {
    let socket = stream(relayed)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(relayed))?;
    Ok(socket.into())
}

/// Whether nobody else has an address. Listeners share theirs among the workers, and would silently share it with
/// another server too.
///
/// # Errors
/// That the address is in use, or is not ours, or that the right to it is missing.
pub fn check_free(address: SocketAddr, is_stream: bool) -> io::Result<()> {
    let socket = if is_stream {
        stream(address)?
    } else {
        datagram(address)?
    };
    socket.bind(&SockAddr::from(address))?;
    if is_stream {
        socket.listen(1)?;
    }
    Ok(())
}

fn datagram(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    prepare(&socket, address)?;
    Ok(socket)
}

fn stream(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    prepare(&socket, address)?;
    // Connections of a former run that linger must not keep a restart from listening.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        // Each family has its own listener, so that addresses mean what they say.
        socket.set_only_v6(true)?;
    }
    Ok(())
}

/// Sets what a UDP socket needs that has traffic.
fn tune_datagram(socket: &Socket, is_ipv4: bool, buffers: Buffers) -> io::Result<()> {
    // Path MTU discovery would set Don't Fragment and make large packets fail: RFC 8656 §14 wants them fragmented.
    if is_ipv4 {
        let (option, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT);
        set_option(socket, libc::IPPROTO_IP, option, value)?;
    } else {
        let (option, value) = (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT);
        set_option(socket, libc::IPPROTO_IPV6, option, value)?;
    }
    // Kernels before 5.0 do not know this; packets then come one by one.
    let _ = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    set_buffers(socket, buffers);
    Ok(())
}

/// Asks for buffers, past the system's limit where hairpin has the right to. What it got is seen with
/// [`granted_receive_buffer`].
pub(super) fn set_buffers(socket: &Socket, buffers: Buffers) {
    // A right that was given up does not come back, and relays have no time for asking.
    static IS_REFUSED: AtomicBool = AtomicBool::new(false);
    let force = |option, size: usize| {
        if IS_REFUSED.load(Ordering::Relaxed) {
            return false;
        }
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        let set = set_option(socket, libc::SOL_SOCKET, option, size);
        if set
            .as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
        {
            IS_REFUSED.store(true, Ordering::Relaxed);
        }
        set.is_ok()
    };
    if !force(libc::SO_RCVBUFFORCE, buffers.receive) {
        let _ = socket.set_recv_buffer_size(buffers.receive);
    }
    if !force(libc::SO_SNDBUFFORCE, buffers.send) {
        let _ = socket.set_send_buffer_size(buffers.send);
    }
}

/// The receive buffer a socket has, in bytes as they are asked for (the system reports twice that).
#[must_use]
pub fn granted_receive_buffer(socket: &impl AsFd) -> usize {
    socket2::SockRef::from(socket)
        .recv_buffer_size()
        .map_or(0, |size| size / 2)
}

/// How many datagrams the kernel dropped at a socket whose buffer was full; 0 where it does not say.
#[must_use]
pub(super) fn kernel_drops(socket: &UdpSocket) -> u64 {
    /// The kernel's numbers about a socket's memory; the last is what it dropped (`SK_MEMINFO_DROPS`).
    const NUMBERS: usize = 9;
    let mut numbers = [0_u32; NUMBERS];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the array, and the length that it wrote.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        numbers[NUMBERS - 1].into()
    } else {
        0
    }
}

/// Sets or clears Don't Fragment for what is sent next.
pub fn set_dont_fragment(socket: &UdpSocket, address: IpAddr, on: bool) {
    let (level, option, value) = match (address, on) {
        (IpAddr::V4(_), true) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DO,
        ),
        (IpAddr::V4(_), false) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        ),
        (IpAddr::V6(_), true) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DO,
        ),
        (IpAddr::V6(_), false) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        ),
    };
    let _ = set_option(socket, level, option, value);
}

pub(super) fn set_option(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the option's value is an int whose
    // address and size are given.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
