//! What DNS says: NAPTR and SRV records, and addresses.
//!
//! It asks and does not choose; [`super::resolve`] does. The main type is [`Directory`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

/// One NAPTR record (RFC 3403 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower comes first.
    pub order: u16,
    /// Lower comes first among those of one order.
    pub preference: u16,
    /// `s`: the replacement has SRV records; `a`: it has addresses; empty: it has further NAPTR records.
    pub flags: String,
    /// As in `RELAY:turn.udp:turn.tcp`.
    pub services: String,
    /// Empty in every record that can be of use here (RFC 3958 §2.2.1).
    pub regexp: String,
    /// Where to go on, without the dot at the end.
    pub replacement: String,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower comes first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The server's port.
    pub port: u16,
    /// The server's name, without the dot at the end; empty where the service is said not to exist.
    pub target: String,
}

/// A way to ask.
pub struct Directory {
    /// `None` where this system names no DNS server.
    resolver: Option<TokioResolver>,
    /// Whether addresses are looked up the system's way, which knows more than DNS: hosts files, search lists.
    by_system: bool,
}

impl Directory {
    /// Asks the DNS server at `server`, or else those of this system, each up to `patience` twice.
    #[must_use]
    pub fn new(server: Option<SocketAddr>, patience: Duration) -> Directory {
        let builder = match server {
            Some(server) => Ok(TokioResolver::builder_with_config(
                at(server),
                TokioRuntimeProvider::default(),
            )),
            None => TokioResolver::builder_tokio(),
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = patience;
            options.attempts = 1;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        Directory {
            resolver: resolver.ok(),
            by_system: server.is_none(),
        }
    }

    /// The NAPTR records of a name; none when it has none.
    ///
    /// # Errors
    /// In words, when DNS does not say.
    pub async fn naptr(&self, name: &str) -> Result<Vec<Naptr>, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.records(name, RecordType::NAPTR, |data| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                services: text(&naptr.services),
                regexp: text(&naptr.regexp),
                replacement: plain(&naptr.replacement),
            }),
            _ => None,
        })
        .await
    }

    /// The SRV records of a name; none when it has none.
    ///
    /// # Errors
    /// In words, when DNS does not say.
    pub async fn srv(&self, name: &str) -> Result<Vec<Srv>, String> {
        self.records(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: plain(&srv.target),
            }),
            _ => None,
        })
        .await
    }

    /// The addresses of a host, each once.
    ///
    /// # Errors
    /// In words, when it has none or that cannot be found out.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        let mut add = |address| {
            if !found.contains(&address) {
                found.push(address);
            }
        };
        match &self.resolver {
            Some(resolver) if !self.by_system => {
                let name = absolute(host)?;
                match resolver.lookup_ip(name).await {
                    Ok(addresses) => addresses.iter().for_each(&mut add),
                    Err(error) if error.is_no_records_found() => {}
                    Err(error) => return Err(words(&error)),
                }
            }
            _ => tokio::net::lookup_host((host, 0))
                .await
                .map_err(|error| error.to_string())?
                .map(|address| address.ip())
                .for_each(&mut add),
        }
        if found.is_empty() {
            return Err("the name has none".to_owned());
        }
        Ok(found)
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, String> {
        let resolver = self
            .resolver
            .as_ref()
            .ok_or("this system names no DNS server")?;
        match resolver.lookup(absolute(name)?, kind).await {
            Ok(found) => Ok(found
                .answers()
                .iter()
                .filter_map(|record| pick(&record.data))
                .collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(words(&error)),
        }
    }
}

/// The configuration with this one DNS server.
fn at(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .map(|mut connection| {
            connection.port = server.port();
            connection
        })
        .to_vec();
    let server = NameServerConfig::new(server.ip(), true, connections);
    ResolverConfig::from_name_servers(vec![server])
}

/// Records of services are not looked for in search domains.
fn absolute(name: &str) -> Result<Name, String> {
    let mut parsed =
        Name::from_utf8(name).map_err(|error| format!("'{name}' is no name in DNS: {error}"))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn plain(name: &Name) -> String {
    name.to_utf8().trim_end_matches('.').to_owned()
}

fn words(error: &NetError) -> String {
    match error {
        NetError::Timeout => "DNS does not answer".to_owned(),
        NetError::NoConnections => "no DNS server can be reached".to_owned(),
        other => other.to_string(),
    }
}
