//! Who may relay: nonces, credentials and their sources (RFC 8489 §9.2, long-term credentials).
//!
//! Not here: the order in which a request is checked and the answers it gets (that is the engine's), and what an
//! authenticated client may do (the policy room). Nothing here reads a clock or keeps state for a client; time
//! and random numbers are passed in.
//!
//! Its main types are [`NonceKeys`], which makes and checks nonces without remembering them, [`Offer`], what a challenge
//! tells a client it may use, [`Authenticator`], which finds out whose request it is, by users and shared secrets of its
//! own or by an [`AccessToken`] of somebody else's, and [`TicketKey`], which seals the tickets of clients that move.

mod access_token;
mod authenticator;
mod ephemeral;
mod mobility_ticket;
mod nonce;
mod offer;
pub mod secret;
mod third_party;
mod users;

pub use access_token::{AccessToken, TOKEN_NONCE_LENGTH, TokenAlgorithm, TokenCipher};
pub use authenticator::{
    AuthFailure, AuthSettings, Authenticator, Claimed, SettingsError, Verified,
};
pub use ephemeral::{SigningAlgorithm, mint_ephemeral, mint_ephemeral_with};
pub use mobility_ticket::{MobilityTicket, SealedTicket, TicketKey};
pub use nonce::{Nonce, NonceKeys, NonceScope, NonceVerdict};
pub use offer::Offer;
pub use secret::Secret;
pub use third_party::{ThirdPartySettings, TokenKey};
pub use users::{Credential, User};
