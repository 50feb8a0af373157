// The tester's page: begins a test, shows how far it is and what came of it. What is measured how is measure.js's, and
// what is said about it report.js's and words.json's. Texts go in as text, never as HTML.

import { kindOf, network, relay, stun } from "/test/measure.js";
import { about, judged, measured, text } from "/test/report.js";

const TOKEN = "hairpin-token";
const ICONS = { good: "✓", fair: "!", bad: "✗" };
const byId = (id) => document.getElementById(id);

function html(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

async function ask(where, request) {
  try {
    return await fetch(where, request);
  } catch {
    // Here alone: anywhere else an error is one of this page, and is told as it is.
    throw new Error("The server does not answer.");
  }
}

async function begin() {
  // Pages of others cannot send this header.
  const headers = { "X-Hairpin": "1" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await ask("/v1/test", { method: "POST", headers, cache: "no-store", credentials: "omit" });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(told.error ?? `the server answers ${answer.status}`), { status: answer.status });
}

const progress = byId("progress");
function far(done, all, what) {
  byId("far").hidden = false;
  byId("far").max = all;
  byId("far").value = done;
  if (progress.textContent !== what) progress.textContent = what;
}

async function test(words, { iceServers, stun: more }) {
  const servers = iceServers.flatMap((server) => server.urls.map((url) => ({ ...server, url })));
  const relays = servers.filter(({ url }) => url.startsWith("turn"));
  const offered = servers.filter(({ url }) => url.startsWith("stun")).map(({ url }) => url);
  const all = relays.length + 1;
  far(0, all, words.kinds.stun);
  // Browsers have few sockets to spare.
  const answers = await Promise.all([...new Set([...offered, ...more])].slice(0, 8).map(stun));
  const results = answers.filter(({ result }) => offered.includes(result.url)).map(({ result }) => result);
  const found = { made_by: `${location.origin}/test, ${navigator.userAgent}`, made_at: new Date().toISOString().replace(/\.\d+Z/, "Z"), network: await network(answers), results };
  for (const [number, server] of relays.entries()) {
    const tell = (share) => far(number + 1 + share, all, `${words.kinds[kindOf(server.url)]}, ${server.url}`);
    tell(0);
    results.push(await relay(server.url, server, tell));
  }
  progress.textContent = "";
  byId("far").hidden = true;
  return found;
}

function list(at, sentences, words) {
  byId(at).replaceChildren(...(sentences.length ? sentences : [words.nothing]).map((sentence) => html("li", {}, sentence)));
}

function show(words, found) {
  const told = judged(words, found);
  byId("outcome").hidden = false;
  byId("verdict").className = `card ${told.is}`;
  byId("verdict-sign").textContent = ICONS[told.is];
  byId("verdict-text").textContent = told.verdict;
  list("works", told.works, words);
  list("blocked", told.blocked, words);
  list("tell", told.tell, words);
  const pairs = (rows) => rows.flatMap(([label, value]) => [html("dt", {}, label), html("dd", {}, value)]);
  byId("network").replaceChildren(...pairs(about(words, found)));
  byId("measured").replaceChildren(
    ...found.results.map((result) =>
      html("article", { class: "card" }, html("h3", {}, words.kinds[result.kind]), html("p", { class: "soft" }, result.url), html("dl", {}, ...pairs(measured(words, result)))),
    ),
  );
  byId("report").textContent = text(words, found);
  byId("verdict").focus();
}

async function run() {
  byId("trouble").hidden = true;
  byId("outcome").hidden = true;
  byId("start").disabled = true;
  try {
    const words = await (await ask("/test/words.json")).json();
    const found = await test(words, await begin());
    show(words, found);
    byId("start").textContent = "Test again";
  } catch (error) {
    byId("far").hidden = true;
    progress.textContent = "";
    const isUnknown = error.status === 401 || error.status === 403;
    byId("sign-in").hidden = !isUnknown;
    if (isUnknown) byId("token").focus();
    byId("trouble").hidden = false;
    byId("trouble").textContent = error.message;
  } finally {
    byId("start").disabled = false;
  }
}

byId("start").addEventListener("click", run);
byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  byId("sign-in").hidden = true;
  run();
});
byId("copy").addEventListener("click", async () => {
  const report = byId("report");
  try {
    await navigator.clipboard.writeText(report.textContent);
  } catch {
    // Without TLS there is no clipboard: the text is chosen instead, or copied the old way.
    getSelection().selectAllChildren(report);
    if (!document.execCommand("copy")) {
      byId("copied").textContent = "Chosen; copy it by keyboard.";
      return;
    }
    getSelection().removeAllRanges();
  }
  byId("copied").textContent = "Copied.";
});
if (!("RTCPeerConnection" in window)) {
  byId("start").disabled = true;
  byId("trouble").hidden = false;
  byId("trouble").textContent = "This browser has no WebRTC, or it is switched off: calls cannot work in it.";
}
