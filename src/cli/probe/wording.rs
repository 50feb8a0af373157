//! The report of a test in words: which sentences hold for what was found, and the form they stand in.
//!
//! Sentences and when they hold are in `admin/tester/words.json`, which the page `/test` goes by as well; its `report.js`
//! is this in JavaScript, and tests hold both against the same samples. Main types: [`Findings`], [`Told`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::TESTER_WORDS;

/// The width of a label.
const WIDTH: usize = 18;

/// What is tested, in the order in which it is told.
const KINDS: [&str; 4] = ["stun", "udp", "tcp", "tls"];

/// What can come of a test, the best first.
const BEST: [&str; 6] = [
    "works",
    "lossy",
    "broken",
    "refused",
    "blocked",
    "unmeasured",
];

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Findings {
    /// Which program found it.
    pub made_by: String,
    /// When, in UTC.
    pub made_at: String,
    /// What is between here and the server.
    pub network: Network,
    /// What came of each URL.
    pub results: Vec<Tested>,
}

/// What is between here and the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// One of the keys of `mapping` in words.json.
    pub mapping: String,
    /// The addresses the server saw.
    pub public: Vec<String>,
    /// This machine's own, as far as they can be seen.
    pub local: Vec<String>,
    /// Whether there is one of IPv6 among them.
    pub ipv6: bool,
}

/// What came of a URL. What was not measured is not there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tested {
    /// `stun`, `udp`, `tcp` or `tls`.
    pub kind: String,
    /// The URL.
    pub url: String,
    /// One of the keys of `outcomes` in words.json.
    pub outcome: String,
    /// Why it does not work, where the server or the system says so.
    pub why: Option<String>,
    /// Until data gets through; of STUN, until the answer.
    pub set_up_ms: Option<f64>,
    /// Half of the round trips take at most so long.
    pub round_trip_ms: Option<f64>,
    /// 95 of a hundred take at most so long.
    pub round_trip_p95_ms: Option<f64>,
    /// How much they differ.
    pub jitter_ms: Option<f64>,
    /// The share of packets that do not come back.
    pub loss_percent: Option<f64>,
    /// As much as goes through.
    pub throughput_bits: Option<f64>,
    /// The share of media's packets that do not arrive.
    pub media_loss_percent: Option<f64>,
    /// How much the times of those differ that do.
    pub media_jitter_ms: Option<f64>,
    /// How much of media arrived.
    pub media_bits: Option<f64>,
}

/// What is said about findings.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// `good`, `fair` or `bad`.
    pub is: String,
    /// Whether calls work, in a sentence.
    pub verdict: String,
    /// What works.
    pub works: Vec<String>,
    /// What does not.
    pub blocked: Vec<String>,
    /// What to tell the administrator.
    pub tell: Vec<String>,
}

/// All sentences.
#[derive(Debug, Deserialize)]
pub struct Words {
    title: String,
    headings: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    outcomes: BTreeMap<String, String>,
    nothing: String,
    hidden: String,
    unknown: String,
    mapping: BTreeMap<String, String>,
    verdict: Vec<Rule>,
    works: Vec<Rule>,
    blocked: Vec<Rule>,
    tell: Vec<Rule>,
}

/// A sentence, and when it holds: when each fact named has one of these values.
#[derive(Debug, Deserialize)]
struct Rule {
    when: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    is: String,
    say: String,
}

impl Words {
    /// The sentences that the program has.
    ///
    /// # Errors
    /// When they cannot be read, which a test rules out.
    pub fn read() -> Result<Words, serde_json::Error> {
        serde_json::from_str(TESTER_WORDS)
    }

    /// What is to be said.
    #[must_use]
    pub fn judge(&self, findings: &Findings) -> Told {
        let facts = facts(findings);
        let holds = |rule: &&Rule| {
            let mut conditions = rule.when.iter();
            conditions.all(|(fact, values)| {
                let value = facts.get(fact.as_str());
                value.is_some_and(|value| values.iter().any(|other| other == value))
            })
        };
        let all = |rules: &[Rule]| {
            let mut told: Vec<String> = Vec::new();
            for rule in rules.iter().filter(holds) {
                let sentence = filled(&rule.say, findings);
                if !told.contains(&sentence) {
                    told.push(sentence);
                }
            }
            told
        };
        // The last rule has no conditions.
        let verdict = self.verdict.iter().find(holds);
        Told {
            is: verdict.map(|rule| rule.is.clone()).unwrap_or_default(),
            verdict: verdict
                .map(|rule| filled(&rule.say, findings))
                .unwrap_or_default(),
            works: all(&self.works),
            blocked: all(&self.blocked),
            tell: all(&self.tell),
        }
    }

