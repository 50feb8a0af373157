// The report: findings in, words out. `hairpin probe --report` does the same in Rust with the same words.json, and a test
// holds the two against each other. Nothing of the page is touched here.

const KINDS = ["stun", "udp", "tcp", "tls"];
const BEST = ["works", "lossy", "broken", "refused", "blocked", "unmeasured"];
const WIDTH = 18;

// host:port of stun:host:port or turns:host:port?transport=tcp
const place = (url) => url.replace(/^[a-z]+:/, "").replace(/\?.*$/, "");

// The outcome of each kind is that of its best URL.
export function facts({ results, network }) {
  const known = { mapping: network.mapping };
  for (const kind of KINDS) {
    const outcomes = results.filter((result) => result.kind === kind).map(({ outcome }) => outcome);
    known[kind] = BEST.find((one) => outcomes.includes(one)) ?? "none";
  }
  return known;
}

export function judged(words, findings) {
  const known = facts(findings);
  const holds = ({ when }) => Object.entries(when).every(([fact, values]) => values.includes(known[fact]));
  const places = (kind) => {
    const of = findings.results.filter((result) => result.kind === kind);
    return [...new Set(of.map(({ url }) => place(url)))].join(", ");
  };
  const filled = ({ say }) => KINDS.reduce((text, kind) => text.replaceAll(`{${kind}}`, places(kind)), say);
  const all = (rules) => [...new Set(rules.filter(holds).map(filled))];
  const verdict = words.verdict.find(holds);
  return { is: verdict.is, verdict: filled(verdict), works: all(words.works), blocked: all(words.blocked), tell: all(words.tell), facts: known };
}

const fixed = (unit) => (value) => `${value.toFixed(1)} ${unit}`;
const bits = (value) => (value < 1e6 ? `${(value / 1e3).toFixed(1)} kbit/s` : `${(value / 1e6).toFixed(1)} Mbit/s`);
const FORMS = {
  set_up_ms: fixed("ms"),
  round_trip_ms: fixed("ms"),
  round_trip_p95_ms: fixed("ms"),
  jitter_ms: fixed("ms"),
  loss_percent: fixed("%"),
  throughput_bits: bits,
  media_loss_percent: fixed("%"),
  media_jitter_ms: fixed("ms"),
  media_bits: bits,
};

// What was measured of a result, as [label, value] pairs.
export function measured(words, result) {
  const rows = [[words.labels.outcome, words.outcomes[result.outcome]]];
  if (result.why) rows.push([words.labels.why, result.why]);
  for (const [name, form] of Object.entries(FORMS)) if (typeof result[name] === "number") rows.push([words.labels[name], form(result[name])]);
  return rows;
}

export function about(words, { network }) {
  return [
    [words.labels.nat, words.mapping[network.mapping]],
    [words.labels.public, network.public.join(", ") || words.unknown],
    [words.labels.local, network.local.join(", ") || words.hidden],
    [words.labels.ipv6, network.ipv6 ? "yes" : "no"],
  ];
}

export function text(words, findings) {
  const told = judged(words, findings);
  const row = ([label, value]) => `${label.padEnd(WIDTH)}${value}`;
  const section = (name, lines) => ["", words.headings[name], ...lines.map((line) => `  ${line}`)];
  const list = (sentences) => (sentences.length ? sentences : [words.nothing]).map((sentence) => `- ${sentence}`);
  const lines = [
    words.title,
    row([words.labels.made_by, findings.made_by]),
    row([words.labels.made_at, findings.made_at]),
    ...section("verdict", [told.verdict]),
    ...section("works", list(told.works)),
    ...section("blocked", list(told.blocked)),
    ...section("tell", list(told.tell)),
    ...section("network", about(words, findings).map(row)),
    ...section("measured", []),
  ];
  for (const result of findings.results) {
    lines.push(`  ${words.kinds[result.kind]}, ${result.url}`);
    lines.push(...measured(words, result).map((one) => `    ${row(one)}`));
  }
  return `${lines.join("\n")}\n`;
}
