//! ChannelData: a 4-byte header and a payload (RFC 8656 §12.4).

use std::ops::Range;

/// The length of the header in bytes.
pub const HEADER_LENGTH: usize = 4;

/// A channel number in the range RFC 8656 §12 allows, 0x4000 to 0x4FFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The lowest number.
    pub const MIN: ChannelNumber = ChannelNumber(0x4000);
    /// The highest number.
    pub const MAX: ChannelNumber = ChannelNumber(0x4FFF);

    /// Checks the range.
    #[must_use]
    pub const fn new(number: u16) -> Option<ChannelNumber> {
        if number >= 0x4000 && number <= 0x4FFF {
            Some(ChannelNumber(number))
        } else {
            None
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Reads a frame: its channel and where its payload lies in `frame`.
///
/// `None` for a number out of range or a frame shorter than it says (RFC 8656 §12.6). Bytes behind the payload are
/// padding and not part of it.
#[must_use]
#[inline]
pub fn parse(frame: &[u8]) -> Option<(ChannelNumber, Range<usize>)> {
    let (&[c0, c1, l0, l1], rest) = frame.split_first_chunk::<HEADER_LENGTH>()?;
    let channel = ChannelNumber::new(u16::from_be_bytes([c0, c1]))?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    (rest.len() >= length).then_some((channel, HEADER_LENGTH..HEADER_LENGTH + length))
}

/// The header in front of a payload; `None` when the payload is over 65535 bytes.
#[must_use]
#[inline]
pub fn header(channel: ChannelNumber, payload_length: usize) -> Option<[u8; HEADER_LENGTH]> {
    let [c0, c1] = channel.0.to_be_bytes();
    let [l0, l1] = u16::try_from(payload_length).ok()?.to_be_bytes();
    Some([c0, c1, l0, l1])
}
