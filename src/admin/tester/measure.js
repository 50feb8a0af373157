// Measures a way to the server: candidates by STUN, and for a relay two peers of this page that meet through it.

const PATIENCE = 8000;
const PINGS = 100;
const PING_EVERY = 20;
const PING_BYTES = 160;
// How long the last echo is waited for.
const LAST = 1000;
// What is taken for lost by chance, in percent.
const LOSSY = 2;
// The line is filled for so long, with so many bytes at most.
const FILL = 2000;
const FILL_BYTES = 16 << 20;
const CHUNK = 16 << 10;

const wait = (time) => new Promise((done) => setTimeout(done, time));

// What was waited for did not come.
class Missing extends Error {}

function within(time, promise) {
  return Promise.race([promise, wait(time).then(() => Promise.reject(new Missing()))]);
}

export function kindOf(url) {
  if (url.startsWith("stun:")) return "stun";
  if (url.startsWith("turns:")) return "tls";
  return /[?&]transport=tcp/.test(url) ? "tcp" : "udp";
}

// All candidates that one socket of this page gets by these STUN servers, and what became of those that gave none.
export async function gather(urls, patience = 5000) {
  const started = performance.now();
  const connection = new RTCPeerConnection({ iceServers: [{ urls }] });
  const candidates = [];
  const errors = [];
  let first = null;
  const done = new Promise((done) => {
    connection.addEventListener("icecandidate", ({ candidate }) => {
      if (!candidate?.candidate) {
        if (!candidate) done(true);
        return;
      }
      if (candidate.type === "srflx") first ??= performance.now() - started;
      candidates.push(candidate);
    });
  });
  connection.addEventListener("icecandidateerror", ({ url, errorCode, errorText }) => errors.push({ url, errorCode, errorText }));
  try {
    connection.createDataChannel("test");
    await connection.setLocalDescription();
    const isComplete = await Promise.race([done, wait(patience).then(() => false)]);
    return { candidates, errors, isComplete, first, took: performance.now() - started };
  } finally {
    connection.close();
  }
}

// One STUN server: whether it answers, and what it says.
export async function stun(url) {
  const { candidates, errors, isComplete, first, took } = await gather([url]);
  const reflexive = candidates.filter(({ type }) => type === "srflx");
  // Where the server sees this device's own address there is no candidate for it, and no error either.
  const isOwn = !reflexive.length && isComplete && !errors.length && candidates.length > 0 && took < 2000;
  const works = reflexive.length > 0 || isOwn;
  return {
    result: { kind: "stun", url, outcome: works ? "works" : "blocked", set_up_ms: works ? (first ?? took) : null, why: null },
    candidates,
    isOwn,
  };
}

const isName = (address) => !address || address.endsWith(".local");
const isSix = (address) => address?.includes(":");

// What one socket looks like to several servers.
export async function network(answers) {
  const all = answers.flatMap(({ candidates }) => candidates);
  const hosts = all.filter(({ type }) => type === "host");
  const reflexive = all.filter(({ type }) => type === "srflx");
  const local = [...new Set(hosts.map(({ address }) => address).filter((address) => !isName(address)))];
  const seen = [...new Set(reflexive.map(({ address }) => address))];
  const found = { mapping: "hidden", public: seen, local, ipv6: [...seen, ...local].some(isSix) };
  const working = answers.filter(({ result }) => result.outcome === "works");
  if (!working.length) return found;
  if (working.some(({ isOwn }) => isOwn) || seen.some((address) => local.includes(address))) return { ...found, mapping: "none" };
  const urls = working.map(({ result }) => result.url).slice(0, 4);
  if (urls.length < 2) return { ...found, mapping: "unknown" };
  const { candidates } = await gather(urls);
  // Several interfaces have a socket each.
  const ports = new Map();
  for (const { type, address, port, relatedAddress, relatedPort } of candidates) {
    if (type !== "srflx") continue;
    const socket = `${relatedAddress} ${relatedPort} ${isSix(address)}`;
    ports.set(socket, (ports.get(socket) ?? new Set()).add(`${address} ${port}`));
  }
  if (!ports.size) return { ...found, mapping: "unknown" };
  if ([...ports.values()].some(({ size }) => size > 1)) return { ...found, mapping: "dependent" };
  // A name in place of the address still has the port: where the server sees the same, there may be no NAT at all.
  const own = new Set(candidates.filter(({ type, address }) => type === "host" && isName(address)).map(({ port }) => port));
  const isKept = candidates.some(({ type, port }) => type === "srflx" && own.has(port));
  return { ...found, mapping: isKept ? "kept" : "independent" };
}

