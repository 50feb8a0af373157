//! TLS for clients on TCP: which certificate a client is shown, the handshake, and the bytes afterwards.
//!
//! TLS 1.2 and 1.3 by rustls with aws-lc-rs. There is no early data and no renegotiation. Sessions are resumed by
//! tickets, whose keys live in this process only. The library works on bytes alone, so a connection stays one task
//! that reads and writes without waiting, as it is for plain TCP. An authority that wants to see whether a name is this
//! server's (RFC 8737) is shown what it looks for, and nothing else. Main types: [`Tls`] and [`TlsStream`].

use super::carrier::nothing_is_left;
use crate::config::Certificate;
use crate::engine::counters::TlsFailureReason;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert, ServerConfig, ServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{Error, PeerIncompatible};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead as _, IoSlice, Read, Write};
use std::sync::Arc;
use tokio::net::TcpStream;

/// What clients may ask for by ALPN (RFC 7443).
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// What an authority asks for that wants to see whether a name is this server's (RFC 8737, section 3).
const CHALLENGE: &[u8] = b"acme-tls/1";

/// How many bytes of plain text are handed to TLS before the socket takes them: one full record. What waits longer
/// stays in the send queue, where media can still be dropped.
const AHEAD: usize = 16 << 10;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate and its key cannot be used.
    #[error("{}: {error}", .certificate.display())]
    Certificate {
        /// The certificate's file.
        certificate: std::path::PathBuf,
        /// What is wrong.
        error: Error,
    },
    /// The cryptographic library has no random numbers or no protocol version.
    #[error("TLS cannot be set up: {0}")]
    Library(Error),
}

/// What this server shows to TLS clients. Shared by all workers; the certificates can be replaced while they run.
pub struct Tls {
    certificates: Arc<Resolver>,
    /// With ALPN, for clients that offer a protocol we speak, or none.
    named: Arc<ServerConfig>,
    /// Without, for clients that offer only others: with a list of ours the handshake would fail.
    unnamed: Arc<ServerConfig>,
    /// What authorities are shown that look for it, by the name they ask for.
    proofs: Arc<Proofs>,
    /// With the one protocol that these speak.
    proving: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({} certificates)", self.certificates.0.load().len())
    }
}

