//! What has to hold for any byte stream, however it is cut into reads; see the same for STUN in `message.rs`.

use hairpin::wire::channel_data;
use hairpin::wire::stream::{Framing, MAX_FRAME, next_frame};
use hairpin::wire::{Message, ParseError};

/// Panics when framing breaks a promise. The first byte says how large the reads are, the rest is the stream.
pub fn check(bytes: &[u8]) {
    let Some((&size, stream)) = bytes.split_first() else {
        assert_eq!(next_frame(&[]), Framing::Partial { needed: 4 });
        return;
    };
    let at_once = frames(stream, stream.len().max(1));
    assert_eq!(
        frames(stream, usize::from(size % 61) + 1),
        at_once,
        "cuts change the frames"
    );
    assert_eq!(frames(stream, 1), at_once, "single bytes change the frames");
    prefixes_agree(stream);
}

/// How a stream ended.
#[derive(Debug, PartialEq)]
enum End {
    /// In the middle of a frame or behind one, with so many bytes left over.
    Waiting(usize),
    /// At something that is no frame, behind so many bytes.
    Invalid(usize),
}

/// Reads a stream in pieces, and asks again only when there are as many bytes as were said to be needed.
fn frames(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, End) {
    let mut found = Vec::new();
    let mut start = 0;
    let mut held = 0;
    for read in stream.chunks(piece) {
        held += read.len();
        loop {
            let buffer = &stream[start..held];
            match next_frame(buffer) {
                Framing::Complete { length, consumed } => {
                    assert!(length > 0 && consumed >= length, "no progress");
                    assert!(consumed - length < 4 && consumed <= buffer.len());
                    assert!(consumed <= MAX_FRAME && consumed % 4 == 0);
                    let frame = &buffer[..length];
                    frame_is_known(frame);
                    found.push(frame.to_vec());
                    start += consumed;
                }
                Framing::Partial { needed } => {
                    assert!(needed > buffer.len(), "asks for what it has");
                    assert!(needed <= MAX_FRAME, "asks for more than a frame can have");
                    break;
                }
                Framing::Invalid => return (found, End::Invalid(start)),
            }
        }
    }
    (found, End::Waiting(stream.len() - start))
}

/// A frame is one of the two kinds, and its own parser agrees about where it ends.
fn frame_is_known(frame: &[u8]) {
    if frame[0] & 0xC0 == 0 {
        let error = Message::parse(frame).err();
        assert!(!matches!(
            error,
            Some(ParseError::TooShort | ParseError::NotStun | ParseError::NoCookie)
        ));
        assert_ne!(error, Some(ParseError::BadLength));
    } else {
        let (_, payload) =
            channel_data::parse(frame).expect("framed as ChannelData, refused as such");
        assert_eq!(payload.end, frame.len());
    }
}

/// More bytes may complete a frame; they never take back that there is one, or that there can be none.
fn prefixes_agree(stream: &[u8]) {
    let whole = next_frame(stream);
    for end in (0..stream.len()).take(80) {
        match (next_frame(&stream[..end]), whole) {
            (Framing::Complete { length, consumed }, _) => {
                assert_eq!(whole, Framing::Complete { length, consumed });
            }
            (Framing::Invalid, _) => assert_eq!(whole, Framing::Invalid),
            (Framing::Partial { needed }, Framing::Complete { consumed, .. }) => {
                assert!(needed <= consumed, "waits for more than the frame has");
            }
            (Framing::Partial { needed }, Framing::Partial { needed: later }) => {
                assert!(needed <= later);
            }
            (Framing::Partial { .. }, Framing::Invalid) => {}
        }
    }
}
