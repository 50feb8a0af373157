//! Reads the same bytes with both codecs and says where they differ.

use hairpin::wire::attribute::Family;
use hairpin::wire::{
    Attribute, AttributeType, ChannelNumber, Class, Key, Mac, Message, MessageType, ParseError,
    channel_data, padded,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use stun::attributes::{ATTR_FINGERPRINT, AttrType};
use stun::error_code::ErrorCodeAttribute;
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{Getter, Message as Theirs};
use stun::xoraddr::XorMappedAddress;
use turn::proto;

/// Where the two codecs may differ. The rule named with each one decides, and decides for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// S-HDR-01: the two top bits of STUN are zero. `stun` looks at the cookie only.
    TopBits,
    /// S-HDR-06, D17: bytes behind the message make it invalid. `stun` ignores them.
    TrailingBytes,
    /// S-MI-02, S-MI-07: an integrity attribute of a wrong length makes the message invalid. `stun` finds out when
    /// it is asked to check, and does not know MESSAGE-INTEGRITY-SHA256.
    IntegrityLength,
    /// S-FP-03: a wrong FINGERPRINT makes the message invalid. `stun` finds out when it is asked to check.
    FingerprintWrong,
    /// S-FP-02: FINGERPRINT is last, and there is one. `stun` checks the first it finds against the end of the bytes.
    FingerprintPlace,
    /// S-MI-03: what stands behind an integrity attribute does not exist. `stun` shows it.
    BehindIntegrity,
    /// S-MI-08: where MESSAGE-INTEGRITY-SHA256 is present it is the one that counts. `stun` checks the SHA-1 one.
    Sha256Counts,
    /// S-ATT-06, section 4: 0x8020 is an unknown, optional attribute. `stun` reads it as XOR-MAPPED-ADDRESS, as an old draft had it.
    OldXorMappedAddress,
    /// S-ATT-15: the first byte of an address is ignored. `stun` takes it for a part of the family.
    AddressFirstByte,
    /// S-ATT-15: the length of an address fits its family. `stun` fills a short one with zeros.
    AddressLength,
    /// S-ATT-20: the reserved bits of ERROR-CODE are ignored. `stun` counts them in.
    ErrorCodeReserved,
    /// RFC 8489 §14.8: classes go from 3 to 6, numbers to 99. `stun` takes any.
    ErrorCodeRange,
    /// RFC 8656 §18.8: DONT-FRAGMENT is empty. `turn` does not look.
    DontFragmentValue,
    /// T-CD-09, D4: channels end at 0x4FFF. `turn` follows RFC 5766, up to 0x7FFF.
    ReservedChannel,
}

use Difference as D;

/// Everything the two codecs differ in about one message. Panics at a difference that is not one of the permitted.
pub fn differences(bytes: &[u8], key: &Key) -> BTreeSet<Difference> {
    let mut found = BTreeSet::new();
    let mut theirs = Theirs::new();
    let accepted = theirs.unmarshal_binary(bytes);
    let ours = match (Message::parse(bytes), accepted) {
        (Err(_), Err(_)) => return found,
        (Ok(ours), Err(error)) => panic!("only we accept {ours:?}: {error}"),
        (Err(error), Ok(())) => {
            found.insert(why_only_we_refuse(bytes, error, &theirs));
            return found;
        }
        (Ok(ours), Ok(())) => ours,
    };
    headers_agree(&ours, &theirs);
    attributes_agree(bytes, &ours, &theirs, &mut found);
    integrity_agrees(&ours, &mut theirs, key, &mut found);
    match (ours.has_fingerprint(), theirs.contains(ATTR_FINGERPRINT)) {
        (true, true) => FINGERPRINT.check(&theirs).unwrap(),
        (false, false) => {}
        other => panic!("FINGERPRINT seen by us, by them: {other:?}"),
    }
    let mut seen = BTreeSet::new();
    for attribute in ours
        .attributes()
        .filter(|attribute| seen.insert(attribute.kind))
    {
        // Theirs finds the first of a type; the old type may hide in front of the new one.
        if attribute.kind == AttributeType::XOR_MAPPED_ADDRESS
            && ours.attribute(OLD_XOR_MAPPED).is_some()
        {
            continue;
        }
        values_agree(&ours, &attribute, &theirs, &mut found);
    }
    found
}

const OLD_XOR_MAPPED: AttributeType = AttributeType(0x8020);

