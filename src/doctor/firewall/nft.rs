//! What `nft -j list ruleset` prints, as rules.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::rules::{Base, Protocol, Rule, Ruleset, Test, Verdict, source};
use crate::config::Family;

/// The families of tables that packets to this machine pass.
const IP: [&str; 3] = ["inet", "ip", "ip6"];

/// Elements of the named sets, by the name of their table and theirs.
type Sets = HashMap<String, Vec<Value>>;

/// Reads the chains that packets to this machine pass, and those that they call.
pub(super) fn read(text: &str) -> Result<Ruleset, String> {
    let ruleset: Value = serde_json::from_str(text)
        .map_err(|error| format!("nft prints something else than JSON: {error}"))?;
    let objects = ruleset["nftables"].as_array().cloned().unwrap_or_default();
    let mut rules = Ruleset::default();
    let mut sets = Sets::new();
    for object in &objects {
        for kind in ["set", "map"] {
            let set = &object[kind];
            if let Some(elements) = set["elem"].as_array() {
                sets.insert(place(set, &set["name"]), elements.clone());
            }
        }
        let chain = &object["chain"];
        if chain.is_object() {
            let name = place(chain, &chain["name"]);
            rules.chains.entry(name.clone()).or_default();
            if let Some(is_early) = hook(chain) {
                rules.bases.push(base(chain, name, is_early));
            }
        }
    }
    for object in &objects {
        let rule = &object["rule"];
        if !rule.is_object() {
            continue;
        }
        let chain = place(rule, &rule["chain"]);
        let expressions = rule["expr"].as_array().cloned().unwrap_or_default();
        if expressions
            .iter()
            .any(|expression| expression.get("xt").is_some())
        {
            let of_chain = |base: &&mut Base| base.chain == chain;
            if let Some(base) = rules.bases.iter_mut().find(of_chain) {
                base.is_foreign = true;
            }
        }
        let table = place(rule, &Value::Null);
        if let Some(rule) = read_rule(&expressions, &table, &sets) {
            rules.chains.entry(chain).or_default().push(rule);
        }
    }
    Ok(rules)
}

/// Family, table and name, as `nft` takes them.
fn place(object: &Value, name: &Value) -> String {
    let [family, table, name] =
        [&object["family"], &object["table"], name].map(|part| part.as_str().unwrap_or(""));
    format!("{family} {table} {name}").trim_end().to_owned()
}

/// Whether packets to this machine pass a chain before those that say what is let in; `None` where they do not pass it, or it
/// only translates addresses.
fn hook(chain: &Value) -> Option<bool> {
    let is_ip = IP.iter().any(|family| chain["family"] == *family);
    match chain["hook"].as_str()? {
        "input" if is_ip => Some(false),
        "prerouting" if is_ip && chain["type"] != "nat" => Some(true),
        "ingress" if is_ip || chain["family"] == "netdev" => Some(true),
        _ => None,
    }
}

fn base(chain: &Value, name: String, is_early: bool) -> Base {
    let family = match chain["family"].as_str() {
        Some("ip") => Some(Family::V4),
        Some("ip6") => Some(Family::V6),
        _ => None,
    };
    Base {
        name: format!("chain {name}"),
        nft: Some(name.clone()),
        chain: name,
        family,
        drops: chain["policy"] == "drop",
        is_early,
        is_foreign: false,
    }
}

/// `None` for a rule without a verdict, that only counts or logs.
fn read_rule(expressions: &[Value], table: &str, sets: &Sets) -> Option<Rule> {
    let mut tests = Vec::new();
    let mut verdict = None;
    let mut shown = Vec::new();
    for expression in expressions {
        let (kind, content) = expression.as_object()?.iter().next()?;
        let chain = || {
            let target = content["target"].as_str().unwrap_or("");
            format!("{table} {target}")
        };
        match kind.as_str() {
            "match" => {
                tests.extend(read_match(content, table, sets));
                shown.push(show_match(content));
                continue;
            }
            "accept" => verdict = Some(Verdict::Accept),
            "drop" | "reject" => verdict = Some(Verdict::Drop),
            "return" => verdict = Some(Verdict::Return),
            "jump" => {
                verdict = Some(Verdict::Jump {
                    chain: chain(),
                    goto: false,
                });
            }
            "goto" => {
                verdict = Some(Verdict::Jump {
                    chain: chain(),
                    goto: true,
                });
            }
            "counter" | "log" | "comment" | "meta" | "mangle" | "notrack" => continue,
            "vmap" => match verdicts(content, table) {
                Some(found) => {
                    // `ct state vmap { established : accept, new : … }`: what a new flow gets.
                    tests.extend(found.0);
                    verdict = found.1;
                }
                None => verdict = Some(Verdict::Unknown),
            },
            "queue" => verdict = Some(Verdict::Unknown),
            other => {
                tests.push(Test::Unknown(format!("`{other}`")));
            }
        }
        shown.push(kind.clone());
    }
    Some(Rule {
        tests,
        verdict: verdict?,
        text: shown.join(" "),
    })
}

