//! How a payload is wrapped on its way between a client and the server: ChannelData, or Send and Data indications.
//!
//! Main items: [`Frame`], [`payload`].

use std::net::SocketAddr;
use std::ops::Range;

use crate::wire::{
    AttributeType, ChannelNumber, ChannelRange, Class, MessageType, Method, TransactionId, Writer,
    channel_data, padded,
};

/// A message ready to be sent again and again, with the place of its payload.
#[derive(Clone, Debug)]
pub struct Frame {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The payload in it.
    pub payload: Range<usize>,
}

impl Frame {
    /// A payload without anything around it, as between peers and relays.
    #[must_use]
    pub fn bare(size: usize) -> Frame {
        Frame {
            bytes: vec![0; size],
            payload: 0..size,
        }
    }

    /// ChannelData, on a stream with its padding. `size` is under 64 KiB.
    #[must_use]
    pub fn channel(number: ChannelNumber, size: usize, is_stream: bool) -> Frame {
        let head = channel_data::header(number, size).unwrap_or_default();
        let mut bytes = head.to_vec();
        let payload = bytes.len()..bytes.len() + size;
        bytes.resize(payload.end, 0);
        if is_stream {
            bytes.resize(padded(bytes.len()), 0);
        }
        Frame { bytes, payload }
    }

    /// A Send indication.
    #[must_use]
    pub fn indication(peer: SocketAddr, size: usize) -> Frame {
        let mut bytes = vec![0; size + 100];
        let kind = MessageType::new(Method::SEND, Class::Indication);
        let mut writer = Writer::new(&mut bytes, kind, TransactionId(*b"hairpinbench"));
        writer
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, &vec![0; size]);
        let length = writer.finish().unwrap_or_default();
        bytes.truncate(length);
        let end = length - (padded(size) - size);
        Frame {
            bytes,
            payload: end - size..end,
        }
    }
}

/// The payload of what a client gets from the server: of ChannelData or of a Data indication.
#[must_use]
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    match frame {
        [0x40..=0x7F, ..] => {
            let (_, range) = channel_data::parse_in(ChannelRange::Rfc5766, frame)?;
            frame.get(range)
        }
        // A Data indication's attributes, without checking more of it than a client would have to.
        [0x00, 0x17, ..] => {
            let mut rest = frame.get(20..)?;
            loop {
                let (&[t0, t1, l0, l1], value) = rest.split_first_chunk::<4>()?;
                let length = usize::from(u16::from_be_bytes([l0, l1]));
                if u16::from_be_bytes([t0, t1]) == AttributeType::DATA.0 {
                    return value.get(..length);
                }
                rest = value.get(padded(length)..)?;
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn frames_hold_their_payload_where_they_say() {
        for size in [24, 25, 160, 1200] {
            let channel = Frame::channel(ChannelNumber::MIN, size, true);
            assert_eq!(channel.bytes.len() % 4, 0);
            assert_eq!(payload(&channel.bytes).unwrap().len(), size);
            assert_eq!(channel.payload, 4..4 + size);

            let peer = "192.0.2.1:9".parse().unwrap();
            let mut send = Frame::indication(peer, size);
            send.bytes[send.payload.clone()].fill(9);
            let message = Message::parse(&send.bytes).unwrap();
            let data = message.attribute(AttributeType::DATA).unwrap();
            assert_eq!(data.value, vec![9; size]);
        }
    }

    #[test]
    fn the_payload_of_a_data_indication_is_found() {
        let mut buffer = [0; 200];
        let kind = MessageType::new(Method::DATA, Class::Indication);
        let mut writer = Writer::new(&mut buffer, kind, TransactionId([1; 12]));
        writer
            .xor_address(
                AttributeType::XOR_PEER_ADDRESS,
                "[2001:db8::1]:9".parse().unwrap(),
            )
            .attribute(AttributeType::DATA, b"hello");
        let length = writer.finish().unwrap();
        assert_eq!(payload(&buffer[..length]), Some(&b"hello"[..]));
        assert_eq!(payload(b"\0\x17"), None);
        assert_eq!(payload(b"other"), None);
    }
}
