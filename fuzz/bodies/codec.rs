//! Where the codec and the crates `stun` and `turn`, which other people wrote, read the same bytes differently, one of
//! the differences known has to be the reason.

use crate::comparison::{differences, frame_differences};
use hairpin::wire::{
    AttributeType, Key, Mac, MessageType, PasswordAlgorithm, TransactionId, Writer,
};

/// Panics at a difference that is not known.
pub fn check(bytes: &[u8]) {
    let key = Key::long_term(PasswordAlgorithm::Md5, b"alice", "example.org", b"s3cret");
    differences(bytes, &key);
    frame_differences(bytes);
    // Attributes with checksums that are right cannot be guessed.
    let Some(message) = written(bytes, &key) else {
        return;
    };
    differences(&message, &key);
    if let Some((place, bits)) = bytes.first().zip(bytes.get(1)) {
        let mut changed = message;
        let place = usize::from(*place) % changed.len();
        changed[place] ^= bits;
        differences(&changed, &key);
    }
}

/// A message of the attributes that the bytes say: how it ends, its type, then type, length and value of each.
fn written(bytes: &[u8], key: &Key) -> Option<Vec<u8>> {
    let (&[end, kind, more], mut rest) = bytes.split_first_chunk()?;
    let mut buffer = vec![0xEE; 600 + 2 * bytes.len()];
    let kind = MessageType::from_bits(u16::from_be_bytes([kind & 0x3F, more]))?;
    let mut writer = Writer::new(&mut buffer, kind, TransactionId([end; 12]));
    for _ in 0..16 {
        let Some((&[which, length], value)) = rest.split_first_chunk() else {
            break;
        };
        let named = AttributeType::NAMED.get(usize::from(which));
        let attribute = named.map_or(AttributeType(0x8000 | u16::from(which)), |named| *named);
        let (value, others) = value.split_at(usize::from(length).min(value.len()));
        writer.attribute(attribute, value);
        rest = others;
    }
    if end & 1 != 0 {
        writer.integrity(Mac::Sha1, key);
    }
    if end & 2 != 0 {
        writer.integrity(Mac::Sha256, key);
    }
    if end & 4 != 0 {
        writer.fingerprint();
    }
    if end & 8 != 0 {
        writer.number(AttributeType::LIFETIME, 1);
    }
    let length = writer.finish().ok()?;
    buffer.truncate(length);
    Some(buffer)
}
