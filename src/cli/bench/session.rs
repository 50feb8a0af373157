//! A TURN client as lean as a load needs it: it writes requests and understands answers.
//!
//! It has no socket, no clock and no timers, and does only what brings up an allocation with its permissions and
//! channels, with the long-term credential, MD5 and HMAC-SHA1, that every server takes. The main types are [`Session`]
//! and [`Ask`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::cli::probe::credentials::Credential;
use crate::wire::{
    AttributeType, ChannelNumber, Class, Key, Mac, Message, MessageType, Method, PasswordAlgorithm,
    TransactionId, Writer,
};

/// Room for the longest request.
pub const LONGEST_REQUEST: usize = 2048;

/// How long allocations are asked to live, in seconds: longer than any load lasts.
const LIFETIME: u32 = 1800;

/// How often one request is answered with a new nonce before that counts as a refusal.
const MAX_CHALLENGES: u8 = 3;

/// UDP, in REQUESTED-TRANSPORT.
const UDP: u32 = 17 << 24;

/// Something a client asks its server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A relayed address.
    Allocate,
    /// A permission for a peer.
    Permit(SocketAddr),
    /// A channel to a peer, which is a permission too.
    Bind(ChannelNumber, SocketAddr),
    /// The end of the allocation.
    Release,
}

impl Ask {
    fn method(self) -> Method {
        match self {
            Ask::Allocate => Method::ALLOCATE,
            Ask::Permit(_) => Method::CREATE_PERMISSION,
            Ask::Bind(..) => Method::CHANNEL_BIND,
            Ask::Release => Method::REFRESH,
        }
    }
}

/// What a message from the server means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not an answer to what was asked.
    Nothing,
    /// There is another request to send, perhaps the same with a new nonce.
    More,
    /// Everything that was asked for is there.
    Done,
    /// The server refused, with an error code.
    Refused(Method, u16),
}

/// One client's state.
#[derive(Clone, Debug)]
pub struct Session {
    credential: Arc<Credential>,
    realm: String,
    nonce: Vec<u8>,
    key: Option<Key>,
    /// Asked for one after the other.
    pub asks: VecDeque<Ask>,
    /// Its relayed address, once it has one.
    pub relayed: Option<SocketAddr>,
    transaction: u128,
    challenges: u8,
}

impl Session {
    /// A client without an allocation, that is going to ask for one. `number` tells its transactions from others'.
    #[must_use]
    pub fn new(credential: Arc<Credential>, number: u64) -> Session {
        Session {
            credential,
            realm: String::new(),
            nonce: Vec::new(),
            key: None,
            asks: VecDeque::from([Ask::Allocate]),
            relayed: None,
            transaction: u128::from(number) << 32,
            challenges: 0,
        }
    }

    /// Writes the request for what is to be had next; its length. The same as before as long as it was not answered, as
    /// a retransmission has to be. `None` when nothing is to be asked for.
    pub fn write(&self, buffer: &mut [u8]) -> Option<usize> {
        let ask = *self.asks.front()?;
        let kind = MessageType::new(ask.method(), Class::Request);
        let mut writer = Writer::new(buffer, kind, self.transaction_id());
        match ask {
            Ask::Allocate => {
                writer
                    .number(AttributeType::REQUESTED_TRANSPORT, UDP)
                    .number(AttributeType::LIFETIME, LIFETIME);
            }
            Ask::Permit(peer) => {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
            Ask::Bind(channel, peer) => {
                let number = u32::from(channel.get()) << 16;
                writer
                    .number(AttributeType::CHANNEL_NUMBER, number)
                    .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
            Ask::Release => {
                writer.number(AttributeType::LIFETIME, 0);
            }
        }
        if let Some(key) = &self.key {
            writer
                .attribute(AttributeType::USERNAME, self.credential.username.as_bytes())
                .attribute(AttributeType::REALM, self.realm.as_bytes())
                .attribute(AttributeType::NONCE, &self.nonce)
                .integrity(Mac::Sha1, key);
        }
        writer.finish().ok()
    }

    fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.transaction.to_be_bytes()[4..]);
        TransactionId(id)
    }

    /// Takes a message from the server.
    pub fn hear(&mut self, bytes: &[u8]) -> Heard {
        let (Ok(message), Some(ask)) = (Message::parse(bytes), self.asks.front().copied()) else {
            return Heard::Nothing;
        };
        if message.transaction() != self.transaction_id() || message.method() != ask.method() {
            return Heard::Nothing;
        }
        let heard = match message.class() {
            Class::Success => self.granted(ask, &message),
            Class::Error => self.denied(ask, &message),
            _ => Heard::Nothing,
        };
        if heard != Heard::Nothing {
            self.transaction += 1;
        }
        heard
    }

