// The tester's page in headless Chromiums. One JSON object a line, in both directions:
//
//     in   {do: NAME, ...}         one of the actions below, with what it takes
//     out  {value} or {error}      what it returns
//
// `program` may be a script that starts Chromium in another network. The end of the input ends all of them.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PATIENCE = 20_000;
const complaints = [];
const browsers = new Map();
let page = null;

const actions = {
  async open({ program, url, width = 1280, height = 900, scheme = "light" }) {
    if (!browsers.has(program)) {
      const args = ["--no-sandbox", "--ignore-certificate-errors", "--disable-background-networking", "--disable-component-update"];
      browsers.set(program, await chromium.launch({ executablePath: program, headless: true, args }));
    }
    await page?.context().close();
    const context = await browsers.get(program).newContext({ viewport: { width, height }, colorScheme: scheme });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => {
      // Who has no token, or tests too often, is refused, which Chromium tells as an error.
      const isWanted = /status of 4(01|03|29)/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isWanted) complaints.push(message.text());
      console.error(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== new URL(url).origin && !request.url().startsWith("data:")) complaints.push(`asks elsewhere: ${request.url()}`);
    });
    await page.goto(url);
  },

  // Answers the next tests with a refusal.
  async refuse({ status, error }) {
    await page.unroute("**/v1/test");
    await page.route("**/v1/test", (route) => route.fulfill({ status, json: { error } }));
  },

  async look({ scheme, width, height }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
  },

  fill: ({ at, text }) => page.fill(at, text),
  click: ({ at }) => page.click(at),
  press: ({ key }) => page.keyboard.press(key),
  text: ({ at }) => page.textContent(at),
  evaluate: ({ script }) => page.evaluate(script),
  // The page's policy forbids what waitForFunction does.
  async until({ script, patience = PATIENCE }) {
    const deadline = performance.now() + patience;
    while (!(await page.evaluate(script).catch(() => false))) {
      if (performance.now() > deadline) throw new Error(`not within ${patience / 1000} s`);
      await page.waitForTimeout(100);
    }
  },
  // What the page would say of these findings.
  wording: ({ findings }) =>
    page.evaluate(async (findings) => {
      const { text } = await import("/test/report.js");
      return text(await (await fetch("/test/words.json")).json(), findings);
    }, findings),

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
for (const browser of browsers.values()) await browser.close();
