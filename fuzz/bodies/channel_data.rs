//! What has to hold for any bytes given to the ChannelData parser, see the same for STUN in `message.rs`.

use hairpin::wire::channel_data::{HEADER_LENGTH, header, parse};
use hairpin::wire::stream::{Framing, next_frame};
use hairpin::wire::{ChannelNumber, Message, padded};

/// Panics when reading or writing ChannelData breaks a promise about `bytes`.
pub fn check(bytes: &[u8]) {
    let Some((channel, payload)) = parse(bytes) else {
        let whole = bytes.len() >= 4
            && bytes.len() - 4 >= usize::from(bytes[2]) * 256 + usize::from(bytes[3]);
        assert!(
            !whole || bytes[0] & 0xF0 != 0x40,
            "a good frame was refused"
        );
        return;
    };
    assert!((ChannelNumber::MIN..=ChannelNumber::MAX).contains(&channel));
    assert_eq!(channel.get().to_be_bytes(), bytes[..2]);
    assert_eq!(payload.start, HEADER_LENGTH);
    assert!(payload.end <= bytes.len());
    assert_eq!(
        header(channel, payload.len()).as_ref().map(|h| &h[..]),
        Some(&bytes[..4])
    );
    assert!(
        Message::parse(bytes).is_err(),
        "a frame is not STUN as well"
    );

    // What follows the payload has no influence.
    let frame = &bytes[..payload.end];
    assert_eq!(parse(frame), Some((channel, payload.clone())));
    assert_eq!(
        parse(&frame[..frame.len() - 1]),
        None,
        "a cut frame was accepted"
    );

    // The same frame on a stream is padded to four bytes.
    let mut padded_frame = frame.to_vec();
    padded_frame.resize(padded(frame.len()), 0);
    let complete = Framing::Complete {
        length: frame.len(),
        consumed: padded_frame.len(),
    };
    assert_eq!(next_frame(&padded_frame), complete);
    for missing in 1..4 {
        assert_eq!(
            next_frame(&padded_frame[..padded_frame.len() - missing]),
            Framing::Partial {
                needed: padded_frame.len().max(4)
            }
        );
    }
}