    fn granted(&mut self, ask: Ask, message: &Message<'_>) -> Heard {
        match ask {
            Ask::Allocate => {
                let address = message
                    .attribute(AttributeType::XOR_RELAYED_ADDRESS)
                    .and_then(|relayed| relayed.xor_address(message.transaction()).ok());
                let Some(address) = address else {
                    return Heard::Nothing;
                };
                self.relayed = Some(address);
            }
            Ask::Release => self.relayed = None,
            Ask::Permit(_) | Ask::Bind(..) => {}
        }
        self.asks.pop_front();
        self.challenges = 0;
        if self.asks.is_empty() {
            Heard::Done
        } else {
            Heard::More
        }
    }

    fn denied(&mut self, ask: Ask, message: &Message<'_>) -> Heard {
        let code = message
            .attribute(AttributeType::ERROR_CODE)
            .and_then(|code| code.error_code().ok())
            .unwrap_or(0);
        let nonce = message.attribute(AttributeType::NONCE);
        let realm = message
            .attribute(AttributeType::REALM)
            .and_then(|realm| std::str::from_utf8(realm.value).ok());
        let is_first = self.key.is_none() && code == 401;
        let (Some(nonce), true) = (nonce, is_first || code == 438) else {
            return Heard::Refused(ask.method(), code);
        };
        self.challenges += 1;
        if self.challenges > MAX_CHALLENGES {
            return Heard::Refused(ask.method(), code);
        }
        self.nonce = nonce.value.to_vec();
        if let Some(realm) = realm.filter(|realm| self.key.is_none() || *realm != self.realm) {
            realm.clone_into(&mut self.realm);
            self.key = Some(Key::long_term(
                PasswordAlgorithm::Md5,
                self.credential.username.as_bytes(),
                realm,
                self.credential.password.as_bytes(),
            ));
        }
        Heard::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let credential = Credential {
            username: "user".to_owned(),
            password: "pass".to_owned(),
        };
        Session::new(Arc::new(credential), 7)
    }

    fn answer(request: &[u8], class: Class, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let request = Message::parse(request).unwrap();
        let mut buffer = vec![0; 500];
        let kind = MessageType::new(request.method(), class);
        let mut writer = Writer::new(&mut buffer, kind, request.transaction());
        fill(&mut writer);
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        buffer
    }

    fn challenge(request: &[u8], code: crate::wire::ErrorCode, nonce: &[u8]) -> Vec<u8> {
        answer(request, Class::Error, |writer| {
            writer
                .error_code(code, "")
                .attribute(AttributeType::REALM, b"realm")
                .attribute(AttributeType::NONCE, nonce);
        })
    }

    #[test]
    fn an_allocation_is_asked_for_again_with_the_nonce_and_then_held() {
        use crate::wire::ErrorCode;
        let mut session = session();
        let mut buffer = [0; LONGEST_REQUEST];
        let length = session.write(&mut buffer).unwrap();
        assert_eq!(Message::parse(&buffer[..length]).unwrap().mac(), None);
        let refusal = challenge(&buffer[..length], ErrorCode::Unauthenticated, b"nonce");
        assert_eq!(session.hear(&refusal), Heard::More);

        let length = session.write(&mut buffer).unwrap();
        let request = Message::parse(&buffer[..length]).unwrap();
        let key = Key::long_term(PasswordAlgorithm::Md5, b"user", "realm", b"pass");
        assert!(request.authenticate(&key).is_some());
        assert_eq!(session.hear(&refusal), Heard::Nothing, "an old answer");
        let relayed = "192.0.2.1:50000".parse().unwrap();
        let granted = answer(&buffer[..length], Class::Success, |writer| {
            writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed);
        });
        assert_eq!(session.hear(&granted), Heard::Done);
        assert_eq!(session.relayed, Some(relayed));
        assert_eq!(session.write(&mut buffer), None);
    }

    #[test]
    fn a_wrong_password_is_a_refusal_and_not_a_loop() {
        use crate::wire::ErrorCode;
        let mut session = session();
        let mut buffer = [0; LONGEST_REQUEST];
        let length = session.write(&mut buffer).unwrap();
        let refusal = challenge(&buffer[..length], ErrorCode::Unauthenticated, b"one");
        assert_eq!(session.hear(&refusal), Heard::More);
        let length = session.write(&mut buffer).unwrap();
        let refusal = challenge(&buffer[..length], ErrorCode::Unauthenticated, b"two");
        let refused = Heard::Refused(Method::ALLOCATE, 401);
        assert_eq!(session.hear(&refusal), refused);
    }

    #[test]
    fn endless_stale_nonces_are_a_refusal() {
        use crate::wire::ErrorCode;
        let mut session = session();
        let mut buffer = [0; LONGEST_REQUEST];
        let mut heard = Heard::More;
        let mut count = 0;
        while heard == Heard::More {
            let length = session.write(&mut buffer).unwrap();
            let refusal = challenge(&buffer[..length], ErrorCode::StaleNonce, b"stale");
            heard = session.hear(&refusal);
            count += 1;
        }
        assert_eq!(heard, Heard::Refused(Method::ALLOCATE, 438));
        assert!(count < 10);
    }
}
