//! The first message of a DTLS client, and what may be said to it without remembering it: HelloVerifyRequest
//! (RFC 6347 §4.2.1), HelloRetryRequest with a cookie (RFC 9147 §5.1) and an alert.
//!
//! No handshake is done here. A ClientHello that does not stand whole in one record is none here, since putting it
//! together would take memory for a client that has not shown that it receives what is sent to its address. Main type:
//! [`ClientHello`].

/// The length of the cookies made and understood here, in bytes.
pub const COOKIE_LENGTH: usize = 32;

/// The length of a record's header in front of what is not encrypted.
pub const RECORD_HEADER: usize = 13;

/// The length of a handshake message's header.
const HANDSHAKE_HEADER: usize = 12;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];
const DTLS_1_2: [u8; 2] = [0xFE, 0xFD];
const DTLS_1_3: [u8; 2] = [0xFE, 0xFC];

const PADDING: u16 = 21;
const SUPPORTED_VERSIONS: u16 = 43;
const COOKIE: u16 = 44;
const KEY_SHARE: u16 = 51;

/// The cipher suites of DTLS 1.3 that can be chosen: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305.
const SUITES_1_3: [[u8; 2]; 3] = [[0x13, 0x01], [0x13, 0x02], [0x13, 0x03]];

/// The groups that can be chosen: P-256, P-384, X25519.
const GROUPS: [[u8; 2]; 3] = [[0, 23], [0, 24], [0, 29]];

/// What a HelloRetryRequest has in place of random bytes (RFC 8446 §4.1.3): SHA-256 of its name.
const RETRY_RANDOM: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// The protocol a handshake goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// DTLS 1.2 (RFC 6347).
    Dtls12,
    /// DTLS 1.3 (RFC 9147), with this cipher suite.
    Dtls13([u8; 2]),
}

/// Why a datagram does not begin a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It is not a handshake record, or not the first message of one.
    #[error("not a ClientHello")]
    Other,
    /// It ends too early, or its lengths contradict each other, or it is one of several fragments.
    #[error("a malformed ClientHello")]
    Malformed,
    /// A version before DTLS 1.2.
    #[error("a ClientHello of an old version")]
    Version,
}

/// A ClientHello: a view of the datagram it was read from.
#[derive(Clone, Copy, Debug)]
pub struct ClientHello<'a> {
    /// The sequence number of its record.
    pub record_sequence: u64,
    /// The client's random bytes, which name this handshake among others of the client.
    pub random: [u8; 32],
    /// The cookie, empty in a first ClientHello.
    pub cookie: &'a [u8],
    /// How to go on.
    pub version: Version,
    message: &'a [u8],
    session: &'a [u8],
    suites: &'a [u8],
    compression: &'a [u8],
    extensions: &'a [u8],
}

/// Whether a datagram looks like a ClientHello: enough to keep others from being read as one.
#[must_use]
pub fn is_client_hello(datagram: &[u8]) -> bool {
    let kind = datagram.first() == Some(&HANDSHAKE);
    kind && datagram.get(3..5) == Some(&[0, 0])
        && datagram.get(RECORD_HEADER) == Some(&CLIENT_HELLO)
}

