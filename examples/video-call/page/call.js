// What can be seen and pressed. It holds the socket to the room server (signalling.js), one call for each other member
// (peer.js) and what this side sends (media.js), and shows which path each call takes (path.js).

import { Media } from "./media.js";
import { describe, inWords, rates, readPath } from "./path.js";
import { Peer } from "./peer.js";
import { Signalling } from "./signalling.js";

const $ = (id) => document.getElementById(id);
const media = new Media();
const members = new Map(); // seat -> {name, peer, tile, screenTile, path}
let signalling = null;
let own = null; // {seat, name, tile, screenTile}
let iceServers = [];

const REFUSED = {
  "room-full": "The room is full: six are the most that fit.",
  "server-full": "The server has no room left.",
  "no-ice-servers": "The server has no credentials for the relay. Is hairpin running?",
  "too-fast": "Too many join at this moment. Try again in a while.",
  "taken-over": "This seat is used elsewhere now.",
  "too-slow": "The connection to the server was too slow.",
  "bad-message": "The server does not understand this page. Load it anew.",
};

// ---- Lobby

// The room stands behind the # of the address, which browsers do not send to the server with the request.
function roomInAddress() {
  const room = location.hash.slice(1);
  return /^[a-z0-9-]{1,64}$/.test(room) ? room : null;
}

// Whoever knows a room's name can enter it, so it has to be hard to guess: 60 bits.
function newRoom() {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  const random = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => letters[byte % 32]);
  return [0, 4, 8].map((at) => random.slice(at, at + 4).join("")).join("-");
}

function enterLobby() {
  $("lobby").hidden = false;
  $("call").hidden = true;
  $("choices-home").append($("choices"));
  $("join").disabled = false;
  $("wish").value = roomInAddress() ?? newRoom();
  $("room").textContent = "";
  $("copy").hidden = true;
}

async function openMedia() {
  $("trouble").textContent = (await media.open()) ?? "";
}

$("lobby").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = $("wish").value;
  const name = $("name").value.trim();
  if (!name) return;
  try {
    localStorage.setItem("name", name);
  } catch {
    // No storage for this page: then the name is asked for again next time.
  }
  history.replaceState(null, "", `#${room}`);
  $("join").disabled = true;
  $("trouble").textContent = "";
  own = { name };
  signalling = new Signalling(`${location.origin.replace(/^http/, "ws")}/signal`, room, name);
  signalling.addEventListener("joined", ({ detail }) => joined(room, detail));
  signalling.addEventListener("resumed", ({ detail }) => resumed(detail));
  signalling.addEventListener("away", () => say("Connection to the server lost, calls go on. Trying again…"));
  signalling.addEventListener("message", ({ detail }) => hear(detail));
  signalling.addEventListener("ended", ({ detail }) => ended(detail));
});

addEventListener("hashchange", () => {
  // Another room was typed into the address.
  if (!own?.seat) $("wish").value = roomInAddress() ?? $("wish").value;
});

// ---- Members

function joined(room, detail) {
  // A second time, when the seat was lost: the others have hung up already.
  for (const seat of [...members.keys()]) remove(seat);
  iceServers = detail.iceServers;
  own.seat = detail.seat;
  $("lobby").hidden = true;
  $("call").hidden = false;
  $("settings-choices").append($("choices"));
  $("room").textContent = room;
  $("copy").hidden = false;
  own.tile ??= newTile(`${own.name} (you)`, "mirrored");
  own.tile.video.muted = true;
  own.tile.video.srcObject = media.camera;
  for (const member of detail.members) add(member, true);
  showOwn();
  sayWhoIsHere();
}

function resumed({ members: present }) {
  const seats = present.map(({ seat }) => seat);
  for (const seat of [...members.keys()]) if (!seats.includes(seat)) remove(seat);
  for (const { peer } of members.values()) peer.remind();
  sayWhoIsHere();
}

function hear(message) {
  const { type, from, seat } = message;
  const member = members.get(from ?? seat);
  switch (type) {
    case "member-joined":
      add(message.member, false);
      note(`${message.member.name} joined`);
      break;
    case "member-left":
      if (member) note(`${member.name} left`);
      remove(seat);
      break;
    case "member-away":
      member?.tile.root.classList.add("away");
      break;
    case "member-back":
      member?.tile.root.classList.remove("away");
      member?.peer.remind();
      break;
    default:
      member?.peer.take(message);
      return;
  }
  sayWhoIsHere();
}

