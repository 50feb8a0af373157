//! Binding for clients of RFC 3489 (RFC 8489 §11, RFC 5389 §12.2): off unless the rules say so, over UDP only, and never
//! anything of TURN.
//!
//! Such a message has no magic cookie, so that little tells it from other traffic on the port; that is why it is off.
//! RESPONSE-ADDRESS is never honoured: it would send answers to whomever a stranger names.

use super::counters::DropReason;
use super::requests::{is_understood, may_be_answered};
use super::{ClientPath, Engine, Outcome, Transport};
use crate::wire::{
    AttributeType, Class, ClassicRequest, ErrorCode, MessageType, Method, Writer, attribute,
};

impl Engine {
    /// Takes a message without magic cookie.
    pub(super) fn classic(&self, client: &ClientPath, input: &[u8], reply: &mut [u8]) -> Outcome {
        let tuple = &client.tuple;
        match tuple.transport() {
            Transport::Dtls => return self.refuse_classic(input, reply),
            Transport::Udp if self.rules().classic_binding => {}
            _ => return self.drop(DropReason::Malformed),
        }
        let Ok(request) = ClassicRequest::parse(input) else {
            return self.drop(DropReason::Malformed);
        };
        self.counters.request(Method::BINDING);
        if !may_be_answered(tuple.client()) {
            return self.drop(DropReason::BadSource);
        }
        let unknown = || {
            request
                .attributes()
                .filter(|attribute| !is_understood(attribute.kind) && !asks_nothing(attribute))
                .map(|attribute| attribute.kind)
        };
        let is_refused = unknown().next().is_some();
        let class = if is_refused {
            Class::Error
        } else {
            Class::Success
        };
        let kind = MessageType::new(Method::BINDING, class);
        let mut writer = Writer::classic(reply, kind, request.id());
        if is_refused {
            // An odd list repeats one of its types to be aligned (RFC 3489 §11.2.10).
            let even = unknown().count() % 2 == 0;
            let repeated = unknown().last().filter(|_| !even);
            writer
                .error_code(ErrorCode::UnknownAttribute, "")
                .unknown_attributes(unknown().chain(repeated));
        } else {
            writer.address(AttributeType::MAPPED_ADDRESS, tuple.client());
        }
        match writer.finish() {
            Ok(length) => {
                if is_refused {
                    self.counters
                        .error(Method::BINDING, ErrorCode::UnknownAttribute);
                } else {
                    self.counters.success(Method::BINDING);
                }
                Outcome::Reply(length)
            }
            Err(_) => self.drop(DropReason::TooLarge),
        }
    }
}

impl Engine {
    /// There is no STUN of RFC 3489 over DTLS, and requests are told so with 500 (RFC 8489 §11).
    fn refuse_classic(&self, input: &[u8], reply: &mut [u8]) -> Outcome {
        let Ok(request) = ClassicRequest::parse(input) else {
            return self.drop(DropReason::Malformed);
        };
        let kind = MessageType::new(Method::BINDING, Class::Error);
        let mut writer = Writer::classic(reply, kind, request.id());
        writer.error_code(ErrorCode::ServerError, "");
        match writer.finish() {
            Ok(length) => {
                self.counters.request(Method::BINDING);
                self.counters.error(Method::BINDING, ErrorCode::ServerError);
                Outcome::Reply(length)
            }
            Err(_) => self.drop(DropReason::TooLarge),
        }
    }
}

/// A CHANGE-REQUEST that asks for no change; some clients send it with every request.
fn asks_nothing(attribute: &attribute::Attribute<'_>) -> bool {
    attribute.kind == AttributeType::CHANGE_REQUEST && attribute.value == [0; 4]
}
