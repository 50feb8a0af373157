// What this side sends: microphone, camera and screen, and the devices they come from.
//
// A camera that is switched off is given back to the system, so that its light goes out. A microphone that is muted is
// kept, since it has to be there at once; its track then sends silence.
//
// Events: change (something was switched), track (detail {kind, track}: to be sent in place of the former one), screen
// (the screen is shown, or not any more), devices (another list of devices).

// Enough for a tile, and for a mesh: each picture is sent to each of the others.
const PICTURE = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24, max: 30 } };
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Media extends EventTarget {
  camera = new MediaStream();
  screen = null;
  about = { microphone: false, camera: false };
  devices = [];
  #chosen = { audio: null, video: null };

  /** Asks for both, and takes what is granted; returns what could not be had, as a sentence, or null. */
  async open() {
    if (!navigator.mediaDevices) {
      return "This browser gives no camera to this page: open it as localhost, or over HTTPS.";
    }
    navigator.mediaDevices.addEventListener("devicechange", () => this.#list());
    let reason = null;
    try {
      // Both at once, so that people are asked once.
      const stream = await navigator.mediaDevices.getUserMedia({ audio: SOUND, video: PICTURE });
      for (const track of stream.getTracks()) this.#use(track);
    } catch (error) {
      reason = error;
      for (const kind of ["audio", "video"]) await this.#switchOn(kind).catch((error) => (reason = error));
    }
    await this.#list();
    if (this.about.camera && this.about.microphone) return null;
    const missing = this.about.camera ? "No microphone" : this.about.microphone ? "No camera" : "No camera and no microphone";
    return `${missing}: ${reason?.message || reason?.name || "none was found"}. You can join all the same.`;
  }

  get hasScreen() {
    return Boolean(navigator.mediaDevices?.getDisplayMedia);
  }

  async toggle(kind) {
    const name = kind === "audio" ? "microphone" : "camera";
    const track = this.#track(kind);
    if (kind === "audio" && track) {
      track.enabled = !track.enabled;
      this.about.microphone = track.enabled;
      this.#tell("change");
    } else if (this.about[name]) {
      this.#drop(track);
      this.#tell("track", { kind, track: null });
    } else {
      await this.#switchOn(kind);
    }
  }

  /** Another device. One that is switched off stays off, and is the chosen one when it is switched on. */
  async choose(kind, device) {
    this.#chosen[kind] = device;
    if (this.#track(kind)) await this.#switchOn(kind);
  }

  async #switchOn(kind) {
    const wish = kind === "audio" ? SOUND : PICTURE;
    const device = this.#chosen[kind];
    const constraints = { [kind]: device ? { ...wish, deviceId: { exact: device } } : wish };
    const wasMuted = kind === "audio" && this.#track(kind)?.enabled === false;
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    const [track] = stream.getTracks();
    track.enabled = !wasMuted;
    this.#use(track);
  }

  #use(track) {
    const former = this.#track(track.kind);
    if (former) {
      this.camera.removeTrack(former);
      former.stop();
    }
    this.camera.addTrack(track);
    this.about[track.kind === "audio" ? "microphone" : "camera"] = track.enabled;
    // Pulled out, or taken back by the person in the browser's own menu.
    track.addEventListener("ended", () => {
      if (this.#track(track.kind) !== track) return;
      this.#drop(track);
      this.#tell("track", { kind: track.kind, track: null });
    });
    this.#tell("track", { kind: track.kind, track });
  }

  #drop(track) {
    this.camera.removeTrack(track);
    track.stop();
    this.about[track.kind === "audio" ? "microphone" : "camera"] = false;
  }

  #track(kind) {
    return this.camera.getTracks().find((track) => track.kind === kind) ?? null;
  }

  /** Asks which window or screen to show; nothing happens where the person thinks better of it. */
  async showScreen() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } }, audio: false });
    } catch (error) {
      if (error.name === "NotAllowedError") return;
      throw error;
    }
    this.screen = stream;
    const [track] = stream.getVideoTracks();
    track.contentHint = "detail"; // text is to be read, not to move smoothly
    track.addEventListener("ended", () => this.hideScreen());
    this.#tell("screen");
  }

  hideScreen() {
    const stream = this.screen;
    if (!stream) return;
    this.screen = null;
    for (const track of stream.getTracks()) track.stop();
    this.#tell("screen");
  }

  async #list() {
    this.devices = await navigator.mediaDevices.enumerateDevices();
    this.#tell("devices");
  }

  close() {
    this.hideScreen();
    for (const track of this.camera.getTracks()) this.#drop(track);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
