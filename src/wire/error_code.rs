//! The error codes a STUN or TURN server sends (RFC 8489 §14.8, 8656 §19, 6062 §6.3, 8016 §4.2).

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        /// An error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The number, for example 401.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(ErrorCode::$name => $code,)* }
            }

            /// The number as text, for labels.
            #[must_use]
            pub const fn digits(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($code),)* }
            }

            /// The reason phrase its RFC recommends.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(ErrorCode::$name => $reason,)* }
            }
        }
    };
}

error_codes! {
    /// The client should use another server.
    TryAlternate = 300, "Try Alternate";
    /// The request was malformed.
    BadRequest = 400, "Bad Request";
    /// No credentials, or wrong ones.
    Unauthenticated = 401, "Unauthenticated";
    /// Policy does not allow it.
    Forbidden = 403, "Forbidden";
    /// Mobility is switched off.
    MobilityForbidden = 405, "Mobility Forbidden";
    /// A comprehension-required attribute is not understood.
    UnknownAttribute = 420, "Unknown Attribute";
    /// The 5-tuple has no allocation where one is needed, or has one where none may be.
    AllocationMismatch = 437, "Allocation Mismatch";
    /// The nonce is no longer valid; the answer brings a new one.
    StaleNonce = 438, "Stale Nonce";
    /// No relay of that address family.
    AddressFamilyNotSupported = 440, "Address Family not Supported";
    /// The allocation belongs to another user.
    WrongCredentials = 441, "Wrong Credentials";
    /// No relay of that transport protocol.
    UnsupportedTransport = 442, "Unsupported Transport Protocol";
    /// The peer's family is not one the allocation relays.
    PeerFamilyMismatch = 443, "Peer Address Family Mismatch";
    /// There is a connection to that peer already.
    ConnectionAlreadyExists = 446, "Connection Already Exists";
    /// The peer could not be connected.
    ConnectionFailure = 447, "Connection Timeout or Failure";
    /// The user has as many allocations as it may.
    AllocationQuotaReached = 486, "Allocation Quota Reached";
    /// Something failed here; trying again may help.
    ServerError = 500, "Server Error";
    /// The server has no port, slot or memory left for this.
    InsufficientCapacity = 508, "Insufficient Capacity";
}
