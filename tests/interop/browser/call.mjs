// Calls over the server under test (page.mjs) in a headless browser. One JSON object a line, in both directions:
//
//     in   {browser: "chromium" or "firefox", program, profile}   first: which one to start (launch.mjs)
//     in   {iceServer, messages, frames}                          a call
//     out  what page.mjs's call returns
//
// The end of the input ends it.
import { createInterface } from "node:readline";
import { start } from "./launch.mjs";
import { call } from "./page.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};

const browser = await start(await hear());
try {
  for (let job = await hear(); job !== null; job = await hear()) {
    const page = await browser.page();
    console.log(JSON.stringify(await page.evaluate(call, job)));
    await page.close();
  }
} finally {
  await browser.close();
}
