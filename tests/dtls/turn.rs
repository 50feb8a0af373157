//! What a TURN client says, by another hand than hairpin's own.

use crate::rig::Client;
use std::net::SocketAddr;
use stun::agent::TransactionId;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::error_code::{CODE_UNAUTHORIZED, ErrorCodeAttribute};
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE,
    METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, METHOD_SEND,
    Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::proto::channum::ChannelNumber;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::relayaddr::RelayedAddress;
use turn::proto::reqtrans::RequestedTransport;

pub const CHANNEL: u16 = 0x4001;

pub fn message(kind: MessageType, attributes: Vec<Box<dyn Setter>>) -> Vec<u8> {
    let mut message = Message::new();
    let mut setters: Vec<Box<dyn Setter>> = vec![Box::new(TransactionId::new()), Box::new(kind)];
    setters.extend(attributes);
    message.build(&setters).unwrap();
    message.raw
}

pub fn request(method: Method, attributes: Vec<Box<dyn Setter>>) -> Vec<u8> {
    message(MessageType::new(method, CLASS_REQUEST), attributes)
}

pub fn read(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message.raw = bytes.to_vec();
    message.decode().unwrap();
    message
}

/// The address a Binding request seems to come from.
pub fn binding(client: &mut Client) -> SocketAddr {
    let answer = read(&client.ask(&request(METHOD_BINDING, Vec::new())));
    assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE);
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&answer).unwrap();
    SocketAddr::new(mapped.ip, mapped.port)
}

/// A TURN client with an allocation.
pub struct Turn<'a> {
    pub client: &'a mut Client,
    pub relayed: SocketAddr,
    nonce: TextAttribute,
}

fn peer(peer: SocketAddr) -> Box<dyn Setter> {
    Box::new(PeerAddress {
        ip: peer.ip(),
        port: peer.port(),
    })
}

impl<'a> Turn<'a> {
    pub fn allocate(client: &'a mut Client) -> Turn<'a> {
        let udp = || -> Box<dyn Setter> {
            Box::new(RequestedTransport {
                protocol: turn::proto::PROTO_UDP,
            })
        };
        let challenge = read(&client.ask(&request(METHOD_ALLOCATE, vec![udp()])));
        let mut code = ErrorCodeAttribute::default();
        code.get_from(&challenge).unwrap();
        assert_eq!(code.code.0, CODE_UNAUTHORIZED.0);
        let mut turn = Turn {
            client,
            relayed: "127.0.0.1:0".parse().unwrap(),
            nonce: TextAttribute::get_from_as(&challenge, ATTR_NONCE).unwrap(),
        };
        let answer = turn.ask(METHOD_ALLOCATE, vec![udp()]);
        let mut relayed = RelayedAddress::default();
        relayed.get_from(&answer).unwrap();
        turn.relayed = SocketAddr::new(relayed.ip, relayed.port);
        turn
    }

    /// Sends an authenticated request, which is to succeed.
    pub fn ask(&mut self, method: Method, mut attributes: Vec<Box<dyn Setter>>) -> Message {
        let text = |kind, text: &str| TextAttribute::new(kind, text.into());
        attributes.push(Box::new(text(ATTR_USERNAME, "user")));
        attributes.push(Box::new(text(ATTR_REALM, "realm")));
        attributes.push(Box::new(self.nonce.clone()));
        attributes.push(Box::new(MessageIntegrity::new_long_term_integrity(
            "user".into(),
            "realm".into(),
            "pass".into(),
        )));
        let answer = read(&self.client.ask(&request(method, attributes)));
        assert_eq!(answer.typ.class, CLASS_SUCCESS_RESPONSE, "{answer}");
        answer
    }

    pub fn permit(&mut self, to: SocketAddr) {
        self.ask(METHOD_CREATE_PERMISSION, vec![peer(to)]);
    }

    pub fn bind(&mut self, to: SocketAddr) {
        self.ask(
            METHOD_CHANNEL_BIND,
            vec![Box::new(ChannelNumber(CHANNEL)), peer(to)],
        );
    }

    pub fn refresh(&mut self, seconds: u64) {
        let lifetime = Lifetime(std::time::Duration::from_secs(seconds));
        self.ask(METHOD_REFRESH, vec![Box::new(lifetime)]);
    }

    pub fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        let kind = MessageType::new(METHOD_SEND, CLASS_INDICATION);
        let data = Box::new(Data(payload.to_vec()));
        self.client.send(&message(kind, vec![peer(to), data]));
    }

    /// Sends ChannelData, without padding.
    pub fn send_on_channel(&mut self, payload: &[u8]) {
        self.client.send(&channel_data(payload));
    }
}

pub fn channel_data(payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    [&CHANNEL.to_be_bytes(), &length.to_be_bytes(), payload].concat()
}