// A picture that moves and a tone, of nobody's camera or microphone; null where the browser cannot make them.
function fake() {
  const tracks = [];
  let paint = null;
  let audio = null;
  const stop = () => {
    clearInterval(paint);
    for (const track of tracks) track.stop();
    if (audio && audio.state !== "closed") audio.close();
  };
  try {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [320, 240];
    const brush = canvas.getContext("2d");
    let frame = 0;
    paint = setInterval(() => {
      frame += 1;
      for (let x = 0; x < 320; x += 16) {
        brush.fillStyle = `hsl(${(x + frame * 7) % 360} 80% ${30 + ((x * frame) % 40)}%)`;
        brush.fillRect(x, 0, 16, 240);
      }
    }, 40);
    tracks.push(...canvas.captureStream(25).getTracks());
    audio = new AudioContext();
    const tone = audio.createOscillator();
    const out = audio.createMediaStreamDestination();
    tone.connect(out);
    tone.start();
    tracks.push(...out.stream.getTracks());
    return { tracks, stop };
  } catch {
    stop();
    return null;
  }
}

function introduce(one, other) {
  one.addEventListener("icecandidate", ({ candidate }) => {
    if (candidate) other.addIceCandidate(candidate).catch(() => {});
  });
}

const middle = (sorted, share) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];

// Numbers go to the other peer and back; what does not come back is lost.
async function ping(channel, echo, tell) {
  const sent = [];
  const trips = [];
  let jitter = 0;
  let last = null;
  echo.onmessage = ({ data }) => echo.readyState === "open" && echo.send(data);
  channel.onmessage = ({ data }) => {
    const number = new DataView(data).getUint32(0);
    if (sent[number] === undefined) return;
    const trip = performance.now() - sent[number];
    sent[number] = undefined;
    trips.push(trip);
    // RFC 3550, section 6.4.1, of the way there and back.
    if (last !== null) jitter += (Math.abs(trip - last) - jitter) / 16;
    last = trip;
  };
  for (let number = 0; number < PINGS; number += 1) {
    const packet = new DataView(new ArrayBuffer(PING_BYTES));
    packet.setUint32(0, number);
    sent[number] = performance.now();
    if (channel.readyState === "open") channel.send(packet.buffer);
    if (number % 25 === 0) tell(number / PINGS);
    await wait(PING_EVERY);
  }
  for (let waited = 0; waited < LAST && trips.length < PINGS; waited += 50) await wait(50);
  trips.sort((one, other) => one - other);
  const loss_percent = ((PINGS - trips.length) * 100) / PINGS;
  if (!trips.length) return { loss_percent };
  return { loss_percent, round_trip_ms: middle(trips, 0.5), round_trip_p95_ms: middle(trips, 0.95), jitter_ms: jitter };
}

async function fill(channel, other) {
  let received = 0;
  let last = 0;
  other.onmessage = ({ data }) => {
    received += data.byteLength;
    last = performance.now();
  };
  const chunk = new ArrayBuffer(CHUNK);
  const started = performance.now();
  let sent = 0;
  while (performance.now() - started < FILL && sent < FILL_BYTES && channel.readyState === "open") {
    if (channel.bufferedAmount < 1 << 20) {
      channel.send(chunk);
      sent += CHUNK;
    } else await wait(5);
  }
  while (received < sent && performance.now() - started < FILL && channel.readyState === "open") await wait(5);
  return received ? (received * 8000) / Math.max(1, last - started) : null;
}