function add({ seat, name }, calls) {
  remove(seat);
  const tile = newTile(name);
  tile.root.dataset.seat = seat;
  const peer = new Peer({
    seat,
    calls,
    polite: own.seat > seat,
    iceServers,
    policy: policy(),
    media,
    signal: (message) => signalling?.send({ ...message, to: seat }),
    fetchServers,
  });
  const member = { name, peer, tile, screenTile: null, path: null };
  members.set(seat, member);
  tile.video.srcObject = peer.camera;
  const on = (type, listener) => peer.addEventListener(type, ({ detail }) => listener(detail));
  on("chat", (text) => write(name, text));
  on("about", ({ microphone, camera }) => tile.show({ microphone, camera }));
  on("state", (state) => {
    tile.root.dataset.state = state;
    if (state !== "connected") tile.path({ kind: "none", short: state === "failed" ? "no path" : "connecting…", long: "" });
  });
  on("stream", ({ kind, stream }) => {
    if (kind === "screen") setScreen(member, stream);
    else applySpeaker();
  });
  tile.path({ kind: "none", short: "connecting…", long: "" });
}

function remove(seat) {
  const member = members.get(seat);
  if (!member) return;
  members.delete(seat);
  member.peer.close();
  member.tile.root.remove();
  setScreen(member, null);
}

function ended(reason) {
  for (const seat of [...members.keys()]) remove(seat);
  own.tile?.root.remove();
  media.hideScreen();
  if (own.screenTile) setScreen(own, null);
  own = signalling = null;
  enterLobby();
  say(reason === "left" ? "You left." : "");
  $("trouble").textContent = reason === "left" ? "" : (REFUSED[reason] ?? `The server refused: ${reason}.`);
  $("join").focus();
}

// One question for all calls that look for a path at the same time.
let fetching = null;
async function fetchServers() {
  fetching ??= signalling?.iceServers().then((servers) => {
    iceServers = servers ?? iceServers;
    setTimeout(() => (fetching = null), 10_000);
    return iceServers;
  });
  return (await fetching) ?? null;
}

// ---- Tiles

function newTile(name, ...classes) {
  const root = $("tile").content.firstElementChild.cloneNode(true);
  const part = (selector) => root.querySelector(selector);
  root.classList.add(...classes);
  part(".name").textContent = name;
  part(".initial").textContent = [...name][0].toUpperCase();
  part("video").setAttribute("aria-label", name);
  $("stage").append(root);
  return {
    root,
    video: part("video"),
    show({ microphone, camera }) {
      root.classList.toggle("dark", !camera);
      part(".muted").hidden = microphone;
    },
    path({ kind, short, long }) {
      part(".path").hidden = false;
      part(".path").dataset.kind = kind;
      part(".path").textContent = short;
      part(".path").title = long;
      if (kind === "none") part(".rate").hidden = true;
    },
    rate(text, title) {
      part(".rate").hidden = false;
      part(".rate").textContent = text;
      part(".rate").title = title;
    },
  };
}

function setScreen(member, stream) {
  member.screenTile?.root.remove();
  member.screenTile = null;
  if (!stream) return;
  member.screenTile = newTile(`${member.name}: screen`, "screen");
  member.screenTile.video.muted = true;
  member.screenTile.video.srcObject = stream;
  $("stage").prepend(member.screenTile.root);
}

// Once a second, which way each call takes and how much goes over it.
setInterval(async () => {
  for (const member of members.values()) {
    const now = readPath(await member.peer.stats());
    if (!now || member.peer.state !== "connected") continue;
    member.tile.path({ kind: now.kind, ...describe(now) });
    const speed = rates(member.path, now);
    if (speed) {
      const trip = now.roundTrip === null ? "" : ` · ${Math.round(now.roundTrip * 1000)} ms`;
      member.tile.root.dataset.down = Math.round(speed.down);
      member.tile.root.dataset.up = Math.round(speed.up);
      member.tile.rate(`↓ ${inWords(speed.down)} ↑ ${inWords(speed.up)}${trip}`, "received, sent, round trip");
    }
    member.path = now;
  }
}, 1000);

// ---- Controls

function showOwn() {
  const { microphone, camera } = media.about;
  own?.tile?.show(media.about);
  for (const [id, on] of [["microphone", microphone], ["camera", camera]]) {
    $(id).classList.toggle("off", !on);
    $(id).setAttribute("aria-pressed", on);
  }
  $("screen").setAttribute("aria-pressed", Boolean(media.screen));
  $("preview").srcObject = media.camera;
}

