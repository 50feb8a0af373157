// The socket to the room server, which breaks now and then, and comes back without anybody noticing.
//
// A call does not need it once it stands: sound and picture go from browser to browser. So when the socket breaks (Wi-Fi
// to mobile network, a lid closed, a proxy started anew) nothing is torn down. The page connects again and shows the token
// of its seat; the server has kept what came for it meanwhile.
//
// Events:
//   joined    a seat was taken: detail {seat, members, iceServers}. A second one means that the former seat was lost
//   resumed   the same seat is held again: detail {members}
//   away      the socket broke; this is being seen to
//   message   anything else the server says: detail is the message
//   ended     over for good: detail is the reason, a word of messages.rs

const HEARTBEAT = 10_000;
const SILENCE = 25_000;
const RETRY = [250, 500, 1000, 2000, 4000, 8000];
const UNSENT = 500;
const POLICY_VIOLATION = 1008;

export class Signalling extends EventTarget {
  #url;
  #room;
  #name;
  #seat = null; // {seat, token}: what proves who we are
  #socket = null;
  #standing = false; // whether the server has let us in on this socket
  #tries = 0;
  #timer = null;
  #heartbeat = null;
  #heard = 0;
  #unsent = []; // what wants to go out while there is no socket
  #reason = null;
  #asked = null; // an `ice-servers` under way

  constructor(url, room, name) {
    super();
    this.#url = url;
    this.#room = room;
    this.#name = name;
    // A hint worth more than any time-out. Both may be wrong, and then cost nothing.
    this.#on("online", () => this.#reconnect(0));
    this.#on("offline", () => this.#broken());
    this.#connect();
  }

  #listeners = new AbortController();
  #on(type, listener) {
    window.addEventListener(type, listener, { signal: this.#listeners.signal });
  }

  #connect() {
    clearTimeout(this.#timer);
    const socket = (this.#socket = new WebSocket(this.#url));
    const current = (handler) => (event) => socket === this.#socket && handler(event);
    socket.addEventListener("open", current(() => {
      this.#heard = performance.now();
      const { seat, token } = this.#seat ?? {};
      this.#put(
        this.#seat
          ? { type: "resume", room: this.#room, seat, token }
          : { type: "join", room: this.#room, name: this.#name },
      );
    }));
    socket.addEventListener("message", current(({ data }) => this.#hear(JSON.parse(data))));
    socket.addEventListener("close", current(({ code }) => {
      if (code === POLICY_VIOLATION && this.#reason !== "no-such-seat") this.#end(this.#reason ?? "bad-message");
      else this.#broken();
    }));
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT);
    this.#heard = performance.now();
  }

  // A socket into a network that is gone says nothing of its own accord, for minutes.
  #beat() {
    if (performance.now() - this.#heard > SILENCE) this.#broken();
    else if (this.#standing) this.#put({ type: "ping" });
  }

  #hear(message) {
    this.#heard = performance.now();
    switch (message.type) {
      case "joined":
        this.#seat = { seat: message.seat, token: message.token };
        this.#unsent = []; // it was meant for a seat that is gone
        this.#stand();
        this.#tell("joined", message);
        break;
      case "resumed":
        this.#stand();
        this.#tell("resumed", message);
        break;
      case "ice-servers":
        this.#asked?.resolve(message.iceServers);
        this.#asked = null;
        break;
      case "refused":
        this.#refused(message.reason);
        break;
      case "pong":
        break;
      default:
        this.#tell("message", message);
    }
  }

  #stand() {
    this.#standing = true;
    this.#tries = 0;
    this.#reason = null;
    for (const message of this.#unsent.splice(0)) this.#put(message);
  }

  #refused(reason) {
    if (reason === "no-such-member") return; // they left while this was on its way
    if (reason === "no-ice-servers" && this.#standing) {
      this.#asked?.resolve(null);
      this.#asked = null;
      return;
    }
    // Being away took too long, or the server lost its memory: then as a newcomer.
    if (reason === "no-such-seat") this.#seat = null;
    this.#reason = reason;
  }

  #broken() {
    if (this.#reason === "left") return;
    const wasStanding = this.#standing;
    this.#standing = false;
    clearInterval(this.#heartbeat);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(4000); // any code but those that say goodbye: the seat is to be kept
    this.#asked?.resolve(null);
    this.#asked = null;
    if (wasStanding) this.#tell("away");
    // Somewhat by chance, so that a hundred pages do not all come back in the same moment.
    const pause = RETRY[Math.min(this.#tries, RETRY.length - 1)] * (0.5 + Math.random());
    this.#tries += 1;
    this.#reconnect(pause);
  }

  #reconnect(pause) {
    if (this.#socket || this.#reason === "left") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #put(message) {
    this.#socket.send(JSON.stringify(message));
  }

  /** Sends, now or when there is a socket again. */
  send(message) {
    if (this.#standing) this.#put(message);
    else if (this.#unsent.length < UNSENT) this.#unsent.push(message);
  }

  /** New `iceServers`; null where there are none to be had now. */
  iceServers() {
    if (!this.#standing) return Promise.resolve(null);
    if (!this.#asked) {
      this.#asked = Promise.withResolvers?.() ?? withResolvers();
      this.#put({ type: "ice-servers" });
    }
    return this.#asked.promise;
  }

  /** Gives up the seat and takes another one. */
  rejoin() {
    if (this.#standing) this.#put({ type: "leave" });
    this.#seat = null;
    this.#broken();
  }

  /** Says goodbye: the seat is free at once. */
  leave() {
    if (this.#standing) this.#put({ type: "leave" });
    this.#end("left");
  }

  #end(reason) {
    this.#reason = "left";
    this.#standing = false;
    this.#listeners.abort();
    clearInterval(this.#heartbeat);
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#tell("ended", reason);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
