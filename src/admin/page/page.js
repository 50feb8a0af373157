// The operator's page: asks the API what it shows. Whatever comes from the server goes in as text, never as HTML.

import { Chart, html, path, svg } from "/charts.js";

const EVERY = 2000;
const HOLD = 10_000;
const TOKEN = "hairpin-token";
const WHY = "hairpin-signed-out";
const byId = (id) => document.getElementById(id);

// --- asking

class Refused extends Error {
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

async function ask(method, where, body) {
  // What changes something needs this header, which pages of others cannot send.
  const headers = { "X-Hairpin": "1" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const request = { method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit" };
  let answer, text;
  try {
    answer = await fetch(where, request);
    text = await answer.text();
  } catch {
    // Here alone: anywhere else an error is one of this page, and is told as it is.
    throw new Error("The server does not answer.");
  }
  const told = parsed(text);
  if (answer.ok) return told;
  throw new Refused(answer.status, told.error ?? `the server answers ${answer.status}`);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// What went wrong with an order stays for a while; with a look, until the next one goes well.
let held = 0;
function trouble(error, hold = 0) {
  const line = byId("trouble");
  if (!error && performance.now() < held) return;
  held = performance.now() + hold;
  line.hidden = !error;
  if (error) line.textContent = error.message;
}

// --- numbers in words

const count = new Intl.NumberFormat("en");

function short(value) {
  if (value < 1000) return value < 10 && value % 1 ? value.toFixed(1) : `${Math.round(value)}`;
  const power = Math.min(4, Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** power;
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${["", "k", "M", "G", "T"][power]}`;
}
const withUnit = (unit) => (value) => {
  const text = short(value);
  return `${text}${text.includes(" ") ? "" : " "}${unit}`;
};
const bits = (bytes) => withUnit("bit/s")(bytes * 8);
const bytes = withUnit("B");
const aSecond = withUnit("/s");
const percent = (value) => `${value < 10 && value % 1 ? value.toFixed(value < 0.1 ? 2 : 1) : Math.round(value)} %`;

function time(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [size, unit] = parts[first];
  const next = parts[first + 1];
  const rest = next && Math.floor((seconds % size) / next[0]);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[1]}` : ""}`;
}

// --- now

let history = { interval: 5, kept: 720, samples: [] };
let minutes = 60;

const charts = {
  sessions: new Chart("Sessions", short),
  throughput: new Chart("Throughput", bits),
  packets: new Chart("Packets", aSecond),
  loss: new Chart("Loss, share of packets", percent),
  workers: new Chart("Workers, share of a processor", percent),
  dropped: new Chart("Packets dropped, by reason", aSecond),
  refused: new Chart("Refused, by reason", aSecond),
  ports: new Chart("Relay ports", short),
};
byId("charts").append(...Object.values(charts).map(({ element }) => element));

// What was lost of what was to be relayed, in percent.
function loss(sample) {
  const relayed = history.interval * (sample.to_peers.packets_per_second + sample.to_clients.packets_per_second);
  return (100 * sample.lost) / Math.max(1, relayed + sample.lost);
}

// A line for each reason that was there at the time shown, those with most first; the rest in one.
function byReason(samples, of) {
  const sums = new Map();
  for (const sample of samples) for (const [reason, number] of Object.entries(of(sample))) sums.set(reason, (sums.get(reason) ?? 0) + number);
  const names = [...sums.keys()].sort((one, other) => sums.get(other) - sums.get(one));
  const single = names.length > 8 ? names.slice(0, 7) : names;
  const rest = names.slice(single.length);
  const rate = (sample, reasons) => reasons.reduce((sum, reason) => sum + (of(sample)[reason] ?? 0), 0) / history.interval;
  const lines = single.map((name) => ({ name: name.replaceAll("_", " "), values: samples.map((sample) => rate(sample, [name])) }));
  if (rest.length) lines.push({ name: "others", values: samples.map((sample) => rate(sample, rest)) });
  return lines;
}

function drawCharts() {
  const to = history.samples.at(-1)?.time ?? Math.floor(Date.now() / 1000);
  const from = to - minutes * 60;
  const samples = history.samples.filter(({ time }) => time >= from);
  const times = samples.map(({ time }) => time);
  const line = (name, of) => ({ name, values: samples.map(of) });
  const draw = (chart, lines) => chart.draw({ from, to, times, lines });
  draw(charts.sessions, [line("sessions", (sample) => sample.sessions)]);
  draw(charts.throughput, [
    line("to peers", (sample) => sample.to_peers.bytes_per_second),
    line("to clients", (sample) => sample.to_clients.bytes_per_second),
  ]);
  draw(charts.packets, [
    line("to peers", (sample) => sample.to_peers.packets_per_second),
    line("to clients", (sample) => sample.to_clients.packets_per_second),
  ]);
  draw(charts.loss, [line("lost", loss)]);
  draw(charts.ports, [
    line("used", (sample) => sample.ports.used),
    line("resting", (sample) => sample.ports.quarantined),
    line("reserved", (sample) => sample.ports.reserved),
  ]);
  const workers = samples.at(-1)?.workers.length ?? 0;
  draw(charts.workers, Array.from({ length: workers }, (_, number) => line(`worker ${number}`, (sample) => sample.workers[number]?.busy_percent ?? 0)));
  draw(charts.dropped, byReason(samples, (sample) => sample.dropped));
  draw(charts.refused, byReason(samples, (sample) => sample.refused));
}

function drawStatus(status) {
  byId("state").textContent = `${status.version}, up ${time(status.uptime_seconds)}${status.draining ? ", draining" : ""}`;
  const { rates, ports, workers } = status;
  const latest = history.samples.at(-1);
  const sum = (of) => Object.values(of ?? {}).reduce((all, number) => all + number, 0) / history.interval;
  const tiles = [
    ["sessions", count.format(status.sessions)],
    ["to peers", bits(rates.to_peers.bytes_per_second)],
    ["to clients", bits(rates.to_clients.bytes_per_second)],
    ["packets", aSecond(rates.to_peers.packets_per_second + rates.to_clients.packets_per_second)],
    ["loss", latest ? percent(loss(latest)) : "–"],
    ["dropped", aSecond(sum(latest?.dropped))],
    ["refused", aSecond(sum(latest?.refused))],
    [workers.restarts ? `workers, ${workers.restarts} restarts` : "workers", `${workers.count}`],
  ];
  byId("tiles").replaceChildren(...tiles.map(([name, value]) => html("div", { class: "card" }, html("b", {}, value), html("span", {}, name))));

  const shares = [["used", "c0", ports.used], ["resting", "c1", ports.quarantined], ["reserved", "c3", ports.reserved], ["free", "c7", ports.free]];
  const all = shares.reduce((sum, [, , number]) => sum + number, 0) || 1;
  let x = 0;
  byId("ports-bar").replaceChildren(
    ...shares.map(([, colour, number]) => {
      const width = (number / all) * 1000;
      x += width;
      return svg("rect", { class: colour, x: x - width, width, height: 12 });
    }),
  );
  byId("ports-bar").setAttribute("aria-label", shares.map(([name, , number]) => `${number} ${name}`).join(", "));
  byId("ports").replaceChildren(...shares.map(([name, colour, number]) => html("li", {}, html("i", { class: colour }), name, html("b", {}, count.format(number)))));

  const certificates = status.certificates.map(({ names, not_after, days_left, file }) =>
    html("li", { title: file }, `${names.join(", ") || file}: `, html("b", { class: days_left < 14 ? "bad" : "good" }, days_left < 0 ? "ended" : `${days_left} days left`), `, until ${not_after}`),
  );
  byId("certificates").replaceChildren(...(certificates.length ? certificates : [html("li", {}, "none")]));
  byId("listeners").replaceChildren(...status.listeners.map(({ transport, address, proxied }) => html("li", {}, `${transport} ${address}${proxied ? ", behind a proxy" : ""}`)));
}

async function askHistory() {
  const after = history.samples.at(-1)?.time ?? 0;
  const { interval_seconds, kept, samples } = await ask("GET", `/v1/history?after=${after}`);
  history = { interval: interval_seconds, kept, samples: [...history.samples, ...samples].slice(-kept) };
}

async function showNow() {
  const [status] = await Promise.all([ask("GET", "/v1/status"), askHistory()]);
  drawStatus(status);
  drawCharts();
}

for (const button of document.querySelectorAll("[data-minutes]")) {
  button.addEventListener("click", () => {
    minutes = Number(button.dataset.minutes);
    for (const other of document.querySelectorAll("[data-minutes]")) other.setAttribute("aria-pressed", String(other === button));
    drawCharts();
  });
}

// --- sessions

const COLUMNS = [
  { name: "User", of: (s) => s.user, text: (s) => s.user },
  { name: "Client", of: (s) => s.client, text: (s) => s.client },
  { name: "Transport", of: (s) => s.transport, text: (s) => s.transport, wide: true },
  { name: "Relayed", of: (s) => s.relayed[0] ?? "", text: (s) => s.relayed.join(" "), wide: true },
  { name: "To peers", of: (s) => s.to_peers.bytes_per_second, text: (s) => bits(s.to_peers.bytes_per_second), number: true },
  { name: "To client", of: (s) => s.to_client.bytes_per_second, text: (s) => bits(s.to_client.bytes_per_second), number: true },
  { name: "In all", of: (s) => s.to_peers.bytes + s.to_client.bytes, text: (s) => bytes(s.to_peers.bytes + s.to_client.bytes), number: true, wide: true },
  { name: "Age", of: (s) => s.age_seconds, text: (s) => time(s.age_seconds), number: true, wide: true },
];
const AROUND = 6;
let sessions = [];
let visible = [];
let sorted = { column: 4, down: true };
let chosen = null; // the id of the session that the arrows are on
let shown = null; // the id of the one that is shown in full
let loading = null;
let rowHeight = 32;

const scroller = byId("scroller");
const rows = byId("rows");
const spacers = [0, 1].map(() => html("tr", { class: "spacer", "aria-hidden": "true" }, html("td")));
const pool = [];
rows.append(...spacers);

const heads = COLUMNS.map((column, number) => {
  const button = html("button", { type: "button" });
  button.addEventListener("click", () => {
    sorted = { column: number, down: sorted.column === number ? !sorted.down : Boolean(column.number) };
    arrange();
  });
  const head = html("th", { scope: "col", class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") }, button);
  byId("columns").append(head);
  return { head, button };
});

function arrange() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (s) => (s.text ??= `${s.user} ${s.client} ${s.relayed.join(" ")} ${s.transport} ${s.id}`.toLowerCase());
  visible = words.length ? sessions.filter((s) => words.every((word) => text(s).includes(word))) : sessions.slice();
  const { of, number } = COLUMNS[sorted.column];
  const way = sorted.down ? -1 : 1;
  const byText = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
  visible.sort((one, other) => {
    const order = number ? of(one) - of(other) : byText(of(one), of(other));
    return way * order || byText(one.id, other.id);
  });
  heads.forEach(({ head, button }, place) => {
    const is = place === sorted.column;
    head.setAttribute("aria-sort", is ? (sorted.down ? "descending" : "ascending") : "none");
    button.textContent = COLUMNS[place].name + (is ? (sorted.down ? " ▾" : " ▴") : "");
  });
  const all = count.format(sessions.length);
  byId("found").textContent = words.length ? `${count.format(visible.length)} of ${all}` : `${all} sessions`;
  fill();
}

// Only the rows that are to be seen, and a few around them, are in the document.
function fill() {
  const room = Math.ceil(scroller.clientHeight / rowHeight) + 2 * AROUND;
  const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / rowHeight) - AROUND, visible.length - room));
  const last = Math.min(visible.length, first + room);
  while (pool.length < last - first) {
    const row = html("tr", {}, ...COLUMNS.map(({ number, wide }) => html("td", { class: [number && "number", wide && "wide"].filter(Boolean).join(" ") })));
    pool.push(row);
    spacers[1].before(row);
  }
  while (pool.length > last - first) pool.pop().remove();
  pool.forEach((row, place) => {
    const session = visible[first + place];
    row.dataset.id = session.id;
    row.setAttribute("aria-rowindex", first + place + 2);
    row.setAttribute("aria-selected", String(session.id === chosen));
    COLUMNS.forEach(({ text }, column) => {
      const cell = row.cells[column];
      const words = text(session);
      if (cell.textContent !== words) cell.textContent = words;
    });
  });
  spacers[0].style.height = `${first * rowHeight}px`;
  spacers[1].style.height = `${(visible.length - last) * rowHeight}px`;
  spacers[0].hidden = !first;
  spacers[1].hidden = last === visible.length;
  scroller.querySelector("table").setAttribute("aria-rowcount", visible.length + 1);
  const height = pool[0]?.getBoundingClientRect().height;
  if (height && Math.abs(height - rowHeight) > 0.01) {
    rowHeight = height;
    fill();
  }
}

async function load() {
  const found = [];
  const seen = new Set();
  // In the order of names, which does not move while pages are asked for.
  let cursor = "";
  do {
    const page = await ask("GET", `/v1/sessions?sort=user&limit=1000${cursor}`);
    for (const session of page.sessions) if (!seen.has(session.id)) seen.add(session.id), found.push(session);
    cursor = page.next && `&cursor=${encodeURIComponent(page.next)}`;
  } while (cursor);
  if (isSignedOut) return;
  sessions = found;
  arrange();
}

let rested = 0;
async function showSessions() {
  if (!loading && performance.now() > rested) {
    const started = performance.now();
    // Thousands are asked for less often: a tenth of the time at most.
    loading = load().finally(() => {
      loading = null;
      rested = performance.now() + Math.min(30_000, 9 * (performance.now() - started)) - EVERY;
    });
  }
  await Promise.all([loading, shown && showSession()]);
}

async function showSession() {
  const id = shown;
  const told = await ask("GET", `/v1/sessions/${id}`).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  if (shown !== id) return;
  byId("end").disabled = !told;
  byId("session-title").textContent = told ? `Session ${id}` : `Session ${id} has ended`;
  if (!told) return byId("path").replaceChildren();
  const host = (address) => address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  const how = ({ inside_only }) => (inside_only ? "permission, inside only" : "permission");
  const named = new Map([
    ...told.bound_channels.map(({ number, peer }) => [peer, `channel ${number}`]),
    ...told.connections.map((peer) => [peer, "TCP connection"]),
  ]);
  // Peers without a channel are seen by what passes; those with whom nothing does yet, by their permission.
  const measured = new Map(told.peers.map((one) => [one.peer, one]));
  for (const { peer } of told.peers) {
    const permission = told.permitted.find((one) => one.peer === host(peer));
    if (!named.has(peer) && permission) named.set(peer, how(permission));
  }
  for (const one of told.permitted) if (![...named.keys()].some((address) => host(address) === one.peer)) named.set(one.peer, how(one));
  const inWords = (way) => bits(way.bytes_per_second);
  const sum = (peer) => (measured.get(peer)?.to_peer.bytes_per_second ?? 0) + (measured.get(peer)?.to_client.bytes_per_second ?? 0);
  const rateOf = (peer) => {
    const rates = measured.get(peer);
    return rates && { toPeers: inWords(rates.to_peer), toClient: inWords(rates.to_client) };
  };
  // Those with most first, so that they are among those drawn.
  const peers = [...named].sort(([one], [other]) => sum(other) - sum(one)).map(([peer, by]) => ({ lines: [peer, by], rates: rateOf(peer) }));
  const rates = { toPeers: bits(told.to_peers.bytes_per_second), toClient: bits(told.to_client.bytes_per_second) };
  byId("path").replaceChildren(
    path({
      client: ["client", told.client, told.away ? "away" : `over ${told.transport}`],
      relay: ["hairpin", `at ${told.server}`, ...told.relayed.map((address) => `→ ${address}`)],
      peers,
      rates,
    }),
  );
  const way = ({ packets, bytes: sum, bytes_per_second }) => `${bits(bytes_per_second)}; ${count.format(packets)} packets, ${bytes(sum)} in all`;
  const facts = [
    ["User", told.user],
    ["To peers", way(told.to_peers)],
    ["To client", way(told.to_client)],
    ["Age", time(told.age_seconds)],
    ["Ends in", `${time(told.expires_in_seconds)}, unless it is refreshed`],
    ["Peers over", told.protocol.toUpperCase()],
    ["Permissions", `${told.permissions}`],
    ["Channels", `${told.channels}`],
  ];
  byId("facts").replaceChildren(...facts.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));
  byId("end").dataset.user = told.user;
}

function open(id) {
  chosen = shown = id;
  byId("session").hidden = false;
  document.querySelector(".split").classList.add("open");
  byId("session-title").textContent = `Session ${id}`;
  byId("path").replaceChildren();
  byId("facts").replaceChildren();
  fill();
  showSession().then(() => byId("session-title").focus({ preventScroll: matchMedia("(min-width: 761px)").matches }), failed);
}

function close() {
  shown = null;
  byId("session").hidden = true;
  document.querySelector(".split").classList.remove("open");
  scroller.focus();
}

function move(to) {
  if (!visible.length) return;
  const place = Math.max(0, Math.min(visible.length - 1, to));
  chosen = visible[place].id;
  // Below the head of the table, which stays.
  const head = byId("columns").getBoundingClientRect().height;
  const top = place * rowHeight;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  const most = top + rowHeight + head - scroller.clientHeight;
  if (most > scroller.scrollTop) scroller.scrollTop = most;
  fill();
}

scroller.addEventListener("scroll", () => requestAnimationFrame(fill), { passive: true });
new ResizeObserver(() => visible.length && fill()).observe(scroller);
scroller.addEventListener("keydown", (event) => {
  if (event.target !== scroller) return;
  const now = visible.findIndex(({ id }) => id === chosen);
  const page = Math.max(1, Math.floor(scroller.clientHeight / rowHeight) - 2);
  const to = { ArrowDown: now + 1, ArrowUp: Math.max(0, now - 1), PageDown: now + page, PageUp: Math.max(0, now - page), Home: 0, End: visible.length - 1 }[event.key];
  if (to !== undefined) move(to);
  else if (event.key === "Enter" && now >= 0) open(chosen);
  else return;
  event.preventDefault();
});
rows.addEventListener("click", (event) => {
  const id = event.target.closest("tr")?.dataset.id;
  if (id) open(id);
});
byId("search").addEventListener("input", () => {
  scroller.scrollTop = 0;
  arrange();
});
byId("session-close").addEventListener("click", close);
byId("session").addEventListener("keydown", (event) => event.key === "Escape" && close());

const confirm = byId("confirm");
byId("end").addEventListener("click", () => {
  confirm.dataset.id = shown;
  byId("confirm-text").textContent = `${byId("end").dataset.user}, session ${shown}: what passes through it stops at once. The client may begin another.`;
  confirm.showModal();
});
byId("confirm-no").addEventListener("click", () => confirm.close());
byId("confirm-yes").addEventListener("click", async () => {
  confirm.close();
  try {
    await ask("DELETE", `/v1/sessions/${confirm.dataset.id}`);
    sessions = sessions.filter(({ id }) => id !== confirm.dataset.id);
    close();
    arrange();
  } catch (error) {
    failed(error, HOLD);
  }
});

// --- set-up

// As the configuration file would say it.
function toml(settings) {
  const lines = [];
  const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const isTables = (value) => Array.isArray(value) && value.length > 0 && value.every(isTable);
  const plain = (value) => {
    if (Array.isArray(value)) return `[${value.map(plain).join(", ")}]`;
    if (isTable(value)) return `{ ${Object.entries(value).map(([key, inner]) => `${key} = ${plain(inner)}`).join(", ")} }`;
    return JSON.stringify(value);
  };
  const write = (table, name) => {
    for (const [key, value] of Object.entries(table)) {
      if (value === null) lines.push(`# ${key}: not set`);
      else if (!isTable(value) && !isTables(value)) lines.push(`${key} = ${plain(value)}`);
    }
    for (const [key, value] of Object.entries(table)) {
      const inner = name ? `${name}.${key}` : key;
      if (isTable(value)) lines.push("", `[${inner}]`), write(value, inner);
      else if (isTables(value)) for (const one of value) lines.push("", `[[${inner}]]`), write(one, inner);
    }
  };
  write(settings, "");
  return lines.join("\n").trim();
}

async function showSetup() {
  if (!findings) findings = showFindings();
  const text = toml(await ask("GET", "/v1/settings"));
  if (!isSignedOut && byId("settings").textContent !== text) byId("settings").textContent = text;
}

// What doctor finds: asked for when the part is opened, and by the button. It may take seconds.
let findings = null;

function finding({ id, severity, what, why, mend, lines }) {
  const item = html("li", { class: `finding ${severity}` }, html("b", { class: "severity" }, severity), html("span", { class: "what" }, what), html("code", {}, id));
  if (why) item.append(html("p", {}, html("b", {}, "Why it matters: "), why));
  if (mend || lines) item.append(html("p", {}, html("b", {}, "How to mend it: "), mend ?? ""));
  if (lines) item.append(html("pre", { tabindex: "0", "aria-label": `for ${id}` }, lines.join("\n")));
  return item;
}

async function showFindings() {
  byId("findings-again").disabled = true;
  byId("findings-told").textContent = "looking…";
  try {
    const told = await ask("GET", "/v1/doctor");
    if (isSignedOut) return;
    const fine = told.findings.filter(({ severity }) => severity === "ok");
    byId("findings").replaceChildren(...told.findings.filter((one) => !fine.includes(one)).map(finding));
    byId("findings-fine").hidden = !fine.length;
    byId("findings-fine").querySelector("summary").textContent = `${fine.length} as they should be`;
    byId("findings-fine").querySelector("ul").replaceChildren(...fine.map(finding));
    const many = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
    const at = new Date(told.looked * 1000).toLocaleTimeString();
    byId("findings-told").textContent = `${many(told.problems, "problem")}, ${many(told.warnings, "warning")}, at ${at}`;
  } catch (error) {
    byId("findings-told").textContent = "";
    failed(error, HOLD);
  } finally {
    byId("findings-again").disabled = false;
  }
}
byId("findings-again").addEventListener("click", () => (findings = showFindings()));

byId("ice-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const user = byId("ice-user").value.trim();
  try {
    const made = await ask("POST", "/v1/credentials", { ttl: Number(byId("ice-ttl").value), ...(user && { user }) });
    byId("ice").textContent = JSON.stringify(made.iceServers, null, 2);
    byId("ice").hidden = byId("ice-copy").hidden = false;
    byId("ice-told").textContent = `good until ${new Date(made.expires * 1000).toLocaleString()}`;
  } catch (error) {
    failed(error, HOLD);
  }
});
byId("ice-copy").addEventListener("click", async () => {
  getSelection().selectAllChildren(byId("ice"));
  try {
    // Pages over plain HTTP from afar have no clipboard: then it stays selected.
    await navigator.clipboard.writeText(byId("ice").textContent);
    byId("ice-told").textContent = "copied";
  } catch {
    byId("ice-told").textContent = "selected: copy it with your keyboard";
  }
});

// --- which part is shown

const VIEWS = { now: showNow, sessions: showSessions, setup: showSetup };
let isSignedOut = false;
const view = () => (Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : "now");

function show() {
  for (const name of Object.keys(VIEWS)) byId(name).hidden = isSignedOut || name !== view();
  byId("sign-in").hidden = !isSignedOut;
  byId("sign-out").hidden = isSignedOut || !sessionStorage.getItem(TOKEN);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function signedOut() {
  isSignedOut = true;
  show();
  if (sessionStorage.getItem(TOKEN)) leave("This token is not known to the server.");
  else {
    byId("sign-in-trouble").textContent = sessionStorage.getItem(WHY) ?? "";
    sessionStorage.removeItem(WHY);
    trouble(null);
    byId("token").focus();
  }
}

// Loads the page anew, so that nothing of what was shown is left in it.
function leave(why) {
  sessionStorage.removeItem(TOKEN);
  if (why) sessionStorage.setItem(WHY, why);
  location.reload();
}

function failed(error, hold) {
  if (error.status !== 401) trouble(error, hold);
  else if (!isSignedOut) signedOut();
}

let asking = false;
async function look() {
  if (asking || isSignedOut || document.hidden) return;
  asking = true;
  try {
    await VIEWS[view()]();
    trouble(null);
  } catch (error) {
    failed(error);
  }
  asking = false;
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  try {
    await ask("GET", "/v1/status");
  } catch (error) {
    sessionStorage.removeItem(TOKEN);
    byId("sign-in-trouble").textContent = error.status === 401 ? "This token is not known to the server." : error.message;
    return;
  }
  byId("token").value = "";
  isSignedOut = false;
  show();
  byId("main").focus();
  look();
});
byId("sign-out").addEventListener("click", () => leave());

addEventListener("hashchange", () => {
  findings = null;
  show();
  look();
});
document.addEventListener("visibilitychange", look);
show();
look();
setInterval(look, EVERY);
