//! From a URL to addresses: NAPTR, SRV, and the name's own addresses, as RFC 5928 §3 has it for `turn:` and RFC 8489
//! §8.1 for `stun:`.
//!
//! A port in the URL, or an address in place of a name, leaves nothing to look up but addresses; a transport rules out
//! NAPTR. Records name servers in an order, and the probe takes the first one and tells of the others. The main types
//! are [`Found`] and [`Server`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::directory::{Directory, Naptr, Srv};
use super::report::Failure;
use super::url::{Host, ProbeUrl, Scheme, Transport};

/// The service of TURN servers in NAPTR records (RFC 5928 §5).
const RELAY: &str = "RELAY";

/// So many look-ups for services, and no more: records can point in circles.
const MOST_LOOK_UPS: u32 = 20;

/// A server that the URL may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is reached.
    pub transport: Transport,
}

/// What a URL came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The server to probe, and behind it those to go on with, were it to fail. At least one.
    pub servers: Vec<Server>,
    /// The NAPTR and SRV records that led there, as a zone file would have them.
    pub records: Vec<String>,
    /// Oddities that are no failure.
    pub notes: Vec<String>,
}

/// A host that a record names, or the URL.
struct Candidate {
    host: String,
    port: u16,
    transport: Transport,
}

/// What is to be done next.
enum Step {
    /// NAPTR records of a name, as far as they are about these transports.
    Naptr(String, Vec<Transport>),
    /// SRV records of a name.
    Srv(String, Transport),
    /// Nothing more: a record names this host.
    Host(String, Transport),
}

/// The look-ups for services, and what they found.
struct Search<'a> {
    url: &'a ProbeUrl,
    directory: &'a Directory,
    look_ups: u32,
    records: Vec<String>,
    candidates: Vec<Candidate>,
    /// Transports of which an SRV record says that they are not there (RFC 2782).
    ruled_out: Vec<Transport>,
    /// Why there may be more than was found.
    doubts: Vec<String>,
}

/// Finds the server, asking the DNS server `dns` or those of this system.
///
/// # Errors
/// When there is no address in time.
pub async fn resolve(
    url: &ProbeUrl,
    dns: Option<SocketAddr>,
    limit: Duration,
) -> Result<Found, Failure> {
    let deadline = Instant::now() + limit;
    let usual = url.transports().first().copied().unwrap_or(Transport::Udp);
    let name = match &url.host {
        Host::Ip(address) => {
            let port = url.port.unwrap_or(usual.default_port());
            return Ok(Found {
                servers: vec![at(*address, port, usual)],
                ..Found::default()
            });
        }
        Host::Name(name) => name,
    };
    let directory = Directory::new(dns, limit / 4);
    let mut search = Search::new(url, &directory);
    let mut notes = Vec::new();
    if url.port.is_none() {
        // Half of the time: a hosts file may know the name where no DNS server answers.
        if timeout(limit / 2, search.run(name)).await.is_err() {
            search.doubts.push("DNS does not answer".to_owned());
        }
        search.doubts.dedup();
        for why in &search.doubts {
            notes.push(format!(
                "not known whether {name} has more NAPTR or SRV records than were followed: {why}"
            ));
        }
    }
    let Search {
        records,
        mut candidates,
        ruled_out,
        ..
    } = search;
    if candidates.is_empty() {
        let mut allowed = url.transports().iter().copied();
        let Some(transport) = allowed.find(|transport| !ruled_out.contains(transport)) else {
            return Err(failure(format!(
                "{name} has no such server: its SRV records say so"
            )));
        };
        candidates.push(Candidate {
            host: name.clone(),
            port: url.port.unwrap_or(transport.default_port()),
            transport,
        });
    }
    let (servers, without) = locate(candidates, &directory, deadline).await;
    if servers.is_empty() {
        return Err(failure(without.join("; ")));
    }
    notes.extend(without);
    Ok(Found {
        servers,
        records,
        notes,
    })
}

