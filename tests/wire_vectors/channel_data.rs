//! ChannelData frames on datagrams and on streams.

use super::vector_file;
use hairpin::wire::channel_data::{header, parse};
use hairpin::wire::stream::{Framing, next_frame};
use hairpin::wire::{ChannelNumber, Message};

const FRAMES: &str = "derived-channeldata-frames";

#[test]
fn t_cd_02_bytes_behind_the_length_are_not_payload() {
    let file = vector_file::open(FRAMES);
    let hello = file.message("UDP ch 0x4000 \"hello\" unpadded");
    let padded = file.message("stream ch 0x4000 \"hello\" padded to 12");
    for frame in [hello, padded] {
        let (channel, payload) = parse(frame).unwrap();
        assert_eq!(channel, ChannelNumber::MIN);
        assert_eq!(&frame[payload], b"hello");
    }
    let head = header(ChannelNumber::MIN, 5).unwrap();
    assert_eq!([&head[..], b"hello"].concat(), hello);
    assert_eq!(header(ChannelNumber::MIN, 0x1_0000), None);
}

#[test]
fn t_cd_01_a_frame_shorter_than_it_says_is_dropped() {
    let file = vector_file::open(FRAMES);
    let frame = file.message("UDP: Length 10 but 5 bytes => drop");
    assert_eq!(parse(frame), None);
    assert_eq!(next_frame(frame), Framing::Partial { needed: 16 });
}

#[test]
fn t_cd_07_an_empty_payload_is_valid() {
    let file = vector_file::open(FRAMES);
    let frame = file.message("ch 0x4FFF len 0");
    assert_eq!(parse(frame), Some((ChannelNumber::MAX, 4..4)));
    assert_eq!(
        next_frame(frame),
        Framing::Complete {
            length: 4,
            consumed: 4
        }
    );
    assert_eq!(header(ChannelNumber::MAX, 0).unwrap(), frame);
}

#[test]
fn t_cd_09_channels_from_0x5000_up_are_dropped_and_end_a_stream() {
    let file = vector_file::open(FRAMES);
    for label in [
        "ch 0x5000 => drop (reserved)",
        "ch 0x7FFF => drop (reserved since RFC 8656)",
    ] {
        let frame = file.message(label);
        assert_eq!(parse(frame), None, "{label}");
        assert_eq!(next_frame(frame), Framing::Invalid, "{label}");
    }
    assert_eq!(ChannelNumber::new(0x3FFF), None);
    assert_eq!(ChannelNumber::new(0x4FFF), Some(ChannelNumber::MAX));
    assert_eq!(ChannelNumber::new(0x5000), None);
}

#[test]
fn t_cd_14_three_bytes_or_fewer_are_nothing() {
    for length in 0..4 {
        assert_eq!(parse(&[0x40, 0, 0, 0][..length]), None);
    }
}

#[test]
fn s_tcp_01_t_cd_03_frames_and_messages_follow_each_other_on_a_stream() {
    let file = vector_file::open(FRAMES);
    let stream = file.message("stream: two frames + STUN Binding request back to back");
    let mut rest = stream;
    let mut frames = Vec::new();
    while let Framing::Complete { length, consumed } = next_frame(rest) {
        frames.push(&rest[..length]);
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty());
    let [first, second, binding] = frames[..] else {
        panic!("{frames:02x?}")
    };
    let (channel, payload) = parse(first).unwrap();
    assert_eq!((channel.get(), &first[payload]), (0x4001, &b"abcde"[..]));
    let (channel, payload) = parse(second).unwrap();
    assert_eq!((channel.get(), payload.len()), (0x4002, 0));
    assert_eq!(binding.len(), 20);
    assert!(Message::parse(binding).is_ok());

    // Byte by byte: the same frames end at the same places.
    let mut start = 0;
    let mut ends = Vec::new();
    for end in 1..=stream.len() {
        match next_frame(&stream[start..end]) {
            Framing::Complete { consumed, .. } => {
                start += consumed;
                ends.push(start);
            }
            Framing::Partial { needed } => assert!(needed > end - start),
            Framing::Invalid => panic!("invalid at {end}"),
        }
    }
    assert_eq!(ends, [12, 16, 36]);
}

#[test]
fn s_tcp_03_the_longest_frames_do_not_wrap_around() {
    let file = vector_file::open(FRAMES);
    let label = "stream: Length 0xFFFF header only (must wait for 65540 bytes, or close on policy; must not wrap to 3)";
    let mut frame = file.message(label).to_vec();
    assert_eq!(next_frame(&frame), Framing::Partial { needed: 65540 });
    assert_eq!(parse(&frame), None);
    frame.resize(65539, 0);
    assert_eq!(next_frame(&frame), Framing::Partial { needed: 65540 });
    frame.push(0);
    assert_eq!(
        next_frame(&frame),
        Framing::Complete {
            length: 65539,
            consumed: 65540
        }
    );
    assert_eq!(parse(&frame), Some((ChannelNumber::MIN, 4..65539)));

    let file = vector_file::open("derived-negative-stun");
    let label = "length 0xFFFC header only (stream: 65532+20 must not wrap 16 bit)";
    let mut message = file.message(label).to_vec();
    assert_eq!(next_frame(&message), Framing::Partial { needed: 65552 });
    message.resize(65552, 0);
    assert_eq!(
        next_frame(&message),
        Framing::Complete {
            length: 65552,
            consumed: 65552
        }
    );
}

#[test]
fn s_tcp_02_any_first_byte_below_0x40_starts_stun_and_all_others_but_channels_end_the_stream() {
    for first in 0..=255_u8 {
        let mut bytes = vec![first, 0x01, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes.resize(20, 0);
        let whole = next_frame(&bytes);
        let alone = next_frame(&bytes[..1]);
        match first {
            0x00..=0x3F => {
                assert_eq!(
                    whole,
                    Framing::Complete {
                        length: 20,
                        consumed: 20
                    },
                    "{first:02x}"
                );
                assert_eq!(alone, Framing::Partial { needed: 4 }, "{first:02x}");
            }
            0x40..=0x4F => {
                assert_eq!(
                    whole,
                    Framing::Complete {
                        length: 4,
                        consumed: 4
                    },
                    "{first:02x}"
                );
                assert_eq!(alone, Framing::Partial { needed: 4 }, "{first:02x}");
            }
            _ => assert_eq!(
                (whole, alone),
                (Framing::Invalid, Framing::Invalid),
                "{first:02x}"
            ),
        }
    }
}

#[test]
fn s_tcp_04_a_wrong_cookie_or_length_ends_the_stream_as_soon_as_it_is_seen() {
    let good = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    for end in 4..=8 {
        assert_eq!(next_frame(&good[..end]), Framing::Partial { needed: 20 });
    }
    for wrong in 4..8 {
        let mut bytes = good;
        bytes[wrong] ^= 0x10;
        assert_eq!(next_frame(&bytes[..=wrong]), Framing::Invalid);
        assert_eq!(next_frame(&bytes[..wrong]), Framing::Partial { needed: 20 });
    }
    for length in 1..8 {
        let mut bytes = good;
        bytes[3] = length;
        let ends = next_frame(&bytes[..4]) == Framing::Invalid;
        assert_eq!(ends, length % 4 != 0, "length {length}");
    }
}
