//! The steps of a probe, each with its time limit: Binding, Allocate, and giving allocations back.
//!
//! It turns what the client crates and the [`Tap`] say into a [`Failure`] in plain words. The main types are [`Leg`],
//! a client with its own connection, and [`Relay`], its allocation.

use std::fmt::Display;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
    Method,
};
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use super::credentials::Credential;
use super::link::{Link, Tls};
use super::report::Failure;
use super::tap::{Fault, Tap};
use super::url::Transport;

/// How long the client crate waits before it sends a request again, in milliseconds: RFC 8489 §6.2.1 over UDP, and
/// over TCP so long that it never does (§6.2.2).
const RETRANSMIT_UDP_MS: u16 = 500;
const RETRANSMIT_TCP_MS: u16 = 30_000;

/// Opens a connection and puts the ear on it.
///
/// # Errors
/// When the system or the server refuses it, or the server does not answer in time.
pub async fn connect(
    server: SocketAddr,
    transport: Transport,
    tls: Tls<'_>,
    credential: Option<&Credential>,
    limit: Duration,
) -> Result<Arc<Tap>, Failure> {
    let failure = |message: String| Failure {
        step: "connect".to_owned(),
        code: None,
        message,
        hint: Some(unreachable_hint(transport)),
    };
    match timeout(limit, Link::connect(server, transport, tls)).await {
        Err(_) => Err(failure(format!(
            "no answer from {server} over {transport} within {} s",
            limit.as_secs_f64()
        ))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(failure(
            format!("{server}, {transport}: {}", Fault::Refused),
        )),
        Ok(Err(error)) if transport == Transport::Tls && is_tls(&error) => Err(Failure {
            hint: Some(
                "check the server's certificate and the name it is for; --ca names whom to trust"
                    .to_owned(),
            ),
            ..failure(format!("{server}, {transport}: {error}"))
        }),
        Ok(Err(error)) => Err(Failure {
            hint: Some("check this machine's addresses, routes and firewall".to_owned()),
            ..failure(format!("{server}, {transport}: {error}"))
        }),
        Ok(Ok(link)) => Ok(Arc::new(Tap::new(link, server, credential.cloned()))),
    }
}

/// Whether TLS failed, and not the connection under it.
fn is_tls(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

/// A client with a connection of its own.
pub struct Leg {
    name: char,
    tap: Arc<Tap>,
    client: Client,
    server: SocketAddr,
    transport: Transport,
    limit: Duration,
}

/// An allocation.
pub struct Relay<'a> {
    /// The leg it belongs to.
    pub leg: &'a Leg,
    /// Sends to peers and receives from them, through the relay.
    pub conn: Box<dyn Conn + Send + Sync + 'a>,
    /// The relayed address.
    pub address: SocketAddr,
    /// LIFETIME of the answer.
    pub lifetime: Option<Duration>,
    /// From the first request to the success.
    pub set_up: Duration,
}

impl Leg {
    /// Starts the `turn` crate's client on a connection.
    ///
    /// # Errors
    /// When the crate refuses its configuration.
    pub async fn start(
        name: char,
        tap: Arc<Tap>,
        server: SocketAddr,
        transport: Transport,
        credential: Option<&Credential>,
        limit: Duration,
    ) -> Result<Leg, Failure> {
        let (username, password) = credential
            .map(|credential| (credential.username.clone(), credential.password.clone()))
            .unwrap_or_default();
        let config = ClientConfig {
            stun_serv_addr: server.to_string(),
            turn_serv_addr: server.to_string(),
            username,
            password,
            realm: String::new(),
            software: String::new(),
            rto_in_ms: match transport {
                Transport::Udp => RETRANSMIT_UDP_MS,
                Transport::Tcp | Transport::Tls => RETRANSMIT_TCP_MS,
            },
            conn: Arc::clone(&tap) as Arc<dyn Conn + Send + Sync>,
            vnet: None,
        };
        let failure = |error: turn::Error| Failure {
            step: "start".to_owned(),
            code: None,
            message: error.to_string(),
            hint: None,
        };
        let client = Client::new(config).await.map_err(failure)?;
        client.listen().await.map_err(failure)?;
        Ok(Leg {
            name,
            tap,
            client,
            server,
            transport,
            limit,
        })
    }

    /// `A` or `B`.
    #[must_use]
    pub fn name(&self) -> char {
        self.name
    }

    /// What was heard on this connection.
    #[must_use]
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The mapped address and the round trip of a Binding on this connection.
    ///
    /// The `stun` crate has a client for this as well, but 0.17 drops answers of more than 120 bytes, which is what two
    /// IPv6 addresses and a SOFTWARE need.
    ///
    /// # Errors
    /// When the server refuses, answers nonsense or does not answer.
    pub async fn binding(&self) -> Result<(SocketAddr, Duration), Failure> {
        let start = Instant::now();
        let server = self.server.to_string();
        let mapped = self
            .step(METHOD_BINDING, self.client.send_binding_request_to(&server))
            .await?;
        Ok((mapped, start.elapsed()))
    }

    /// Makes the allocation.
    ///
    /// # Errors
    /// When the server refuses, answers nonsense or does not answer, or relays for anybody.
    pub async fn allocate(&self) -> Result<Relay<'_>, Failure> {
        let start = Instant::now();
        let made = self.step(METHOD_ALLOCATE, self.client.allocate()).await;
        let set_up = start.elapsed();
        let (granted, lifetime, realm) = {
            let log = self.tap.log();
            let answer = log.answer(METHOD_ALLOCATE);
            (
                answer.is_some_and(|answer| answer.error.is_none()),
                answer.and_then(|answer| answer.lifetime),
                log.realm.is_some(),
            )
        };
        let conn = match made {
            Err(_) if granted && !realm => {
                return Err(Failure {
                    step: describe(METHOD_ALLOCATE),
                    code: None,
                    message: "the server made an allocation without asking for a credential"
                        .to_owned(),
                    hint: Some(
                        "it is an open relay: anybody can use it; turn authentication on"
                            .to_owned(),
                    ),
                });
            }
            made => made?,
        };
        let address = conn.local_addr().map_err(|error| Failure {
            step: describe(METHOD_ALLOCATE),
            code: None,
            message: error.to_string(),
            hint: None,
        })?;
        Ok(Relay {
            leg: self,
            conn: Box::new(conn),
            address,
            lifetime,
            set_up,
        })
    }

    /// Runs `action`, whose request is a `method`, within the time limit.
    async fn step<T, E: Display>(
        &self,
        method: Method,
        action: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        step(&self.tap, method, self.transport, self.limit, action).await
    }
}

