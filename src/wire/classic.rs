//! Requests of RFC 3489, from before there was a magic cookie: a transaction id of 128 bits in its place.
//!
//! Only Binding requests are read, since TURN never had such messages (RFC 8656 §5). Whether they are answered is up to
//! the engine. Main type: [`ClassicRequest`].

use super::attribute::{Attribute, AttributeType};
use super::header::{Class, HEADER_LENGTH, MAGIC_COOKIE, MessageType, Method};
use super::message::{Attributes, ParseError};

/// A transaction id of RFC 3489.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassicId(pub [u8; 16]);

/// A Binding request without magic cookie.
#[derive(Clone, Debug)]
pub struct ClassicRequest<'a> {
    id: ClassicId,
    attributes: Attributes<'a>,
}

impl<'a> ClassicRequest<'a> {
    /// Parses exactly one request that fills `bytes`.
    ///
    /// # Errors
    /// A [`ParseError`]; [`ParseError::NotStun`] for any other kind of message, one with a cookie included.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = bytes
            .split_first_chunk::<HEADER_LENGTH>()
            .ok_or(ParseError::TooShort)?;
        let [t0, t1, l0, l1, id @ ..] = *header;
        let binding = MessageType::new(Method::BINDING, Class::Request);
        if u16::from_be_bytes([t0, t1]) != binding.to_bits()
            || id.starts_with(&MAGIC_COOKIE.to_be_bytes())
        {
            return Err(ParseError::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length % 4 != 0 || length != body.len() {
            return Err(ParseError::BadLength);
        }
        let attributes = Attributes::behind_header(bytes);
        let mut rest = attributes.clone();
        while rest.next_checked()?.is_some() {}
        Ok(Self {
            id: ClassicId(id),
            attributes,
        })
    }

    /// The transaction id.
    #[must_use]
    pub const fn id(&self) -> ClassicId {
        self.id
    }

    /// The attributes in order, repetitions included.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        self.attributes.clone()
    }

    /// The first attribute of a type.
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }
}