async function incoming(connection) {
  const sum = { packets: 0, lost: 0, bytes: 0, jitter: 0 };
  for (const report of (await connection.getStats()).values()) {
    if (report.type !== "inbound-rtp") continue;
    sum.packets += report.packetsReceived ?? 0;
    sum.lost += report.packetsLost ?? 0;
    sum.bytes += report.bytesReceived ?? 0;
    sum.jitter = Math.max(sum.jitter, (report.jitter ?? 0) * 1000);
  }
  return sum;
}

// Two peers that have nothing but this relay.
export async function relay(url, { username, credential }, tell) {
  const result = { kind: kindOf(url), url, outcome: "blocked", why: null };
  const config = { iceServers: [{ urls: [url], username, credential }], iceTransportPolicy: "relay", bundlePolicy: "max-bundle" };
  const peers = [];
  const gathered = new Set();
  const refused = [];
  let media = null;
  try {
    for (let made = 0; made < 2; made += 1) peers.push(new RTCPeerConnection(config));
    const [a, b] = peers;
    for (const peer of peers) {
      peer.addEventListener("icecandidate", ({ candidate }) => candidate?.type === "relay" && gathered.add(peer));
      peer.addEventListener("icecandidateerror", ({ errorCode, errorText }) => {
        if (errorCode < 700) refused.push(`${errorCode} ${errorText}`.trim());
      });
    }
    introduce(a, b);
    introduce(b, a);
    const channels = ["echo", "fill"].map((label, id) =>
      peers.map((peer) => {
        const options = { negotiated: true, id, ordered: false, ...(label === "echo" && { maxRetransmits: 0 }) };
        const channel = peer.createDataChannel(label, options);
        channel.binaryType = "arraybuffer";
        return channel;
      }),
    );
    media = fake();
    for (const track of media?.tracks ?? []) a.addTrack(track);
    const open = Promise.all(channels.flat().map((channel) => new Promise((done) => channel.addEventListener("open", done))));
    const started = performance.now();
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription);
    const early = new Promise((_, failed) => {
      // Nothing to wait for once there are no candidates to come.
      const end = () => peers.some((peer) => peer.iceGatheringState === "complete" && !gathered.has(peer)) && setTimeout(() => failed(new Missing()), 200);
      for (const peer of peers) peer.addEventListener("icegatheringstatechange", end);
    });
    early.catch(() => {});
    await within(PATIENCE, Promise.race([open, early]));
    result.set_up_ms = performance.now() - started;
    const before = await incoming(b);
    const from = performance.now();
    Object.assign(result, await ping(...channels[0], tell));
    const after = await incoming(b);
    const [packets, lost] = [after.packets - before.packets, Math.max(0, after.lost - before.lost)];
    if (packets > 0) {
      result.media_loss_percent = (lost * 100) / (packets + lost);
      result.media_jitter_ms = after.jitter;
      result.media_bits = ((after.bytes - before.bytes) * 8000) / (performance.now() - from);
    }
    media?.stop();
    result.outcome = result.loss_percent >= 100 ? "broken" : result.loss_percent > LOSSY ? "lossy" : "works";
    result.throughput_bits = await fill(...channels[1]);
  } catch (error) {
    // What failed is the browser, unless something was waited for.
    if (!(error instanceof Missing)) {
      result.why = error.message;
      if (result.outcome === "blocked") result.outcome = "unmeasured";
    } else if (refused.length) [result.outcome, result.why] = ["refused", refused[0]];
    else if (gathered.size === 2) result.outcome = "broken";
  } finally {
    media?.stop();
    for (const peer of peers) peer.close();
  }
  return result;
}
