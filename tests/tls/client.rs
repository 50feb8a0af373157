//! A client over any byte stream. Its messages are made and read by the `stun` and `turn` crates.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use stun::agent::TransactionId;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::integrity::MessageIntegrity;
use stun::message::{
    BINDING_REQUEST, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter as _, METHOD_ALLOCATE,
    METHOD_CHANNEL_BIND, Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::relayaddr::RelayedAddress;
use turn::proto::reqtrans::RequestedTransport;
use turn::proto::{PROTO_UDP, Protocol};

pub type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

pub struct Client<S> {
    pub stream: S,
}

/// Speaks TLS on a connection, to a server of this name. The handshake happens with the first bytes.
pub fn tls(stream: TcpStream, config: ClientConfig, name: &str) -> TlsClient {
    let name = name.to_owned().try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Client {
        stream: StreamOwned::new(connection, stream),
    }
}

pub fn binding() -> Message {
    let mut message = Message::new();
    let id: Box<dyn Setter> = Box::new(TransactionId::new());
    message.build(&[id, Box::new(BINDING_REQUEST)]).unwrap();
    message
}

/// The address in a Binding success.
pub fn mapped(answer: &Message) -> SocketAddr {
    assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(answer).unwrap();
    SocketAddr::new(mapped.ip, mapped.port)
}

pub fn decode(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message.raw = bytes.to_vec();
    message.decode().unwrap();
    message
}

/// A request as `alice`; without a nonce it is the first one, without credentials.
pub fn request(
    method: Method,
    attributes: Vec<Box<dyn Setter>>,
    nonce: Option<&TextAttribute>,
) -> Message {
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(method, CLASS_REQUEST)),
    ];
    setters.extend(attributes);
    if let Some(nonce) = nonce {
        let (user, realm, password) = ("alice", "example.org", "wonderland");
        setters.push(Box::new(TextAttribute::new(ATTR_USERNAME, user.into())));
        setters.push(Box::new(TextAttribute::new(ATTR_REALM, realm.into())));
        setters.push(Box::new(nonce.clone()));
        setters.push(Box::new(MessageIntegrity::new_long_term_integrity(
            user.into(),
            realm.into(),
            password.into(),
        )));
    }
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message
}

pub fn nonce(answer: &Message) -> TextAttribute {
    TextAttribute::get_from_as(answer, ATTR_NONCE).unwrap()
}

pub fn allocate(nonce: Option<&TextAttribute>) -> Message {
    let protocol: Protocol = PROTO_UDP;
    request(
        METHOD_ALLOCATE,
        vec![Box::new(RequestedTransport { protocol })],
        nonce,
    )
}

pub fn relayed(answer: &Message) -> SocketAddr {
    assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
    let mut relayed = RelayedAddress::default();
    relayed.get_from(answer).unwrap();
    SocketAddr::new(relayed.ip, relayed.port)
}

pub fn bind(number: u16, peer: SocketAddr, nonce: &TextAttribute) -> Message {
    let (ip, port) = (peer.ip(), peer.port());
    request(
        METHOD_CHANNEL_BIND,
        vec![
            Box::new(ChannelNumber(number)),
            Box::new(PeerAddress { ip, port }),
        ],
        Some(nonce),
    )
}

/// ChannelData with its padding, as it stands in a stream.
pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().next_multiple_of(4), 0);
    frame
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next frame, of either kind, with its padding.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        self.stream.read_exact(&mut frame).unwrap();
        let length = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
        let rest = match frame[0] {
            0..=3 => 16 + length,
            _ => length.next_multiple_of(4),
        };
        frame.resize(4 + rest, 0);
        self.stream.read_exact(&mut frame[4..]).unwrap();
        frame
    }

    pub fn ask(&mut self, request: &Message) -> Message {
        self.send(&request.raw);
        let answer = decode(&self.frame());
        assert_eq!(answer.transaction_id, request.transaction_id);
        answer
    }

    pub fn binding(&mut self) -> SocketAddr {
        mapped(&self.ask(&binding()))
    }

    /// The relayed address of a new allocation, and the nonce for what follows.
    pub fn allocate(&mut self) -> (SocketAddr, TextAttribute) {
        let nonce = nonce(&self.ask(&allocate(None)));
        let answer = self.ask(&allocate(Some(&nonce)));
        (relayed(&answer), nonce)
    }

    pub fn bind(&mut self, number: u16, peer: SocketAddr, nonce: &TextAttribute) {
        let answer = self.ask(&bind(number, peer, nonce));
        assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
    }
}

/// Whether the server closes a connection, whatever it says before.
pub fn is_closed(stream: &mut impl Read) -> bool {
    let mut sink = [0; 1024];
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                );
            }
        }
    }
}
