// A headless browser with fake cameras, and empty pages in it:
//
//     start({browser: "chromium" or "firefox", program, profile}) -> {page(), close()}
//     launch.firefox({program, profile}), launch.chromium({program})   the browser alone, as its driver has it
//
// program is the browser's path, profile a folder that Firefox takes as its profile.
import { once } from "node:events";
import { createServer } from "node:http";

export const launch = {
  async chromium({ program }) {
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

  async firefox({ program, profile }) {
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

export async function start(wanted) {
  // Cameras need a secure origin, and localhost counts as one.
  const empty = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html><body>"));
  empty.listen(0, "localhost");
  await once(empty, "listening");
  const browser = await launch[wanted.browser](wanted);
  return {
    async page() {
      const page = await browser.newPage();
      await page.goto(`http://localhost:${empty.address().port}/`);
      return page;
    },
    async close() {
      await browser.close();
      empty.closeAllConnections();
      empty.close();
    },
  };
}
