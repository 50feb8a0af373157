//! Finding frames in a byte stream: STUN messages and ChannelData back to back (RFC 8489 §6.2.2, 8656 §12.5).
//!
//! There is no resynchronisation: once the start of a frame is not recognisable, the rest of the stream is lost and
//! the connection has to be closed.

use super::channel_data::{self, ChannelRange};
use super::header::{HEADER_LENGTH, MAGIC_COOKIE};
use super::padded;

/// The longest frame of either kind, padding included.
pub const MAX_FRAME: usize = HEADER_LENGTH + 0xFFFC;

/// What the start of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A whole frame.
    Complete {
        /// The bytes of the frame itself, without padding behind ChannelData.
        length: usize,
        /// The bytes to take from the stream.
        consumed: usize,
    },
    /// The frame is not whole yet.
    Partial {
        /// How many bytes the buffer has to hold before it makes sense to ask again.
        needed: usize,
    },
    /// Neither STUN nor ChannelData: the stream cannot go on.
    Invalid,
}

/// Looks at the start of `buffer` with [`next_frame_in`], for the channel numbers of RFC 8656.
#[must_use]
pub fn next_frame(buffer: &[u8]) -> Framing {
    next_frame_in(ChannelRange::Rfc8656, buffer)
}

/// Looks at the start of `buffer`.
#[must_use]
pub fn next_frame_in(channels: ChannelRange, buffer: &[u8]) -> Framing {
    let Some(&first) = buffer.first() else {
        return Framing::Partial {
            needed: channel_data::HEADER_LENGTH,
        };
    };
    let Some(&[_, _, l0, l1]) = buffer.first_chunk::<4>() else {
        // A byte is enough to refuse. Methods above 0x0FF have no meaning today (RFC 7983 §7 leaves STUN only the
        // first bytes 0 to 3), but they are STUN, and a message of an unknown method costs nobody the connection.
        return if first <= 0x3F || channels.has_first_byte(first) {
            Framing::Partial { needed: 4 }
        } else {
            Framing::Invalid
        };
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (length, consumed) = match first {
        0..=0x3F => {
            if length % 4 != 0 {
                return Framing::Invalid;
            }
            let cookie = MAGIC_COOKIE.to_be_bytes();
            let seen = buffer.get(4..buffer.len().min(8)).unwrap_or_default();
            if !cookie.starts_with(seen) {
                return Framing::Invalid;
            }
            (HEADER_LENGTH + length, HEADER_LENGTH + length)
        }
        _ if channels.has_first_byte(first) => {
            let length = channel_data::HEADER_LENGTH + length;
            (length, padded(length))
        }
        _ => return Framing::Invalid,
    };
    if buffer.len() < consumed {
        Framing::Partial { needed: consumed }
    } else {
        Framing::Complete { length, consumed }
    }
}
