//! ChannelData: a 4-byte header and a payload (RFC 8656 §12.4).

use std::ops::Range;

/// The length of the header in bytes.
pub const HEADER_LENGTH: usize = 4;

/// A channel number: 0x4000 to 0x4FFF (RFC 8656 §12), or to 0x7FFE where [`ChannelRange::Rfc5766`] is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The lowest number.
    pub const MIN: ChannelNumber = ChannelNumber(0x4000);
    /// The highest number of RFC 8656.
    pub const MAX: ChannelNumber = ChannelNumber(0x4FFF);

    /// Checks the range of RFC 8656.
    #[must_use]
    pub const fn new(number: u16) -> Option<ChannelNumber> {
        ChannelNumber::new_in(ChannelRange::Rfc8656, number)
    }

    /// Checks a range.
    #[must_use]
    pub const fn new_in(range: ChannelRange, number: u16) -> Option<ChannelNumber> {
        if number >= 0x4000 && number <= range.last() {
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

/// Which channel numbers are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelRange {
    /// 0x4000 to 0x4FFF. The numbers above are reserved, so that a first byte of 0x50 or more is free for other
    /// protocols (RFC 8656 §12, RFC 7983 §7).
    #[default]
    Rfc8656,
    /// 0x4000 to 0x7FFE, as RFC 5766 §11 had it.
    Rfc5766,
}

impl ChannelRange {
    const fn last(self) -> u16 {
        match self {
            ChannelRange::Rfc8656 => 0x4FFF,
            ChannelRange::Rfc5766 => 0x7FFE,
        }
    }

    /// Whether a frame that starts with this byte may be ChannelData.
    #[must_use]
    #[inline]
    pub const fn has_first_byte(self, byte: u8) -> bool {
        byte >= 0x40 && byte <= (self.last() >> 8) as u8
    }
}

/// Reads a frame with [`parse_in`] in the range of RFC 8656.
#[must_use]
#[inline]
pub fn parse(frame: &[u8]) -> Option<(ChannelNumber, Range<usize>)> {
    parse_in(ChannelRange::Rfc8656, frame)
}

/// Reads a frame: its channel and where its payload lies in `frame`.
///
/// `None` for a number out of range or a frame shorter than it says (RFC 8656 §12.6). Bytes behind the payload are
/// padding and not part of it.
#[must_use]
#[inline]
pub fn parse_in(range: ChannelRange, frame: &[u8]) -> Option<(ChannelNumber, Range<usize>)> {
    let (&[c0, c1, l0, l1], rest) = frame.split_first_chunk::<HEADER_LENGTH>()?;
    let channel = ChannelNumber::new_in(range, u16::from_be_bytes([c0, c1]))?;
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
