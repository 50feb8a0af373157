// What either browser's page does: two RTCPeerConnections that may use relayed candidates only, fake video one way and
// a data channel whose messages are echoed. The function travels to the page as text, so it stands on its own.
//
//     call({iceServer: {urls, username, credential}, messages, frames})
//     -> {error, caller, callee, echoed, spoiled, framesDecoded: [first, last], candidateErrors}
//
// caller and callee describe the chosen candidate pair: {state, local, remote, relayProtocol, roundTrip}.
export async function call({ iceServer, messages, frames }) {
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const within = (ms, what, promise) =>
    Promise.race([promise, pause(ms).then(() => Promise.reject(new Error(`${what} took more than ${ms / 1000} s`)))]);

  const result = {
    error: null, caller: null, callee: null, echoed: 0, spoiled: 0, framesDecoded: [0, 0], candidateErrors: [],
  };
  const settings = { iceServers: [iceServer], iceTransportPolicy: "relay" };
  const caller = new RTCPeerConnection(settings);
  const callee = new RTCPeerConnection(settings);
  for (const [from, to] of [[caller, callee], [callee, caller]]) {
    from.addEventListener("icecandidate", ({ candidate }) => candidate && to.addIceCandidate(candidate));
    from.addEventListener("icecandidateerror", ({ errorCode, errorText, url }) =>
      result.candidateErrors.push({ code: errorCode, text: errorText, url }));
  }
  callee.addEventListener("datachannel", ({ channel }) => {
    channel.addEventListener("message", ({ data }) => channel.send(data));
  });
  callee.addEventListener("track", ({ track }) => {
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([track]);
    document.body.append(video);
    video.play();
  });

  const connected = (peer, name) =>
    new Promise((resolve, reject) => {
      peer.addEventListener("connectionstatechange", () => {
        if (peer.connectionState === "connected") resolve();
        if (peer.connectionState === "failed") reject(new Error(`${name}: ICE or DTLS failed`));
      });
      // Without a candidate of its own a connection would wait for ever.
      peer.addEventListener("icegatheringstatechange", () => {
        if (peer.iceGatheringState === "complete" && !/^a=candidate:/m.test(peer.localDescription.sdp)) {
          reject(new Error(`${name}: no candidate`));
        }
      });
    });

  const decoded = async () => {
    for (const report of (await callee.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") return report.framesDecoded ?? 0;
    }
    return 0;
  };

  const pair = async (peer) => {
    const stats = await peer.getStats();
    const reports = [...stats.values()];
    // Firefox marks the pair itself, Chromium names it in the transport.
    const transport = reports.find((report) => report.type === "transport");
    const chosen =
      stats.get(transport?.selectedCandidatePairId) ??
      reports.find((report) => report.type === "candidate-pair" && report.selected);
    if (!chosen) return { state: "none", local: null, remote: null };
    const local = stats.get(chosen.localCandidateId);
    const remote = stats.get(chosen.remoteCandidateId);
    return {
      state: chosen.state,
      local: local?.candidateType,
      remote: remote?.candidateType,
      relayProtocol: local?.relayProtocol,
      roundTrip: chosen.currentRoundTripTime ?? 0,
      bytesSent: chosen.bytesSent,
      bytesReceived: chosen.bytesReceived,
    };
  };

  // Sends every message and waits until each came back as it was.
  const echo = async (channel) => {
    const text = (number) => `${number} `.padEnd(700, "relay ");
    await new Promise((done) => {
      channel.addEventListener("message", ({ data }) => {
        if (data === text(result.echoed)) result.echoed += 1;
        else result.spoiled += 1;
        if (result.echoed + result.spoiled === messages) done();
      });
      for (let number = 0; number < messages; number += 1) channel.send(text(number));
    });
  };

  try {
    const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
    for (const track of camera.getTracks()) caller.addTrack(track, camera);
    const channel = caller.createDataChannel("echo");
    const open = new Promise((done) => channel.addEventListener("open", done));
    const both = Promise.all([connected(caller, "caller"), connected(callee, "callee")]);

    await caller.setLocalDescription();
    await callee.setRemoteDescription(caller.localDescription);
    await callee.setLocalDescription();
    await caller.setRemoteDescription(callee.localDescription);

    await within(20000, "connecting", both);
    await within(10000, "opening the data channel", open);
    await within(20000, "echoing", echo(channel));

    const deadline = performance.now() + 20000;
    while ((await decoded()) === 0 && performance.now() < deadline) await pause(100);
    result.framesDecoded[0] = await decoded();
    do {
      await pause(200);
      result.framesDecoded[1] = await decoded();
    } while (result.framesDecoded[1] - result.framesDecoded[0] < frames && performance.now() < deadline);
  } catch (error) {
    result.error = String(error);
  }
  result.caller = await pair(caller);
  result.callee = await pair(callee);
  caller.close();
  callee.close();
  // Time for the last Refresh, the one with lifetime zero.
  await pause(300);
  return result;
}
