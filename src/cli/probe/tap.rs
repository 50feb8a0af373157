//! Listens in between the client library and the server.
//!
//! The `turn` crate keeps most of what the server says to itself: error codes become text, lifetimes stay private, the
//! integrity of answers is not looked at. [`Tap`] is the connection handed to the crate; it passes messages on and
//! writes into its [`Log`] what the probe has to know. It never changes what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_ERROR_CODE, ATTR_FINGERPRINT, ATTR_LIFETIME, ATTR_REALM, ATTR_SOFTWARE, AttrType,
};
use stun::error_code::ErrorCodeAttribute;
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter,
    METHOD_BINDING, Message, Method,
};
use tokio::sync::watch;
use webrtc_util::Conn;

use super::credentials::Credential;
use super::link::{Link, LinkError};
use crate::wire;

/// A link with an ear on it.
#[derive(Debug)]
pub struct Tap {
    link: Link,
    server: SocketAddr,
    credential: Option<Credential>,
    log: watch::Sender<Log>,
}

/// What a server has said over one link so far.
#[derive(Debug, Default)]
pub struct Log {
    /// Whether any byte came.
    pub heard: bool,
    /// SOFTWARE, of the last message that had one.
    pub software: Option<String>,
    /// REALM, of the last message that had one.
    pub realm: Option<String>,
    /// Why there is no point in waiting any longer.
    pub fault: Option<Fault>,
    /// The transaction of the last request of each method; answers to earlier ones come too late to matter.
    asked: Vec<(Method, TransactionId)>,
    answers: Vec<(Method, Answer)>,
}

/// The last answer to a method.
#[derive(Clone, Debug)]
pub struct Answer {
    /// ERROR-CODE and its reason phrase, when the request was refused.
    pub error: Option<(u16, String)>,
    /// LIFETIME, in whole seconds.
    pub lifetime: Option<Duration>,
}

/// What ends a conversation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The port is closed: an ICMP message or a TCP reset said so.
    #[error("nothing listens there: connection refused")]
    Refused,
    /// Another failure of the link.
    #[error("{0}")]
    Link(Arc<LinkError>),
    /// A success answer without a valid MESSAGE-INTEGRITY (RFC 8489 §9.2.5).
    #[error(
        "an answer has no valid MESSAGE-INTEGRITY: it is not from a server that knows the password"
    )]
    Integrity,
    /// FINGERPRINT is there and wrong (RFC 8489 §14.7).
    #[error("an answer has a wrong FINGERPRINT: something on the way changes messages")]
    Fingerprint,
}

impl Log {
    /// The last answer to `method`.
    #[must_use]
    pub fn answer(&self, method: Method) -> Option<&Answer> {
        self.answers
            .iter()
            .find(|(of, _)| *of == method)
            .map(|(_, answer)| answer)
    }
}

impl Tap {
    /// Listens in on `link`. The credential is what answers are checked with.
    #[must_use]
    pub fn new(link: Link, server: SocketAddr, credential: Option<Credential>) -> Tap {
        Tap {
            link,
            server,
            credential,
            log: watch::Sender::default(),
        }
    }

