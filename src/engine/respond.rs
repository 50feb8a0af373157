//! Writing answers.

use super::counters::DropReason;
use super::{Engine, Outcome};
use crate::wire::{
    AttributeType, Authenticated, Class, ErrorCode, Key, Mac, Message, MessageType, Method,
    PasswordAlgorithm, TransactionId, Writer,
};

/// What of a request its answer depends on. It outlives the request's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub method: Method,
    pub transaction: TransactionId,
    fingerprint: bool,
    /// RFC 7982: which transmission of the request this is, if it counts them.
    transmission: Option<u8>,
    /// How to sign, once it is authenticated.
    signature: Option<(Mac, Key)>,
}

impl Asked {
    /// A request that is not authenticated, or not yet.
    pub fn unsigned(message: &Message<'_>) -> Self {
        Asked {
            method: message.method(),
            transaction: message.transaction(),
            fingerprint: message.has_fingerprint(),
            transmission: message
                .attribute(AttributeType::TRANSACTION_TRANSMIT_COUNTER)
                .and_then(|attribute| attribute.transmit_count().ok()),
            signature: None,
        }
    }

    /// An authenticated request. A client that names its password algorithm is one of RFC 8489 and gets
    /// MESSAGE-INTEGRITY-SHA256; to any other it would be unknown, whatever it sent (RFC 8489 §9.2.4).
    ///
    /// One kind of client stands between: it names MD5, as RFC 8489 has it, but signs with SHA-1 alone, which that RFC
    /// does not allow then. `turn-client-proto` does unless told otherwise, and takes no answer but one with SHA-1.
    pub fn signed(message: &Authenticated<'_>, key: Key) -> Self {
        let named = message
            .attribute(AttributeType::PASSWORD_ALGORITHM)
            .map(|attribute| PasswordAlgorithm::from_value(attribute.value));
        let mac = match (named, message.verified_by()) {
            (None, _) | (Some(Some(PasswordAlgorithm::Md5)), Mac::Sha1) => Mac::Sha1,
            (Some(_), _) => Mac::Sha256,
        };
        Asked {
            signature: Some((mac, key)),
            ..Asked::unsigned(message)
        }
    }
}

impl Engine {
    /// Answers with success.
    pub(super) fn succeed(
        &self,
        asked: &Asked,
        reply: &mut [u8],
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Outcome {
        let outcome = self.respond(asked, Class::Success, reply, body);
        if outcome != Outcome::Nothing {
            self.counters.success(asked.method);
        }
        outcome
    }

    /// Answers with an error code.
    pub(super) fn fail(&self, asked: &Asked, code: ErrorCode, reply: &mut [u8]) -> Outcome {
        self.fail_with(asked, code, reply, |_| {})
    }

    /// Answers with an error code and attributes behind it.
    pub(super) fn fail_with(
        &self,
        asked: &Asked,
        code: ErrorCode,
        reply: &mut [u8],
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Outcome {
        // The reason phrase is for people; a source that proved nothing gets the shortest answer instead, so that
        // nothing is gained by sending requests in somebody else's name.
        let reason = if asked.signature.is_some() {
            code.reason()
        } else {
            ""
        };
        let outcome = self.respond(asked, Class::Error, reply, |writer| {
            writer.error_code(code, reason);
            body(writer);
        });
        if outcome != Outcome::Nothing {
            if asked.signature.is_some() {
                self.telling.answered(code);
            }
            self.counters.error(asked.method, code);
        }
        outcome
    }

    fn respond(
        &self,
        asked: &Asked,
        class: Class,
        reply: &mut [u8],
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Outcome {
        let mut writer = Writer::new(
            reply,
            MessageType::new(asked.method, class),
            asked.transaction,
        );
        body(&mut writer);
        if let Some(count) = asked.transmission {
            // No count of our own answers: that would take memory for every request.
            writer.attribute(
                AttributeType::TRANSACTION_TRANSMIT_COUNTER,
                &[0, 0, count, 0],
            );
        }
        if let Some((mac, key)) = &asked.signature {
            let software = &self.rules().software;
            if !software.is_empty() {
                writer.attribute(AttributeType::SOFTWARE, software.as_bytes());
            }
            writer.integrity(*mac, key);
        }
        if asked.fingerprint {
            writer.fingerprint();
        }
        match writer.finish() {
            Ok(length) => Outcome::Reply(length),
            Err(_) => self.drop(DropReason::TooLarge),
        }
    }
}
