//! The STUN header: method, class, message type and transaction id (RFC 8489 §5).

/// The fixed value of bytes 4 to 8 of every STUN message.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The length of the STUN header in bytes.
pub const HEADER_LENGTH: usize = 20;

/// The 96-bit id that ties a response to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TransactionId(pub [u8; 12]);

/// What a message is: a request, an indication, or one of the two kinds of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Expects a response.
    Request,
    /// Expects none.
    Indication,
    /// Answers a request that succeeded.
    Success,
    /// Answers a request that failed; carries ERROR-CODE.
    Error,
}

impl Class {
    /// All four classes, in the order of their code points.
    pub const ALL: [Class; 4] = [
        Class::Request,
        Class::Indication,
        Class::Success,
        Class::Error,
    ];

    const fn bits(self) -> u16 {
        match self {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        }
    }

    /// The name used in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::Request => "request",
            Class::Indication => "indication",
            Class::Success => "success",
            Class::Error => "error",
        }
    }
}

/// A 12-bit STUN method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// Tells a client its reflexive address (RFC 8489 §3).
    pub const BINDING: Method = Method(0x001);
    /// Creates an allocation (RFC 8656 §7).
    pub const ALLOCATE: Method = Method(0x003);
    /// Extends or ends an allocation (RFC 8656 §8).
    pub const REFRESH: Method = Method(0x004);
    /// Data from the client to a peer (RFC 8656 §11).
    pub const SEND: Method = Method(0x006);
    /// Data from a peer to the client (RFC 8656 §11).
    pub const DATA: Method = Method(0x007);
    /// Lets peers reach the client (RFC 8656 §10).
    pub const CREATE_PERMISSION: Method = Method(0x008);
    /// Ties a channel number to a peer (RFC 8656 §12).
    pub const CHANNEL_BIND: Method = Method(0x009);
    /// Opens a TCP connection to a peer (RFC 6062 §4.3).
    pub const CONNECT: Method = Method(0x00A);
    /// Ties a client's data connection to a peer's (RFC 6062 §4.3).
    pub const CONNECTION_BIND: Method = Method(0x00B);
    /// Tells the client of a peer's connection (RFC 6062 §4.4).
    pub const CONNECTION_ATTEMPT: Method = Method(0x00C);
    /// libwebrtc's short connectivity check; only ever between peers.
    pub const GOOG_PING: Method = Method(0x080);

    /// Makes a method of its 12-bit code point; `None` for a larger number.
    #[must_use]
    pub const fn new(code: u16) -> Option<Method> {
        if code <= 0xFFF {
            Some(Method(code))
        } else {
            None
        }
    }

    /// The code point.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The name of a method this server has to do with, or `"other"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::BINDING => "binding",
            Method::ALLOCATE => "allocate",
            Method::REFRESH => "refresh",
            Method::SEND => "send",
            Method::DATA => "data",
            Method::CREATE_PERMISSION => "create_permission",
            Method::CHANNEL_BIND => "channel_bind",
            Method::CONNECT => "connect",
            Method::CONNECTION_BIND => "connection_bind",
            Method::CONNECTION_ATTEMPT => "connection_attempt",
            _ => "other",
        }
    }
}

/// A method and a class: the first 16 bits of a message, their bits interleaved as RFC 8489 §5 Figure 3 draws them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageType {
    /// The method.
    pub method: Method,
    /// The class.
    pub class: Class,
}

impl MessageType {
    /// A type of its two parts.
    #[must_use]
    pub const fn new(method: Method, class: Class) -> Self {
        Self { method, class }
    }

    /// The value on the wire.
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        let m = self.method.0;
        (m & 0x000F) | ((m & 0x0070) << 1) | ((m & 0x0F80) << 2) | self.class.bits()
    }

    /// Reads the value on the wire; `None` where the two top bits are not zero (it is not STUN then).
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & 0xC000 != 0 {
            return None;
        }
        let class = match bits & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let method = (bits & 0x000F) | ((bits >> 1) & 0x0070) | ((bits >> 2) & 0x0F80);
        Some(Self {
            method: Method(method),
            class,
        })
    }
}
