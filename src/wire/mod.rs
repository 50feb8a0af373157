//! Bytes to values and back: STUN messages (RFC 8489, 8656), ChannelData, the framing of both on a stream, and the
//! PROXY protocol's header.
//!
//! This room does no I/O, reads no clock and keeps no state. Reading is zero-copy: a [`Message`] is a view of the
//! datagram it was parsed from, and writing goes into a slice the caller owns through a [`Writer`]. Neither
//! touches the heap. Nothing here decides what a message means; that is the engine's work.
//!
//! The two main types are [`Message`] and [`Writer`]; [`Key`] checks and makes their integrity.

#![deny(clippy::indexing_slicing)]

pub mod address;
pub mod attribute;
pub mod channel_data;
pub mod classic;
pub mod client_hello;
pub mod error_code;
pub mod fingerprint;
pub mod header;
pub mod integrity;
pub mod message;
pub mod proxy_protocol;
pub mod stream;
pub mod strings;
pub mod writer;

pub use attribute::{Attribute, AttributeType};
pub use channel_data::{ChannelNumber, ChannelRange};
pub use classic::{ClassicId, ClassicRequest};
pub use error_code::ErrorCode;
pub use header::{Class, MAGIC_COOKIE, MessageType, Method, TransactionId};
pub use integrity::{Authenticated, Key, Mac, PasswordAlgorithm};
pub use message::{Message, ParseError};
pub use writer::{BufferTooSmall, Writer};

/// Rounds a length up to the next multiple of four, the alignment of everything in STUN (RFC 8489 §14).
#[must_use]
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}
