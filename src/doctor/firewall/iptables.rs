//! What `iptables-save` prints, as rules.

use super::rules::{Base, Protocol, Rule, Ruleset, Test, Verdict, source};
use crate::config::Family;

/// Adds the chains that packets to this machine pass to the rules.
pub(super) fn read(text: &str, family: Family, into: &mut Ruleset) {
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let mut table = "";
    for line in text.lines() {
        let named = |chain: &str| match table {
            "filter" => format!("{program} {chain}"),
            table => format!("{program} -t {table} {chain}"),
        };
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if !["raw", "mangle", "filter"].contains(&table) {
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (name, policy) = (words.next().unwrap_or(""), words.next().unwrap_or("-"));
            into.chains.entry(named(name)).or_default();
            if ["PREROUTING", "INPUT"].contains(&name) {
                into.bases.push(Base {
                    chain: named(name),
                    name: named(name),
                    nft: None,
                    family: Some(family),
                    drops: policy == "DROP",
                    is_early: table != "filter",
                    is_foreign: false,
                });
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            if let Some(rule) = read_rule(rule, &named) {
                into.chains.entry(named(chain)).or_default().push(rule);
            }
        }
    }
}

/// `None` for a rule that only counts or logs.
fn read_rule(text: &str, named: &impl Fn(&str) -> String) -> Option<Rule> {
    let mut tests = Vec::new();
    let mut verdict = None;
    let mut inverted = false;
    let mut protocol = None;
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or("");
        match word {
            "!" => {
                inverted = true;
                continue;
            }
            "-p" => {
                let name = value();
                protocol = match name {
                    "udp" => Some(Protocol::Udp),
                    "tcp" => Some(Protocol::Tcp),
                    _ => None,
                };
                tests.push(if inverted {
                    Test::Unknown("a protocol".to_owned())
                } else {
                    Test::Protocols(vec![name.to_owned()])
                });
            }
            // What follows says what it is about.
            "-m" => {
                if ![
                    "udp",
                    "tcp",
                    "multiport",
                    "conntrack",
                    "state",
                    "comment",
                    "addrtype",
                ]
                .contains(&value())
                {
                    tests.push(Test::Unknown("a match that is not known here".to_owned()));
                }
            }
            "--dport" | "--dports" => tests.push(ports(value(), protocol, inverted)),
            "--ctstate" | "--state" => {
                let is_new = value().split(',').any(|state| state == "NEW");
                if is_new == inverted {
                    tests.push(Test::Never);
                }
            }
            "-i" => match (value(), inverted) {
                ("lo", false) => tests.push(Test::Never),
                ("lo", true) => {}
                (name, _) => tests.push(Test::Unknown(format!("the interface, {name},"))),
            },
            "-s" => tests.extend(source(value(), inverted)),
            "-d" => {
                value();
                tests.push(Test::Unknown("the address of this machine".to_owned()));
            }
            "--dst-type" => {
                if value() != "LOCAL" || inverted {
                    tests.push(Test::Unknown("the kind of address".to_owned()));
                }
            }
            "--comment" => {
                // In quotes where it has spaces.
                let first = value();
                if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                    for word in words.by_ref() {
                        if word.ends_with('"') {
                            break;
                        }
                    }
                }
            }
            "-j" | "-g" => {
                verdict = match value() {
                    "ACCEPT" => Some(Verdict::Accept),
                    "DROP" | "REJECT" => Some(Verdict::Drop),
                    "RETURN" => Some(Verdict::Return),
                    "LOG" | "NFLOG" | "MARK" | "CONNMARK" => return None,
                    "QUEUE" | "NFQUEUE" => Some(Verdict::Unknown),
                    chain => Some(Verdict::Jump {
                        chain: named(chain),
                        goto: word == "-g",
                    }),
                };
                // Options of the target.
                if verdict
                    .as_ref()
                    .is_some_and(|verdict| matches!(verdict, Verdict::Drop))
                {
                    break;
                }
            }
            option => tests.push(Test::Unknown(format!("`{option}`"))),
        }
        inverted = false;
    }
    Some(Rule {
        tests,
        verdict: verdict?,
        text: text.to_owned(),
    })
}

fn ports(text: &str, protocol: Option<Protocol>, inverted: bool) -> Test {
    let ranges: Option<Vec<_>> = text
        .split(',')
        .map(|part| {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect();
    match ranges {
        Some(ranges) => Test::Ports {
            protocol,
            ranges,
            inverted,
        },
        None => Test::Unknown("ports".to_owned()),
    }
}
