//! A client made of the wire room and nothing else.

use crate::server::{PASSWORD, PATIENCE, REALM, USER, V4, V6};
use hairpin::wire::attribute::Family;
use hairpin::wire::integrity::{Key, Mac, PasswordAlgorithm};
use hairpin::wire::stream::{Framing, next_frame};
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, Message, MessageType, Method, TransactionId, Writer,
    channel_data, padded,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long is waited where nothing should come.
pub const SILENCE: Duration = Duration::from_millis(100);

pub struct Client {
    pub link: Link,
    pub user: String,
    pub password: String,
    pub realm: String,
    pub nonce: Vec<u8>,
    transactions: u32,
}

pub enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Response(Response),
    /// A Data indication.
    Data(SocketAddr, Vec<u8>),
    Channel(u16, Vec<u8>),
    /// A Data indication about an ICMP error: the peer, and the value of ICMP.
    Icmp(SocketAddr, Vec<u8>),
    /// The end of a stream.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub method: Method,
    pub transaction: TransactionId,
    /// `None` is success.
    pub code: Option<u16>,
    pub mapped: Option<SocketAddr>,
    pub relayed: Option<SocketAddr>,
    pub lifetime: Option<u32>,
    pub ticket: Option<Vec<u8>>,
    pub nonce: Option<Vec<u8>>,
    pub realm: Option<String>,
    pub attributes: Vec<AttributeType>,
}

/// A UDP socket with room for bursts.
pub fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let options = socket2::SockRef::from(&socket);
    let _ = options.set_recv_buffer_size(4 << 20);
    let _ = options.set_send_buffer_size(4 << 20);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The loopback address of a family.
pub fn loopback_of(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { V4 } else { V6 }
}

/// The next datagram of a socket, and who sent it.
pub fn receive_from(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    (buffer, from)
}

/// Whether a socket stays silent.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let result = socket.recv_from(&mut [0; 2048]);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    result.is_err()
}

impl Client {
    pub fn udp(server: SocketAddr) -> Client {
        let socket = socket(loopback_of(server));
        socket.connect(server).unwrap();
        Client::over(Link::Udp(socket))
    }

    pub fn tcp(server: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(Link::Tcp(stream, Vec::new()))
    }

    /// Over each transport.
    pub fn each(server: SocketAddr) -> [Client; 2] {
        [Client::udp(server), Client::tcp(server)]
    }

    fn over(link: Link) -> Client {
        Client {
            link,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            realm: REALM.to_owned(),
            nonce: Vec::new(),
            transactions: 0,
        }
    }

    pub fn local(&self) -> SocketAddr {
        match &self.link {
            Link::Udp(socket) => socket.local_addr().unwrap(),
            Link::Tcp(stream, _) => stream.local_addr().unwrap(),
        }
    }

    pub fn is_stream(&self) -> bool {
        matches!(self.link, Link::Tcp(..))
    }

    pub fn stream(&self) -> &TcpStream {
        match &self.link {
            Link::Tcp(stream, _) => stream,
            Link::Udp(_) => panic!("not a stream"),
        }
    }

    pub fn send(&self, bytes: &[u8]) {
        match &self.link {
            Link::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Link::Tcp(stream, _) => (&*stream).write_all(bytes).unwrap(),
        }
    }

