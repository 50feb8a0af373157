//! Writing messages into a slice the caller owns.

use super::attribute::{AttributeType, Family};
use super::classic::ClassicId;
use super::header::{HEADER_LENGTH, MAGIC_COOKIE, MessageType, TransactionId};
use super::integrity::{Key, Mac};
use super::{ErrorCode, address, fingerprint, padded};
use std::net::SocketAddr;

/// The message did not fit into the slice, or into the 65535 bytes STUN can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit the buffer")]
pub struct BufferTooSmall;

/// Writes one message, attribute by attribute.
///
/// What does not fit is remembered and reported once by [`Writer::finish`], so that the calls in between chain.
/// Padding is always zero (RFC 8489 §14).
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    overflow: bool,
}

impl<'b> Writer<'b> {
    /// Starts a message.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], kind: MessageType, transaction: TransactionId) -> Self {
        let mut writer = Writer::headed(buffer, kind);
        writer.put(&MAGIC_COOKIE.to_be_bytes());
        writer.put(&transaction.0);
        writer
    }

    /// Starts an answer to a request of RFC 3489, whose id stands in the place of the magic cookie too.
    #[must_use]
    pub fn classic(buffer: &'b mut [u8], kind: MessageType, id: ClassicId) -> Self {
        let mut writer = Writer::headed(buffer, kind);
        writer.put(&id.0);
        writer
    }

    fn headed(buffer: &'b mut [u8], kind: MessageType) -> Self {
        let mut writer = Writer {
            buffer,
            length: 0,
            overflow: false,
        };
        writer.put(&kind.to_bits().to_be_bytes());
        writer.put(&[0, 0]);
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.buffer.get_mut(self.length..end) {
            Some(room) if !self.overflow => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.overflow = true,
        }
    }

    /// Writes the header's length field: the bytes behind the header so far, and `coming` more.
    fn set_length(&mut self, coming: usize) {
        let length = (self.length + coming).saturating_sub(HEADER_LENGTH);
        match (u16::try_from(length), self.buffer.get_mut(2..4)) {
            (Ok(length), Some(field)) => field.copy_from_slice(&length.to_be_bytes()),
            _ => self.overflow = true,
        }
    }

    /// Appends an attribute with any value.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let Ok(length) = u16::try_from(value.len()) else {
            self.overflow = true;
            return self;
        };
        self.put(&kind.0.to_be_bytes());
        self.put(&length.to_be_bytes());
        self.put(value);
        let padding = padded(value.len()) - value.len();
        self.put([0; 3].get(..padding).unwrap_or_default());
        self.set_length(0);
        self
    }

    /// Appends an attribute whose value is a 32-bit number, for example LIFETIME.
    pub fn number(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an address as it is.
    pub fn address(&mut self, kind: AttributeType, value: SocketAddr) -> &mut Self {
        self.attribute(kind, address::encode(value).as_bytes())
    }

    /// Appends an address XOR-ed with this message's transaction id.
    pub fn xor_address(&mut self, kind: AttributeType, value: SocketAddr) -> &mut Self {
        let transaction = self.transaction();
        self.attribute(kind, address::encode_xor(value, transaction).as_bytes())
    }

    fn transaction(&self) -> TransactionId {
        let bytes = self.buffer.get(8..HEADER_LENGTH).unwrap_or_default();
        TransactionId(bytes.try_into().unwrap_or_default())
    }

    /// Appends ERROR-CODE. An empty reason keeps an answer to an unproved source small; a long one is cut to
    /// 127 bytes, between two characters.
    pub fn error_code(&mut self, code: ErrorCode, reason: &str) -> &mut Self {
        let code = code.code();
        // Reasons are UTF-8 of fewer than 128 characters (RFC 8489 §14.8); ours are short phrases of ASCII.
        let reason = reason
            .get(..reason.floor_char_boundary(127))
            .unwrap_or_default();
        let mut value = [0; 4 + 127];
        let head = [0, 0, (code / 100) as u8, (code % 100) as u8];
        for (to, from) in value.iter_mut().zip(head.iter().chain(reason.as_bytes())) {
            *to = *from;
        }
        self.attribute(
            AttributeType::ERROR_CODE,
            value.get(..4 + reason.len()).unwrap_or(&value),
        )
    }

    /// Appends ADDRESS-ERROR-CODE (RFC 8656 §18.12): why a family that was wanted as well could not be had.
    pub fn address_error_code(&mut self, family: Family, code: ErrorCode) -> &mut Self {
        let number = code.code();
        let head = [family.code(), 0, (number / 100) as u8, (number % 100) as u8];
        self.attribute(AttributeType::ADDRESS_ERROR_CODE, &head)
    }

    /// Appends UNKNOWN-ATTRIBUTES (RFC 8489 §14.13). More than 128 are cut: so many fit an answer of 548 bytes
    /// together with its integrity, and no client sends as many.
    pub fn unknown_attributes(&mut self, kinds: impl Iterator<Item = AttributeType>) -> &mut Self {
        let mut value = [0; 256];
        let mut length = 0;
        for (slot, kind) in value.chunks_exact_mut(2).zip(kinds) {
            slot.copy_from_slice(&kind.0.to_be_bytes());
            length += 2;
        }
        self.attribute(
            AttributeType::UNKNOWN_ATTRIBUTES,
            value.get(..length).unwrap_or(&value),
        )
    }

    /// Appends MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 over everything so far.
    pub fn integrity(&mut self, mac: Mac, key: &Key) -> &mut Self {
        let covered = self.buffer.get(..self.length).unwrap_or_default();
        let value = key.mac(mac, covered);
        let kind = match mac {
            Mac::Sha1 => AttributeType::MESSAGE_INTEGRITY,
            Mac::Sha256 => AttributeType::MESSAGE_INTEGRITY_SHA256,
        };
        self.attribute(kind, value.get(..mac.length()).unwrap_or(&value))
    }

    /// Appends FINGERPRINT; nothing may follow it.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(8);
        let value = fingerprint::of(self.buffer.get(..self.length).unwrap_or_default());
        self.number(AttributeType::FINGERPRINT, value)
    }

    /// Appends the head of a DATA attribute whose value, `length` bytes and their padding, the caller sends behind
    /// this message. Nothing may follow it.
    pub fn data_head(&mut self, length: usize) -> &mut Self {
        match u16::try_from(length) {
            Ok(length) => {
                self.put(&AttributeType::DATA.0.to_be_bytes());
                self.put(&length.to_be_bytes());
            }
            Err(_) => self.overflow = true,
        }
        self.set_length(padded(length));
        self
    }

    /// The length of the message in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`] when anything did not fit.
    pub fn finish(&self) -> Result<usize, BufferTooSmall> {
        if self.overflow {
            Err(BufferTooSmall)
        } else {
            Ok(self.length)
        }
    }
}
