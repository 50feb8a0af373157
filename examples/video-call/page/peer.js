// The call with one other member: one RTCPeerConnection, from the first offer to the goodbye.
//
// Two browsers that want to talk have to agree on two things. *What*: codecs, how many pictures, encryption; that is the
// session description, an offer and an answer to it. *How*: at which addresses they can be reached; those are the
// candidates, which come one by one while the browser finds them ("trickle"). Both travel through the room server, as
// text this page does not need to understand. ICE then tries all pairs of candidates and takes the best that works.
//
// Three things make this hold in the long run:
//
// - Either side may start a new round of offer and answer at any time: to show a screen, to look for a new path. Then two
//   offers can cross. One side, the *polite* one, takes its own back and answers; the other ignores what came. That is
//   all there is to "perfect negotiation".
// - A path can die: the Wi-Fi is gone, a NAT forgot the mapping. An *ICE restart* is a new round with new candidates, while
//   everything else (encryption, what is sent) stays, so the picture just goes on.
// - The socket to the room server can die, with an offer in it. After that, whoever waits for an answer asks again.
//
// Events: stream (detail {kind: "camera" or "screen", stream or null}), state (detail: the connection's), chat (detail:
// text), about (detail {microphone, camera}).

const HICCUP = 4_000; // a path may be gone for a moment
const RESTART = 15_000; // how long a new path may take before another try
const TRIES = 6; // in a row; then
const LATER = 60_000; // between one and the next, for as long as the call lasts
const LONGEST_CHAT = 2_000;

export class Peer extends EventTarget {
  #connection;
  #signal;
  #fetchServers;
  #policy;
  #media;
  #polite;
  #offering = false;
  #deaf = false; // the last offer was ignored, so its candidates are too
  #inbox = Promise.resolve();
  #channel = null;
  #unsent = [];
  #screen = []; // senders
  #timer = null;
  #tries = 0;
  #closed = false;