media.addEventListener("change", tellAbout);
media.addEventListener("track", ({ detail: { kind, track } }) => {
  for (const { peer } of members.values()) peer.replace(kind, track);
  tellAbout();
});
media.addEventListener("screen", () => {
  for (const { peer } of members.values()) media.screen ? peer.showScreen(media.screen) : peer.hideScreen();
  if (own) setScreen(own, media.screen);
  showOwn();
});
media.addEventListener("devices", listDevices);

function tellAbout() {
  for (const { peer } of members.values()) peer.tellAbout(media.about);
  showOwn();
}

const press = (id, action) =>
  $(id).addEventListener("click", () => Promise.resolve(action()).catch((error) => say(error.message)));
press("microphone", () => media.toggle("audio"));
press("camera", () => media.toggle("video"));
press("screen", () => (media.screen ? media.hideScreen() : media.showScreen()));
press("show-chat", () => toggleChat());
press("show-settings", () => $("settings").showModal());
press("leave", () => signalling.leave());
press("copy", async () => {
  await navigator.clipboard.writeText(location.href);
  say("Link copied.");
});
$("screen").hidden = !media.hasScreen;

const KEYS = { m: "microphone", v: "camera", s: "screen", c: "show-chat", d: "show-settings" };
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "Escape" && !$("chat").hidden && !event.target.closest("dialog")) toggleChat();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("call").hidden) return;
  const id = KEYS[event.key.toLowerCase()];
  if (!id) return;
  event.preventDefault();
  $(id).click();
});

function policy() {
  return $("relay-only").checked ? "relay" : "all";
}
$("relay-only").addEventListener("change", () => {
  // Without the relay there is something better to find, within the calls there are. The other way round a browser keeps
  // the direct path for as long as it works, whatever it is told: only new calls are sure to do without.
  if (policy() === "relay") signalling?.rejoin();
  else for (const { peer } of members.values()) peer.restart("all");
});

// ---- Devices

const LISTS = { videoinput: "video-device", audioinput: "audio-device", audiooutput: "speaker-device" };

function listDevices() {
  for (const [kind, id] of Object.entries(LISTS)) {
    const list = $(id);
    const chosen = list.value;
    const options = media.devices
      .filter((device) => device.kind === kind && device.deviceId)
      .map(({ label, deviceId }, at) => new Option(label || `${kind} ${at + 1}`, deviceId));
    list.replaceChildren(...options);
    if (options.some(({ value }) => value === chosen)) list.value = chosen;
    list.disabled = options.length === 0;
  }
  $("speaker-label").hidden = !("setSinkId" in HTMLMediaElement.prototype) || !$("speaker-device").options.length;
}

const choose = (kind) => ({ target }) => media.choose(kind, target.value).catch((error) => say(error.message));
$("video-device").addEventListener("change", choose("video"));
$("audio-device").addEventListener("change", choose("audio"));
$("speaker-device").addEventListener("change", applySpeaker);

function applySpeaker() {
  const speaker = $("speaker-device").value;
  if (!speaker || $("speaker-label").hidden) return;
  for (const { tile } of members.values()) tile.video.setSinkId(speaker).catch((error) => say(error.message));
}

// ---- Chat and status

function toggleChat() {
  const opens = $("chat").hidden;
  $("chat").hidden = !opens;
  $("show-chat").setAttribute("aria-pressed", opens);
  $("show-chat").textContent = "Chat";
  (opens ? $("text") : $("show-chat")).focus();
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  for (const { peer } of members.values()) peer.chat(text);
  write("You", text);
});

// Names and texts come from others: they are only ever put in as text.
function write(who, text) {
  const name = Object.assign(document.createElement("span"), { className: "who", textContent: who });
  enter("", name, document.createTextNode(text));
  if ($("chat").hidden) $("show-chat").textContent = "Chat •";
}

function note(text) {
  enter("note", document.createTextNode(text));
}

function enter(kind, ...parts) {
  const line = document.createElement("li");
  line.className = kind;
  line.append(...parts);
  $("messages").append(line);
  while ($("messages").children.length > 500) $("messages").firstElementChild.remove();
  $("messages").scrollTop = $("messages").scrollHeight;
}

function say(text) {
  $("status").textContent = text;
}

function sayWhoIsHere() {
  const others = members.size;
  say(others === 0 ? "Nobody else is here yet: send somebody the link." : others === 1 ? "1 other is here." : `${others} others are here.`);
}

// ---- Coming and going

addEventListener("pagehide", () => signalling?.leave());
// From the browser's memory of pages the calls do not come back.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

try {
  $("name").value = localStorage.getItem("name") ?? "";
} catch {
  // As above.
}
enterLobby();
openMedia();
