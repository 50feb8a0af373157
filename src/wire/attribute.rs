//! Attribute types and the values of the fixed-size ones (RFC 8489 §14, 8656 §18, and their extensions).

use super::header::TransactionId;
use std::fmt;
use std::net::SocketAddr;

/// The 16-bit type of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: AttributeType = AttributeType($code);)*

            /// Every type with a name here, in the order of their code points.
            pub const NAMED: &'static [AttributeType] = &[$(AttributeType::$name),*];

            /// The registered name, if this type has one here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(AttributeType::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    /// ADDR. RFC 3489 and RFC 5780 answers only.
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    /// ADDR. RFC 3489; never honoured, since it would redirect answers.
    RESPONSE_ADDRESS = 0x0002, "RESPONSE-ADDRESS";
    /// 32 bits of flags (RFC 5780 §7.2).
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    /// ADDR. RFC 3489.
    SOURCE_ADDRESS = 0x0004, "SOURCE-ADDRESS";
    /// ADDR. RFC 3489.
    CHANGED_ADDRESS = 0x0005, "CHANGED-ADDRESS";
    /// UTF-8, under 509 bytes sent, up to 763 accepted.
    USERNAME = 0x0006, "USERNAME";
    /// RFC 3489, removed.
    PASSWORD = 0x0007, "PASSWORD";
    /// HMAC-SHA1, 20 bytes.
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    /// Class, number and reason phrase.
    ERROR_CODE = 0x0009, "ERROR-CODE";
    /// A list of 16-bit types.
    UNKNOWN_ATTRIBUTES = 0x000A, "UNKNOWN-ATTRIBUTES";
    /// RFC 3489, removed.
    REFLECTED_FROM = 0x000B, "REFLECTED-FROM";
    /// Channel number and 16 reserved bits.
    CHANNEL_NUMBER = 0x000C, "CHANNEL-NUMBER";
    /// Seconds, 32 bits.
    LIFETIME = 0x000D, "LIFETIME";
    /// Old TURN drafts; reserved.
    BANDWIDTH = 0x0010, "BANDWIDTH";
    /// XADDR.
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    /// Payload.
    DATA = 0x0013, "DATA";
    /// Text, under 128 characters.
    REALM = 0x0014, "REALM";
    /// Text, under 128 characters.
    NONCE = 0x0015, "NONCE";
    /// XADDR.
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    /// Family and 24 reserved bits.
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    /// One byte, of which the top bit asks for a reservation.
    EVEN_PORT = 0x0018, "EVEN-PORT";
    /// Protocol number and 24 reserved bits.
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    /// Empty.
    DONT_FRAGMENT = 0x001A, "DONT-FRAGMENT";
    /// RFC 7635 token.
    ACCESS_TOKEN = 0x001B, "ACCESS-TOKEN";
    /// HMAC-SHA256, 16 to 32 bytes.
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "MESSAGE-INTEGRITY-SHA256";
    /// The algorithm the client chose.
    PASSWORD_ALGORITHM = 0x001D, "PASSWORD-ALGORITHM";
    /// SHA-256 of user name and realm.
    USERHASH = 0x001E, "USERHASH";
    /// XADDR.
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    /// Old TURN drafts; reserved.
    TIMER_VAL = 0x0021, "TIMER-VAL";
    /// 8 bytes.
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    /// ICE; ignored.
    PRIORITY = 0x0024, "PRIORITY";
    /// ICE; ignored.
    USE_CANDIDATE = 0x0025, "USE-CANDIDATE";
    /// RFC 5780 §7.6.
    PADDING = 0x0026, "PADDING";
    /// RFC 5780 §7.5.
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    /// RFC 6062 §6.2.1.
    CONNECTION_ID = 0x002A, "CONNECTION-ID";
    /// Family and 24 reserved bits.
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    /// Family, class, number, reason.
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    /// The algorithms the server takes, in its order of preference.
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    /// A DNS name.
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    /// RFC 8656 §18.13.
    ICMP = 0x8004, "ICMP";
    /// Text, under 128 characters.
    SOFTWARE = 0x8022, "SOFTWARE";
    /// ADDR.
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    /// RFC 7982.
    TRANSACTION_TRANSMIT_COUNTER = 0x8025, "TRANSACTION_TRANSMIT_COUNTER";
    /// RFC 5780 drafts; ignored.
    CACHE_TIMEOUT = 0x8027, "CACHE-TIMEOUT";
    /// CRC-32 of the message, always last.
    FINGERPRINT = 0x8028, "FINGERPRINT";
    /// ICE; ignored.
    ICE_CONTROLLED = 0x8029, "ICE-CONTROLLED";
    /// ICE; ignored.
    ICE_CONTROLLING = 0x802A, "ICE-CONTROLLING";
    /// RFC 5780 §7.3.
    RESPONSE_ORIGIN = 0x802B, "RESPONSE-ORIGIN";
    /// RFC 5780 §7.4.
    OTHER_ADDRESS = 0x802C, "OTHER-ADDRESS";
    /// RFC 6679; ignored.
    ECN_CHECK = 0x802D, "ECN-CHECK STUN";
    /// RFC 7635 §6.1.
    THIRD_PARTY_AUTHORIZATION = 0x802E, "THIRD-PARTY-AUTHORIZATION";
    /// An expired draft; sent by old browsers, ignored.
    ORIGIN = 0x802F, "ORIGIN";
    /// RFC 8016.
    MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
    /// libwebrtc, between peers; ignored.
    GOOG_NETWORK_INFO = 0xC057, "GOOG-NETWORK-INFO";
    /// libwebrtc, between peers; ignored.
    GOOG_MISC_INFO = 0xC059, "GOOG-MISC-INFO";
    /// libwebrtc, between peers; ignored.
    GOOG_MESSAGE_INTEGRITY_32 = 0xC060, "GOOG-MESSAGE-INTEGRITY-32";
    /// libwebrtc, unregistered; ignored.
    GOOG_RETRANSMIT_COUNT = 0xFF00, "RETRANSMIT_COUNT";
    /// libwebrtc, unregistered, appended behind MESSAGE-INTEGRITY; ignored.
    TURN_LOGGING_ID = 0xFF05, "TURN_LOGGING_ID";
}