    pub fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0x5A; 12];
        id[..4].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }

    /// A message without credentials.
    pub fn plain(
        &mut self,
        method: Method,
        class: Class,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut buffer = vec![0; 66_000];
        let kind = MessageType::new(method, class);
        let mut writer = Writer::new(&mut buffer, kind, self.transaction());
        fill(&mut writer);
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        buffer
    }

    /// A request with the credentials and the nonce as they are.
    pub fn signed(&mut self, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let (user, realm) = (self.user.clone(), self.realm.clone());
        let nonce = self.nonce.clone();
        let key = Key::long_term(
            PasswordAlgorithm::Md5,
            user.as_bytes(),
            &realm,
            self.password.as_bytes(),
        );
        self.plain(method, Class::Request, |writer| {
            fill(writer);
            writer
                .attribute(AttributeType::USERNAME, user.as_bytes())
                .attribute(AttributeType::REALM, realm.as_bytes())
                .attribute(AttributeType::NONCE, &nonce)
                .integrity(Mac::Sha1, &key);
        })
    }

    /// What comes next, or `None` in time.
    pub fn receive_within(&mut self, time: Duration) -> Option<Incoming> {
        let end = Instant::now() + time;
        match &mut self.link {
            Link::Udp(socket) => {
                socket.set_read_timeout(Some(time)).unwrap();
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer).ok()?;
                Some(read(&buffer[..length]))
            }
            Link::Tcp(stream, buffer) => loop {
                match next_frame(buffer) {
                    Framing::Complete { length, consumed } => {
                        let incoming = read(&buffer[..length]);
                        buffer.drain(..consumed);
                        return Some(incoming);
                    }
                    Framing::Partial { .. } => {}
                    Framing::Invalid => panic!("the server sent {buffer:x?}"),
                }
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                stream.set_read_timeout(Some(left)).unwrap();
                let mut more = [0; 65_536];
                match stream.read(&mut more) {
                    Ok(0) => return Some(Incoming::End),
                    Ok(length) => buffer.extend_from_slice(&more[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                        return Some(Incoming::End);
                    }
                    Err(error) => panic!("{error}"),
                }
            },
        }
    }

    pub fn receive(&mut self) -> Incoming {
        self.receive_within(PATIENCE).expect("something to come")
    }

    pub fn assert_silent(&mut self) {
        assert_eq!(self.receive_within(SILENCE), None);
    }

    /// The response that comes next; data that comes before is passed over.
    pub fn response(&mut self) -> Response {
        loop {
            match self.receive() {
                Incoming::Response(response) => return response,
                Incoming::End => panic!("the server closed the connection"),
                Incoming::Data(..) | Incoming::Channel(..) | Incoming::Icmp(..) => {}
            }
        }
    }

    pub fn binding(&mut self) -> Response {
        let request = self.plain(Method::BINDING, Class::Request, |_| {});
        self.send(&request);
        let response = self.response();
        assert_eq!(response.transaction.0, request[8..20]);
        assert_eq!(response.method, Method::BINDING);
        response
    }

    /// Sends a signed request and gives its response.
    pub fn request_once(&mut self, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Response {
        let request = self.signed(method, fill);
        self.send(&request);
        let response = self.response();
        assert_eq!(response.transaction.0, request[8..20]);
        response
    }

    /// A request as a client makes it: with the nonce it has, and again with the one it is given.
    pub fn request(&mut self, method: Method, fill: impl Fn(&mut Writer<'_>)) -> Response {
        if self.nonce.is_empty() {
            let first = self.plain(method, Class::Request, &fill);
            self.send(&first);
            let challenge = self.response();
            assert_eq!(challenge.code, Some(401), "{challenge:?}");
            self.realm = challenge.realm.unwrap();
            self.nonce = challenge.nonce.unwrap();
        }
        let response = self.request_once(method, &fill);
        if response.code != Some(438) {
            return response;
        }
        self.nonce = response.nonce.unwrap();
        self.request_once(method, &fill)
    }

    /// Whether it was never challenged.
    pub fn nonce_is_empty(&self) -> bool {
        self.nonce.is_empty()
    }

    pub fn try_allocate(&mut self, family: Family) -> Response {
        self.request(Method::ALLOCATE, |writer| {
            writer
                .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attribute(
                    AttributeType::REQUESTED_ADDRESS_FAMILY,
                    &[family.code(), 0, 0, 0],
                );
        })
    }

    pub fn allocate_family(&mut self, family: Family) -> SocketAddr {
        let response = self.try_allocate(family);
        assert_eq!(response.code, None, "{response:?}");
        response.relayed.unwrap()
    }

    /// Makes an allocation; its relayed address.
    pub fn allocate(&mut self) -> SocketAddr {
        self.allocate_family(Family::V4)
    }

    pub fn refresh(&mut self, lifetime: u32) -> Response {
        self.request(Method::REFRESH, |writer| {
            writer.number(AttributeType::LIFETIME, lifetime);
        })
    }

    pub fn permit(&mut self, peer: SocketAddr) {
        let response = self.request(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        assert_eq!(response.code, None, "{response:?}");
    }

    pub fn bind_channel(&mut self, channel: u16, peer: SocketAddr) {
        let [high, low] = channel.to_be_bytes();
        let response = self.request(Method::CHANNEL_BIND, |writer| {
            writer
                .attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        assert_eq!(response.code, None, "{response:?}");
    }

    /// A ChannelData frame as this transport wants it.
    pub fn channel_frame(&self, channel: u16, payload: &[u8]) -> Vec<u8> {
        let channel = ChannelNumber::new(channel).unwrap();
        let mut frame = channel_data::header(channel, payload.len())
            .unwrap()
            .to_vec();
        frame.extend_from_slice(payload);
        if self.is_stream() {
            frame.resize(padded(frame.len()), 0);
        }
        frame
    }

    pub fn send_channel(&self, channel: u16, payload: &[u8]) {
        self.send(&self.channel_frame(channel, payload));
    }

    pub fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        let message = self.plain(Method::SEND, Class::Indication, |writer| {
            writer
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
                .attribute(AttributeType::DATA, payload);
        });
        self.send(&message);
    }
}

fn read(bytes: &[u8]) -> Incoming {
    if let Some((channel, range)) = channel_data::parse(bytes) {
        return Incoming::Channel(channel.get(), bytes[range].to_vec());
    }
    let message = Message::parse(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:x?}"));
    let transaction = message.transaction();
    let attribute = |kind| message.attribute(kind);
    let address = |kind| attribute(kind).map(|a| a.xor_address(transaction).unwrap());
    if message.method() == Method::DATA {
        assert_eq!(message.class(), Class::Indication);
        let peer = address(AttributeType::XOR_PEER_ADDRESS).unwrap();
        if let Some(icmp) = attribute(AttributeType::ICMP) {
            return Incoming::Icmp(peer, icmp.value.to_vec());
        }
        return Incoming::Data(peer, attribute(AttributeType::DATA).unwrap().value.to_vec());
    }
    let code = attribute(AttributeType::ERROR_CODE).map(|a| a.error_code().unwrap());
    assert_eq!(message.class() == Class::Error, code.is_some());
    assert_eq!(message.class() == Class::Success, code.is_none());
    Incoming::Response(Response {
        method: message.method(),
        transaction,
        code,
        mapped: address(AttributeType::XOR_MAPPED_ADDRESS),
        relayed: address(AttributeType::XOR_RELAYED_ADDRESS),
        lifetime: attribute(AttributeType::LIFETIME).map(|a| a.lifetime().unwrap()),
        ticket: attribute(AttributeType::MOBILITY_TICKET).map(|a| a.value.to_vec()),
        nonce: attribute(AttributeType::NONCE).map(|a| a.value.to_vec()),
        realm: attribute(AttributeType::REALM)
            .map(|a| String::from_utf8(a.value.to_vec()).unwrap()),
        attributes: message.attributes().map(|a| a.kind).collect(),
    })
}
