// Calls over the server under test (page.mjs) in a headless browser. One JSON object a line, in both directions:
//
//     in   {browser: "chromium" or "firefox", program, profile}   first: which one to start
//     in   {iceServer, messages, frames}                          a call
//     out  what page.mjs's call returns
//
// program is the browser's path, profile a folder that Firefox takes as its profile. The end of the input ends it.
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { call } from "./page.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};
const { browser: name, program, profile } = await hear();

const launch = {
  async chromium() {
    const { chromium } = await import("playwright-core");
    return chromium.launch({
      executablePath: program,
      headless: true,
      args: [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        // The authority of the run is in no store of this browser; other clients verify it.
        "--ignore-certificate-errors",
        "--disable-background-networking",
        "--disable-component-update",
      ],
    });
  },

  async firefox() {
    const { default: puppeteer } = await import("puppeteer-core");
    return puppeteer.launch({
      browser: "firefox",
      executablePath: program,
      userDataDir: profile,
      headless: true,
      extraPrefsFirefox: {
        "media.navigator.streams.fake": true,
        "media.navigator.permission.disabled": true,
        // Relays on loopback addresses are no candidates otherwise.
        "media.peerconnection.ice.loopback": true,
        "media.peerconnection.ice.obfuscate_host_addresses": false,
        // No look-ups of its own in a network that leads nowhere.
        "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false,
      },
    });
  },
};

// Cameras need a secure origin, and localhost counts as one.
const empty = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html><body>"));
empty.listen(0, "localhost");
await once(empty, "listening");

const browser = await launch[name]();
try {
  for (let job = await hear(); job !== null; job = await hear()) {
    const page = await browser.newPage();
    await page.goto(`http://localhost:${empty.address().port}/`);
    console.log(JSON.stringify(await page.evaluate(call, job)));
    await page.close();
  }
} finally {
  await browser.close();
  empty.closeAllConnections();
  empty.close();
}
