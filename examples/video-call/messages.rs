//! What a page and the room server say to each other, and what of it is let in.
//!
//! Every message is one JSON object with a `type`, in a text frame of a WebSocket. What comes from a page is checked as
//! it is read: a value of one of these types is within its limits, and nothing else has to ask again. The descriptions
//! (SDP) and candidates themselves are for the other browser: the server hands them on as they are, within bounds.
//!
//! It keeps nothing and sends nothing. Main types: [`FromPage`], [`ToPage`], [`Refusal`].

use crate::ice_servers::IceServer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest message of a page, in bytes. A description with sound, camera, screen and chat has about 10,000.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// What a page says. Those without anything in them are written with braces, since serde would let anything into others.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromPage {
    /// First message of a newcomer: a seat in a room, please.
    Join {
        /// Which room; it comes into being with its first member.
        room: RoomName,
        /// What the others are shown.
        name: MemberName,
    },
    /// First message of a page that lost its socket: this seat is mine.
    Resume {
        /// The seat's room.
        room: RoomName,
        /// The seat.
        seat: SeatId,
        /// The secret that came with it.
        token: Token,
    },
    /// The member goes, and the seat is free.
    Leave {},
    /// Asks for STUN and TURN servers anew: credentials expire, calls go on.
    IceServers {},
    /// Shows the page that its socket still leads somewhere. Browsers keep WebSocket's own pings from pages.
    Ping {},
    /// What a browser would like to send and receive, and how it can be reached.
    Offer {
        /// For whom.
        to: SeatId,
        /// The description.
        sdp: Text<{ 30 * 1024 }>,
    },
    /// What the other side makes of an offer.
    Answer {
        /// For whom.
        to: SeatId,
        /// The description.
        sdp: Text<{ 30 * 1024 }>,
    },
    /// One more address at which a browser can perhaps be reached.
    Candidate {
        /// For whom.
        to: SeatId,
        /// The address, in the form of `RTCIceCandidate.toJSON()`.
        candidate: Candidate,
    },
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum ToPage {
    /// Answer to `join`.
    Joined {
        /// The page's own seat.
        seat: SeatId,
        /// What proves later on that it is its own.
        token: Token,
        /// Who was there before. The newcomer calls each of them.
        members: Vec<Member>,
        /// For `new RTCPeerConnection({iceServers})`.
        ice_servers: Vec<IceServer>,
    },
    /// Answer to `resume`.
    Resumed {
        /// Who else is in the room now.
        members: Vec<Member>,
    },
    /// Answer to `ice-servers`.
    IceServers {
        /// For `RTCPeerConnection.setConfiguration({iceServers})`.
        ice_servers: Vec<IceServer>,
    },
    /// Answer to `ping`.
    Pong,
    /// Somebody new; expect an offer.
    MemberJoined {
        /// Who.
        member: Member,
    },
    /// Somebody's socket broke. The call with them may well go on: media does not pass through here.
    MemberAway {
        /// Who.
        seat: SeatId,
    },
    /// And was replaced by another one.
    MemberBack {
        /// Who.
        seat: SeatId,
    },
    /// Somebody left, or did not come back in time.
    MemberLeft {
        /// Who.
        seat: SeatId,
    },
    /// An offer of another member.
    Offer {
        /// Whose. The server fills this in, so nobody can speak as somebody else.
        from: SeatId,
        /// As it came.
        sdp: Text<{ 30 * 1024 }>,
    },
    /// An answer of another member.
    Answer {
        /// Whose.
        from: SeatId,
        /// As it came.
        sdp: Text<{ 30 * 1024 }>,
    },
    /// A candidate of another member.
    Candidate {
        /// Whose.
        from: SeatId,
        /// As it came.
        candidate: Candidate,
    },
    /// Something cannot be had.
    Refused {
        /// What and why.
        reason: Refusal,
    },
}

impl ToPage {
    /// The message as it goes over the wire.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of these: there is nothing in it that JSON does not have.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why a page does not get what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Not a message that this server knows, or one beyond its limits. Ends the connection, as all do but the last two.
    BadMessage,
    /// The first message was none of `join` and `resume`, or did not come in time.
    NotJoined,
    /// All seats of the room are taken.
    RoomFull,
    /// The server has as many rooms as it may have.
    ServerFull,
    /// There is no such seat, or it belongs to somebody else. Both look the same from outside.
    NoSuchSeat,
    /// More messages than a call needs, or more newcomers than the server lets in at a time.
    TooFast,
    /// The page did not take what was sent to it.
    TooSlow,
    /// Another connection has taken the seat, with its token.
    TakenOver,
    /// The message was for a member that is not, or no longer, in this room.
    NoSuchMember,
    /// No credentials for STUN and TURN could be had.
    NoIceServers,
}

/// Somebody in a room, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Their seat.
    pub seat: SeatId,
    /// Their name.
    pub name: MemberName,
}

/// A seat's number. It is used once in the life of its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SeatId(pub u32);

/// A room's name: 1 to 64 small letters, digits and hyphens. Whoever knows it can enter, so pages make up long ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct RoomName(String);

impl TryFrom<String> for RoomName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(is_fine) {
            Ok(Self(text))
        } else {
            Err("a room has 1 to 64 small letters, digits and hyphens")
        }
    }
}

/// A member's name: 1 to 40 characters, none of which can confuse the line it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct MemberName(String);

impl TryFrom<String> for MemberName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Beside control characters: what turns the direction of writing, and what cannot be seen.
        let is_hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        let name = text.trim();
        if (1..=40).contains(&name.chars().count()) && !name.contains(is_hidden) {
            Ok(Self(name.to_owned()))
        } else {
            Err("a name has 1 to 40 characters that can be seen")
        }
    }
}

/// The secret that proves whose a seat is: 32 random bytes in hexadecimal.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn random() -> Self {
        Self(random_hex::<32>())
    }

    /// Whether both are the same, in a time that does not tell how much of them is.
    pub fn proves(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit()) {
            Ok(Self(text))
        } else {
            Err("a token has 64 hexadecimal digits")
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Random bytes in hexadecimal.
pub fn random_hex<const BYTES: usize>() -> String {
    let bytes: [u8; BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A candidate as browsers write it (`RTCIceCandidateInit`).
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// The line of the description it would be; empty where it says that there are no more.
    candidate: Text<1024>,
    /// The part of the description it belongs to, by name.
    sdp_mid: Option<Text<64>>,
    /// The same by number.
    sdp_m_line_index: Option<u16>,
    /// The attempt it belongs to: a candidate of before an ICE restart is of no use after it.
    username_fragment: Option<Text<256>>,
}

/// Text of at most so many bytes, for the other browser to understand.
#[derive(Debug, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() <= MAX {
            Ok(Self(text))
        } else {
            Err("too long")
        }
    }
}
