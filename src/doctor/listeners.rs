//! Do the listeners answer? Each is sent a Binding request, as a client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use super::Finding;
use super::ask::{Answer, Way, binding};
use crate::config::{Certificate, Family, Listener, Settings, Tls, Transport};
use crate::net::addresses::{self, RelayAddress};

/// A listener, and how it is asked.
struct Question {
    listener: Listener,
    way: Way,
    to: SocketAddr,
    from: Option<SocketAddr>,
}

/// Asks each listener, over each of its transports; `from` are the addresses to ask from, if any are given.
pub(super) fn examine(
    settings: &Settings,
    relays: &[RelayAddress],
    from: &[IpAddr],
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut questions = Vec::new();
    for listener in settings.sockets() {
        match question(&listener, relays, from) {
            Ok(asked) => questions.extend(asked),
            Err(why) => found.push(Finding::note(
                "listener.not-asked",
                format!(
                    "the {} listener on {} is not asked: {why}",
                    listener.transport, listener.address
                ),
            )),
        }
    }
    let first = settings.tls.shown().next();
    let name = first.and_then(|first| first.names().iter().find(|name| !name.starts_with('*')));
    let name = name.map(String::as_str);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked: Vec<_> = questions
            .iter()
            .map(|question| scope.spawn(|| binding(question.way, question.to, question.from, name)))
            .collect();
        let failed = |_| Answer::Failed("hairpin failed to ask".to_owned());
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(failed))
            .collect()
    });
    if !answers.is_empty() && answers.iter().all(|answer| *answer == Answer::Refused) {
        found.push(
            Finding::problem(
                "listener.none",
                "nobody listens: the server does not run, or not with this configuration",
            )
            .why("no client is served")
            .mend("start it, and look into its log where it does not stay")
            .lines(["systemctl start hairpin", "journalctl -u hairpin -n 50"]),
        );
        return found;
    }
    let answered = questions.iter().zip(answers);
    found.extend(answered.flat_map(|(question, answer)| of_answer(question, answer, settings)));
    found
}

/// How a listener can be asked; else why not.
fn question(
    listener: &Listener,
    relays: &[RelayAddress],
    from: &[IpAddr],
) -> Result<Vec<Question>, &'static str> {
    if !listener.proxy_protocol_from.is_empty() {
        return Err("it takes clients from its proxies only");
    }
    let ways: &[Way] = match listener.transport {
        Transport::Udp => &[Way::Udp],
        Transport::Tcp => &[Way::Tcp],
        Transport::Tls => &[Way::Tls],
        Transport::Auto => &[Way::Tcp, Way::Tls],
        Transport::Dtls => return Err("`hairpin doctor` does not speak DTLS"),
    };
    let family = Family::of(listener.address.ip());
    let source = from.iter().find(|from| Family::of(**from) == family);
    if !from.is_empty() && source.is_none() {
        return Err("no address of its family is given with --from");
    }
    let ip = listener.address.ip();
    let to = if ip.is_unspecified() {
        reachable(family, relays).ok_or("this machine has no address of its family")?
    } else {
        ip
    };
    Ok(ways
        .iter()
        .map(|way| Question {
            listener: listener.clone(),
            way: *way,
            to: SocketAddr::new(to, listener.address.port()),
            from: source.map(|ip| SocketAddr::new(*ip, 0)),
        })
        .collect())
}

/// An address of this machine at which a listener for all addresses of a family can be reached.
fn reachable(family: Family, relays: &[RelayAddress]) -> Option<IpAddr> {
    let relays = relays.iter().map(|relay| relay.address);
    relays
        .chain(addresses::default_route(family))
        .chain(match family {
            Family::V4 => [IpAddr::V4(Ipv4Addr::LOCALHOST)],
            Family::V6 => [IpAddr::V6(Ipv6Addr::LOCALHOST)],
        })
        .find(|address| Family::of(*address) == family)
}

fn of_answer(question: &Question, answer: Answer, settings: &Settings) -> Vec<Finding> {
    let (transport, address) = (question.listener.transport, question.listener.address);
    let over = match question.way {
        Way::Tls => " over TLS",
        Way::Udp | Way::Tcp => "",
    };
    let name = format!("the {transport} listener on {address}");
    let by = match question.from {
        Some(from) => format!("asked at {} from {}", question.to, from.ip()),
        None => format!("asked at {}", question.to),
    };
    match answer {
        Answer::Mapped { to, from, certificate } => {
            let mut found = vec![Finding::ok("listener.answers", format!("{name} answers{over}, {by}"))];
            if to != from {
                found.push(
                    Finding::warning("listener.translated", format!("{name} takes {from} for {to}"))
                        .why("something in between hides clients: they all look like one, and limits by source hit all of them")
                        .mend("let clients reach the server directly, or through a proxy that speaks the PROXY protocol (`proxy_protocol_from`)"),
                );
            }
            found.extend(certificate.and_then(|shown| stale(&name, &shown, &settings.tls)));
            found
        }
        Answer::Refused => vec![
            Finding::problem("listener.closed", format!("nobody listens for {name}, {by}"))
                .why("clients that use it do not connect")
                .mend("look into the server's log; where it was started with another configuration, restart it")
                .lines(["systemctl restart hairpin"]),
        ],
        Answer::Silent => vec![
            Finding::problem("listener.silent", format!("{name} does not answer{over}, {by}"))
                .why("clients that use it wait in vain: a firewall drops the request or the answer, or the server hangs")
                .mend("let the port in at this machine's firewall and the provider's"),
        ],
        Answer::Failed(why) => vec![
            Finding::problem("listener.broken", format!("{name} cannot be used{over}, {by}: {why}"))
                .why("clients that use it do not connect"),
        ],
    }
}

/// Whether a server goes on with a certificate that its files do not hold any more.
fn stale(name: &str, shown: &[u8], tls: &Tls) -> Option<Finding> {
    if tls
        .acme
        .as_ref()
        .is_some_and(|acme| acme.certificate.is_none())
    {
        // It may be there, for other eyes than these.
        return None;
    }
    let holds = |certificate: &Certificate| {
        let chain = certificate.certified().map(|key| key.cert);
        chain.is_ok_and(|chain| chain.first().is_some_and(|leaf| leaf.as_ref() == shown))
    };
    if tls.shown().any(holds) {
        return None;
    }
    Some(
        Finding::warning("certificate.stale", format!("{name} shows a certificate that is in none of the files"))
            .why("the files were renewed and the server did not read them again: clients will refuse the old one once it is over")
            .mend("reload or restart the server")
            .lines(["systemctl restart hairpin"]),
    )
}