impl Tls {
    /// TLS with these certificates, of which the first is for clients that name none of them. As long as there is none, no
    /// handshake succeeds.
    ///
    /// # Errors
    /// A [`TlsError`] that names the certificate that cannot be used.
    pub fn new(certificates: &[Certificate]) -> Result<Tls, TlsError> {
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(entries(certificates)?)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(resolver.clone());
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
        // Tickets keep no state here; a cache would be one more lock that all workers share.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        let unnamed = Arc::new(config.clone());
        let proofs = Arc::new(Proofs::default());
        let mut proving = config.clone();
        proving.cert_resolver = proofs.clone();
        proving.alpn_protocols = vec![CHALLENGE.to_vec()];
        proving.send_tls13_tickets = 0;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Tls {
            proofs,
            proving: Arc::new(proving),
            certificates: resolver,
            named: Arc::new(config),
            unnamed,
        })
    }

    /// Shows other certificates from the next handshake on.
    ///
    /// # Errors
    /// As [`Tls::new`]; the former ones then stay.
    pub fn replace(&self, certificates: &[Certificate]) -> Result<(), TlsError> {
        self.certificates.0.store(Arc::new(entries(certificates)?));
        Ok(())
    }

    /// Shows authorities that ask for one of these names by the protocol `acme-tls/1` this certificate, in place of what they
    /// were shown before.
    pub fn prove(&self, proofs: HashMap<String, Arc<CertifiedKey>>) {
        self.proofs.0.store(Arc::new(proofs));
    }

    /// How TLS is spoken where HTTP is served, with the same certificates.
    #[must_use]
    pub fn for_http(&self) -> Arc<ServerConfig> {
        self.unnamed.clone()
    }

    /// Takes a connection through the handshake, beginning with bytes that were read from it before. A client that is
    /// refused is told why. `None` is an authority that has seen what it looked for, which was all it came for. Does not end
    /// by itself where the client keeps silent.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        before: Vec<u8>,
    ) -> Result<Option<TlsStream>, TlsFailure> {
        let mut source = Source { before, more: true };
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            source.wait(&socket, |from| acceptor.read_tls(from)).await?;
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    // As far as the socket takes it.
                    let _ = alert.write_all(&mut Sink(&socket));
                    return Err(TlsFailure::of(error, true));
                }
            }
        };
        let is_ours = |name: &[u8]| ALPN.contains(&name);
        let is_named = accepted
            .client_hello()
            .alpn()
            .is_none_or(|mut names| names.any(is_ours));
        let is_looking = self.proofs.is_looked_for(&accepted.client_hello());
        let config = match (is_looking, is_named) {
            (true, _) => &self.proving,
            (_, true) => &self.named,
            (_, false) => &self.unnamed,
        };
        let mut connection =
            accepted
                .into_connection(config.clone())
                .map_err(|(error, mut alert)| {
                    let _ = alert.write_all(&mut Sink(&socket));
                    self.failure(error, is_looking)
                })?;
        connection.set_buffer_limit(Some(AHEAD));
        loop {
            while connection.wants_write() {
                match connection.write_tls(&mut Sink(&socket)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        socket.writable().await.map_err(|_| TlsFailure::closed())?;
                    }
                    Err(_) => return Err(TlsFailure::closed()),
                }
            }
            if !connection.is_handshaking() {
                let mut stream = TlsStream {
                    socket,
                    connection,
                    source,
                };
                if is_looking {
                    stream.close();
                    return Ok(None);
                }
                return Ok(Some(stream));
            }
            source
                .wait(&socket, |from| connection.read_tls(from))
                .await?;
            if let Err(error) = connection.process_new_packets() {
                let _ = connection.write_tls(&mut Sink(&socket));
                return Err(self.failure(error, is_looking));
            }
        }
    }

    /// A handshake that failed once it was known what the client wants, and whether it is an authority.
    fn failure(&self, error: Error, is_looking: bool) -> TlsFailure {
        let mut failure = TlsFailure::of(error, false);
        if !is_looking && self.certificates.0.load().is_empty() {
            failure.reason = TlsFailureReason::NoCertificate;
        }
        failure
    }
}

/// A handshake that failed.
#[derive(Debug)]
pub(super) struct TlsFailure {
    pub reason: TlsFailureReason,
    /// The library's word on it, where it is not just the connection that ended.
    pub error: Option<Error>,
}

impl TlsFailure {
    fn closed() -> Self {
        TlsFailure {
            reason: TlsFailureReason::Closed,
            error: None,
        }
    }

    /// `is_first`: nothing of the client was understood before.
    fn of(error: Error, is_first: bool) -> Self {
        let reason = match &error {
            Error::InvalidMessage(_) if is_first => TlsFailureReason::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                // Which TLS 1.1 does not have.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => TlsFailureReason::Version,
            Error::PeerIncompatible(_) => TlsFailureReason::NothingInCommon,
            Error::AlertReceived(_) => TlsFailureReason::Refused,
            _ => TlsFailureReason::Protocol,
        };
        TlsFailure {
            reason,
            error: Some(error),
        }
    }
}

/// Bytes from the client: those that were read too early, then the socket's.
struct Source {
    before: Vec<u8>,
    /// Whether the socket may have more than was read last.
    more: bool,
}

impl Source {
    fn from<'a>(&'a mut self, socket: &'a TcpStream) -> impl Read + 'a {
        FromClient {
            before: &mut self.before,
            more: &mut self.more,
            socket,
        }
    }

    /// Lets `read` read once, as soon as there is something.
    async fn wait(
        &mut self,
        socket: &TcpStream,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>,
    ) -> Result<(), TlsFailure> {
        loop {
            match read(&mut self.from(socket)) {
                Ok(0) => return Err(TlsFailure::closed()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(TlsFailure::closed()),
            }
            if socket.readable().await.is_err() {
                return Err(TlsFailure::closed());
            }
        }
    }
}

struct FromClient<'a> {
    before: &'a mut Vec<u8>,
    more: &'a mut bool,
    socket: &'a TcpStream,
}

impl Read for FromClient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.before.is_empty() {
            let count = self.socket.try_read(into)?;
            *self.more = count == into.len();
            if !*self.more {
                nothing_is_left(self.socket);
            }
            return Ok(count);
        }
        let count = self.before.as_slice().read(into)?;
        self.before.drain(..count);
        if self.before.is_empty() {
            *self.before = Vec::new();
        }
        Ok(count)
    }
}