impl Relay<'_> {
    /// Sends a first packet to `peer`, which makes the permission and starts binding a channel.
    ///
    /// # Errors
    /// When the server refuses the permission or does not answer.
    pub async fn open(&self, peer: SocketAddr, packet: &[u8]) -> Result<(), Failure> {
        self.leg
            .step(METHOD_CREATE_PERMISSION, self.conn.send_to(packet, peer))
            .await
            .map(|_| ())
    }

    /// Waits until the channel to the peer is bound.
    ///
    /// # Errors
    /// When the server refuses it or does not answer. Data then goes in Send indications.
    pub async fn channel(&self) -> Result<(), Failure> {
        let answered = async {
            self.leg.tap.answered(METHOD_CHANNEL_BIND).await;
            let refused = self
                .leg
                .tap
                .log()
                .answer(METHOD_CHANNEL_BIND)
                .is_some_and(|answer| answer.error.is_some());
            if refused { Err("refused") } else { Ok(()) }
        };
        self.leg.step(METHOD_CHANNEL_BIND, answered).await
    }

    /// Gives the allocation back with a Refresh of lifetime 0.
    ///
    /// # Errors
    /// When the server does not confirm it; it then goes away by itself when its lifetime is over.
    pub async fn free(&self) -> Result<(), Failure> {
        // The crate does not wait for the answer, and may have refreshed before.
        self.leg.tap.forget(METHOD_REFRESH);
        let closed = async {
            self.conn.close().await.map_err(|error| error.to_string())?;
            self.leg.tap.answered(METHOD_REFRESH).await;
            let log = self.leg.tap.log();
            match log
                .answer(METHOD_REFRESH)
                .and_then(|answer| answer.error.as_ref())
            {
                Some((code, reason)) => Err(format!("{code} {reason}")),
                None => Ok(()),
            }
        };
        let result = self.leg.step(METHOD_REFRESH, closed).await;
        let _ = timeout(self.leg.limit, self.leg.client.close())
            .await
            .is_ok();
        result
    }
}

