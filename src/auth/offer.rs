//! What a challenge offers beyond RFC 5389: password algorithms and anonymous user names (RFC 8489 §9.2, §18.1).
//!
//! The offer travels twice, as PASSWORD-ALGORITHMS and as the security feature bits at the head of the nonce, where
//! nobody can strip it without spoiling the nonce. No credential is looked at here. Main type: [`Offer`].

use crate::wire::PasswordAlgorithm;

/// What every nonce of a server of RFC 8489 starts with.
const COOKIE: &[u8; 9] = b"obMatJos2";

/// Characters of the cookie with its feature bits.
pub(super) const COOKIE_LENGTH: usize = COOKIE.len() + 4;

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    list: List,
    anonymity: bool,
}

/// The possible lists. A nonce carries its number, so a number keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    None = 0,
    Md5 = 1,
    Sha256 = 2,
    Sha256Md5 = 3,
    Md5Sha256 = 4,
}

impl Offer {
    /// What a server of RFC 5389 offers: MD5 that goes without saying.
    pub const NONE: Offer = Offer {
        list: List::None,
        anonymity: false,
    };

    /// An offer of algorithms in the order of preference, a repeated one counting once; with `anonymity`, users may
    /// send USERHASH in place of USERNAME.
    #[must_use]
    pub fn new(algorithms: &[PasswordAlgorithm], anonymity: bool) -> Self {
        use PasswordAlgorithm::{Md5, Sha256};
        let list = match (
            algorithms.first(),
            algorithms.contains(&Md5),
            algorithms.contains(&Sha256),
        ) {
            (None, ..) => List::None,
            (Some(Sha256), true, _) => List::Sha256Md5,
            (Some(Md5), _, true) => List::Md5Sha256,
            (Some(Sha256), false, _) => List::Sha256,
            (Some(Md5), _, false) => List::Md5,
        };
        Self { list, anonymity }
    }

    /// The algorithms offered; none is what RFC 5389 knows, MD5 without a word about it.
    #[must_use]
    pub fn algorithms(&self) -> &'static [PasswordAlgorithm] {
        use PasswordAlgorithm::{Md5, Sha256};
        match self.list {
            List::None => &[],
            List::Md5 => &[Md5],
            List::Sha256 => &[Sha256],
            List::Sha256Md5 => &[Sha256, Md5],
            List::Md5Sha256 => &[Md5, Sha256],
        }
    }

    /// Whether USERHASH is accepted.
    #[must_use]
    pub const fn anonymity(&self) -> bool {
        self.anonymity
    }

    /// The value of PASSWORD-ALGORITHMS (RFC 8489 §14.11); empty where the attribute is not sent. Neither algorithm has
    /// parameters.
    #[must_use]
    pub const fn password_algorithms(&self) -> &'static [u8] {
        match self.list {
            List::None => &[],
            List::Md5 => &[0, 1, 0, 0],
            List::Sha256 => &[0, 2, 0, 0],
            List::Sha256Md5 => &[0, 2, 0, 0, 0, 1, 0, 0],
            List::Md5Sha256 => &[0, 1, 0, 0, 0, 2, 0, 0],
        }
    }

    /// The head of a nonce: the cookie and the base64 text of 24 feature bits, of which bit 0, password algorithms, is
    /// the most significant of the first byte, and bit 1 anonymity.
    pub(super) fn cookie(self) -> [u8; COOKIE_LENGTH] {
        let bits = match (self.list != List::None, self.anonymity) {
            (false, false) => b'A',
            (false, true) => b'Q',
            (true, false) => b'g',
            (true, true) => b'w',
        };
        let mut text = [b'A'; COOKIE_LENGTH];
        for (to, from) in text.iter_mut().zip(COOKIE.iter().chain(&[bits])) {
            *to = *from;
        }
        text
    }

    /// The number of the list, below 8.
    pub(super) const fn code(self) -> u8 {
        self.list as u8
    }

    /// The offer that a nonce's head and number speak of.
    pub(super) fn read(cookie: &[u8], code: u8) -> Option<Self> {
        let list = match code {
            0 => List::None,
            1 => List::Md5,
            2 => List::Sha256,
            3 => List::Sha256Md5,
            4 => List::Md5Sha256,
            _ => return None,
        };
        [false, true]
            .map(|anonymity| Self { list, anonymity })
            .into_iter()
            .find(|offer| offer.cookie() == cookie)
    }
}
