// How often the page of examples/video-call looks for a path where there is none, without a browser: its peer.js, in a world
// where connections are made of nothing and the clock goes as it is told.
//
//     node no_path.mjs PEER.mjs    -> {without, back, reminded, held, closed}
//
// Each tells when it looked, in seconds from then on: without a path for ten minutes, once there was one and is none again, once the
// socket to the server is back, when one was asked for and the old one held, and after the end.
import { resolve } from "node:path";
import { mock } from "node:test";

let connection = null;
const started = Date.now();
mock.timers.enable({ apis: ["setTimeout", "Date"], now: started });
const searches = [];

globalThis.MediaStream = class {
  getTracks() {
    return [];
  }
};
globalThis.RTCPeerConnection = class extends EventTarget {
  signalingState = "stable";
  iceConnectionState = "new";

  constructor() {
    super();
    connection = this;
  }

  getConfiguration() {
    return {};
  }

  setConfiguration() {}

  restartIce() {
    searches.push((Date.now() - started) / 1000);
  }

  close() {}

  becomes(state) {
    this.iceConnectionState = state;
    this.dispatchEvent(new Event("iceconnectionstatechange"));
  }
};

const { Peer } = await import(resolve(process.argv[2]));
const peer = new Peer({ seat: 1, media: { camera: new MediaStream() }, signal() {}, fetchServers: async () => null });

async function pass(seconds) {
  const from = (Date.now() - started) / 1000;
  for (let second = 0; second < seconds; second += 1) {
    mock.timers.tick(1000);
    // What waits for no clock goes on in between.
    for (let turn = 0; turn < 10; turn += 1) await null;
  }
  return searches.splice(0).map((at) => at - from);
}

connection.becomes("checking");
connection.becomes("failed");
const without = await pass(600);
connection.becomes("connected");
connection.becomes("failed");
const back = await pass(120);
peer.remind();
const reminded = await pass(60);
connection.becomes("connected");
peer.restart();
const held = await pass(600);
peer.remind();
held.push(...(await pass(60)));
connection.becomes("failed");
peer.close();
console.log(JSON.stringify({ without, back, reminded, held, closed: await pass(600) }));