    /// The link underneath.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What was heard so far. The guard must not be held across an await.
    #[must_use]
    pub fn log(&self) -> watch::Ref<'_, Log> {
        self.log.borrow()
    }

    /// Waits until there is an answer to `method`.
    pub async fn answered(&self, method: Method) {
        self.wait_for(|log| log.answer(method).is_some()).await;
    }

    /// Waits until the conversation is over, and says why.
    pub async fn faulted(&self) -> Fault {
        self.wait_for(|log| log.fault.is_some()).await;
        let fault = self.log.borrow().fault.clone();
        fault.unwrap_or_else(|| Fault::Link(Arc::new(LinkError::Closed)))
    }

    /// Forgets the answer to `method`, so that the next one can be waited for.
    pub fn forget(&self, method: Method) {
        self.log
            .send_modify(|log| log.answers.retain(|(of, _)| *of != method));
    }

    async fn wait_for(&self, condition: impl FnMut(&Log) -> bool) {
        // The sender lives in self, so this can only end by the condition.
        let _ = self.log.subscribe().wait_for(condition).await.is_ok();
    }

    fn fault(&self, fault: Fault) {
        self.log.send_modify(|log| {
            log.fault.get_or_insert(fault);
        });
    }

    fn link_fault(&self, error: LinkError) {
        if matches!(error, LinkError::NotStun | LinkError::CutShort) {
            self.log.send_modify(|log| log.heard = true);
        }
        self.fault(match error {
            LinkError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Fault::Refused
            }
            error => Fault::Link(Arc::new(error)),
        });
    }

    /// Takes down what `frame` says. False when the client library must not see it: its read loop ends at the first
    /// message it cannot use.
    fn admit(&self, frame: &mut [u8]) -> bool {
        self.log.send_if_modified(|log| {
            let first = !log.heard;
            log.heard = true;
            first
        });
        if wire::channel_data::parse(frame).is_some() {
            return true;
        }
        // Two parsers have to agree, so that neither is trusted with bytes the other refuses.
        if wire::Message::parse(frame).is_err() {
            return false;
        }
        let mut message = Message::new();
        message.raw = frame.to_vec();
        if message.decode().is_err() {
            return false;
        }
        if message.contains(ATTR_FINGERPRINT) && FINGERPRINT.check(&message).is_err() {
            self.fault(Fault::Fingerprint);
            return false;
        }
        match message.typ.class {
            CLASS_REQUEST => return false,
            CLASS_INDICATION => return true,
            _ => {}
        }
        if message.typ.class == CLASS_SUCCESS_RESPONSE
            && message.typ.method != METHOD_BINDING
            && !self.has_integrity(&mut message)
        {
            self.fault(Fault::Integrity);
            return false;
        }
        self.take_down(&message);
        if message.typ.class == CLASS_ERROR_RESPONSE {
            make_reason_printable(&message, frame);
        }
        true
    }

    /// Notes the transaction of a request on its way out.
    fn note_request(&self, frame: &[u8]) {
        if !stun::message::is_message(frame) {
            return;
        }
        let mut message = Message::new();
        message.raw = frame.to_vec();
        if message.decode().is_ok() && message.typ.class == CLASS_REQUEST {
            let asked = (message.typ.method, message.transaction_id);
            self.log.send_if_modified(|log| {
                log.asked.retain(|(method, _)| *method != asked.0);
                log.asked.push(asked);
                false
            });
        }
    }

    /// A server that never asked for credentials cannot sign; that it relays at all is found out elsewhere.
    fn has_integrity(&self, message: &mut Message) -> bool {
        let key = {
            let log = self.log.borrow();
            let (Some(credential), Some(realm)) = (&self.credential, &log.realm) else {
                return true;
            };
            MessageIntegrity::new_long_term_integrity(
                credential.username.clone(),
                realm.clone(),
                credential.password.clone(),
            )
        };
        key.check(message).is_ok()
    }

    fn take_down(&self, message: &Message) {
        let text = |attribute: AttrType| {
            let value = message.get(attribute).ok()?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let error = (message.typ.class == CLASS_ERROR_RESPONSE).then(|| {
            let mut code = ErrorCodeAttribute::default();
            match code.get_from(message) {
                Ok(()) => (
                    code.code.0,
                    String::from_utf8_lossy(&code.reason).into_owned(),
                ),
                Err(_) => (0, "an error without ERROR-CODE".to_owned()),
            }
        });
        let lifetime = message.get(ATTR_LIFETIME).ok().and_then(|value| {
            let seconds = u32::from_be_bytes(value.try_into().ok()?);
            Some(Duration::from_secs(seconds.into()))
        });
        let method = message.typ.method;
        self.log.send_modify(|log| {
            log.software = text(ATTR_SOFTWARE).or_else(|| log.software.take());
            log.realm = text(ATTR_REALM).or_else(|| log.realm.take());
            if log.asked.contains(&(method, message.transaction_id)) {
                log.answers.retain(|(of, _)| *of != method);
                log.answers.push((method, Answer { error, lifetime }));
            }
        });
    }
}

/// The client library panics when it formats a reason phrase that is not UTF-8. It does not look at integrity, so the
/// phrase can be changed behind its back.
fn make_reason_printable(message: &Message, frame: &mut [u8]) {
    let mut start = wire::header::HEADER_LENGTH;
    for attribute in &message.attributes.0 {
        let length = usize::from(attribute.length);
        let value = start + 4;
        if attribute.typ == ATTR_ERROR_CODE {
            let reason = frame.get_mut(value + 4..value + length);
            for byte in reason.into_iter().flatten().filter(|b| !b.is_ascii()) {
                *byte = b'?';
            }
        }
        start = value + wire::padded(length);
    }
}

#[async_trait]
impl Conn for Tap {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }

    async fn recv(&self, into: &mut [u8]) -> webrtc_util::Result<usize> {
        loop {
            match self.link.receive(into).await {
                Ok(length) => {
                    if into
                        .get_mut(..length)
                        .is_some_and(|frame| self.admit(frame))
                    {
                        return Ok(length);
                    }
                }
                Err(error) => {
                    self.link_fault(error);
                    // An error would make the STUN client spin; whoever waits learns of it from the log.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn recv_from(&self, into: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok((self.recv(into).await?, self.server))
    }

    async fn send(&self, message: &[u8]) -> webrtc_util::Result<usize> {
        self.note_request(message);
        match self.link.send(message).await {
            Ok(()) => Ok(message.len()),
            Err(error) => {
                let told = webrtc_util::Error::Other(error.to_string());
                self.link_fault(LinkError::Io(error));
                Err(told)
            }
        }
    }

    async fn send_to(&self, message: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(message).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        // Only the address family is used, to resolve the server's literal address.
        Ok(match self.server {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        })
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.server)
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