impl<'a> ClientHello<'a> {
    /// Reads the record a datagram starts with.
    ///
    /// # Errors
    /// A [`HelloError`] where it does not begin a handshake.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, HelloError> {
        if !is_client_hello(datagram) {
            return Err(HelloError::Other);
        }
        let mut datagram = Bytes(datagram);
        let mut read = || {
            datagram.take(5)?;
            let record_sequence = datagram.number(6)?;
            Some((record_sequence, Bytes(datagram.vector(2)?)))
        };
        let (record_sequence, mut record) = read().ok_or(HelloError::Malformed)?;
        let message = record.0;
        let mut read = || {
            record.take(1)?;
            let length = record.number(3)?;
            record.take(2)?;
            let (offset, here) = (record.number(3)?, record.number(3)?);
            let is_whole = offset == 0 && here == length && length == record.0.len() as u64;
            is_whole.then_some(record)
        };
        let mut body = read().ok_or(HelloError::Malformed)?;
        let version = body.take(2).ok_or(HelloError::Malformed)?;
        // A DTLS version counts downwards; one that is newer still is spoken of in an extension.
        if version != DTLS_1_2 {
            return Err(HelloError::Version);
        }
        let mut read = || {
            let mut hello = ClientHello {
                record_sequence,
                random: body.take(32)?.try_into().ok()?,
                session: body.vector(1)?,
                cookie: body.vector(1)?,
                suites: body.vector(2)?,
                compression: body.vector(1)?,
                extensions: if body.0.is_empty() {
                    &[]
                } else {
                    body.vector(2)?
                },
                version: Version::Dtls12,
                message,
            };
            let is_well_formed = body.0.is_empty()
                && hello.session.len() <= 32
                && !hello.suites.is_empty()
                && hello.suites.len().is_multiple_of(2)
                && extensions(hello.extensions).all(|extension| extension.is_some());
            if !is_well_formed {
                return None;
            }
            if let Some(suite) = hello.suite_1_3() {
                hello.version = Version::Dtls13(suite);
                let cookie = hello.extension(COOKIE).unwrap_or_default();
                hello.cookie = Bytes(cookie).vector(2).unwrap_or(cookie);
            }
            Some(hello)
        };
        read().ok_or(HelloError::Malformed)
    }

    /// The cipher suite of DTLS 1.3, if that can be spoken without asking for another key share.
    fn suite_1_3(&self) -> Option<[u8; 2]> {
        let mut versions = Bytes(self.extension(SUPPORTED_VERSIONS)?);
        let offers = versions.vector(1)?.chunks_exact(2).any(|v| v == DTLS_1_3);
        if !offers || !self.cookie.is_empty() {
            return None;
        }
        let mut shares = Bytes(Bytes(self.extension(KEY_SHARE)?).vector(2)?);
        let mut has_share = false;
        while let Some(group) = shares.take(2) {
            has_share |= GROUPS.iter().any(|known| known == group);
            shares.vector(2)?;
        }
        let suites = self.suites.chunks_exact(2);
        let mut known = suites.filter_map(|suite| <[u8; 2]>::try_from(suite).ok());
        known.find(|suite| has_share && SUITES_1_3.contains(suite))
    }

    fn extension(&self, kind: u16) -> Option<&'a [u8]> {
        extensions(self.extensions)
            .flatten()
            .find(|extension| extension.kind == kind)
            .map(|extension| extension.data)
    }

    /// What a client must repeat when it comes back with a cookie, for the cookie to vouch for. Of DTLS 1.2 the fields
    /// that RFC 6347 §4.2.1 names; of DTLS 1.3, `first` whole.
    pub fn bound<'s>(&'s self, first: &'s [u8]) -> [&'s [u8]; 4] {
        match self.version {
            Version::Dtls12 => [&self.random, self.session, self.suites, self.compression],
            Version::Dtls13(_) => [
                first.get(HANDSHAKE_HEADER..).unwrap_or_default(),
                &[],
                &[],
                &[],
            ],
        }
    }

    /// The handshake message with its header.
    #[must_use]
    pub const fn message(&self) -> &'a [u8] {
        self.message
    }

    /// What the client's first message, without a cookie, can have been, if this is its second.
    ///
    /// Of DTLS 1.3 its every byte counts (RFC 8446 §4.4.1): the cookie is taken out, and where there is padding
    /// that may have made room for it, both ways are given.
    #[must_use]
    pub fn first_messages(&self) -> Vec<Vec<u8>> {
        let bare = match self.version {
            Version::Dtls12 => {
                return vec![self.rebuilt(Some(self.extensions).filter(|e| !e.is_empty()))];
            }
            Version::Dtls13(_) => self.without_cookie(0),
        };
        let cookie = 6 + self.cookie.len();
        let has_padding = self.extension(PADDING).is_some();
        let mut first = vec![self.rebuilt(Some(&bare))];
        if has_padding {
            first.push(self.rebuilt(Some(&self.without_cookie(cookie))));
        }
        first
    }

    /// The extensions without the cookie, with so much more padding.
    fn without_cookie(&self, more: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.extensions.len() + more);
        for extension in extensions(self.extensions).flatten() {
            let more = if extension.kind == PADDING { more } else { 0 };
            if extension.kind != COOKIE {
                bytes.extend_from_slice(&extension.kind.to_be_bytes());
                bytes.extend_from_slice(&length(extension.data.len() + more));
                bytes.extend_from_slice(extension.data);
                bytes.resize(bytes.len() + more, 0);
            }
        }
        bytes
    }

    /// The message with number 0, without a cookie of DTLS 1.2 and with other extensions.
    fn rebuilt(&self, extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.message.len());
        body.extend_from_slice(&DTLS_1_2);
        body.extend_from_slice(&self.random);
        body.push(self.session.len() as u8); // at most 32
        body.extend_from_slice(self.session);
        body.push(0);
        body.extend_from_slice(&length(self.suites.len()));
        body.extend_from_slice(self.suites);
        body.push(self.compression.len() as u8); // it had one byte of length before
        body.extend_from_slice(self.compression);
        if let Some(extensions) = extensions {
            body.extend_from_slice(&length(extensions.len()));
            body.extend_from_slice(extensions);
        }
        handshake(CLIENT_HELLO, &body)
    }
}