async fn step<T, E: Display>(
    tap: &Tap,
    method: Method,
    transport: Transport,
    limit: Duration,
    action: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    let result = tokio::select! {
        biased;
        result = timeout(limit, action) => result,
        fault = tap.faulted() => {
            return Err(Failure {
                step: describe(method),
                code: None,
                message: fault.to_string(),
                hint: fault_hint(&fault, transport),
            });
        }
    };
    let step = describe(method);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let log = tap.log();
            let refusal = log.answer(method).and_then(|answer| answer.error.clone());
            if let Some((code, reason)) = refusal {
                return Err(Failure {
                    step,
                    code: Some(code),
                    message: format!("the server refuses: {code} {reason}")
                        .trim_end()
                        .to_owned(),
                    hint: code_hint(code, method, log.realm.as_deref()),
                });
            }
            if let Some(fault) = &log.fault {
                return Err(Failure {
                    step,
                    code: None,
                    message: fault.to_string(),
                    hint: fault_hint(fault, transport),
                });
            }
            Err(Failure {
                step,
                code: None,
                message: format!("the answer cannot be used: {error}"),
                hint: None,
            })
        }
        Err(_) => {
            let heard = tap.log().heard;
            Err(Failure {
                step,
                code: None,
                message: format!("no answer within {} s", limit.as_secs_f64()),
                hint: Some(if heard {
                    "the server answered before, so it may be overloaded or gone".to_owned()
                } else {
                    unreachable_hint(transport)
                }),
            })
        }
    }
}

fn describe(method: Method) -> String {
    match method {
        METHOD_BINDING => "Binding",
        METHOD_ALLOCATE => "Allocate",
        METHOD_CREATE_PERMISSION => "CreatePermission",
        METHOD_CHANNEL_BIND => "ChannelBind",
        METHOD_REFRESH => "Refresh",
        _ => "request",
    }
    .to_owned()
}

fn unreachable_hint(transport: Transport) -> String {
    let transport = transport.to_string().to_uppercase();
    format!(
        "check that the server runs and listens on this {transport} port, and that no firewall drops it"
    )
}

fn fault_hint(fault: &Fault, transport: Transport) -> Option<String> {
    match fault {
        Fault::Refused | Fault::Link(_) => Some(unreachable_hint(transport)),
        Fault::Integrity => {
            Some("check the password, and who really answers at this address".to_owned())
        }
        Fault::Fingerprint => None,
    }
}

/// What to try after an error code (RFC 8489 §14.8, RFC 8656 §19).
fn code_hint(code: u16, method: Method, realm: Option<&str>) -> Option<String> {
    let hint = match code {
        300 => "it sends clients to another server; probe that one",
        401 => {
            return Some(format!(
                "the user name or password is wrong{}, or an ephemeral credential has expired (compare the clocks) or \
                 was made with another secret",
                realm
                    .map(|realm| format!(" in realm '{realm}'"))
                    .unwrap_or_default()
            ));
        }
        403 if method == METHOD_ALLOCATE => "the server does not let this user allocate",
        403 => {
            "the server does not relay to its own relayed address; when that address is private or loopback, peers there \
             have to be allowed for this test"
        }
        437 | 438 if method != METHOD_ALLOCATE => {
            "the server may have lost the allocation, for instance by a restart"
        }
        437 => "the server believes this port has an allocation already; try again",
        438 => {
            "the server does not accept the nonce it has just given; check that all its instances share their keys"
        }
        440 => {
            "the server has no relay address of this family; the probe asks for IPv4, the default"
        }
        441 => "the allocation belongs to another user",
        442 => "the server does not relay UDP",
        443 => "the two relayed addresses are of different families",
        486 => "the user's quota of allocations is used up; the probe needs two at a time",
        508 => "the server has no free relay port or socket left",
        500 => "look into the server's log",
        400 | 420 => "the server does not understand the request; look into its log",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether an address can be reached from the Internet at large, as far as its range tells.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unique_local()
                || ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified())
        }
    }
}
