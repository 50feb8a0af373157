// Which way the media of a call takes, as the browser's statistics have it.
//
// Each end of a path is a candidate, and its type says where the address comes from:
//
//   host   the machine's own address
//   srflx  "server reflexive": the NAT's address for this machine, as a STUN server saw it
//   prflx  "peer reflexive": an address nobody had announced, seen when a packet came from it
//   relay  an address at a TURN server, which passes on what arrives there
//
// A path with a relayed end goes through that relay. One with a reflexive end goes through a NAT, directly to the other. A
// path between two own addresses needs no help at all.

/** The path in use: {id, kind, local, remote, transport, roundTrip, sent, received}, or null while there is none. */
export function readPath(stats) {
  const reports = [...stats.values()];
  // Some browsers name the pair in the transport, others mark the pair.
  const transport = reports.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId);
  const pair =
    stats.get(transport?.selectedCandidatePairId) ??
    reports.find(({ type, selected, nominated, state }) =>
      type === "candidate-pair" && (selected ?? (nominated && state === "succeeded")));
  const local = stats.get(pair?.localCandidateId);
  const remote = stats.get(pair?.remoteCandidateId);
  if (!local || !remote) return null;
  const types = [local.candidateType, remote.candidateType];
  const kind = types.includes("relay") ? "relayed" : types.some((type) => type.endsWith("rflx")) ? "stun" : "direct";
  return {
    id: pair.id,
    kind,
    local: local.candidateType,
    remote: remote.candidateType,
    // How this browser talks to its relay: that can be TCP or TLS, where UDP is blocked.
    transport: local.candidateType === "relay" ? (local.relayProtocol ?? "udp") : local.protocol,
    roundTrip: pair.currentRoundTripTime ?? null,
    sent: pair.bytesSent,
    received: pair.bytesReceived,
    at: pair.timestamp,
  };
}

const NAMES = { direct: "direct", stun: "through STUN", relayed: "relayed" };

/** In words, for the label on a tile: short, and long. */
export function describe({ kind, local, remote, transport }) {
  const through = transport === "udp" ? "" : ` over ${transport.toUpperCase()}`;
  const end = (type) => ({ host: "own address", srflx: "NAT's address", prflx: "NAT's address", relay: "relay" })[type] ?? type;
  return {
    short: NAMES[kind] + (local === "relay" ? through : ""),
    long: `from here: ${end(local)} (${local}, ${transport}); to there: ${end(remote)} (${remote})`,
  };
}

/** Bits a second between two readings of the same path: {up, down}; null where they cannot be compared. */
export function rates(before, now) {
  if (!before || before.id !== now.id || now.at <= before.at) return null;
  const seconds = (now.at - before.at) / 1000;
  return { up: ((now.sent - before.sent) * 8) / seconds, down: ((now.received - before.received) * 8) / seconds };
}

/** As people read it. */
export function inWords(bits) {
  return bits >= 999_500 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1000)} kbit/s`;
}
