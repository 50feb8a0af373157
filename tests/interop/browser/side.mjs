// What the page of one end of a call does: an RTCPeerConnection that may use every kind of candidate, fake video and a
// data channel, both ways. The function travels to the page as text, so it stands on its own.
//
//     side({offering, iceServers, messages, frames})   prepares, and leaves in the page
//         take(signal)     what the other end told; window.signal(what) tells it something
//         settled          when the chosen pair has not changed for a while
//         exchange()       sends the messages, the other end's come, and video goes on, until
//         finished         {error, setUp, local, remote, leg, roundTrip, received, spoiled, frames: [first, last],
//                          candidates, changed}
//         hangUp()
//
// changed says that the chosen pair did not stay what it was when it had settled. setUp is the milliseconds from the
// first signal until the connection stood; local and remote are {type, address} of the chosen pair's candidates, and leg
// is how the relay of the local one is reached: udp, tcp or tls.
export async function side({ offering, iceServers, messages, frames }) {
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const within = (ms, what, promise) =>
    Promise.race([promise, pause(ms).then(() => Promise.reject(new Error(`${what} took more than ${ms / 1000} s`)))]);

  const result = {
    error: null, setUp: null, local: null, remote: null, leg: null, roundTrip: null,
    received: 0, spoiled: 0, frames: [0, 0], candidates: [], changed: false,
  };
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240, frameRate: 15 } });
  const peer = new RTCPeerConnection({ iceServers });
  for (const track of camera.getTracks()) peer.addTrack(track, camera);
  const channel = peer.createDataChannel("messages", { negotiated: true, id: 0 });
  peer.addEventListener("icecandidate", ({ candidate }) => {
    if (!candidate) return;
    result.candidates.push(candidate.candidate);
    window.signal({ candidate: candidate.toJSON() });
  });
  peer.addEventListener("track", ({ track }) => {
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([track]);
    document.body.append(video);
    video.play();
  });

  let started = null;
  const offer = async () => {
    await peer.setLocalDescription();
    window.signal({ description: peer.localDescription });
  };
  const handle = async ({ description, candidate }) => {
    started ??= performance.now();
    if (candidate) return peer.addIceCandidate(candidate);
    if (description) await peer.setRemoteDescription(description);
    // The offering end is told to start, the other one answers.
    if (!description || description.type === "offer") await offer();
  };
  // One after the other, as they came.
  let handled = Promise.resolve();
  window.take = (signal) => {
    handled = handled.then(() => handle(signal)).catch((error) => (result.error ??= String(error)));
  };

  const connected = new Promise((resolve, reject) => {
    peer.addEventListener("connectionstatechange", () => {
      if (peer.connectionState === "connected") resolve((result.setUp ??= performance.now() - started));
      if (peer.connectionState === "failed") reject(new Error("ICE or DTLS failed"));
    });
  });
  const open = new Promise((done) => channel.addEventListener("open", done));
  const text = (from, number) => `${from} ${number} `.padEnd(500, "over the lab ");
  const all = new Promise((done) => {
    channel.addEventListener("message", ({ data }) => {
      if (data === text(!offering, result.received)) result.received += 1;
      else result.spoiled += 1;
      if (result.received + result.spoiled === messages) done();
    });
  });

  const decoded = async () => {
    for (const report of (await peer.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") return report.framesDecoded ?? 0;
    }
    return 0;
  };
  const chosen = async () => {
    const stats = await peer.getStats();
    const transport = [...stats.values()].find((report) => report.type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId);
    return pair ? { pair, local: stats.get(pair.localCandidateId), remote: stats.get(pair.remoteCandidateId) } : null;
  };
  // A pair that works is used at once, and left for a better one: the last one counts.
  const settled = async () => {
    let [last, since] = [await chosen(), performance.now()];
    const deadline = since + 10000;
    while (performance.now() < Math.min(since + 1500, deadline)) {
      await pause(200);
      const now = await chosen();
      if (now?.pair.id !== last?.pair.id) since = performance.now();
      last = now;
    }
    return last;
  };

  let pair = null;
  const settling = async () => {
    await within(40000, "connecting", connected);
    await within(10000, "opening the data channel", open);
    pair = await settled();
  };
  let exchange;
  const told = new Promise((done) => (exchange = done));
  window.exchange = exchange;
  window.settled = settling();
  const run = async () => {
    await window.settled;
    await within(30000, "the word to go on", told);
    for (let number = 0; number < messages; number += 1) channel.send(text(offering, number));
    await within(20000, "receiving messages", all);
    const deadline = performance.now() + 20000;
    while ((await decoded()) === 0 && performance.now() < deadline) await pause(100);
    result.frames[0] = await decoded();
    while (result.frames[1] - result.frames[0] < frames && performance.now() < deadline) {
      await pause(200);
      result.frames[1] = await decoded();
    }
    const last = await chosen();
    result.changed = last.pair.id !== pair.pair.id;
    const { local, remote } = last;
    result.local = { type: local.candidateType, address: local.address };
    result.remote = { type: remote.candidateType, address: remote.address };
    result.leg = local.candidateType === "relay" ? local.relayProtocol : null;
    result.roundTrip = last.pair.currentRoundTripTime;
  };
  window.finished = run().catch((error) => (result.error ??= String(error))).then(() => result);
  window.hangUp = async () => {
    peer.close();
    // Time for the last Refresh, the one with lifetime zero.
    await pause(300);
  };
}
