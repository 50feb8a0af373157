//! Tickets with which a client takes its allocation along to another address (RFC 8016 §3.1.2): sealed, so that nobody but
//! this server can read or make one.
//!
//! A ticket names an allocation and counts how often it has moved. Whose the allocation is stands in no ticket: it has
//! one owner and its number is never used again, so whoever shows the ticket has to prove that owner's credential. A
//! ticket says nothing of addresses either, and two tickets of one allocation have no byte in common but by chance, so
//! that a client cannot be followed from network to network by them (RFC 8016 §5).
//!
//! The seal is AES-256-GCM-SIV. Its nonces are short and random; where one comes twice, this mode of AES loses nothing as
//! long as what is sealed differs, which the count of moves sees to. There is no clock here: how long a ticket is good,
//! the allocation says.
//!
//! No byte of a ticket is 0 and it has 32 of them, because coturn's client keeps it as a string of at most that length.
//! Where a zero comes up, the ticket is sealed once more with another nonce.
//!
//! Its main types are [`TicketKey`] and [`MobilityTicket`].

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand::{Rng, RngExt};
use std::fmt;
use std::sync::Arc;

/// Sets tickets apart from whatever else might be sealed under such a key.
const PURPOSE: &[u8] = b"hairpin mobility ticket 1";

/// What of the nonce stands in the ticket; the rest is zero.
const SALT_LENGTH: usize = 4;

/// How often it is tried to seal a ticket without zeros. One try in eight fails.
const TRIES: usize = 64;

const PLAIN_LENGTH: usize = 8 + 4;
const TAG_LENGTH: usize = 16;

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobilityTicket {
    /// The allocation's number.
    pub allocation: u64,
    /// How many tickets the allocation had before this one.
    pub serial: u32,
}

/// The value of a MOBILITY-TICKET attribute: salt, ciphertext and tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedTicket([u8; SealedTicket::LENGTH]);

impl SealedTicket {
    /// How long every ticket is, in bytes.
    pub const LENGTH: usize = SALT_LENGTH + PLAIN_LENGTH + TAG_LENGTH;

    /// The value of the attribute.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedTicket(***)")
    }
}

/// The key tickets are sealed with, the same for all workers. Clones share it.
#[derive(Clone)]
pub struct TicketKey(Arc<LessSafeKey>);

impl TicketKey {
    /// A key of random bytes. `None` where the library refuses AES, which it does on no platform known.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).ok()?;
        Some(TicketKey(Arc::new(LessSafeKey::new(key))))
    }

    /// Seals a ticket. `None` where the library fails, which it has no reason to.
    #[must_use]
    pub fn seal(&self, ticket: MobilityTicket, rng: &mut impl Rng) -> Option<SealedTicket> {
        (0..TRIES)
            .filter_map(|_| self.seal_with(ticket, rng.random()))
            .find(|sealed| !sealed.0.contains(&0))
    }

    fn seal_with(&self, ticket: MobilityTicket, salt: [u8; SALT_LENGTH]) -> Option<SealedTicket> {
        let mut bytes = [0; SealedTicket::LENGTH];
        let (head, rest) = bytes.split_first_chunk_mut::<SALT_LENGTH>()?;
        let (plain, tail) = rest.split_first_chunk_mut::<PLAIN_LENGTH>()?;
        let (allocation, serial) = plain.split_first_chunk_mut::<8>()?;
        *head = salt;
        *allocation = ticket.allocation.to_be_bytes();
        serial.copy_from_slice(&ticket.serial.to_be_bytes());
        let aad = Aad::from(PURPOSE);
        let tag = self.0.seal_in_place_separate_tag(nonce(salt), aad, plain);
        tail.copy_from_slice(tag.ok()?.as_ref());
        Some(SealedTicket(bytes))
    }

    /// Opens a ticket; `None` for one that was not sealed with this key, or changed since.
    #[must_use]
    pub fn open(&self, value: &[u8]) -> Option<MobilityTicket> {
        let mut bytes: [u8; SealedTicket::LENGTH] = value.try_into().ok()?;
        let (salt, sealed) = bytes.split_first_chunk_mut::<SALT_LENGTH>()?;
        let aad = Aad::from(PURPOSE);
        let plain = self.0.open_in_place(nonce(*salt), aad, sealed).ok()?;
        let (allocation, serial) = plain.split_first_chunk::<8>()?;
        Some(MobilityTicket {
            allocation: u64::from_be_bytes(*allocation),
            serial: u32::from_be_bytes(serial.try_into().ok()?),
        })
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(***)")
    }
}

fn nonce(salt: [u8; SALT_LENGTH]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some(head) = nonce.first_chunk_mut() {
        *head = salt;
    }
    // It is not unique, and with this mode need not be.
    Nonce::assume_unique_for_key(nonce)
}