  /**
   * seat        of the other
   * calls       whether this side makes the first offer: newcomers call those who were there
   * polite      whether this side gives way where two offers cross: the two must differ
   * iceServers  what the server gave; policy: "all" or "relay"
   * media       what to send: {camera: MediaStream, screen: MediaStream or null, about: {microphone, camera}}
   * signal      sends a message to the other one
   * fetchServers  gets new iceServers, or null
   */
  constructor({ seat, calls, polite, iceServers, policy, media, signal, fetchServers }) {
    super();
    this.seat = seat;
    this.camera = new MediaStream();
    this.#polite = polite;
    this.#signal = signal;
    this.#fetchServers = fetchServers;
    this.#policy = policy;
    this.#media = media;
    this.#connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: policy });
    const on = (type, listener) => this.#connection.addEventListener(type, listener);
    on("negotiationneeded", () => this.#offer());
    on("icecandidate", ({ candidate }) => candidate && this.#send({ type: "candidate", candidate: plain(candidate) }));
    on("iceconnectionstatechange", () => this.#watch());
    on("connectionstatechange", () => this.#tell("state", this.state));
    on("track", (event) => this.#receive(event));
    on("datachannel", ({ channel }) => this.#talk(channel));
    if (calls) {
      // All of this needs negotiation, so an offer follows by itself.
      for (const kind of ["audio", "video"]) {
        this.#connection.addTransceiver(track(media.camera, kind) ?? kind, { streams: [media.camera] });
      }
      this.#talk(this.#connection.createDataChannel("chat"));
      if (media.screen) this.showScreen(media.screen);
    }
    this.#restartAfter(RESTART);
  }

  get state() {
    return this.#connection.connectionState;
  }

  /** For path.js. */
  stats() {
    return this.#connection.getStats();
  }

  // ---- Agreeing

  async #offer() {
    try {
      this.#offering = true;
      // Without an argument the browser writes what fits: an offer here.
      await this.#connection.setLocalDescription();
      this.#sendDescription();
    } catch (error) {
      if (!this.#closed) console.warn("no offer could be made:", error);
    } finally {
      this.#offering = false;
    }
  }

  #sendDescription() {
    const { type, sdp } = this.#connection.localDescription;
    this.#send({ type, sdp });
  }

  /** Takes an offer, answer or candidate of the other, one after the other in the order they came. */
  take(message) {
    this.#inbox = this.#inbox
      .then(() => this.#closed || this.#take(message))
      .catch((error) => this.#closed || console.warn(`the other's ${message.type} does not fit:`, error));
  }

  async #take({ type, sdp, candidate }) {
    const connection = this.#connection;
    if (type === "candidate") {
      // What belongs to an offer that was ignored fits nothing here.
      await connection.addIceCandidate(candidate).catch((error) => this.#deaf || Promise.reject(error));
    } else if (type === "answer") {
      this.#deaf = false;
      // After a broken socket an answer can come twice.
      if (connection.signalingState === "have-local-offer") await connection.setRemoteDescription({ type, sdp });
    } else {
      const crossed = this.#offering || connection.signalingState !== "stable";
      this.#deaf = crossed && !this.#polite;
      if (this.#deaf) return;
      // Where offers crossed, this takes back the own one, which the browser makes anew later.
      await connection.setRemoteDescription({ type, sdp });
      await this.#sendCamera();
      await connection.setLocalDescription();
      this.#sendDescription();
      if (this.#media.screen && !this.#screen.length) this.showScreen(this.#media.screen);
    }
  }

  /**
   * Says it again where an answer is missing: the socket broke here, or there. And what kept the two from a path may have
   * been the same that broke the socket: then it is time to look again.
   */
  remind() {
    const isSearching = this.#tries > 0 && !this.#hasPath;
    this.#tries = 0;
    if (this.#connection.signalingState === "have-local-offer") {
      this.#sendDescription();
      if (isSearching) this.#restartAfter(RESTART);
    } else if (isSearching) this.#restartAfter(0);
  }

  #send(message) {
    if (!this.#closed) this.#signal(message);
  }

  // ---- Sending and receiving

  // The first line of each kind is camera and microphone, whoever offered it; all others are a screen.
  #line(kind) {
    return this.#connection.getTransceivers().find(({ receiver }) => receiver.track.kind === kind);
  }

  async #sendCamera() {
    for (const kind of ["audio", "video"]) {
      const line = this.#line(kind);
      if (!line || line.direction === "sendrecv") continue;
      line.direction = "sendrecv";
      line.sender.setStreams?.(this.#media.camera);
      await line.sender.replaceTrack(track(this.#media.camera, kind));
    }
  }

  /** Another microphone or camera, or none (null). Needs no negotiation. */
  async replace(kind, track) {
    await this.#line(kind)?.sender.replaceTrack(track);
  }

  showScreen(stream) {
    this.#screen = stream.getTracks().map((track) => this.#connection.addTrack(track, stream));
  }

  hideScreen() {
    for (const sender of this.#screen.splice(0)) this.#connection.removeTrack(sender);
  }

  #receive({ track, transceiver, streams: [stream] }) {
    if (transceiver === this.#line(track.kind)) {
      this.camera.addTrack(track);
      this.#tell("stream", { kind: "camera", stream: this.camera });
    } else if (stream) {
      this.#tell("stream", { kind: "screen", stream });
      stream.addEventListener("removetrack", () => {
        if (!stream.getVideoTracks().length) this.#tell("stream", { kind: "screen", stream: null });
      });
    }
  }

  // ---- The chat, which goes from browser to browser too

  #talk(channel) {
    this.#channel = channel;
    channel.addEventListener("open", () => {
      this.tellAbout(this.#media.about);
      for (const text of this.#unsent.splice(0)) channel.send(text);
    });
    channel.addEventListener("message", ({ data }) => this.#hear(data));
  }

  // What another browser sends is a stranger's input, like any other.
  #hear(data) {
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof said?.chat === "string" && said.chat.length <= LONGEST_CHAT) this.#tell("chat", said.chat);
    if (typeof said?.about === "object") {
      const { microphone, camera } = said.about ?? {};
      this.#tell("about", { microphone: microphone === true, camera: camera === true });
    }
  }

  #say(what) {
    const text = JSON.stringify(what);
    if (this.#channel?.readyState === "open") this.#channel.send(text);
    else if (what.chat && this.#unsent.length < 100) this.#unsent.push(text);
  }

  chat(text) {
    this.#say({ chat: text.slice(0, LONGEST_CHAT) });
  }

  /** Whether microphone and camera are on, so that the other can show it. */
  tellAbout(about) {
    this.#say({ about });
  }

  // ---- Finding a path, and another one

  #watch() {
    switch (this.#connection.iceConnectionState) {
      case "connected":
      case "completed":
        this.#tries = 0;
        clearTimeout(this.#timer);
        break;
      case "disconnected":
        this.#restartAfter(HICCUP);
        break;
      case "failed":
        this.#restartAfter(0);
    }
  }

  get #hasPath() {
    return ["connected", "completed"].includes(this.#connection.iceConnectionState);
  }

  #restartAfter(pause) {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    // Where a path held all through a restart that was asked for, nothing tells so.
    this.#timer = setTimeout(() => this.#hasPath || this.restart(), this.#tries < TRIES ? pause : LATER);
  }

  /** Looks for a path anew, with a fresh credential: the one from the beginning may have expired since. */
  async restart(policy = this.#policy) {
    this.#policy = policy;
    this.#tries += 1;
    this.#restartAfter(RESTART);
    const iceServers = (await this.#fetchServers()) ?? this.#connection.getConfiguration().iceServers;
    if (this.#closed) return;
    this.#connection.setConfiguration({ iceServers, iceTransportPolicy: policy });
    // Marks the next offer as a restart, and makes it needed.
    this.#connection.restartIce();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#connection.close();
  }

  #tell(type, detail) {
    if (!this.#closed) this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function track(stream, kind) {
  return stream.getTracks().find((track) => track.kind === kind) ?? null;
}

// Only what the standard has: browsers may know more of a candidate than the server lets in.
function plain({ candidate, sdpMid, sdpMLineIndex, usernameFragment }) {
  return { candidate, sdpMid, sdpMLineIndex, usernameFragment };
}