    /// The report.
    #[must_use]
    pub fn text(&self, findings: &Findings) -> String {
        let told = self.judge(findings);
        let word = |words: &BTreeMap<String, String>, key: &str| {
            words.get(key).cloned().unwrap_or_default()
        };
        let row =
            |label: &str, value: &str| format!("{:<WIDTH$}{value}", word(&self.labels, label));
        let mut lines = vec![
            self.title.clone(),
            row("made_by", &findings.made_by),
            row("made_at", &findings.made_at),
        ];
        let mut section = |name: &str, inside: Vec<String>| {
            lines.extend([String::new(), word(&self.headings, name)]);
            lines.extend(inside.into_iter().map(|line| format!("  {line}")));
        };
        let list = |sentences: &[String]| match sentences {
            [] => vec![format!("- {}", self.nothing)],
            some => some
                .iter()
                .map(|sentence| format!("- {sentence}"))
                .collect(),
        };
        section("verdict", vec![told.verdict.clone()]);
        section("works", list(&told.works));
        section("blocked", list(&told.blocked));
        section("tell", list(&told.tell));
        let network = &findings.network;
        let joined = |addresses: &[String], else_: &str| match addresses {
            [] => else_.to_owned(),
            some => some.join(", "),
        };
        section(
            "network",
            vec![
                row("nat", &word(&self.mapping, &network.mapping)),
                row("public", &joined(&network.public, &self.unknown)),
                row("local", &joined(&network.local, &self.hidden)),
                row("ipv6", if network.ipv6 { "yes" } else { "no" }),
            ],
        );
        let mut measured = Vec::new();
        for result in &findings.results {
            measured.push(format!(
                "{}, {}",
                word(&self.kinds, &result.kind),
                result.url
            ));
            let mut add =
                |label: &str, value: &str| measured.push(format!("  {}", row(label, value)));
            add("outcome", &word(&self.outcomes, &result.outcome));
            if let Some(why) = &result.why {
                add("why", why);
            }
            for (label, value, form) in result.figures() {
                if let Some(value) = value {
                    add(label, &form(value));
                }
            }
        }
        section("measured", measured);
        lines.push(String::new());
        lines.join("\n")
    }
}

type Figure = (&'static str, Option<f64>, fn(f64) -> String);

impl Tested {
    fn figures(&self) -> [Figure; 9] {
        [
            ("set_up_ms", self.set_up_ms, milliseconds),
            ("round_trip_ms", self.round_trip_ms, milliseconds),
            ("round_trip_p95_ms", self.round_trip_p95_ms, milliseconds),
            ("jitter_ms", self.jitter_ms, milliseconds),
            ("loss_percent", self.loss_percent, percent),
            ("throughput_bits", self.throughput_bits, bits),
            ("media_loss_percent", self.media_loss_percent, percent),
            ("media_jitter_ms", self.media_jitter_ms, milliseconds),
            ("media_bits", self.media_bits, bits),
        ]
    }
}

fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

fn bits(value: f64) -> String {
    if value < 1e6 {
        format!("{:.1} kbit/s", value / 1e3)
    } else {
        format!("{:.1} Mbit/s", value / 1e6)
    }
}

/// The outcome of each kind is that of its best URL.
fn facts(findings: &Findings) -> BTreeMap<&str, &str> {
    let mut facts = BTreeMap::from([("mapping", findings.network.mapping.as_str())]);
    for kind in KINDS {
        let has = |outcome: &&&str| {
            let mut results = findings.results.iter();
            results.any(|result| result.kind == kind && result.outcome == **outcome)
        };
        facts.insert(kind, BEST.iter().find(has).copied().unwrap_or("none"));
    }
    facts
}

/// A sentence with the addresses it speaks of.
fn filled(sentence: &str, findings: &Findings) -> String {
    let mut text = sentence.to_owned();
    for kind in KINDS {
        let mut places: Vec<&str> = Vec::new();
        for result in findings.results.iter().filter(|result| result.kind == kind) {
            let place = result.url.split_once(':').map_or("", |(_, rest)| rest);
            let place = place.split('?').next().unwrap_or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        text = text.replace(&format!("{{{kind}}}"), &places.join(", "));
    }
    text
}
