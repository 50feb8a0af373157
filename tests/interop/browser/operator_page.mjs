// The operator's page in a headless browser: Chromium, or another in its place. One JSON object a line, in both directions:
//
//     in   {do: NAME, ...}         one of the actions below, with what it takes
//     out  {value} or {error}      what it returns
//
// The end of the input ends it.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { launch } from "./launch.mjs";

const PATIENCE = 20_000;
const complaints = [];
let browser = null;
let page = null;

// As many sessions as are wanted, of which every third has traffic.
function made(number) {
  const way = (bytes) => ({ packets: bytes / 100, bytes: bytes * 60, bytes_per_second: bytes });
  const rate = number % 3 ? 0 : 100 * number;
  return {
    id: number.toString(16).padStart(16, "0"),
    user: `user-${String(number).padStart(6, "0")}`,
    client: `192.0.2.${number % 250}:${1024 + number}`,
    transport: ["udp", "tcp", "tls"][number % 3],
    server: "198.51.100.1:3478",
    relayed: [`198.51.100.1:${20000 + number}`],
    protocol: "udp",
    age_seconds: number,
    expires_in_seconds: 600,
    permissions: 1,
    channels: 1,
    away: false,
    to_peers: way(rate),
    to_client: way(rate),
  };
}

// Opens the page, and notes what is said on its console and whom it asks.
async function watch(opened, url) {
  page = opened;
  page.setDefaultTimeout(PATIENCE);
  page.on("console", (message) => {
    // A token that is missing, wrong or for less is refused, which Chromium tells as an error; so it does where nobody answers.
    const isWanted = /status of 40[13]|net::ERR_FAILED/.test(message.text());
    if (["error", "warn", "warning"].includes(message.type()) && !isWanted) complaints.push(message.text());
    console.error(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin && !request.url().startsWith("data:")) complaints.push(`asks elsewhere: ${request.url()}`);
  });
  await page.goto(url);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const actions = {
  async open({ program, url, width = 1280, height = 900, scheme = "light" }) {
    browser ??= await chromium.launch({
      executablePath: program,
      headless: true,
      args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
    });
    await page?.context().close();
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
    await watch(await context.newPage(), url);
  },

  // The same in Firefox, for what is done alike with both drivers.
  async openFirefox({ program, profile, url }) {
    browser = await launch.firefox({ program, profile });
    await watch(await browser.newPage(), url);
  },

  // Answers for the list of sessions with made ones.
  async pretend({ count }) {
    await page.route("**/v1/sessions?*", (route) => {
      const query = new URL(route.request().url()).searchParams;
      const first = Number(query.get("cursor") ?? 0);
      const last = Math.min(count, first + Number(query.get("limit")));
      const sessions = Array.from({ length: last - first }, (_, place) => made(first + place));
      return route.fulfill({ json: { sessions, total: count, next: last < count ? String(last) : null } });
    });
  },

  // Answers for the server from now on, whatever is asked: with a status, or as one that is not there; no more without either.
  async answer({ status, gone = false }) {
    await page.unroute("**/v1/**");
    if (gone) await page.route("**/v1/**", (route) => route.abort());
    else if (status) await page.route("**/v1/**", (route) => route.fulfill({ status, json: {} }));
  },

  fill: ({ at, text }) => page.locator(at).fill(text),
  click: ({ at }) => page.click(at),
  press: ({ key }) => page.keyboard.press(key),
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  look: ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  text: ({ at }) => page.$eval(at, (one) => one.textContent),
  texts: ({ at }) => page.$$eval(at, (found) => found.map((one) => one.textContent)),
  hidden: ({ at }) => page.$eval(at, (one) => !one.checkVisibility()),
  evaluate: ({ script }) => page.evaluate(script),
  // The page's policy forbids what waitForFunction does.
  async until({ script, patience = PATIENCE }) {
    const deadline = performance.now() + patience;
    // While the page loads anew there is nothing to evaluate in.
    while (!(await page.evaluate(script).catch(() => false))) {
      if (performance.now() > deadline) throw new Error(`not within ${patience / 1000} s`);
      await pause(100);
    }
  },

  screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
  complaints: () => complaints,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...what } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await actions[name](what)) ?? null };
  } catch (error) {
    answer = { error: `${name} ${JSON.stringify(what)}: ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
await browser?.close();