/// A record that carries a handshake message in the clear.
#[must_use]
pub fn handshake_record(sequence: u64, message: &[u8]) -> Vec<u8> {
    record(HANDSHAKE, sequence, message)
}

/// Asks a client of DTLS 1.2 to come back with a cookie. The record has the number of the one it answers, as RFC 6347
/// §4.2.1 wants it.
#[must_use]
pub fn hello_verify_request(sequence: u64, cookie: &[u8; COOKIE_LENGTH]) -> Vec<u8> {
    let mut body = Vec::with_capacity(3 + COOKIE_LENGTH);
    // Whatever version is to come (RFC 6347 §4.2.1).
    body.extend_from_slice(&DTLS_1_0);
    body.push(COOKIE_LENGTH as u8);
    body.extend_from_slice(cookie);
    handshake_record(sequence, &handshake(HELLO_VERIFY_REQUEST, &body))
}

/// Asks a client of DTLS 1.3 to come back with a cookie.
#[must_use]
pub fn hello_retry_request(suite: [u8; 2], cookie: &[u8; COOKIE_LENGTH]) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(12 + COOKIE_LENGTH);
    extensions.extend_from_slice(&SUPPORTED_VERSIONS.to_be_bytes());
    extensions.extend_from_slice(&[0, 2]);
    extensions.extend_from_slice(&DTLS_1_3);
    extensions.extend_from_slice(&COOKIE.to_be_bytes());
    extensions.extend_from_slice(&length(COOKIE_LENGTH + 2));
    extensions.extend_from_slice(&length(COOKIE_LENGTH));
    extensions.extend_from_slice(cookie);
    let mut body = Vec::with_capacity(40 + extensions.len());
    body.extend_from_slice(&DTLS_1_2);
    body.extend_from_slice(&RETRY_RANDOM);
    body.push(0); // no session
    body.extend_from_slice(&suite);
    body.push(0); // no compression
    body.extend_from_slice(&length(extensions.len()));
    body.extend_from_slice(&extensions);
    handshake_record(0, &handshake(SERVER_HELLO, &body))
}

/// Tells a client why there will be no handshake, with an alert's description (RFC 8446 §6.2).
#[must_use]
pub fn fatal_alert(sequence: u64, description: u8) -> Vec<u8> {
    record(ALERT, sequence, &[2, description])
}

/// Adds to the sequence numbers of the records of a datagram that are not encrypted.
pub fn renumber(datagram: &mut [u8], offset: u64) {
    let mut rest = datagram;
    // Encrypted records of DTLS 1.3 look different; nothing in the clear follows them.
    while let Some((header, behind)) = rest.split_at_mut_checked(RECORD_HEADER) {
        let [20..=26, 0xFE, _, e0, e1, sequence @ .., l0, l1] = header else {
            return;
        };
        if [*e0, *e1] == [0, 0] {
            let number = Bytes(sequence).number(6).unwrap_or(0).wrapping_add(offset);
            for (place, byte) in number.to_be_bytes().iter().skip(2).enumerate() {
                if let Some(digit) = sequence.get_mut(place) {
                    *digit = *byte;
                }
            }
        }
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some((_, next)) = behind.split_at_mut_checked(length) else {
            return;
        };
        rest = next;
    }
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [.., l0, l1, l2] = (body.len() as u32).to_be_bytes();
    let mut message = Vec::with_capacity(HANDSHAKE_HEADER + body.len());
    message.extend_from_slice(&[kind, l0, l1, l2, 0, 0, 0, 0, 0, l0, l1, l2]);
    message.extend_from_slice(body);
    message
}

fn record(kind: u8, sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEADER + content.len());
    bytes.push(kind);
    bytes.extend_from_slice(&DTLS_1_2);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend(sequence.to_be_bytes().iter().skip(2));
    bytes.extend_from_slice(&length(content.len()));
    bytes.extend_from_slice(content);
    bytes
}

/// A length in two bytes; everything here is a part of one datagram.
const fn length(length: usize) -> [u8; 2] {
    (length as u16).to_be_bytes()
}

#[derive(Clone, Copy)]
struct Extension<'a> {
    kind: u16,
    data: &'a [u8],
}

/// The extensions of a list, with `None` at the end of one that is malformed.
fn extensions(list: &[u8]) -> impl Iterator<Item = Option<Extension<'_>>> {
    let mut rest = Bytes(list);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let mut next = || {
            Some(Extension {
                kind: rest.number(2)? as u16,
                data: rest.vector(2)?,
            })
        };
        let next = next();
        if next.is_none() {
            rest = Bytes(&[]);
        }
        Some(next)
    })
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most eight.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let digits = self.take(bytes)?;
        Some(digits.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Bytes with their length, of so many bytes, in front.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(usize::try_from(length).ok()?)
    }
}