/// The addresses of the candidates, in their order, and what stands in the way of those that have none.
async fn locate(
    candidates: Vec<Candidate>,
    directory: &Directory,
    deadline: Instant,
) -> (Vec<Server>, Vec<String>) {
    let (mut servers, mut without) = (Vec::new(), Vec::new());
    for Candidate {
        host,
        port,
        transport,
    } in candidates
    {
        let addresses = timeout_at(deadline, directory.addresses(&host)).await;
        match addresses.unwrap_or_else(|_| Err("DNS does not answer".to_owned())) {
            Ok(addresses) => {
                for address in addresses {
                    let server = at(address, port, transport);
                    if !servers.contains(&server) {
                        servers.push(server);
                    }
                }
            }
            Err(why) => without.push(format!("no address for {host}: {why}")),
        }
    }
    (servers, without)
}

fn failure(message: String) -> Failure {
    Failure {
        step: "resolve".to_owned(),
        code: None,
        message,
        hint: Some("check the spelling and this machine's DNS".to_owned()),
    }
}

fn at(address: IpAddr, port: u16, transport: Transport) -> Server {
    Server {
        address: (address, port).into(),
        transport,
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.address, self.transport)
    }
}

impl<'a> Search<'a> {
    fn new(url: &'a ProbeUrl, directory: &'a Directory) -> Search<'a> {
        Search {
            url,
            directory,
            look_ups: 0,
            records: Vec::new(),
            candidates: Vec::new(),
            ruled_out: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// NAPTR where the URL names no transport, then SRV for each transport that it allows.
    async fn run(&mut self, name: &str) {
        let allowed = self.url.transports();
        if self.url.scheme == Scheme::Turn && self.url.transport.is_none() {
            self.follow(vec![Step::Naptr(name.to_owned(), allowed.to_vec())])
                .await;
        }
        if self.candidates.is_empty() {
            let srv = allowed.iter().map(|transport| {
                let name = format!("{}.{name}", self.url.service(*transport));
                Step::Srv(name, *transport)
            });
            // NAPTR records in a circle are no reason to ask for no others.
            self.look_ups = 0;
            self.follow(srv.collect()).await;
        }
    }

    /// Takes the steps in their order, and in place of one that leads further the steps it leads to.
    async fn follow(&mut self, mut steps: Vec<Step>) {
        steps.reverse();
        while let Some(step) = steps.pop() {
            if self.look_ups == MOST_LOOK_UPS {
                self.doubts.push(format!(
                    "they lead to more than {MOST_LOOK_UPS} look-ups, perhaps in a circle"
                ));
                return;
            }
            self.look_ups += 1;
            match step {
                Step::Naptr(name, allowed) => match self.directory.naptr(&name).await {
                    Ok(found) => {
                        let next = self.take_naptr(&name, found, &allowed);
                        steps.extend(next.into_iter().rev());
                    }
                    Err(why) => self.doubts.push(why),
                },
                Step::Srv(name, transport) => match self.directory.srv(&name).await {
                    Ok(found) => self.take_srv(&name, found, transport),
                    Err(why) => self.doubts.push(why),
                },
                Step::Host(host, transport) => self.candidates.push(Candidate {
                    host,
                    port: transport.default_port(),
                    transport,
                }),
            }
        }
    }

    /// Where the NAPTR records of a name lead, the first choice first (RFC 3958 §2.2).
    fn take_naptr(
        &mut self,
        name: &str,
        mut found: Vec<Naptr>,
        allowed: &[Transport],
    ) -> Vec<Step> {
        found.sort_by_key(|naptr| (naptr.order, naptr.preference));
        let mut steps = Vec::new();
        for naptr in found {
            let transports = relayed_over(&naptr.services, allowed);
            if transports.is_empty() || !naptr.regexp.is_empty() || naptr.replacement.is_empty() {
                continue;
            }
            let Naptr {
                order,
                preference,
                flags,
                services,
                replacement,
                ..
            } = naptr;
            self.records.push(format!(
                "{name} NAPTR {order} {preference} \"{flags}\" \"{services}\" \"\" {replacement}"
            ));
            match flags.to_ascii_lowercase().as_str() {
                "" => steps.push(Step::Naptr(replacement, transports)),
                "s" => {
                    let each = transports.into_iter();
                    steps.extend(each.map(|transport| Step::Srv(replacement.clone(), transport)));
                }
                "a" => {
                    let each = transports.into_iter();
                    steps.extend(each.map(|transport| Step::Host(replacement.clone(), transport)));
                }
                _ => {}
            }
        }
        steps
    }

    fn take_srv(&mut self, name: &str, found: Vec<Srv>, transport: Transport) {
        let found = in_order(found, |total| rand::random_range(0..=total));
        for Srv {
            priority,
            weight,
            port,
            target,
        } in found
        {
            self.records.push(format!(
                "{name} SRV {priority} {weight} {port} {}",
                if target.is_empty() { "." } else { &target }
            ));
            if target.is_empty() {
                self.ruled_out.push(transport);
            } else {
                self.candidates.push(Candidate {
                    host: target,
                    port,
                    transport,
                });
            }
        }
    }
}

/// The transports that a NAPTR record's services name, in the order of `allowed`: `RELAY:turn.udp:turn.tcp`.
fn relayed_over(services: &str, allowed: &[Transport]) -> Vec<Transport> {
    let mut parts = services.split(':');
    if !parts.next().unwrap_or("").eq_ignore_ascii_case(RELAY) {
        return Vec::new();
    }
    let protocols: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    let names = |transport: &Transport| {
        let tag = format!("turn.{transport}");
        protocols.contains(&tag)
    };
    allowed.iter().copied().filter(names).collect()
}

/// SRV records in the order to try them in: by priority, then by lot, each with the chance that its weight gives it
/// (RFC 2782). `draw` draws a number up to and including the one it is given.
fn in_order(mut found: Vec<Srv>, mut draw: impl FnMut(u32) -> u32) -> Vec<Srv> {
    // Weight 0 stands in front, or it would never be drawn.
    found.sort_by_key(|srv| (srv.priority, srv.weight != 0));
    let mut ordered = Vec::new();
    while let Some(priority) = found.first().map(|srv| srv.priority) {
        let rivals = found.iter().take_while(|srv| srv.priority == priority);
        let drawn = draw(rivals.clone().map(|srv| u32::from(srv.weight)).sum());
        let mut sum = 0;
        let chosen = rivals.clone().position(|srv| {
            sum += u32::from(srv.weight);
            sum >= drawn
        });
        ordered.push(found.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 3478,
            target: target.to_owned(),
        }
    }

    #[test]
    fn srv_records_of_one_priority_are_drawn_by_weight_and_priorities_kept() {
        let records = || {
            vec![
                srv(20, 100, "last"),
                srv(10, 30, "b"),
                srv(10, 0, "zero"),
                srv(10, 70, "c"),
            ]
        };
        let order = |numbers: &[u32]| {
            let mut numbers = numbers.iter().copied();
            let ordered = in_order(records(), |total| numbers.next().unwrap_or(0).min(total));
            let names: Vec<String> = ordered.into_iter().map(|srv| srv.target).collect();
            names.join(" ")
        };
        assert_eq!(order(&[0, 0, 0]), "zero b c last");
        assert_eq!(order(&[1, 70, 0]), "b c zero last");
        assert_eq!(order(&[30, 1]), "b c zero last");
        assert_eq!(order(&[31, 1]), "c b zero last");
        assert_eq!(order(&[100, 0, 0]), "c zero b last");
    }

    #[test]
    fn naptr_services_are_those_of_relays_that_the_url_allows() {
        use Transport::{Tcp, Tls, Udp};
        let all = [Udp, Tcp, Tls];
        for (services, allowed, transports) in [
            ("RELAY:turn.udp", &all[..], &[Udp][..]),
            ("relay:TURN.tls:turn.tcp", &all, &[Tcp, Tls]),
            ("RELAY:turn.udp:turn.tls", &[Tls], &[Tls]),
            ("RELAY:turn.dtls", &all, &[]),
            ("RELAY", &all, &[]),
            ("SIP+D2U", &all, &[]),
            ("SIP:turn.udp", &all, &[]),
            ("", &all, &[]),
        ] {
            assert_eq!(relayed_over(services, allowed), transports, "{services}");
        }
    }
}
