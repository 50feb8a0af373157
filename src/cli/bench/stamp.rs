//! What every payload of the load begins with: which flow it belongs to, its place there, and when it was sent.
//!
//! The main type is [`Stamp`].

/// The length of a stamp in bytes, and so of the shortest payload.
pub const LENGTH: usize = 24;

/// Marks payloads of a load, so that strangers' packets are not counted.
const MAGIC: [u8; 4] = *b"hpnb";

/// The first bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The flow's number.
    pub flow: u32,
    /// The payload's place in its flow, counted from 0.
    pub place: u64,
    /// When it was sent, in nanoseconds since the load's start.
    pub sent: u64,
}

impl Stamp {
    /// Writes the stamp to the start of a payload of at least [`LENGTH`] bytes.
    pub fn write(self, payload: &mut [u8]) {
        let (flow, place, sent) = (
            self.flow.to_be_bytes(),
            self.place.to_be_bytes(),
            self.sent.to_be_bytes(),
        );
        if let Some(room) = payload.first_chunk_mut::<LENGTH>() {
            room[..4].copy_from_slice(&MAGIC);
            room[4..8].copy_from_slice(&flow);
            room[8..16].copy_from_slice(&place);
            room[16..].copy_from_slice(&sent);
        }
    }

    /// Reads the stamp of a payload, if it has one.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let bytes = payload.first_chunk::<LENGTH>()?;
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        };
        (bytes[..4] == MAGIC).then_some(Stamp {
            flow: (number(0) & 0xFFFF_FFFF) as u32,
            place: number(8),
            sent: number(16),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp {
            flow: 0x0102_0304,
            place: u64::MAX - 1,
            sent: 0x0506_0708_090A_0B0C,
        };
        let mut payload = [7; 30];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(payload[LENGTH..], [7; 6]);
    }

    #[test]
    fn what_the_load_did_not_send_has_no_stamp() {
        assert_eq!(Stamp::read(&[0; 40]), None);
        assert_eq!(Stamp::read(b"hpnb"), None);
    }
}
