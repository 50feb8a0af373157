//! FINGERPRINT: a CRC-32 that tells STUN from other traffic on a shared port (RFC 8489 §14.7).

/// The CRC of a message up to the attribute, with the length in the header already counting it.
#[must_use]
pub fn of(before: &[u8]) -> u32 {
    crc32fast::hash(before) ^ 0x5354_554E
}