fn why_only_we_refuse(bytes: &[u8], error: ParseError, theirs: &Theirs) -> Difference {
    match error {
        ParseError::NotStun if bytes[0] & 0xC0 != 0 => D::TopBits,
        ParseError::BadLength if bytes.len() > 20 + theirs.length as usize => D::TrailingBytes,
        ParseError::BadIntegrityLength => {
            let wrong = theirs.attributes.0.iter().any(|attribute| {
                let length = attribute.value.len();
                match AttributeType(attribute.typ.value()) {
                    AttributeType::MESSAGE_INTEGRITY => length != 20,
                    AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                        !(16..=32).contains(&length) || length % 4 != 0
                    }
                    _ => false,
                }
            });
            assert!(wrong, "refused for its integrity's length: {bytes:02x?}");
            D::IntegrityLength
        }
        ParseError::BadFingerprint => {
            let fingerprints = theirs
                .attributes
                .0
                .iter()
                .filter(|a| a.typ == ATTR_FINGERPRINT);
            let is_last = theirs
                .attributes
                .0
                .last()
                .is_some_and(|a| a.typ == ATTR_FINGERPRINT);
            match (fingerprints.count(), is_last) {
                (1, true) => {
                    assert!(
                        FINGERPRINT.check(theirs).is_err(),
                        "only we find it wrong: {bytes:02x?}"
                    );
                    D::FingerprintWrong
                }
                (0, _) => panic!("refused for a FINGERPRINT it has not: {bytes:02x?}"),
                _ => D::FingerprintPlace,
            }
        }
        other => panic!("only we refuse ({other}) {bytes:02x?}"),
    }
}

fn headers_agree(ours: &Message<'_>, theirs: &Theirs) {
    let kind = MessageType::new(ours.method(), ours.class());
    assert_eq!(kind.to_bits(), theirs.typ.value());
    let class = match ours.class() {
        Class::Request => stun::message::CLASS_REQUEST,
        Class::Indication => stun::message::CLASS_INDICATION,
        Class::Success => stun::message::CLASS_SUCCESS_RESPONSE,
        Class::Error => stun::message::CLASS_ERROR_RESPONSE,
    };
    assert_eq!(class, theirs.typ.class);
    assert_eq!(ours.transaction().0, theirs.transaction_id.0);
}

fn ends_the_visible_part(kind: AttrType) -> bool {
    [
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::FINGERPRINT,
    ]
    .contains(&AttributeType(kind.value()))
}

/// Theirs are all of the message. Ours are the same up to the first that ends the visible part, at the same places.
fn attributes_agree(bytes: &[u8], ours: &Message<'_>, theirs: &Theirs, found: &mut BTreeSet<D>) {
    let mut all = theirs.attributes.0.iter();
    let mut at = 20;
    for attribute in ours.attributes() {
        let other = all.next().expect("only we see the attribute");
        at += 4;
        assert_eq!((attribute.value, attribute.offset), (&other.value[..], at));
        if attribute.kind == OLD_XOR_MAPPED {
            assert_eq!(other.typ.value(), AttributeType::XOR_MAPPED_ADDRESS.0);
            found.insert(D::OldXorMappedAddress);
        } else {
            assert_eq!(attribute.kind.0, other.typ.value());
        }
        assert!(!ends_the_visible_part(other.typ));
        at += padded(other.value.len());
    }
    if let Some(end) = all.next() {
        assert!(
            ends_the_visible_part(end.typ),
            "only they see {end:?} in {bytes:02x?}"
        );
    }
    if all.any(|hidden| !ends_the_visible_part(hidden.typ)) {
        found.insert(D::BehindIntegrity);
    }
}

fn integrity_agrees(ours: &Message<'_>, theirs: &mut Theirs, key: &Key, found: &mut BTreeSet<D>) {
    let sha1 = AttrType(AttributeType::MESSAGE_INTEGRITY.0);
    let verified = ours.authenticate(key).is_some();
    match ours.mac() {
        Some(Mac::Sha1) => {
            let integrity = MessageIntegrity(key.as_bytes().to_vec());
            assert_eq!(integrity.check(theirs).is_ok(), verified, "{ours:?}");
        }
        Some(Mac::Sha256) => {
            if theirs.contains(sha1) {
                found.insert(D::Sha256Counts);
            }
        }
        None => assert!(!theirs.contains(sha1) && !verified),
    }
}

