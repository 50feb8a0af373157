//! A UDP socket that asks Binding requests with the attributes of RFC 5780, and says what came back.
//!
//! Silence is an answer here, not an error. The main types are [`Asker`], [`Wish`] and [`Heard`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stun::addr::MappedAddress;
use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_MAPPED_ADDRESS, ATTR_OTHER_ADDRESS, ATTR_PADDING,
    ATTR_RESPONSE_ORIGIN, ATTR_RESPONSE_PORT, AttrType,
};
use stun::error_code::ErrorCodeAttribute;
use stun::message::{
    BINDING_REQUEST, CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, Getter, METHOD_BINDING, Message,
    Setter, is_message,
};
use stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};

/// The first wait before a request is sent again; each further one is twice as long (RFC 8489 §6.2.1).
const RETRANSMIT: Duration = Duration::from_millis(500);

/// The longest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// What a request asks for beyond the mapped address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// An answer from the server's other IP address.
    pub change_ip: bool,
    /// An answer from the server's other port.
    pub change_port: bool,
    /// An answer to this port.
    pub response_port: Option<u16>,
    /// So many bytes of padding, in the request and in the answer.
    pub padding: Option<u16>,
}

/// A success response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Where it came from.
    pub from: SocketAddr,
    /// From the request to it.
    pub round_trip: Duration,
    /// XOR-MAPPED-ADDRESS.
    pub mapped: SocketAddr,
    /// MAPPED-ADDRESS, which a gateway that meddles with addresses changes.
    pub plain_mapped: Option<SocketAddr>,
    /// RESPONSE-ORIGIN: where the server says it sent it from.
    pub origin: Option<SocketAddr>,
    /// OTHER-ADDRESS: the server's other IP address and port.
    pub other: Option<SocketAddr>,
    /// Whether it was padded.
    pub padded: bool,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A success.
    Answer(Answer),
    /// An error, by its code.
    Refused(u16),
    /// Something that is no answer to a Binding request, and why.
    Nonsense(String),
    /// Nothing.
    Silence,
}

/// The socket.
pub struct Asker {
    socket: UdpSocket,
    limit: Duration,
}

impl Asker {
    /// Opens a socket on an address of this machine, with a new port. `limit` is how long to wait for each answer.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(local: IpAddr, limit: Duration) -> io::Result<Asker> {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
        Ok(Asker { socket, limit })
    }

    /// The address of this end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends a request, again and again while nothing comes back.
    ///
    /// # Errors
    /// What the system says, for example that there is no route.
    pub async fn ask(&self, server: SocketAddr, wish: Wish) -> io::Result<Heard> {
        let request = request(wish)?;
        let start = Instant::now();
        let waiting = async {
            let mut buffer = vec![0; MAX_DATAGRAM];
            loop {
                let (message, from) = self.next_message(&mut buffer).await?;
                if message.transaction_id == request.transaction_id {
                    let round_trip = start.elapsed();
                    if let Some(heard) = read(&message, from, round_trip) {
                        return Ok(heard);
                    }
                }
            }
        };
        self.keep_sending(&request, server, waiting).await
    }

    /// Sends a request whose answer, or which itself, is to come to another socket; whether it did.
    ///
    /// # Errors
    /// What the system says.
    pub async fn reaches(
        &self,
        destination: SocketAddr,
        wish: Wish,
        other: &Asker,
    ) -> io::Result<bool> {
        let request = request(wish)?;
        let waiting = async {
            let mut buffer = vec![0; MAX_DATAGRAM];
            loop {
                let (message, from) = other.next_message(&mut buffer).await?;
                if message.transaction_id == request.transaction_id {
                    return Ok(Heard::Nonsense(from.to_string()));
                }
            }
        };
        let heard = self.keep_sending(&request, destination, waiting).await?;
        Ok(!matches!(heard, Heard::Silence))
    }

    async fn keep_sending(
        &self,
        request: &Message,
        to: SocketAddr,
        waiting: impl Future<Output = io::Result<Heard>>,
    ) -> io::Result<Heard> {
        let sending = async {
            let (mut wait, mut at) = (RETRANSMIT, tokio::time::Instant::now());
            loop {
                if let Err(error) = self.socket.send_to(&request.raw, to).await {
                    return error;
                }
                at += wait;
                wait *= 2;
                sleep_until(at).await;
            }
        };
        let both = async {
            tokio::select! {
                heard = waiting => heard,
                error = sending => Err(error),
            }
        };
        timeout(self.limit, both)
            .await
            .unwrap_or(Ok(Heard::Silence))
    }

    /// The next STUN message, whatever it is.
    async fn next_message(&self, buffer: &mut [u8]) -> io::Result<(Message, SocketAddr)> {
        loop {
            let (length, from) = self.socket.recv_from(buffer).await?;
            let bytes = &buffer[..length];
            let mut message = Message::new();
            message.raw = bytes.to_vec();
            if is_message(bytes) && message.decode().is_ok() {
                return Ok((message, from));
            }
        }
    }
}

fn request(wish: Wish) -> io::Result<Message> {
    let mut message = Message::new();
    let setters: [Box<dyn Setter>; 1] = [Box::new(BINDING_REQUEST)];
    message.build(&setters).map_err(io::Error::other)?;
    message.new_transaction_id().map_err(io::Error::other)?;
    if wish.change_ip || wish.change_port {
        let flags = u32::from(wish.change_ip) << 2 | u32::from(wish.change_port) << 1;
        message.add(ATTR_CHANGE_REQUEST, &flags.to_be_bytes());
    }
    if let Some(port) = wish.response_port {
        message.add(ATTR_RESPONSE_PORT, &port.to_be_bytes());
    }
    if let Some(length) = wish.padding {
        message.add(ATTR_PADDING, &vec![0; usize::from(length)]);
    }
    Ok(message)
}

/// What a message with the request's own transaction id says; `None` where it is the request itself, mirrored.
fn read(message: &Message, from: SocketAddr, round_trip: Duration) -> Option<Heard> {
    if message.typ.method != METHOD_BINDING {
        return None;
    }
    if message.typ.class == CLASS_ERROR_RESPONSE {
        let mut code = ErrorCodeAttribute::default();
        return Some(match code.get_from(message) {
            Ok(()) => Heard::Refused(code.code.0),
            Err(_) => Heard::Nonsense("an error response without ERROR-CODE".to_owned()),
        });
    }
    if message.typ.class != CLASS_SUCCESS_RESPONSE {
        return None;
    }
    let mut xor = XorMappedAddress::default();
    let xor = xor
        .get_from(message)
        .map(|()| SocketAddr::new(xor.ip, xor.port));
    let plain_mapped = address(message, ATTR_MAPPED_ADDRESS);
    let Some(mapped) = xor.ok().or(plain_mapped) else {
        return Some(Heard::Nonsense(
            "a success response without a mapped address".to_owned(),
        ));
    };
    Some(Heard::Answer(Answer {
        from,
        round_trip,
        mapped,
        plain_mapped,
        origin: address(message, ATTR_RESPONSE_ORIGIN),
        other: address(message, ATTR_OTHER_ADDRESS),
        padded: message.contains(ATTR_PADDING),
    }))
}

fn address(message: &Message, kind: AttrType) -> Option<SocketAddr> {
    let mut address = MappedAddress::default();
    address.get_from_as(message, kind).ok()?;
    Some(SocketAddr::new(address.ip, address.port))
}
