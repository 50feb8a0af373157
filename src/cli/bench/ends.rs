//! The load's ends: the sockets of its clients, towards the server, and of its peers.
//!
//! An end is known by its number. Everything is in one thread and never blocks, but where it is told to wait. The main
//! type is [`Ends`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::stream::StreamEnd;
use crate::net::volley::{Catcher, Volley, Watch, datagram_socket};

/// One socket.
enum End {
    Datagram(UdpSocket),
    Stream(Box<StreamEnd>),
    Closed,
}

/// All of them.
pub struct Ends {
    ends: Vec<End>,
    watch: Watch,
    catcher: Catcher,
}

impl Ends {
    /// None yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Ends> {
        Ok(Ends {
            ends: Vec::new(),
            watch: Watch::new()?,
            catcher: Catcher::new(),
        })
    }

    /// Adds a socket that is connected; its number.
    ///
    /// # Errors
    /// What the system says.
    pub fn add_datagram(&mut self, socket: UdpSocket) -> io::Result<usize> {
        self.watch.add(&socket, self.ends.len())?;
        self.ends.push(End::Datagram(socket));
        Ok(self.ends.len() - 1)
    }

    /// Adds a connection to the server; its number.
    ///
    /// # Errors
    /// What the system says.
    pub fn add_stream(&mut self, stream: StreamEnd) -> io::Result<usize> {
        self.watch.add(stream.socket(), self.ends.len())?;
        self.ends.push(End::Stream(Box::new(stream)));
        Ok(self.ends.len() - 1)
    }

    /// Puts another socket in an end's place.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace(&mut self, end: usize, socket: UdpSocket) -> io::Result<()> {
        self.watch.add(&socket, end)?;
        self.ends[end] = End::Datagram(socket);
        Ok(())
    }

    /// Gives a datagram end another port, where the system chose the one it has.
    ///
    /// # Errors
    /// What the system says, or that the end is no datagram end.
    pub fn reopen(&mut self, end: usize, coalesced: bool) -> io::Result<()> {
        let End::Datagram(old) = &self.ends[end] else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let socket = datagram_socket(SocketAddr::new(old.local_addr()?.ip(), 0), coalesced)?;
        socket.connect(old.peer_addr()?)?;
        self.replace(end, socket)
    }

    /// Closes an end; its number stays taken.
    pub fn close(&mut self, end: usize) {
        self.ends[end] = End::Closed;
    }

    /// Where an end is.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self, end: usize) -> io::Result<SocketAddr> {
        match &self.ends[end] {
            End::Datagram(socket) => socket.local_addr(),
            End::Stream(stream) => stream.socket().local_addr(),
            End::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Connects a datagram end to where it sends.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(&self, end: usize, to: SocketAddr) -> io::Result<()> {
        match &self.ends[end] {
            End::Datagram(socket) => socket.connect(to),
            End::Stream(_) | End::Closed => Ok(()),
        }
    }

    /// Sends one message or frame.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` where too much waits already.
    pub fn send(&mut self, end: usize, message: &[u8]) -> io::Result<()> {
        match &mut self.ends[end] {
            End::Datagram(socket) => socket.send(message).map(|_| ()),
            End::Stream(stream) => stream.send(message),
            End::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends the first `count` messages of a volley, in `length` bytes each; how many left.
    ///
    /// # Errors
    /// As [`Ends::send`].
    pub fn send_volley(
        &mut self,
        end: usize,
        volley: &mut Volley,
        (count, length): (usize, usize),
        segmented: bool,
    ) -> io::Result<usize> {
        match &mut self.ends[end] {
            End::Datagram(socket) if segmented => volley.send_segmented(socket, count, length),
            End::Datagram(socket) => volley.send(socket, count, length),
            End::Stream(stream) => {
                let mut sent = 0;
                for frame in volley.datagrams(length).take(count) {
                    match stream.send(frame) {
                        Ok(()) => sent += 1,
                        Err(error) if sent == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(sent)
            }
            End::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Hands over what has arrived, with the number of its end, after waiting for it at most so long. Whether anything
    /// had.
    ///
    /// # Errors
    /// That a connection to the server is over.
    pub fn poll(
        &mut self,
        at_most: Duration,
        mut take: impl FnMut(usize, &[u8]),
    ) -> io::Result<bool> {
        let count = self.watch.wait(at_most)?;
        for place in 0..count {
            let number = self.watch.ready(place);
            match &mut self.ends[number] {
                // An ICMP error is told here once; the packets it is about are counted as lost.
                End::Datagram(socket) => {
                    let _ = self.catcher.catch(socket, |message| take(number, message));
                }
                End::Stream(stream) => stream.receive(|frame| take(number, frame))?,
                End::Closed => {}
            }
        }
        Ok(count > 0)
    }
}