/// The values of one attribute, the first of its type in both.
fn values_agree(
    ours: &Message<'_>,
    attribute: &Attribute<'_>,
    theirs: &Theirs,
    found: &mut BTreeSet<D>,
) {
    let kind = AttrType(attribute.kind.0);
    match attribute.kind {
        AttributeType::XOR_MAPPED_ADDRESS
        | AttributeType::XOR_PEER_ADDRESS
        | AttributeType::XOR_RELAYED_ADDRESS => {
            let mut read = XorMappedAddress::default();
            let read = read
                .get_from_as(theirs, kind)
                .ok()
                .map(|()| (read.ip, read.port).into());
            let value = attribute.xor_address(ours.transaction()).ok();
            addresses_agree(attribute.value, value, read, found);
        }
        AttributeType::MAPPED_ADDRESS
        | AttributeType::ALTERNATE_SERVER
        | AttributeType::RESPONSE_ORIGIN
        | AttributeType::OTHER_ADDRESS => {
            let mut read = stun::addr::MappedAddress::default();
            let read = read
                .get_from_as(theirs, kind)
                .ok()
                .map(|()| (read.ip, read.port).into());
            addresses_agree(attribute.value, attribute.address().ok(), read, found);
        }
        AttributeType::ERROR_CODE => {
            let mut read = ErrorCodeAttribute::default();
            let read = read.get_from(theirs).ok().map(|()| read.code.0);
            let value = attribute.error_code().ok();
            if value == read {
                return;
            }
            let class = attribute.value[2];
            let in_range = (3..=6).contains(&(class & 7)) && attribute.value[3] < 100;
            match value {
                Some(_) if class > 7 => found.insert(D::ErrorCodeReserved),
                None if !in_range => found.insert(D::ErrorCodeRange),
                _ => panic!(
                    "ERROR-CODE {:02x?} is {value:?} or {read:?}",
                    attribute.value
                ),
            };
        }
        AttributeType::LIFETIME => {
            let mut read = proto::lifetime::Lifetime::default();
            let read = read.get_from(theirs).ok().map(|()| read.0.as_secs());
            assert_eq!(attribute.lifetime().ok().map(u64::from), read);
        }
        AttributeType::CHANNEL_NUMBER => {
            let mut read = proto::channum::ChannelNumber::default();
            let read = read.get_from(theirs).ok().map(|()| read.0);
            assert_eq!(attribute.channel_number().ok(), read);
        }
        AttributeType::REQUESTED_TRANSPORT => {
            let mut read = proto::reqtrans::RequestedTransport::default();
            let read = read.get_from(theirs).ok().map(|()| read.protocol.0);
            assert_eq!(attribute.requested_transport().ok(), read);
        }
        AttributeType::REQUESTED_ADDRESS_FAMILY => {
            let mut read = proto::reqfamily::RequestedAddressFamily::default();
            let read = read.get_from(theirs).ok().map(|()| read.0);
            let value = attribute.address_family().ok().and_then(Family::from_code);
            assert_eq!(value.map(Family::code), read);
        }
        AttributeType::EVEN_PORT => {
            let mut read = proto::evenport::EvenPort::default();
            let read = read.get_from(theirs).ok().map(|()| read.to_string());
            let value = attribute.even_port_reserves().ok();
            assert_eq!(value.map(|reserves| format!("reserve: {reserves}")), read);
        }
        AttributeType::RESERVATION_TOKEN => {
            let mut read = proto::rsrvtoken::ReservationToken::default();
            let read = read.get_from(theirs).ok().map(|()| read.0);
            assert_eq!(attribute.reservation_token().ok().map(Vec::from), read);
        }
        AttributeType::DONT_FRAGMENT => {
            proto::dontfrag::DontFragmentAttr.get_from(theirs).unwrap();
            if attribute.dont_fragment().is_err() {
                assert!(!attribute.value.is_empty());
                found.insert(D::DontFragmentValue);
            }
        }
        OLD_XOR_MAPPED => assert!(found.contains(&D::OldXorMappedAddress)),
        _ => assert_eq!(attribute.value, theirs.get(kind).unwrap()),
    }
}

fn addresses_agree(
    value: &[u8],
    ours: Option<SocketAddr>,
    theirs: Option<SocketAddr>,
    found: &mut BTreeSet<D>,
) {
    if ours == theirs {
        return;
    }
    let fits = matches!((value.len(), value.get(1)), (8, Some(1)) | (20, Some(2)));
    let difference = match (ours, theirs) {
        (Some(_), None) if value[0] != 0 => D::AddressFirstByte,
        (None, Some(_)) if !fits => D::AddressLength,
        _ => panic!("address {value:02x?} is {ours:?} or {theirs:?}"),
    };
    found.insert(difference);
}

/// The same for one ChannelData frame.
pub fn frame_differences(bytes: &[u8]) -> Option<Difference> {
    let mut theirs = proto::chandata::ChannelData {
        raw: bytes.to_vec(),
        ..Default::default()
    };
    match (channel_data::parse(bytes), theirs.decode()) {
        (None, Err(_)) => None,
        (Some((channel, payload)), Ok(())) => {
            assert_eq!(channel.get(), theirs.number.0);
            assert_eq!(bytes[payload], theirs.data[..]);
            None
        }
        (None, Ok(())) if theirs.number.0 > ChannelNumber::MAX.get() => Some(D::ReservedChannel),
        (ours, theirs) => panic!("{bytes:02x?} is {ours:?} or {theirs:?}"),
    }
}
