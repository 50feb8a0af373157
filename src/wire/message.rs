//! A zero-copy view of one STUN message.

use super::attribute::{Attribute, AttributeType};
use super::header::{Class, HEADER_LENGTH, MAGIC_COOKIE, MessageType, Method, TransactionId};
use super::integrity::{Authenticated, Key, Mac};
use super::{fingerprint, padded};

/// Why bytes are not a message to act on. All of these are silently discarded on a datagram transport
/// (RFC 8489 §6.3) and end the connection on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    /// Under 20 bytes.
    #[error("shorter than a STUN header")]
    TooShort,
    /// The two top bits are not zero.
    #[error("the two top bits are not zero")]
    NotStun,
    /// Bytes 4 to 8 are not the magic cookie.
    #[error("no magic cookie")]
    NoCookie,
    /// The length field is not a multiple of four or not what follows the header.
    #[error("the length field does not fit the message")]
    BadLength,
    /// An attribute runs past the end of the message.
    #[error("an attribute runs past the end")]
    AttributePastEnd,
    /// MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 has a length that is not allowed.
    #[error("an integrity attribute of a wrong length")]
    BadIntegrityLength,
    /// FINGERPRINT is not the last attribute, is not 4 bytes long, or is wrong.
    #[error("a wrong or misplaced FINGERPRINT")]
    BadFingerprint,
}

/// A well-formed STUN message: header and attributes checked, FINGERPRINT verified where present.
///
/// Only the attributes that count are visible: those before the first of MESSAGE-INTEGRITY,
/// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT. What stands behind an integrity attribute does not exist
/// (RFC 8489 §14.5), whoever appended it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    kind: MessageType,
    transaction: TransactionId,
    /// Where the visible attributes end.
    visible: usize,
    sha1: Option<Integrity<'a>>,
    sha256: Option<Integrity<'a>>,
    has_fingerprint: bool,
}

#[derive(Clone, Copy, Debug)]
struct Integrity<'a> {
    /// Where the attribute starts; the MAC covers what is before it.
    start: usize,
    value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Parses exactly one message that fills `bytes`; trailing bytes make it invalid.
    ///
    /// # Errors
    /// A [`ParseError`] that says what is wrong; see there for what follows from it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = bytes
            .split_first_chunk::<HEADER_LENGTH>()
            .ok_or(ParseError::TooShort)?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
        let kind =
            MessageType::from_bits(u16::from_be_bytes([t0, t1])).ok_or(ParseError::NotStun)?;
        if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(ParseError::NoCookie);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length % 4 != 0 || length != body.len() {
            return Err(ParseError::BadLength);
        }

        let mut message = Message {
            bytes,
            kind,
            transaction: TransactionId(transaction),
            visible: bytes.len(),
            sha1: None,
            sha256: None,
            has_fingerprint: false,
        };
        let mut attributes = Attributes::behind_header(bytes);
        while let Some(attribute) = attributes.next_checked()? {
            let start = attribute.offset - 4;
            let integrity = Integrity {
                start,
                value: attribute.value,
            };
            match attribute.kind {
                // Behind MESSAGE-INTEGRITY-SHA256 only FINGERPRINT counts, so a SHA-1 there is not seen.
                AttributeType::MESSAGE_INTEGRITY
                    if message.sha1.is_none() && message.sha256.is_none() =>
                {
                    if attribute.value.len() != 20 {
                        return Err(ParseError::BadIntegrityLength);
                    }
                    message.sha1 = Some(integrity);
                }
                AttributeType::MESSAGE_INTEGRITY_SHA256 if message.sha256.is_none() => {
                    let length = attribute.value.len();
                    if !(16..=32).contains(&length) || length % 4 != 0 {
                        return Err(ParseError::BadIntegrityLength);
                    }
                    message.sha256 = Some(integrity);
                }
                AttributeType::FINGERPRINT => {
                    let covered = bytes.get(..start).unwrap_or_default();
                    let is_last = attributes.position == bytes.len();
                    if !is_last || attribute.value != fingerprint::of(covered).to_be_bytes() {
                        return Err(ParseError::BadFingerprint);
                    }
                    message.has_fingerprint = true;
                }
                _ => continue,
            }
            message.visible = message.visible.min(start);
        }
        Ok(message)
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.kind.method
    }

    /// The class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.kind.class
    }

    /// The transaction id.
    #[must_use]
    pub const fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// Whether the message carries a FINGERPRINT (a right one, or it would not have parsed).
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// The attributes that count, in order, repetitions included.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::behind_header(self.bytes.get(..self.visible).unwrap_or_default())
    }

    /// The first attribute of a type; repetitions do not count (RFC 8489 §14).
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// Which integrity attribute has to be verified: MESSAGE-INTEGRITY-SHA256 where it is present, and then
    /// MESSAGE-INTEGRITY does not matter (RFC 8489 §9.2.4). `None` when the message carries neither.
    #[must_use]
    pub const fn mac(&self) -> Option<Mac> {
        match (self.sha256, self.sha1) {
            (Some(_), _) => Some(Mac::Sha256),
            (None, Some(_)) => Some(Mac::Sha1),
            (None, None) => None,
        }
    }

    /// Checks the integrity attribute that [`Message::mac`] names, in constant time.
    ///
    /// A truncated MESSAGE-INTEGRITY-SHA256 never passes: TURN does not allow truncation (RFC 8489 §14.6).
    #[must_use]
    pub fn authenticate(&self, key: &Key) -> Option<Authenticated<'a>> {
        let mac = self.mac()?;
        let integrity = match mac {
            Mac::Sha1 => self.sha1?,
            Mac::Sha256 => self.sha256?,
        };
        let covered = self.bytes.get(..integrity.start)?;
        key.verifies(mac, covered, integrity.value)
            .then_some(Authenticated::new(*self, mac))
    }
}

/// Iterates over attributes; a well-formed message's end is reached without an error.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Attributes<'a> {
    pub(super) const fn behind_header(bytes: &'a [u8]) -> Self {
        Attributes {
            bytes,
            position: HEADER_LENGTH,
        }
    }

    pub(super) fn next_checked(&mut self) -> Result<Option<Attribute<'a>>, ParseError> {
        let Some(rest) = self
            .bytes
            .get(self.position..)
            .filter(|rest| !rest.is_empty())
        else {
            return Ok(None);
        };
        let (&[t0, t1, l0, l1], rest) = rest
            .split_first_chunk::<4>()
            .ok_or(ParseError::AttributePastEnd)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if rest.len() < padded(length) {
            return Err(ParseError::AttributePastEnd);
        }
        let offset = self.position + 4;
        self.position = offset + padded(length);
        Ok(Some(Attribute {
            kind: AttributeType(u16::from_be_bytes([t0, t1])),
            value: rest.get(..length).ok_or(ParseError::AttributePastEnd)?,
            offset,
        }))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        self.next_checked().ok().flatten()
    }
}
