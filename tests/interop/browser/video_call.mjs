// Members of a video call (examples/video-call), each in a headless Chromium or Firefox. One JSON object a line, in both directions:
//
//     in   {do: NAME, ...}         one of the actions below, with what it takes
//     out  {value} or {error}      what it returns
//
// The end of the input ends it.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { launch } from "./launch.mjs";

const PATIENCE = 20_000;
const browsers = new Map(); // program -> browser
const members = new Map(); // name -> {context, page}
const sockets = new Set();

async function browserOf(program, trusted) {
  if (!browsers.has(program)) {
    const browser = await chromium.launch({
      executablePath: program,
      headless: true,
      args: [
        "--no-sandbox",
        // A clock and a pacman, at few pictures a second: three browsers encode each twice, without a graphics card.
        "--use-fake-device-for-media-stream=device-count=2,fps=5",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-background-networking",
        "--disable-component-update",
        ...(trusted ? [`--unsafely-treat-insecure-origin-as-secure=${trusted}`] : []),
      ],
    });
    browsers.set(program, browser);
  }
  return browsers.get(program);
}

// A page of its own, which shares nothing with others: in Firefox with the profile, else in Chromium.
async function openPage({ program, profile, trusted }) {
  const size = { width: 1100, height: 680 };
  if (profile) {
    if (!browsers.has(program)) browsers.set(program, await launch.firefox({ program, profile }));
    const context = await browsers.get(program).createBrowserContext();
    const page = await context.newPage();
    await page.setViewport(size);
    return { context, page };
  }
  const browser = await browserOf(program, trusted);
  const context = await browser.newContext({ viewport: size, colorScheme: "light" });
  return { context, page: await context.newPage() };
}

// What a page shows of each other member.
const tiles = () => {
  // Firefox's statistics have no frames of a call.
  const counted = (video) => {
    const count = () => {
      video.counted = (video.counted ?? -1) + 1;
      video.requestVideoFrameCallback(count);
    };
    if (video.counted === undefined) count();
    return video.counted;
  };
  return [...document.querySelectorAll(".tile[data-seat]")].map((tile) => {
    const video = tile.querySelector("video");
    return {
      name: tile.querySelector(".name").textContent,
      state: tile.dataset.state,
      kind: tile.querySelector(".path").dataset.kind,
      path: tile.querySelector(".path").textContent,
      rate: tile.querySelector(".rate").textContent,
      down: Number(tile.dataset.down ?? 0),
      up: Number(tile.dataset.up ?? 0),
      frames: video.getVideoPlaybackQuality().totalVideoFrames || counted(video),
      away: tile.classList.contains("away"),
    };
  });
};

async function until(what, look, patience = PATIENCE) {
  const deadline = performance.now() + patience;
  for (;;) {
    const seen = await look();
    if (seen.done) return seen.value;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${patience / 1000} s: ${JSON.stringify(seen.value)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const actions = {
  // A way to the room server that can be cut.
  async forward({ at, host, port }) {
    const forwarder = createServer((here) => {
      const there = connect(port, host);
      for (const [from, to] of [[here, there], [there, here]]) {
        sockets.add(from);
        from.on("error", () => {}).on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
    forwarder.listen(at, "localhost").unref();
    await once(forwarder, "listening");
  },

  async cut() {
    const count = sockets.size;
    for (const socket of sockets) socket.resetAndDestroy();
    return count;
  },

  // Opens a browser for a member and joins; trusted: the origin is given a camera although it is neither localhost nor TLS;
  // profile: of Firefox, which the program is then.
  async join({ name, program, profile, url, trusted, relayOnly = false }) {
    const { context, page } = await openPage({ program, profile, trusted });
    const complaints = [];
    page.on("console", (message) => {
      if (["error", "warn", "warning"].includes(message.type())) complaints.push(message.text());
      console.error(`${name}: ${message.text()}`);
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    members.set(name, { context, page, complaints });
    await page.goto(url);
    await until(`${name} sees itself`, async () => ({ done: await page.evaluate(() => document.querySelector("#preview").videoWidth > 0) }));
    await page.locator("#name").fill(name);
    await page.evaluate((on) => {
      if (document.getElementById("relay-only").checked !== on) document.getElementById("relay-only").click();
    }, relayOnly);
    await page.keyboard.press("Tab");
    await page.click("#join");
    await page.waitForSelector("#call:not([hidden])", { timeout: PATIENCE });
    return page.evaluate(() => location.hash.slice(1));
  },

  // Waits until a member sees these others, with pictures that move and bits that flow; kinds: {name: kind of path, or some
  // with | between}.
  async sees({ name, kinds, patience }) {
    const { page } = members.get(name);
    return until(`${name} sees ${JSON.stringify(kinds)}`, async () => {
      const before = await page.evaluate(tiles);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const now = await page.evaluate(tiles);
      const done =
        now.length === Object.keys(kinds).length &&
        now.every((tile) => {
          const frames = before.find(({ name }) => name === tile.name)?.frames ?? 0;
          return tile.state === "connected" && kinds[tile.name].split("|").includes(tile.kind) && tile.down > 0 && tile.up > 0 && tile.frames > frames;
        });
      return { done, value: now };
    }, patience);
  },

  async chat({ name, text }) {
    const { page } = members.get(name);
    if (await page.$eval("#chat", (chat) => !chat.checkVisibility())) await page.keyboard.press("c");
    await page.locator("#text").fill(text);
    await page.keyboard.press("Enter");
  },

  async hears({ name, from, text }) {
    const { page } = members.get(name);
    const wanted = from + text;
    return until(`${name} hears ${JSON.stringify(wanted)}`, async () => {
      const value = await page.evaluate(() => [...document.querySelectorAll("#messages li")].map((line) => line.textContent));
      return { done: value.includes(wanted), value };
    });
  },

  async status({ name, includes }) {
    const { page } = members.get(name);
    return until(`${name} is told ${JSON.stringify(includes)}`, async () => {
      const value = await page.$eval("#status", (status) => status.textContent);
      return { done: value.includes(includes), value };
    });
  },

  // Presses one of the page's buttons by its key.
  async press({ name, key }) {
    await members.get(name).page.keyboard.press(key);
  },

  async relayOnly({ name, on }) {
    await members.get(name).page.evaluate((on) => {
      const box = document.getElementById("relay-only");
      if (box.checked !== on) box.click();
    }, on);
  },

  async evaluate({ name, script }) {
    return members.get(name).page.evaluate(script);
  },

  async until({ name, script }) {
    const { page } = members.get(name);
    return until(`${name}: ${script}`, async () => {
      const value = await page.evaluate(script);
      return { done: value === true, value };
    });
  },

  // Closes the page, as people do: without leaving first. Returns what it complained about.
  async close({ name }) {
    const { page, context, complaints } = members.get(name);
    members.delete(name);
    await page.close({ runBeforeUnload: false });
    await context.close();
    return complaints;
  },

  async complaints({ name }) {
    return members.get(name).complaints;
  },

  async screenshot({ name, path, scheme = "light", width, height }) {
    const { page } = members.get(name);
    await page.emulateMedia({ colorScheme: scheme });
    if (width) await page.setViewportSize({ width, height });
    await page.waitForTimeout(500);
    await page.screenshot({ path, type: "png" });
  },
};

try {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...job } = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await actions[name](job)) ?? null };
    } catch (error) {
      answer = { error: String(error.message ?? error) };
    }
    console.log(JSON.stringify(answer));
  }
} finally {
  for (const browser of browsers.values()) await browser.close();
}