/// The way to the client, as far as the socket takes bytes at once.
struct Sink<'a>(&'a TcpStream);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection behind its handshake.
pub(super) struct TlsStream {
    socket: TcpStream,
    connection: ServerConnection,
    source: Source,
}

impl TlsStream {
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the socket may have more than was read last.
    pub const fn has_more(&self) -> bool {
        self.source.more
    }

    /// Appends what the client has said to `into`; 0 at the end of the stream, an error of kind `WouldBlock` where
    /// there is nothing yet.
    pub fn try_read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let mut reader = self.connection.reader();
            match reader.fill_buf() {
                // The client closed its side with an alert.
                Ok([]) => return Ok(total),
                Ok(plain) => {
                    let count = plain.len();
                    into.extend_from_slice(plain);
                    reader.consume(count);
                    total += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It closed without; frames say by themselves whether they are whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(total),
                Err(error) => return Err(error),
            }
            if total > 0 {
                return Ok(total);
            }
            self.receive()?;
        }
    }

    /// The same into a slice, as much of it as there is.
    pub fn try_read_into(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
        }
    }

    /// Takes records off the socket.
    fn receive(&mut self) -> io::Result<()> {
        let mut from = self.source.from(&self.socket);
        self.connection.read_tls(&mut from)?;
        if let Err(error) = self.connection.process_new_packets() {
            drop(from);
            let _ = self.connection.write_tls(&mut Sink(&self.socket));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }

    /// Takes the bytes that the next records are made of; 0 where the former ones have not left yet.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.connection.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.connection.writer().write_vectored(slices)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether records wait for the socket.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Sends the records that wait.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Sink(&self.socket))?;
        }
        Ok(())
    }

    /// Tells the client that nothing more comes; it can go on to send.
    pub fn end(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush()?;
        socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write)
    }

    /// Tells the client that nothing more comes, as far as the socket takes it at once.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
        let _ = self.flush();
    }
}

/// The certificates, swapped as a whole.
#[derive(Debug)]
struct Resolver(ArcSwap<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Entry {
    /// How well the certificate fits a name: not, by a wildcard, which stands for one label, or by the name itself.
    fn fit(&self, asked: &str) -> u8 {
        let fit = |name: &String| {
            if name.eq_ignore_ascii_case(asked) {
                return 2;
            }
            let parent = asked.split_once('.').map(|(_, parent)| parent);
            match (name.strip_prefix("*."), parent) {
                (Some(name), Some(parent)) if name.eq_ignore_ascii_case(parent) => 1,
                _ => 0,
            }
        };
        self.names.iter().map(fit).max().unwrap_or(0)
    }
}

fn entries(certificates: &[Certificate]) -> Result<Vec<Entry>, TlsError> {
    certificates
        .iter()
        .map(|certificate| {
            let key = certificate
                .certified()
                .map_err(|error| TlsError::Certificate {
                    certificate: certificate.file().to_owned(),
                    error,
                })?;
            Ok(Entry {
                names: certificate.names().to_vec(),
                key: Arc::new(key),
            })
        })
        .collect()
}

/// Certificates that prove names, swapped as a whole.
#[derive(Debug, Default)]
struct Proofs(ArcSwap<HashMap<String, Arc<CertifiedKey>>>);

impl Proofs {
    fn of(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.load().get(&name).cloned()
    }

    /// Whether a client is an authority, and there is something for it to see.
    fn is_looked_for(&self, hello: &ClientHello<'_>) -> bool {
        let mut asked = hello.alpn().into_iter().flatten();
        asked.next() == Some(CHALLENGE) && asked.next().is_none() && self.of(hello).is_some()
    }
}

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(&hello)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let entries = self.0.load();
        let asked = hello.server_name();
        // The best name, of a kind of key that the client understands, and the first of those that are equal.
        entries
            .iter()
            .rev()
            .max_by_key(|entry| {
                let schemes = hello.signature_schemes();
                let is_understood = entry.key.key.choose_scheme(schemes).is_some();
                let fit = asked.map_or(0, |asked| entry.fit(asked));
                (is_understood, fit)
            })
            .map(|best| best.key.clone())
    }
}