/// What a verdict map for the state of flows makes of a new one.
fn verdicts(map: &Value, table: &str) -> Option<(Option<Test>, Option<Verdict>)> {
    if map["key"]["ct"]["key"] != "state" {
        return None;
    }
    let pairs = map["data"]["set"].as_array()?;
    let of_new = pairs.iter().find(|pair| pair[0] == "new");
    let Some(pair) = of_new else {
        return Some((Some(Test::Never), Some(Verdict::Accept)));
    };
    let (kind, content) = pair[1].as_object()?.iter().next()?;
    let target = content["target"].as_str().unwrap_or("");
    let verdict = match kind.as_str() {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "jump" | "goto" => Verdict::Jump {
            chain: format!("{table} {target}"),
            goto: kind == "goto",
        },
        _ => Verdict::Return,
    };
    Some((None, Some(verdict)))
}

fn read_match(content: &Value, table: &str, sets: &Sets) -> Option<Test> {
    let (left, right) = (&content["left"], &content["right"]);
    let inverted = content["op"] == "!=";
    let values = values(right, table, sets);
    let unknown = |what: &str| Some(Test::Unknown(what.to_owned()));
    if let Some(key) = left["ct"]["key"].as_str() {
        if key != "state" {
            return unknown("what the kernel knows of the flow");
        }
        let is_new = values.iter().any(|value| value == "new");
        return (is_new == inverted).then_some(Test::Never);
    }
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "l4proto" if !inverted => Some(Test::Protocols(names(&values))),
            "nfproto" if !inverted => match values.first().and_then(Value::as_str) {
                Some("ipv4") => Some(Test::Family(Family::V4)),
                Some("ipv6") => Some(Test::Family(Family::V6)),
                _ => unknown("the protocol"),
            },
            "iifname" | "iif" if values.iter().all(|value| value == "lo") => {
                (!inverted).then_some(Test::Never)
            }
            "iifname" | "iif" => unknown("the interface"),
            // Whatever is not to this machine alone is no client's.
            "pkttype" => (!inverted).then_some(Test::Never),
            _ => unknown(&format!("`meta {key}`")),
        };
    }
    // Whether the answer would leave by another way: then calls would fail without any firewall.
    if left["fib"]["result"] == "oif" && values.iter().all(|value| value == false) {
        return (!inverted).then_some(Test::Never);
    }
    let payload = &left["payload"];
    let protocol = payload["protocol"].as_str().unwrap_or("");
    match (protocol, payload["field"].as_str().unwrap_or("")) {
        ("udp" | "tcp" | "th", "dport") => match values.iter().map(range).collect() {
            Some(ranges) => Some(Test::Ports {
                protocol: match protocol {
                    "udp" => Some(Protocol::Udp),
                    "tcp" => Some(Protocol::Tcp),
                    _ => None,
                },
                ranges,
                inverted,
            }),
            None => unknown("ports"),
        },
        ("ip", "protocol") | ("ip6", "nexthdr") if !inverted => {
            Some(Test::Protocols(names(&values)))
        }
        ("ip" | "ip6", "saddr") => match values.as_slice() {
            [one] => source(&prefix(one), inverted),
            _ => unknown("the client's address"),
        },
        ("ip" | "ip6", "daddr") => unknown("the address of this machine"),
        // Only packets of that protocol have such a field.
        ("icmp" | "icmpv6" | "igmp" | "sctp" | "esp" | "ah", _) => Some(Test::Never),
        _ => unknown("a match that is not known here"),
    }
}

/// The values on the right, whatever way they are written.
fn values(right: &Value, table: &str, sets: &Sets) -> Vec<Value> {
    if let Some(elements) = right["set"].as_array() {
        return elements.clone();
    }
    match right {
        Value::Array(elements) => elements.clone(),
        Value::String(name) if name.starts_with('@') => {
            let name = format!("{table} {}", name.trim_start_matches('@'));
            // Of a set that is filled at run time nothing is known.
            sets.get(&name).cloned().unwrap_or(vec![Value::Null])
        }
        one => vec![one.clone()],
    }
}

fn names(values: &[Value]) -> Vec<String> {
    let names = values.iter().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

fn range(value: &Value) -> Option<RangeInclusive<u16>> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    // An element with a comment or a counter stands in an object of its own.
    let value = value.get("elem").map_or(value, |element| &element["val"]);
    if let Some(ends) = value["range"].as_array() {
        return Some(number(ends.first()?)?..=number(ends.get(1)?)?);
    }
    let port = number(value)?;
    Some(port..=port)
}

fn prefix(value: &Value) -> String {
    let prefix = &value["prefix"];
    match (prefix["addr"].as_str(), prefix["len"].as_u64()) {
        (Some(address), Some(length)) => format!("{address}/{length}"),
        _ => value.as_str().unwrap_or("").to_owned(),
    }
}

fn show_match(content: &Value) -> String {
    let left = &content["left"];
    let left = match (
        left["payload"]["protocol"].as_str(),
        left["payload"]["field"].as_str(),
    ) {
        (Some(protocol), Some(field)) => format!("{protocol} {field}"),
        _ => ["meta", "ct"]
            .iter()
            .find_map(|kind| Some(format!("{kind} {}", left[kind]["key"].as_str()?)))
            .unwrap_or_else(|| left.to_string()),
    };
    let operator = match content["op"].as_str() {
        Some("!=") => "!= ",
        _ => "",
    };
    let right = content["right"].to_string().replace('"', "");
    format!("{left} {operator}{right}")
}