impl AttributeType {
    /// Whether a receiver that does not know this type has to refuse the message (RFC 8489 §14).
    #[must_use]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04X}", self.0),
        }
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value, without padding.
    pub value: &'a [u8],
    /// Where the value starts in the message, in bytes.
    pub offset: usize,
}

/// An address family as TURN attributes write it (RFC 8489 §14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// 0x01.
    V4,
    /// 0x02.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Family {
        match address {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// Reads the byte on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Family> {
        match code {
            1 => Some(Family::V4),
            2 => Some(Family::V6),
            _ => None,
        }
    }
}

/// The value of an attribute did not have the form its type prescribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed attribute value")]
pub struct Malformed;

impl Attribute<'_> {
    fn fixed<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed)
    }

    /// LIFETIME in seconds (RFC 8656 §18.2).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn lifetime(&self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// The protocol number of REQUESTED-TRANSPORT (RFC 8656 §18.7); the reserved bits are ignored.
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn requested_transport(&self) -> Result<u8, Malformed> {
        self.fixed::<4>().map(|[protocol, ..]| protocol)
    }

    /// The family code of REQUESTED- or ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.6, §18.11), known or not.
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn address_family(&self) -> Result<u8, Malformed> {
        self.fixed::<4>().map(|[family, ..]| family)
    }

    /// The raw number of CHANNEL-NUMBER (RFC 8656 §18.1); the reserved bits are ignored.
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn channel_number(&self) -> Result<u16, Malformed> {
        self.fixed::<4>()
            .map(|[high, low, ..]| u16::from_be_bytes([high, low]))
    }

    /// Whether EVEN-PORT asks for the next port to be reserved (RFC 8656 §18.5).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 1 byte long.
    pub fn even_port_reserves(&self) -> Result<bool, Malformed> {
        self.fixed::<1>().map(|[flags]| flags & 0x80 != 0)
    }

    /// The number in CONNECTION-ID (RFC 6062 §6.2.1).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn connection_id(&self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// The 8 bytes of RESERVATION-TOKEN (RFC 8656 §18.9).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 8 bytes long.
    pub fn reservation_token(&self) -> Result<[u8; 8], Malformed> {
        self.fixed()
    }

    /// The client's count in TRANSACTION_TRANSMIT_COUNTER: which transmission of the request it is (RFC 7982 §3.3).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn transmit_count(&self) -> Result<u8, Malformed> {
        self.fixed::<4>().map(|[_, _, count, _]| count)
    }

    /// DONT-FRAGMENT is empty (RFC 8656 §18.8).
    ///
    /// # Errors
    /// [`Malformed`] when there is a value.
    pub fn dont_fragment(&self) -> Result<(), Malformed> {
        self.fixed::<0>().map(|_| ())
    }

    /// Whether CHANGE-REQUEST asks for an answer from the other IP address, and from the other port (RFC 5780 §7.2).
    ///
    /// # Errors
    /// [`Malformed`] when the value is not 4 bytes long.
    pub fn change_request(&self) -> Result<(bool, bool), Malformed> {
        let flags = self.fixed().map(u32::from_be_bytes)?;
        Ok((flags & 0x4 != 0, flags & 0x2 != 0))
    }

    /// The port of RESPONSE-PORT (RFC 5780 §7.5). It is 16 bits long, but its two bytes of padding may be counted as
    /// part of it: the RFC can be read both ways.
    ///
    /// # Errors
    /// [`Malformed`] when the value is neither 2 nor 4 bytes long.
    pub fn response_port(&self) -> Result<u16, Malformed> {
        match *self.value {
            [high, low] | [high, low, _, _] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(Malformed),
        }
    }

    /// An XOR-ed transport address: XOR-MAPPED-, XOR-PEER- or XOR-RELAYED-ADDRESS (RFC 8489 §14.2).
    ///
    /// # Errors
    /// [`Malformed`] for an unknown family or a length that does not fit it.
    pub fn xor_address(&self, transaction: TransactionId) -> Result<SocketAddr, Malformed> {
        super::address::decode_xor(self.value, transaction).ok_or(Malformed)
    }

    /// A plain transport address: MAPPED-ADDRESS, ALTERNATE-SERVER and their like (RFC 8489 §14.1).
    ///
    /// # Errors
    /// [`Malformed`] for an unknown family or a length that does not fit it.
    pub fn address(&self) -> Result<SocketAddr, Malformed> {
        super::address::decode(self.value).ok_or(Malformed)
    }

    /// The number of ERROR-CODE, from 300 to 699 (RFC 8489 §14.8).
    ///
    /// # Errors
    /// [`Malformed`] when the value is under 4 bytes long or class or number is out of range.
    pub fn error_code(&self) -> Result<u16, Malformed> {
        let [_, _, class, number] = *self.value.first_chunk().ok_or(Malformed)?;
        let class = class & 0x07;
        if !(3..=6).contains(&class) || number > 99 {
            return Err(Malformed);
        }
        Ok(u16::from(class) * 100 + u16::from(number))
    }
}
