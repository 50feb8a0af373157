//! Requests that hairpin itself makes over HTTP: one connection each, HTTP/1.1, over TLS where the URL says so.
//!
//! What is read of the system, authorities and name servers, is read when a client is made, so that it works behind the
//! sandbox. Nothing is followed and nothing is tried again here; how long an answer may take is the caller's to say. Main
//! type: [`Outgoing`].

use super::authorities;
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

/// How requests name their sender.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("hairpin/", env!("CARGO_PKG_VERSION")));

/// How long an address is tried before the next one is as well.
const START: Duration = Duration::from_millis(250);

/// What requests go out with.
pub struct Outgoing {
    tls: Option<Arc<ClientConfig>>,
    resolver: Option<TokioResolver>,
}

impl Outgoing {
    /// A client for URLs like this one, at any host; of the system is read what these need. `ca` is the file of the
    /// authorities that the other side's certificate may be from; without one they are the system's.
    ///
    /// # Errors
    /// A sentence that says what of the system cannot be read.
    pub fn new(uri: &Uri, ca: Option<&Path>) -> Result<Self, String> {
        let is_https = uri.scheme_str() == Some("https");
        let tls = is_https.then(|| authorities::client(ca)).transpose()?;
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let resolver = match resolver {
            Ok(resolver) => Some(resolver),
            // A later URL may have a name, but this one can do without.
            Err(_) if bare_host(uri).parse::<IpAddr>().is_ok() => None,
            Err(error) => return Err(format!("names cannot be looked up: {error}")),
        };
        Ok(Outgoing {
            tls: tls.map(Arc::new),
            resolver,
        })
    }

    /// Sends a request, whose URL is a whole one, and reads the answer, of whose body at most `longest` bytes are taken; a
    /// longer one, or one that breaks off, is an error in the body's place.
    ///
    /// # Errors
    /// Where there is no answer: what the network said.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        longest: usize,
    ) -> io::Result<Response<io::Result<Bytes>>> {
        let uri = request.uri().clone();
        let host = bare_host(&uri).to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let stream = self.connect(&host, port).await?;
        if !is_https {
            return exchange(stream, request, longest).await;
        }
        let tls = self.tls.clone();
        let tls = tls.ok_or_else(|| io::Error::other("TLS was not to be needed"))?;
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        exchange(stream, request, longest).await
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return TcpStream::connect((address, port)).await;
        }
        let resolver = self.resolver.as_ref();
        let resolver = resolver.ok_or_else(|| {
            io::Error::other("names could not be looked up when the server started")
        })?;
        let found = resolver.lookup_ip(host).await;
        let found = found.map_err(|error| io::Error::other(error.to_string()))?;
        let addresses = found.iter().map(|ip| SocketAddr::new(ip, port));
        first_to_answer(addresses.collect()).await
    }
}

/// A connection with whichever address answers first. Each is given a start before the next, so that one that leads nowhere
/// costs no more than that (RFC 8305, section 5).
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut left = addresses.into_iter();
    // Those that are not needed any more end with it.
    let mut tries = JoinSet::new();
    loop {
        match left.next() {
            Some(address) => drop(tries.spawn(TcpStream::connect(address))),
            None if tries.is_empty() => return Err(last),
            None => {}
        }
        let is_last = left.len() == 0;
        tokio::select! {
            Some(tried) = tries.join_next() => match tried.map_err(io::Error::other).flatten() {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = sleep(START), if !is_last => {}
        }
    }
}

/// The host of a URL, an IPv6 address without its brackets.
fn bare_host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> io::Result<Response<io::Result<Bytes>>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map_or("", |of| of.as_str());
    let host = HeaderValue::from_str(authority).map_err(io::Error::other)?;
    head.headers.insert(HOST, host);
    head.headers.insert(USER_AGENT, AGENT);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(io::Error::other)?;
    let answer = async {
        let request = Request::from_parts(head, body);
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(failed)?.into_parts();
        let body = Limited::new(body, longest).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                io::Error::other(format!("the answer is longer than {longest} bytes"))
            } else {
                io::Error::other(error)
            }
        });
        let body = body.map(|body| body.to_bytes());
        Ok(Response::from_parts(head, body))
    };
    beside(connection, answer).await
}

/// Waits for the answer while the connection is driven. Whoever has answered may break the connection off.
async fn beside<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    answer: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut connection = Box::pin(connection);
    tokio::pin!(answer);
    let ended = tokio::select! {
        answered = &mut answer => return answered,
        ended = &mut connection => ended,
    };
    drop(connection);
    match (answer.await, ended) {
        (Err(_), Err(why)) => Err(failed(why)),
        (answered, _) => answered,
    }
}

/// An error with what is behind it, which the library keeps to itself.
fn failed(error: hyper::Error) -> io::Error {
    let mut text = error.to_string();
    let mut behind = std::error::Error::source(&error);
    while let Some(error) = behind {
        text = format!("{text}: {error}");
        behind = error.source();
    }
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::first_to_answer;
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    /// An address at which nobody answers, for as long as what comes with it is held: its queue is full.
    fn silent() -> (SocketAddr, (Socket, Vec<TcpStream>)) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&SockAddr::from(any)).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let soon = Duration::from_millis(200);
        let waiting = (0..3).map_while(|_| TcpStream::connect_timeout(&address, soon).ok());
        let waiting: Vec<_> = waiting.collect();
        assert!(waiting.len() < 3, "the queue takes all");
        (address, (socket, waiting))
    }

    fn nobody() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_does_not_keep_from_the_next() {
        let (silent, _full) = silent();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let good = listener.local_addr().unwrap();
        let begin = Instant::now();
        let stream = first_to_answer(vec![nobody(), silent, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn where_no_address_answers_it_is_said_why() {
        let refused = first_to_answer(vec![nobody(), nobody()]).await;
        let kind = std::io::ErrorKind::ConnectionRefused;
        assert_eq!(refused.unwrap_err().kind(), kind);
        let none = first_to_answer(Vec::new()).await;
        let kind = std::io::ErrorKind::AddrNotAvailable;
        assert_eq!(none.unwrap_err().kind(), kind);
    }
}
